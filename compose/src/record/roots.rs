//! Where everything of ours lies on disk: two roots and the paths below them.

use std::env;
use std::path::{Path, PathBuf};

/// The data root (survives a reboot) and the run root (empty after one).
///
/// Every path of ours is made here, so that no other module joins strings to
/// find a file of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots {
    /// Identity: images, volumes, networks, container records, exits.
    pub data: PathBuf,
    /// Liveness: sockets, locks, namespaces.
    pub run: PathBuf,
}

impl Roots {
    /// The variable that overrides the data root.
    pub const DATA_VARIABLE: &str = "COMPOSE_DATA_ROOT";
    /// The variable that overrides the run root.
    pub const RUN_VARIABLE: &str = "COMPOSE_RUN_ROOT";

    /// Takes the roots from the environment, or the defaults `/var/lib/compose`
    /// and `/run/compose`. An empty variable counts as unset.
    #[must_use]
    pub fn from_env() -> Self {
        let root = |variable, default: &str| match env::var_os(variable) {
            Some(value) if !value.is_empty() => PathBuf::from(value),
            _ => PathBuf::from(default),
        };
        Self {
            data: root(Self::DATA_VARIABLE, "/var/lib/compose"),
            run: root(Self::RUN_VARIABLE, "/run/compose"),
        }
    }

    /// Uses these two folders.
    #[must_use]
    pub fn new(data: impl Into<PathBuf>, run: impl Into<PathBuf>) -> Self {
        Self { data: data.into(), run: run.into() }
    }

    /// The image store.
    #[must_use]
    pub fn images(&self) -> PathBuf {
        self.data.join("images")
    }

    /// The volume store.
    #[must_use]
    pub fn volumes(&self) -> PathBuf {
        self.data.join("volumes")
    }

    /// The records and leases of networks.
    #[must_use]
    pub fn networks(&self) -> PathBuf {
        self.data.join("networks")
    }

    /// The live namespaces of networks.
    #[must_use]
    pub fn network_namespaces(&self) -> PathBuf {
        self.run.join("networks")
    }

    /// What can be made again at any time, such as compiled seccomp filters.
    #[must_use]
    pub fn cache(&self) -> PathBuf {
        self.data.join("cache")
    }

    /// One symbolic link per container name in use; see [`super::names`].
    #[must_use]
    pub fn names(&self) -> PathBuf {
        self.data.join("names")
    }

    /// One folder per project that has or had containers.
    #[must_use]
    pub fn projects(&self) -> PathBuf {
        self.data.join("projects")
    }

    /// The durable part of `project`.
    #[must_use]
    pub fn project(&self, project: &str) -> ProjectPaths {
        ProjectPaths {
            data: self.data.join("projects").join(project),
            run: self.run.join("projects").join(project),
        }
    }

    /// The folder of one container.
    #[must_use]
    pub fn container(&self, project: &str, id: &str) -> ContainerPaths {
        self.project(project).container(id)
    }
}

/// The two folders of one project and the files in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectPaths {
    data: PathBuf,
    run: PathBuf,
}

impl ProjectPaths {
    /// The durable folder.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The volatile folder.
    #[must_use]
    pub fn run(&self) -> &Path {
        &self.run
    }

    /// Name, working directory and files of the project.
    #[must_use]
    pub fn record(&self) -> PathBuf {
        self.data.join("project.json")
    }

    /// What the keeper appends when a container exits.
    #[must_use]
    pub fn exits(&self) -> PathBuf {
        self.data.join("exits.journal")
    }

    /// What happened to the containers.
    #[must_use]
    pub fn events(&self) -> PathBuf {
        self.data.join("events.jsonl")
    }

    /// What its supervisor follows.
    #[must_use]
    pub fn follow(&self) -> PathBuf {
        self.data.join("follow.json")
    }

    /// What ran when the machine went down.
    #[must_use]
    pub fn boot(&self) -> PathBuf {
        self.data.join("boot.json")
    }

