//! Which containers there are: a walk over small files, tolerant of what a
//! killed process left half-made.

use std::fs;
use std::io;
use std::path::Path;

use runtime::cgroup;
use rustix::rand::{GetRandomFlags, getrandom};

use super::liveness::has_keeper;
use super::replace::RecordError;
use super::{
    BootId, ContainerRecord, ContainerState, Exits, Phase, Roots, StartRecord, Terms, names,
};

/// A container as the records and the kernel know it.
#[derive(Debug, Clone, PartialEq)]
pub struct Container {
    /// What it is.
    pub record: ContainerRecord,
    /// How it is, checked against the kernel.
    pub state: ContainerState,
}

/// A container folder without a usable record: a creation or removal that was
/// cut off. To be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Garbage {
    /// The project in whose folder it lies.
    pub project: String,
    /// The id, which is the folder's name.
    pub id: String,
}

/// What lies in the container folders of one or all projects.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Listing {
    /// In the order of project, service, number and name.
    pub containers: Vec<Container>,
    /// In no order.
    pub garbage: Vec<Garbage>,
}

/// Who looks at a container whose process is gone, before its supervisor has written down what follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Eye {
    /// The supervisor, which decides what follows.
    Supervisor,
    /// Everybody else: what will be started again is restarting, as it will be a moment later.
    Others,
}

/// Lists the containers of `project`. A project without a folder has none.
///
/// Two small files and one `/proc` file are read per container.
///
/// # Errors
///
/// When a record is newer than this binary or the kernel refuses a read.
pub fn containers(roots: &Roots, project: &str) -> Result<Listing, RecordError> {
    listing(roots, project, Eye::Others)
}

/// As [`containers`], for the supervisor that takes them up: what follows the end of a process is for it to say.
///
/// # Errors
///
/// As [`containers`].
pub fn to_take_up(roots: &Roots, project: &str) -> Result<Listing, RecordError> {
    listing(roots, project, Eye::Supervisor)
}

fn listing(roots: &Roots, project: &str, eye: Eye) -> Result<Listing, RecordError> {
    let mut listing = Listing::default();
    list_project(roots, project, &current_boot()?, eye, &mut listing)?;
    sort(&mut listing.containers);
    Ok(listing)
}

/// Lists the containers of all projects.
///
/// # Errors
///
/// As [`containers`].
pub fn all_containers(roots: &Roots) -> Result<Listing, RecordError> {
    let boot = current_boot()?;
    let mut listing = Listing::default();
    for project in projects(roots)? {
        list_project(roots, &project, &boot, Eye::Others, &mut listing)?;
    }
    sort(&mut listing.containers);
    Ok(listing)
}

/// The names of all projects that have a folder, sorted.
///
/// # Errors
///
/// When the kernel refuses a read.
pub fn projects(roots: &Roots) -> Result<Vec<String>, RecordError> {
    let mut projects = folder_names(&roots.projects())?;
    projects.sort_unstable();
    Ok(projects)
}

/// Finds a container anywhere by its whole name, its id, or a prefix of its
/// id that no other id has.
///
/// # Errors
///
/// [`FindError`].
pub fn find(roots: &Roots, wanted: &str) -> Result<Container, FindError> {
    if let Some(holder) = names::holder(roots, wanted)
        && let Some(container) = one(roots, &holder.project, &holder.id)?
    {
        return Ok(container);
    }
    let mut matches = Vec::new();
    for project in projects(roots)? {
        for id in container_ids(roots, &project)? {
            if !wanted.is_empty() && id.starts_with(wanted) {
                matches.extend(one(roots, &project, &id)?);
            }
        }
    }
    match matches.len() {
        0 | 1 => matches.pop().ok_or_else(|| FindError::Missing { wanted: wanted.to_owned() }),
        _ => Err(FindError::Ambiguous {
            wanted: wanted.to_owned(),
            names: matches.into_iter().map(|container| container.record.name).collect(),
        }),
    }
}

/// No container could be found.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// There is none.
    #[error("no such container: {wanted}")]
    Missing {
        /// What was asked for.
        wanted: String,
    },
    /// There are several.
    #[error("the id prefix {wanted} stands for several containers: {}", names.join(", "))]
    Ambiguous {
        /// What was asked for.
        wanted: String,
        /// Their names.
        names: Vec<String>,
    },
    /// The records could not be read.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// Reads one container; `None` if it has no usable record.
