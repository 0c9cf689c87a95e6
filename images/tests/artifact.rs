//! Artifacts that are given away and fetched again, and those that are not what they should be.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::server::{Answer, Asked, INDEX, MANIFEST, Parts, Server};
use common::{names, store, tar};
use images::registry::{
    Artifact, ArtifactKind, Cancel, Companions, Environment, ManifestVersion, Part, Patience,
    Publication, PullError, Pushed, Registry, RegistryError,
};
use images::{Digest, Reference};
use serde_json::{Value, json};

const KIND: ArtifactKind<'static> =
    ArtifactKind { artifact: "application/x.thing", config: "application/x.thing.config" };

/// A registry that keeps what it is given; manifests that name their kind only if `is_new`.
struct Shelf {
    files: Mutex<BTreeMap<String, (String, Vec<u8>)>>,
    is_new: bool,
}

impl Shelf {
    fn start(is_new: bool) -> (Arc<Self>, Server) {
        let shelf = Arc::new(Self { files: Mutex::default(), is_new });
        let answering = Arc::clone(&shelf);
        (shelf, Server::start(move |asked| answering.answer(asked)))
    }

    fn put(&self, path: &str, media_type: &str, bytes: &[u8]) {
        self.files.lock().unwrap().insert(path.to_owned(), (media_type.to_owned(), bytes.to_vec()));
    }

    fn has(&self, path: &str) -> bool {
        self.files.lock().unwrap().contains_key(path)
    }

    fn json(&self, path: &str) -> Value {
        serde_json::from_slice(&self.files.lock().unwrap()[path].1).unwrap()
    }

    fn answer(&self, asked: &Asked) -> Answer {
        let path = asked.path.strip_prefix("/v2/").unwrap_or_default();
        match asked.method.as_str() {
            "POST" => {
                let (repository, query) = path.split_once("/blobs/uploads/").unwrap();
                if let Some(query) = query.strip_prefix("?mount=") {
                    let (digest, from) = query.split_once("&from=").unwrap();
                    let digest = digest.replace("%3A", ":");
                    let from = from.replace("%2F", "/");
                    let known =
                        self.files.lock().unwrap().get(&format!("{from}/blobs/{digest}")).cloned();
                    if let Some((media_type, bytes)) = known {
                        self.put(&format!("{repository}/blobs/{digest}"), &media_type, &bytes);
                        return Answer::new(201, "");
                    }
                }
                Answer::new(202, "").with("Location", &format!("/v2/{repository}/blobs/uploads/1"))
            }
            "PUT" => {
                let (path, media_type) = match path.split_once("uploads/1?digest=") {
                    Some((start, digest)) => (format!("{start}{}", digest.replace("%3A", ":")), ""),
                    None => (path.to_owned(), asked.header("content-type")),
                };
                let names_kind = String::from_utf8_lossy(&asked.body).contains("artifactType");
                if names_kind && !self.is_new {
                    return Answer::new(400, "{}");
                }
                self.put(&path, media_type, &asked.body);
                if let Some((repository, _)) = path.split_once("/manifests/") {
                    let by_digest = format!("{repository}/manifests/{}", Digest::of(&asked.body));
                    self.put(&by_digest, media_type, &asked.body);
                }
                Answer::new(201, "")
            }
            _ => match self.files.lock().unwrap().get(path) {
                Some((media_type, bytes)) => Answer::typed(media_type, bytes.clone()),
                None => Answer::new(404, "{}"),
            },
        }
    }
}

fn registry() -> Registry {
    let patience = Patience {
        connect: Duration::from_secs(20),
        stall: Duration::from_secs(20),
        tries: 1,
        pause: Duration::from_millis(1),
        longest_pause: Duration::from_millis(1),
    };
    Registry::with_patience(Environment::default(), patience).unwrap()
}

fn part(text: &str) -> Part {
    let annotations = BTreeMap::from([("name".to_owned(), text.to_owned())]);
    Part { media_type: "text/x".to_owned(), annotations, bytes: text.as_bytes().to_vec() }
}

