//! Networks and volumes as things of their own.

use std::time::Duration;

use scenarios::{Stage, Verdict, eventually};

use crate::Scenario;

pub(super) fn all() -> Vec<Scenario> {
    vec![
        Scenario::plain("networks_on_their_own", networks),
        Scenario::plain("networks_are_joined_and_left", connect),
        Scenario::plain("resources_without_a_service", all_resources),
    ]
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
