//! `RUN`: a container over the layers of the stage, whose changes are the next layer.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, BufRead, BufReader};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use runtime::cgroup;
use runtime::exit::ExitStatus;
use runtime::failure::Failure;
use runtime::launch::{Grants, Launch, Rootfs, Upper};
use runtime::once::{OnceError, Preparation, PrivateFile};
use runtime::seccomp;
use runtime::spec::{self, Bind, MountWish, NamespaceWish, Tmpfs, Wishes};
use rustix::pipe::PipeFlags;

use super::cell::{self, Cell};
use super::{Recipe, RunNetwork, Sandbox};

/// How many of the last lines are kept for the message.
const TAIL: usize = 20;
/// A line that is longer is cut.
const LONGEST_LINE: u64 = 64 << 10;
/// The host name of a build.
const HOST: &str = "build";

/// A step that has failed, with all that it takes to look into it.
#[derive(Debug)]
pub struct FailedStep {
    launch: Launch,
    limits: cgroup::Limits,
    preparation: Preparation,
    network: Option<OwnedFd>,
    shell: Vec<String>,
}

impl FailedStep {
    /// Runs the shell of the stage where the step has failed, joined to the terminal of the caller, until it ends.
    ///
    /// # Errors
    ///
    /// [`OnceError`].
    pub fn shell(&self) -> Result<ExitStatus, OnceError> {
        let mut launch = self.launch.clone();
        if let Some(process) = launch.spec.process_mut() {
            process.set_terminal(Some(true)).set_args(Some(self.shell.clone()));
        }
        let network = self.network.as_ref().map(AsFd::as_fd);
        let mut run = || -> Result<ExitStatus, RunError> {
            let attendant = cell::attendant(&self.limits)?;
            launch.cgroup = Some(attendant.place().clone());
            Ok(attendant.interactive(&launch, &self.preparation, network)?)
        };
        run().map_err(|error| match error {
            RunError::Once(error) => error,
            other => OnceError::Failed(Failure {
                step: "control groups".to_owned(),
                errno: 0,
                detail: super::error::whole(&other),
            }),
        })
    }
}

/// A container cannot be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum RunError {
    #[error(transparent)]
    Spec(#[from] spec::SpecError),
    #[error("cannot load the system call filter")]
    Filter(#[from] seccomp::SeccompError),
    #[error("cannot set its limits")]
    Cgroup(#[from] cgroup::CgroupError),
    #[error(transparent)]
    Once(#[from] OnceError),
    #[error("{what}")]
    Host { what: String, source: io::Error },
}

pub(super) fn host(what: impl Into<String>) -> impl FnOnce(io::Error) -> RunError {
    let what = what.into();
    move |source| RunError::Host { what, source }
}

/// What the place of a mount is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Directory,
    File,
}

/// All that a `RUN` is.
pub(super) struct Container<'a> {
    pub(super) recipe: &'a Recipe,
    /// A directory of its own.
    pub(super) scratch: PathBuf,
    pub(super) layers: Vec<PathBuf>,
    pub(super) upper: PathBuf,
    pub(super) work: PathBuf,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    pub(super) directory: PathBuf,
    pub(super) user: String,
    pub(super) shell: Vec<String>,
    pub(super) network: RunNetwork,
    pub(super) insecure: bool,
    pub(super) mounts: Vec<(MountWish, Target)>,
    pub(super) preparation: Preparation,
    pub(super) filters: &'a Path,
}

/// How a command has ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) status: ExitStatus,
    /// The last lines that it said.
    pub(super) tail: Vec<String>,
}

