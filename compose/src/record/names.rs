//! Container names are unique on the machine: one symbolic link per name in
//! use, from `DATA/names/NAME` to the container's folder.
//!
//! The link makes looking a name up one system call instead of a walk over
//! all projects, and claiming one atomic (symlink(2) does not replace). A link
//! whose container has no record any more is stale and may be replaced; so a
//! process that dies between the removal of a record and that of its link
//! leaves nothing that the next one trips over.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::Roots;
use crate::model::{Project, Service};

/// What replica `number` of `service` is called: `PROJECT-SERVICE-N`, or the
/// service's own `container_name`. With `--compatibility` the dashes are underscores.
#[must_use]
pub fn container_name(project: &Project, service: &Service, number: u32) -> String {
    let (dash, name) = (separator(project), &project.name);
    match &service.container_name {
        Some(name) => name.clone(),
        None => format!("{name}{dash}{}{dash}{number}", service.name),
    }
}

/// What is between the parts of a name.
#[must_use]
pub const fn separator(project: &Project) -> char {
    if project.compatibility { '_' } else { '-' }
}

/// The owner of a container name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameHolder {
    /// Its project.
    pub project: String,
    /// Its id.
    pub id: String,
}

/// A container name could not be claimed.
#[derive(Debug, thiserror::Error)]
pub enum NameError {
    /// Another container has it.
    #[error("the container name {name} is in use by container {:.12} of project {}", holder.id, holder.project)]
    InUse {
        /// The name.
        name: String,
        /// Who has it.
        holder: NameHolder,
    },
    /// The link could not be made or read.
    #[error("cannot claim the container name {name} at {}", path.display())]
    Link {
        /// The name.
        name: String,
        /// The link.
        path: PathBuf,
        /// The kernel's words.
        source: io::Error,
    },
}

/// Claims `name` for the container `id` of `project`, whose folder exists.
///
/// Repeating a claim is no error, and neither is taking over the name of
/// `replaced`, the container in whose place this one comes.
///
/// # Errors
///
/// [`NameError::InUse`] with the holder; [`NameError::Link`] when the kernel refuses.
pub fn claim(
    roots: &Roots,
    name: &str,
    project: &str,
    id: &str,
    replaced: Option<&str>,
) -> Result<(), NameError> {
    let folder = roots.names();
    let path = folder.join(name);
    let failed = |source| NameError::Link { name: name.to_owned(), path: path.clone(), source };
    fs::create_dir_all(&folder).map_err(failed)?;
    // Between finding a stale link and replacing it nobody else may do so.
    let lock = File::open(&folder).map_err(failed)?;
    flock(&lock, FlockOperation::LockExclusive).map_err(|error| failed(error.into()))?;

    let target = Path::new("../projects").join(project).join("containers").join(id);
    match symlink(&target, &path) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(error)),
    }
    match holder(roots, name) {
        Some(holder) if holder.project == project && holder.id == id => Ok(()),
        Some(holder) if replaced != Some(holder.id.as_str()) => {
            Err(NameError::InUse { name: name.to_owned(), holder })
        }
        _ => fs::remove_file(&path).and_then(|()| symlink(&target, &path)).map_err(failed),
    }
}

/// Who has `name`; `None` if it is free.
///
/// A container holds its name as long as its folder exists, so that of two
/// creations at the same time one fails.
#[must_use]
pub fn holder(roots: &Roots, name: &str) -> Option<NameHolder> {
    let path = roots.names().join(name);
    let target = fs::read_link(&path).ok()?;
    path.exists().then(|| parse(&target)).flatten()
}

/// Frees `name` if the container `id` has it.
///
/// # Errors
///
/// [`NameError::Link`] when the kernel refuses to remove the link.
pub fn release(roots: &Roots, name: &str, id: &str) -> Result<(), NameError> {
    let path = roots.names().join(name);
    let ours =
        fs::read_link(&path).ok().as_deref().and_then(parse).is_some_and(|holder| holder.id == id);
    if !ours {
        return Ok(());
    }
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(NameError::Link { name: name.to_owned(), path, source: error })
        }
        _ => Ok(()),
    }
}

/// Frees all names of the container `id`, of which nothing but its folder may be known.
///
/// # Errors
///
/// [`NameError::Link`] when the kernel refuses to remove a link.
pub fn release_all(roots: &Roots, id: &str) -> Result<(), NameError> {
    for entry in fs::read_dir(roots.names()).into_iter().flatten().flatten() {
        if let Ok(name) = entry.file_name().into_string() {
            release(roots, &name, id)?;
        }
    }
    Ok(())
}

/// Reads `../projects/PROJECT/containers/ID`.
fn parse(target: &Path) -> Option<NameHolder> {
    let parts: Option<Vec<&str>> = target
        .components()
        .filter(|part| matches!(part, Component::Normal(_)))
        .map(part_text)
        .collect();
    match parts?.as_slice() {
        ["projects", project, "containers", id] => {
            Some(NameHolder { project: (*project).to_owned(), id: (*id).to_owned() })
        }
        _ => None,
    }
}

fn part_text(part: Component<'_>) -> Option<&str> {
    OsStr::to_str(part.as_os_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_holder_until_its_folder_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::new(folder.path(), folder.path());
        let make = |project: &str, id: &str| {
            fs::create_dir_all(roots.container(project, id).folder()).unwrap();
        };
        make("a-b", "1");
        make("a", "2");
        // Project `a-b`, service `c` and project `a`, service `b-c` want the same name.
        for _ in 0..2 {
            claim(&roots, "a-b-c-1", "a-b", "1", None).unwrap();
        }
        let refused = claim(&roots, "a-b-c-1", "a", "2", Some("9")).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the container name a-b-c-1 is in use by container 1 of project a-b"
        );

        release(&roots, "a-b-c-1", "2").unwrap();
        assert!(holder(&roots, "a-b-c-1").is_some(), "only the holder frees a name");

        make("a-b", "3");
        claim(&roots, "a-b-c-1", "a-b", "3", Some("1")).unwrap();
        release(&roots, "a-b-c-1", "1").unwrap();
        let successor = NameHolder { project: "a-b".to_owned(), id: "3".to_owned() };
        assert_eq!(holder(&roots, "a-b-c-1"), Some(successor), "a successor takes over");

        fs::remove_dir(roots.container("a-b", "3").folder()).unwrap();
        assert_eq!(holder(&roots, "a-b-c-1"), None);
        claim(&roots, "a-b-c-1", "a", "2", None).unwrap();
        let expected = NameHolder { project: "a".to_owned(), id: "2".to_owned() };
        assert_eq!(holder(&roots, "a-b-c-1"), Some(expected));
        release_all(&roots, "1").unwrap();
        assert!(holder(&roots, "a-b-c-1").is_some(), "only the holder frees a name");
        release_all(&roots, "2").unwrap();
        assert_eq!(holder(&roots, "a-b-c-1"), None);
    }
}
