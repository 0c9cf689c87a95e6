//! Files in containers: what is written into them ahead, what was copied, and for whom it is to be copied again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::thread;

use super::work::Failures;
use crate::cli::context::Context;
use crate::cli::error::CommandError;
use crate::cli::inside;
use crate::model::ServiceName;
use crate::record::Container;
use crate::watch::rule::Rule;
use crate::watch::sync::{Owner, Pair, Replaced, Staging};

/// What is known of copies; what waits for its name is taken away when it is dropped.
#[derive(Debug, Default)]
pub struct Copies {
    /// What was written before its save is over, by container.
    ahead: BTreeMap<String, Staging>,
    /// Whom copies belong to, by container, so that a save need not find it out again.
    owners: BTreeMap<String, Owner>,
    /// Containers that have all that was copied so far.
    known: BTreeSet<String>,
    /// What was copied, for containers that come later.
    copied: BTreeMap<Origin, BTreeSet<PathBuf>>,
}

/// The rule by which something was copied: its service, its path, and where that goes.
type Origin = (ServiceName, PathBuf, PathBuf);

impl Copies {
    /// Writes files for their places in a container that runs, [`side_by_side`](Staging::prepare) or not; what fails is left to
    /// [`Self::copy`].
    pub fn prepare(
        &mut self,
        container: &Container,
        files: &[Pair],
        side_by_side: bool,
        context: &Context,
    ) {
        let id = &container.record.id;
        if container.state.process.is_none() {
            return;
        }
        if !self.ahead.contains_key(id) {
            let Ok(staging) = self.staging(container, context) else { return };
            self.ahead.insert(id.clone(), staging);
        }
        if let Some(staging) = self.ahead.get_mut(id) {
            staging.prepare(files, side_by_side);
        }
    }

    /// Takes back what was written of `from`: it was touched again.
    pub fn forget(&mut self, from: &Path) {
        self.ahead.values_mut().for_each(|staging| staging.forget(from));
    }

    /// Takes back all that was written ahead: the containers that it was meant for may go, or have gone.
    pub fn give_up(&mut self) {
        self.ahead.clear();
    }

    /// Keeps in mind what is copied by `rule`.
    pub fn remember(&mut self, rule: &Rule, paths: impl IntoIterator<Item = PathBuf>) {
        self.copied.entry(origin(rule)).or_default().extend(paths);
    }

    /// What was copied for `services` need not be copied again: it is in their images.
    pub fn forget_services(&mut self, services: &BTreeSet<ServiceName>) {
        self.copied.retain(|(service, ..), _| !services.contains(service));
    }

    /// Gives those of `all` containers that have come since all that was copied into those before them. One that does not take
    /// it is tried again the next time.
    pub fn catch_up(
        &mut self,
        all: &[Container],
        rules: &[Rule],
        context: &Context,
        failures: &mut Failures,
    ) {
        for container in all.iter().filter(|one| !one.record.oneoff) {
            if self.known.contains(&container.record.id) {
                continue;
            }
            let mut files = BTreeMap::new();
            for rule in rules.iter().filter(|rule| rule.service == container.record.service) {
                let paths = self.copied.get(&origin(rule)).into_iter().flatten();
                files.extend(paths.filter_map(|from| Some((from.clone(), rule.target_of(from)?))));
            }
            if !files.is_empty()
                && failures.keep(self.write(container, &files, None, context)).is_none()
            {
                continue;
            }
            self.known.insert(container.record.id.clone());
        }
    }

    /// Copies `files` into `container`, whether it runs or not: one that a mistake has ended gets the correction. What of
    /// it was written ahead has only to be named. Returns what was in the places before.
    ///
    /// # Errors
    ///
    /// When its file system cannot be opened, and what could not be written.
    pub fn copy(
        &mut self,
        container: &Container,
        files: &BTreeMap<PathBuf, PathBuf>,
        context: &Context,
    ) -> Result<Replaced, CommandError> {
        let prepared = self.ahead.remove(&container.record.id);
        self.write(container, files, prepared, context)
    }

    fn write(
        &mut self,
        container: &Container,
        files: &BTreeMap<PathBuf, PathBuf>,
        prepared: Option<Staging>,
        context: &Context,
    ) -> Result<Replaced, CommandError> {
        let known: &Self = self;
        let write = || -> Result<(Owner, Replaced), CommandError> {
            let staging = match prepared {
                Some(staging) => staging,
                None => known.staging(container, context)?,
            };
            let owner = staging.owner();
            Ok((owner, staging.finish(files)?.replaced))
        };
        let (owner, replaced) = match container.state.process {
            Some(_) => write()?,
            // Its file system is mounted in a mount namespace, which is the thread's own and goes with it.
            None => thread::scope(|scope| {
                let thread = scope.spawn(write);
                thread.join().unwrap_or_else(|_| Err(CommandError::failed("a copy was cut off")))
            })?,
        };
        self.owners.insert(container.record.id.clone(), owner);
        Ok(replaced)
    }

    fn staging(&self, container: &Container, context: &Context) -> Result<Staging, CommandError> {
        let root = inside::root(container, context)?;
        let owner = match self.owners.get(&container.record.id) {
            Some(owner) => *owner,
            None => {
                let user = context.launch(container)?.user;
                runtime::owner(&root, &user)
                    .map_err(|failure| CommandError::failed(failure.to_string()))?
            }
        };
        Staging::new(root, owner)
            .map_err(|error| CommandError::failed(format!("random bytes: {error}")))
    }
}

/// The containers of `service` that the file describes, in order.
pub fn of<'c>(
    containers: &'c [Container],
    service: &'c ServiceName,
) -> impl Iterator<Item = &'c Container> {
    containers.iter().filter(move |one| one.record.service == *service && !one.record.oneoff)
}

fn origin(rule: &Rule) -> Origin {
    (rule.service.clone(), rule.path.clone(), rule.target.clone())
}
