//! Where the log of a container goes.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use nix::sys::signal::Signal;
use scenarios::{Stage, Verdict, eventually};

use super::attributes::launch_of;
use crate::Scenario;

pub(super) fn all() -> Vec<Scenario> {
    vec![
        Scenario::plain("log_lines_go_to_syslog_servers", syslog),
        Scenario::plain("log_lines_go_to_the_journal", journal),
        Scenario::plain("a_log_may_be_limited_or_none", limited_logs),
        Scenario::plain("logs_are_followed_without_inotify", without_inotify),
    ]
}

/// How long a receiver waits for a message.
const PATIENCE: Duration = Duration::from_secs(30);

fn syslog(stage: &Stage) -> Verdict {
    let udp = UdpSocket::bind("127.0.0.1:0")?;
    udp.set_read_timeout(Some(PATIENCE))?;
    let tcp = TcpListener::bind("127.0.0.1:0")?;
    let path = stage.folder.join("log.sock");
    let unix = UnixDatagram::bind(&path)?;
    unix.set_read_timeout(Some(PATIENCE))?;
    let text = "
x-line: &line [sh, -c, 'echo said; exec sleep infinity']
services:
  udp:
    image: rootfs:/
    command: [sh, -c, 'echo first; echo second >&2; exec sleep infinity']
    logging:
      driver: syslog
      options: {syslog-address: 'udp://UDP', syslog-facility: local0, syslog-format: rfc5424, tag: '{{.Name}}'}
  tcp:
    image: rootfs:/
    command: [sh, -c, 'echo one; sleep 0.1; echo last']
    logging:
      driver: syslog
      options: {syslog-address: 'tcp://TCP', tag: job, mode: non-blocking, max-buffer-size: 1m}
  unix:
    image: rootfs:/
    command: *line
    logging: {driver: syslog, options: {syslog-address: 'unixgram://PATH', syslog-format: rfc3164}}
";
    let text = text
        .replace("UDP", &udp.local_addr()?.to_string())
        .replace("TCP", &tcp.local_addr()?.to_string())
        .replace("PATH", &path.to_string_lossy());
    stage.file("compose.yaml", &text)?;
    let up = stage.compose(["up", "-d"]).success()?;
    // What `mode` asks for is so in any case.
    assert_eq!(up.stderr.matches("warning").count(), 1, "{}", up.stderr);
    up.complains("`mode` and `max-buffer-size`")?;
    let mut buffer = [0; 4096];
    let mut heard = Vec::new();
    for _ in 0..2 {
        let count = udp.recv(&mut buffer)?;
        heard.push(String::from_utf8_lossy(&buffer[..count]).into_owned());
    }
    // Standard output and standard error may come in either order.
    heard.sort_by_key(|message| !message.contains("first"));
    assert!(heard[0].starts_with("<134>1 20"), "{heard:?}");
    assert!(heard[1].starts_with("<131>1 20"), "{heard:?}");
    let tag = format!(" {}-udp-1 ", stage.project);
    assert!(heard.iter().all(|message| message.contains(&tag)), "{heard:?}");
    assert!(heard[0].ends_with(" - first\n") && heard[1].ends_with(" - second\n"), "{heard:?}");
    let count = unix.recv(&mut buffer)?;
    let message = String::from_utf8_lossy(&buffer[..count]).into_owned();
    assert!(message.starts_with("<30>") && message.ends_with("]: said\n"), "{message}");
    // The first connection was only a look whether somebody listens.
    let mut lines = Vec::new();
    while lines.len() < 2 {
        let (connection, _) = tcp.accept()?;
        connection.set_read_timeout(Some(PATIENCE))?;
        lines.extend(BufReader::new(connection).lines().collect::<Result<Vec<_>, _>>()?);
    }
    assert!(lines[0].ends_with(": one") && lines[1].ends_with(": last"), "{lines:?}");
    assert!(lines[0].contains(" job["), "{lines:?}");
    // What is sent is kept as well.
    stage.compose(["logs", "--no-log-prefix", "udp"]).success()?.says("first")?;
    // What comes later follows.
    stage.compose(["exec", "-T", "unix", "sh", "-c", "echo more > /proc/1/fd/1"]).success()?;
    let count = unix.recv(&mut buffer)?;
    assert!(String::from_utf8_lossy(&buffer[..count]).ends_with("]: more\n"));
    stage.compose(["down", "-t", "0"]).success()?;
    // Nobody listens: it does not start, and says why.
    drop(unix);
    fs::remove_file(&path)?;
    stage
        .compose(["up", "-d", "unix"])
        .code(1)?
        .complains("cannot send log lines to unixgram://")?;
    stage
        .file("compose.yaml", &text.replace("syslog-format: rfc3164", "syslog-fromat: rfc3164"))?;
    let up = stage.compose(["up", "-d", "unix"]).code(1)?;
    up.complains("the log driver `syslog` has no option `syslog-fromat`")?;
    stage.compose(["down", "-t", "0"]).success()?;
    Ok(())
}

