//! Archives of images, as other programs save them and as nobody should.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use common::{gzip, names, store, tar};
use images::{Digest, DocumentError, LoadError, Platform, Store};
use serde_json::{Value, json};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// A way to compress a layer.
type Pack<'a> = &'a dyn Fn(&[u8]) -> Vec<u8>;

/// An archive of images in the making: its files by name.
#[derive(Default, Clone)]
struct Saved {
    files: BTreeMap<String, Vec<u8>>,
}

impl Saved {
    fn blob(&mut self, content: Vec<u8>, media_type: &str) -> Value {
        let digest = Digest::of(&content);
        let size = content.len();
        self.files.insert(format!("blobs/sha256/{}", digest.hex()), content);
        json!({"mediaType": media_type, "digest": digest, "size": size})
    }

    fn json(&mut self, content: &Value, media_type: &str) -> Value {
        self.blob(content.to_string().into_bytes(), media_type)
    }

    /// Adds an image of these layers, which are compressed by `pack`. Returns its descriptor.
    fn image(
        &mut self,
        layers: &[Vec<u8>],
        pack: impl Fn(&[u8]) -> Vec<u8>,
        media_type: &str,
    ) -> Value {
        let config = self.json(&config(layers), CONFIG);
        let layers: Vec<Value> =
            layers.iter().map(|layer| self.blob(pack(layer), media_type)).collect();
        self.json(
            &json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers}),
            MANIFEST,
        )
    }

    fn layout(mut self, manifests: &[Value]) -> Self {
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
        self.files.insert("index.json".to_owned(), index.to_string().into_bytes());
        self.files.insert("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec());
        self
    }

    fn tar(&self) -> Vec<u8> {
        let files: Vec<(&str, &[u8])> =
            self.files.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
        tar(&files)
    }
}

fn config(layers: &[Vec<u8>]) -> Value {
    let diff_ids: Vec<Digest> = layers.iter().map(|layer| Digest::of(layer)).collect();
    json!({
        "created": "2026-11-20T00:00:00Z", "architecture": "amd64", "os": "linux",
        "config": {"Cmd": ["/bin/app"], "Healthcheck": {"Test": ["CMD", "check"]}},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    })
}

fn named(mut descriptor: Value, key: &str, name: &str) -> Value {
    descriptor["annotations"] = json!({key: name});
    descriptor
}

fn on(mut descriptor: Value, architecture: &str) -> Value {
    descriptor["platform"] = json!({"os": "linux", "architecture": architecture});
    descriptor
}

fn layers() -> Vec<Vec<u8>> {
    vec![
        tar(&[("etc/hosts", b"one"), ("old", b"x")]),
        tar(&[("etc/hosts", b"two"), (".wh.old", b"")]),
    ]
}

fn amd64() -> Platform {
    "linux/amd64".parse().unwrap()
}

fn load(store: &Store, saved: &Saved) -> Result<Vec<images::Image>, LoadError> {
    store.load(&saved.tar()[..], &amd64())
}

/// Loads what cannot be loaded, and checks that it leaves nothing.
fn refusal(saved: &Saved) -> LoadError {
    let (dir, store) = store();
    let refused = load(&store, saved).unwrap_err();
    assert!(store.list().unwrap().images.is_empty());
    let root = dir.path().join("images");
    assert!(names(&root, "layers").is_empty() && names(&root, "blobs/sha256").is_empty());
    refused
}

#[test]
fn an_oci_archive_in_every_compression() {
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 1).unwrap();
    let packs: [(Pack<'_>, String); 3] = [
        (&<[u8]>::to_vec, LAYER.to_owned()),
        (&gzip, format!("{LAYER}+gzip")),
        (&zstd, format!("{LAYER}+zstd")),
    ];
    for (pack, media_type) in packs {
        let mut saved = Saved::default();
        let image = saved.image(&layers(), pack, &media_type);
        let digest: Digest = image["digest"].as_str().unwrap().parse().unwrap();
        let saved =
            saved.layout(&[named(image, "io.containerd.image.name", "docker.io/library/app:v1")]);
        let (_dir, store) = store();
        let loaded = store.load(&gzip(&saved.tar())[..], &amd64()).unwrap();
        let [image] = loaded.as_slice() else { panic!("{loaded:?}") };
        assert_eq!(image.reference.as_ref().unwrap().familiar(), "app:v1");
        assert_eq!(image.manifest, digest);
        assert_eq!(image.health_check.as_ref().unwrap().test, ["CMD", "check"]);
        assert_eq!(image.layers.len(), 2);
        assert_eq!(fs::read_to_string(image.layers[0].join("etc/hosts")).unwrap(), "two");
        assert_eq!(fs::read_to_string(image.layers[1].join("etc/hosts")).unwrap(), "one");
        assert_eq!(store.find(&format!("app@{digest}")).unwrap().as_ref(), Some(image));
        // Again, which changes nothing but when it got its name.
        let again = load(&store, &saved).unwrap();
        assert_eq!((again.len(), again[0].id), (1, image.id));
        assert_eq!(store.list().unwrap().images, again);
    }
}

