//! What is done with services after a save: files are copied, containers restarted, commands run, images built anew.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use images::{Force, Store};
use serde::Serialize;

use super::copies::Copies;
use super::due::Due;
use crate::api::{
    BuildOptions, BuildWhen, HookRequest, RestartOptions, RestartRequest, UpOptions, UpRequest,
    path,
};
use crate::cli::context::Context;
use crate::cli::error::CommandError;
use crate::cli::image::prune;
use crate::cli::session::{Interrupt, Outcome, Session};
use crate::cli::terminal::Terminal;
use crate::model::{Project, ServiceName, WatchAction};
use crate::watch::rule::Rule;
use crate::watch::sync::Replaced;

/// What a save leads to.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// Services whose images are built anew.
    pub rebuild: BTreeSet<ServiceName>,
    /// Files of the host and their places in the containers.
    pub copies: BTreeMap<ServiceName, BTreeMap<PathBuf, PathBuf>>,
    /// What follows when the files are in place.
    pub due: BTreeMap<ServiceName, Due>,
}

impl Work {
    /// Adds what `rule` says of `paths`, which it covers.
    pub fn add(&mut self, rule: &Rule, paths: &BTreeSet<PathBuf>) {
        let service = || rule.service.clone();
        if rule.action == WatchAction::Rebuild {
            self.rebuild.insert(service());
            return;
        }
        let due = self.due.entry(service()).or_default();
        due.restart |= matches!(rule.action, WatchAction::Restart | WatchAction::SyncRestart);
        if rule.action == WatchAction::SyncExec {
            rule.exec.iter().for_each(|command| due.run(command));
        }
        if rule.copies() {
            let pairs = paths.iter().filter_map(|from| Some((from.clone(), rule.target_of(from)?)));
            self.copies.entry(service()).or_default().extend(pairs);
        }
    }
}

/// Failures that end nothing: all are told at the end.
#[derive(Debug, Default)]
pub(super) struct Failures {
    all: Option<CommandError>,
}

impl Failures {
    /// Keeps what has failed; otherwise gives what came of it.
    pub fn keep<T>(&mut self, result: Result<T, impl Into<CommandError>>) -> Option<T> {
        let error: CommandError = match result {
            Ok(done) => return Some(done),
            Err(error) => error.into(),
        };
        match &mut self.all {
            None => self.all = Some(error),
            Some(first) => {
                first.drawn.push_str(&error.drawn);
                first.failures.extend(error.failures);
            }
        }
        None
    }

    /// All of them as one.
    pub fn told(self) -> Result<(), CommandError> {
        self.all.map_or(Ok(()), Err)
    }
}

/// Whoever carries out what a save leads to, by asking the supervisor for it or, with files, alone.
pub(super) struct Hands<'a> {
    pub context: &'a Context,
    pub project: &'a Project,
    /// When it can be read, nothing is waited for.
    pub stop: Option<BorrowedFd<'a>>,
    pub terminal: &'a mut Terminal,
}

