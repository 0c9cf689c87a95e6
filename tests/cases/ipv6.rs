//! IPv6: addresses, names, the way out, published ports, and networks that have nothing else.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use scenarios::{Stage, Verdict, eventually, outside};
use serde_json::Value;

use crate::Scenario;

pub(super) fn all() -> Vec<Scenario> {
    vec![
        Scenario::plain("ipv6_addresses_names_and_hosts", names),
        Scenario::plain("ipv6_reaches_the_outside", reaches_outside),
        Scenario::plain("ipv6_alone", alone),
        Scenario::plain("ipv6_on_an_internal_network", internal),
        Scenario::plain("ipv6_published_ports_answer", published),
        Scenario::plain("ipv6_of_connected_networks", connected),
    ]
}

/// Two services that wait; what follows adds a network.
const PAIR: &str = "
services:
  one: {image: 'rootfs:/', init: true, command: sleep infinity}
  two:
    image: rootfs:/
    init: true
    command: sleep infinity
    extra_hosts: ['elsewhere=2001:db8::99', 'host=host-gateway']
    networks: {default: {aliases: [second]}}
";

/// The first object that `network inspect` shows.
fn inspect(stage: &Stage, network: &str) -> Result<Value, Box<dyn std::error::Error>> {
    let shown = stage.compose(["network", "inspect", network]).success()?.stdout;
    Ok(serde_json::from_str::<Value>(&shown)?[0].take())
}

/// Requires that a packet gets from the container of a service to `to` and back: nothing listens there, which is told.
fn reaches(stage: &Stage, from: &str, to: &str) -> Verdict {
    let script = "
import socket, sys
to = socket.getaddrinfo(sys.argv[1], 9, socket.AF_INET6, socket.SOCK_STREAM)[0]
client = socket.socket(to[0], to[1])
client.settimeout(5)
try:
    client.connect(to[4])
except ConnectionRefusedError:
    print('refused')
";
    stage.compose(["exec", "-T", from, "python3", "-c", script, to]).success()?.says("refused")?;
    Ok(())
}

fn names(stage: &Stage) -> Verdict {
    let network = "
networks:
  default:
    enable_ipv6: true
    ipam:
      config:
        - {subnet: 10.77.0.0/24}
        - subnet: fd00:77::/64
          gateway: fd00:77::fe
          ip_range: fd00:77::100/120
          aux_addresses: {router: 'fd00:77::100'}
  four: {}
";
    let fixed = "
  fixed:
    image: rootfs:/
    init: true
    command: sleep infinity
    networks: {default: {ipv6_address: 'fd00:77::5', ipv4_address: 10.77.0.5}}
  older: {image: 'rootfs:/', init: true, command: sleep infinity, networks: [four]}
  bridged: {image: 'rootfs:/', init: true, command: sleep infinity, networks: [four, default]}
";
    stage.file("compose.yaml", &format!("{PAIR}{fixed}{network}"))?;
    stage.compose(["up", "--detach"]).success()?;
    let ahosts =
        |from: &str, name: &str| stage.compose(["exec", "-T", from, "getent", "ahostsv6", name]);
    ahosts("one", "fixed").success()?.says("fd00:77::5")?;
    for name in ["two", "second", &format!("{}-two-1", stage.project)] {
        ahosts("one", name).success()?.says("fd00:77::10")?;
    }
    // A name with an IPv4 address only is known, and has none of these.
    ahosts("bridged", "older").success()?.says("::ffff:")?;
    reaches(stage, "one", "fixed")?;

    let hosts = stage.compose(["exec", "-T", "fixed", "cat", "/etc/hosts"]).success()?;
    hosts.says("10.77.0.5\t")?.says("fd00:77::5\t")?;
    let hosts = stage.compose(["exec", "-T", "two", "cat", "/etc/hosts"]).success()?;
    hosts.says("2001:db8::99\telsewhere")?.says("198.1")?.says("fd63:6f6d:706f:7365::")?;
    let routes = stage.compose(["exec", "-T", "two", "ip", "-6", "route"]).success()?;
    routes.says("default via fd00:77::fe dev eth0")?;

    let shown = inspect(stage, &format!("{}_default", stage.project))?;
    assert_eq!(shown["EnableIPv6"], true);
    let pool = &shown["IPAM"]["Config"][1];
    assert_eq!(
        (&pool["Subnet"], &pool["Gateway"]),
        (&"fd00:77::/64".into(), &"fd00:77::fe".into())
    );
    assert_eq!(pool["IPRange"], "fd00:77::100/120");
    let containers = shown["Containers"].as_object().ok_or("no containers")?;
    let six = |value: &Value| value["IPv6Address"] == "fd00:77::5/64";
    assert!(containers.values().any(six), "{shown}");

    // A service keeps its address when its container is replaced.
    let own = || stage.compose(["exec", "-T", "two", "hostname", "-I"]).success();
    let before = own()?.stdout;
    stage.compose(["up", "--detach", "--force-recreate", "two"]).success()?;
    assert_eq!(own()?.stdout, before);
    stage.compose(["down"]).success()?;
    Ok(())
}

