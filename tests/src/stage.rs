//! Where a scenario plays: roots, namespaces, the binary, and the check at the end.

use std::any::Any;
use std::error::Error;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use rustix::process::{Pid, Signal, kill_process};

use crate::command::{self, Run, Running};
use crate::sandbox::Sandbox;
use crate::world::{self, World};
use crate::{Verdict, need};

/// How long a command may take unless the scenario says otherwise.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the last threads and namespaces may take to go after `down` has returned.
const SETTLING: Duration = Duration::from_secs(60);

/// A place for one scenario.
#[derive(Debug)]
pub struct Stage {
    /// The name of the scenario.
    pub name: String,
    /// The name of the project, the scenario's own.
    pub project: String,
    /// The folder of the compose file: the working directory of all commands.
    pub folder: PathBuf,
    /// Holds `data` and `run`.
    pub roots: PathBuf,
    artifacts: PathBuf,
    binary: PathBuf,
    before: World,
    _held: File,
    _sandbox: Sandbox,
    _scratch: tempfile::TempDir,
}

/// Which images the stage has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Images {
    /// None: `rootfs:/` is all there is.
    None,
    /// Those of `scripts/images`, loaded once for all scenarios.
    DevStack,
}

/// Plays a scenario on a stage of its own, in a thread of its own, and checks that nothing is left.
///
/// # Errors
///
/// What the scenario says, or what it left behind. The folder with all that was said and written is named in the message.
pub fn play(name: &str, images: Images, scenario: fn(&Stage) -> Verdict) -> Result<(), String> {
    let owned = name.to_owned();
    let played = thread::Builder::new().name(owned.clone()).spawn(move || {
        let stage =
            Stage::set(&owned, images).map_err(|error| format!("cannot set the stage: {error}"))?;
        // A failed assertion must not keep the stage from being cleared.
        let played = panic::catch_unwind(AssertUnwindSafe(|| scenario(&stage)));
        let verdict = played.unwrap_or_else(|words| Err(said(&*words).into()));
        stage.strike(verdict.map_err(|error| error.to_string()))
    });
    let verdict = played.map_err(|error| error.to_string())?.join();
    verdict.unwrap_or_else(|words| Err(said(&*words)))
}

/// What a panic said.
fn said(words: &(dyn Any + Send)) -> String {
    let text = words.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| words.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without words").to_owned()
}

/// An empty folder for what the scenario says and writes, and what keeps it from another process that plays the same one
/// meanwhile: that gets a folder of its own.
fn artifacts(name: &str) -> io::Result<(PathBuf, File)> {
    let all = target().join("tmp/artifacts");
    let own = [name.to_owned(), format!("{name}-{}", std::process::id())];
    for name in own {
        let folder = all.join(name);
        fs::create_dir_all(&folder)?;
        let held = File::open(&folder)?;
        if rustix::fs::flock(&held, FlockOperation::NonBlockingLockExclusive).is_err() {
            continue;
        }
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
        }
        return Ok((folder, held));
    }
    Err(io::ErrorKind::ResourceBusy.into())
}

