//! Builds that are stopped from outside.

use std::path::Path;
use std::thread;
use std::time::Duration;

use images::build::{
    BuildError, Event, FailedStep, Foreign, Halt, RunNetwork, Sandbox, Surroundings,
};
use images::{Platform, Reference};
use libtest_mimic::Failed;

use super::Case;
use super::world::World;

pub const CASES: &[Case] = &[
    ("nothing_begins_when_nobody_wants_the_build_any_more", before),
    ("a_build_that_is_stopped_once_ends", underway),
    ("a_build_that_waits_for_a_cache_is_stopped", waiting),
];

/// Somebody who changes his mind when the network of a command is made, which is just before it runs.
struct Fickle<'a> {
    world: &'a World,
    halt: Halt,
    stop: &'a (dyn Fn(Halt) + Sync),
}

impl Surroundings for Fickle<'_> {
    fn network(&self, kind: RunNetwork) -> Result<Box<dyn Sandbox>, Foreign> {
        let network = self.world.network(kind);
        (self.stop)(self.halt.clone());
        network
    }
    fn fetch(
        &self,
        image: &Reference,
        platform: &Platform,
        say: &(dyn Fn(String) + Sync),
    ) -> Result<(), Foreign> {
        self.world.fetch(image, platform, say)
    }
    fn download(&self, url: &str, to: &Path) -> Result<(), Foreign> {
        self.world.download(url, to)
    }
    fn tell(&self, event: Event) {
        self.world.tell(event);
    }
    fn filters(&self) -> &Path {
        self.world.filters()
    }
    fn on_failure(&self, step: &FailedStep) {
        panic!("{step:?} is looked into, and nobody wants to");
    }
    fn halt(&self) -> Halt {
        self.halt.clone()
    }
}

/// Builds until `stop` has its way; returns what the commands have said until then.
fn build(world: &World, dockerfile: &str, stop: &(dyn Fn(Halt) + Sync)) -> Vec<String> {
    world.events.lock().unwrap().clear();
    let fickle = Fickle { world, halt: Halt::default(), stop };
    let stopped = world.store.build(&world.recipe(dockerfile), &fickle);
    assert!(matches!(stopped, Err(BuildError::Cancelled)), "{stopped:?}");
    world.said()
}

fn before() -> Result<(), Failed> {
    let world = World::new();
    let stop = |halt: Halt| halt.stop();
    for dockerfile in ["FROM base\nRUN echo ran", "FROM base\nRUN --network=none echo ran"] {
        assert_eq!(build(&world, dockerfile, &stop), [""; 0]);
    }
    Ok(())
}

/// Wherever the command is at that moment, it comes to no end of its own.
fn underway() -> Result<(), Failed> {
    let world = World::new();
    for milliseconds in 0..30 {
        let stop = |halt: Halt| {
            thread::spawn(move || {
                thread::sleep(Duration::from_millis(milliseconds));
                halt.stop();
            });
        };
        let said = build(&world, "FROM base\nRUN echo begun; sleep 30; echo late", &stop);
        assert!(!said.contains(&"late".to_owned()), "after {milliseconds} ms");
    }
    Ok(())
}

/// Somebody else has what a step needs for himself, for as long as he likes.
fn waiting() -> Result<(), Failed> {
    let world = World::new();
    let mounts = world.dir.path().join("images/cache/mounts");
    std::fs::create_dir_all(&mounts)?;
    let lock = mounts.join(images::Digest::of(b"k").hex()).with_extension("lock");
    let lock = std::fs::File::create(lock)?;
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)?;
    for sharing in ["locked", "shared"] {
        let halt = Halt::default();
        let fickle = Fickle { world: &world, halt: halt.clone(), stop: &|_| {} };
        let text =
            format!("FROM base\nRUN --mount=type=cache,id=k,target=/c,sharing={sharing} echo ran");
        let recipe = world.recipe(&text);
        let stopped = thread::scope(|scope| {
            let build = scope.spawn(|| world.store.build(&recipe, &fickle));
            thread::sleep(Duration::from_millis(100));
            let waits = !build.is_finished();
            halt.stop();
            build.join().map(|built| (waits, built))
        });
        let stopped = stopped.map_err(|_| "the build panicked")?;
        assert!(matches!(stopped, (true, Err(BuildError::Cancelled))), "{stopped:?}");
    }
    assert_eq!(world.said(), [""; 0]);
    Ok(())
}
