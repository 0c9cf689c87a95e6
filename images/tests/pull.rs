//! Pulls from registries that are honest, and from those that are not.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::server::{Answer, INDEX, MANIFEST, Parts, Sent, Server};
use common::{names, store, tar};
use images::registry::{
    Cancel, Environment, LayerStatus, Patience, Progress, Pull, PullError, Pulled, Registry,
    RegistryError,
};
use images::{Digest, Platform, Store};
use serde_json::json;

/// A registry client without surroundings.
fn registry() -> Registry {
    registry_in(Environment::default())
}

fn registry_in(environment: Environment) -> Registry {
    // However slow the machine is that this runs on, an honest server answers within that.
    registry_that_waits(environment, Duration::from_secs(120))
}

fn registry_that_waits(environment: Environment, stall: Duration) -> Registry {
    let patience = Patience {
        connect: Duration::from_secs(120),
        stall,
        tries: 3,
        pause: Duration::from_millis(1),
        longest_pause: Duration::from_secs(2),
    };
    Registry::with_patience(environment, patience).unwrap()
}

fn pull_with(registry: &Registry, store: &Store, name: &str) -> Result<Pulled, PullError> {
    let reference = name.parse().unwrap();
    let cancel = Cancel::default();
    registry.pull(
        store,
        &Pull { reference: &reference, platform: None, cancel: &cancel, report: &|_| {} },
    )
}

fn pull(store: &Store, name: &str) -> Result<Pulled, PullError> {
    pull_with(&registry(), store, name)
}

fn layers() -> [Vec<u8>; 3] {
    let large: Vec<u8> = (0..400_000u32).flat_map(u32::to_le_bytes).collect();
    [
        tar(&[("etc/", b""), ("etc/one", b"1"), ("large", &large)]),
        tar(&[("etc/two", b"2")]),
        tar(&[("three", b"3")]),
    ]
}

/// The store has nothing but what it says: no image, no blob, no layer, nothing half done.
fn assert_empty(store: &Store, root: &std::path::Path) {
    assert!(store.list().unwrap().images.is_empty());
    assert!(
        names(root, "layers").iter().all(|name| !name.starts_with(".tmp")),
        "{:?}",
        names(root, "layers")
    );
    assert!(names(root, "blobs/sha256").is_empty());
}

#[test]
fn an_image_is_fetched_and_fetched_again_only_when_it_changes() {
    let (dir, store) = store();
    let root = dir.path().join("images");
    let current = std::sync::Arc::new(Mutex::new(Parts::new(&layers())));
    let shown = std::sync::Arc::clone(&current);
    let server = Server::start(move |asked| shown.lock().unwrap().answer(asked));
    let registry = registry();
    let heard = Mutex::new(Vec::new());
    let reference = server.name("team/app").parse().unwrap();
    let pulled = registry
        .pull(
            &store,
            &Pull {
                reference: &reference,
                platform: None,
                cancel: &Cancel::default(),
                report: &|progress: Progress| heard.lock().unwrap().push(progress),
            },
        )
        .unwrap();
    assert!(pulled.is_new);
    assert_eq!(pulled.image.layers.len(), 3);
    assert_eq!(fs::read(pulled.image.layers[0].join("three")).unwrap(), b"3");
    assert_eq!(fs::read(pulled.image.layers[2].join("etc/one")).unwrap(), b"1");
    assert!(pulled.image.named.is_some());
    assert_eq!(names(&root, "partial"), [""; 0]);
    let heard = heard.into_inner().unwrap();
    let complete = heard.iter().filter(|one| one.status == LayerStatus::Complete).count();
    assert_eq!(complete, 3, "{heard:?}");

    // Nothing has changed: one question for the manifest, and none for a blob.
    let before = server.count("GET", "/blobs/");
    let again = pull_with(&registry, &store, &server.name("team/app")).unwrap();
    assert!(!again.is_new);
    assert_eq!(again.image.id, pulled.image.id);
    assert_eq!(server.count("GET", "/blobs/"), before);

    // A layer more: the others are not fetched again.
    let [one, two, three] = layers();
    *current.lock().unwrap() = Parts::new(&[one, two, three, tar(&[("four", b"4")])]);
    let next = pull_with(&registry, &store, &server.name("team/app")).unwrap();
    assert!(next.is_new);
    assert_eq!(next.image.layers.len(), 4);
    assert_eq!(server.count("GET", "/blobs/"), before + 2);
    // The one before has lost its name and is still there.
    assert_eq!(store.list().unwrap().images.len(), 2);
}

