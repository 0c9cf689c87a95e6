//! Images that are fetched to be built on.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use images::build::{Event, FailedStep, Foreign, RunNetwork, Sandbox, Surroundings};
use images::{Import, Platform, Reference};
use libtest_mimic::Failed;

use super::Case;
use super::world::World;

pub const CASES: &[Case] = &[("bases_are_fetched_side_by_side_and_each_once", side_by_side)];

/// A registry that gives nobody anything before two have asked.
struct Patient<'a> {
    world: &'a World,
    asked: Mutex<BTreeMap<String, usize>>,
    both: Condvar,
}

impl Surroundings for Patient<'_> {
    fn network(&self, kind: RunNetwork) -> Result<Box<dyn Sandbox>, Foreign> {
        self.world.network(kind)
    }
    fn fetch(
        &self,
        image: &Reference,
        _: &Platform,
        _: &(dyn Fn(String) + Sync),
    ) -> Result<(), Foreign> {
        let mut asked = self.asked.lock().unwrap();
        *asked.entry(image.familiar()).or_default() += 1;
        self.both.notify_all();
        let bound = Duration::from_secs(120);
        let (asked, late) =
            self.both.wait_timeout_while(asked, bound, |asked| asked.len() < 2).unwrap();
        drop(asked);
        if late.timed_out() {
            return Err("nobody asked for the other one meanwhile".into());
        }
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(4);
        header.set_mode(0o644);
        archive.append_data(&mut header, "file", &b"base"[..])?;
        let import = Import { reference: Some(image.clone()), ..Import::default() };
        self.world.store.import(&archive.into_inner()?[..], &import)?;
        Ok(())
    }
    fn download(&self, url: &str, to: &Path) -> Result<(), Foreign> {
        self.world.download(url, to)
    }
    fn tell(&self, _: Event) {}
    fn filters(&self) -> &Path {
        self.world.filters()
    }
    fn on_failure(&self, _: &FailedStep) {}
}

fn side_by_side() -> Result<(), Failed> {
    let world = World::new();
    let patient = Patient { world: &world, asked: Mutex::default(), both: Condvar::new() };
    let recipe = world.recipe(
        "FROM one AS first
FROM two AS second
FROM one AS third
FROM scratch
COPY --from=first /file /1
COPY --from=second /file /2
COPY --from=third /file /3
COPY --from=two /file /4",
    );
    world.store.build(&recipe, &patient)?;
    let asked = patient.asked.into_inner()?;
    assert_eq!(
        asked.into_iter().collect::<Vec<_>>(),
        [("one:latest".to_owned(), 1), ("two:latest".to_owned(), 1)]
    );
    Ok(())
}
