//! A keeper with a project folder of its own, and containers as a test wants them.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use runtime::exit::ExitStatus;
use runtime::failure::Failure;
use runtime::keeper::{Config, Keeper, Reply, Request, Running};
use runtime::launch::{Grants, Launch, NamespaceKind, Rootfs, Upper};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::pipe::PipeFlags;
use serde_json::{Value, json};

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A keeper of one test.
pub struct Project {
    /// Removed with the project.
    _folder: tempfile::TempDir,
    pub config: Config,
    pub keeper: Keeper,
    tickets: u64,
    /// Replies that nobody has asked for yet.
    kept: Vec<(Reply, Vec<OwnedFd>)>,
}

/// What a container said and how it ended.
#[derive(Debug)]
#[must_use = "look at how it ended"]
pub struct Outcome {
    pub output: String,
    pub error: String,
    pub status: ExitStatus,
}

impl Outcome {
    /// What it said, after it has ended well.
    #[track_caller]
    pub fn success(self) -> String {
        assert!(self.status.success(), "{self:?}");
        self.output
    }
}

/// A container that runs.
pub struct Started {
    pub key: String,
    pub running: Running,
    pub pidfd: OwnedFd,
    pub output: OwnedFd,
    pub error: OwnedFd,
}

impl Project {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = Config {
            project: "test".to_owned(),
            data: folder.path().to_owned(),
            run: folder.path().join("run"),
        };
        let keeper = Keeper::replace(&config).unwrap();
        Self { _folder: folder, config, keeper, tickets: 0, kept: Vec::new() }
    }

    pub fn ticket(&mut self) -> u64 {
        self.tickets += 1;
        self.tickets
    }

    /// Waits for the first reply that `wanted` takes; others are kept.
    #[track_caller]
    pub fn wait<T>(&mut self, mut wanted: impl FnMut(&Reply) -> Option<T>) -> (T, Vec<OwnedFd>) {
        if let Some((index, found)) = self
            .kept
            .iter()
            .enumerate()
            .find_map(|(index, (reply, _))| wanted(reply).map(|found| (index, found)))
        {
            return (found, self.kept.remove(index).1);
        }
        let until = Instant::now() + PATIENCE;
        loop {
            match self.keeper.receive().unwrap() {
                Some((reply, descriptors)) => match wanted(&reply) {
                    Some(found) => return (found, descriptors),
                    None => self.kept.push((reply, descriptors)),
                },
                None => {
                    assert!(Instant::now() < until, "no reply; others: {:?}", self.kept);
                    readable(&self.keeper, Duration::from_millis(500));
                }
            }
        }
    }

    pub fn start(&mut self, launch: &Launch) -> Result<Started, Failure> {
        self.start_joined(launch, &[])
    }

    /// Starts a container with pipes for its output and nothing to read.
    pub fn start_joined(
        &mut self,
        launch: &Launch,
        joins: &[(NamespaceKind, BorrowedFd<'_>)],
    ) -> Result<Started, Failure> {
        let null = File::open("/dev/null").unwrap();
        let (output, output_writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).unwrap();
        let (error, error_writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).unwrap();
        let streams = [null.as_fd(), output_writer.as_fd(), error_writer.as_fd()];
        let (running, pidfd) = self.start_with(launch, streams, joins)?;
        Ok(Started { key: launch.id.clone(), running, pidfd, output, error })
    }

    pub fn start_with(
        &mut self,
        launch: &Launch,
        streams: [BorrowedFd<'_>; 3],
        joins: &[(NamespaceKind, BorrowedFd<'_>)],
    ) -> Result<(Running, OwnedFd), Failure> {
        let ticket = self.begin(launch, streams, joins, None);
        self.started(ticket)
    }

    /// Asks for a container, which may wait at a pipe before its program.
    pub fn begin(
        &mut self,
        launch: &Launch,
        streams: [BorrowedFd<'_>; 3],
        joins: &[(NamespaceKind, BorrowedFd<'_>)],
        gate: Option<BorrowedFd<'_>>,
    ) -> u64 {
        let ticket = self.ticket();
        let memory = sys::fds::sealed("launch", &serde_json::to_vec(launch).unwrap()).unwrap();
        let mut descriptors = vec![memory.as_fd()];
        descriptors.extend(streams);
        descriptors.extend(joins.iter().map(|(_, namespace)| *namespace));
        descriptors.extend(gate);
        let joins = joins.iter().map(|(kind, _)| *kind).collect();
        let gated = gate.is_some();
        let request = Request::Start { ticket, key: launch.id.clone(), joins, gated };
        self.keeper.send(&request, &descriptors).unwrap();
        ticket
    }

    /// Waits until the container that was asked for with `ticket` executes its program.
    pub fn started(&mut self, ticket: u64) -> Result<(Running, OwnedFd), Failure> {
        let (answer, descriptors) = self.wait(|reply| match reply {
            Reply::Started { ticket: of, pid, pid_started, started } if *of == ticket => {
                Some(Ok(Running {
                    ticket,
                    pid: *pid,
                    pid_started: *pid_started,
                    started: *started,
                }))
            }
            Reply::Failed { ticket: of, failure } if *of == ticket => Some(Err(failure.clone())),
            _ => None,
        });
        Ok((answer?, descriptors.into_iter().next().expect("a pidfd")))
    }

    #[track_caller]
    pub fn exit_of(&mut self, wanted: u64) -> Option<ExitStatus> {
        self.wait(|reply| match reply {
            Reply::Exited { ticket, status, .. } if *ticket == wanted => Some(*status),
            _ => None,
        })
        .0
    }

    #[track_caller]
    pub fn finish(&mut self, started: Started) -> Outcome {
        let Started { output, error, running, .. } = started;
        let (output, error) = (read(output), read(error));
        Outcome { output, error, status: self.exit_of(running.ticket).expect("a status") }
    }

    /// Starts a container and waits until it has ended.
    #[track_caller]
    pub fn run(&mut self, launch: &Launch) -> Outcome {
        let started = self.start(launch).unwrap();
        self.finish(started)
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let _ = self.keeper.send(&Request::Quit, &[]);
    }
}

pub fn readable(descriptor: impl AsFd, patience: Duration) -> bool {
    let limit = Timespec::try_from(patience).unwrap();
    let mut polled = [PollFd::new(&descriptor, PollFlags::IN)];
    rustix::event::poll(&mut polled, Some(&limit)).unwrap() > 0
}

pub fn read(pipe: OwnedFd) -> String {
    let mut text = Vec::new();
    File::from(pipe).read_to_end(&mut text).unwrap();
    String::from_utf8_lossy(&text).into_owned()
}

/// Reads one line, without what follows it.
pub fn read_line(pipe: impl AsFd) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while readable(&pipe, PATIENCE)
        && rustix::io::read(&pipe, &mut byte).unwrap() == 1
        && byte != *b"\n"
    {
        line.push(byte[0]);
    }
    String::from_utf8(line).unwrap()
}

/// A container that runs a line of shell, with all that the defaults of a container are.
pub fn shell(line: &str) -> Launch {
    container(json!(["/bin/sh", "-c", line]))
}

pub fn container(args: Value) -> Launch {
    let id: String = (0..32).map(|_| format!("{:02x}", rand_byte())).collect();
    Launch {
        id,
        spec: serde_json::from_value(spec(args)).unwrap(),
        rootfs: Rootfs::Overlay { lower: vec![PathBuf::from("/")], upper: Upper::Memory },
        user: String::new(),
        groups: Vec::new(),
        init: false,
        filter: Vec::new(),
        cgroup: None,
        grants: Grants::default(),
        images: Vec::new(),
        bundle: None,
        foreign: None,
    }
}

fn rand_byte() -> u8 {
    let mut byte = [0];
    rustix::rand::getrandom(&mut byte, rustix::rand::GetRandomFlags::empty()).unwrap();
    byte[0]
}

/// Changes the spec of a launch as JSON.
pub fn with(mut launch: Launch, change: impl FnOnce(&mut Value)) -> Launch {
    let mut spec = serde_json::to_value(&launch.spec).unwrap();
    change(&mut spec);
    launch.spec = serde_json::from_value(spec).unwrap();
    launch
}

/// Docker's 14.
pub const CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

fn spec(args: Value) -> Value {
    json!({
        "ociVersion": "1.2.0",
        "process": {
            "user": {"uid": 0, "gid": 0}, "args": args, "cwd": "/",
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "capabilities": {"bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES},
        },
        "hostname": "testhost",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
             "options": ["ro", "nosuid", "noexec", "nodev"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
             "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=67108864"]},
        ],
        "linux": {
            "namespaces": [
                {"type": "mount"}, {"type": "network"}, {"type": "uts"}, {"type": "pid"}, {"type": "ipc"}, {"type": "cgroup"},
            ],
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/acpi", "/proc/scsi", "/proc/timer_list", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}
