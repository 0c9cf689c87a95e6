//! Containers that another OCI runtime makes: they behave as any other, and nothing is left of them.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use scenarios::{Need, Stage, Verdict, eventually, world};

use crate::Scenario;

/// How long something that is on its way may take on a machine with other things to do.
const BOUND: Duration = Duration::from_secs(60);

pub(super) fn all() -> Vec<Scenario> {
    let needs = &[Need::Root, Need::Runtimes];
    vec![
        Scenario::needing("crun_runs_a_stack_as_ours_does", needs, |stage| stack(stage, "crun")),
        Scenario::needing("runc_runs_a_stack_as_ours_does", needs, |stage| stack(stage, "runc")),
        Scenario::needing("runsc_runs_a_stack_in_a_kernel_of_its_own", needs, sandbox),
        Scenario::plain(
            "runtimes_that_cannot_be_used_are_refused_before_anything_is_made",
            refused,
        ),
        Scenario::needing("what_a_runtime_cannot_start_is_told", needs, failing),
    ]
}

/// A service with most of what a service can have, and some that end in their ways.
fn file(runtime: &str) -> String {
    format!(
        r#"
services:
  web:
    image: rootfs:/
    runtime: {runtime}
    hostname: webhost
    user: "1234:2345"
    group_add: [29]
    cap_add: [NET_ADMIN]
    security_opt: [no-new-privileges]
    sysctls: {{net.ipv4.ip_unprivileged_port_start: "0"}}
    ulimits: {{nofile: {{soft: 333, hard: 444}}}}
    environment: {{GREETING: hello}}
    working_dir: /srv
    stop_signal: SIGUSR1
    command:
      - python3
      - -u
      - -c
      - |
        import os, signal, socket, sys
        def end(*_):
            print("asked to end")
            os._exit(3)
        signal.signal(signal.SIGUSR1, end)
        server = socket.create_server(("", 80), backlog=64)
        print("ready in", os.getcwd(), "as", os.getuid(), os.getgid(), sorted(os.getgroups()))
        while True:
            client, _ = server.accept()
            client.sendall(b"web\n")
            client.close()
    healthcheck: {{test: [CMD, "true"], interval: 200ms, retries: 50}}
    ports: ['8080:80']
    volumes: ['data:/data', {{type: tmpfs, target: /scratch}}]
    secrets: [{{source: word, mode: 0400}}]
    configs: [{{source: setting, target: /etc/setting}}]
  beside:
    image: rootfs:/
    command: sleep infinity
    volumes: ['data:/data']
    depends_on: {{web: {{condition: service_healthy}}}}
  guest:
    image: rootfs:/
    runtime: {runtime}
    command: sh -c 'echo shared > /dev/shm/mark; sleep infinity'
    network_mode: service:web
    pid: service:web
    ipc: service:host
  host:
    image: rootfs:/
    ipc: shareable
    command: sleep infinity
  screen:
    image: rootfs:/
    runtime: {runtime}
    tty: true
    stdin_open: true
    command: sh
  ends:
    image: rootfs:/
    runtime: {runtime}
    command: sh -c 'echo out; echo err >&2; exit 7'
  quick:
    image: rootfs:/
    runtime: {runtime}
    command: "true"
  restless:
    image: rootfs:/
    runtime: {runtime}
    command: sh -c 'echo again; exit 4'
    restart: on-failure:2
  hog:
    image: rootfs:/
    runtime: {runtime}
    mem_limit: 128m
    memswap_limit: 128m
    command: python3 -c 'x = b"x" * (1 << 30); print(len(x))'
volumes: {{data: {{}}}}
secrets: {{word: {{content: swordfish}}}}
configs: {{setting: {{content: "a=b"}}}}
"#
    )
}

fn stack(stage: &Stage, runtime: &str) -> Verdict {
    stage.file("compose.yaml", &file(runtime))?;
    stage.compose(["up", "--detach"]).success()?;
    how_they_end(stage)?;
    what_is_inside(stage)?;
    who_is_beside(stage)?;
    the_supervisor_is_killed(stage)?;
    who_has_a_terminal(stage, "/dev/pts/0")?;
    what_is_changed_live(stage, runtime)?;

    stage.compose(["pause", "web"]).success()?;
    assert_eq!(stage.field("web", "State")?, "paused");
    stage.compose(["unpause", "web"]).success()?;
    stage.compose(["restart", "web"]).success()?;
    eventually(BOUND, || {
        stage.compose(["logs", "web"]).success()?.says("asked to end").map(drop).map_err(Into::into)
    })?;
    stage.compose(["stop", "web"]).success()?;
    assert_eq!(stage.field("web", "ExitCode")?, "3");
    stage.compose(["down", "--volumes"]).success()?;
    let left = stage.roots.join("run/projects").join(&stage.project).join("runtimes");
    assert!(!left.exists(), "{} is left", left.display());
    Ok(())
}

