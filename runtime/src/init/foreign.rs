//! A container that another OCI runtime makes: this process prepares the bundle, has the container created and started, and
//! hands its first process over to the parent.
//!
//! It is in a mount namespace of its own, where the root and all that is copied for the container are mounted: the runtime
//! takes them into the container's, and with the end of this process they are nowhere else.
//!
//! # How the first process becomes the keeper's child
//!
//! The runtime ends after `create` and leaves the container's first process behind, which becomes a child of this one, its
//! nearest subreaper. Its number is reported, and this process waits to be killed: until then nobody can wait for the other
//! one, so the number means it and nothing else. With the end of this process it passes to the keeper.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use oci_spec::runtime::{
    Capabilities, Capability, LinuxCapabilities, LinuxNamespace, LinuxNamespaceType, Mount,
    Process, Spec, User,
};
use rustix::fs::{FileType, Mode};
use rustix::mount::MountPropagationFlags;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};
use sys::mount::{Attributes, Extent};
use sys::root::Root;

use super::error::{Attempt, StepError};
use super::identity::{self, Identity};
use super::mounts::{attach_one, clone_tree, new_file_system, open_source, place, root_of};
use super::rootfs::{self, open_path};
use super::stage::Stage;
use super::steps::step;
use super::{grants, hooks, images, limits, memory, program, session};
use crate::cgroup::Place;
use crate::container::HandedOver;
use crate::failure::Failure;
use crate::foreign::{self, ForeignRuntime, Kind};
use crate::launch::NamespaceKind;

/// The version of the specification that every runtime in use understands.
const OCI_VERSION: &str = "1.0.2";

/// How long a runtime may take for one of its commands.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where version 2 control groups are looked for.
const CGROUPS: &str = "/sys/fs/cgroup";

/// What says to gVisor in which network namespace it is.
const NETWORK_SETTINGS: &str = "/proc/sys/net";

/// Has the container of `stage` made by `runtime`, reports its first process, and waits for the end.
pub(super) fn start(
    mut stage: Stage,
    runtime: &ForeignRuntime,
    report: &OwnedFd,
) -> Result<Infallible, Failure> {
    step("bond to the parent", session::bind_to_parent(&mut stage.entry))?;
    step("resource limits", files(&stage))?;
    // The terminal is made by the runtime; where it goes is in the place of the standard input.
    let way = std::mem::take(&mut stage.entry.terminal)
        .then(|| step("terminal", copy_of_input(&stage)))
        .transpose()?;
    if runtime.kind().is_sandbox() {
        step("standard streams", session::part_from_null(&mut stage.entry))?;
    }
    step("session", session::begin(&mut stage.entry))?;
    let groups = step("control groups", Groups::open(&stage))?;
    step("mounts of the host", part_from_host(&stage, runtime.kind()))?;
    let bundle = step("bundle", Bundle::of(&stage))?;
    let config = step("bundle", bundle.fill(&mut stage))?;
    step("bundle", bundle.write(&config))?;
    let id = stage.launch.id.clone();
    let made = Made { runtime, bundle: &bundle, id: &id, network: network_of(runtime, &config) };
    let first = made.create(&groups, way.as_ref());
    let started = first.and_then(|first| {
        step("control groups", groups.add(first))?;
        if !runtime.kind().is_sandbox() {
            step("its file system", verify(&stage, first))?;
        }
        step("its turn", program::await_turn(&mut stage.entry))?;
        made.run("start", &[], None)?;
        Ok(first)
    });
    let first = started.inspect_err(|_| {
        // The failure is what is told; what is left of it is taken back once more before the next start.
        let _ = foreign::delete(runtime, &id);
    })?;
    let text = serde_json::to_vec(&HandedOver { pid: first }).unwrap_or_default();
    // A parent that does not read it is gone, and this process with it.
    let _ = rustix::io::write(report, &text);
    loop {
        rustix::event::pause();
    }
}

/// Gives back the limit of open files that the keeper has raised for itself; the others are the runtime's to set.
fn files(stage: &Stage) -> Result<(), StepError> {
    rustix::process::umask(Mode::from_raw_mode(0o022));
    limits::files(&stage.entry)
}

