//! The mounted hierarchies of a machine, and how a container's directories are made in them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;

use super::limits::{Devices, Limits, parse_list, refused};
use super::setting::{Purpose, Setting};
use super::{CgroupError, Hierarchy, Place, devices, file, v1, v2};

/// Where every distribution mounts them.
const ROOT: &str = "/sys/fs/cgroup";

/// How often a directory is tried again when another process removes its parent in between.
const ATTEMPTS: usize = 16;

/// The mount points of the hierarchies.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    pub(super) hierarchy: Hierarchy,
    /// Top of the version 2 tree.
    pub(super) unified: Option<PathBuf>,
    /// Tops of the version 1 trees by controller, symbolic links resolved.
    pub(super) controllers: BTreeMap<&'static str, PathBuf>,
}

impl Tree {
    /// The hierarchies of this machine, looked at once for each process.
    pub(super) fn host() -> Result<&'static Self, CgroupError> {
        static HOST: OnceLock<Tree> = OnceLock::new();
        if let Some(tree) = HOST.get() {
            return Ok(tree);
        }
        let found = Self::at(Path::new(ROOT))?;
        Ok(HOST.get_or_init(|| found))
    }

    /// Tells the three layouts apart by file system type, as runc and systemd do.
    pub(super) fn at(root: &Path) -> Result<Self, CgroupError> {
        let unified = root.join("unified");
        if is_version_2(root) {
            return Ok(Self::unified(root));
        }
        let controllers: BTreeMap<_, _> = v1::CONTROLLERS
            .into_iter()
            .filter_map(|name| Some((name, mounted(root, name)?)))
            .collect();
        let hybrid = is_version_2(&unified);
        if controllers.is_empty() {
            return if hybrid {
                Ok(Self::unified(&unified))
            } else {
                Err(CgroupError::NotMounted(root.to_owned()))
            };
        }
        let hierarchy = if hybrid { Hierarchy::Hybrid } else { Hierarchy::Legacy };
        Ok(Self { hierarchy, unified: hybrid.then_some(unified), controllers })
    }

    /// A version 2 tree alone.
    pub(super) fn unified(top: &Path) -> Self {
        Self {
            hierarchy: Hierarchy::Unified,
            unified: Some(top.to_owned()),
            controllers: BTreeMap::new(),
        }
    }

    /// Makes the directories of a container and sets its limits; takes back what it made if that fails.
    pub(super) fn create(&self, name: &str, limits: &Limits) -> Result<Place, CgroupError> {
        limits.check()?;
        self.check_cpuset(limits)?;
        let place = self.place(name, limits)?;
        let made = self
            .make(&place, limits)
            .and_then(|()| self.limit(&place, limits, Purpose::Fresh, None));
        if made.is_err() {
            place.discard();
        }
        made.map(|()| place)
    }

    /// The directories that a container with these limits has.
    pub(super) fn place(&self, name: &str, limits: &Limits) -> Result<Place, CgroupError> {
        check_name("cgroup name", name)?;
        let mut place = Place {
            hierarchy: self.hierarchy,
            name: name.to_owned(),
            unified: self.unified.as_ref().map(|top| top.join(name)),
            controllers: BTreeMap::new(),
        };
        if self.hierarchy == Hierarchy::Unified {
            return Ok(place);
        }
        for controller in v1::controllers(limits, self.hierarchy) {
            if let Some(top) = self.controllers.get(controller) {
                place.controllers.insert(controller.to_owned(), top.join(name));
            }
        }
        // A container whose devices cannot be restricted could read the disks of the host.
        if matches!(limits.devices, Devices::Only(_)) && !place.controllers.contains_key("devices")
        {
            return Err(CgroupError::MissingController {
                controller: "devices",
                tree: PathBuf::from(ROOT),
            });
        }
        Ok(place)
    }

    /// Moves this process to where it is in one version 1 tree.
    pub(super) fn expect_moves(&self) -> Result<(), CgroupError> {
        let Some((controller, top)) = self.controllers.first_key_value() else { return Ok(()) };
        let membership = file::read(Path::new("/proc/self"), "cgroup")?;
        let own = membership.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            controllers.split(',').any(|name| name == *controller).then_some(path)
        });
        let Some(own) = own else { return Ok(()) };
        let directory = top.join(own.trim_start_matches('/'));
        // In a name space of control groups the same path may be another group.
        let this = i32::try_from(std::process::id()).unwrap_or_default();
        if !file::pids(&directory).contains(&this) {
            return Ok(());
        }
        file::write(&directory, "cgroup.procs", "0")
    }

    /// The directories of this name that are there.
    pub(super) fn existing(&self, name: &str) -> Result<Option<Place>, CgroupError> {
        check_name("cgroup name", name)?;
        let there = |top: &PathBuf| Some(top.join(name)).filter(|directory| directory.is_dir());
        let place = Place {
            hierarchy: self.hierarchy,
            name: name.to_owned(),
            unified: self.unified.as_ref().and_then(there),
            controllers: self
                .controllers
                .iter()
                .filter_map(|(controller, top)| Some(((*controller).to_owned(), there(top)?)))
                .collect(),
        };
        let found = place.directories().next().is_some();
        Ok(found.then_some(place))
    }

    fn make(&self, place: &Place, limits: &Limits) -> Result<(), CgroupError> {
        if let Some(directory) = &place.unified {
            make_fresh(directory, &|_| Ok(()))?;
            if self.hierarchy == Hierarchy::Unified {
                enable(directory, place.depth(), limits)?;
            }
        }
        for directory in place.version_1_directories() {
            make_fresh(directory, prepare(place, directory))?;
        }
        Ok(())
    }

    /// Adds the directories that new limits need and moves the processes into them.
    pub(super) fn extend(&self, place: &mut Place, limits: &Limits) -> Result<(), CgroupError> {
        let wanted = self.place(&place.name, limits)?;
        for (controller, directory) in wanted.controllers {
            if place.controllers.contains_key(&controller) {
                continue;
            }
            let known = place.version_1_directories().any(|other| other == directory);
            place.controllers.insert(controller, directory.clone());
            if !known {
                make_fresh(&directory, prepare(place, &directory))?;
                place.move_all(&directory)?;
            }
        }
        if let (Hierarchy::Unified, Some(directory)) = (self.hierarchy, &place.unified) {
            enable(directory, place.depth(), limits)?;
        }
        Ok(())
    }

    /// Writes the limits; the devices only at the beginning.
    pub(super) fn limit(
        &self,
        place: &Place,
        limits: &Limits,
        purpose: Purpose,
        current_total: Option<u64>,
    ) -> Result<(), CgroupError> {
        let settings = match self.hierarchy {
            Hierarchy::Unified => v2::settings(limits, purpose)?,
            Hierarchy::Hybrid | Hierarchy::Legacy => v1::settings(limits, purpose, current_total)?,
        };
        for setting in settings.iter().chain(&self.cpuset_reset(place, limits, purpose)?) {
            self.apply(place, setting, purpose)?;
        }
        match (&limits.devices, purpose) {
            (Devices::Only(rules), Purpose::Fresh) => devices::restrict(place, rules),
            _ => Ok(()),
        }
    }

    /// Back to the parent's processors and memory nodes: version 2 inherits what is empty, version 1 needs a copy.
    fn cpuset_reset(
        &self,
        place: &Place,
        limits: &Limits,
        purpose: Purpose,
    ) -> Result<Vec<Setting>, CgroupError> {
        let mut settings = Vec::new();
        let parent = place.directory("cpuset").and_then(Path::parent);
        let (Purpose::Update, Some(parent)) = (purpose, parent) else { return Ok(settings) };
        for (name, wish) in
            [("cpuset.cpus", &limits.cpuset_cpus), ("cpuset.mems", &limits.cpuset_mems)]
        {
            let value = match (wish, self.hierarchy) {
                (Some(_), _) => continue,
                (None, Hierarchy::Unified) => "\n".to_owned(),
                (None, Hierarchy::Hybrid | Hierarchy::Legacy) => file::read(parent, name)?,
            };
            settings.push(Setting::new("cpuset", name, value).optional());
        }
        Ok(settings)
    }

    fn apply(&self, place: &Place, setting: &Setting, purpose: Purpose) -> Result<(), CgroupError> {
        match place.directory(setting.controller) {
            Some(directory) => setting.apply(directory, purpose),
            None if purpose == Purpose::Update => Ok(()),
            None => Err(CgroupError::MissingController {
                controller: setting.controller,
                tree: PathBuf::from(ROOT),
            }),
        }
    }

    /// Refuses processors and memory nodes that the machine does not offer: version 2 would silently use others.
    pub(super) fn check_cpuset(&self, limits: &Limits) -> Result<(), CgroupError> {
        let (top, names) = match (self.hierarchy, &self.unified, self.controllers.get("cpuset")) {
            (Hierarchy::Unified, Some(top), _) => {
                (top, ["cpuset.cpus.effective", "cpuset.mems.effective"])
            }
            (_, _, Some(top)) => (top, ["cpuset.effective_cpus", "cpuset.effective_mems"]),
            _ => return Ok(()),
        };
        let wishes = [
            ("cpuset", &limits.cpuset_cpus, names[0]),
            ("cpuset_mems", &limits.cpuset_mems, names[1]),
        ];
        for (limit, list, name) in wishes {
            let Some(text) = list else { continue };
            let Ok(available) = file::read(top, name) else { continue };
            let offered = parse_list(&available).unwrap_or_default();
            if let Some(missing) =
                parse_list(text).unwrap_or_default().iter().find(|number| !offered.contains(number))
            {
                return Err(refused(
                    limit,
                    text,
                    format!("{missing} is not among the available ones, {available}"),
                ));
            }
        }
        Ok(())
    }
}