#[test]
fn the_image_of_an_index_is_the_one_for_this_machine() {
    let (_dir, store) = store();
    let archives = layers();
    let mut parts = Parts::new(&archives[..2]);
    let ours = json!({"mediaType": MANIFEST, "digest": Digest::of(&parts.manifest).to_string(), "size": parts.manifest.len(),
        "platform": {"os": "linux", "architecture": Platform::host().to_string().split('/').nth(1)}});
    let other = json!({"mediaType": MANIFEST, "digest": Digest::of(b"other").to_string(), "size": 5,
        "platform": {"os": "linux", "architecture": "riscv64"}});
    let index =
        json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [other, ours]}).to_string();
    parts.put("manifests/latest", INDEX, index.as_bytes());
    let source = Digest::of(index.as_bytes());
    parts.put(&format!("manifests/{source}"), INDEX, index.as_bytes());
    let server = Server::start(move |asked| parts.answer(asked));
    let pulled = pull(&store, &server.name("app")).unwrap();
    assert_eq!(pulled.image.source, Some(source));
    assert_ne!(pulled.image.manifest, source);

    // By the digest of the index, as people copy it.
    let name = server.name(&format!("app:v1@{source}"));
    let pulled = pull(&store, &name).unwrap();
    assert_eq!(store.find(&name).unwrap().unwrap().id, pulled.image.id);
    assert_eq!(pulled.image.reference.unwrap().to_string(), server.name(&format!("app@{source}")));

    let arm: Platform = "linux/arm64".parse().unwrap();
    let reference = server.name("app").parse().unwrap();
    let cancel = Cancel::default();
    let wanted =
        Pull { reference: &reference, platform: Some(&arm), cancel: &cancel, report: &|_| {} };
    match registry().pull(&store, &wanted).unwrap_err() {
        PullError::Platform { available, .. } => assert_eq!(available.len(), 2),
        other => panic!("{other}"),
    }
}

#[test]
fn a_broken_connection_goes_on_where_it_stopped() {
    let (_dir, store) = store();
    let parts = Parts::new(&layers());
    let large = parts.layers[0].clone();
    let path = format!("blobs/{}", Digest::of(&large));
    let times = AtomicUsize::new(0);
    let server = Server::start(move |asked| {
        let mut answer = parts.answer(asked);
        if asked.path.ends_with(&path)
            && times.fetch_add(1, Ordering::SeqCst) < 2
            && let Sent::Whole(body) = answer.body
        {
            let half = body.len() / 2;
            answer.body = Sent::Cut(body, half);
        }
        answer
    });
    pull(&store, &server.name("app")).unwrap();
    let asked = server.asked.lock().unwrap();
    let ranges: Vec<usize> = asked
        .iter()
        .filter_map(|one| {
            one.header("range").strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
        })
        .collect();
    assert_eq!(ranges, [large.len() / 2, large.len() / 2 + (large.len() - large.len() / 2) / 2]);
}

#[test]
fn what_one_process_has_fetched_the_next_need_not_fetch() {
    let (dir, store) = store();
    let root = dir.path().join("images");
    let parts = Parts::new(&layers());
    let large = parts.layers[0].clone();
    let path = format!("blobs/{}", Digest::of(&large));
    let dead = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let is_dead = std::sync::Arc::clone(&dead);
    let server = Server::start(move |asked| {
        let mut answer = parts.answer(asked);
        if asked.path.ends_with(&path)
            && is_dead.load(Ordering::SeqCst)
            && let Sent::Whole(body) = answer.body
        {
            // The first answer gets half of it across, the others nothing.
            let most = if asked.header("range").is_empty() { body.len() / 2 } else { 0 };
            answer.body = Sent::Cut(body, most);
        }
        answer
    });
    let failed = pull(&store, &server.name("app")).unwrap_err();
    assert!(matches!(&failed, PullError::Registry(RegistryError::Connect(_))), "{failed}");
    let here = fs::metadata(root.join("partial").join(Digest::of(&large).hex())).unwrap().len();
    assert_eq!(here, large.len() as u64 / 2);
    dead.store(false, Ordering::SeqCst);
    pull(&store, &server.name("app")).unwrap();
    let asked = server.asked.lock().unwrap();
    let last =
        asked.iter().rfind(|one| one.path.ends_with(&Digest::of(&large).to_string())).unwrap();
    assert_eq!(last.header("range"), format!("bytes={here}-"));
}