    /// What its providers have set.
    #[must_use]
    pub fn provided(&self) -> PathBuf {
        self.data.join("provided.json")
    }

    /// One folder per container.
    #[must_use]
    pub fn containers(&self) -> PathBuf {
        self.data.join("containers")
    }

    /// The folder of one container.
    #[must_use]
    pub fn container(&self, id: &str) -> ContainerPaths {
        ContainerPaths { folder: self.data.join("containers").join(id) }
    }

    /// The socket of the supervisor.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.run.join("api.sock")
    }

    /// The file whose lock makes the supervisor the only one.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.run.join("lock")
    }

    /// Why the project is not as its files say, although it is to follow them; else not there.
    #[must_use]
    pub fn problem(&self) -> PathBuf {
        self.run.join("follow.problem")
    }

    /// What another runtime remembers of one container.
    #[must_use]
    pub fn foreign(&self, id: &str) -> PathBuf {
        self.run.join("runtimes").join(id)
    }

    /// Which process is the keeper.
    #[must_use]
    pub fn keeper(&self) -> PathBuf {
        self.run.join("keeper.json")
    }
}

/// The folder of one container and the files in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerPaths {
    folder: PathBuf,
}

impl ContainerPaths {
    /// Is there while the container is being made, or removed with its anonymous volumes, whose names are in it then: if
    /// that is cut off they go with the folder.
    #[must_use]
    pub fn unfinished(&self) -> PathBuf {
        self.folder.join("unfinished")
    }

    /// The folder itself. Without [`Self::record`] in it, it is garbage.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The identity, a [`super::ContainerRecord`]; the last file of a creation
    /// and the first to go in a removal.
    #[must_use]
    pub fn record(&self) -> PathBuf {
        self.folder.join("container.json")
    }

    /// The state, a [`super::ContainerState`].
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.folder.join("state.json")
    }

    /// What the keeper's child needs to become PID 1.
    #[must_use]
    pub fn launch(&self) -> PathBuf {
        self.folder.join("launch.json")
    }

    /// What the supervisor needs to start it, a [`super::StartRecord`].
    #[must_use]
    pub fn start(&self) -> PathBuf {
        self.folder.join("start.json")
    }

    /// Secrets and configs whose content stands in the compose file or the environment.
    #[must_use]
    pub fn grants(&self) -> PathBuf {
        self.folder.join("grants")
    }

    /// What holds the writable layer if that may have only so many bytes, else not there.
    #[must_use]
    pub fn limited(&self) -> PathBuf {
        self.folder.join("limited")
    }

    /// The folder of the writable layer: [`Self::limited`] if that is there.
    fn layer(&self) -> PathBuf {
        let limited = self.limited();
        if limited.is_dir() { limited } else { self.folder.clone() }
    }

    /// The writable layer.
    #[must_use]
    pub fn upper(&self) -> PathBuf {
        self.layer().join("upper")
    }

    /// The work folder that overlayfs wants beside the writable layer.
    #[must_use]
    pub fn work(&self) -> PathBuf {
        self.layer().join("work")
    }

    /// Output segments and their indices.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// `hosts`, `hostname` and `resolv.conf`.
    #[must_use]
    pub fn etc(&self) -> PathBuf {
        self.folder.join("etc")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lie_below_their_root() {
        let roots = Roots::new("/data", "/run/c");
        let project = roots.project("shop");
        let container = roots.container("shop", "ab12");
        #[rustfmt::skip]
        let table = [
            (project.record(), "/data/projects/shop/project.json"),
            (project.exits(), "/data/projects/shop/exits.journal"),
            (project.socket(), "/run/c/projects/shop/api.sock"),
            (project.lock(), "/run/c/projects/shop/lock"),
            (container.record(), "/data/projects/shop/containers/ab12/container.json"),
            (container.state(), "/data/projects/shop/containers/ab12/state.json"),
            (roots.network_namespaces(), "/run/c/networks"),
        ];
        for (path, expected) in table {
            assert_eq!(path, Path::new(expected));
        }
    }
}
