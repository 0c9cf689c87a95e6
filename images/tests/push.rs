//! Images that are given away.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use common::server::{Answer, Asked, Server};
use common::{import, store, tar};
use images::Reference;
use images::registry::{Cancel, Environment, LayerStatus, Progress, Push, Registry};

/// What a registry answers that keeps the names of what it is given, and takes its time with blobs.
fn answer(kept: &Mutex<BTreeSet<String>>, asked: &Asked) -> Answer {
    let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
    match (asked.method.as_str(), query.strip_prefix("digest=")) {
        ("POST", _) => Answer::new(202, "").with("Location", &format!("{path}1")),
        ("PUT", Some(digest)) => {
            thread::sleep(Duration::from_millis(100));
            kept.lock().unwrap().insert(digest.replace("%3A", ":"));
            Answer::new(201, "")
        }
        ("PUT", None) => Answer::new(201, ""),
        _ if kept.lock().unwrap().iter().any(|digest| path.ends_with(digest)) => {
            Answer::new(200, "")
        }
        _ => Answer::new(404, "{}"),
    }
}

#[test]
fn two_tags_send_their_blobs_once() {
    let kept = Mutex::default();
    let server = Server::start(move |asked| answer(&kept, asked));
    let (_dir, store) = store();
    let names = [server.name("app:1"), server.name("app:2")];
    import(&store, &names[0], &tar(&[("file", b"content")]));
    store.tag(&names[0], &names[1].parse().unwrap()).unwrap();
    let registry = Registry::new(Environment::default()).unwrap();
    let found = Mutex::new(0);
    let report = |progress: Progress| {
        if progress.status == LayerStatus::Present {
            *found.lock().unwrap() += 1;
        }
    };
    thread::scope(|scope| {
        for name in &names {
            scope.spawn(|| {
                let reference: Reference = name.parse().unwrap();
                let cancel = Cancel::default();
                let push = Push { reference: &reference, cancel: &cancel, report: &report };
                registry.push(&store, &push).unwrap();
            });
        }
    });
    // A layer and the configuration.
    assert_eq!((server.count("PUT", "digest="), *found.lock().unwrap()), (2, 2));
    assert_eq!(server.count("PUT", "/manifests/"), 2);
}