/// What is inside cannot be joined, and all that is done with a container works by way of its runtime.
fn sandbox(stage: &Stage) -> Verdict {
    stage.file("compose.yaml", SANDBOX)?;
    let owner = |path: &Path| std::fs::metadata(path).map(|found| (found.uid(), found.gid()));
    let null = Path::new("/dev/null");
    let owner_of_null = owner(null)?;
    stage.compose(["up", "--detach", "--wait", "web", "beside"]).success()?;
    let inside = |script: &str| {
        stage.compose(["exec", "-T", "web", "sh", "-c", script]).success().map(|run| run.stdout)
    };
    // It is another kernel, which knows nothing of the host's.
    let ours = rustix::system::uname();
    assert_ne!(inside("uname -v")?.trim(), ours.version().to_string_lossy());
    assert_eq!(inside("cat /run/secrets/word /etc/setting")?, "swordfisha=b");
    assert_eq!(
        inside("echo $GREETING; hostname; id -u; id -g; pwd")?,
        "hello\nwebhost\n1234\n2345\n/srv\n"
    );
    assert_eq!(stage.compose(["exec", "-T", "web", "sh", "-c", "exit 5"]).status.code(), Some(5));
    assert_eq!(stage.compose(["exec", "-T", "web", "nope"]).status.code(), Some(127));
    assert_eq!(stage.compose(["exec", "-T", "web", "/etc/passwd"]).status.code(), Some(126));
    let root = stage.compose(["exec", "-T", "--user", "0", "--privileged", "web", "id", "-u"]);
    assert_eq!(root.success()?.stdout, "0\n");
    // Others are found, and it is found, by name, address and port.
    let ask = "exec 3<> /dev/tcp/web/80; cat <&3";
    stage.compose(["exec", "-T", "beside", "bash", "-c", ask]).success()?.says("web")?;
    crate::cases::kills::port_answers()?;
    inside("getent hosts beside")?;
    // Files go in and out, and what is written to the root is there.
    stage.file("given", "from the host\n")?;
    stage.compose(["cp", "given", "web:/data/given"]).success()?;
    assert_eq!(inside("cat /data/given")?, "from the host\n");
    stage
        .compose(["exec", "-T", "beside", "cat", "/data/given"])
        .success()?
        .says("from the host")?;
    stage
        .compose(["cp", "given", "web:/scratch/given"])
        .code(1)?
        .complains("only the kernel of")?;
    stage
        .compose(["exec", "-T", "--user", "0", "web", "sh", "-c", "echo made > /srv/made"])
        .success()?;
    stage.compose(["cp", "web:/srv/made", "taken"]).success()?;
    assert_eq!(std::fs::read_to_string(stage.folder.join("taken"))?, "made\n");
    stage.compose(["top", "web"]).success()?.says("python3")?;
    stage.compose(["stats", "--no-stream", "web"]).success()?.says("web-1")?;
    // Outputs that are files go on where they are.
    let mut shell = stage.command("sh");
    let script = "(echo first; \"$0\" exec -T web echo second; echo third) > said";
    shell.arg("-c").arg(script).arg(stage.compose_command([""; 0]).get_program());
    stage.run(shell, None).success()?;
    assert_eq!(std::fs::read_to_string(stage.folder.join("said"))?, "first\nsecond\nthird\n");
    // And nobody else's.
    let mut shell = stage.command("sh");
    shell
        .arg("-c")
        .arg("\"$0\" exec -T web cat < said")
        .arg(stage.compose_command([""; 0]).get_program());
    stage.run(shell, None).success()?.says("third")?;
    assert_eq!(owner(&stage.folder.join("said"))?, owner(&stage.folder.join("compose.yaml"))?);
    stage.compose(["exec", "--detach", "web", "true"]).success()?;
    the_supervisor_is_killed(stage)?;
    inside("getent hosts beside")?;
    stage.compose(["pause", "web"]).success()?;
    assert_eq!(stage.field("web", "State")?, "paused");
    stage.compose(["unpause", "web"]).success()?;
    stage.compose(["restart", "web"]).success()?;
    // It handles signals when it answers.
    crate::cases::kills::port_answers()?;
    inside("getent hosts beside")?;
    stage.compose(["stop", "web"]).success()?;
    assert_eq!(stage.field("web", "ExitCode")?, "3");
    who_is_slow(stage)?;
    stage.compose(["up", "--detach", "screen"]).success()?;
    // There it has no name (`not a tty`), but all else that a terminal has.
    who_has_a_terminal(stage, "24 80")?;
    stage.compose(["up", "--detach", "ends", "hog"]).success()?;
    for (service, code) in [("ends", "7"), ("hog", "137")] {
        eventually(BOUND, || match stage.field(service, "ExitCode")? {
            found if found == code => Ok(()),
            found => Err(format!("{service} has {found}").into()),
        })?;
    }
    let log = stage.compose(["logs", "--no-log-prefix", "ends"]).success()?;
    assert_eq!((log.stdout.as_str(), log.stderr.as_str()), ("out\n", "err\n"));
    assert_eq!(owner(null)?, owner_of_null, "the null device of the machine was given away");
    stage.compose(["down", "--volumes"]).success()?;
    let left = stage.roots.join("run/projects").join(&stage.project).join("runtimes");
    assert!(!left.exists(), "{} is left", left.display());
    Ok(())
}

