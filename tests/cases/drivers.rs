//! Networks that are made otherwise than most, places on them with options, and `network create` and `connect`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use scenarios::{Stage, Verdict, eventually, outside};

use crate::Scenario;

pub(super) fn all() -> Vec<Scenario> {
    vec![
        Scenario::plain("network_options_of_a_bridge", bridge),
        Scenario::plain("network_options_of_a_service", places),
        Scenario::plain("network_macvlan_is_beside_the_host", macvlan),
        Scenario::plain("network_ipvlan_or_its_absence_is_told", ipvlan),
        Scenario::plain("network_host_and_none_are_there_already", predefined),
        Scenario::plain("network_connect_with_everything", connect),
        Scenario::plain("network_create_refuses_by_name", create),
    ]
}

/// Asks for a page at an address, until it is there.
fn answers(to: &str) -> Verdict {
    let to: SocketAddr = to.parse()?;
    eventually(Duration::from_secs(60), || {
        let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(30))?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        stream.write_all(b"GET /hostname HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        if answer.contains(" 200 ") { Ok(()) } else { Err(format!("{to}: {answer}").into()) }
    })
}

/// What a command in the container of a service says.
fn said(
    stage: &Stage,
    service: &str,
    words: &[&str],
) -> Result<String, scenarios::command::Unexpected> {
    Ok(stage.compose([&["exec", "-T", service][..], words].concat()).success()?.stdout)
}

/// Whether a connection from a service to a closed port comes back as refused: a packet got there.
fn reaches(stage: &Stage, from: &str, to: &str) -> bool {
    let script = "
import socket, sys
try:
    socket.create_connection((sys.argv[1], 9), 2)
except ConnectionRefusedError:
    print('refused')
except OSError:
    print('lost')
";
    said(stage, from, &["python3", "-c", script, to]).is_ok_and(|said| said.contains("refused"))
}

fn bridge(stage: &Stage) -> Verdict {
    stage.file(
        "compose.yaml",
        "
services:
  web:
    image: rootfs:/
    init: true
    command: python3 -m http.server --directory /etc 8000
    ports: ['8080:8000']
  one: {image: 'rootfs:/', init: true, command: sleep infinity}
networks:
  default:
    driver_opts:
      com.docker.network.bridge.name: br-shop
      com.docker.network.bridge.enable_icc: 'false'
      com.docker.network.bridge.host_binding_ipv4: 127.0.0.1
      com.docker.network.driver.mtu: 1400
      com.docker.network.container_iface_prefix: lan
",
    )?;
    stage.compose(["up", "--detach"]).success()?;
    stage.client("ip", &["link", "show", "br-shop"]).success()?;
    said(stage, "one", &["ip", "link", "show", "lan0"])?;
    assert_eq!(
        said(stage, "one", &["cat", "/sys/class/net/lan0/mtu"]).unwrap_or_default().trim(),
        "1400"
    );
    assert!(!reaches(stage, "one", "web"), "kept apart");
    let address = format!("http://{}/", outside::ADDRESS);
    said(stage, "one", &["curl", "--silent", "--max-time", "30", &address])?;
    answers("127.0.0.1:8080")?;
    assert!(TcpStream::connect("192.0.2.2:8080").is_err(), "published on one address only");
    let port = stage.compose(["port", "web", "8000"]).success()?.stdout;
    assert_eq!(port, "127.0.0.1:8080\n");
    let shown = stage.compose(["network", "inspect", &format!("{}_default", stage.project)]);
    shown.success()?.says("\"com.docker.network.bridge.name\":\"br-shop\"")?;
    // The name can be had again at once.
    stage.compose(["down"]).success()?;
    stage.compose(["up", "--detach"]).success()?;
    stage.compose(["down"]).success()?;
    Ok(())
}

fn places(stage: &Stage) -> Verdict {
    stage.file(
        "compose.yaml",
        "
services:
  one:
    image: rootfs:/
    init: true
    command: sleep infinity
    networks:
      back:
        priority: 5
        mac_address: 02:00:00:00:00:17
        link_local_ips: [169.254.8.1, 'fe80::8:1']
        driver_opts: {com.docker.network.endpoint.sysctls: net.ipv4.conf.IFNAME.log_martians=1}
      front: {gw_priority: 3, interface_name: lan}
      other: {driver_opts: {com.docker.network.endpoint.ifname: wan7}}
  two:
    image: rootfs:/
    init: true
    command: sleep infinity
    networks: {back: {link_local_ips: [169.254.8.2]}}
networks: {back: {}, front: {}, other: {}}
",
    )?;
    stage.compose(["up", "--detach"]).success()?;
    let links = said(stage, "one", &["ip", "-o", "link"])?;
    for name in ["eth0", "lan", "wan7"] {
        assert!(links.contains(&format!(": {name}@")), "{links}");
    }
    assert!(links.contains("02:00:00:00:00:17"), "{links}");
    let addresses = said(stage, "one", &["ip", "-o", "addr", "show", "eth0"])?;
    assert!(
        addresses.contains("169.254.8.1/16") && addresses.contains("fe80::8:1/64"),
        "{addresses}"
    );
    let setting = "/proc/sys/net/ipv4/conf/eth0/log_martians";
    assert_eq!(said(stage, "one", &["cat", setting])?.trim(), "1");
    let routes = said(stage, "one", &["ip", "route"])?;
    assert!(routes.lines().any(|route| route.starts_with("default") && route.contains("dev lan")));
    assert!(reaches(stage, "two", "169.254.8.1"));
    stage.compose(["down"]).success()?;
    Ok(())
}