/// Parts this mount namespace from the host's in one direction only, so that binds with `rslave` still see what the host
/// mounts; and shows the runtime control groups of version 2 alone: some refuse to work where both are mounted.
///
/// gVisor looks for `net.core.rmem_default` (up to 2023) or `dev_weight` to tell the host's network namespace, in which it refuses
/// to work, from others. Since Linux 6.8 the first is in all of them, so it is shown none.
fn part_from_host(stage: &Stage, kind: Kind) -> Result<(), StepError> {
    let flags = MountPropagationFlags::REC | MountPropagationFlags::DOWNSTREAM;
    rustix::mount::mount_change("/", flags).attempt(|| "making all mounts slaves".to_owned())?;
    if kind.is_sandbox() {
        let nothing = new_file_system("tmpfs", &[("mode", "755")], &[])?;
        return place(&nothing, open_path(Path::new(NETWORK_SETTINGS))?);
    }
    let Some(top) = stage.entry.process.cgroup.as_ref().and_then(Place::unified_top) else {
        return Err(StepError::refused(
            libc::ENOTSUP,
            "another runtime needs control groups of version 2, which are not mounted here",
        ));
    };
    if top == Path::new(CGROUPS) {
        return Ok(());
    }
    place(clone_tree(top, false)?, open_path(Path::new(CGROUPS))?)
}

/// The control groups of the container, open for processes to be moved into them.
struct Groups(Vec<File>);

impl Groups {
    fn open(stage: &Stage) -> Result<Self, StepError> {
        let place = stage.entry.process.cgroup.iter();
        let files = place.flat_map(Place::directories).map(|directory| {
            let path = directory.join("cgroup.procs");
            let file = File::options().read(true).write(true).open(&path);
            file.attempt(|| path.display().to_string())
        });
        Ok(Self(files.collect::<Result<_, _>>()?))
    }

    /// Moves this process into all of them.
    fn join(&self) -> io::Result<()> {
        self.0.iter().try_for_each(|mut file| file.write_all(b"0"))
    }

    /// Moves a process into those in which it is not.
    fn add(&self, pid: i32) -> Result<(), StepError> {
        let number = pid.to_string();
        for mut file in &self.0 {
            let what = || "cgroup.procs".to_owned();
            let mut inside = String::new();
            file.rewind().and_then(|()| file.read_to_string(&mut inside)).attempt(what)?;
            if !inside.lines().any(|line| line == number) {
                file.write_all(number.as_bytes()).attempt(what)?;
            }
        }
        Ok(())
    }
}

/// What the runtime is given: a folder with `config.json` and the root.
struct Bundle {
    folder: PathBuf,
    /// The root of the container.
    rootfs: PathBuf,
    /// Where lies what is made for the container, and then mounted by the runtime.
    sources: PathBuf,
}

impl Bundle {
    fn of(stage: &Stage) -> Result<Self, StepError> {
        let Some(folder) = stage.launch.bundle.clone() else {
            return Err(StepError::refused(libc::EINVAL, "the launch names no folder for it"));
        };
        let bundle =
            Self { rootfs: folder.join("rootfs"), sources: folder.join("sources"), folder };
        for path in [&bundle.rootfs, &bundle.sources] {
            fs::create_dir_all(path).attempt(|| path.display().to_string())?;
        }
        Ok(bundle)
    }

    /// Mounts the root and what is made for the container, and says what the runtime is to do with it.
    fn fill(&self, stage: &mut Stage) -> Result<Spec, StepError> {
        let joined = self.take_joins(stage);
        let mut mounts = stage.spec().mounts().clone().unwrap_or_default();
        stage.sources = mounts
            .iter()
            .map(|mount| {
                let mut granted = stage.launch.grants.files.iter();
                let copied = granted.any(|file| file.target == *mount.destination());
                if copied { open_source(mount) } else { Ok(None) }
            })
            .collect::<Result<_, _>>()?;
        memory::share(stage)?;
        images::open(stage)?;
        grants::copy(stage)?;
        self.mount_root(stage)?;
        let identity = identity::look_up_in(root_of(stage)?, &stage.entry.process)?;
        grants::give(stage)?;
        self.attach_sources(stage, &mut mounts)?;
        Ok(self.config(stage, &identity, mounts, joined))
    }

