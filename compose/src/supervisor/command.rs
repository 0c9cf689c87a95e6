//! Running one command inside a container, for health checks and hooks: output kept, time limited.

use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use runtime::exec::{ExecProcess, Privilege};
use runtime::exit::ExitStatus;
use runtime::foreign::Doorway;
use runtime::launch::Launch;
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::Supervisor;
use super::keeper::KeeperError;
use super::live::Live;
use super::readiness;
use crate::record::{RecordError, read_record};

/// Bytes of output that are kept, as Docker keeps them.
const KEPT_OUTPUT: usize = 4096;

/// How many commands were run, for names of files.
static EXECS: AtomicU64 = AtomicU64::new(0);

/// A command to run in a container; what is `None` comes from the container itself.
#[derive(Debug, Clone, Default)]
pub struct Command {
    /// The program and its arguments.
    pub args: Vec<String>,
    /// Variables on top of the container's; `None` takes one away.
    pub environment: Vec<(String, Option<String>)>,
    /// `USER[:GROUP]`.
    pub user: Option<String>,
    /// Where it runs.
    pub working_dir: Option<std::path::PathBuf>,
    /// With all rights.
    pub privileged: bool,
}

/// What a command left.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// How it ended; none if it took too long and was killed.
    pub status: Option<ExitStatus>,
    /// The end of what it said, both streams together.
    pub output: String,
}

/// Why a command could not be run.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The container does not run.
    #[error("the container is not running")]
    NotRunning,
    /// How the container was started is not known.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Its pipes.
    #[error("cannot make pipes")]
    Pipes(#[source] io::Error),
    /// The command's own start.
    #[error(transparent)]
    Keeper(#[from] KeeperError),
}

/// Runs `command` in `live` and waits for its end, at most for `limit`.
///
/// # Errors
///
/// [`CommandError`] if it never ran. A command that fails or takes too long is an [`Outcome`].
pub async fn run(
    supervisor: &Supervisor,
    live: &Live,
    command: &Command,
    limit: Option<Duration>,
) -> Result<Outcome, CommandError> {
    let pidfd = live.pidfd.borrow().as_ref().and_then(|pidfd| pidfd.try_clone().ok());
    let pidfd = pidfd.ok_or(CommandError::NotRunning)?;
    let launch: Launch = read_record(&live.paths.launch())?.ok_or(CommandError::NotRunning)?;
    let mut process = process(&launch, command);
    if let Some(doorway) = &mut process.doorway {
        let name = format!("exec-{}", EXECS.fetch_add(1, Ordering::Relaxed));
        doorway.pid_file = launch.bundle.as_ref().map(|folder| folder.join(name));
    }
    let doorway = process.doorway.clone();
    let content = serde_json::to_vec(&process).expect("a process has string keys only");
    let memory = sys::fds::sealed("exec", &content).map_err(CommandError::Pipes)?;
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).map_err(|e| CommandError::Pipes(e.into()))?;
    let null = std::fs::File::open("/dev/null").map_err(CommandError::Pipes)?;
    let sent = [memory.as_fd(), pidfd.as_fd(), null.as_fd(), write.as_fd(), write.as_fd()];
    let (ticket, end) = supervisor.keeper.exec(&live.record().id, &sent).await?;
    drop(write);
    let collected = tokio::task::spawn_local(tail(read));
    let status = match limit {
        None => end.await.ok().flatten(),
        Some(limit) => match timeout(limit, end).await {
            Ok(status) => status.ok().flatten(),
            Err(_) => {
                supervisor.keeper.kill(ticket);
                collected.abort();
                if let Some(Err(error)) = leave(doorway, Doorway::kill).await {
                    tracing::warn!(container = live.record().name, %error, "a command that is too slow");
                }
                return Ok(Outcome {
                    status: None,
                    output: format!("did not end within {limit:?} and was killed"),
                });
            }
        },
    };
    leave(doorway, Doorway::forget).await;
    // What a background child of the command still says is not waited for.
    let output = timeout(Duration::from_millis(100), collected).await;
    Ok(Outcome { status, output: output.ok().and_then(Result::ok).unwrap_or_default() })
}

/// Does something with the way by which a command has come into a sandbox, if it has come by one.
async fn leave<T: Send + 'static>(
    doorway: Option<Doorway>,
    leave: impl FnOnce(&Doorway) -> T + Send + 'static,
) -> Option<T> {
    let doorway = doorway?;
    spawn_blocking(move || leave(&doorway)).await.ok()
}

fn process(launch: &Launch, command: &Command) -> ExecProcess {
    let privilege = if command.privileged { Privilege::Full } else { Privilege::Container };
    let mut process = ExecProcess::of(launch, command.args.clone(), privilege);
    for (name, value) in &command.environment {
        process.env.retain(|entry| entry.split_once('=').is_none_or(|(known, _)| known != name));
        process.env.extend(value.as_ref().map(|value| format!("{name}={value}")));
    }
    if let Some(user) = &command.user {
        process.user.clone_from(user);
    }
    if let Some(working_dir) = &command.working_dir {
        process.cwd.clone_from(working_dir);
    }
    process
}

/// Reads to the end and keeps the last [`KEPT_OUTPUT`] bytes.
async fn tail(source: OwnedFd) -> String {
    let mut kept = Vec::new();
    if rustix::io::ioctl_fionbio(&source, true).is_err() {
        return String::new();
    }
    let Ok(mut source) = readiness::register(std::fs::File::from(source)) else {
        return String::new();
    };
    let mut buffer = [0; KEPT_OUTPUT];
    loop {
        let Ok(mut ready) = source.readable_mut().await else { break };
        match ready.try_io(|file| file.get_mut().0.read(&mut buffer)) {
            Ok(Ok(0) | Err(_)) => break,
            Ok(Ok(count)) => {
                kept.extend_from_slice(&buffer[..count]);
                let surplus = kept.len().saturating_sub(KEPT_OUTPUT);
                kept.drain(..surplus);
            }
            Err(_would_block) => {}
        }
    }
    String::from_utf8_lossy(&kept).into_owned()
}
