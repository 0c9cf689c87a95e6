//! `examples/dev-stack`: real servers, reached by real clients.

use std::error::Error;
use std::time::Duration;

use scenarios::{Checked, Run, Stage, Verdict, eventually};

use crate::Scenario;

pub(super) fn all() -> Vec<Scenario> {
    vec![
        Scenario::dev_stack("the_dev_stack_answers_on_all_its_ports", answers),
        Scenario::dev_stack("mysql_keeps_its_table_over_down_and_up", mysql),
        Scenario::dev_stack("redis_is_used_on_a_terminal_and_keeps_its_data", redis),
        Scenario::dev_stack("subversion_serves_one_repository_by_two_protocols", subversion),
        Scenario::dev_stack("images_share_their_base_layer", shared_layer),
    ]
}

/// Starts services of the stack and waits until they are healthy.
fn up(stage: &Stage, services: &[&str]) -> Result<Checked, Box<dyn Error>> {
    let words = ["up", "--detach", "--wait"].iter().chain(services);
    Ok(stage.run_within(stage.compose_command(words), None, Duration::from_secs(120)).success()?)
}

fn answers(stage: &Stage) -> Verdict {
    stage.example("dev-stack")?;
    up(stage, &[])?;
    for service in ["mysql", "redis", "svn", "svn-http", "web"] {
        assert_eq!(stage.field(service, "Health")?, "healthy", "{service}");
    }
    let page = stage
        .client("curl", &["--silent", "--show-error", "--fail", "http://127.0.0.1:8080/"])
        .success()?;
    assert_eq!(page.stdout, "MySQL: 1 rows\nRedis: counter 1\nSubversion: revision 0\n");
    // Names, from inside: each server by the name of its service.
    for (service, port) in [("mysql", 3306), ("redis", 6379), ("svn", 3690), ("svn-http", 80)] {
        let script = format!(
            "import socket; print(socket.create_connection(('{service}', {port}), 5).getpeername()[1])"
        );
        stage
            .compose(["exec", "-T", "web", "python3", "-c", &script])
            .success()?
            .says(&port.to_string())?;
    }
    stage.compose(["down"]).success()?;
    stage.check_nothing_left()?;
    up(stage, &[])?;
    let page = stage
        .client("curl", &["--silent", "--show-error", "--fail", "http://127.0.0.1:8080/"])
        .success()?;
    assert_eq!(page.stdout, "MySQL: 2 rows\nRedis: counter 2\nSubversion: revision 0\n");
    stage.compose(["down", "--volumes"]).success()?;
    Ok(())
}

/// The real client, over the published port. `ssl-verify-server-cert` is what MariaDB's client wants to be told.
fn sql(stage: &Stage, statement: &str) -> Run {
    let login = [
        "-h127.0.0.1",
        "-P3306",
        "-uapp",
        "-papp-secret",
        "--batch",
        "--skip-column-names",
        "app",
        "-e",
    ];
    stage.client("mysql", &[login.as_slice(), &[statement]].concat())
}

fn mysql(stage: &Stage) -> Verdict {
    stage.example("dev-stack")?;
    up(stage, &["mysql"])?;
    sql(stage, "CREATE TABLE kept (word VARCHAR(20)); INSERT INTO kept VALUES ('häuschen')")
        .success()?;
    stage.compose(["down"]).success()?;
    up(stage, &["mysql"])?;
    let kept = sql(stage, "SELECT word, HEX(word), @@character_set_server FROM kept").success()?;
    assert!(kept.stdout.contains("utf8mb4"), "{kept:?}");
    let root = [
        "exec",
        "-T",
        "mysql",
        "mysql",
        "-uroot",
        "-proot-secret",
        "-Ne",
        "SELECT COUNT(*) FROM app.kept",
    ];
    assert_eq!(stage.compose(root).success()?.stdout.trim(), "1");
    stage.compose(["down", "--volumes"]).success()?;
    up(stage, &["mysql"])?;
    sql(stage, "SELECT word FROM kept").code(1)?.complains("doesn't exist")?;
    stage.compose(["down", "--volumes"]).success()?;
    Ok(())
}