    /// The namespaces of others, by paths that lead to the descriptors of this process.
    fn take_joins(&self, stage: &mut Stage) -> Vec<LinuxNamespace> {
        let mut joined = Vec::new();
        for (kind, namespace) in std::mem::take(&mut stage.joins) {
            if kind == NamespaceKind::Mount {
                stage.neighbour = Some(namespace);
                continue;
            }
            let number = namespace.as_raw_fd();
            let path = PathBuf::from(format!("/proc/{}/fd/{number}", std::process::id()));
            let mut entry = LinuxNamespace::default();
            entry.set_typ(kind.oci()).set_path(Some(path));
            joined.push(entry);
            stage.kept.push(namespace);
        }
        joined
    }

    fn mount_root(&self, stage: &mut Stage) -> Result<(), StepError> {
        let tree = rootfs::tree(&stage.launch.rootfs, &open_path(Path::new("/"))?)?;
        let private = Attributes { propagation: libc::MS_PRIVATE, ..Attributes::default() };
        sys::mount::set_attributes(&tree, private, Extent::Recursive)
            .attempt(|| "making it private".to_owned())?;
        place(&tree, open_path(&self.rootfs)?)?;
        let root = Root::from(tree);
        // Users are looked up in files that may be mounted. The runtime mounts them once more on top.
        for mount in stage.spec().mounts().iter().flatten() {
            let holds_users = ["/etc", "/etc/passwd", "/etc/group"].map(Path::new);
            if holds_users.contains(&mount.destination().as_path())
                && let Some(source) = open_source(mount)?
            {
                attach_one(&root, mount, Some(source), None)?;
            }
        }
        stage.root = Some(root);
        Ok(())
    }

    /// Gives a path to each mount that has none yet, and names it in the mounts of the spec.
    fn attach_sources(&self, stage: &mut Stage, mounts: &mut [Mount]) -> Result<(), StepError> {
        let sources = std::mem::take(&mut stage.sources);
        if sources.iter().all(Option::is_none) {
            return Ok(());
        }
        let memory = new_file_system("tmpfs", &[("mode", "700")], &[])?;
        place(&memory, open_path(&self.sources)?)?;
        let root = Root::from(memory);
        for (number, (source, mount)) in sources.into_iter().zip(mounts).enumerate() {
            let Some(source) = source else { continue };
            let what = || format!("the source of {}", mount.destination().display());
            let stat = rustix::fs::fstat(&source).attempt(what)?;
            let name = number.to_string();
            let target = super::mounts::target(
                &root,
                Path::new(&name),
                FileType::from_raw_mode(stat.st_mode),
            )?;
            place(&source, target)?;
            if mount.typ().as_deref() != Some("bind") {
                let options = ["bind", "nosuid", "noexec", "nodev"].map(str::to_owned);
                mount.set_typ(Some("bind".to_owned())).set_options(Some(options.to_vec()));
            }
            mount.set_source(Some(self.sources.join(name)));
        }
        Ok(())
    }

    fn config(
        &self,
        stage: &Stage,
        identity: &Identity,
        mut mounts: Vec<Mount>,
        joined: Vec<LinuxNamespace>,
    ) -> Spec {
        let foreign = stage.launch.foreign.as_ref();
        let is_sandbox = foreign.is_some_and(|runtime| runtime.kind().is_sandbox());
        let mut spec = stage.spec().clone();
        spec.set_version(OCI_VERSION.to_owned());
        if let Some(root) = spec.root_mut() {
            root.set_path(self.rootfs.clone());
        }
        if let Some(process) = spec.process_mut() {
            identify(process, identity);
            if is_sandbox {
                process.set_capabilities(process.capabilities().as_ref().map(known));
            }
        }
        let propagation = propagation(&mounts);
        mounts.iter_mut().for_each(only_once_read_only);
        spec.set_mounts(Some(mounts));
        if let Some(linux) = spec.linux_mut() {
            let mut namespaces = linux.namespaces().clone().unwrap_or_default();
            namespaces.extend(joined);
            linux.set_namespaces(Some(namespaces));
            linux.set_rootfs_propagation(propagation);
            if is_sandbox {
                // What the filter keeps from the host's kernel never comes to it.
                linux.set_seccomp(None);
            }
            let place = stage.entry.process.cgroup.as_ref();
            linux.set_cgroups_path(place.map(|place| Path::new("/").join(&place.name)));
        }
        spec
    }