///
/// # Errors
///
/// As [`containers`].
pub fn one(roots: &Roots, project: &str, id: &str) -> Result<Option<Container>, RecordError> {
    let exits = Exits::read(&roots.project(project).exits())?;
    read(roots, project, id, &current_boot()?, &exits, Eye::Others)
}

/// Makes an id for a new container: 64 random hexadecimal digits.
///
/// # Errors
///
/// When the kernel has no random bytes (getrandom(2) in early boot).
pub fn new_id() -> io::Result<String> {
    let mut bytes = [0; 32];
    let mut filled = 0;
    while filled < bytes.len() {
        filled += getrandom(&mut bytes[filled..], GetRandomFlags::empty())?;
    }
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn list_project(
    roots: &Roots,
    project: &str,
    boot: &BootId,
    eye: Eye,
    listing: &mut Listing,
) -> Result<(), RecordError> {
    let ids = container_ids(roots, project)?;
    if ids.is_empty() {
        return Ok(());
    }
    let exits = Exits::read(&roots.project(project).exits())?;
    for id in ids {
        match read(roots, project, &id, boot, &exits, eye)? {
            Some(container) => listing.containers.push(container),
            None => listing.garbage.push(Garbage { project: project.to_owned(), id }),
        }
    }
    Ok(())
}

fn read(
    roots: &Roots,
    project: &str,
    id: &str,
    boot: &BootId,
    exits: &Exits,
    eye: Eye,
) -> Result<Option<Container>, RecordError> {
    let paths = roots.container(project, id);
    let record = match ContainerRecord::read(&paths) {
        Ok(Some(record)) if record.id == id && record.project == project => record,
        // Not synced when it was written, so a power loss may have emptied it.
        Ok(_) | Err(RecordError::Damaged { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let known = ContainerState::read(&paths)?;
    let ran = known.process.is_some();
    let is_of_now = known.process.as_ref().is_some_and(|process| process.boot_id == *boot);
    let mut state = known.settled(id, boot, exits);
    if ran && state.process.is_none() {
        // Its supervisor is about to write down how it ended, and then removes the control group that tells it as well.
        match cgroup::existing(&StartRecord::cgroup_name(&paths, project, id)) {
            Ok(Some(place)) => state.oom = place.was_oom_killed(),
            _ => state = ContainerState::read(&paths)?.settled(id, boot, exits),
        }
        if eye == Eye::Others
            && is_of_now
            && state.phase == Phase::Exited
            && !state.stop_requested
            && Terms::of(&record).restarts(state.exit, state.attempts)
            && has_keeper(&roots.project(project))
        {
            state.phase = Phase::Restarting;
        }
    }
    Ok(Some(Container { record, state }))
}

/// The folders that are named like containers; anything else is not ours.
fn container_ids(roots: &Roots, project: &str) -> Result<Vec<String>, RecordError> {
    let mut ids = folder_names(&roots.project(project).containers())?;
    ids.retain(|id| id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()));
    Ok(ids)
}

fn folder_names(path: &Path) -> Result<Vec<String>, RecordError> {
    let failed = |source| RecordError::Read { path: path.to_owned(), source };
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir())
            && let Ok(name) = entry.file_name().into_string()
        {
            names.push(name);
        }
    }
    Ok(names)
}

fn current_boot() -> Result<BootId, RecordError> {
    BootId::current().map_err(|source| RecordError::Read {
        path: "/proc/sys/kernel/random/boot_id".into(),
        source,
    })
}

fn sort(containers: &mut [Container]) {
    containers.sort_by(|a, b| {
        let key = |container: &Container| {
            let record = &container.record;
            (record.project.clone(), record.service.clone(), record.number, record.name.clone())
        };
        key(a).cmp(&key(b))
    });
}

#[cfg(test)]
mod tests {
    use super::super::ProcessName;
    use super::super::tests::container_record;
    use super::*;
    use crate::model::RestartPolicy;

    fn create(roots: &Roots, project: &str, service: &str, number: u32) -> ContainerRecord {
        let mut record = container_record(project, service, number);
        record.id = new_id().unwrap();
        fs::create_dir_all(record.paths(roots).folder()).unwrap();
        names::claim(roots, &record.name, project, &record.id, None).unwrap();
        record.write(roots).unwrap();
        record
    }

    #[test]
    fn lists_what_is_whole_and_reports_what_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::new(folder.path(), folder.path().join("run"));
        assert_eq!(containers(&roots, "shop").unwrap(), Listing::default());

        let second = create(&roots, "shop", "web", 2);
        let first = create(&roots, "shop", "web", 1);
        let cut_off = create(&roots, "shop", "web", 3);
        fs::remove_file(cut_off.paths(&roots).record()).unwrap();
        let emptied = create(&roots, "shop", "web", 4);
        fs::write(emptied.paths(&roots).record(), "").unwrap();
        fs::create_dir(roots.project("shop").containers().join("not-ours")).unwrap();
        fs::write(first.paths(&roots).state(), "{\"version\":").unwrap();
        create(&roots, "other", "web", 1);

        let listing = containers(&roots, "shop").unwrap();
        let found: Vec<_> = listing.containers.iter().map(|found| &found.record).collect();
        assert_eq!(found, [&first, &second]);
        assert_eq!(listing.containers[0].state, ContainerState::default());
        let mut garbage: Vec<_> = listing.garbage.iter().map(|garbage| &garbage.id).collect();
        garbage.sort();
        let mut expected = [&cut_off.id, &emptied.id];
        expected.sort();
        assert_eq!(garbage, expected);
        assert_eq!(all_containers(&roots).unwrap().containers.len(), 3);
    }

    #[test]
    fn a_newer_record_is_an_error_and_no_garbage() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::new(folder.path(), folder.path());
        let mut record = create(&roots, "shop", "web", 1);
        record.version = u32::MAX;
        super::super::replace_volatile_record(&record.paths(&roots).record(), &record).unwrap();
        assert!(matches!(containers(&roots, "shop"), Err(RecordError::Newer { .. })));
    }

    #[test]
    fn what_will_be_started_again_is_restarting_before_its_supervisor_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::new(folder.path(), folder.path().join("run"));
        let mut record = create(&roots, "shop", "web", 1);
        let own = ProcessName::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        let gone = ProcessName { started_ticks: 1, ..own.clone() };
        let paths = roots.project("shop");
        let mut phase = |policy, state: &ContainerState, eye| {
            record.restart = policy;
            record.write(&roots).unwrap();
            state.write(&record.paths(&roots)).unwrap();
            listing(&roots, "shop", eye).unwrap().containers.remove(0).state.phase
        };
        let state = ContainerState {
            phase: Phase::Running,
            process: Some(gone),
            started: Some("2026-01-01T00:00:00Z".parse().unwrap()),
            ..ContainerState::default()
        };
        let stopped = ContainerState { stop_requested: true, ..state.clone() };
        let often = RestartPolicy::OnFailure { max_retries: Some(3) };
        let tired = ContainerState { attempts: 3, ..state.clone() };
        let always = RestartPolicy::Always;
        assert_eq!(phase(always, &state, Eye::Others), Phase::Exited, "nobody is there to do so");

        fs::create_dir_all(paths.run()).unwrap();
        let keeper = format!(r#"{{"pid": {}, "pid_started": {}}}"#, own.pid, own.started_ticks);
        fs::write(paths.keeper(), keeper).unwrap();
        #[rustfmt::skip]
        let table = [
            (always, &state, Eye::Others, Phase::Restarting),
            (always, &state, Eye::Supervisor, Phase::Exited),
            (always, &stopped, Eye::Others, Phase::Exited),
            (RestartPolicy::No, &state, Eye::Others, Phase::Exited),
            (often, &state, Eye::Others, Phase::Restarting),
            (often, &tired, Eye::Others, Phase::Exited),
        ];
        for (policy, state, eye, expected) in table {
            assert_eq!(phase(policy, state, eye), expected, "{policy:?} {eye:?} {state:?}");
        }
    }

    #[test]
    fn finds_by_name_and_by_id_prefix() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::new(folder.path(), folder.path());
        let web = create(&roots, "shop", "web", 1);
        create(&roots, "other", "web", 1);
        for wanted in ["shop-web-1", &web.id, &web.id[..20]] {
            assert_eq!(find(&roots, wanted).unwrap().record, web, "{wanted}");
        }
        for wanted in ["", "web", "zz"] {
            assert!(matches!(find(&roots, wanted), Err(FindError::Missing { .. })), "{wanted}");
        }
    }
}