fn is_version_2(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|found| u64::try_from(found.f_type) == Ok(0x6367_7270))
}

/// Top of a version 1 tree; distributions link `cpu` and `cpuacct` to `cpu,cpuacct`.
fn mounted(root: &Path, controller: &str) -> Option<PathBuf> {
    let top = fs::canonicalize(root.join(controller)).ok()?;
    top.join("cgroup.procs").exists().then_some(top)
}

/// Refuses names that would lead out of the tree.
pub(super) fn check_name(limit: &'static str, name: &str) -> Result<(), CgroupError> {
    let allowed = |part: Component<'_>| matches!(part, Component::Normal(_));
    let whole = Path::new(name).components().all(allowed) && !name.is_empty();
    if whole { Ok(()) } else { Err(refused(limit, name, "must be a relative path without `..`")) }
}

/// What a directory needs before a process may enter it.
type Prepare<'a> = &'a dyn Fn(&Path) -> Result<(), CgroupError>;

fn prepare(place: &Place, directory: &Path) -> Prepare<'static> {
    if place.directory("cpuset") == Some(directory) { &inherit_cpuset } else { &|_| Ok(()) }
}

/// Makes a directory that must not be in use: one left behind by a container of the same name is removed first.
fn make_fresh(directory: &Path, prepare: Prepare<'_>) -> Result<(), CgroupError> {
    let mut outcome = Ok(());
    for _ in 0..ATTEMPTS {
        outcome = make(directory, prepare);
        match &outcome {
            Err(CgroupError::Create { source, .. })
                if source.kind() == io::ErrorKind::AlreadyExists => {}
            Err(CgroupError::Create { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                continue;
            }
            _ => return outcome,
        }
        let pids = file::pids(directory);
        if !pids.is_empty() {
            return Err(CgroupError::Occupied { path: directory.to_owned(), pids });
        }
        remove_tree(directory)
            .map_err(|source| CgroupError::Create { path: directory.to_owned(), source })?;
    }
    outcome
}

/// mkdir(2) with parents: the directory itself must be new, a parent may be there.
fn make(directory: &Path, prepare: Prepare<'_>) -> Result<(), CgroupError> {
    match (fs::create_dir(directory), directory.parent()) {
        (Ok(()), _) => prepare(directory),
        (Err(source), Some(parent)) if source.kind() == io::ErrorKind::NotFound => {
            match make(parent, prepare) {
                Err(CgroupError::Create { source, .. })
                    if source.kind() == io::ErrorKind::AlreadyExists => {}
                other => other?,
            }
            fs::create_dir(directory)
                .map_err(|source| CgroupError::Create { path: directory.to_owned(), source })?;
            prepare(directory)
        }
        (Err(source), _) => Err(CgroupError::Create { path: directory.to_owned(), source }),
    }
}

/// Copies the processors and memory nodes of the parent: version 1 starts with none, and nothing may enter then.
fn inherit_cpuset(directory: &Path) -> Result<(), CgroupError> {
    for name in ["cpuset.cpus", "cpuset.mems"] {
        if !file::read(directory, name)?.is_empty() {
            continue;
        }
        let Some(parent) = directory.parent() else { continue };
        let mut value = file::read(parent, name)?;
        if value.is_empty() {
            // Another process has made the parent and not come to this yet.
            inherit_cpuset(parent)?;
            value = file::read(parent, name)?;
        }
        file::write(directory, name, &value)?;
    }
    Ok(())
}

/// Switches controllers on for a version 2 directory, from the top of the tree down to its parent.
///
/// The first container of a project pays for this; for the others the single read says that all is there.
fn enable(directory: &Path, depth: usize, limits: &Limits) -> Result<(), CgroupError> {
    let required = v2::required(limits);
    let mut wanted: Vec<&'static str> = v2::COUNTING.to_vec();
    wanted.extend(required.iter().filter(|controller| !v2::COUNTING.contains(controller)));
    let lacking =
        |directory: &Path, of: &[&'static str]| -> Result<Vec<&'static str>, CgroupError> {
            let have = file::read(directory, "cgroup.controllers")?;
            Ok(of
                .iter()
                .copied()
                .filter(|controller| !have.split(' ').any(|word| word == *controller))
                .collect())
        };
    let missing = lacking(directory, &wanted)?;
    let mut refusal = None;
    let ancestors: Vec<&Path> = directory.ancestors().skip(1).take(depth).collect();
    for ancestor in ancestors.iter().rev().filter(|_| !missing.is_empty()) {
        refusal = enable_below(ancestor, &missing).err().or(refusal);
    }
    match (lacking(directory, &required)?.first(), refusal) {
        (None, _) => Ok(()),
        (Some(_), Some(refusal)) => Err(refusal),
        (Some(controller), None) => Err(CgroupError::MissingController {
            controller,
            tree: directory.ancestors().nth(depth).unwrap_or(directory).to_owned(),
        }),
    }
}

/// Enables what a directory has and its children lack; all at once, then one by one, as one refusal is for all.
fn enable_below(directory: &Path, controllers: &[&str]) -> Result<(), CgroupError> {
    let have = file::read(directory, "cgroup.controllers")?;
    let on = file::read(directory, "cgroup.subtree_control")?;
    let missing = |name: &&&str| {
        have.split(' ').any(|word| word == **name) && !on.split(' ').any(|word| word == **name)
    };
    let commands: Vec<String> =
        controllers.iter().filter(missing).map(|name| format!("+{name}")).collect();
    if commands.is_empty()
        || file::write(directory, "cgroup.subtree_control", &commands.join(" ")).is_ok()
    {
        return Ok(());
    }
    let mut outcome = Ok(());
    for command in &commands {
        outcome = outcome.and(file::write(directory, "cgroup.subtree_control", command));
    }
    outcome
}

/// rmdir(2), with the directories that a container has made below its own; one that is gone counts as removed.
pub(super) fn remove_tree(directory: &Path) -> io::Result<()> {
    match fs::remove_dir(directory) {
        Err(error) if file::is_missing(&error) => return Ok(()),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EBUSY | libc::ENOTEMPTY)) => {}
        other => return other,
    }
    for entry in fs::read_dir(directory)?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    match fs::remove_dir(directory) {
        Err(error) if file::is_missing(&error) => Ok(()),
        other => other,
    }
}
