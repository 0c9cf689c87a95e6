//! `compose system prune`.
//!
//! Containers go first, because what only they had is then free: networks, volumes, images. Each is asked for again at
//! the moment of its removal, so that what a command beside this one takes meanwhile stays.

use std::collections::BTreeMap;

use images::Store;
use volumes::PruneScope;

use crate::api::{RmOptions, RmRequest, path};
use crate::cli::context::Context;
use crate::cli::error::CommandError;
use crate::cli::filter::{PruneFilter, PruneFlags};
use crate::cli::image::prune::{self as image, Which};
use crate::cli::session::Session;
use crate::cli::size::size;
use crate::cli::terminal::Terminal;
use crate::cli::{network, volume};
use crate::event::Failure;
use crate::record::{Container, list};

/// Remove stopped containers, networks and images that no container has, and the build cache
#[derive(Debug, clap::Args)]
pub struct PruneArgs {
    /// All images that no container has, not only those without a name, and the whole build cache
    #[arg(long, short)]
    all: bool,
    /// Volumes that nobody named and no container has as well
    #[arg(long)]
    volumes: bool,
    #[command(flatten)]
    flags: PruneFlags,
}

/// Asks the user, removes, and says what went and how much room that made.
///
/// # Errors
///
/// When nobody can be asked, or something resists; the rest is removed.
pub fn run(
    args: &PruneArgs,
    context: &Context,
    terminal: &mut Terminal,
) -> Result<u8, CommandError> {
    let is_until = |filter: &PruneFilter| matches!(filter, PruneFilter::Until(_));
    if args.volumes && args.flags.filter.iter().any(is_until) {
        return Err(CommandError::usage("--filter until=TIME is not for volumes").help(
            "volumes are used long after they were made: leave --volumes or the filter out",
        ));
    }
    if context.global().dry_run {
        return Err(CommandError::usage("--dry-run is for projects, not for the whole machine")
            .help("`compose system df` shows what there is to be freed"));
    }
    if !args.flags.force && !terminal.confirm(&args.warning(), "`compose system prune -f`")? {
        return Ok(0);
    }
    let mut work = Work { args, context, terminal, bytes: 0, failures: Vec::new() };
    work.containers()?;
    work.networks()?;
    if args.volumes {
        work.volumes()?;
    }
    let store = Store::open(&context.roots().images())?;
    let before = store.usage()?;
    work.images(&store)?;
    let between = store.usage()?;
    work.bytes += before.saturating_sub(between);
    work.cache(&store)?;
    let Work { bytes, failures, .. } = work;
    terminal.print(format!("Total reclaimed space: {}\n", size(bytes)))?;
    if failures.is_empty() { Ok(0) } else { Err(failures.into()) }
}

impl PruneArgs {
    fn warning(&self) -> String {
        let mut lines = vec!["all stopped containers", "all networks that no container has"];
        if self.volumes {
            lines.push("all anonymous volumes that no container has");
        }
        lines.extend(if self.all {
            ["all images that no container has", "the whole build cache"]
        } else {
            ["all images without a name", "the build cache of what no image has"]
        });
        let lines: String = lines.iter().map(|line| format!("\n  - {line}")).collect();
        format!("WARNING! This will remove:{lines}\n")
    }
}

struct Work<'a> {
    args: &'a PruneArgs,
    context: &'a Context,
    terminal: &'a mut Terminal,
    bytes: u64,
    failures: Vec<Failure>,
}