    fn write(&self, config: &Spec) -> Result<(), StepError> {
        let path = self.folder.join("config.json");
        let text = serde_json::to_vec(config).map_err(io::Error::from);
        text.and_then(|text| fs::write(&path, text)).attempt(|| path.display().to_string())
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log.json")
    }

    fn pid_file(&self) -> PathBuf {
        self.folder.join("pid")
    }
}

/// Who the program is to be, in numbers: a runtime looks nothing up.
pub(super) fn identify(process: &mut Process, identity: &Identity) {
    let mut user = User::default();
    user.set_uid(identity.user).set_gid(identity.group);
    user.set_additional_gids(Some(identity.groups.clone()));
    process.set_user(user);
    let mut env = process.env().clone().unwrap_or_default();
    if !env.iter().any(|variable| variable.starts_with("HOME=")) {
        env.push(format!("HOME={}", identity.home));
    }
    process.set_env(Some(env));
}

/// Takes the newest capabilities away, which gVisor does not know and refuses.
pub(super) fn known(capabilities: &LinuxCapabilities) -> LinuxCapabilities {
    let newest = [Capability::Perfmon, Capability::Bpf, Capability::CheckpointRestore];
    let known = |set: &Option<Capabilities>| {
        set.clone().map(|set| set.into_iter().filter(|one| !newest.contains(one)).collect())
    };
    let mut left = LinuxCapabilities::default();
    left.set_bounding(known(capabilities.bounding()))
        .set_effective(known(capabilities.effective()))
        .set_permitted(known(capabilities.permitted()))
        .set_inheritable(known(capabilities.inheritable()))
        .set_ambient(known(capabilities.ambient()));
    left
}

/// Takes `rro` away where nothing can lie below: crun (1.8) opens the target as a directory for it.
fn only_once_read_only(mount: &mut Mount) {
    let source = mount.source().as_deref();
    let is_file = source.is_some_and(|source| source.is_absolute() && !source.is_dir());
    let Some(options) = mount.options().as_ref().filter(|_| is_file) else { return };
    let kept = options.iter().filter(|option| *option != "rro").cloned().collect();
    mount.set_options(Some(kept));
}

/// What a runtime has to be told of the root so that what the host mounts later is seen below a bind that wants it.
fn propagation(mounts: &[Mount]) -> Option<String> {
    let mut options = mounts.iter().flat_map(|mount| mount.options().iter().flatten());
    options.any(|option| matches!(option.as_str(), "slave" | "rslave")).then(|| "rslave".to_owned())
}

/// What a sandbox is told of its network: it takes that of its namespace over, or leaves all to the host's kernel, where it is to be
/// in the host's.
fn network_of(runtime: &ForeignRuntime, config: &Spec) -> Option<&'static str> {
    let linux = config.linux().as_ref();
    let mut namespaces = linux.iter().flat_map(|linux| linux.namespaces().iter().flatten());
    let is_own = namespaces.any(|namespace| namespace.typ() == LinuxNamespaceType::Network);
    let is_sandbox = runtime.kind().is_sandbox();
    is_sandbox.then_some(if is_own { "--network=sandbox" } else { "--network=host" })
}

/// A container in the hands of a runtime.
struct Made<'m> {
    runtime: &'m ForeignRuntime,
    bundle: &'m Bundle,
    id: &'m str,
    network: Option<&'static str>,
}