impl Stage {
    fn set(name: &str, images: Images) -> Result<Self, Box<dyn Error>> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let scratch = tempfile::Builder::new().prefix("scenario-").tempdir()?;
        let short: String = name.chars().filter(char::is_ascii_alphanumeric).take(12).collect();
        // Always as long: messages tell columns behind it.
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let project = format!("{}{:07}x{number:03}", short.to_lowercase(), std::process::id());
        let (artifacts, held) = artifacts(name)?;
        let binary = binary()?;
        let shared = match images {
            Images::None => None,
            Images::DevStack => Some(shared_images(&binary)?),
        };
        let (folder, roots) = (scratch.path().join("project"), scratch.path().join("roots"));
        for made in [&folder, &roots.join("data"), &roots.join("run"), &scratch.path().join("home")]
        {
            fs::create_dir_all(made)?;
        }
        let sandbox = Sandbox::enter(scratch.path())?;
        if let Some(shared) = shared {
            let here = roots.join("data/images");
            fs::create_dir(&here)?;
            rustix::mount::mount_bind(shared, &here)?;
        }
        let before = World::observe(&project, &roots);
        Ok(Self {
            name: name.to_owned(),
            project,
            folder,
            roots,
            artifacts,
            binary,
            before,
            _held: held,
            _sandbox: sandbox,
            _scratch: scratch,
        })
    }

    /// Writes a file into the project's folder.
    ///
    /// # Errors
    ///
    /// Those of the file system.
    pub fn file(&self, name: &str, text: &str) -> io::Result<()> {
        let path = self.folder.join(name);
        fs::create_dir_all(path.parent().unwrap_or(&self.folder))?;
        fs::write(path, text)
    }

    /// Copies a folder of `examples/` in, as the project.
    ///
    /// # Errors
    ///
    /// Those of the file system.
    pub fn example(&self, name: &str) -> io::Result<()> {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name);
        copy_folder(&example, &self.folder)
    }

    /// A command that runs the binary with these words, in the folder of the project.
    pub fn compose_command<I, S>(&self, words: I) -> Command
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut command = self.command(&self.binary);
        command.args(words);
        command
    }

    /// As [`Self::compose_command`], by a user whose name space has these limits of its own (below `/proc/sys/user`): nobody else
    /// runs out of anything. All that it tells is on its standard output.
    pub fn limited_command<I, S>(&self, words: I, limits: &[(&str, u32)]) -> Command
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let set = limits
            .iter()
            .map(|(limit, value)| format!("echo {value} > /proc/sys/user/{limit} && "));
        let mut command = self.command("unshare");
        command.args(["--user", "--map-root-user", "sh", "-c"]);
        command.arg(format!("{}exec \"$0\" \"$@\" 2>&1", set.collect::<String>()));
        command.arg(&self.binary).args(words);
        command
    }

    /// A command with an environment of the stage only.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(&self.folder)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.folder.with_file_name("home"))
            .env("LC_ALL", "C.UTF-8")
            .env("TERM", "dumb")
            .env("COMPOSE_PROJECT_NAME", &self.project)
            .env("COMPOSE_DATA_ROOT", self.roots.join("data"))
            .env("COMPOSE_RUN_ROOT", self.roots.join("run"));
        command
    }

    /// Runs the binary with these words.
    pub fn compose<I, S>(&self, words: I) -> Run
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        self.run(self.compose_command(words), None)
    }

    /// Runs another program.
    pub fn client(&self, program: &str, words: &[&str]) -> Run {
        let mut command = self.command(program);
        command.args(words);
        self.run(command, None)
    }

    /// Runs a command, with `input` on its standard input.
    pub fn run(&self, command: Command, input: Option<&str>) -> Run {
        self.run_within(command, input, PATIENCE)
    }

    /// Runs a command that may take `bound`.
    pub fn run_within(&self, command: Command, input: Option<&str>, bound: Duration) -> Run {
        let run = command::start(command, &self.artifacts, input)
            .and_then(|running| running.finish(bound));
        run.expect("the binary and the clients were found when the stage was set")
    }

    /// Starts a command on a terminal of its own, by script(1), and with an end of a pipe to type at.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn start_on_terminal(&self, command: &Command) -> io::Result<Running> {
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let quoted =
            words.map(|word| format!("'{}'", word.to_string_lossy().replace('\'', "'\\''")));
        let line = quoted.collect::<Vec<_>>().join(" ");
        // A terminal without a size makes line editors ask it for one, and wait.
        let line = format!("stty rows 24 cols 80; {line}");
        let mut script = self.command("script");
        script.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
        command::start_typing(script, &self.artifacts)
    }

    /// Starts a command with an end of a pipe to type at.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn start_typing(&self, command: Command) -> io::Result<Running> {
        command::start_typing(command, &self.artifacts)
    }

    /// Starts a command beside the scenario.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn start(&self, command: Command) -> io::Result<Running> {
        command::start(command, &self.artifacts, None)
    }

    /// The containers as `ps --all --format json` shows them, one object each.
    ///
    /// # Errors
    ///
    /// When the command fails or does not print JSON.
    pub fn containers(&self) -> Result<Vec<serde_json::Value>, Box<dyn Error>> {
        let listed = self.compose(["ps", "--all", "--format", "json"]).success()?.stdout;
        // One object a line, as docker compose does; or one array.
        if listed.trim_start().starts_with('[') {
            return Ok(serde_json::from_str(&listed)?);
        }
        Ok(listed.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
    }

    /// A field of the only container of `service`.
    ///
    /// # Errors
    ///
    /// When there is no such container or field.
    pub fn field(&self, service: &str, name: &str) -> Result<String, Box<dyn Error>> {
        let containers = self.containers()?;
        let container = containers.iter().find(|one| one["Service"] == service);
        let value = container
            .and_then(|one| one.get(name))
            .ok_or_else(|| format!("{service} has no {name}"))?;
        Ok(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    }

    /// What exists of the project and did not when the stage was set.
    pub fn left(&self) -> String {
        World::observe(&self.project, &self.roots).beyond(&self.before)
    }

    /// Requires that nothing is left of the project but its volumes and images.
    ///
    /// # Errors
    ///
    /// What is left.
    pub fn check_nothing_left(&self) -> Verdict {
        eventually(SETTLING, || match self.left() {
            left if left.is_empty() => Ok(()),
            left => Err(format!("left behind:\n{left}").into()),
        })
    }

    /// The end: everything that is left is a failure of its own, and then removed.
    fn strike(self, verdict: Result<(), String>) -> Result<(), String> {
        let verdict =
            verdict.and_then(|()| self.check_nothing_left().map_err(|error| error.to_string()));
        let Err(message) = verdict else {
            // The artifacts are for failures.
            let _resists = fs::remove_dir_all(&self.artifacts);
            return Ok(());
        };
        self.keep();
        self.clear();
        Err(format!("{message}\nartifacts: {}", self.artifacts.display()))
    }

    /// Keeps what explains a failure: the files of the project and everything small below the roots.
    fn keep(&self) {
        let _best_effort = fs::write(self.artifacts.join("left"), self.left());
        for (from, to) in [(&self.folder, "project"), (&self.roots, "roots")] {
            let _best_effort = copy_small(from, &self.artifacts.join(to));
        }
    }

    /// Ends what a failed scenario left running: it would hold the namespaces for ever.
    fn clear(&self) {
        let mut down =
            self.compose_command(["down", "--volumes", "--remove-orphans", "--timeout", "0"]);
        down.env("COMPOSE_PROJECT_NAME", &self.project);
        let _ = self.run_within(down, None, Duration::from_secs(20));
        for (pid, _) in world::processes(&self.project, &self.roots) {
            // Gone in the meantime is as well.
            let _gone = Pid::from_raw(pid).map(|pid| kill_process(pid, Signal::KILL));
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // The scratch folder is deleted next, with whatever is mounted below it: the images are everybody's.
        let _not_mounted = rustix::mount::unmount(
            self.roots.join("data/images"),
            rustix::mount::UnmountFlags::DETACH,
        );
    }
}

/// Waits until `state` is reached, and at most `bound`.
///
/// # Errors
///
/// What `state` said last.
pub fn eventually<T>(
    bound: Duration,
    mut state: impl FnMut() -> Result<T, Box<dyn Error>>,
) -> Result<T, Box<dyn Error>> {
    let deadline = Instant::now() + bound;
    loop {
        match state() {
            Err(_) if Instant::now() < deadline => thread::sleep(Duration::from_millis(20)),
            answer => return answer,
        }
    }
}

/// Copies regular files of up to 4 MiB; file systems of containers and the content of volumes are left out.
fn copy_small(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (name, Ok(found)) = (entry.file_name(), entry.metadata()) else { continue };
        let left_out =
            ["images", "upper", "work", "_data"].iter().any(|left_out| name == *left_out);
        // What runs goes on changing its files: one that is gone in the meantime is no reason to keep no other.
        let _gone = if found.is_dir() && !left_out {
            copy_small(&entry.path(), &to.join(name))
        } else if found.is_file() && found.len() <= 4 << 20 {
            fs::copy(entry.path(), to.join(name)).map(drop)
        } else {
            Ok(())
        };
    }
    Ok(())
}

/// Copies what is in a folder into one that is there.
fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            fs::create_dir_all(&target)?;
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// The folder of everything that cargo builds.
fn target() -> PathBuf {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(default, PathBuf::from)
}

/// The binary: `COMPOSE_BIN`, else what was built last for release or for debugging.
///
/// # Errors
///
/// When none was built.
pub fn binary() -> Result<PathBuf, String> {
    if let Some(path) = std::env::var_os("COMPOSE_BIN") {
        return Ok(PathBuf::from(path));
    }
    let built = ["release/compose", "debug/compose"].map(|path| target().join(path));
    let found = built.into_iter().find(|path| path.exists());
    let found = found.ok_or("no binary: set COMPOSE_BIN, or run scripts/build")?;
    found.canonicalize().map_err(|error| error.to_string())
}

/// An image store with the images of `scripts/images`, loaded by the first scenario that wants it.
fn shared_images(binary: &Path) -> Result<&'static Path, String> {
    static SHARED: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let loaded = SHARED.get_or_init(|| {
        let root = target().join("tmp/images");
        let _absent = fs::remove_dir_all(&root);
        fs::create_dir_all(&root).map_err(|error| error.to_string())?;
        let archive = need::images().ok_or("COMPOSE_TEST_IMAGES is not set")?;
        let mut load = Command::new(binary);
        load.args(["image", "load", "--input"]).arg(archive);
        load.env("COMPOSE_DATA_ROOT", &root).env("COMPOSE_RUN_ROOT", root.join("run"));
        let output = load.output().map_err(|error| error.to_string())?;
        if output.status.success() {
            return Ok(root.join("images"));
        }
        Err(format!("image load: {}", String::from_utf8_lossy(&output.stderr)))
    });
    loaded.as_deref().map_err(Clone::clone)
}
