//! The commands that look at a project or change a part of it, on the real thing.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use scenarios::{Stage, Verdict, eventually};

use crate::Scenario;

pub(super) fn all() -> Vec<Scenario> {
    vec![
        Scenario::plain("parallel_limits_every_command", parallel),
        Scenario::plain("deprecated_flags_of_pull_are_accepted", pull_flags),
        Scenario::plain("the_project_comes_back_with_the_machine", service),
        Scenario::plain("pause_freezes_and_unpause_lets_go_on", pause),
        Scenario::plain("who_cannot_hear_the_stop_signal_is_not_waited_for", deaf),
        Scenario::plain("cp_goes_both_ways", copy),
        Scenario::plain("cp_and_export_reach_a_container_that_never_ran", copy_at_rest),
        Scenario::plain("wait_tells_how_containers_ended", wait),
        Scenario::plain("scale_adds_and_removes_containers", scale),
        Scenario::plain("events_tell_what_was_and_what_is", events),
        Scenario::plain("commit_makes_an_image_of_the_changes", commit),
        Scenario::plain("compatibility_names_with_underscores", compatibility),
        Scenario::plain("stats_of_what_runs", stats),
        Scenario::plain("a_project_is_known_by_its_name", by_name),
        Scenario::plain("formats_are_those_of_docker", formats),
        Scenario::plain("dry_run_changes_nothing", dry_run),
        Scenario::plain("why_and_doctor_say_what_is_wrong", why),
    ]
}

pub(super) const ONE: &str = "
services:
  web: {image: 'rootfs:/', command: sleep infinity}
";

fn pause(stage: &Stage) -> Verdict {
    stage.file("compose.yaml", ONE)?;
    stage.compose(["pause"]).success()?;
    stage.compose(["up", "-d"]).success()?;
    stage.compose(["pause", "nix"]).code(1)?.complains("no such service: nix")?;
    stage.compose(["pause"]).success()?.complains("Paused")?;
    assert_eq!(stage.field("web", "State")?, "paused");
    stage.compose(["pause", "web"]).code(1)?.complains("it is paused already")?;
    stage.compose(["exec", "-T", "web", "true"]).code(1)?.complains("is paused")?;
    stage.compose(["unpause"]).success()?.complains("Unpaused")?;
    assert_eq!(stage.field("web", "State")?, "running");
    stage.compose(["unpause", "web"]).code(1)?.complains("it is not paused")?;
    stage.compose(["unpause"]).success()?;
    stage.compose(["pause"]).success()?;
    stage.compose(["start"]).success()?;
    assert_eq!(stage.field("web", "State")?, "running");
    stage.compose(["pause"]).success()?;
    stage.compose(["down"]).success()?;
    stage.check_nothing_left()
}

fn deaf(stage: &Stage) -> Verdict {
    stage.file(
        "compose.yaml",
        "
services:
  deaf: {image: 'rootfs:/', command: sleep infinity, stop_grace_period: 1h}
  reaped: {image: 'rootfs:/', command: sleep infinity, stop_grace_period: 1h, init: true}
  hears:
    image: 'rootfs:/'
    command: [sh, -c, 'trap \"exit 3\" TERM; echo ready; while :; do sleep 0.05; done']
    stop_grace_period: 1h
",
    )?;
    stage.compose(["up", "-d"]).success()?;
    eventually(Duration::from_secs(20), || {
        Ok(stage.compose(["logs", "hears"]).success()?.says("ready")?)
    })?;
    stage.compose(["stop"]).success()?;
    assert_eq!(stage.field("deaf", "ExitCode")?, "137");
    assert_eq!(stage.field("reaped", "ExitCode")?, "143");
    assert_eq!(stage.field("hears", "ExitCode")?, "3");
    stage.compose(["down"]).success()?;
    Ok(())
}