impl Hands<'_> {
    /// Copies files into all containers of the services. What was in their places is to be let go of when nobody waits.
    pub fn copy(
        &mut self,
        changes: &BTreeMap<ServiceName, BTreeMap<PathBuf, PathBuf>>,
        rules: &[Rule],
        copies: &mut Copies,
        failures: &mut Failures,
    ) -> Replaced {
        let mut replaced = Replaced::default();
        let all = self.context.containers(self.project.name.as_str());
        let Some(all) = failures.keep(all) else { return replaced };
        copies.catch_up(&all, rules, self.context, failures);
        for (service, files) in changes.iter().filter(|(_, files)| !files.is_empty()) {
            let mut done = true;
            for container in super::copies::of(&all, service) {
                let copied = failures.keep(copies.copy(container, files, self.context));
                done &= copied.is_some();
                replaced.append(copied.unwrap_or_default());
            }
            if done {
                let count = files.len();
                let files = if count == 1 { "file" } else { "files" };
                self.terminal.note(&format!("Service {service}: {count} {files} synced"));
            }
        }
        replaced
    }

    /// Restarts, and then runs commands, for all services at once.
    pub fn follow_up(&mut self, due: BTreeMap<ServiceName, Due>, failures: &mut Failures) {
        let restarts = due.iter().filter(|(_, one)| one.restart);
        let services: Vec<ServiceName> = restarts.map(|(service, _)| service.clone()).collect();
        if !services.is_empty() {
            let options = RestartOptions { services, ..RestartOptions::default() };
            let request = RestartRequest { project: Some(self.project.clone()), options };
            failures.keep(self.ask(path::RESTART, &request));
        }
        for (service, Due { commands, .. }) in due {
            for hook in commands {
                let words = hook.command.join(" ");
                let request = HookRequest { service: service.clone(), hook };
                if failures.keep(self.ask(path::HOOK, &request)).is_some() {
                    self.terminal.note(&format!("Service {service}: `{words}` has run"));
                }
            }
        }
    }

    /// Builds the images of `services` anew, and brings them up as `options` say.
    ///
    /// # Errors
    ///
    /// When one cannot be built, or its containers do not come up with it.
    pub fn rebuild(
        &mut self,
        services: &BTreeSet<ServiceName>,
        options: &UpOptions,
        is_pruned: bool,
    ) -> Result<(), CommandError> {
        let names: Vec<&str> = services.iter().map(ServiceName::as_str).collect();
        self.terminal.note(&format!("Rebuilding {}", names.join(", ")));
        let store = Store::open(&self.context.roots().images())?;
        let project = self.project;
        let references = services.iter().filter_map(|name| project.services.get(name));
        let references: Vec<String> =
            references.map(|service| service.image_reference(&project.name)).collect();
        let mut before = BTreeSet::new();
        for reference in &references {
            before.extend(store.find(reference)?.map(|image| image.id.to_string()));
        }
        let options = UpOptions {
            services: services.iter().cloned().collect(),
            dependencies: false,
            build: BuildOptions { when: BuildWhen::Always, ..options.build.clone() },
            ..options.clone()
        };
        let request = UpRequest { project: project.clone(), options };
        self.ask(path::UP, &request)?;
        if is_pruned {
            self.prune(&store, &before)?;
        }
        Ok(())
    }

    /// Removes images that a rebuild has left without a name.
    fn prune(&self, store: &Store, before: &BTreeSet<String>) -> Result<(), CommandError> {
        let listing = store.list()?;
        for id in before {
            let named =
                |image: &images::Image| image.id.to_string() == *id && image.reference.is_some();
            if listing.images.iter().any(named) {
                continue;
            }
            match store.remove(id, Force::No, |image| prune::user(image, self.context)) {
                Ok(_)
                | Err(images::RemoveError::InUse { .. } | images::RemoveError::NotFound(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Has the supervisor do something; shows how it goes.
    ///
    /// # Errors
    ///
    /// What the supervisor says, and that there is none.
    pub fn ask<T: Serialize>(&mut self, path: &str, request: &T) -> Result<Outcome, CommandError> {
        let session = Session::new(self.context, self.project.name.as_str());
        session.carry_out_until(path, request, self.terminal, Interrupt::Readable(self.stop))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_together() {
        let mut failures = Failures::default();
        assert_eq!(failures.keep(Ok::<_, CommandError>(7)), Some(7));
        for word in ["one", "two"] {
            assert_eq!(failures.keep(Err::<(), _>(CommandError::failed(word))), None);
        }
        let told = failures.told().unwrap_err();
        let messages: Vec<_> = told.failures.iter().map(|one| one.message.as_str()).collect();
        assert_eq!(messages, ["one", "two"]);
        assert!(Failures::default().told().is_ok());
    }
}