impl Container<'_> {
    /// Describes the container. `sandbox` is the network, unless that is the machine's own.
    fn launch(&mut self, sandbox: Option<&dyn Sandbox>) -> Result<Launch, RunError> {
        let mut mounts = self.etc(sandbox)?;
        mounts.append(&mut self.mounts);
        self.stubs(&mounts)?;
        let mounts = mounts.into_iter().map(|(mount, _)| mount).collect();
        let ulimits = self.recipe.ulimits.clone();
        let wishes = Wishes {
            args: self.args.clone(),
            env: self.env.clone(),
            cwd: self.directory.clone(),
            hostname: (self.network != RunNetwork::Host).then(|| HOST.to_owned()),
            privileged: self.insecure,
            mounts,
            ulimits,
            shm_bytes: self.recipe.shm_bytes,
            network: match self.network {
                RunNetwork::Host => NamespaceWish::Host,
                RunNetwork::Default | RunNetwork::None => NamespaceWish::Joined,
            },
            uts: if self.network == RunNetwork::Host {
                NamespaceWish::Host
            } else {
                NamespaceWish::Private
            },
            ..Wishes::default()
        };
        let spec = spec::spec(&wishes)?;
        let filter = seccomp::filter(&wishes, self.filters)?;
        let upper = Upper::Directory { upper: self.upper.clone(), work: self.work.clone() };
        let lower = [self.layers.clone(), vec![self.scratch.join("stubs")]].concat();
        Ok(Launch {
            id: random_id()?,
            spec,
            rootfs: Rootfs::Overlay { lower, upper },
            user: self.user.clone(),
            groups: Vec::new(),
            init: false,
            filter,
            cgroup: None,
            grants: Grants::default(),
            images: Vec::new(),
            bundle: None,
            foreign: None,
        })
    }

    /// The files that are mounted over those of the image.
    fn etc(&self, sandbox: Option<&dyn Sandbox>) -> Result<Vec<(MountWish, Target)>, RunError> {
        let directory = self.scratch.join("etc");
        fs::create_dir(&directory).map_err(host("cannot make /etc"))?;
        let mut hosts =
            "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n".to_owned();
        if self.network != RunNetwork::Host {
            hosts.push_str(&format!("127.0.0.1\t{HOST}\n"));
        }
        for (name, address) in &self.recipe.extra_hosts {
            hosts.push_str(&format!("{address}\t{name}\n"));
        }
        let resolver = match sandbox {
            Some(sandbox) => sandbox.resolver(),
            None => fs::read_to_string("/etc/resolv.conf").unwrap_or_default(),
        };
        let files = [("hosts", hosts), ("resolv.conf", resolver)];
        let mount = |(name, text): (&str, String)| {
            let source = directory.join(name);
            fs::write(&source, text).map_err(host("cannot write /etc"))?;
            let target = Path::new("/etc").join(name);
            Ok((MountWish::Bind(Bind { source, target, ..Bind::default() }), Target::File))
        };
        files.into_iter().map(mount).collect()
    }

    /// Makes the lowest layer: the places of all mounts, so that none is left in the layer of the step.
    fn stubs(&self, mounts: &[(MountWish, Target)]) -> Result<(), RunError> {
        let stubs = self.scratch.join("stubs");
        let make = |target: &Path, is_file: bool| -> io::Result<()> {
            let relative: PathBuf = target
                .components()
                .filter(|part| matches!(part, std::path::Component::Normal(_)))
                .collect();
            let path = stubs.join(relative);
            if !is_file {
                return DirBuilder::new().recursive(true).mode(0o755).create(path);
            }
            if let Some(parent) = path.parent() {
                DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
            }
            File::create(path).map(drop)
        };
        let fixed = ["/proc", "/dev", "/sys"];
        for target in fixed {
            make(Path::new(target), false).map_err(host("cannot make mount points"))?;
        }
        for (mount, kind) in mounts {
            let target = match mount {
                MountWish::Bind(bind) => &bind.target,
                MountWish::Tmpfs(tmpfs) => &tmpfs.target,
            };
            if fixed.iter().any(|fixed| target.starts_with(fixed)) {
                continue;
            }
            make(target, *kind == Target::File).map_err(host("cannot make mount points"))?;
        }
        Ok(())
    }

    /// Runs it to its end. `say` gets each line, `failed` what can be looked into when it has not ended well.
    pub(super) fn run(
        mut self,
        cell: &Cell,
        say: &dyn Fn(String),
        failed: &dyn Fn(&FailedStep),
    ) -> Result<Ended, RunError> {
        let mut launch = self.launch(cell.sandbox())?;
        launch.cgroup = Some(cell.attendant.place().clone());
        let ended = self.follow(&launch, cell, say);
        let went_wrong = match &ended {
            Ok(ended) => !ended.status.success(),
            Err(_) => true,
        };
        if went_wrong {
            let network = cell.namespace().and_then(|network| network.try_clone_to_owned().ok());
            let shell = self.shell.first().cloned().unwrap_or_else(|| "/bin/sh".to_owned());
            let preparation = std::mem::take(&mut self.preparation);
            let limits = cell.limits().clone();
            failed(&FailedStep { launch, limits, preparation, network, shell: vec![shell] });
        }
        Ok(ended?)
    }

    fn follow(
        &self,
        launch: &Launch,
        cell: &Cell,
        say: &dyn Fn(String),
    ) -> Result<Ended, OnceError> {
        let attempt = |error: io::Error| OnceError::Attendant {
            attempt: "its standard streams",
            source: error,
        };
        let null = File::open("/dev/null").map_err(attempt)?;
        let (reader, writer) =
            rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(|error| attempt(error.into()))?;
        let streams = [null.as_fd(), writer.as_fd(), writer.as_fd()];
        cell.attendant.start(launch, &self.preparation, streams, cell.namespace())?;
        drop(writer);
        let mut tail = std::collections::VecDeque::new();
        let mut reader = BufReader::new(File::from(reader));
        let mut line = Vec::new();
        loop {
            line.clear();
            let length = io::Read::take(&mut reader, LONGEST_LINE).read_until(b'\n', &mut line);
            if !length.is_ok_and(|length| length > 0) {
                break;
            }
            let text = String::from_utf8_lossy(&line);
            // Programs that redraw a line end it with a return.
            let text = text.trim_end_matches(['\n', '\r']).rsplit('\r').next().unwrap_or_default();
            if tail.len() == TAIL {
                tail.pop_front();
            }
            tail.push_back(text.to_owned());
            say(text.to_owned());
        }
        Ok(Ended { status: cell.attendant.wait()?, tail: tail.into() })
    }
}

