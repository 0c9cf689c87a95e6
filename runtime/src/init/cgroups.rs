//! Control groups from within: joining them, and showing the container its own part of the tree.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use oci_spec::runtime::LinuxNamespaceType;
use rustix::fs::Mode;
use rustix::mount::MountAttrFlags;
use sys::clone::Namespaces;
use sys::root::Root;

use super::entry::Entry;
use super::error::{Attempt, StepError};
use super::mounts::{attach, new_file_system};
use super::options::Options;
use super::stage::Stage;
use crate::cgroup::Place;

/// Moves this process into its version 1 control groups: in the version 2 tree it was born where it belongs, and moving
/// it there again would wait for a grace period of the kernel.
pub(super) fn join(stage: &mut Stage) -> Result<(), StepError> {
    let Some(place) = &stage.entry.process.cgroup else { return Ok(()) };
    let membership =
        std::fs::read_to_string("/proc/self/cgroup").attempt(|| "/proc/self/cgroup".to_owned())?;
    let elsewhere = |directory: &&Path| !is_inside(place, directory, &membership);
    place.version_1_directories().filter(elsewhere).try_for_each(enter)
}

/// Whether this process was born in a version 1 directory of its place, its parent being there.
fn is_inside(place: &Place, directory: &Path, membership: &str) -> bool {
    let same_name = membership.lines().any(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { return false };
        path.trim_start_matches('/') == place.name
            && controllers
                .split(',')
                .any(|name| place.controllers.get(name).is_some_and(|known| known == directory))
    });
    // In a name space of control groups the same name may be another group.
    let this = std::process::id().to_string();
    let listed = || std::fs::read_to_string(directory.join("cgroup.procs"));
    same_name && listed().is_ok_and(|pids| pids.lines().any(|pid| pid == this))
}

/// Moves a process that was not born in them into the control groups of its container.
pub(super) fn join_entry(entry: &Entry) -> Result<(), StepError> {
    entry.process.cgroup.iter().flat_map(Place::directories).try_for_each(enter)
}

fn enter(directory: &Path) -> Result<(), StepError> {
    let file = directory.join("cgroup.procs");
    // 0 stands for the writer: cgroups(7).
    std::fs::write(&file, "0").attempt(|| file.display().to_string())
}

/// Makes the groups of this process the root of what the container sees.
pub(super) fn unshare(stage: &mut Stage) -> Result<(), StepError> {
    if !stage.has_namespace(LinuxNamespaceType::Cgroup) {
        return Ok(());
    }
    sys::clone::unshare(Namespaces::CGROUP).attempt(|| "unshare(CLONE_NEWCGROUP)".to_owned())
}

/// Mounts the hierarchies of this process on `target`, as the machine has them: the version 2 tree alone, or a folder
/// with one mount for each version 1 hierarchy, named and linked as on the host.
///
/// Version 1 hierarchies in which the container has no group of its own are left out: it would see the host's whole tree.
pub(super) fn mount(
    target: &OwnedFd,
    options: &Options,
    place: Option<&Place>,
) -> Result<(), StepError> {
    let membership =
        std::fs::read_to_string("/proc/self/cgroup").attempt(|| "/proc/self/cgroup".to_owned())?;
    let hierarchies: Vec<Hierarchy<'_>> = membership.lines().filter_map(Hierarchy::parse).collect();
    if let [Hierarchy::Second] = hierarchies[..] {
        let tree = new_file_system("cgroup2", &[], &[])?;
        return attach(&tree, target, options);
    }
    let folder = new_file_system("tmpfs", &[("mode", "755")], &[])?;
    attach(
        &folder,
        target,
        &Options { attributes: options.attributes & !READ_ONLY, ..options.clone() },
    )?;
    let root =
        Root::from(folder.try_clone().attempt(|| "the folder of control groups".to_owned())?);
    for hierarchy in hierarchies.iter().filter(|hierarchy| hierarchy.is_in(place)) {
        hierarchy.mount(&root, options)?;
    }
    super::mounts::set_attributes(&folder, options)
}

const READ_ONLY: u64 = MountAttrFlags::MOUNT_ATTR_RDONLY.bits() as u64;

/// One line of `/proc/self/cgroup` (cgroups(7)).
enum Hierarchy<'a> {
    /// Controllers, or `name=…`, separated by commas.
    First(&'a str),
    /// The version 2 tree.
    Second,
}

impl<'a> Hierarchy<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.splitn(3, ':');
        match (fields.next()?, fields.next()?) {
            ("0", "") => Some(Self::Second),
            (_, controllers) => Some(Self::First(controllers)),
        }
    }

    /// Whether a container in this place has a group of its own here.
    fn is_in(&self, place: Option<&Place>) -> bool {
        match (self, place) {
            (Self::First(controllers), Some(place)) => {
                controllers.split(',').any(|controller| place.controllers.contains_key(controller))
            }
            _ => true,
        }
    }

    fn mount(&self, folder: &Root, options: &Options) -> Result<(), StepError> {
        let Self::First(controllers) = self else {
            let tree = new_file_system("cgroup2", &[], &[])?;
            return attach_at(&tree, folder, "unified", options);
        };
        let tree = match controllers.strip_prefix("name=") {
            Some(name) => new_file_system("cgroup", &[("name", name)], &["none"])?,
            None => new_file_system("cgroup", &[], &controllers.split(',').collect::<Vec<_>>())?,
        };
        let name = controllers.strip_prefix("name=").unwrap_or(controllers);
        attach_at(&tree, folder, name, options)?;
        for alias in name.split(',').filter(|alias| *alias != name) {
            let place = folder.place(Path::new(alias)).attempt(|| alias.to_owned())?;
            place
                .create_symlink(name.as_ref())
                .attempt(|| format!("the link {alias} to {name}"))?;
        }
        Ok(())
    }
}

fn attach_at(
    tree: &OwnedFd,
    folder: &Root,
    name: &str,
    options: &Options,
) -> Result<(), StepError> {
    let target = folder
        .create_dir_all(Path::new(name), Mode::from_raw_mode(0o755))
        .attempt(|| format!("the folder of the hierarchy {name}"))?;
    attach(tree.as_fd(), &target, options)
}
