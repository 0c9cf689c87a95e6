//! Networks whose maker is killed: whatever is half done, the next one finishes or clears.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};

use super::*;
use crate::firewall::HostTable;
use crate::random;

const VICTIM: &str = "live::kills::victim";

/// Makes, fills and removes a network for ever. Run by the test below, in its host.
#[test]
#[ignore = "never ends: to be killed by the test below"]
fn victim() {
    let store = Store::open(Path::new("/mnt/data"), Path::new("/mnt/run")).unwrap();
    loop {
        let network = store.create(&Wanted { ipv6: true, ..wanted("shop_default") }).unwrap();
        let (sandbox, _) = container(&network, "web");
        network.forget("web").unwrap();
        drop(sandbox);
        network.release("web").unwrap();
        let name = network.name().clone();
        drop(network);
        store.remove(&name).unwrap();
    }
}

#[test]
fn a_kill_at_any_moment_leaves_nothing_that_is_not_found() {
    on_a_host(|host| {
        let links = || {
            let links = RouteSocket::open().unwrap().links().unwrap();
            links.into_iter().map(|link| link.name).collect::<Vec<_>>()
        };
        let before = links();
        let name = "shop_default".parse().unwrap();
        for _ in 0..25 {
            let mut victim = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", VICTIM, "--ignored", "--nocapture"])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let moment = Duration::from_micros(3000 + random::number() % 20_000);
            std::thread::sleep(moment);
            victim.kill().unwrap();
            let status = victim.wait().unwrap();
            assert_eq!(status.signal(), Some(9), "killed, and not failed: {status}");

            let wanted = Wanted { ipv6: true, ..wanted("shop_default") };
            let network = host.store.create(&wanted).unwrap();
            let (web, _) = container(&network, "again");
            let listener = listen(&host.outside, "0.0.0.0:80");
            connect(&web, (OUTSIDE, 80))
                .unwrap_or_else(|error| panic!("after {moment:?}: {error}"));
            listener.accept().unwrap();
            network.forget("again").unwrap();
            drop((network, web));
            wait_until("the members are gone", || match host.store.remove(&name) {
                Ok(()) => true,
                // A victim's container may still be on its way out.
                Err(crate::StoreError::InUse { .. }) => false,
                Err(error) => panic!("after {moment:?}: {error}"),
            });
            wait_until("the links are gone", || links() == before);
            assert_eq!(HostTable::open(Family::V6).unwrap().contents().unwrap(), (vec![], vec![]));
            assert_eq!(HostTable::open(Family::V4).unwrap().contents().unwrap(), (vec![], vec![]));
            for folder in ["/mnt/data", "/mnt/run"] {
                let left: Vec<_> = std::fs::read_dir(folder).unwrap().flatten().collect();
                assert!(left.is_empty(), "after {moment:?}: {left:?}");
            }
        }
    });
}