/// The limits of a command.
pub(super) fn limits(recipe: &Recipe, insecure: bool) -> Result<cgroup::Limits, RunError> {
    // There is no spec without a command; its devices are the same with any.
    let args = vec!["true".to_owned()];
    let wishes = Wishes { args, privileged: insecure, ..Wishes::default() };
    Ok(cgroup::Limits {
        devices: cgroup::Devices::of(&spec::spec(&wishes)?),
        memory: recipe.memory_bytes,
        ..cgroup::Limits::default()
    })
}

pub(super) fn random_id() -> Result<String, RunError> {
    let mut random = [0; 32];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| host("cannot get random numbers")(error.into()))?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The path of an open file or directory; below its mount if that is attached nowhere.
pub(super) fn path_of(file: impl AsFd) -> io::Result<PathBuf> {
    use std::os::fd::AsRawFd;
    fs::read_link(format!("/proc/self/fd/{}", file.as_fd().as_raw_fd()))
}

/// A file in memory with its place in the container.
pub(super) fn memory_file(
    preparation: &mut Preparation,
    scratch: &Path,
    target: PathBuf,
    file: PrivateFile,
) -> io::Result<MountWish> {
    let memory = scratch.join("memory");
    if preparation.memory.is_none() {
        fs::create_dir(&memory)?;
        preparation.memory = Some(memory.clone());
    }
    let source = memory.join(&file.name);
    preparation.files.push(file);
    Ok(MountWish::Bind(Bind { source, target, read_only: true, ..Bind::default() }))
}

/// A file system in memory.
pub(super) fn tmpfs(target: PathBuf, size: Option<u64>) -> MountWish {
    let options = vec!["exec".to_owned(), "suid".to_owned(), "dev".to_owned()];
    MountWish::Tmpfs(Tmpfs { target, size, options, ..Tmpfs::default() })
}

/// The directory of a cache, made if it is not there.
pub(super) fn cache_directory(path: &Path, mode: u32, uid: u32, gid: u32) -> io::Result<bool> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {
            chown(path, Some(uid), Some(gid))?;
            fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// The variables of a command: those of the stage, and a search path.
pub(super) fn environment(
    env: Vec<(String, String)>,
    args: &std::collections::HashMap<String, String>,
) -> Vec<(String, String)> {
    let path = crate::image::DEFAULT_PATH.split_once('=').unwrap_or_default();
    let mut all = BTreeMap::from([(path.0.to_owned(), path.1.to_owned())]);
    all.extend(args.iter().map(|(name, value)| (name.clone(), value.clone())));
    all.extend(env);
    all.into_iter().collect()
}