fn reaches_outside(stage: &Stage) -> Verdict {
    stage.speak_ipv6()?;
    stage
        .file("compose.yaml", &format!("{PAIR}\nnetworks: {{default: {{enable_ipv6: true}}}}\n"))?;
    stage.compose(["up", "--detach"]).success()?;
    let address = format!("http://[{}]/", outside::ADDRESS_SIX);
    let name = format!("http://{}/", outside::NAME_SIX);
    for url in [&address, &name] {
        let asked = stage
            .compose(["exec", "-T", "one", "curl", "--silent", "--max-time", "30", url])
            .success()?;
        // The outside has no route to the container: it sees the host.
        assert_eq!(asked.stdout.trim(), format!("{}2001:db8::2", outside::GREETING));
    }
    let four = format!("http://{}/", outside::ADDRESS);
    stage
        .compose(["exec", "-T", "one", "curl", "--silent", "--max-time", "30", &four])
        .success()?;
    stage.compose(["down"]).success()?;
    stage.forget_ipv6()?;
    Ok(())
}

/// A network without IPv4: names, servers for names, the way out, a published port.
fn alone(stage: &Stage) -> Verdict {
    stage.speak_ipv6()?;
    stage.file(
        "compose.yaml",
        "
services:
  web:
    image: rootfs:/
    init: true
    command: ['python3', '-m', 'http.server', '--bind', '::', '--directory', '/etc', '8000']
    dns: ['2001:db8::1']
    ports: ['8080:8000', '[::1]:8081:8000']
  one: {image: 'rootfs:/', init: true, command: sleep infinity}
networks: {default: {enable_ipv4: false, enable_ipv6: true}}
",
    )?;
    stage.compose(["up", "--detach"]).success()?;
    let addresses =
        stage.compose(["exec", "-T", "web", "ip", "-o", "addr", "show", "eth0"]).success()?;
    assert!(!addresses.stdout.contains("inet "), "{addresses:?}");
    let name = format!("http://{}/", outside::NAME_SIX);
    let curl = |from: &str, url: &str| {
        stage.compose(["exec", "-T", from, "curl", "--silent", "--max-time", "30", url])
    };
    curl("web", &name).success()?.says(outside::GREETING)?;
    eventually(Duration::from_secs(60), || {
        curl("one", "http://web:8000/hostname").success()?;
        Ok(())
    })?;
    // Whoever comes by IPv4 finds it too.
    for to in ["127.0.0.1:8080", "[::1]:8080", "[::1]:8081"] {
        answers(to)?;
    }
    let shown = inspect(stage, &format!("{}_default", stage.project))?;
    assert_eq!((&shown["EnableIPv4"], &shown["EnableIPv6"]), (&false.into(), &true.into()));
    stage.compose(["down"]).success()?;
    stage.forget_ipv6()?;
    Ok(())
}

fn internal(stage: &Stage) -> Verdict {
    stage.speak_ipv6()?;
    let network = "networks: {default: {internal: true, enable_ipv6: true}}";
    stage.file("compose.yaml", &format!("{PAIR}\n{network}\n"))?;
    stage.compose(["up", "--detach"]).success()?;
    reaches(stage, "one", "two")?;
    let routes = stage.compose(["exec", "-T", "one", "ip", "-6", "route"]).success()?;
    assert!(!routes.stdout.contains("default"), "{routes:?}");
    let address = format!("http://[{}]/", outside::ADDRESS_SIX);
    let asked =
        stage.compose(["exec", "-T", "one", "curl", "--silent", "--max-time", "2", &address]);
    assert!(!asked.status.success(), "{asked:?}");
    stage.compose(["down"]).success()?;
    stage.forget_ipv6()?;
    Ok(())
}