fn redis(stage: &Stage) -> Verdict {
    stage.example("dev-stack")?;
    up(stage, &["redis"])?;
    // Without -T and on a terminal, `exec` gives the container one as well.
    let exec = stage.compose_command(["exec", "redis", "sh", "-c", "tty; redis-cli"]);
    let mut client = stage.start_on_terminal(&exec)?;
    for (prompts, line) in ["INCR counter\r", "GET counter\r", "quit\r"].iter().enumerate() {
        eventually(Duration::from_secs(60), || {
            let said = client.said();
            // The prompt is drawn anew with each character; what counts is that it stands at the end.
            let ready =
                said.matches("(integer) 1").count() + said.matches("\"1\"").count() == prompts;
            if ready && said.trim_end().ends_with('>') { Ok(()) } else { Err(said.into()) }
        })?;
        client.say(line)?;
    }
    client.finish(Duration::from_secs(60))?.success()?.says("/dev/pts/")?;
    stage.client("redis-cli", &["-h", "127.0.0.1", "INCR", "counter"]).success()?.says("2")?;
    stage.compose(["down"]).success()?;
    up(stage, &["redis"])?;
    stage.client("redis-cli", &["-h", "127.0.0.1", "GET", "counter"]).success()?.says("2")?;
    stage.compose(["down", "--volumes"]).success()?;
    Ok(())
}

fn svn(stage: &Stage, words: &[&str]) -> Run {
    let login =
        ["--non-interactive", "--no-auth-cache", "--username", "dev", "--password", "dev-secret"];
    stage.client("svn", &[login.as_slice(), words].concat())
}

fn subversion(stage: &Stage) -> Verdict {
    stage.example("dev-stack")?;
    up(stage, &["svn", "svn-http"])?;
    let (by_svn, by_http) = ("svn://127.0.0.1:3690/", "http://127.0.0.1:8081/svn");
    svn(stage, &["checkout", by_svn, "one"]).success()?;
    stage.file("one/file", "first\n")?;
    svn(stage, &["add", "one/file"]).success()?;
    svn(stage, &["commit", "-m", "by svn", "one"]).success()?.says("Committed revision 1")?;
    svn(stage, &["checkout", by_http, "two"]).success()?;
    assert_eq!(std::fs::read_to_string(stage.folder.join("two/file"))?, "first\n");
    stage.file("two/file", "second\n")?;
    svn(stage, &["commit", "-m", "by http", "two"]).success()?.says("Committed revision 2")?;
    for url in [by_svn, by_http] {
        svn(stage, &["log", url]).success()?.says("by svn")?.says("by http")?;
    }
    let wrong = [
        "--non-interactive",
        "--no-auth-cache",
        "--username",
        "dev",
        "--password",
        "wrong",
        "mkdir",
        "-m",
        "x",
    ];
    for url in ["svn://127.0.0.1:3690/x", "http://127.0.0.1:8081/svn/x"] {
        stage.client("svn", &[wrong.as_slice(), &[url]].concat()).code(1)?;
    }
    stage.compose(["down"]).success()?;
    up(stage, &["svn"])?;
    svn(stage, &["update", "one"]).success()?;
    assert_eq!(std::fs::read_to_string(stage.folder.join("one/file"))?, "second\n");
    stage.compose(["down", "--volumes"]).success()?;
    Ok(())
}

fn shared_layer(stage: &Stage) -> Verdict {
    let mut bases = Vec::new();
    for image in ["mysql", "redis", "subversion", "web"] {
        let shown =
            stage.compose(["image", "inspect", &format!("dev-stack/{image}")]).success()?.stdout;
        let shown: serde_json::Value = serde_json::from_str(&shown)?;
        bases.push(shown[0]["RootFS"]["Layers"][0].clone());
    }
    assert!(bases[0].is_string() && bases.iter().all(|base| *base == bases[0]), "{bases:?}");
    Ok(())
}
