//! What is done with services after a save: files are copied, containers restarted, commands run, images built anew.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::Instant;

use images::{Force, Store};

use super::containers::{self, copy};
use super::engine::Engine;
use crate::api::{
    BuildOptions, BuildWhen, HookRequest, RestartOptions, RestartRequest, UpOptions, UpRequest,
    path,
};
use crate::cli::error::CommandError;
use crate::cli::image::prune;
use crate::cli::terminal::Terminal;
use crate::model::{Hook, ServiceName};
use crate::watch::sync::Replaced;

/// What is to be done with one service after a save.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) copies: BTreeMap<PathBuf, PathBuf>,
    pub(super) restart: bool,
    /// Commands that are to run.
    pub(super) commands: Vec<Hook>,
}

impl Work {
    /// Has a command run, once.
    pub(super) fn run(&mut self, command: &Hook) {
        if !self.commands.contains(command) {
            self.commands.push(command.clone());
        }
    }
}

impl Engine {
    /// Copies, restarts and runs commands, each for all services before the next. Restarts and commands are left to the next
    /// save if that has begun while files were copied: whoever saves was not done. Nobody waits for more than one save.
    pub(super) fn carry_out(
        &mut self,
        mut work: BTreeMap<ServiceName, Work>,
        stop: Option<BorrowedFd<'_>>,
        terminal: &mut Terminal,
    ) -> Result<(), CommandError> {
        let all = self.context.containers(self.project.name.as_str())?;
        self.catch_up(&all)?;
        let mut replaced = Replaced::default();
        let mut failed: Option<CommandError> = None;
        let mut keep = |result: Result<(), CommandError>| match (result, &mut failed) {
            (Ok(()), _) => {}
            (Err(error), None) => failed = Some(error),
            (Err(error), Some(first)) => {
                first.drawn.push_str(&error.drawn);
                first.failures.extend(error.failures);
            }
        };
        for (service, Work { copies, .. }) in work.iter().filter(|(_, one)| !one.copies.is_empty())
        {
            for container in containers::of(&all, service) {
                let copied =
                    copy(container, copies, &mut self.ahead, &mut self.owners, &self.context);
                keep(copied.map(|one| replaced.append(one)));
            }
            let count = copies.len();
            let files = if count == 1 { "file" } else { "files" };
            terminal.note(&format!("Service {service}: {count} {files} synced"));
        }
        let owed = std::mem::take(&mut self.owed);
        let is_second = !owed.is_empty();
        for (service, one) in owed {
            let work = work.entry(service).or_default();
            work.restart |= one.restart;
            one.commands.iter().for_each(|command| work.run(command));
        }
        self.take_in()?;
        if !is_second && self.batch.wait(Instant::now()).is_some() {
            self.owed = work;
            return failed.map_or(Ok(()), Err);
        }
        let restarts = work.iter().filter(|(_, one)| one.restart);
        let services: Vec<ServiceName> = restarts.map(|(service, _)| service.clone()).collect();
        if !services.is_empty() {
            let options = RestartOptions { services, ..RestartOptions::default() };
            let request = RestartRequest { project: Some(self.project.clone()), options };
            keep(self.ask(path::RESTART, &request, stop, terminal).map(drop));
        }
        for (service, Work { commands, .. }) in work {
            for hook in commands {
                let words = hook.command.join(" ");
                let request = HookRequest { service: service.clone(), hook };
                let ran = self.ask(path::HOOK, &request, stop, terminal);
                if ran.is_ok() {
                    terminal.note(&format!("Service {service}: `{words}` has run"));
                }
                keep(ran.map(drop));
            }
        }
        // Nobody waits for that.
        drop(replaced);
        failed.map_or(Ok(()), Err)
    }

    /// Builds the images of `services` anew, and brings them up.
    pub(super) fn rebuild(
        &mut self,
        services: &BTreeSet<ServiceName>,
        stop: Option<BorrowedFd<'_>>,
        terminal: &mut Terminal,
    ) -> Result<(), CommandError> {
        let names: Vec<&str> = services.iter().map(ServiceName::as_str).collect();
        terminal.note(&format!("Rebuilding {}", names.join(", ")));
        let store = Store::open(&self.context.roots().images())?;
        let project = &self.project;
        let references = services.iter().filter_map(|name| project.services.get(name));
        let references: Vec<String> =
            references.map(|service| service.image_reference(&project.name)).collect();
        let mut before = BTreeSet::new();
        for reference in &references {
            before.extend(store.find(reference)?.map(|image| image.id.to_string()));
        }
        // What was copied by hand is in the image now.
        self.copied.retain(|(service, ..), _| !services.contains(service));
        let options = UpOptions {
            services: services.iter().cloned().collect(),
            dependencies: false,
            build: BuildOptions { when: BuildWhen::Always, ..self.wishes.options.build.clone() },
            ..self.wishes.options.clone()
        };
        let request = UpRequest { project: self.project.clone(), options };
        self.ask(path::UP, &request, stop, terminal)?;
        if self.wishes.prune {
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
            match store.remove(id, Force::No, |image| prune::user(image, &self.context)) {
                Ok(_)
                | Err(images::RemoveError::InUse { .. } | images::RemoveError::NotFound(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