fn copy(stage: &Stage) -> Verdict {
    stage.file("compose.yaml", ONE)?;
    stage.compose(["up", "-d", "--scale", "web=2"]).success()?;
    stage.file("given/file", "from the host")?;
    stage.compose(["cp", "given", "web:/usr/given"]).success()?.complains("Copied")?;
    for index in ["1", "2"] {
        let read = ["exec", "-T", "--index", index, "web", "cat", "/usr/given/file"];
        stage.compose(read).success()?.says("from the host")?;
    }
    stage.compose(["cp", "--index", "2", "given/file", "web:/usr/only"]).success()?;
    stage.compose(["exec", "-T", "web", "cat", "/usr/only"]).code(1)?;
    let write = [
        "exec",
        "-T",
        "web",
        "sh",
        "-c",
        "echo inside > /usr/given/made; ln -s /etc/passwd /usr/given/link",
    ];
    stage.compose(write).success()?;
    stage.compose(["cp", "web:/usr/given", "back"]).success()?;
    assert_eq!(fs::read_to_string(stage.folder.join("back/made"))?, "inside\n");
    assert_eq!(fs::read_link(stage.folder.join("back/link"))?, Path::new("/etc/passwd"));
    stage.compose(["cp", "web:/usr/given/made", "back/file"]).success()?;
    assert_eq!(fs::read_to_string(stage.folder.join("back/file"))?, "inside\n");
    // Through pipes, with tar at the other end.
    let binary = stage.compose_command(["cp"]);
    let mut piped = stage.command("sh");
    piped.args([
        "-ec",
        "\"$0\" cp web:/usr/given - | tar tf -; tar cf - given | \"$0\" cp --index 1 - web:/opt",
    ]);
    piped.arg(binary.get_program());
    stage.run(piped, None).success()?.says("given/made")?;
    let read = ["exec", "-T", "web", "cat", "/opt/given/file"];
    stage.compose(read).success()?.says("from the host")?;
    stage.compose(["cp", "web:/none", "x"]).code(1)?.complains("/none: No such file")?;
    stage.compose(["cp", "web:/etc", "web:/x"]).code(2)?;
    stage.compose(["cp", "a", "b"]).code(2)?;
    assert!(!Path::new("/usr/given").exists() && !Path::new("/opt/given").exists());
    stage.compose(["down"]).success()?;
    Ok(())
}

fn copy_at_rest(stage: &Stage) -> Verdict {
    stage.file("root/etc/kept", "of the image")?;
    let root = stage.folder.join("root").display().to_string();
    stage.file(
        "compose.yaml",
        &format!(
            "
services:
  web:
    image: rootfs:{root}
    command: /nothing
    volumes: ['data:/data']
volumes:
  data:
"
        ),
    )?;
    stage.compose(["create"]).success()?;
    stage.file("new", "from the host")?;
    stage.compose(["cp", "new", "web:/etc/new"]).success()?;
    stage.compose(["cp", "new", "web:/data/new"]).success()?;
    stage.compose(["cp", "web:/etc/.", "etc"]).success()?;
    assert_eq!(fs::read_to_string(stage.folder.join("etc/new"))?, "from the host");
    assert_eq!(fs::read_to_string(stage.folder.join("etc/kept"))?, "of the image");
    let volume = stage.roots.join(format!("data/volumes/{}_data/_data/new", stage.project));
    assert_eq!(fs::read_to_string(volume)?, "from the host");
    assert!(!stage.folder.join("root/etc/new").exists(), "the image is not changed");
    stage.compose(["export", "-o", "web.tar", "web"]).success()?.complains("Exported")?;
    let listed = stage.client("tar", &["tf", "web.tar"]).success()?.stdout;
    let names: Vec<&str> = listed.lines().collect();
    assert!(names.contains(&"etc/new") && names.contains(&"data/"), "{names:?}");
    assert!(!names.contains(&"data/new"), "volumes are not exported: {names:?}");
    stage.compose(["down", "-v"]).success()?;
    Ok(())
}