fn publish(name: &str, parts: &[Part], version: Option<ManifestVersion>) -> Pushed {
    let reference: Reference = name.parse().unwrap();
    let cancel = Cancel::default();
    let publication =
        Publication { reference: &reference, kind: KIND, parts, version, cancel: &cancel };
    registry().publish(&publication).unwrap()
}

fn fetch(name: &str) -> Result<Artifact, PullError> {
    registry().artifact(&name.parse().unwrap(), KIND, &Cancel::default())
}

fn refusal(name: &str) -> String {
    let PullError::Registry(error) = fetch(name).unwrap_err() else {
        unreachable!("another error")
    };
    match error {
        RegistryError::Document { source, .. } => source.to_string(),
        other => other.to_string(),
    }
}

#[test]
fn what_is_published_is_fetched_again() {
    let (shelf, server) = Shelf::start(true);
    let name = server.name("team/thing:1");
    let parts = [part("one"), part(""), part("two")];
    let pushed = publish(&name, &parts, None);
    let fetched = fetch(&name).unwrap();
    assert_eq!((fetched.digest, &*fetched.parts), (pushed.digest, &parts[..]));
    let by_digest = server.name(&format!("team/thing@{}", pushed.digest));
    assert_eq!(fetch(&by_digest).unwrap(), fetched);
    assert_eq!(shelf.json("team/thing/manifests/1")["artifactType"], KIND.artifact);
    // The same is the same, and what is there is not sent again.
    let sent = server.count("POST", "/blobs/uploads/");
    assert_eq!(publish(&name, &parts, None), pushed);
    assert_eq!(server.count("POST", "/blobs/uploads/"), sent);
}

#[test]
fn an_old_registry_gets_the_old_manifest() {
    let (shelf, server) = Shelf::start(false);
    let name = server.name("team/thing");
    publish(&name, &[part("one")], None);
    let manifest = shelf.json("team/thing/manifests/latest");
    assert_eq!(manifest.get("artifactType"), None);
    assert_eq!(manifest["config"]["mediaType"], KIND.config);
    assert_eq!(fetch(&name).unwrap().parts, [part("one")]);
}

#[test]
fn the_version_that_is_asked_for_is_the_one_that_is_sent() {
    let (shelf, server) = Shelf::start(true);
    publish(&server.name("a"), &[], Some(ManifestVersion::V1_0));
    assert_eq!(shelf.json("a/manifests/latest").get("artifactType"), None);
}

#[test]
fn the_digest_is_told_or_reckoned() {
    let bytes = json!({"mediaType": MANIFEST}).to_string().into_bytes();
    let digest = Digest::of(&bytes);
    for told in [false, true] {
        let bytes = bytes.clone();
        let server = Server::start(move |asked| {
            let answer = Answer::typed(
                MANIFEST,
                if asked.method == "HEAD" { Vec::new() } else { bytes.clone() },
            );
            if told { answer.with("Docker-Content-Digest", &digest.to_string()) } else { answer }
        });
        let reference = server.name("a:1").parse().unwrap();
        assert_eq!(registry().digest(&reference, &Cancel::default()).unwrap(), digest);
        assert_eq!(server.count("GET", "/manifests/"), usize::from(!told));
    }
}

#[test]
fn an_artifact_in_an_index_is_found() {
    let (shelf, server) = Shelf::start(true);
    let pushed = publish(&server.name("a:1"), &[part("one")], None);
    let index = |kind: &str| {
        json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [
            {"mediaType": MANIFEST, "digest": Digest::of(b"x").to_string(), "size": 1},
            {"mediaType": MANIFEST, "artifactType": kind, "digest": pushed.digest.to_string(), "size": pushed.size},
        ]})
        .to_string()
        .into_bytes()
    };
    let good = index(KIND.artifact);
    shelf.put("a/manifests/index", INDEX, &good);
    let found = fetch(&server.name("a:index")).unwrap();
    assert_eq!((found.digest, found.parts), (Digest::of(&good), vec![part("one")]));
    shelf.put("a/manifests/other", INDEX, &index("application/x.other"));
    assert_eq!(
        refusal(&server.name("a:other")),
        "it is `an index of other things`, not `application/x.thing`"
    );
}

