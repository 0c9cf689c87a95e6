//! Names, addresses, published ports, and the way out.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use scenarios::{Stage, Verdict, eventually, outside};

use crate::Scenario;

pub(super) fn all() -> Vec<Scenario> {
    vec![
        Scenario::plain("the_stage_itself_has_an_outside", outside_of_the_stage),
        Scenario::plain("containers_find_each_other_by_name", names),
        Scenario::plain("a_container_reaches_the_outside", reaches_outside),
        Scenario::plain("an_internal_network_has_no_way_out", internal),
        Scenario::plain("a_published_port_answers", published),
        Scenario::plain("a_flood_of_connections_leaves_room_for_everything_else", flooded),
        Scenario::plain("a_taken_port_is_named_before_anything_changes", taken_port),
        Scenario::plain("services_on_different_networks_do_not_meet", separated),
    ]
}

/// Without this, what follows would prove nothing.
fn outside_of_the_stage(stage: &Stage) -> Verdict {
    let url = format!("http://{}/", outside::NAME);
    stage
        .client("curl", &["--silent", "--max-time", "30", &url])
        .success()?
        .says(outside::GREETING)?;
    Ok(())
}

/// Two services that wait, one of them with an alias.
const PAIR: &str = "
services:
  one: {image: 'rootfs:/', init: true, command: sleep infinity}
  two:
    image: rootfs:/
    init: true
    command: sleep infinity
    networks: {default: {aliases: [second]}}
";

fn names(stage: &Stage) -> Verdict {
    stage.file("compose.yaml", PAIR)?;
    stage.compose(["up", "--detach"]).success()?;
    let own = stage.compose(["exec", "-T", "two", "hostname", "-i"]).success()?.stdout;
    for name in ["two", "second", &format!("{}-two-1", stage.project)] {
        stage
            .compose(["exec", "-T", "one", "getent", "ahostsv4", name])
            .success()?
            .says(own.trim())?;
    }
    stage.compose(["exec", "-T", "one", "getent", "hosts", "nobody-here"]).code(2)?;
    // A service keeps its address when its container is replaced.
    stage.compose(["up", "--detach", "--force-recreate", "two"]).success()?;
    assert_eq!(stage.compose(["exec", "-T", "two", "hostname", "-i"]).success()?.stdout, own);
    stage.compose(["down"]).success()?;
    Ok(())
}

fn reaches_outside(stage: &Stage) -> Verdict {
    stage.file("compose.yaml", PAIR)?;
    stage.compose(["up", "--detach"]).success()?;
    let address = format!("http://{}/", outside::ADDRESS);
    let name = format!("http://{}/", outside::NAME);
    for url in [&address, &name] {
        let asked = stage
            .compose(["exec", "-T", "one", "curl", "--silent", "--max-time", "30", url])
            .success()?;
        // The outside has no route to the container: it sees the host.
        assert_eq!(asked.stdout.trim(), format!("{}192.0.2.2", outside::GREETING));
    }
    stage.compose(["down"]).success()?;
    Ok(())
}

fn internal(stage: &Stage) -> Verdict {
    stage.file("compose.yaml", &format!("{PAIR}\nnetworks: {{default: {{internal: true}}}}\n"))?;
    stage.compose(["up", "--detach"]).success()?;
    stage.compose(["exec", "-T", "one", "getent", "ahostsv4", "two"]).success()?;
    let address = format!("http://{}/", outside::ADDRESS);
    let asked =
        stage.compose(["exec", "-T", "one", "curl", "--silent", "--max-time", "2", &address]);
    assert!(!asked.status.success(), "{asked:?}");
    stage.compose(["down"]).success()?;
    Ok(())
}

/// A web server that says its own name.
const SERVER: &str = "
services:
  web:
    image: rootfs:/
    init: true
    command: python3 -m http.server --directory /etc 8000
    ports: ['127.0.0.1:8080:8000', '8000']
";

