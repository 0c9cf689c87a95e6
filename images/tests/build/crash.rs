//! A build that is killed.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use images::build::{Event, FailedStep, Foreign, RunNetwork, Sandbox, Surroundings};
use images::{Platform, Reference};
use libtest_mimic::Failed;

use super::Case;
use super::world::{Files, World};

pub const CASES: &[Case] = &[("a_killed_build_leaves_nothing_that_the_next_trips_over", killed)];

const DOCKERFILE: &str = "FROM base
COPY file /one
RUN echo first > /first && seq 2000 > /numbers
FROM base AS side
RUN seq 3000 > /side
FROM base
COPY --from=0 /first /numbers /
COPY --from=side /side /
RUN cat /first /side > /last
";

/// Builds in the directory that is named, and says when each step begins.
pub fn command(mut words: impl Iterator<Item = OsString>) -> ExitCode {
    let world = World::at(words.next().unwrap().as_ref());
    let recipe = world.recipe(DOCKERFILE);
    let built = world.store.build(&recipe, &Saying(&world)).is_ok();
    if built { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A world that says what happens as it happens.
struct Saying<'a>(&'a World);

impl Surroundings for Saying<'_> {
    fn network(&self, kind: RunNetwork) -> Result<Box<dyn Sandbox>, Foreign> {
        self.0.network(kind)
    }
    fn fetch(
        &self,
        image: &Reference,
        platform: &Platform,
        say: &(dyn Fn(String) + Sync),
    ) -> Result<(), Foreign> {
        self.0.fetch(image, platform, say)
    }
    fn download(&self, url: &str, to: &Path) -> Result<(), Foreign> {
        self.0.download(url, to)
    }
    fn tell(&self, event: Event) {
        // Whoever reads it may have gone.
        let _ = writeln!(std::io::stdout(), "{event:?}");
    }
    fn filters(&self) -> &Path {
        self.0.filters()
    }
    fn on_failure(&self, _: &FailedStep) {}
}

fn killed() -> Result<(), Failed> {
    let world = World::new();
    world.write("file", "content");
    let layers = world.dir.path().join("images/layers");
    // Killed after each number of events that it can say, until one comes to its end.
    for moment in 0.. {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("build")
            .arg(world.dir.path())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let seen = (0..moment).map_while(|_| lines.next()).count();
        child.kill()?;
        let ended = child.wait()?;
        for entry in std::fs::read_dir(&layers)? {
            let name = entry?.file_name().into_string().unwrap();
            let known = name.starts_with(".tmp-") || name.len() == 64 || name.ends_with(".json");
            assert!(known, "{name}");
        }
        if ended.success() || seen < moment {
            break;
        }
    }
    let image = world.build(DOCKERFILE);
    assert!(Files::of(&image).read("last").unwrap().starts_with("first\n1\n2\n"));
    // What the killed ones have left goes with the next that builds anything.
    world.build("FROM base\nRUN echo something new");
    let is_left = |name: std::ffi::OsString| name.to_string_lossy().starts_with(".tmp-");
    let left =
        std::fs::read_dir(layers)?.filter(|entry| is_left(entry.as_ref().unwrap().file_name()));
    assert_eq!(left.count(), 0);
    Ok(())
}
