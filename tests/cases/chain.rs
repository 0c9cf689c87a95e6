//! Containers that start one after another.

use std::fs;
use std::net::TcpListener;

use scenarios::{Stage, Verdict, world};

use crate::Scenario;

pub(super) fn all() -> Vec<Scenario> {
    vec![
        Scenario::plain("a_chain_starts_in_its_order", order),
        Scenario::plain("what_waits_for_a_start_that_fails_is_not_there", gap),
        Scenario::plain("what_a_dependency_makes_is_mounted", made),
    ]
}

/// Six services, each of which waits for the start of the one before.
fn chain(stage: &Stage, broken: Option<usize>) -> Verdict {
    let mut file = "services:\n".to_owned();
    for number in 0..6 {
        let command = if broken == Some(number) { "no-such-program" } else { "sleep infinity" };
        let init = number % 2 == 0;
        file += &format!(
            "  s{number}:\n    image: rootfs:/\n    init: {init}\n    command: {command}\n"
        );
        if number > 0 {
            file += &format!("    depends_on: [s{}]\n", number - 1);
        }
    }
    stage.file("compose.yaml", &(file + "    ports: ['127.0.0.1:7777:80']\n"))?;
    Ok(())
}

fn order(stage: &Stage) -> Verdict {
    chain(stage, None)?;
    for _ in 0..3 {
        stage.compose(["up", "-d"]).success()?;
        for number in 0..6 {
            assert_eq!(stage.field(&format!("s{number}"), "State")?, "running");
        }
        let events =
            stage.compose(["events", "--json", "--since", "1m", "--until", "0s"]).success()?;
        let order: Vec<&str> = events
            .stdout
            .lines()
            .filter(|line| line.contains(r#""action":"start""#))
            .filter_map(|line| line.split(r#""service":""#).nth(1)?.split('"').next())
            .collect();
        assert_eq!(order[order.len() - 6..], ["s0", "s1", "s2", "s3", "s4", "s5"], "{events:?}");
        stage.compose(["down", "-t", "0"]).success()?;
        stage.check_nothing_left()?;
    }
    Ok(())
}

fn gap(stage: &Stage) -> Verdict {
    chain(stage, Some(3))?;
    stage.compose(["up", "-d"]).code(1)?.complains("no-such-program")?;
    for (service, state) in
        [("s2", "running"), ("s3", "exited"), ("s4", "created"), ("s5", "created")]
    {
        assert_eq!(stage.field(service, "State")?, state, "{service}");
    }
    // Nothing of those that never had their turn is on the machine.
    drop(TcpListener::bind("127.0.0.1:7777")?);
    let processes = world::processes(&stage.project, &stage.roots);
    let keepers = processes.iter().filter(|(_, words)| words.contains("keeper")).count();
    assert_eq!(keepers, 1, "a child of the keeper waits: {processes:?}");
    let again = stage.compose(["up", "-d"]).code(1)?;
    again.complains("no-such-program")?;
    chain(stage, None)?;
    stage.compose(["up", "-d"]).success()?;
    assert_eq!(stage.field("s5", "State")?, "running");
    stage.compose(["down", "-t", "0"]).success()?;
    stage.check_nothing_left()
}

fn made(stage: &Stage) -> Verdict {
    let maker =
        |name: &str| format!("echo new > /made/next-{name} && mv /made/next-{name} /made/{name}");
    stage.file("made/of-end", "old\n")?;
    stage.file("made/of-hook", "old\n")?;
    stage.file(
        "compose.yaml",
        &format!(
            "
services:
  ends: {{image: 'rootfs:/', command: [sh, -c, '{}'], volumes: ['./made:/made']}}
  goes-on:
    image: rootfs:/
    command: sleep infinity
    init: true
    volumes: ['./made:/made']
    post_start: [{{command: [sh, -c, '{}']}}]
  after-end:
    image: rootfs:/
    command: [sh, -c, 'cat /file; exec sleep infinity']
    volumes: ['./made/of-end:/file']
    depends_on: {{ends: {{condition: service_completed_successfully}}}}
  after-hook:
    image: rootfs:/
    command: [sh, -c, 'cat /file; exec sleep infinity']
    volumes: ['./made/of-hook:/file']
    depends_on: [goes-on]
",
            maker("of-end"),
            maker("of-hook")
        ),
    )?;
    stage.compose(["up", "-d"]).success()?;
    for service in ["after-end", "after-hook"] {
        stage.compose(["exec", "-T", service, "cat", "/file"]).success()?.says("new")?;
    }
    assert_eq!(fs::read_to_string(stage.folder.join("made/of-end"))?, "new\n");
    stage.compose(["down", "-t", "0"]).success()?;
    stage.check_nothing_left()
}