impl Made<'_> {
    /// Has the container created, and gives the number of its first process, a child of this one.
    ///
    /// Its terminal, if it is to have one, is sent along `way`.
    fn create(&self, groups: &Groups, way: Option<&OwnedFd>) -> Result<i32, Failure> {
        let own = rustix::process::getpid();
        let prepared = rustix::process::set_child_subreaper(Some(own))
            .attempt(|| "subreaper".to_owned())
            .and_then(|()| {
                // One of the same name that was cut off.
                let _ = foreign::delete(self.runtime, self.id);
                let root = &self.runtime.root;
                fs::create_dir_all(root).attempt(|| root.display().to_string())
            });
        step("state of the runtime", prepared)?;
        let (folder, pid_file) = (self.bundle.folder.as_os_str(), self.bundle.pid_file());
        let _ = fs::remove_file(&pid_file);
        let mut words: Vec<&OsStr> =
            vec!["--bundle".as_ref(), folder, "--pid-file".as_ref(), pid_file.as_os_str()];
        let console = way.map(|_| step("terminal", Console::listen(&self.bundle.folder)));
        let console = console.transpose()?;
        if let Some(console) = &console {
            words.extend(["--console-socket".as_ref(), console.path.as_os_str()]);
        }
        let within = self.runtime.kind().starts_within_groups().then_some(groups);
        self.run("create", &words, within)?;
        if let (Some(console), Some(way)) = (console, way) {
            step("terminal", console.pass_on(way))?;
        }
        step("create", self.first_process(&pid_file, own))
    }

    /// The number in `pid_file`, if it is that of a child of this process.
    fn first_process(&self, pid_file: &Path, own: Pid) -> Result<i32, StepError> {
        let name = self.runtime.program.display();
        let text =
            fs::read_to_string(pid_file).attempt(|| format!("the process that {name} made"))?;
        let pid = text.trim().parse::<i32>().ok().filter(|pid| *pid > 0);
        let parent = pid.and_then(parent_of);
        match pid.filter(|_| parent == Some(own.as_raw_nonzero().get())) {
            Some(pid) => Ok(pid),
            None => Err(StepError::refused(
                libc::ECHILD,
                format!("{name} has left no process behind that can be watched"),
            )),
        }
    }

    /// Runs one command of the runtime, within the control groups of the container if they are given.
    fn run(&self, verb: &str, words: &[&OsStr], within: Option<&Groups>) -> Result<(), Failure> {
        let mut command = self.runtime.command();
        let log = self.bundle.log();
        let _ = fs::remove_file(&log);
        command
            .args(self.network)
            .arg("--log")
            .arg(&log)
            .args(["--log-format", "json", verb])
            .args(words)
            .arg(self.id);
        let name = format!("{} {verb}", self.runtime.program.display());
        let succeeded = execute(command, within).attempt(|| name.clone());
        match step(verb, succeeded)? {
            true => Ok(()),
            false => Err(failure_of(&fs::read_to_string(&log).unwrap_or_default(), &name)),
        }
    }
}

/// The socket on which a runtime hands a terminal out (runc, `docs/terminals.md`, "Detached New Terminal").
struct Console {
    listener: UnixListener,
    /// By a descriptor of this process, since the path of a socket must be short (unix(7)).
    path: PathBuf,
    _folder: OwnedFd,
}

impl Console {
    fn listen(folder: &Path) -> Result<Self, StepError> {
        let what = || "a socket for the terminal".to_owned();
        let _ = fs::remove_file(folder.join("console"));
        let folder = open_path(folder)?;
        let number = folder.as_raw_fd();
        let listener =
            UnixListener::bind(format!("/proc/self/fd/{number}/console")).attempt(what)?;
        listener.set_nonblocking(true).attempt(what)?;
        let path = PathBuf::from(format!("/proc/{}/fd/{number}/console", std::process::id()));
        Ok(Self { listener, path, _folder: folder })
    }

    /// Takes what the runtime has sent before it ended, and sends it on.
    fn pass_on(self, way: &OwnedFd) -> Result<(), StepError> {
        let what = || "the terminal that the runtime was to make".to_owned();
        let (connection, _) = self.listener.accept().attempt(what)?;
        let (_, received) = sys::fds::receive(&connection, &mut [0; 4096]).attempt(what)?;
        let Some(terminal) = received.first() else {
            return Err(StepError::refused(libc::EBADF, what()));
        };
        sys::fds::send(way, b"terminal", &[terminal.as_fd()]).attempt(what)
    }
}

fn copy_of_input(stage: &Stage) -> Result<OwnedFd, StepError> {
    let given = stage.entry.standard.as_ref().map(|standard| standard.input.try_clone());
    let copy = given.unwrap_or_else(|| Err(io::ErrorKind::NotFound.into()));
    copy.attempt(|| "the way of the terminal".to_owned())
}

