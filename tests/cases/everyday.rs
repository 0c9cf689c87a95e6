//! What users of docker compose do every day, as its own end-to-end tests list it (cascade, exec, logs, orphans, ps, restart,
//! run, start and stop), in our words.

use std::time::Duration;

use scenarios::{Stage, Verdict, eventually};

use crate::Scenario;

pub(super) fn all() -> Vec<Scenario> {
    vec![
        Scenario::plain("up_aborts_on_the_first_exit_or_failure", cascade),
        Scenario::plain("replicas_are_told_apart_by_their_number", replicas),
        Scenario::plain("stop_and_start_keep_the_container", in_place),
        Scenario::plain("kill_and_rm_say_when_there_is_nothing", nothing_to_do),
        Scenario::plain("orphans_are_told_ignored_or_removed", orphans),
        Scenario::plain("restart_takes_dependents_along", dependents),
        Scenario::plain("down_of_a_service_takes_its_dependents", down_scoped),
        Scenario::plain("run_changes_what_it_is_told_to", run),
        Scenario::plain("ps_shows_what_it_is_asked_for", ps),
        Scenario::plain("a_name_is_enough_without_a_file", by_name),
    ]
}

fn cascade(stage: &Stage) -> Verdict {
    stage.file(
        "compose.yaml",
        "
services:
  stays: {image: 'rootfs:/', command: sleep infinity}
  done: {image: 'rootfs:/', command: 'true'}
  fails:
    image: 'rootfs:/'
    command: [sh, -c, 'exit 111']
    depends_on: {done: {condition: service_completed_successfully}}
",
    )?;
    stage
        .compose(["up", "--abort-on-container-failure"])
        .code(111)?
        .complains("Aborting on container exit...")?;
    assert_eq!(stage.field("stays", "State")?, "exited");
    stage.compose(["down"]).success()?;
    stage.compose(["up", "--abort-on-container-exit", "stays", "done"]).code(0)?;
    stage.compose(["down"]).success()?;
    // One that is not watched does not decide.
    stage.compose(["run", "--rm", "-T", "fails", "sh", "-c", "exit 5"]).code(5)?;
    stage.compose(["down"]).success()?;
    Ok(())
}

fn replicas(stage: &Stage) -> Verdict {
    stage.file(
        "compose.yaml",
        "
services:
  web: {image: 'rootfs:/', command: [sh, -c, 'echo I am $$HOSTNAME; exec sleep infinity'], scale: 2}
",
    )?;
    stage.compose(["up", "-d"]).success()?;
    eventually(Duration::from_secs(20), || {
        stage.compose(["logs", "--index", "2", "web"]).success()?.says("web-2  | I am")?;
        Ok(())
    })?;
    let one = stage.compose(["logs", "--index", "1", "--no-log-prefix", "web"]).success()?.stdout;
    let two = stage.compose(["logs", "--index", "2", "--no-log-prefix", "web"]).success()?.stdout;
    assert_ne!(one, two);
    stage.compose(["logs", "--index", "1"]).code(2)?;
    stage.compose(["exec", "-T", "--index", "2", "web", "true"]).success()?;
    stage.compose(["exec", "-T", "--index", "3", "web", "true"]).code(1)?.complains("number 3")?;
    stage.compose(["down"]).success()?;
    // Without a replica, a container of `run` will do.
    stage.compose(["run", "-d", "web"]).success()?;
    stage.compose(["exec", "-T", "web", "true"]).success()?;
    stage.compose(["exec", "-T", "--index", "1", "web", "true"]).code(1)?;
    stage.compose(["down", "--remove-orphans"]).success()?;
    Ok(())
}

const TWO: &str = "
services:
  db: {image: 'rootfs:/', command: sleep infinity}
  web:
    image: 'rootfs:/'
    command: sleep infinity
    depends_on: {db: {condition: service_started, restart: true}}
";

fn in_place(stage: &Stage) -> Verdict {
    stage.file("compose.yaml", TWO)?;
    stage.compose(["start"]).code(1)?.complains("no container to start")?;
    stage.compose(["stop"]).success()?;
    stage.compose(["create"]).success()?;
    assert_eq!(stage.field("web", "State")?, "created");
    stage.compose(["start", "--wait", "web"]).success()?;
    assert_eq!(stage.field("db", "State")?, "running", "what it depends on is started, too");
    let before = stage.field("web", "ID")?;
    stage.compose(["run", "-d", "db"]).success()?;
    stage.compose(["stop", "-t", "0"]).success()?;
    let states = |containers: Vec<serde_json::Value>, state: &str| {
        containers.iter().filter(|one| one["State"] == state).count()
    };
    assert_eq!(states(stage.containers()?, "running"), 1, "that of `run` goes on");
    stage.compose(["start"]).success()?;
    stage.compose(["start"]).success()?;
    assert_eq!(stage.field("web", "ID")?, before);
    stage.compose(["down", "--remove-orphans", "-t", "0"]).success()?;
    assert!(stage.containers()?.is_empty());
    Ok(())
}