#[test]
fn what_an_earlier_process_left_wrong_is_fetched_anew() {
    let (dir, store) = store();
    let root = dir.path().join("images");
    let parts = Parts::new(&layers());
    let large = parts.layers[0].clone();
    fs::create_dir_all(root.join("partial")).unwrap();
    fs::write(root.join("partial").join(Digest::of(&large).hex()), vec![7; large.len() / 3])
        .unwrap();
    let server = Server::start(move |asked| parts.answer(asked));
    assert_eq!(pull(&store, &server.name("app")).unwrap().image.layers.len(), 3);
}

#[test]
fn pulls_at_the_same_time_share_their_layers() {
    let (_dir, store) = store();
    let parts = Parts::new(&layers());
    let server = Server::start(move |asked| parts.answer(asked));
    std::thread::scope(|scope| {
        for name in ["one", "two", "three", "four"] {
            let (store, name) = (&store, server.name(name));
            scope.spawn(move || pull(store, &name).unwrap());
        }
    });
    assert_eq!(store.list().unwrap().images.len(), 4);
    for layer in &Parts::new(&layers()).layers {
        assert_eq!(server.count("GET", &format!("/blobs/{}", Digest::of(layer))), 1);
    }
}

#[test]
fn a_client_may_be_dropped_where_an_event_loop_runs() {
    let (_dir, store) = store();
    let parts = Parts::new(&layers());
    let server = Server::start(move |asked| parts.answer(asked));
    let registry = registry();
    pull_with(&registry, &store, &server.name("app")).unwrap();
    // It has idle connections.
    let here = tokio::runtime::Builder::new_current_thread().build().unwrap();
    here.block_on(async move { drop(registry) });
}

/// An error with all its causes.
fn whole(error: &dyn std::error::Error) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// What is said of a registry that does not answer.
const SILENT: &str = "says nothing for";