fn wait(stage: &Stage) -> Verdict {
    stage.file(
        "compose.yaml",
        "
services:
  job:
    image: 'rootfs:/'
    command: [sh, -c, 'while [ ! -e /go/on ]; do sleep 0.05; done; exit 4']
    volumes: ['./go:/go']
  web: {image: 'rootfs:/', command: sleep infinity}
",
    )?;
    fs::create_dir(stage.folder.join("go"))?;
    stage.compose(["create"]).success()?;
    stage.compose(["wait", "job"]).code(1)?.complains("no container of these services runs")?;
    stage.compose(["up", "-d"]).success()?;
    let waiting = stage.start(stage.compose_command(["wait", "--down-project", "job"]))?;
    eventually(Duration::from_secs(20), || listens(waiting.id()))?;
    stage.file("go/on", "")?;
    waiting.finish(Duration::from_secs(60))?.code(4)?.says("exited with status code 4")?;
    assert!(stage.containers()?.is_empty());
    stage.check_nothing_left()
}

/// Whether a process has a socket: it has connected to the supervisor.
pub(super) fn listens(pid: u32) -> Verdict {
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))?.flatten() {
        let leads = fs::read_link(entry.path()).unwrap_or_default();
        if leads.to_string_lossy().starts_with("socket:") {
            return Ok(());
        }
    }
    Err("it has no socket yet".into())
}

fn scale(stage: &Stage) -> Verdict {
    stage.file("compose.yaml", ONE)?;
    stage.compose(["up", "-d"]).success()?;
    let first = stage.field("web", "ID")?;
    stage.compose(["scale", "web=3"]).success()?;
    assert_eq!(stage.containers()?.len(), 3);
    stage.compose(["scale", "web=1"]).success()?;
    assert_eq!(stage.containers()?.len(), 1);
    assert_eq!(stage.field("web", "ID")?, first);
    stage.compose(["scale", "web"]).code(2)?;
    stage.compose(["scale", "nix=1"]).code(1)?.complains("no such service: nix")?;
    stage.compose(["scale", "web=0"]).success()?;
    assert!(stage.containers()?.is_empty());
    stage.compose(["down"]).success()?;
    Ok(())
}

fn events(stage: &Stage) -> Verdict {
    stage.file("compose.yaml", ONE)?;
    stage.compose(["up", "-d"]).success()?;
    let past = stage.compose(["events", "--since", "1h", "--until", "0s"]).success()?;
    past.says(" container create ")?
        .says(" container start ")?
        .says(&format!("name={}-web-1", stage.project))?;
    let live = stage.start(stage.compose_command(["events", "--json"]))?;
    eventually(Duration::from_secs(20), || listens(live.id()))?;
    eventually(Duration::from_secs(30), || {
        stage.compose(["restart", "-t", "0"]).success()?;
        match live.said() {
            said if said.contains("\"action\":\"die\"")
                && said.contains("\"action\":\"start\"") =>
            {
                Ok(())
            }
            said => Err(said.into()),
        }
    })?;
    live.signal(Signal::SIGINT)?;
    let live = live.finish(Duration::from_secs(20))?.code(130)?;
    for line in live.stdout.lines() {
        let event: serde_json::Value = serde_json::from_str(line)?;
        assert_eq!((&event["type"], &event["service"]), (&"container".into(), &"web".into()));
    }
    stage.compose(["down"]).success()?;
    Ok(())
}