fn journal(stage: &Stage) -> Verdict {
    // The journal of a machine of its own, as far as the scenario is concerned.
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("tmpfs", "/run", "tmpfs", flags, None::<&std::ffi::CStr>)?;
    fs::create_dir_all("/run/systemd/journal")?;
    let journal = UnixDatagram::bind("/run/systemd/journal/socket")?;
    journal.set_read_timeout(Some(PATIENCE))?;
    stage.file(
        "compose.yaml",
        "
services:
  box:
    image: rootfs:/
    command: [sh, -c, 'echo well; exec sleep infinity']
    labels: {org.team: seven}
    environment: {MODE: fast}
    logging: {driver: journald, options: {labels: org.team, env: MODE, tag: boxes}}
",
    )?;
    stage.compose(["up", "-d"]).success()?;
    let mut buffer = [0; 65536];
    let count = journal.recv(&mut buffer)?;
    let entry = String::from_utf8_lossy(&buffer[..count]).into_owned();
    let id = stage.field("box", "ID")?;
    for field in [
        "MESSAGE=well",
        "PRIORITY=6",
        &format!("CONTAINER_NAME={}-box-1", stage.project),
        &format!("CONTAINER_ID={}", &id[..12]),
        "CONTAINER_TAG=boxes",
        "SYSLOG_IDENTIFIER=boxes",
        "ORG_TEAM=seven",
        "MODE=fast",
    ] {
        assert!(entry.lines().any(|line| line == field), "{field} is not in {entry}");
    }
    let long = "echo $(printf %017000d 7) > /proc/1/fd/2";
    stage.compose(["exec", "-T", "box", "sh", "-c", long]).success()?;
    let mut heard = Vec::new();
    for _ in 0..2 {
        let count = journal.recv(&mut buffer)?;
        heard.push(String::from_utf8_lossy(&buffer[..count]).into_owned());
    }
    assert!(heard[0].contains("CONTAINER_PARTIAL_MESSAGE=true\n"), "the first part is told as one");
    assert!(heard[1].contains("PRIORITY=3\n") && !heard[1].contains("PARTIAL"));
    stage.compose(["down", "-t", "0"]).success()?;
    drop(journal);
    rustix::mount::unmount("/run", rustix::mount::UnmountFlags::DETACH)?;
    Ok(())
}

fn limited_logs(stage: &Stage) -> Verdict {
    stage.file(
        "compose.yaml",
        "
services:
  small:
    image: rootfs:/
    command: [sh, -c, 'seq 100000']
    logging: {driver: local, options: {max-size: 16k, max-file: '2'}}
  quiet:
    image: rootfs:/
    command: [echo, heard by whoever is attached]
    logging: {driver: none}
",
    )?;
    stage.compose(["up", "--no-log-prefix"]).success()?.says("heard by whoever is attached")?;
    let said = stage.compose(["logs", "--no-log-prefix"]).success()?.stdout;
    assert!(said.ends_with("100000\n") && !said.contains("\n5000\n"), "{} bytes", said.len());
    assert!(!said.contains("heard"), "there is nothing to show");
    let folder = launch_of(stage, "small")?.with_file_name("log");
    let bytes: u64 =
        fs::read_dir(folder)?.flatten().filter_map(|one| Some(one.metadata().ok()?.len())).sum();
    assert!(bytes < 64 << 10, "{bytes} bytes are kept");
    stage.compose(["down"]).success()?;
    Ok(())
}

/// With no watches or no instances of inotify left, fanotify tells; with none of that either, the message names the limit.
fn without_inotify(stage: &Stage) -> Verdict {
    stage.file(
        "compose.yaml",
        "services:\n  web: &service\n    image: rootfs:/\n    stop_grace_period: 0s\n    command: sleep infinity\n  \
         db: *service\n",
    )?;
    stage.compose(["up", "--detach"]).success()?;
    for limit in ["max_inotify_watches", "max_inotify_instances"] {
        for words in [&["logs", "--follow"][..], &["up", "--no-recreate"]] {
            let following = stage.start(stage.limited_command(words, &[(limit, 0)]))?;
            for turn in 0..3 {
                let said = format!("{limit} {} {turn}", words[0]);
                // Whoever attaches shows what is said from then on.
                eventually(PATIENCE, || {
                    let say = format!("echo {said} > /proc/1/fd/1");
                    stage.compose(["exec", "-T", "web", "sh", "-c", &say]).success()?;
                    match following.said() {
                        all if all.contains(&said) => Ok(()),
                        all => Err(format!("no {said:?} in {all:?}").into()),
                    }
                })?;
            }
            // Without a word to the supervisor.
            following.signal(Signal::SIGKILL)?;
            let _killed = following.finish(PATIENCE)?;
        }
    }
    for (limit, told) in [
        ("max_inotify_watches", "fs.inotify.max_user_watches"),
        ("max_inotify_instances", "fs.inotify.max_user_instances"),
    ] {
        for words in [&["logs", "--follow"][..], &["up", "--no-recreate"]] {
            let limits = [(limit, 0), ("max_fanotify_groups", 0)];
            let run = stage.run(stage.limited_command(words, &limits), None).code(1)?;
            run.says(&format!("of {told} are in use"))?.says(&format!("`sysctl -w {told}="))?;
        }
    }
    // Whoever only looks needs nothing of that.
    stage.run(stage.limited_command(["logs"], &[("max_inotify_watches", 0)]), None).success()?;
    stage.compose(["down"]).success()?;
    Ok(())
}