/// A health check that takes too long is ended within as well.
fn who_is_slow(stage: &Stage) -> Verdict {
    stage.compose(["up", "--detach", "slow"]).success()?;
    eventually(BOUND, || match stage.field("slow", "Health")?.as_str() {
        "unhealthy" => Ok(()),
        other => Err(format!("slow is {other}").into()),
    })?;
    // Each time one more is begun and ended.
    let count = "grep -l '^sleep.987' /proc/[0-9]*/cmdline 2> /dev/null | wc -l";
    eventually(BOUND, || {
        match stage.compose(["exec", "-T", "slow", "sh", "-c", count]).success()?.stdout.trim() {
            "0" | "1" => Ok(()),
            many => Err(format!("{many} of them run").into()),
        }
    })
}

const SANDBOX: &str = r#"
services:
  web:
    image: rootfs:/
    runtime: runsc
    hostname: webhost
    user: "1234:2345"
    environment: {GREETING: hello}
    working_dir: /srv
    stop_signal: SIGUSR1
    command:
      - python3
      - -u
      - -c
      - |
        import os, signal, socket
        signal.signal(signal.SIGUSR1, lambda *_: os._exit(3))
        server = socket.create_server(("", 80), backlog=64)
        while True:
            client, _ = server.accept()
            client.sendall(b"web\n")
            client.close()
    healthcheck: {test: [CMD, "true"], interval: 1s, retries: 50}
    ports: ['8080:80']
    volumes: ['data:/data', {type: tmpfs, target: /scratch}]
    secrets: [{source: word, mode: 0400}]
    configs: [{source: setting, target: /etc/setting}]
  beside:
    image: rootfs:/
    command: sleep infinity
    volumes: ['data:/data']
    depends_on: {web: {condition: service_healthy}}
  slow:
    image: rootfs:/
    runtime: runsc
    command: sleep infinity
    healthcheck: {test: [CMD, sleep, "987"], interval: 200ms, timeout: 500ms, retries: 3}
  screen:
    image: rootfs:/
    runtime: runsc
    tty: true
    stdin_open: true
    command: sh
  ends:
    image: rootfs:/
    runtime: runsc
    command: sh -c 'echo out; echo err >&2; exit 7'
  hog:
    image: rootfs:/
    runtime: runsc
    mem_limit: 128m
    memswap_limit: 128m
    command: python3 -c 'x = b"x" * (1 << 30); print(len(x))'
volumes: {data: {}}
secrets: {word: {content: swordfish}}
configs: {setting: {content: "a=b"}}
"#;

/// Exit codes, output, restarts, and a limit that PID 1 runs into.
fn how_they_end(stage: &Stage) -> Verdict {
    for (service, code) in [("ends", "7"), ("quick", "0"), ("restless", "4"), ("hog", "137")] {
        eventually(BOUND, || {
            let (state, found) =
                (stage.field(service, "State")?, stage.field(service, "ExitCode")?);
            match (state.as_str(), found == code) {
                ("exited", true) => Ok(()),
                _ => Err(format!("{service} is {state} with {found}").into()),
            }
        })?;
    }
    let log = stage.compose(["logs", "--no-log-prefix", "ends"]).success()?;
    assert_eq!((log.stdout.as_str(), log.stderr.as_str()), ("out\n", "err\n"));
    // One whose end is not yet seen to has exited as well: what it has said tells whether it was the last time.
    eventually(BOUND, || {
        let said = stage.compose(["logs", "--no-log-prefix", "restless"]).success()?.stdout;
        if said == "again\n".repeat(3) { Ok(()) } else { Err(format!("{said:?}").into()) }
    })?;
    stage.compose(["ps", "--all"]).success()?.says("out of memory")?;
    Ok(())
}