fn stats(stage: &Stage) -> Verdict {
    stage.file("compose.yaml", ONE)?;
    stage.compose(["stats", "--no-stream"]).success()?.says("CONTAINER ID")?;
    stage.compose(["up", "-d"]).success()?;
    let said = stage.compose(["stats", "--no-stream", "--format", "json"]).success()?.stdout;
    let row: serde_json::Value = serde_json::from_str(said.trim())?;
    assert_eq!(row["Name"], format!("{}-web-1", stage.project));
    assert_eq!(row["PIDs"], "1");
    assert!(row["MemUsage"].as_str().is_some_and(|usage| usage.contains("iB / ")), "{row}");
    assert!(row["CPUPerc"].as_str().is_some_and(|share| share.ends_with('%')), "{row}");
    stage.compose(["down"]).success()?;
    Ok(())
}

/// Where no file is, what the project was made from is read.
fn by_name(stage: &Stage) -> Verdict {
    stage.file("made/compose.yaml", ONE)?;
    let made = |words: &[&str]| stage.compose([&["-f", "made/compose.yaml"], words].concat());
    let named = |words: &[&str]| stage.compose([&["-p", &stage.project], words].concat());
    named(&["up", "-d"]).code(1)?;
    made(&["up", "-d"]).success()?;
    named(&["config", "--services"]).success()?.says("web")?;
    named(&["up", "-d", "--scale", "web=2"]).success()?;
    let ids = named(&["ps", "-q"]).success()?.stdout;
    assert_eq!(ids.lines().count(), 2, "{ids}");
    named(&["run", "--rm", "web", "true"]).success()?;
    named(&["scale", "web=1"]).success()?;
    named(&["down"]).success()?;
    // A project that is gone has none.
    named(&["up", "-d"]).code(1)?;
    // Whoever listens to it keeps its supervisor, for which nobody waits then.
    made(&["up", "-d"]).success()?;
    let events = stage.start(stage.compose_command(["-f", "made/compose.yaml", "events"]))?;
    eventually(Duration::from_secs(20), || listens(events.id()))?;
    made(&["down"]).success()?;
    events.signal(Signal::SIGINT)?;
    events.finish(Duration::from_secs(20))?.code(130)?;
    for _ in 0..3 {
        made(&["up", "-d"]).success()?;
        made(&["down"]).success()?;
        // What the kernel takes away by itself is not waited for.
        let left = stage.left();
        let mut ours = left.lines().map(str::trim_start);
        assert!(!ours.any(|one| one.starts_with("process") || one.starts_with("file")), "{left}");
    }
    Ok(())
}

fn formats(stage: &Stage) -> Verdict {
    stage.file("compose.yaml", ONE)?;
    stage.compose(["up", "-d"]).success()?;
    let said = stage.compose(["ps", "--format", "{{.Service}}:{{.State}}"]).success()?.stdout;
    assert_eq!(said, "web:running\n");
    let said =
        stage.compose(["ps", "--format", r"table {{.Service}}\t{{upper .State}}"]).success()?;
    assert_eq!(said.stdout, "SERVICE   STATE\nweb       RUNNING\n");
    stage
        .compose(["ps", "--format", "{{.Nope}}"])
        .code(2)?
        .complains("template:1:3: there is no field Nope")?;
    stage.compose(["ps", "--format", "{{if}}"]).code(2)?.complains("template:1:5")?;
    stage.file("docker/config.json", "{\"psFormat\": \"{{.Name}}!\"}")?;
    let mut ps = stage.compose_command(["ps"]);
    ps.env("DOCKER_CONFIG", stage.folder.join("docker"));
    stage.run(ps, None).success()?.says("-web-1!")?;
    stage.compose(["down"]).success()?;
    Ok(())
}