fn nothing_to_do(stage: &Stage) -> Verdict {
    stage.file("compose.yaml", TWO)?;
    stage.compose(["kill"]).success()?.complains("No container to kill")?;
    stage.compose(["rm", "-f"]).success()?.complains("No stopped containers")?;
    stage.compose(["down"]).success()?.complains("nothing to remove")?;
    stage.compose(["up", "-d"]).success()?;
    stage.compose(["rm", "-f"]).success()?.complains("No stopped containers")?;
    stage.compose(["rm"]).success()?;
    stage.compose(["kill", "-s", "nonsense"]).code(2)?;
    stage.compose(["kill", "-s", "KILL", "web"]).success()?;
    assert_eq!(stage.field("web", "ExitCode")?, "137");
    stage.compose(["rm"]).code(1)?.complains("`compose rm -f` does not ask")?;
    stage.compose(["rm", "-f", "web"]).success()?.complains("Removed")?;
    stage.compose(["rm", "-sf"]).success()?;
    assert!(stage.containers()?.is_empty());
    stage.compose(["down"]).success()?;
    Ok(())
}

fn orphans(stage: &Stage) -> Verdict {
    stage.file("compose.yaml", TWO)?;
    stage.compose(["up", "-d"]).success()?;
    stage.file("compose.yaml", "services: {db: {image: 'rootfs:/', command: sleep infinity}}")?;
    stage.compose(["up", "-d"]).success()?.complains("warning")?;
    let with = |variable: &str, words: &[&str]| {
        let mut command = stage.compose_command(words);
        command.env(variable, "1");
        stage.run(command, None)
    };
    let quiet = with("COMPOSE_IGNORE_ORPHANS", &["up", "-d"]).success()?;
    assert!(!quiet.stderr.contains("warning"), "{}", quiet.stderr);
    with("COMPOSE_IGNORE_ORPHANS", &["up", "-d", "--remove-orphans"]).code(2)?;
    assert_eq!(stage.containers()?.len(), 2);
    let _removed = with("COMPOSE_REMOVE_ORPHANS", &["up", "-d"]).success()?;
    assert_eq!(stage.containers()?.len(), 1);
    stage.compose(["down"]).success()?;
    stage.check_nothing_left()
}

fn dependents(stage: &Stage) -> Verdict {
    stage.file("compose.yaml", TWO)?;
    stage.compose(["up", "-d"]).success()?;
    // Ticks since the boot at which its first process began.
    let began = |service: &str| -> Result<String, Box<dyn std::error::Error>> {
        let words = ["exec", "-T", service, "cut", "-d", " ", "-f", "22", "/proc/1/stat"];
        Ok(stage.compose(words).success()?.stdout)
    };
    let (db, web) = (began("db")?, began("web")?);
    stage.compose(["restart", "--no-deps", "-t", "0", "db"]).success()?;
    assert_ne!(began("db")?, db);
    assert_eq!(began("web")?, web);
    stage.compose(["restart", "-t", "0", "db"]).success()?;
    assert_ne!(began("web")?, web);
    let db = began("db")?;
    stage.compose(["restart", "-t", "0", "web"]).success()?;
    assert_eq!(began("db")?, db);
    stage.compose(["restart", "nix"]).code(1)?.complains("no such service: nix")?;
    stage.compose(["down", "-t", "0"]).success()?;
    Ok(())
}

fn down_scoped(stage: &Stage) -> Verdict {
    stage.file(
        "compose.yaml",
        &format!("{TWO}  alone: {{image: 'rootfs:/', command: sleep infinity}}\n"),
    )?;
    stage.compose(["up", "-d"]).success()?;
    stage.compose(["down", "-t", "0", "db"]).success()?;
    let left = stage.compose(["ps", "--services"]).success()?.stdout;
    assert_eq!(left, "alone\n");
    stage.compose(["down", "-t", "0"]).success()?;
    stage.check_nothing_left()
}

