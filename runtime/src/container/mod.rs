//! The parent's side of a new process: the clone, and the wait until it has reached its program.

mod namespaces;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::process::Rlimit;
use serde::{Deserialize, Serialize};
use sys::clone::{Child, Namespaces};

use crate::exec::ExecProcess;
use crate::failure::Failure;
use crate::init::{self, JoinStandard, Joining, Setup, Standard};
use crate::launch::NamespaceKind;
use namespaces::{Outline, Target};

/// The longest report that is read; a longer one is cut by the pipe as well.
const LONGEST_REPORT: usize = 4096;

/// A process that has been cloned and may not have reached its program yet.
#[derive(Debug)]
pub(crate) struct Starting {
    /// The process.
    pub child: Child,
    /// Closes when the program is executed, or carries the failure before.
    report: OwnedFd,
}

/// What became of a process that was starting.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It is still on its way.
    Underway,
    /// It runs its program.
    Reached,
    /// It has had another runtime make the container, whose first process has this number.
    HandedOver(i32),
    /// It has failed, and exits.
    Failed(Failure),
}

/// What is reported by a process that has had another runtime make the container.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct HandedOver {
    /// The first process of the container. It is nobody else's before the one that reports has ended.
    pub pid: i32,
}

/// Clones a container. The caller has one thread. `files` is the limit of open files to give back, if ours is raised;
/// `gate` is what it waits for before its program.
pub(crate) fn start(
    launch: OwnedFd,
    standard: Standard,
    files: Option<Rlimit>,
    joins: Vec<(NamespaceKind, OwnedFd)>,
    gate: Option<OwnedFd>,
) -> Result<Starting, Failure> {
    let outline: Outline = init::read(&launch)?;
    if outline.is_foreign() {
        let (report, writer) = report_pipe()?;
        let child = namespaces::within(None, || {
            sys::clone::spawn(Namespaces::MOUNT, None, || {
                init::start(Setup { launch, standard, files, joins, gate, report: writer })
            })
        })?;
        return Ok(Starting { child, report });
    }
    let kinds: Vec<NamespaceKind> = joins.iter().map(|(kind, _)| *kind).collect();
    let namespaces = outline.new_namespaces(&kinds)?;
    let cgroup = outline.unified().map(open_cgroup).transpose()?;
    let pids = joins
        .iter()
        .find(|(kind, _)| *kind == NamespaceKind::Pid)
        .map(|(_, namespace)| namespace.try_clone());
    let pids = pids.transpose().map_err(|error| failure("pid namespace", &error))?;
    let (report, writer) = report_pipe()?;
    let child = namespaces::within(
        pids.as_ref().map(|namespace| Target::Namespace(namespace.as_fd())),
        || {
            sys::clone::spawn(namespaces, cgroup.as_ref().map(AsFd::as_fd), || {
                init::start(Setup { launch, standard, files, joins, gate, report: writer })
            })
        },
    )?;
    Ok(Starting { child, report })
}

/// Clones one more process of the container with this PID 1. The caller has one thread.
pub(crate) fn exec(
    process: ExecProcess,
    container: OwnedFd,
    standard: JoinStandard,
    files: Option<Rlimit>,
) -> Result<Starting, Failure> {
    let (report, writer) = report_pipe()?;
    let target = container.try_clone().map_err(|error| failure("pid namespace", &error))?;
    // What a sandbox runs is in none of the host's.
    let target = process.doorway.is_none().then(|| Target::Process(target.as_fd()));
    let child = namespaces::within(target, || {
        sys::clone::spawn(Namespaces::NONE, None, || {
            init::join(Joining { process, container, files, standard, report: writer })
        })
    })?;
    Ok(Starting { child, report })
}

impl Starting {
    /// How far the process has come.
    pub(crate) fn progress(&self) -> Progress {
        let mut text = [0; LONGEST_REPORT];
        match rustix::io::retry_on_intr(|| rustix::io::read(&self.report, &mut text)) {
            Ok(0) => Progress::Reached,
            Err(Errno::AGAIN) => Progress::Underway,
            Ok(length) => {
                if let Ok(HandedOver { pid }) = serde_json::from_slice(&text[..length]) {
                    return Progress::HandedOver(pid);
                }
                // A reaper and its program may both have failed, for the same reason.
                let mut reports = serde_json::Deserializer::from_slice(&text[..length]).into_iter();
                let first = reports.next().and_then(Result::ok);
                Progress::Failed(first.unwrap_or_else(|| Failure {
                    step: "report".to_owned(),
                    errno: 0,
                    detail: String::from_utf8_lossy(&text[..length]).into_owned(),
                }))
            }
            Err(error) => Progress::Failed(failure("report", &error.into())),
        }
    }
}

impl AsFd for Starting {
    /// Readable as soon as there is progress.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.report.as_fd()
    }
}

/// The reading end does not block; the writing end is closed by the exec of the child.
fn report_pipe() -> Result<(OwnedFd, OwnedFd), Failure> {
    let make = || -> io::Result<(OwnedFd, OwnedFd)> {
        let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        rustix::fs::fcntl_setfl(&reader, OFlags::NONBLOCK)?;
        Ok((reader, writer))
    };
    make().map_err(|error| failure("pipe", &error))
}

fn open_cgroup(path: &std::path::Path) -> Result<OwnedFd, Failure> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty())
        .map_err(|error| Failure::of_call("control groups", &error.into(), path.display()))
}

/// A failure on the parent's side.
fn failure(step: &str, error: &io::Error) -> Failure {
    Failure::of_call(step, error, "before the process was its own")
}