fn parallel(stage: &Stage) -> Verdict {
    let service = "{image: 'rootfs:/', init: true, command: sleep infinity}";
    stage.file("compose.yaml", &format!("services:\n  a: {service}\n  b: {service}\n"))?;
    for words in [
        ["up", "-d"].as_slice(),
        &["pause"],
        &["unpause"],
        &["restart", "-t", "0"],
        &["stop", "-t", "0"],
        &["start"],
        &["kill"],
        &["rm", "-f"],
        &["create"],
        &["start"],
        &["down", "-t", "0"],
    ] {
        let line = [&["--progress", "plain", "--parallel", "1"], words].concat();
        let said = stage.compose(line).success()?.stderr;
        let containers: Vec<&str> =
            said.lines().filter(|line| line.contains("Container ")).collect();
        assert!(containers.len() >= 4, "{words:?}:\n{said}");
        // One after the other: what is begun is finished before anything else is begun.
        for pair in containers.chunks(2) {
            let name = |line: &str| line.split_whitespace().nth(1).map(str::to_owned);
            let begun = pair[0].trim_end().ends_with("ing");
            let same = pair.len() == 2 && name(pair[0]) == name(pair[1]);
            assert!(begun && same, "{words:?}:\n{said}");
        }
    }
    Ok(())
}

fn pull_flags(stage: &Stage) -> Verdict {
    stage.file("compose.yaml", ONE)?;
    for flag in ["--parallel", "--no-parallel"] {
        let complaint = format!("`{flag}` is deprecated and ignored");
        stage.compose(["pull", flag]).success()?.complains(&complaint)?;
    }
    Ok(())
}

fn service(stage: &Stage) -> Verdict {
    stage.file(
        "compose.yaml",
        "
x-box: &box {image: 'rootfs:/', init: true, command: sleep infinity}
services:
  plain: *box
  stopped: {<<: *box, restart: unless-stopped}
  always: {<<: *box, restart: always}
  cut: {<<: *box, restart: unless-stopped}
",
    )?;
    let units = std::path::Path::new("/etc/systemd");
    fs::create_dir_all(units)?;
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("tmpfs", units, "tmpfs", flags, None)?;
    let verdict = comes_back(stage, units);
    rustix::mount::unmount(units, rustix::mount::UnmountFlags::DETACH)?;
    verdict
}

fn comes_back(stage: &Stage, units: &std::path::Path) -> Verdict {
    let project = &stage.project;
    let unit = units.join(format!("system/compose-{project}.service"));
    stage.compose(["up", "-d"]).success()?;
    stage.compose(["stop", "-t", "0", "stopped", "always"]).success()?;
    if !std::path::Path::new("/usr/lib/systemd/systemd").exists() {
        fs::create_dir_all("/run/systemd/system")?;
    }
    let mut unknown = stage.compose_command(["-p", "nobody", "service", "enable"]);
    unknown.current_dir("/");
    stage.run(unknown, None).code(1)?.complains("there is no project nobody")?;
    stage.compose(["--dry-run", "service", "enable"]).success()?.says("ExecStart=")?;
    assert!(!unit.exists());
    stage.compose(["service", "enable"]).success()?.says(&unit.display().to_string())?;
    stage.compose(["service", "enable"]).success()?;
    let link = units.join(format!("system/multi-user.target.wants/compose-{project}.service"));
    assert_eq!(fs::read_link(&link)?, unit);
    let text = fs::read_to_string(&unit)?;
    // What systemd would run, with the environment that it would have.
    let carry_out = |key: &str| -> Verdict {
        let line = text.lines().find_map(|line| line.strip_prefix(key)).ok_or("no such line")?;
        let mut words = line.split_whitespace();
        let mut command = stage.command(words.next().ok_or("no program")?);
        command.args(words).current_dir("/").env_clear();
        for variable in text.lines().filter_map(|line| line.strip_prefix("Environment=")) {
            let (name, value) = variable.split_once('=').ok_or("no variable")?;
            command.env(name, value);
        }
        stage.run(command, None).success()?;
        Ok(())
    };
    let running = || -> Result<Vec<String>, Box<dyn std::error::Error>> {
        let listed = stage.compose(["ps", "--services"]).success()?.stdout;
        let mut running: Vec<String> = listed.lines().map(str::to_owned).collect();
        running.sort();
        Ok(running)
    };
    assert_eq!(running()?, ["cut", "plain"]);
    carry_out("ExecStop=")?;
    assert_eq!(running()?, [""; 0]);
    carry_out("ExecStart=")?;
    assert_eq!(running()?, ["always", "cut", "plain"]);
    // What is stopped before stays so, but for `always`.
    stage.compose(["stop", "-t", "0"]).success()?;
    carry_out("ExecStop=")?;
    carry_out("ExecStart=")?;
    assert_eq!(running()?, ["always"]);
    stage.compose(["service", "disable"]).success()?;
    assert!(!unit.exists() && link.symlink_metadata().is_err());
    stage.compose(["service", "disable"]).success()?.complains("no unit")?;
    stage.compose(["down", "-t", "0"]).success()?;
    Ok(())
}