/// Asks for a page at an address of this host, until it is there.
fn answers(to: &str) -> Verdict {
    let to: SocketAddr = to.parse()?;
    eventually(Duration::from_secs(60), || {
        let mut stream = TcpStream::connect(to)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        stream.write_all(b"GET /hostname HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        if answer.contains(" 200 ") { Ok(()) } else { Err(format!("{to}: {answer}").into()) }
    })
}

fn published(stage: &Stage) -> Verdict {
    stage.speak_ipv6()?;
    stage.file(
        "compose.yaml",
        "
services:
  web:
    image: rootfs:/
    init: true
    command: ['python3', '-m', 'http.server', '--bind', '::', '--directory', '/etc', '8000']
    ports:
      - '[::1]:8080:8000'
      - {target: 8000, published: '8081', host_ip: '::'}
      - '8082:8000'
  four:
    image: rootfs:/
    init: true
    command: python3 -m http.server --bind 0.0.0.0 --directory /etc 8000
    ports: ['[::1]:8083:8000']
networks: {default: {enable_ipv6: true}}
",
    )?;
    stage.compose(["up", "--detach"]).success()?;
    for to in [
        "[::1]:8080",
        "[::1]:8081",
        "[2001:db8::2]:8081",
        "[::1]:8082",
        "127.0.0.1:8082",
        "[::1]:8083",
    ] {
        answers(to)?;
    }
    for to in ["127.0.0.1:8080", "127.0.0.1:8081", "[2001:db8::2]:8080"] {
        assert!(TcpStream::connect(to.parse::<SocketAddr>()?).is_err(), "{to}");
    }
    let port = stage.compose(["port", "web", "8000"]).success()?.stdout;
    assert_eq!(port, "[::1]:8080\n");
    let listed = stage.containers()?;
    let web = listed.iter().find(|one| one["Service"] == "web").ok_or("no web")?;
    let publishers = web["Publishers"].as_array().ok_or("no publishers")?;
    let urls: Vec<_> = publishers.iter().filter_map(|one| one["URL"].as_str()).collect();
    assert_eq!(urls, ["::1", "::", "0.0.0.0", "::"]);
    stage.compose(["down"]).success()?;
    stage.forget_ipv6()?;
    Ok(())
}

/// A network with IPv6 that a container joins while it runs, and leaves again.
fn connected(stage: &Stage) -> Verdict {
    stage.speak_ipv6()?;
    stage.file("compose.yaml", PAIR)?;
    stage.compose(["up", "--detach"]).success()?;
    let network = format!("{}six", stage.project);
    let subnet = ["--subnet", "fd00:99::/64", "--gateway", "fd00:99::fe"];
    let words = [&["network", "create", "--ipv6", "--ipv4=false"][..], &subnet, &[&network]];
    stage.compose(words.concat()).success()?;
    let listed = stage.compose(["network", "ls", "--format", "{{.Name}} {{.IPv4}} {{.IPv6}}"]);
    listed.success()?.says(&format!("{network} false true"))?;
    let (one, two) = (format!("{}-one-1", stage.project), format!("{}-two-1", stage.project));
    let connect = ["network", "connect", "--ip6", "fd00:99::7", "--gw-priority", "5", &network];
    stage.compose([&connect[..], &[&one]].concat()).success()?;
    stage.compose(["network", "connect", "--alias", "other", &network, &two]).success()?;
    reaches(stage, "one", "other")?;
    reaches(stage, "two", "fd00:99::7")?;
    let address = format!("http://[{}]/", outside::ADDRESS_SIX);
    let asked =
        || stage.compose(["exec", "-T", "one", "curl", "--silent", "--max-time", "30", &address]);
    asked().success()?.says(outside::GREETING)?;
    stage.compose(["network", "disconnect", &network, &one]).success()?;
    assert!(!asked().status.success());
    let four = format!("http://{}/", outside::ADDRESS);
    stage
        .compose(["exec", "-T", "one", "curl", "--silent", "--max-time", "30", &four])
        .success()?;
    let taken = ["network", "connect", "--ip6", "fd00:99::fe", &network, &one];
    stage.compose(taken).code(1)?.complains("reserved")?;
    stage.compose(["down"]).success()?;
    stage.compose(["network", "rm", &network]).success()?;
    stage.forget_ipv6()?;
    Ok(())
}