/// Members of the network behind the host's own link.
const BESIDE: &str = "
services:
  web:
    image: rootfs:/
    init: true
    command: python3 -m http.server --directory /etc 8000
    ports: ['8080:8000']
  one: {image: 'rootfs:/', init: true, command: sleep infinity}
networks:
  default:
    driver: DRIVER
    driver_opts: {parent: up0}
    ipam: {config: [{subnet: 192.0.2.0/24, gateway: 192.0.2.1, ip_range: 192.0.2.128/25}]}
";

fn macvlan(stage: &Stage) -> Verdict {
    stage.file("compose.yaml", &BESIDE.replace("DRIVER", "macvlan"))?;
    stage.compose(["up", "--detach"]).success()?;
    let address = format!("http://{}/", outside::ADDRESS);
    let seen = said(stage, "one", &["curl", "--silent", "--max-time", "30", &address])?;
    let own = said(stage, "one", &["hostname", "-i"])?;
    assert_eq!(seen.trim(), format!("{}{}", outside::GREETING, own.trim()), "seen as it is");
    said(
        stage,
        "one",
        &[
            "curl",
            "--silent",
            "--max-time",
            "30",
            "--retry",
            "5",
            "--retry-connrefused",
            "http://web:8000/hostname",
        ],
    )?;
    said(stage, "one", &["getent", "hosts", outside::NAME])?;
    // The host does not reach what is on its own link; what is published it does.
    answers("127.0.0.1:8080")?;
    let listed = stage.compose(["network", "ls", "--format", "{{.Driver}}"]).success()?;
    listed.says("macvlan")?;
    stage.compose(["up", "--detach", "--force-recreate", "one"]).success()?;
    assert_eq!(said(stage, "one", &["hostname", "-i"])?, own);
    stage.compose(["down"]).success()?;

    // Without a parent it is of its members alone.
    let alone = "
services:
  one: {image: 'rootfs:/', init: true, command: sleep infinity}
  two: {image: 'rootfs:/', init: true, command: sleep infinity}
networks: {default: {driver: macvlan, enable_ipv6: true}}
";
    stage.file("compose.yaml", alone)?;
    stage.compose(["up", "--detach"]).success()?;
    assert!(reaches(stage, "one", "two"));
    assert!(!reaches(stage, "one", &outside::ADDRESS.to_string()));
    stage.compose(["down"]).success()?;
    let missing = BESIDE.replace("DRIVER", "macvlan").replace("up0", "up7");
    stage.file("compose.yaml", &missing)?;
    let told = stage.compose(["up", "--detach"]).code(1)?;
    told.complains("there is no link up7 on this host")?.complains("`ip link` lists the links")?;
    stage.compose(["down"]).success()?;
    Ok(())
}

/// Many kernels have it, some do not: then that is said.
fn ipvlan(stage: &Stage) -> Verdict {
    stage.file("compose.yaml", &BESIDE.replace("DRIVER", "ipvlan"))?;
    let up = stage.compose(["up", "--detach"]);
    if up.status.success() {
        let address = format!("http://{}/", outside::ADDRESS);
        let seen = said(stage, "one", &["curl", "--silent", "--max-time", "30", &address])?;
        let own = said(stage, "one", &["hostname", "-i"])?;
        assert_eq!(seen.trim(), format!("{}{}", outside::GREETING, own.trim()));
    } else {
        up.code(1)?.complains("type ipvlan mode l2")?.complains("not supported")?;
    }
    stage.compose(["down"]).success()?;
    Ok(())
}