fn dry_run(stage: &Stage) -> Verdict {
    stage.file("compose.yaml", ONE)?;
    stage.compose(["--dry-run", "up", "-d"]).success()?.says("DRY-RUN MODE - ")?;
    assert!(stage.containers()?.is_empty());
    stage.compose(["up", "-d"]).success()?;
    let before = stage.containers()?;
    let state = |all: Vec<serde_json::Value>| -> Vec<(String, String)> {
        let word = |one: &serde_json::Value, key: &str| one[key].to_string();
        all.iter().map(|one| (word(one, "ID"), word(one, "State"))).collect()
    };
    let before = state(before);
    let volume = format!("{}_x", stage.project);
    for words in [
        ["stop"].as_slice(),
        &["kill"],
        &["pause"],
        &["restart"],
        &["down"],
        &["rm", "-sf"],
        &["scale", "web=2"],
        &["up", "-d", "--force-recreate"],
        &["cp", "compose.yaml", "web:/usr/x"],
        &["export", "web"],
        &["network", "create", &volume],
        &["volume", "create", &volume],
    ] {
        let line = [&["--dry-run"], words].concat();
        stage.compose(line).success()?.says("DRY-RUN MODE - ")?;
        assert_eq!(state(stage.containers()?), before, "{words:?}");
    }
    assert_eq!(
        stage
            .compose(["network", "ls", "-q", "--filter", &format!("name={volume}")])
            .success()?
            .stdout,
        ""
    );
    assert_eq!(stage.compose(["volume", "ls", "-q"]).success()?.stdout, "");
    stage.compose(["down"]).success()?;
    Ok(())
}

fn why(stage: &Stage) -> Verdict {
    stage.file(
        "compose.yaml",
        "
services:
  web: {image: 'rootfs:/', command: sleep infinity}
  broken: {image: 'rootfs:/', command: [sh, -c, 'echo no luck >&2; exit 3']}
  off: {image: 'rootfs:/', command: sleep infinity, profiles: [extra]}
",
    )?;
    stage.compose(["why", "web"]).code(1)?.says("has no container")?;
    stage.compose(["up", "-d"]).success()?;
    stage.compose(["why", "web"]).success()?.says("has been running")?;
    stage.compose(["why", "off"]).code(1)?.says("one of the profiles extra")?;
    eventually(Duration::from_secs(20), || {
        stage.compose(["why", "broken"]).code(1)?.says("its exit code was 3")?.says("| no luck")?;
        Ok(())
    })?;
    stage.compose(["why", "nix"]).code(1)?.complains("no such service: nix")?;
    needs_of_the_host(stage)?;
    stage.compose(["down"]).success()?;
    stage.compose(["doctor"]).success()?.says("control groups")?;
    stage
        .compose(["doctor", "--format", "{{.What}}={{.Verdict}}"])
        .success()?
        .says("rights=good")?;
    Ok(())
}