/// Runs `command` and waits for it; whether it has succeeded. It is killed when it takes too long.
fn execute(mut command: Command, within: Option<&Groups>) -> io::Result<bool> {
    let Some(child) = sys::clone::fork()? else {
        let joined = within.map_or(Ok(()), Groups::join);
        let error = match joined {
            Ok(()) => command.exec(),
            Err(error) => error,
        };
        // On standard error, which is the container's.
        let _ = writeln!(io::stderr(), "{}: {error}", command.get_program().display());
        sys::clone::exit(super::REPORTED);
    };
    let pidfd = rustix::process::pidfd_open(child, PidfdFlags::empty())?;
    let in_time = hooks::ends_within(pidfd.as_fd(), PATIENCE)?;
    if !in_time {
        let _ = rustix::process::pidfd_send_signal(&pidfd, Signal::KILL);
    }
    let ended = rustix::process::waitpid(Some(child), WaitOptions::empty())?;
    if !in_time {
        return Err(io::ErrorKind::TimedOut.into());
    }
    Ok(ended.is_some_and(|(_, status)| status.exit_status() == Some(0)))
}

/// The last error of a runtime's log (a JSON object in each line), as our own step would have told it.
fn failure_of(log: &str, name: &str) -> Failure {
    let message = |line: &str| -> Option<String> {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        let is_error = matches!(line.get("level")?.as_str()?, "error" | "fatal");
        is_error.then(|| line.get("msg").and_then(|text| text.as_str()).map(str::to_owned))?
    };
    let said = log.lines().rev().find_map(message);
    let said = said.unwrap_or_else(|| format!("{name} has failed; its words are in the log"));
    let lower = said.to_lowercase();
    let about_program = ["exec", "failed to load"].iter().any(|words| lower.contains(words));
    let missing = ["not found", "no such file or directory"];
    let (step, errno) = if about_program && missing.iter().any(|words| lower.contains(words)) {
        (Failure::EXECUTE, libc::ENOENT)
    } else if about_program && lower.contains("permission denied") {
        (Failure::EXECUTE, libc::EACCES)
    } else {
        (name, 0)
    };
    Failure { step: step.to_owned(), errno, detail: said }
}

/// The parent of a process: field 4 of proc_pid_stat(5).
fn parent_of(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Makes sure that the process is in the root that was made for it: a runtime with a kernel of its own, in a virtual machine or
/// a program, leaves its own process there, which cannot be joined.
fn verify(stage: &Stage, pid: i32) -> Result<(), StepError> {
    let what = || "the root of its first process".to_owned();
    let theirs = fs::metadata(format!("/proc/{pid}/root/.")).attempt(what)?;
    let ours =
        root_of(stage)?.open_dir(Path::new(".")).and_then(|root| Ok(rustix::fs::fstat(root)?));
    let ours = ours.attempt(what)?;
    if (theirs.dev(), theirs.ino()) == (ours.st_dev, ours.st_ino) {
        return Ok(());
    }
    Err(StepError::refused(
        libc::EXDEV,
        "the runtime has not put its process there: only those that make containers of namespaces can be used",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_runtime_says_has_the_codes_of_a_shell() {
        let line = |text: &str| {
            let line = serde_json::json!({"level": "error", "msg": text, "time": "now"});
            format!("{{\"level\":\"warning\",\"msg\":\"x\"}}\n{line}\n")
        };
        #[rustfmt::skip]
        let table = [
            ("runc create failed: unable to start container process: exec: \"nope\": executable file not found in $PATH", 127),
            ("executable file `nope` not found in $PATH: No such file or directory", 127),
            ("exec: \"/nope\": stat /nope: no such file or directory", 127),
            ("open executable: Permission denied", 126),
            ("unable to start container process: exec: \"/etc/passwd\": permission denied", 126),
            ("starting sandbox: creating process: failed to load /nope: no such file or directory", 127),
            ("starting sandbox: creating process: failed to load /etc/passwd: permission denied", 126),
            ("something else", 125),
        ];
        for (text, code) in table {
            assert_eq!(failure_of(&line(text), "crun create").shell_code(), code, "{text}");
        }
        assert_eq!(failure_of("no json\n", "crun create").shell_code(), 125);
    }
}