fn predefined(stage: &Stage) -> Verdict {
    let file = |networks: &str| {
        format!(
            "
services:
  one: {{image: 'rootfs:/', init: true, command: sleep infinity, networks: [it]}}
networks: {{it: {networks}}}
"
        )
    };
    for (networks, links) in [
        ("{external: true, name: host}", Some("up0")),
        ("{driver: host}", Some("up0")),
        ("{external: true, name: none}", None),
        ("{driver: none}", None),
    ] {
        stage.file("compose.yaml", &file(networks))?;
        stage.compose(["up", "--detach"]).success()?;
        let seen = said(stage, "one", &["ip", "-o", "link"])?;
        match links {
            Some(link) => assert!(seen.contains(link), "{networks}: {seen}"),
            None => assert_eq!(seen.lines().count(), 1, "{networks}: {seen}"),
        }
        assert_eq!(stage.compose(["network", "ls", "--quiet"]).success()?.stdout, "");
        stage.compose(["down"]).success()?;
    }
    stage.file("compose.yaml", &file("{external: true, name: bridge}"))?;
    stage.compose(["up", "--detach"]).success()?;
    assert!(reaches(stage, "one", &outside::ADDRESS.to_string()));
    stage.compose(["down"]).success()?;
    stage.compose(["network", "rm", "bridge"]).success()?;
    let both = file("{driver: host}").replace("[it]", "[it, default]");
    stage.file("compose.yaml", &both)?;
    let told = stage.compose(["up", "--detach"]).code(1)?;
    told.complains("cannot be on the network `it` and on others beside it")?;
    Ok(())
}

fn connect(stage: &Stage) -> Verdict {
    stage.file(
        "compose.yaml",
        "
services:
  one: {image: 'rootfs:/', init: true, command: sleep infinity}
  two: {image: 'rootfs:/', init: true, command: sleep infinity}
",
    )?;
    stage.compose(["up", "--detach"]).success()?;
    let network = format!("{}more", stage.project);
    let words = ["network", "create", "--subnet", "10.88.0.0/24", "--ip-range", "10.88.0.128/25"];
    let more = ["--gateway", "10.88.0.9", "--aux-address", "a=10.88.0.128", "--attachable"];
    let last = ["--scope", "local", "--ipam-driver", "default", &network];
    stage.compose([&words[..], &more, &last].concat()).success()?;
    let (one, two) = (format!("{}-one-1", stage.project), format!("{}-two-1", stage.project));
    stage.compose(["network", "connect", "--alias", "second", &network, &two]).success()?;
    let option = "com.docker.network.endpoint.sysctls=net.ipv4.conf.IFNAME.log_martians=1";
    let words = ["network", "connect", "--ip", "10.88.0.7", "--link-local-ip", "169.254.7.7"];
    let link = format!("{two}:buddy");
    let more = ["--link", &link, "--gw-priority", "9", "--driver-opt", option, &network, &one];
    stage.compose([&words[..], &more].concat()).success()?;
    let check = || -> Verdict {
        assert!(reaches(stage, "one", "buddy"));
        assert!(reaches(stage, "one", "second"));
        stage.compose(["exec", "-T", "two", "getent", "hosts", "buddy"]).code(2)?;
        let addresses = said(stage, "one", &["ip", "-o", "addr", "show", "eth1"])?;
        assert!(addresses.contains("10.88.0.7/24") && addresses.contains("169.254.7.7/16"));
        let setting = "/proc/sys/net/ipv4/conf/eth1/log_martians";
        assert_eq!(said(stage, "one", &["cat", setting])?.trim(), "1");
        let routes = said(stage, "one", &["ip", "route"])?;
        assert!(routes.contains("default via 10.88.0.9 dev eth1"), "{routes}");
        assert!(said(stage, "two", &["ip", "-o", "addr"])?.contains("10.88.0.129/24"));
        Ok(())
    };
    check()?;
    // It is so after the next start too.
    stage.compose(["restart"]).success()?;
    check()?;
    stage.compose(["network", "disconnect", &network, &one]).success()?;
    assert!(!reaches(stage, "one", "buddy"));
    assert!(reaches(stage, "one", &outside::ADDRESS.to_string()), "the way out is where it was");
    let wrong = ["network", "connect", "--link-local-ip", "10.1.1.1", &network, &one];
    stage.compose(wrong).code(1)?.complains("10.1.1.1 is not a link-local address")?;
    let wrong = ["network", "connect", "--driver-opt", "a=b", &network, &one];
    stage.compose(wrong).code(1)?.complains("`driver_opts` has `a`")?;
    stage.compose(["down"]).success()?;
    stage.compose(["network", "rm", &network]).success()?;
    Ok(())
}

fn create(stage: &Stage) -> Verdict {
    for (words, told) in [
        (&["--driver", "overlay"][..], "`overlay`"),
        (&["--driver", "host"], "it is there already"),
        (&["--opt", "com.example=1"], "`com.example`"),
        (&["--opt", "com.docker.network.bridge.host_binding_ipv4=127.0.0.1"], "host_binding_ipv4"),
        (&["--ingress"], "--ingress"),
        (&["--config-only"], "--config-only"),
        (&["--scope", "swarm"], "--scope"),
        (&["--ipam-opt", "a=b"], "`a`"),
        (&["--ipam-driver", "dhcp"], "`dhcp`"),
    ] {
        let refused = stage.compose([&["network", "create"][..], words, &["net"]].concat());
        assert!(!refused.status.success(), "{words:?}");
        assert!(refused.stderr.contains(told), "{words:?}: {}", refused.stderr);
    }
    assert_eq!(stage.compose(["network", "ls", "--quiet"]).success()?.stdout, "");
    Ok(())
}