/// What the program of `web`, and one that exec brings in, are given.
fn what_is_inside(stage: &Stage) -> Verdict {
    eventually(BOUND, || match stage.field("web", "Health")?.as_str() {
        "healthy" => Ok(()),
        other => Err(format!("web is {other}").into()),
    })?;
    stage
        .compose(["logs", "--no-log-prefix", "web"])
        .success()?
        .says("ready in /srv as 1234 2345 [29]")?;
    let inside = |script: &str| {
        stage.compose(["exec", "-T", "web", "sh", "-c", script]).success().map(|run| run.stdout)
    };
    assert_eq!(inside("cat /run/secrets/word /etc/setting")?, "swordfisha=b");
    assert_eq!(inside("stat -c %u:%g:%a /run/secrets/word")?, "1234:2345:400\n");
    assert_eq!(inside("echo $GREETING $HOSTNAME; hostname")?, "hello webhost\nwebhost\n");
    assert_eq!(inside("grep ' /scratch ' /proc/mounts | cut -d' ' -f3")?, "tmpfs\n");
    // Process 1 and those that join it are equally confined.
    let script = "grep -E '^(Seccomp|NoNewPrivs|CapBnd|SigBlk|Uid|Gid):' /proc/$1/status | tr '\\t' ' '; grep 'open files' /proc/$1/limits";
    let status = |process: &str| {
        let words = ["exec", "-T", "web", "sh", "-c", script, "sh", process];
        stage.compose(words).success().map(|run| run.stdout)
    };
    let first = status("1")?;
    assert_eq!(first, status("self")?);
    for line in
        ["Seccomp: 2", "NoNewPrivs: 1", "CapBnd: 00000000a80435fb", "SigBlk: 0000000000000000"]
    {
        assert!(first.contains(line), "no {line:?} in {first}");
    }
    assert!(first.contains("333") && first.contains("444"), "{first}");
    // Masked, and not to be written.
    assert_eq!(inside("cat /proc/kcore | wc -c")?, "0\n");
    let tried = stage.compose([
        "exec",
        "-T",
        "--user",
        "0",
        "web",
        "sh",
        "-c",
        "echo 1 > /proc/sys/kernel/sysrq",
    ]);
    assert!(!tried.status.success(), "{tried:?}");
    stage.file("given", "from the host\n")?;
    stage.compose(["cp", "given", "web:/scratch/given"]).success()?;
    assert_eq!(inside("cat /scratch/given")?, "from the host\n");
    stage.compose(["top", "web"]).success()?.says("python3")?;
    Ok(())
}

/// Others reach it, by name, by volume, by port, and by the namespaces that they share.
fn who_is_beside(stage: &Stage) -> Verdict {
    stage
        .compose(["exec", "-T", "--user", "0", "web", "sh", "-c", "echo here > /data/mark"])
        .success()?;
    stage.compose(["exec", "-T", "beside", "cat", "/data/mark"]).success()?.says("here")?;
    stage.compose(["exec", "-T", "web", "getent", "hosts", "beside"]).success()?;
    let ask = "exec 3<> /dev/tcp/web/80; cat <&3";
    stage.compose(["exec", "-T", "beside", "bash", "-c", ask]).success()?.says("web")?;
    crate::cases::kills::port_answers()?;
    stage.compose(["exec", "-T", "guest", "cat", "/proc/1/cmdline"]).success()?.says("python3")?;
    stage.compose(["exec", "-T", "guest", "hostname"]).success()?;
    stage.compose(["exec", "-T", "host", "cat", "/dev/shm/mark"]).success()?.says("shared")?;
    Ok(())
}

/// A secret and a limit are changed in the container that runs.
fn what_is_changed_live(stage: &Stage, runtime: &str) -> Verdict {
    let id = stage.field("web", "ID")?;
    let text = file(runtime).replace("swordfish", "halibut");
    let text = text.replace("    working_dir: /srv", "    pids_limit: 77\n    working_dir: /srv");
    stage.file("compose.yaml", &text)?;
    stage.compose(["up", "--detach", "web"]).success()?;
    stage.compose(["exec", "-T", "web", "cat", "/run/secrets/word"]).success()?.says("halibut")?;
    assert_eq!(stage.field("web", "ID")?, id);
    Ok(())
}