/// Mounted by the kernel, in a mount namespace of its own, the layers are the file system that they describe.
#[test]
fn overlayfs_understands_the_layers() {
    let mut saved = Saved::default();
    let below = tar(&[("etc/hosts", b"one"), ("gone", b""), ("dir/old", b""), ("opaque/old", b"")]);
    let above = tar(&[
        ("etc/hosts", b"two"),
        (".wh.gone", b""),
        ("dir/new", b""),
        ("opaque/.wh..wh..opq", b""),
        ("opaque/new", b""),
    ]);
    let image = saved.image(&[below, above], <[u8]>::to_vec, LAYER);
    let (dir, store) = store();
    let image = load(&store, &saved.layout(&[image])).unwrap().remove(0);
    let target = dir.path().join("target");
    fs::create_dir(&target).unwrap();
    let lower = format!("lowerdir={}:{}", image.layers[0].display(), image.layers[1].display());
    let script =
        "mount -t overlay none -o \"$0\" \"$1\" && cd \"$1\" && cat etc/hosts && find . | sort";
    let output = Command::new("unshare")
        .args(["-m", "sh", "-c", script, &lower])
        .arg(&target)
        .output()
        .unwrap();
    let seen = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        seen,
        "two.\n./dir\n./dir/new\n./dir/old\n./etc\n./etc/hosts\n./opaque\n./opaque/new\n"
    );
}

#[test]
fn a_docker_archive_with_several_images_and_linked_layers() {
    let layers = layers();
    let config = config(&layers).to_string().into_bytes();
    let single = config_of(&layers[..1]);
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |name: &str, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, name, content).unwrap();
    };
    add("aaa/layer.tar", &layers[0]);
    add("bbb/layer.tar", &gzip(&layers[1]));
    add("one.json", &config);
    add("two.json", &single);
    let list = json!([
        {"Config": "one.json", "RepoTags": ["app:v1", "app:latest"], "Layers": ["aaa/layer.tar", "bbb/layer.tar"]},
        {"Config": "two.json", "RepoTags": null, "Layers": ["ccc/layer.tar"]},
    ]);
    add("manifest.json", list.to_string().as_bytes());
    let mut link = tar::Header::new_gnu();
    link.set_entry_type(tar::EntryType::Symlink);
    link.set_size(0);
    builder.append_link(&mut link, "ccc/layer.tar", "../aaa/layer.tar").unwrap();
    let (_dir, store) = store();
    let loaded = store.load(&builder.into_inner().unwrap()[..], &amd64()).unwrap();
    let shown: Vec<_> = loaded
        .iter()
        .map(|image| (image.reference.as_ref().map(|name| name.familiar()), image.id))
        .collect();
    let (one, two) = (Digest::of(&config), Digest::of(&single));
    assert_eq!(
        shown,
        [(Some("app:v1".to_owned()), one), (Some("app:latest".to_owned()), one), (None, two)]
    );
    assert_eq!(loaded[2].layers[0], loaded[0].layers[1]);
}

fn config_of(layers: &[Vec<u8>]) -> Vec<u8> {
    config(layers).to_string().into_bytes()
}

#[test]
fn both_forms_in_one_archive_are_one_image() {
    let mut saved = Saved::default();
    let image = saved.image(&layers(), <[u8]>::to_vec, LAYER);
    let manifest: Digest = image["digest"].as_str().unwrap().parse().unwrap();
    let blob = |content: &[u8]| format!("blobs/sha256/{}", Digest::of(content).hex());
    let names: Vec<String> = layers().iter().map(|layer| blob(layer)).collect();
    let list = json!([{"Config": blob(&config_of(&layers())), "RepoTags": ["app:v1", "app:v2"], "Layers": names}]);
    let mut saved = saved.layout(&[named(image, "org.opencontainers.image.ref.name", "v1")]);
    saved.files.insert("manifest.json".to_owned(), list.to_string().into_bytes());
    let (_dir, store) = store();
    let loaded = load(&store, &saved).unwrap();
    assert_eq!(loaded.len(), 2);
    assert!(loaded.iter().all(|image| image.manifest == manifest));
}