fn run(stage: &Stage) -> Verdict {
    stage.file(
        "compose.yaml",
        "
services:
  web:
    image: 'rootfs:/'
    entrypoint: [sh, -c]
    command: ['echo from the file']
    environment: {A: file, B: file}
    ports: ['18080:80']
    depends_on: {db: {condition: service_started}}
  db: {image: 'rootfs:/', command: sleep infinity}
",
    )?;
    stage.compose(["run", "--rm", "-T", "--no-deps", "web"]).success()?.says("from the file")?;
    let mut given = stage.compose_command([
        "run",
        "--rm",
        "-T",
        "-e",
        "A=line",
        "-e",
        "B",
        "-e",
        "C",
        "-u",
        "nobody",
        "-w",
        "/usr",
        "web",
        "echo $A $B $C $(id -un) $PWD; echo wrong >&2; exit 3",
    ]);
    given.env("B", "shell");
    let said = stage.run(given, None).code(3)?.says("line shell nobody /usr\n")?;
    said.complains("wrong")?;
    assert_eq!(stage.field("db", "State")?, "running");
    // The entry point of the command line takes the command of the file away.
    let words = ["run", "--rm", "-T", "--entrypoint", "echo only", "web"];
    assert_eq!(stage.compose(words).success()?.stdout, "only\n");
    let input = stage.compose_command(["run", "--rm", "-T", "web", "cat"]);
    stage.run(input, Some("typed")).success()?.says("typed")?;
    let id = stage
        .compose(["run", "-d", "--name", "mine", "-l", "x=y", "-P", "web", "exec sleep infinity"])
        .success()?
        .stdout;
    assert_eq!(id.trim().len(), 64);
    let shown = ["ps", "-a", "--format", "{{.Name}} {{.Label \"x\"}} {{.Ports}}"];
    stage.compose(shown).success()?.says("mine y 0.0.0.0:18080->80/tcp")?;
    stage.compose(["run", "-P", "-p", "80", "web"]).code(2)?;
    stage.compose(["run", "nix"]).code(1)?.complains("no such service: nix")?;
    stage.compose(["down", "--remove-orphans", "-t", "0"]).success()?;
    stage.check_nothing_left()
}

fn ps(stage: &Stage) -> Verdict {
    stage.file(
        "compose.yaml",
        "
services:
  web: {image: 'rootfs:/', command: sleep infinity, ports: ['127.0.0.1::80']}
  job: {image: 'rootfs:/', command: 'true'}
",
    )?;
    stage.compose(["up", "-d"]).success()?;
    eventually(Duration::from_secs(20), || match stage.field("job", "State")?.as_str() {
        "exited" => Ok(()),
        other => Err(other.into()),
    })?;
    let said = |words: &[&str]| -> Result<String, Box<dyn std::error::Error>> {
        Ok(stage.compose(words).success()?.stdout)
    };
    assert_eq!(said(&["ps", "--services"])?, "web\n");
    assert_eq!(said(&["ps", "-a", "--services"])?, "job\nweb\n");
    assert_eq!(said(&["ps", "--status", "exited", "--services"])?, "job\n");
    assert_eq!(said(&["ps", "--filter", "status=running", "--services"])?, "web\n");
    assert_eq!(said(&["ps", "-q", "web"])?.trim().len(), 64);
    stage.compose(["ps", "nix"]).code(1)?.complains("no such service: nix")?;
    stage.compose(["ps", "--status", "nonsense"]).code(2)?;
    let port = said(&["port", "web", "80"])?;
    assert!(port.starts_with("127.0.0.1:"), "{port}");
    stage.compose(["port", "web", "81"]).code(1)?.complains("no port 81/tcp")?;
    assert!(said(&["top"])?.contains("sleep infinity"));
    assert_eq!(
        said(&["ls", "-q", "--filter", &format!("name=^{}$", stage.project)])?,
        format!("{}\n", stage.project)
    );
    assert_eq!(said(&["ls", "-q", "--filter", "name=^nothing$"])?, "");
    stage.compose(["down", "-t", "0"]).success()?;
    Ok(())
}

fn by_name(stage: &Stage) -> Verdict {
    stage.file("compose.yaml", TWO)?;
    stage.compose(["up", "-d"]).success()?;
    std::fs::remove_file(stage.folder.join("compose.yaml"))?;
    let project = stage.project.clone();
    for words in [
        ["ps"].as_slice(),
        &["logs"],
        &["top"],
        &["stats", "--no-stream"],
        &["pause"],
        &["unpause"],
        &["stop", "-t", "0"],
        &["start"],
        &["restart", "-t", "0"],
        &["exec", "-T", "web", "true"],
        &["cp", "web:/etc/passwd", "passwd"],
        &["events", "--since", "1h", "--until", "0s"],
        &["volumes"],
        &["why", "web"],
        &["kill"],
        &["rm", "-f"],
        &["down"],
    ] {
        let mut command = stage.compose_command([&["-p", project.as_str()], words].concat());
        command.env_remove("COMPOSE_PROJECT_NAME");
        stage.run(command, None).success()?;
    }
    stage.check_nothing_left()
}