/// The terminal that the runtime has made is read and written, also by another supervisor.
fn who_has_a_terminal(stage: &Stage, mark: &str) -> Verdict {
    let words = ["attach", "--detach-keys", "ctrl-a,x", "screen"];
    let mut screen = stage.start_on_terminal(&stage.compose_command(words))?;
    eventually(BOUND, || {
        screen.say("tty; echo $((40+2)); stty size\n")?;
        match screen.said() {
            said if said.contains("42") && said.contains(mark) => Ok(()),
            said => Err(said.into()),
        }
    })?;
    screen.say("\u{1}x")?;
    screen.finish(BOUND)?.success()?;
    Ok(())
}

/// A supervisor that is killed costs nothing.
fn the_supervisor_is_killed(stage: &Stage) -> Verdict {
    let victim = world::processes(&stage.project, &stage.roots)
        .into_iter()
        .find(|(_, words)| words.split(' ').nth(1) == Some("supervisor"));
    let (pid, _) = victim.ok_or("there is no supervisor")?;
    kill(Pid::from_raw(pid), Signal::SIGKILL)?;
    eventually(BOUND, || {
        stage.compose(["exec", "-T", "web", "true"]).success()?;
        match stage.field("web", "State")?.as_str() {
            "running" => Ok(()),
            other => Err(format!("web is {other}").into()),
        }
    })?;
    crate::cases::kills::port_answers()
}

fn refused(stage: &Stage) -> Verdict {
    #[rustfmt::skip]
    let rows = [
        ("runtime: no-such-runtime", "the runtime `no-such-runtime` is not installed"),
        ("runtime: no-such-runtime", "apt-get install no-such-runtime"),
        ("runtime: /no/such/program", "the runtime `/no/such/program` is not installed"),
        ("runtime: runsc, sysctls: {net.core.somaxconn: '1'}", "`sysctls` cannot be carried out with the runtime `runsc`"),
        ("runtime: runsc, pid: host", "`pid` cannot be carried out with the runtime `runsc`"),
        ("network_mode: 'service:apart'", "`network_mode` names `apart`, whose runtime `runsc` has a kernel of its own"),
        ("runtime: kata", "`runtime` of the service `web` cannot be carried out"),
        ("runtime: kata", "Kata Containers has taken no bundle on a command line since version 2"),
        ("runtime: /opt/kata/bin/kata-runtime", "`runtime` of the service `web` cannot be carried out"),
        ("runtime: crun, init: true", "`init` cannot be carried out with the runtime `crun`"),
        ("runtime: crun, volumes: [{type: bind, source: /tmp, target: /t, bind: {propagation: rshared}}]",
            "`volumes` cannot be carried out with the runtime `crun`"),
    ];
    for (words, message) in rows {
        let service = format!("image: 'rootfs:/', command: sleep infinity, {words}");
        let beside = "image: 'rootfs:/', command: sleep infinity, runtime: runsc";
        let text = format!("services: {{web: {{{service}}}, apart: {{{beside}}}}}\n");
        stage.file("compose.yaml", &text)?;
        stage.compose(["up", "--detach"]).code(1)?.complains(message)?;
        stage.check_nothing_left()?;
    }
    Ok(())
}

fn failing(stage: &Stage) -> Verdict {
    for runtime in ["crun", "runc", "runsc"] {
        for (command, code) in
            [("/no/such/program", "127"), ("no-such-program", "127"), ("/etc/passwd", "126")]
        {
            let service = format!("image: 'rootfs:/', runtime: {runtime}, command: {command}");
            stage.file("compose.yaml", &format!("services: {{web: {{{service}}}}}\n"))?;
            stage.compose(["up", "--detach"]).code(1)?.complains("web")?;
            assert_eq!(stage.field("web", "ExitCode")?, code, "{runtime} {command}");
            stage.compose(["down"]).success()?;
        }
    }
    // A program that makes nothing of the bundle.
    let service = "image: 'rootfs:/', runtime: /bin/true, command: sleep infinity";
    stage.file("compose.yaml", &format!("services: {{web: {{{service}}}}}\n"))?;
    stage.compose(["up", "--detach"]).code(1)?.complains("/bin/true")?;
    stage.compose(["down"]).success()?;
    Ok(())
}