#[test]
fn the_platform_is_selected_from_an_index() {
    let mut saved = Saved::default();
    let mine = on(saved.image(&layers(), <[u8]>::to_vec, LAYER), "amd64");
    let other = on(saved.image(&layers()[..1], <[u8]>::to_vec, LAYER), "arm64");
    let mut attestation = on(saved.json(&json!({}), MANIFEST), "unknown");
    attestation["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest"});
    let list =
        json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [other, mine, attestation]});
    let index =
        named(saved.json(&list, INDEX), "org.opencontainers.image.ref.name", "ghcr.io/team/app:v1");
    let saved = saved.layout(&[index]);
    let (_dir, store) = store();
    let loaded = load(&store, &saved).unwrap();
    assert_eq!(loaded[0].manifest.to_string(), mine["digest"]);
    assert_eq!(loaded[0].reference.as_ref().unwrap().familiar(), "ghcr.io/team/app:v1");
    let arm = store.load(&saved.tar()[..], &"linux/arm64".parse().unwrap()).unwrap();
    assert_eq!(arm[0].manifest.to_string(), other["digest"]);
    let refused = store.load(&saved.tar()[..], &"linux/s390x".parse().unwrap()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the archive has no image for linux/s390x, only for linux/arm64, linux/amd64"
    );
}

#[test]
fn what_lies_is_refused() {
    let mut good = Saved::default();
    let image = good.image(&layers(), <[u8]>::to_vec, LAYER);
    let layer = format!("blobs/sha256/{}", Digest::of(&layers()[1]).hex());

    // A blob that is not what its name says, or has another size, or is not there.
    let mut saved = good.clone().layout(std::slice::from_ref(&image));
    saved.files.insert(layer.clone(), tar(&[("evil", b"")]));
    assert!(matches!(refusal(&saved), LoadError::Mismatch { name, .. } if name == layer));
    let mut larger = image.clone();
    larger["size"] = json!(1);
    assert!(matches!(refusal(&good.clone().layout(&[larger])), LoadError::Mismatch { .. }));
    let mut saved = good.clone().layout(std::slice::from_ref(&image));
    saved.files.remove(&layer);
    assert!(matches!(refusal(&saved), LoadError::Missing(name) if name == layer));

    // A layer whose content is not the one the configuration promises.
    let mut saved = Saved::default();
    let config = saved.json(&config(&layers()), CONFIG);
    let wrong = [tar(&[("evil", b"")]), layers()[1].clone()];
    let blobs: Vec<Value> =
        wrong.iter().map(|layer| saved.blob(gzip(layer), &format!("{LAYER}+gzip"))).collect();
    let manifest =
        saved.json(&json!({"schemaVersion": 2, "config": config, "layers": blobs}), MANIFEST);
    assert!(matches!(refusal(&saved.layout(&[manifest])), LoadError::Mismatch { .. }));

    // Fewer layers than promised; a foreign layer; a document of another kind.
    let mut saved = Saved::default();
    let manifest =
        saved.json(&json!({"schemaVersion": 2, "config": config, "layers": []}), MANIFEST);
    saved.json(&self::config(&layers()), CONFIG);
    let refused = refusal(&saved.layout(&[manifest]));
    assert!(matches!(
        refused,
        LoadError::Document { source: DocumentError::LayerCount { layers: 0, diff_ids: 2 }, .. }
    ));
    let mut saved = Saved::default();
    let foreign = "application/vnd.oci.image.layer.nondistributable.v1.tar";
    let image = saved.image(&layers(), <[u8]>::to_vec, foreign);
    let refused = refusal(&saved.layout(&[image]));
    assert!(matches!(
        refused,
        LoadError::Document { source: DocumentError::ForeignLayer { .. }, .. }
    ));
    let mut saved = Saved::default();
    let mut image = saved.image(&layers(), <[u8]>::to_vec, LAYER);
    image["mediaType"] = json!(INDEX);
    let refused = refusal(&saved.layout(&[image]));
    assert!(
        matches!(refused, LoadError::Document { source: DocumentError::Ambiguous, .. }),
        "{refused:?}"
    );
}

#[test]
fn what_is_no_archive_of_images_is_said() {
    let mut saved = Saved::default();
    saved.files.insert("etc/passwd".to_owned(), Vec::new());
    assert!(matches!(refusal(&saved), LoadError::NoImages));
    let mut saved = Saved::default().layout(&[]);
    saved.files.insert("oci-layout".to_owned(), br#"{"imageLayoutVersion":"2.0.0"}"#.to_vec());
    assert!(matches!(refusal(&saved), LoadError::Version(_)));
    let mut saved = Saved::default();
    saved.files.insert("manifest.json".to_owned(), b"{".to_vec());
    assert!(matches!(refusal(&saved), LoadError::Document { .. }));
    let list = json!([{"Config": "../../etc/passwd", "Layers": []}]);
    saved.files.insert("manifest.json".to_owned(), list.to_string().into_bytes());
    assert!(matches!(refusal(&saved), LoadError::Missing(_)));
    let (_dir, store) = store();
    for bytes in [&b""[..], b"noise", &saved.tar()[..700]] {
        assert!(matches!(store.load(bytes, &amd64()), Err(LoadError::Archive(_))));
    }
}