#[test]
fn what_is_no_artifact_of_this_kind() {
    let (shelf, server) = Shelf::start(true);
    let digest = Digest::of(b"{}").to_string();
    let manifest = |kind: Option<&str>, config: &str, size: u64| {
        json!({"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": kind,
            "config": {"mediaType": config, "digest": digest, "size": 2},
            "layers": [{"mediaType": "text/x", "digest": digest, "size": size}]})
    };
    let good = manifest(Some(KIND.artifact), "application/x", 2);
    let mut both = good.clone();
    both["manifests"] = json!([]);
    shelf.put(&format!("a/blobs/{digest}"), "", b"{}");
    #[rustfmt::skip]
    let table = [
        ("good", good, None),
        ("other", manifest(Some("application/x.other"), KIND.config, 2), Some("it is `application/x.other`, not `application/x.thing`")),
        ("image", manifest(None, common::server::CONFIG, 2), Some("it is `application/vnd.oci.image.config.v1+json`, not `application/x.thing.config`")),
        ("both", both, Some("it is a manifest and an index at once")),
        ("large", manifest(Some(KIND.artifact), "x", 1 << 30), Some("has more than 33554432 bytes")),
        ("longer", manifest(Some(KIND.artifact), "x", 1), Some("has more than 1 bytes")),
    ];
    for (tag, document, expected) in table {
        shelf.put(&format!("a/manifests/{tag}"), MANIFEST, document.to_string().as_bytes());
        let name = server.name(&format!("a:{tag}"));
        match expected {
            None => assert_eq!(fetch(&name).unwrap().parts.len(), 1),
            Some(expected) => {
                let found = refusal(&name);
                assert!(found.contains(expected), "{tag}: {found}");
            }
        }
    }
    // Other bytes than the manifest says.
    shelf.put(&format!("a/blobs/{digest}"), "", b"[]");
    assert!(refusal(&server.name("a:good")).contains("should have sha256:"));
}

#[test]
fn images_come_along_from_the_same_registry_and_from_another() {
    let (dir, store) = store();
    let (shelf, server) = Shelf::start(true);
    let archives = [tar(&[("one", b"1")]), tar(&[("two", b"2")])];
    let near = Parts::new(&archives[..1]);
    for (path, (media_type, bytes)) in &near.files {
        shelf.put(&format!("near/{path}"), media_type, bytes);
    }
    let far = Parts::new(&archives[1..]);
    let files = far.clone();
    let elsewhere = Server::start(move |asked| files.answer(asked));
    let reference: Reference = server.name("team/thing:1").parse().unwrap();
    let subject = publish(&server.name("team/thing:1"), &[part("one")], None);
    let images = [server.name("near"), elsewhere.name("far")].map(|name| name.parse().unwrap());
    let annotations = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    let cancel = Cancel::default();
    let companions = Companions {
        reference: &reference,
        subject,
        artifact_type: KIND.artifact,
        images: &images,
        annotations: &annotations,
        cancel: &cancel,
    };
    let index = registry().accompany(&store, &companions).unwrap();
    let index = shelf.json(&format!("team/thing/manifests/{}", index.digest));
    assert_eq!(index["subject"]["digest"], subject.digest.to_string());
    assert_eq!(index["annotations"], json!({"a": "b"}));
    for (number, image) in [near, far].into_iter().enumerate() {
        let digest = Digest::of(&image.manifest).to_string();
        assert_eq!(index["manifests"][number]["digest"], digest);
        assert!(shelf.has(&format!("team/thing/manifests/{digest}")));
        for blob in image.layers.iter().chain([&image.config]) {
            assert!(shelf.has(&format!("team/thing/blobs/{}", Digest::of(blob))));
        }
    }
    // What is near is mounted, what is far is fetched once, and nothing of it stays here.
    assert_eq!(server.count("GET", "near/blobs/"), 0);
    assert_eq!(elsewhere.count("GET", "/blobs/"), 2);
    assert_eq!(names(&dir.path().join("images"), "partial"), [""; 0]);
}
