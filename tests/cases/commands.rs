//! The commands that look at a project or change a part of it, on the real thing.

use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use scenarios::{Running, Stage, Verdict, eventually};

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
        Scenario::plain("networks_on_their_own", networks),
        Scenario::plain("networks_are_joined_and_left", connect),
        Scenario::plain("up_lets_go_by_a_key", menu),
        Scenario::plain("commit_makes_an_image_of_the_changes", commit),
        Scenario::plain("compatibility_names_with_underscores", compatibility),
        Scenario::plain("resources_without_a_service", all_resources),
        Scenario::plain("stats_of_what_runs", stats),
        Scenario::plain("formats_are_those_of_docker", formats),
        Scenario::plain("dry_run_changes_nothing", dry_run),
        Scenario::plain("attach_joins_what_runs", attach),
        Scenario::plain("attach_lets_go_by_keys", detach),
        Scenario::plain("why_and_doctor_say_what_is_wrong", why),
        Scenario::plain("progress_goes_where_it_is_asked_to", progress),
        Scenario::plain("completion_knows_the_services", completion),
    ]
}

const ONE: &str = "
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
fn listens(pid: u32) -> Verdict {
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

fn networks(stage: &Stage) -> Verdict {
    let name = format!("{}own", stage.project);
    let create =
        ["network", "create", "--subnet", "10.231.7.0/24", "--label", "a=b", name.as_str()];
    let id = stage.compose(create).success()?.stdout;
    assert_eq!(id.trim().len(), 64);
    stage.compose(create).code(1)?.complains("exists already")?;
    let ls = [
        "network",
        "ls",
        "--filter",
        "label=a",
        "--format",
        "{{.Name}} {{.Driver}} {{.Label \"a\"}}",
    ];
    assert_eq!(stage.compose(ls).success()?.stdout, format!("{name} bridge b\n"));
    let inspect =
        ["network", "inspect", "-f", "{{(index .IPAM.Config 0).Subnet}}", &id.trim()[..12]];
    stage.compose(inspect).success()?.says("10.231.7.0/24")?;
    stage.file(
        "compose.yaml",
        &format!(
            "
services:
  web: {{image: 'rootfs:/', command: sleep infinity, networks: [own]}}
networks:
  own: {{name: {name}, external: true}}
"
        ),
    )?;
    stage.compose(["up", "-d"]).success()?;
    let inside = [
        "network",
        "inspect",
        "-f",
        "{{range .Containers}}{{.Name}} {{.IPv4Address}}{{end}}",
        &name,
    ];
    stage.compose(inside).success()?.says("10.231.7.")?;
    stage.compose(["network", "rm", &name]).code(1)?.complains("in use by")?;
    stage.compose(["network", "prune", "-f"]).success()?;
    stage.compose(["network", "inspect", &name]).success()?;
    stage.compose(["down"]).success()?;
    stage.compose(["network", "prune", "-f"]).success()?.says(&name)?;
    stage.compose(["network", "rm", &name]).code(1)?.complains("there is no network")?;
    stage.compose(["network", "rm", "-f", &name]).success()?;
    stage.check_nothing_left()
}

fn all_resources(stage: &Stage) -> Verdict {
    stage.file(
        "compose.yaml",
        "
services:
  web: {image: 'rootfs:/', command: sleep infinity, network_mode: none, volumes: ['used:/data']}
networks:
  spare:
volumes:
  used:
  spare:
",
    )?;
    stage.compose(["up", "-d"]).success()?;
    let listed = |what: &[&str]| -> Result<String, Box<dyn std::error::Error>> {
        Ok(stage.compose(what).success()?.stdout.replace(&stage.project, "P"))
    };
    assert_eq!(listed(&["volumes", "-q"])?, "P_used\n");
    stage.compose(["--all-resources", "up", "-d"]).success()?;
    assert_eq!(listed(&["volumes", "-q"])?, "P_spare\nP_used\n");
    assert_eq!(listed(&["volumes", "-q", "web"])?, "P_used\n");
    assert_eq!(listed(&["volumes", "--format", "{{.Driver}} {{.Name}}", "web"])?, "local P_used\n");
    assert_eq!(listed(&["network", "ls", "--format", "{{.Name}}"])?, "P_spare\n");
    stage.compose(["down", "-v"]).success()?;
    stage.check_nothing_left()
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
    stage.compose(["--dry-run", "service", "enable"]).success()?.says("ExecStart=")?;
    assert!(!unit.exists());
    if !std::path::Path::new("/usr/lib/systemd/systemd").exists() {
        fs::create_dir_all("/run/systemd/system")?;
    }
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

fn attach(stage: &Stage) -> Verdict {
    stage.file(
        "compose.yaml",
        "
services:
  echo:
    image: 'rootfs:/'
    command: [sh, -c, 'echo before; while read -r line; do [ \"$$line\" = end ] && exit 6; echo \"got $$line\"; done']
    stdin_open: true
",
    )?;
    stage.compose(["create"]).success()?;
    stage.compose(["attach", "echo"]).code(1)?.complains("is not running")?;
    stage.compose(["start"]).success()?;
    eventually(Duration::from_secs(20), || {
        Ok(stage.compose(["logs", "echo"]).success()?.says("before")?)
    })?;
    let mut first = stage.start_typing(stage.compose_command(["attach", "echo"]))?;
    eventually(Duration::from_secs(20), || {
        first.say("one\n")?;
        match first.said() {
            said if said.contains("got one") => Ok(()),
            said => Err(said.into()),
        }
    })?;
    assert!(!first.said().contains("before"), "only what is said from now on");
    first.signal(Signal::SIGKILL)?;
    let _killed = first.finish(Duration::from_secs(20))?;
    assert_eq!(stage.field("echo", "State")?, "running");
    let last = stage.compose_command(["attach", "echo"]);
    stage.run(last, Some("two\nend\n")).code(6)?.says("got two")?;
    assert_eq!(stage.field("echo", "ExitCode")?, "6");
    // With signals for ourselves it is let go of.
    stage.compose(["start"]).success()?;
    let quiet = stage.start(stage.compose_command([
        "attach",
        "--no-stdin",
        "--sig-proxy=false",
        "echo",
    ]))?;
    eventually(Duration::from_secs(20), || listens(quiet.id()))?;
    eventually(Duration::from_secs(20), || catches(quiet.id()))?;
    quiet.signal(Signal::SIGTERM)?;
    quiet.finish(Duration::from_secs(20))?.success()?;
    assert_eq!(stage.field("echo", "State")?, "running");
    stage.compose(["down"]).success()?;
    Ok(())
}

/// Whether a process has blocked SIGTERM: it is ready for signals.
fn catches(pid: u32) -> Verdict {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap_or("0");
    match u64::from_str_radix(blocked.trim(), 16)? & 1 << 14 {
        0 => Err("it does not catch signals yet".into()),
        _ => Ok(()),
    }
}

fn detach(stage: &Stage) -> Verdict {
    stage.file(
        "compose.yaml",
        "
services:
  shell: {image: 'rootfs:/', command: sh, tty: true, stdin_open: true}
",
    )?;
    stage.compose(["up", "-d"]).success()?;
    let mut tty = stage.start_on_terminal(&stage.compose_command([
        "attach",
        "--detach-keys",
        "ctrl-a,x",
        "shell",
    ]))?;
    eventually(Duration::from_secs(20), || {
        tty.say("echo $((40+2))\n")?;
        match tty.said() {
            said if said.contains("42") => Ok(()),
            said => Err(said.into()),
        }
    })?;
    tty.say("\u{1}x")?;
    tty.finish(Duration::from_secs(20))?.success()?;
    assert_eq!(stage.field("shell", "State")?, "running");
    stage.compose(["down", "-t", "0"]).success()?;
    Ok(())
}

fn progress(stage: &Stage) -> Verdict {
    stage.file("compose.yaml", ONE)?;
    let up = stage.compose(["up", "-d"]).success()?.complains("Started")?;
    assert_eq!(up.stdout, "");
    let mut down = stage.compose_command(["down"]);
    down.env("COMPOSE_STATUS_STDOUT", "1");
    let down = stage.run(down, None).success()?.says("Removed")?;
    assert_eq!(down.stderr, "");
    stage.compose(["--progress", "quiet", "up", "-d"]).success()?;
    let json = stage.compose(["--progress", "json", "stop"]).success()?;
    json.complains("\"status\":\"Done\"")?;
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
    stage.compose(["down"]).success()?;
    stage.compose(["doctor"]).success()?.says("control groups")?;
    stage
        .compose(["doctor", "--format", "{{.What}}={{.Verdict}}"])
        .success()?
        .says("rights=good")?;
    Ok(())
}

fn completion(stage: &Stage) -> Verdict {
    stage
        .file("compose.yaml", "services: {web: {image: a}, worker: {image: b}, db: {image: c}}")?;
    for shell in ["bash", "zsh", "fish"] {
        stage.compose(["completion", shell]).success()?.says("COMPLETE")?;
    }
    let mut asked = stage.compose_command(["--", "compose", "up", "w"]);
    asked.env("COMPLETE", "fish");
    let said = stage.run(asked, None).success()?.stdout;
    let words: Vec<&str> = said.lines().filter_map(|line| line.split('\t').next()).collect();
    assert_eq!(words, ["web", "worker"]);
    let mut asked = stage.compose_command(["--", "compose", "up", "--abort"]);
    asked.env("COMPLETE", "fish");
    stage.run(asked, None).success()?.says("--abort-on-container-exit")?;
    Ok(())
}

fn connect(stage: &Stage) -> Verdict {
    let name = format!("{}own", stage.project);
    stage.compose(["network", "create", "--subnet", "10.231.9.0/24", &name]).success()?;
    stage.file(
        "compose.yaml",
        "
services:
  web: {image: 'rootfs:/', command: sleep infinity}
  db: {image: 'rootfs:/', command: sleep infinity, networks: [back]}
networks:
  back:
",
    )?;
    stage.compose(["up", "-d"]).success()?;
    let (web, db) = (format!("{}-web-1", stage.project), format!("{}-db-1", stage.project));
    let addresses = ["exec", "-T", "web", "cat", "/proc/net/fib_trie"];
    stage
        .compose(["network", "connect", "--ip", "10.231.9.9", "--alias", "www", &name, &web])
        .success()?;
    stage.compose(["network", "connect", &name, &db]).success()?;
    stage.compose(["network", "connect", &name, &web]).code(1)?.complains("already")?;
    stage.compose(addresses).success()?.says("10.231.9.9")?;
    // Others find it by its alias.
    let find = ["exec", "-T", "db", "getent", "hosts", "www"];
    eventually(Duration::from_secs(20), || {
        Ok(stage.compose(find).success()?.says("10.231.9.9")?)
    })?;
    // It is there after the next start as well.
    stage.compose(["restart", "-t", "0", "web"]).success()?;
    stage.compose(addresses).success()?.says("10.231.9.9")?;
    stage.compose(["network", "disconnect", &name, &web]).success()?;
    assert!(!stage.compose(addresses).success()?.stdout.contains("10.231.9.9"));
    stage
        .compose(["network", "disconnect", &name, &web])
        .code(1)?
        .complains("is not on network")?;
    stage.compose(["network", "disconnect", "-f", &name, &web]).success()?;
    // A container that is not where its file wants it is put there.
    let before = stage.field("db", "ID")?;
    stage.compose(["network", "disconnect", &format!("{}_back", stage.project), &db]).success()?;
    stage.compose(["up", "-d"]).success()?.complains("Updated")?;
    assert_eq!(stage.field("db", "ID")?, before);
    stage.compose(["plan"]).success()?;
    stage.compose(["down"]).success()?;
    stage.compose(["network", "rm", &name]).success()?;
    stage.check_nothing_left()
}

fn menu(stage: &Stage) -> Verdict {
    stage.file(
        "compose.yaml",
        "
services:
  web:
    image: rootfs:/
    command: [sh, -c, 'echo hello; exec sleep infinity']
    develop: {watch: [{action: sync, path: src, target: /saved}]}
",
    )?;
    stage.file("src/page", "one")?;
    let mut off = stage.compose_command(["up", "-d"]);
    off.env("COMPOSE_MENU", "0");
    let _up = stage.run(off, None).success()?;
    stage.compose(["down"]).success()?;
    let mut up = stage.start_on_terminal(&stage.compose_command(["up"]))?;
    eventually(Duration::from_secs(30), || match up.said() {
        said if said.contains("hello") => Ok(()),
        said => Err(said.into()),
    })?;
    let says = |up: &Running, words: &str| {
        eventually(Duration::from_secs(60), || match up.said() {
            said if said.contains(words) => Ok(()),
            said => Err(said.into()),
        })
    };
    up.say("w")?;
    says(&up, "Watch enabled")?;
    stage.file("src/page", "two")?;
    eventually(Duration::from_secs(60), || {
        let saved = ["exec", "-T", "web", "cat", "/saved/page"];
        Ok(stage.compose(saved).success()?.says("two").map(drop)?)
    })?;
    up.say("w")?;
    says(&up, "Watch disabled")?;
    up.say("d")?;
    up.finish(Duration::from_secs(30))?.success()?;
    assert_eq!(stage.field("web", "State")?, "running");
    stage.compose(["down"]).success()?;
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
