//! What people and scripts are used to from docker, beyond what its documentation says.

use std::error::Error;
use std::net::{SocketAddr, TcpStream};

use scenarios::{Stage, Verdict};
use serde_json::Value;

use super::build::base;
use crate::Scenario;

pub(super) fn all() -> Vec<Scenario> {
    vec![
        Scenario::plain("only_the_result_is_on_standard_output", results),
        Scenario::plain("flags_are_said_to_be_true_or_false", truths),
        Scenario::plain("empty_words_are_as_if_they_were_not_there", empty),
        Scenario::plain("ports_are_shown_as_docker_shows_them", ports),
        Scenario::plain("run_takes_any_volume_of_the_machine", volumes),
        Scenario::plain("a_stop_may_wait_without_an_end", waits),
        Scenario::plain("a_project_may_have_a_long_name", long_name),
    ]
}

/// A variable that is not set is warned about by each command that reads the file.
const ODD: &str = "services:\n  web:\n    image: rootfs:/\n    command: sleep infinity\n    stop_grace_period: 0s\n    \
    labels: {odd: '${NOT_SET_ANYWHERE}'}\n    volumes: ['data:/data']\nvolumes: {data: {}}\n";

fn json(text: &str) -> Result<Vec<Value>, Box<dyn Error>> {
    let values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    Ok(values.collect::<Result<_, _>>().map_err(|error| format!("{error}: {text}"))?)
}

/// One value, or one on each line, and nothing else.
fn results(stage: &Stage) -> Verdict {
    stage.file("compose.yaml", ODD)?;
    stage.compose(["up", "-d"]).success()?.complains("NOT_SET_ANYWHERE")?;
    let network = format!("{}_default", stage.project);
    let volume = format!("{}_data", stage.project);
    for words in [
        &["ps", "--format", "json"][..],
        &["ps", "--all", "--format", "json"],
        &["ls", "--format", "json"],
        &["images", "--format", "json"],
        &["config", "--format", "json"],
        &["events", "--json", "--since", "1h", "--until", "0s"],
        &["stats", "--no-stream", "--format", "json"],
        &["version", "--format", "json"],
        &["volumes", "--format", "json"],
        &["volume", "ls", "--format", "json"],
        &["volume", "inspect", &volume],
        &["network", "ls", "--format", "json"],
        &["network", "inspect", &network],
        &["plan", "--format", "json"],
    ] {
        let said = stage.compose(words).success()?.stdout;
        assert!(!json(&said)?.is_empty(), "{words:?}");
    }
    for (words, wanted) in [
        (&["ps", "--services"][..], "web\n"),
        (&["config", "--services"], "web\n"),
        (&["config", "--volumes"], "data\n"),
        (&["exec", "-T", "web", "echo", "said"], "said\n"),
        (&["run", "--rm", "-T", "web", "echo", "said"], "said\n"),
        (&["logs"], ""),
        (&["up", "-d", "--force-recreate"], ""),
        (&["restart"], ""),
        (&["stop"], ""),
        (&["start"], ""),
        (&["down", "--volumes"], ""),
    ] {
        let run = stage.compose(words).success()?;
        assert_eq!(run.stdout, wanted, "{words:?}");
    }
    Ok(())
}

fn truths(stage: &Stage) -> Verdict {
    stage.file("compose.yaml", ODD)?;
    // A variable of the command may stand where the others do.
    for (value, dash) in [("true", '_'), ("0", '-')] {
        stage.file(".env", &format!("COMPOSE_COMPATIBILITY={value}\n"))?;
        let name = format!("{}{dash}web{dash}1", stage.project);
        stage.compose(["up", "--dry-run"]).success()?.says(&name)?;
    }
    stage.compose(["up", "--detach=true", "--build=false", "-V=1"]).success()?;
    stage.compose(["ps", "-q=true", "--all=t"]).success()?;
    stage.compose(["up", "--detach=perhaps"]).code(2)?;
    let said = |words: &[&str], input| -> Result<String, Box<dyn Error>> {
        Ok(stage.run(stage.compose_command(words), Some(input)).success()?.stdout)
    };
    assert_eq!(said(&["exec", "-T=true", "web", "cat"], "in")?, "in");
    assert_eq!(said(&["exec", "--interactive=false", "--tty=false", "web", "cat"], "in")?, "");
    assert_eq!(said(&["exec", "web", "echo", "--all=true"], "")?, "--all=true\n");
    assert_eq!(said(&["run", "--rm=true", "-i=false", "-t=false", "web", "cat"], "in")?, "");
    stage.compose(["down", "--volumes=true", "--dry-run=false"]).success()?;
    assert_eq!(stage.compose(["volumes", "-q"]).success()?.stdout, "");
    Ok(())
}