fn get(address: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.write_all(b"GET /hostname HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn published(stage: &Stage) -> Verdict {
    stage.file("compose.yaml", SERVER)?;
    stage.compose(["up", "--detach"]).success()?;
    let answers = |address: String| {
        eventually(Duration::from_secs(60), || {
            let answer = get(&address)?;
            if answer.contains(" 200 ") { Ok(()) } else { Err(answer.into()) }
        })
    };
    answers("127.0.0.1:8080".to_owned())?;
    // Of the two mappings `port` names one; the ephemeral one is in the list.
    let listed = stage.containers()?;
    let ports = listed[0]["Publishers"].as_array().ok_or("no publishers")?.clone();
    for port in ports
        .iter()
        .filter_map(|publisher| publisher["PublishedPort"].as_u64())
        .filter(|port| *port > 0)
    {
        answers(format!("127.0.0.1:{port}"))?;
        if port != 8080 {
            answers(format!("192.0.2.2:{port}"))?;
        }
    }
    stage.compose(["down"]).success()?;
    assert!(get("127.0.0.1:8080").is_err());
    Ok(())
}

/// More connections than the supervisor may have files open.
fn flooded(stage: &Stage) -> Verdict {
    let text = "services:\n  web:\n    image: base\n    init: true\n    command: sh -c 'echo hello > /tmp/index; exec /bin/busybox httpd -f -p 80 -h /tmp'\n    \
                ports: ['127.0.0.1:8080:80']\n    stop_grace_period: 0s\n";
    super::build::base(stage)?;
    stage.file("compose.yaml", text)?;
    let compose = stage.compose_command(["up", "--detach"]);
    let mut few = stage.command("sh");
    few.args(["-c", "ulimit -n 300; exec \"$0\" \"$@\""]);
    few.arg(compose.get_program()).args(compose.get_args());
    stage.run(few, None).success()?;
    let ask = || -> Result<String, Box<dyn std::error::Error>> {
        let mut stream = TcpStream::connect("127.0.0.1:8080")?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        stream.write_all(b"GET /index HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    eventually(Duration::from_secs(60), || {
        ask()?.contains("hello").then_some(()).ok_or_else(|| "no answer".into())
    })?;
    let silent: Vec<TcpStream> =
        (0..400).map(|_| TcpStream::connect("127.0.0.1:8080")).collect::<Result<_, _>>()?;
    // It can do everything that takes files.
    stage.file(
        "compose.yaml",
        &format!("{text}  more: {{image: base, command: sleep 600, stop_grace_period: 0s}}\n"),
    )?;
    stage.compose(["up", "--detach"]).success()?;
    stage.compose(["exec", "-T", "more", "echo", "hello"]).success()?;
    stage.compose(["rm", "--stop", "--force", "more"]).success()?;
    // Who waited gets an answer when others have gone.
    drop(silent);
    assert!(ask()?.contains("hello"));
    stage.compose(["down"]).success()?;
    stage.check_nothing_left()
}

fn taken_port(stage: &Stage) -> Verdict {
    let _holder = TcpListener::bind("127.0.0.1:8080")?;
    stage.file("compose.yaml", SERVER)?;
    let refused = stage.compose(["up", "--detach"]).code(1)?.complains("8080")?;
    refused.complains(&std::process::id().to_string())?;
    assert!(stage.containers()?.is_empty());
    drop(_holder);
    stage.compose(["down"]).success()?;
    Ok(())
}

fn separated(stage: &Stage) -> Verdict {
    stage.file(
        "compose.yaml",
        "
services:
  one: {image: 'rootfs:/', init: true, command: sleep infinity, networks: [left]}
  two: {image: 'rootfs:/', init: true, command: python3 -m http.server 8000, networks: [right]}
  both: {image: 'rootfs:/', init: true, command: sleep infinity, networks: [left, right]}
networks: {left: {}, right: {}}
",
    )?;
    stage.compose(["up", "--detach"]).success()?;
    stage.compose(["exec", "-T", "one", "getent", "hosts", "two"]).code(2)?;
    stage.compose(["exec", "-T", "both", "getent", "ahostsv4", "two"]).success()?;
    let address = stage.compose(["exec", "-T", "two", "hostname", "-i"]).success()?.stdout;
    let url = format!("http://{}:8000/", address.trim());
    let asked = stage.compose(["exec", "-T", "one", "curl", "--silent", "--max-time", "2", &url]);
    assert!(!asked.status.success(), "{asked:?}");
    stage.compose(["down"]).success()?;
    Ok(())
}
