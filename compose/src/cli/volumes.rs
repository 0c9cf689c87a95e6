//! `compose volumes`.

use std::collections::BTreeSet;

use volumes::{Store, Volume};

use super::context::Context;
use super::error::CommandError;
use super::format::{Format, Json, List};
use super::terminal::Terminal;
use super::volume::ls::{COLUMNS, row};
use crate::model::ServiceName;
use crate::record::{Container, MountSource, labels};

/// List the volumes of the project
#[derive(Debug, clap::Args)]
pub struct VolumesArgs {
    /// Services whose volumes are listed (default: all of the project)
    #[arg(value_name = "SERVICE")]
    services: Vec<ServiceName>,
    /// How to show them: `table`, `table TEMPLATE`, `json` or a Go template
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Format,
    /// Only the names
    #[arg(long, short)]
    quiet: bool,
}

/// Prints the volumes that bear the label of the project, or those that containers of the services have.
///
/// # Errors
///
/// When a service is not known, or the store cannot be read.
pub fn run(
    args: VolumesArgs,
    context: &Context,
    terminal: &mut Terminal,
) -> Result<u8, CommandError> {
    let (target, containers) = context.containers_of(&args.services, terminal)?;
    let used = used(&containers, &args.services);
    let project = target.name.as_str();
    let shown = |volume: &Volume| match args.services.is_empty() {
        true => volume.labels.get(labels::PROJECT).is_some_and(|owner| owner == project),
        false => used.contains(volume.name.as_str()),
    };
    let mut all = Store::open(&context.roots().volumes())?.list()?;
    all.retain(shown);
    if args.quiet {
        let names: String = all.iter().map(|volume| format!("{}\n", volume.name)).collect();
        terminal.print(names)?;
        return Ok(0);
    }
    let rows = all.iter().map(row).collect::<Result<_, _>>()?;
    let list = List { columns: &COLUMNS, titles: &[], json: Json::Lines, rows };
    terminal.print(list.render(&args.format)?)?;
    Ok(0)
}

/// The volumes that containers of `services` have.
fn used(containers: &[Container], services: &[ServiceName]) -> BTreeSet<String> {
    let containers = containers.iter().filter(|one| services.contains(&one.record.service));
    let mounts = containers.flat_map(|container| &container.record.mounts);
    let names = mounts.filter_map(|mount| match &mount.source {
        MountSource::Volume { name, .. } => Some(name.clone()),
        MountSource::Bind { .. } | MountSource::Image { .. } | MountSource::Tmpfs => None,
    });
    names.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::ps::tests::container;
    use crate::record::Phase;

    #[test]
    fn volumes_of_a_service_are_those_its_containers_have() {
        let containers = [container("web", 1, Phase::Running), container("db", 1, Phase::Exited)];
        let used = used(&containers, &["db".parse().unwrap()]);
        assert_eq!(used.into_iter().collect::<Vec<_>>(), ["shop_data"]);
    }
}
