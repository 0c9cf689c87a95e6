//! Bounds on time and memory, wide enough for a loaded machine and a program that is not optimised.

use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use runtime::exec::{ExecProcess, Privilege};
use runtime::log::{Rotation, Stream, Writer};
use rustix::pipe::PipeFlags;
use rustix::process::Signal;
use std::os::fd::AsFd;

use crate::Case;
use crate::build::{PATIENCE, Project, container, readable};

pub const CASES: &[Case] = &[
    ("many_containers_start_quickly_and_the_keeper_stays_small", many),
    ("a_log_is_spliced", log),
];

/// Private memory of a process in bytes: `/proc/PID/smaps_rollup`.
fn private(pid: i32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let of = |name: &str| -> u64 {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
    };
    (of("Private_Clean:") + of("Private_Dirty:")) << 10
}

fn keeper_pid(project: &Project) -> i32 {
    let text = std::fs::read_to_string(project.config.run.join("keeper.json")).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    i32::try_from(value["pid"].as_i64().unwrap()).unwrap()
}

fn many() -> Result<(), Failed> {
    const COUNT: u32 = 50;
    let mut project = Project::new();
    project.run(&container(serde_json::json!(["true"]))).success();
    let keeper = keeper_pid(&project);
    let empty = private(keeper);
    let before = Instant::now();
    let started: Vec<_> = (0..COUNT)
        .map(|_| project.start(&container(serde_json::json!(["sleep", "1000"]))).unwrap())
        .collect();
    let each = before.elapsed() / COUNT;
    let full = private(keeper);
    if std::env::var_os("TEST_SHOW_MEMORY").is_some() {
        println!("{}", std::fs::read_to_string(format!("/proc/{keeper}/smaps"))?);
    }
    println!(
        "start {each:?} each; keeper {} KiB empty, {} KiB with {COUNT}",
        empty >> 10,
        full >> 10
    );
    let first = started.first().expect("there are many");
    let process = ExecProcess::of(
        &container(serde_json::Value::Null),
        vec!["true".to_owned()],
        Privilege::Container,
    );
    let before = Instant::now();
    for _ in 0..20 {
        assert!(crate::exec::exec(first, &process, "streams").status()?.success());
    }
    println!("exec {:?} each", before.elapsed() / 20);
    let before = Instant::now();
    for started in &started {
        rustix::process::pidfd_send_signal(&started.pidfd, Signal::KILL)?;
    }
    for started in &started {
        project.exit_of(started.running.ticket);
    }
    println!("end of {COUNT} {:?}", before.elapsed());
    Ok(())
}

fn log() -> Result<(), Failed> {
    const BYTES: u64 = 256 << 20;
    let folder = tempfile::tempdir()?;
    let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    rustix::pipe::fcntl_setpipe_size(&writer, 1 << 20)?;
    let zeros = std::fs::File::open("/dev/zero")?;
    let mut log =
        Writer::open(folder.path(), Rotation { segment_bytes: Some(64 << 20), segments: Some(2) })?;
    let (mut moved, mut spent) = (0, Duration::ZERO);
    let block = vec![b'x'; 1 << 20];
    drop(zeros);
    while moved < BYTES {
        // The writer of a container is another process: what it costs is not counted here.
        rustix::io::write(&writer, &block)?;
        assert!(readable(&reader, PATIENCE));
        let before = Instant::now();
        moved += log.pump(Stream::Stdout, reader.as_fd())?.bytes;
        spent += before.elapsed();
    }
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let rate = (moved >> 20) as f64 / spent.as_secs_f64();
    println!("log {rate:.0} MiB/s");
    Ok(())
}