/// What a service needs of the host and does not get: a port, a file, and the right to read one.
fn needs_of_the_host(stage: &Stage) -> Verdict {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    stage.file("secret", "x")?;
    fs::set_permissions(stage.folder.join("secret"), fs::Permissions::from_mode(0o600))?;
    let file = format!(
        "
services:
  held: {{image: 'rootfs:/', command: sleep infinity, ports: ['{address}:80']}}
  lost:
    image: rootfs:/
    volumes: [{{type: bind, source: ./not-there, target: /lost, bind: {{create_host_path: false}}}}]
  denied: {{image: 'rootfs:/', command: cat /secret, user: '1234', volumes: ['./secret:/secret:ro']}}
"
    );
    stage.file("needs.yaml", &file)?;
    let compose = |words: &[&str]| stage.compose([&["-f", "needs.yaml"], words].concat());
    compose(&["up", "-d", "held"]).code(1)?;
    let id = std::process::id();
    compose(&["why", "held"])
        .code(1)?
        .says(&format!("{address}/tcp is in use by"))?
        .says(&format!("(pid {id})"))?;
    compose(&["up", "-d", "lost"]).code(1)?;
    compose(&["why", "lost"])
        .code(1)?
        .says("not-there is not there; it is to be mounted at /lost")?;
    compose(&["up", "-d", "denied"]).success()?;
    eventually(Duration::from_secs(20), || {
        compose(&["why", "denied"])
            .code(1)?
            .says("secret belongs to 0:0 (mode 600), and its program, which is 1234:0, may not read it")?
            .says("try: `chown 1234:0 ")?;
        Ok(())
    })?;
    compose(&["rm", "--stop", "--force"]).success()?;
    Ok(())
}

fn compatibility(stage: &Stage) -> Verdict {
    stage.file("compose.yaml", ONE)?;
    stage.compose(["--compatibility", "up", "-d"]).success()?;
    assert_eq!(stage.field("web", "Name")?, format!("{}_web_1", stage.project));
    stage.compose(["logs"]).success()?;
    stage.compose(["down"]).success()?;
    Ok(())
}

fn commit(stage: &Stage) -> Verdict {
    // An image of its own: the busybox of this machine, or the few programs that the scenario needs.
    stage.file("root/etc/kept", "kept")?;
    stage.file("root/etc/gone", "gone")?;
    stage.client("tar", &["-cf", "root.tar", "-C", "root", "."]).success()?;
    stage.compose(["image", "import", "root.tar", "own:1"]).success()?;
    stage.file(
        "compose.yaml",
        "
services:
  web: {image: 'own:1', command: /nothing}
",
    )?;
    stage.compose(["create"]).success()?;
    stage.file("new", "new")?;
    stage.compose(["cp", "new", "web:/etc/new"]).success()?;
    // As a process of it would have deleted it: the overlay's sign in the upper directory.
    let upper = stage.roots.join(format!("data/projects/{}/containers", stage.project));
    let id = stage.field("web", "ID")?;
    let folder = fs::read_dir(upper)?
        .flatten()
        .find(|one| one.file_name().to_string_lossy().starts_with(&id));
    let gone = folder.ok_or("no folder of the container")?.path().join("upper/etc/gone");
    stage.client("mknod", &[&gone.display().to_string(), "c", "0", "0"]).success()?;
    let words = ["commit", "-a", "Ada", "-m", "a message", "-c", "ENV A=b", "web", "own:2"];
    let id = stage.compose(words).success()?.stdout;
    assert!(id.trim().starts_with("sha256:"), "{id}");
    stage.compose(["image", "inspect", "own:2"]).success()?.says("Ada")?.says("A=b")?;
    stage.compose(["down"]).success()?;
    stage.file("compose.yaml", "services: {web: {image: 'own:2', command: /nothing}}")?;
    stage.compose(["create"]).success()?;
    stage.compose(["cp", "web:/etc/.", "etc"]).success()?;
    let listed = |name: &str| stage.folder.join("etc").join(name).exists();
    assert!(listed("kept") && listed("new") && !listed("gone"));
    stage.compose(["down"]).success()?;
    Ok(())
}