impl Work<'_> {
    /// What went, below a heading; and what did not.
    fn tell(
        &mut self,
        heading: &str,
        gone: &[String],
        failures: Vec<Failure>,
    ) -> Result<(), CommandError> {
        self.failures.extend(failures);
        if gone.is_empty() {
            return Ok(());
        }
        self.terminal.print(format!("{heading}:\n{}\n\n", gone.join("\n")))
    }

    /// Removes the containers that do not run, by the supervisors of their projects.
    fn containers(&mut self) -> Result<(), CommandError> {
        let roots = self.context.roots();
        let goes = |container: &Container| {
            let Container { record, state } = container;
            let keeps =
                |one: &PruneFilter| one.keeps(Some(record.created), |key| record.labels.get(key));
            !state.phase.is_up() && self.args.flags.filter.iter().all(keeps)
        };
        let mut projects: BTreeMap<String, Vec<Container>> = BTreeMap::new();
        for container in list::all_containers(roots)?.containers.into_iter().filter(goes) {
            projects.entry(container.record.project.clone()).or_default().push(container);
        }
        let (mut gone, mut failures) = (Vec::new(), Vec::new());
        for (project, containers) in projects {
            let weights: Vec<u64> = containers
                .iter()
                .map(|one| volumes::usage(&one.record.paths(roots).upper()))
                .collect();
            let only = containers.iter().map(|one| one.record.id.clone()).collect();
            let options = RmOptions { only, ..RmOptions::default() };
            let request = RmRequest { project: None, options };
            let session = Session::new(self.context, &project);
            if let Err(error) = session.carry_out(path::RM, &request, self.terminal) {
                failures.extend(error.failures);
            }
            for (container, bytes) in containers.into_iter().zip(weights) {
                let record = container.record;
                if record.paths(roots).record().symlink_metadata().is_err() {
                    gone.push(record.id);
                    self.bytes += bytes;
                }
            }
        }
        self.terminal.settle();
        self.tell("Deleted Containers", &gone, failures)
    }

    fn networks(&mut self) -> Result<(), CommandError> {
        let roots = self.context.roots();
        let store = ::network::Store::open(&roots.networks(), &roots.network_namespaces())?;
        let users = network::users(self.context)?;
        let keeps = |record: &::network::Record| {
            let created = record.created.try_into().ok();
            let labels = &record.wanted.labels;
            self.args.flags.filter.iter().all(|one| one.keeps(created, |key| labels.get(key)))
        };
        let unused = |record: &::network::Record| {
            users.of(record.name().as_str()).is_empty() && keeps(record)
        };
        let (gone, failures) = network::prune::remove_all(&store, unused)?;
        self.tell("Deleted Networks", &gone, failures)
    }

    fn volumes(&mut self) -> Result<(), CommandError> {
        let store = volumes::Store::open(&self.context.roots().volumes())?;
        let users = volume::users(self.context)?;
        let used = |name: &volumes::VolumeName| !users.of(name.as_str()).is_empty();
        let wanted = |volume: &volumes::Volume| {
            let labels = &volume.labels;
            self.args.flags.filter.iter().all(|one| one.keeps(None, |key| labels.get(key)))
        };
        let (pruned, failures) = store.prune(PruneScope::Anonymous, used, wanted)?;
        self.bytes += pruned.iter().map(|one| one.bytes).sum::<u64>();
        let gone: Vec<String> = pruned.iter().map(|one| one.name.to_string()).collect();
        let failures = failures.into_iter().flat_map(|error| CommandError::from(error).failures);
        self.tell("Deleted Volumes", &gone, failures.collect())
    }

    fn images(&mut self, store: &Store) -> Result<(), CommandError> {
        let which = if self.args.all { Which::All } else { Which::Nameless };
        let pruned = image::prune(which, &self.args.flags.filter, self.context, store)?;
        self.tell("Deleted Images", &pruned.lines, pruned.failures)
    }

    fn cache(&mut self, store: &Store) -> Result<(), CommandError> {
        // The cache has no labels.
        let is_label = |one: &PruneFilter| matches!(one, PruneFilter::Label(_));
        if self.args.flags.filter.iter().any(is_label) {
            return Ok(());
        }
        let pruned = store.prune_cache(|record| {
            let old = |one: &PruneFilter| one.keeps(record.used, |_| None);
            (self.args.all || !record.shared) && self.args.flags.filter.iter().all(old)
        })?;
        if pruned.busy {
            self.terminal
                .warn("an image is being built or fetched: the build cache stays as it is");
        }
        self.bytes += pruned.gone.iter().map(|record| record.size).sum::<u64>();
        let gone: Vec<String> = pruned.gone.iter().map(|record| record.id.hex()).collect();
        self.tell("Deleted build cache objects", &gone, Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::{args, refusal};

    #[test]
    fn the_warning_says_what_goes() {
        let all: PruneArgs = args(&["-a", "--volumes", "--filter", "label=x"]);
        let text = all.warning();
        assert!(text.contains("anonymous volumes") && text.contains("the whole build cache"));
        let few: PruneArgs = args(&["--filter", "until=24h"]);
        assert!(
            few.warning().contains("images without a name") && !few.warning().contains("volumes")
        );
        assert!(refusal::<PruneArgs>(&["--filter", "name=x"]).is_some());
    }
}
