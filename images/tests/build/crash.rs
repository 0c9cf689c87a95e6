//! A build that is killed.

use std::ffi::OsString;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use images::build::{Event, FailedStep, Foreign, Recipe, RunNetwork, Sandbox, Surroundings};
use images::{Platform, Reference};
use libtest_mimic::Failed;

use super::Case;
use super::world::{Files, World};

pub const CASES: &[Case] = &[
    ("a_killed_build_leaves_nothing_that_the_next_trips_over", killed),
    ("a_build_may_be_killed_at_any_moment", killed_at_random),
];

/// How often a build is killed at a random moment, if the variable `IMAGES_TEST_KILLS` does not say.
const ROUNDS: u32 = 25;

const DOCKERFILE: &str = "FROM base
ARG ROUND=0
COPY file /one
RUN echo $ROUND > /round
RUN echo first > /first && seq 2000 > /numbers
FROM base AS side
RUN seq 3000 > /side
FROM base
COPY --from=0 /first /numbers /round /
COPY --from=side /side /
RUN cat /first /side > /last
";

/// Builds in the directory that is named, for a round with a number, and says when each step begins.
pub fn command(mut words: impl Iterator<Item = OsString>) -> ExitCode {
    let world = World::at(words.next().unwrap().as_ref());
    let round = words.next().unwrap_or_default();
    let recipe = in_round(&world, &round.to_string_lossy());
    let built = world.store.build(&recipe, &Saying(&world)).is_ok();
    if built { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What is built in a round: the same as in all others, but for a few steps.
fn in_round(world: &World, round: &str) -> Recipe {
    let mut recipe = world.recipe(DOCKERFILE);
    recipe.args.insert("ROUND".to_owned(), round.to_owned());
    recipe
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
        all_known(&layers)?;
        if ended.success() || seen < moment {
            break;
        }
    }
    let image = world.build(DOCKERFILE);
    assert!(Files::of(&image).read("last").unwrap().starts_with("first\n1\n2\n"));
    nothing_is_left(&world, &layers)
}

/// What the killed ones have left goes with the next that builds anything.
fn nothing_is_left(world: &World, layers: &Path) -> Result<(), Failed> {
    world.build("FROM base\nRUN echo something new");
    let is_left = |name: OsString| name.to_string_lossy().starts_with(".tmp-");
    let left =
        std::fs::read_dir(layers)?.filter(|entry| is_left(entry.as_ref().unwrap().file_name()));
    assert_eq!(left.count(), 0);
    let until = Instant::now() + Duration::from_secs(60);
    while let Some(process) = attendant(world.dir.path())? {
        assert!(Instant::now() < until, "process {process} has outlived its build");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// A process that has to do with the directory.
fn attendant(dir: &Path) -> Result<Option<String>, Failed> {
    let dir = dir.to_str().unwrap();
    for entry in std::fs::read_dir("/proc")? {
        let path = entry?.path();
        // It may have ended meanwhile, or be none.
        let Ok(line) = std::fs::read(path.join("cmdline")) else { continue };
        if String::from_utf8_lossy(&line).contains(dir) {
            return Ok(Some(path.display().to_string()));
        }
    }
    Ok(None)
}

/// Whether the directory of layers has nothing but layers, and what the next build deletes.
fn all_known(layers: &Path) -> Result<(), Failed> {
    for entry in std::fs::read_dir(layers)? {
        let name = entry?.file_name().into_string().unwrap();
        let known = name.starts_with(".tmp-") || name.len() == 64 || name.ends_with(".json");
        assert!(known, "{name}");
    }
    Ok(())
}

fn killed_at_random() -> Result<(), Failed> {
    let world = World::new();
    world.write("file", "content");
    let layers = world.dir.path().join("images/layers");
    let start = |round: u32| {
        Command::new(std::env::current_exe().unwrap())
            .args([OsString::from("build"), world.dir.path().into(), round.to_string().into()])
            .stdout(Stdio::null())
            .spawn()
    };
    // How long it takes on this machine.
    let begun = Instant::now();
    assert!(start(0)?.wait()?.success());
    let whole = u64::try_from(begun.elapsed().as_micros())?.max(1);
    let rounds = std::env::var("IMAGES_TEST_KILLS").ok().and_then(|text| text.parse().ok());
    for round in 1..=rounds.unwrap_or(ROUNDS) {
        let mut child = start(round)?;
        let random = RandomState::new().build_hasher().finish();
        std::thread::sleep(Duration::from_micros(random % whole));
        child.kill()?;
        child.wait()?;
        all_known(&layers)?;
        let faults = world.store.verify()?.faults;
        assert!(faults.is_empty(), "round {round}: {faults:?}");
        let image = world.build_with(&in_round(&world, &round.to_string()));
        let files = Files::of(&image);
        assert!(files.read("last").unwrap().starts_with("first\n1\n2\n"), "round {round}");
        assert!(files.read("numbers").unwrap().ends_with("2000\n"), "round {round}");
    }
    nothing_is_left(&world, &layers)?;
    assert!(world.store.verify()?.faults.is_empty());
    Ok(())
}