fn empty(stage: &Stage) -> Verdict {
    stage.file("compose.yaml", ODD)?;
    stage.compose(["-p", "", "--project-directory", "", "config", "--quiet"]).success()?;
    for variable in ["COMPOSE_ANSI", "COMPOSE_PROGRESS", "COMPOSE_PROFILES", "COMPOSE_FILE"] {
        let mut command = stage.compose_command(["config", "--services"]);
        command.env(variable, "");
        assert_eq!(stage.run(command, None).success()?.stdout, "web\n", "{variable}");
    }
    let none: [&str; 0] = [];
    stage.compose(none).success()?.says("Commands:")?;
    stage.compose(["up", "-d", "--wait-timeout", "9"]).success()?;
    stage.compose(["logs", "-n", "-1", "web"]).success()?;
    stage.compose(["logs", "--index", "2", "web"]).code(1)?.complains("number 2")?;
    stage.compose(["down", "-v"]).success()?;
    Ok(())
}

fn ports(stage: &Stage) -> Verdict {
    base(stage)?;
    stage.file("web/Dockerfile", "FROM base\nEXPOSE 5432 5433/tcp 53/udp\nCMD sleep 600\n")?;
    stage.file(
        "compose.yaml",
        "services:\n  web:\n    build: web\n    init: true\n    command: [sh, -c, 'sleep 600']\n    expose: ['9000']\n    ports: [80]\n    \
         stop_grace_period: 0s\n",
    )?;
    stage.compose(["up", "-d"]).success()?;
    let port = stage.compose(["port", "web", "80"]).success()?.stdout;
    // One line, to which a script connects.
    let address: SocketAddr = port.trim_end().parse()?;
    TcpStream::connect(("127.0.0.1", address.port()))?;
    let shown = stage.field("web", "Ports")?;
    assert!(shown.starts_with("5432-5433/tcp, 9000/tcp, 53/udp, 0.0.0.0:"), "{shown}");
    stage.compose(["ps"]).success()?.says("5432-5433/tcp")?.says("\"sh -c 'sleep 600'\"")?;
    let publishers = stage.containers()?[0]["Publishers"].clone();
    assert_eq!(publishers[0]["TargetPort"], 5432);
    assert_eq!(publishers[0]["PublishedPort"], 0);
    stage.compose(["stop"]).success()?;
    let all = stage.compose(["ps", "-a", "--format", "{{.Ports}}"]).success()?.stdout;
    assert_eq!(all, "\n");
    stage.compose(["down"]).success()?;
    Ok(())
}

/// One that no file knows, and that is none of the project's.
fn volumes(stage: &Stage) -> Verdict {
    stage.file("compose.yaml", ODD)?;
    let volume = format!("{}-cache", stage.project);
    let mount = format!("{volume}:/cache");
    let run = |command: &str| {
        let words =
            ["run", "--rm", "-T", "-v", &mount, "-v", "data:/d", "web", "sh", "-c", command];
        stage.compose(words).success()
    };
    stage.compose(["--dry-run", "run", "-v", &mount, "web", "true"]).success()?;
    let all = || stage.compose(["volume", "ls", "-q"]).success().map(|run| run.stdout);
    assert!(!all()?.contains(&volume));
    run("echo kept > /cache/file")?;
    stage.compose(["down", "--volumes", "--remove-orphans"]).success()?;
    assert!(all()?.contains(&volume));
    run("cat /cache/file")?.says("kept")?;
    stage.compose(["down", "--volumes"]).success()?;
    stage.compose(["volume", "rm", &volume]).success()?;
    Ok(())
}

fn waits(stage: &Stage) -> Verdict {
    stage.file(
        "compose.yaml",
        "services:\n  web:\n    image: rootfs:/\n    stop_grace_period: 0s\n    \
         command: [sh, -c, 'trap \"sleep 1; exit 7\" TERM; echo ready; while :; do sleep 0.1; done']\n",
    )?;
    for words in [&["stop", "-t", "-1"][..], &["stop", "--timeout=-1"]] {
        stage.compose(["up", "-d"]).success()?;
        scenarios::eventually(std::time::Duration::from_secs(30), || {
            Ok(stage.compose(["logs", "-n", "1"]).success()?.says("ready").map(drop)?)
        })?;
        stage.compose(words).success()?;
        assert_eq!(stage.field("web", "ExitCode")?, "7");
        stage.compose(["down"]).success()?;
    }
    Ok(())
}

/// The path of its socket has no room in an address.
fn long_name(stage: &Stage) -> Verdict {
    stage.file("compose.yaml", ODD)?;
    let name = format!("{}-{}", stage.project, "x".repeat(150));
    let named = |words: &[&str]| stage.compose([&["-p", &name], words].concat()).success();
    named(&["up", "-d", "--scale", "web=2"])?;
    named(&["exec", "-T", "web", "true"])?;
    named(&["run", "--rm", "-T", "web", "echo", "said"])?.says("said")?;
    named(&["restart"])?;
    assert_eq!(named(&["ps", "-q"])?.stdout.lines().count(), 2);
    named(&["down", "-v"])?;
    assert_eq!(stage.compose(["ls", "-aq"]).success()?.stdout, "");
    Ok(())
}
