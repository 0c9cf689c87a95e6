//! Builds, side by side.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock};
use std::thread;

use images::build::{BuildError, Event, FailedStep};
use images::{Image, Store};

use super::super::context::Context;
use super::super::error::CommandError;
use super::super::terminal::Terminal;
use super::super::transfer::fetching;
use super::Voice;
use super::jobs::Job;
use super::told::{all_told, show};
use crate::build::{Bases, BuildNetwork, Outside};
use crate::model::ServiceName;

/// A shell where the step has failed, on the terminal of the user.
pub(super) fn open_shell(step: &FailedStep) {
    // How it ends says nothing about the build.
    let _ = step.shell();
}

/// Builds side by side what does not wait for another.
pub(super) fn build_all(
    jobs: &[Job],
    store: &Store,
    voice: Voice,
    shell: Option<&(dyn Fn(&FailedStep) + Sync)>,
    context: &Context,
    terminal: &mut Terminal,
) -> Result<BTreeMap<ServiceName, Image>, CommandError> {
    let network = BuildNetwork::begin(context.roots()).map_err(|error| {
        CommandError::new(&error).help("check that the data root can be written to")
    })?;
    let cells: BTreeMap<&ServiceName, OnceLock<Option<Image>>> =
        jobs.iter().map(|job| (&job.service, OnceLock::new())).collect();
    let own: BTreeSet<images::Reference> =
        jobs.iter().flat_map(|job| job.recipe.names.iter().cloned()).collect();
    let fetching = fetching(voice == Voice::Quiet)?;
    let bases = Bases { store, fetching: &fetching, own: &own };
    let failures: Mutex<Vec<(ServiceName, BuildError)>> = Mutex::default();
    let (sender, receiver) = channel();
    thread::scope(|scope| {
        for job in jobs {
            let (cells, failures, network, sender) = (&cells, &failures, &network, sender.clone());
            scope.spawn(move || {
                cells[&job.service].get_or_init(|| {
                    // Earlier ones are waited for; they are on their way already, or begin here.
                    for other in &job.after {
                        cells[other].wait().as_ref()?;
                    }
                    match build_one(job, bases, network, shell, &sender, context) {
                        Ok(image) => Some(image),
                        Err(error) => {
                            let mut failures = failures.lock().expect("nobody panics with it");
                            failures.push((job.service.clone(), error));
                            None
                        }
                    }
                });
            });
        }
        drop(sender);
        show(&receiver, voice, jobs.len() > 1, terminal);
    });
    let failures = failures.into_inner().expect("nobody panics with it");
    if !failures.is_empty() {
        return Err(all_told(&failures, context, terminal));
    }
    let mut images = BTreeMap::new();
    for (service, cell) in cells {
        if let Some(Some(image)) = cell.into_inner() {
            if voice == Voice::Full {
                let name = image.reference.as_ref().map(images::Reference::familiar);
                terminal.note(&format!(
                    "Image {} built: {}",
                    name.unwrap_or_default(),
                    image.id.short()
                ));
            }
            images.insert(service.clone(), image);
        }
    }
    Ok(images)
}

fn build_one(
    job: &Job,
    bases: Bases<'_>,
    network: &BuildNetwork,
    shell: Option<&(dyn Fn(&FailedStep) + Sync)>,
    sender: &Sender<(String, Event)>,
    context: &Context,
) -> Result<Image, BuildError> {
    let tell = |service: &str, event: Event| {
        // Whoever listens goes only when all have ended.
        let _ = sender.send((service.to_owned(), event));
    };
    let outside = Outside::new(context.roots(), network, bases, job.service.as_str(), &tell, shell);
    bases.store.build(&job.recipe, &outside)
}