#[test]
fn lies_are_found_out() {
    let good = Parts::new(&layers());
    let layer = Digest::of(&good.layers[1]).to_string();
    type Lie = Box<dyn Fn(&str, Answer) -> Answer + Send + Sync>;
    let body_of = |answer: &Answer| match &answer.body {
        Sent::Whole(body) => body.clone(),
        _ => Vec::new(),
    };
    let on = move |what: String, lie: fn(Answer, Vec<u8>) -> Answer| -> Lie {
        Box::new(move |path, answer| {
            if path.contains(&what) {
                let body = body_of(&answer);
                lie(answer, body)
            } else {
                answer
            }
        })
    };
    #[rustfmt::skip]
    let table: Vec<(&str, Lie)> = vec![
        ("should have sha256:", on(layer.clone(), |a, mut body| { let last = body.len() - 1; body[last] ^= 1; Answer { body: Sent::Whole(body), ..a } })),
        ("should have sha256:", on(layer.clone(), |a, body| Answer { body: Sent::Whole(vec![0; body.len()]), ..a })),
        ("bytes and has", on(layer.clone(), |a, mut body| { body.push(0); Answer { body: Sent::Whole(body), ..a } })),
        ("bytes and has", on(layer.clone(), |a, mut body| { body.pop(); Answer { body: Sent::Whole(body), ..a } })),
        ("bytes and has", on(layer.clone(), |a, body| Answer { body: Sent::Endless(body), ..a })),
        ("bytes and has", on(layer.clone(), |a, _| Answer { body: Sent::Endless(vec![0; 1 << 16]), ..a })),
        (SILENT, on(layer.clone(), |a, body| { let half = body.len() / 2; Answer { body: Sent::Stalled(body, half), ..a } })),
        (SILENT, on("manifests".into(), |a, body| { let half = body.len() / 2; Answer { body: Sent::Stalled(body, half), ..a } })),
        ("from one place to the next", on(layer.clone(), |_, _| Answer::new(307, "").with("Location", "/v2/app/blobs/loop"))),
        ("which is not followed", on(layer.clone(), |_, _| Answer::new(307, "").with("Location", "file:///etc/passwd"))),
        ("which is not followed", on(layer.clone(), |_, _| Answer::new(307, ""))),
        ("manifest unknown", on(layer.clone(), |_, _| Answer::new(404, r#"{"errors":[{"message":"manifest unknown"}]}"#))),
        ("refuses layer", on(layer.clone(), |_, _| Answer::new(403, ""))),
        ("answers 500", on(layer.clone(), |_, _| Answer::new(500, ""))),
        ("limits how often it is asked, and lets us ask again in 3600 s: slow down", on("manifests".into(), |_, _| Answer::new(429, r#"{"errors":[{"message":"slow down"}]}"#).with("Retry-After", "3600"))),
        ("has more than 8388608 bytes", on("manifests".into(), |a, _| Answer { body: Sent::Endless(vec![b' '; 1 << 16]), ..a })),
        ("cannot be used: it is malformed", on("manifests".into(), |_, _| Answer::typed(MANIFEST, "{"))),
        ("is not the media type", on("manifests".into(), |_, body| Answer::typed("text/plain", body))),
        ("a manifest and an index at once", on("manifests".into(), |_, body| Answer::typed(INDEX, body))),
        ("should have sha256:", on("manifests".into(), |a, _| a.with("Docker-Content-Digest", &Digest::of(b"x").to_string()))),
        ("kind of authentication", on("manifests".into(), |_, _| Answer::new(401, "").with("WWW-Authenticate", "Negotiate"))),
        ("somebody without a name", on("manifests".into(), |_, _| Answer::new(401, "").with("WWW-Authenticate", "Basic"))),
    ];
    for (expected, lie) in table {
        let (dir, store) = store();
        let root = dir.path().join("images");
        let good = good.clone();
        let server = Server::start(move |asked| match asked.path.as_str() {
            path if path.contains("/loop") => Answer::new(307, "").with("Location", path),
            path => lie(path, good.answer(asked)),
        });
        let stall = Duration::from_millis(if expected == SILENT { 300 } else { 120_000 });
        let registry = registry_that_waits(Environment::default(), stall);
        let said = whole(&pull_with(&registry, &store, &server.name("app")).unwrap_err());
        assert!(said.contains(expected), "{said}, and not {expected}");
        assert_empty(&store, &root);
        // What a liar has sent of the layer is not kept.
        if expected.contains("should have") || expected.contains("bytes and has") {
            let left = names(&root, "partial");
            assert!(!left.contains(&layer.trim_start_matches("sha256:").to_owned()), "{said}");
        }
    }
}

#[test]
fn lies_in_documents_are_found_out() {
    type Change = fn(&mut serde_json::Value);
    let none: Change = |_| {};
    #[rustfmt::skip]
    let table: Vec<(&str, Change, Change)> = vec![
        ("unpacks to", |config| config["rootfs"]["diff_ids"][1] = json!(Digest::of(b"x").to_string()), none),
        ("the manifest has 3 layers, the configuration 2", |config| drop(config["rootfs"]["diff_ids"].as_array_mut().unwrap().pop()), none),
        ("is there for linux/riscv64", |config| config["architecture"] = json!("riscv64"), none),
        ("layer", none, |manifest| manifest["layers"][0]["mediaType"] = json!("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip")),
        ("is not the media type", none, |manifest| manifest["config"]["mediaType"] = json!("application/vnd.cncf.helm.config.v1+json")),
        ("has more than 8388608 bytes", none, |manifest| manifest["config"]["size"] = json!(1u64 << 40)),
        ("are to be fetched, and the file system", none, |manifest| manifest["layers"][0]["size"] = json!(1u64 << 60)),
        ("should have 5 bytes and has", none, |manifest| manifest["layers"][0]["size"] = json!(5)),
        ("it is malformed", none, |manifest| manifest["layers"][0]["digest"] = json!("sha512:00")),
    ];
    for (expected, config, manifest) in table {
        let (dir, store) = store();
        let parts = Parts::changed(&layers(), config, manifest);
        let server = Server::start(move |asked| parts.answer(asked));
        let said = whole(&pull(&store, &server.name("app")).unwrap_err());
        assert!(said.contains(expected), "{said}, and not {expected}");
        assert_empty(&store, &dir.path().join("images"));
    }
}

#[test]
fn a_registry_that_is_busy_is_asked_again() {
    let (_dir, store) = store();
    let parts = Parts::new(&layers());
    let times = AtomicUsize::new(0);
    let server = Server::start(move |asked| match times.fetch_add(1, Ordering::SeqCst) {
        0 => Answer::new(503, ""),
        1 => Answer::new(429, "").with("Retry-After", "0"),
        _ => parts.answer(asked),
    });
    pull(&store, &server.name("app")).unwrap();
    assert_eq!(server.count("GET", "manifests"), 3);
}

#[test]
fn a_pull_that_is_given_up_can_be_taken_up() {
    let (dir, store) = store();
    let root = dir.path().join("images");
    let parts = Parts::new(&layers());
    let large = Digest::of(&parts.layers[0]);
    let path = format!("blobs/{large}");
    let first = AtomicUsize::new(0);
    let server = Server::start(move |asked| {
        let mut answer = parts.answer(asked);
        if asked.path.ends_with(&path)
            && first.fetch_add(1, Ordering::SeqCst) == 0
            && let Sent::Whole(body) = answer.body
        {
            let half = body.len() / 2;
            answer.body = Sent::Stalled(body, half);
        }
        answer
    });
    let patience = Patience { stall: Duration::from_secs(600), ..Patience::default() };
    let patient = Registry::with_patience(Environment::default(), patience).unwrap();
    let cancel = Cancel::default();
    let reference = server.name("app").parse().unwrap();
    let report = |progress: Progress| {
        // It has begun and hangs, now or soon; what comes in a quick succession is told once.
        if progress.layer == large && matches!(progress.status, LayerStatus::Moving { .. }) {
            cancel.cancel();
        }
    };
    let failed = patient
        .pull(
            &store,
            &Pull { reference: &reference, platform: None, cancel: &cancel, report: &report },
        )
        .unwrap_err();
    assert!(failed.is_cancelled(), "{failed}");
    assert_empty(&store, &root);
    assert_ne!(names(&root, "partial"), [""; 0]);
    pull(&store, &server.name("app")).unwrap();
}

#[test]
fn tokens_are_fetched_and_not_shown_to_strangers() {
    let (_dir, store) = store();
    let parts = Parts::new(&layers());
    let cdn_parts = parts.clone();
    let cdn = Server::start(move |asked| cdn_parts.answer(asked));
    let cdn_address = cdn.address;
    let address = std::sync::Arc::new(Mutex::new(String::new()));
    let own = std::sync::Arc::clone(&address);
    let server = Server::start(move |asked| {
        let own = own.lock().unwrap().clone();
        if asked.path.starts_with("/token") {
            let expected = "Basic bWU6c2VjcmV0";
            return if asked.header("authorization") == expected
                && asked.path.contains("scope=repository%3Ateam%2Fapp%3Apull")
                && asked.path.contains("service=reg")
            {
                Answer::new(200, r#"{"token":"abc"}"#)
            } else {
                Answer::new(401, r#"{"details":"incorrect username or password"}"#)
            };
        }
        if asked.header("authorization") != "Bearer abc" {
            return Answer::new(401, "").with(
                "WWW-Authenticate",
                &format!(r#"Bearer realm="http://{own}/token",service="reg",scope="repository:team/app:pull""#),
            );
        }
        if asked.path.contains("/blobs/") {
            return Answer::new(307, "")
                .with("Location", &format!("http://{cdn_address}{}", asked.path));
        }
        parts.answer(asked)
    });
    *address.lock().unwrap() = server.address.to_string();
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join(".docker")).unwrap();
    let config = json!({"auths": {server.address.to_string(): {"auth": "bWU6c2VjcmV0"}}});
    fs::write(home.path().join(".docker/config.json"), config.to_string()).unwrap();
    let known = Environment::default().with("HOME", home.path().to_str().unwrap());
    pull_with(&registry_in(known), &store, &server.name("team/app")).unwrap();
    assert!(cdn.asked.lock().unwrap().iter().all(|asked| asked.header("authorization").is_empty()));
    assert_eq!(server.count("GET", "/token"), 1);

    let refused = pull(&store, &server.name("team/app")).unwrap_err().to_string();
    assert!(
        refused.contains("to somebody without a name: incorrect username or password"),
        "{refused}"
    );
}

#[test]
fn mirrors_are_asked_first_and_the_registry_when_they_fail() {
    let (dir, store) = store();
    let parts = Parts::new(&layers());
    let honest = parts.clone();
    let upstream = Server::start(move |asked| honest.answer(asked));
    let liar = Server::start(|_| Answer::new(500, ""));
    let mirror = Server::start(move |asked| {
        let mut asked = asked.clone();
        asked.path = asked.path.replace("/cache/v2/", "/v2/");
        parts.answer(&asked)
    });
    let file = dir.path().join("registries.json");
    let with = |mirrors: &[String]| {
        let text = json!({"mirrors": {upstream.address.to_string(): mirrors}}).to_string();
        fs::write(&file, text).unwrap();
        registry_in(Environment::default().with("COMPOSE_REGISTRIES", file.to_str().unwrap()))
    };
    let (bad, good) =
        (format!("http://{}", liar.address), format!("http://{}/cache", mirror.address));
    pull_with(&with(&[bad.clone(), good]), &store, &upstream.name("app")).unwrap();
    assert_eq!(upstream.count("GET", ""), 0);
    assert!(mirror.count("GET", "/cache/v2/app/blobs") > 0);
    pull_with(&with(&[bad]), &store, &upstream.name("other")).unwrap();
    assert_eq!(upstream.count("GET", "/v2/other/manifests"), 1);
}

#[test]
fn a_proxy_is_used_unless_the_surroundings_say_no() {
    let (_dir, store) = store();
    let parts = Parts::new(&layers());
    // Plain HTTP through a proxy has the whole address in the request.
    let proxy = Server::start(move |asked| {
        let mut asked = asked.clone();
        let Some(rest) = asked.path.strip_prefix("http://registry.test:5000") else {
            return Answer::new(400, "");
        };
        asked.path = rest.to_owned();
        parts.answer(&asked)
    });
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("registries.json");
    fs::write(&file, r#"{"insecure-registries": ["registry.test:5000"]}"#).unwrap();
    let environment = Environment::default()
        .with("COMPOSE_REGISTRIES", file.to_str().unwrap())
        .with("HTTP_PROXY", format!("http://u:p@{}", proxy.address))
        .with("NO_PROXY", "other.test");
    pull_with(&registry_in(environment.clone()), &store, "registry.test:5000/app").unwrap();
    let asked = proxy.asked.lock().unwrap().clone();
    assert!(asked.iter().all(|one| one.header("proxy-authorization") == "Basic dTpw"), "{asked:?}");
    let refused = registry_in(environment.with("NO_PROXY", ".test"));
    assert!(pull_with(&refused, &store, "registry.test:5000/app").is_err());
}

/// A SOCKS proxy for one connection after the other: answers yes to all, goes to `to` whatever is asked for, and
/// returns the hosts that it was asked for.
fn socks(to: std::net::SocketAddr) -> (std::net::SocketAddr, Arc<Mutex<Vec<String>>>) {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, asked) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
    let hosts = Arc::clone(&asked);
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, hosts) = (client.unwrap(), Arc::clone(&hosts));
            std::thread::spawn(move || {
                let mut take = |count: usize| {
                    let mut bytes = vec![0; count];
                    client.read_exact(&mut bytes).map(|()| bytes)
                };
                let greeting = take(2)?;
                take(greeting[1].into())?;
                client.write_all(&[5, 2])?;
                let mut take = |count: usize| {
                    let mut bytes = vec![0; count];
                    client.read_exact(&mut bytes).map(|()| bytes)
                };
                let name = take(2)?[1];
                let name = take(name.into())?;
                let length = take(1)?[0];
                let password = take(length.into())?;
                client.write_all(&[1, u8::from(name != b"u" || password != b"p")])?;
                let mut head = [0; 5];
                client.read_exact(&mut head)?;
                let mut host = vec![0; head[4].into()];
                client.read_exact(&mut host)?;
                client.read_exact(&mut [0; 2])?;
                hosts.lock().unwrap().push(String::from_utf8_lossy(&host).into_owned());
                let mut server = TcpStream::connect(to)?;
                client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
                let (mut up, mut down) = (client.try_clone()?, server.try_clone()?);
                std::thread::spawn(move || std::io::copy(&mut up, &mut down));
                std::io::copy(&mut server, &mut client)?;
                // The other direction holds it open as well.
                client.shutdown(std::net::Shutdown::Both)
            });
        }
    });
    (address, asked)
}

#[test]
fn a_socks_proxy_resolves_the_name_of_the_registry() {
    let (_dir, store) = store();
    let parts = Parts::new(&layers());
    let server = Server::start(move |asked| parts.answer(asked));
    let (proxy, hosts) = socks(server.address);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("registries.json");
    fs::write(&file, r#"{"insecure-registries": ["registry.test:5000"]}"#).unwrap();
    let environment = |password: &str| {
        Environment::default()
            .with("COMPOSE_REGISTRIES", file.to_str().unwrap())
            .with("ALL_PROXY", format!("socks5h://u:{password}@{proxy}"))
    };
    let refused = pull_with(&registry_in(environment("x")), &store, "registry.test:5000/app");
    let words = format!("{:?}", refused.unwrap_err());
    assert!(words.contains("does not accept the name and the password"), "{words}");
    pull_with(&registry_in(environment("p")), &store, "registry.test:5000/app").unwrap();
    let hosts = hosts.lock().unwrap();
    assert!(!hosts.is_empty() && hosts.iter().all(|host| host == "registry.test"), "{hosts:?}");
}
