//! All scenarios. `cargo test -p scenarios --test scenarios [NAME]`
//!
//! Root, and the archive of `scripts/images` in `COMPOSE_TEST_IMAGES`, let all of them run; what cannot run is reported as
//! ignored with its reason. `TEST_REQUIRE=root,images,clients` makes that a failure.

mod cases;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use scenarios::stage::{Images, play};
use scenarios::{Need, Stage, Verdict, web};

/// A scenario and what it needs.
struct Scenario {
    name: String,
    needs: &'static [Need],
    images: Images,
    play: fn(&Stage) -> Verdict,
}

impl Scenario {
    /// On `rootfs:/` only.
    fn plain(name: impl Into<String>, play: fn(&Stage) -> Verdict) -> Self {
        Self { name: name.into(), needs: &[Need::Root], images: Images::None, play }
    }

    /// On `rootfs:/`, with more needs than root.
    fn needing(name: &str, needs: &'static [Need], play: fn(&Stage) -> Verdict) -> Self {
        Self { name: name.to_owned(), needs, images: Images::None, play }
    }

    /// On the images of `examples/dev-stack`, with the real clients.
    fn dev_stack(name: &str, play: fn(&Stage) -> Verdict) -> Self {
        Self {
            name: name.to_owned(),
            needs: &[Need::Root, Need::Images, Need::Clients],
            images: Images::DevStack,
            play,
        }
    }

    fn trial(self) -> Trial {
        Trial::ignorable_test(self.name.clone(), move || {
            for need in self.needs {
                match need.missing() {
                    Some(reason) if need.is_required() => {
                        return Err(Failed::from(format!(
                            "TEST_REQUIRE names {}: {reason}",
                            need.word()
                        )));
                    }
                    Some(reason) => return Ok(Completion::ignored_with(reason)),
                    None => {}
                }
            }
            play(&self.name, self.images, self.play)
                .map(|()| Completion::Completed)
                .map_err(Failed::from)
        })
    }
}

fn main() -> ExitCode {
    if std::env::args().nth(1).is_some_and(|word| word == web::WORD) {
        return web::serve().map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS);
    }
    let arguments = Arguments::from_args();
    let scenarios = cases::all().into_iter().map(Scenario::trial);
    let houses = [
        Trial::test("every_case_file_is_included", || cases::check_files().map_err(Failed::from)),
        Trial::test("every_intent_has_a_scenario_or_a_reason", || {
            cases::check_intents().map_err(Failed::from)
        }),
        Trial::test("every_example_is_owned", || cases::check_examples().map_err(Failed::from)),
    ];
    libtest_mimic::run(&arguments, scenarios.chain(houses).collect()).exit_code()
}
