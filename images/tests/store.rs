//! The store from outside: import, look up, name, remove.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use common::{gzip, import, names, store, tar};
use images::{
    Change, Digest, FindError, Force, Image, Import, ImportError, LayerError, Origin, RemoveError,
    Store, StoreError, TagError,
};

fn listed(store: &Store) -> Vec<Image> {
    let listing = store.list().unwrap();
    assert!(listing.damaged.is_empty());
    listing.images
}

fn changes(lines: &[&str]) -> Vec<Change> {
    lines.iter().map(|line| line.parse().unwrap()).collect()
}

#[test]
fn an_import_becomes_an_image() {
    let (dir, store) = store();
    let archive = tar(&[("etc/", b""), ("etc/hosts", b"localhost"), ("bin/app", b"program")]);
    let changes = changes(&["CMD [\"/bin/app\"]", "EXPOSE 80", "ENV A=b"]);
    let wanted = Import {
        reference: Some("app:v1".parse().unwrap()),
        changes: &changes,
        base: None,
        ..Import::default()
    };
    let image = store.import(&gzip(&archive)[..], &wanted).unwrap();

    assert_eq!(image.reference.as_ref().unwrap().familiar(), "app:v1");
    assert_eq!(image.execution().cmd().as_deref().unwrap(), ["/bin/app"]);
    assert_eq!(image.size, 16);
    assert!(image.created.is_some() && image.origin == Origin::Store);
    let [layer] = image.layers.as_slice() else { panic!("{:?}", image.layers) };
    assert_eq!(layer.file_name().unwrap().to_str().unwrap(), Digest::of(&archive).hex());
    assert_eq!(fs::read_to_string(layer.join("etc/hosts")).unwrap(), "localhost");
    assert_eq!(store.find("app:v1").unwrap().unwrap(), image);
    assert_eq!(listed(&store), std::slice::from_ref(&image));

    // It is an OCI layout: the blobs are what their names say, and programs of others find their way.
    let root = dir.path().join("images");
    for name in names(&root, "blobs/sha256") {
        assert_eq!(
            Digest::of(&fs::read(root.join("blobs/sha256").join(&name)).unwrap()).hex(),
            name
        );
    }
    let index: serde_json::Value =
        serde_json::from_slice(&fs::read(root.join("index.json")).unwrap()).unwrap();
    let line = &index["manifests"][0];
    assert_eq!(
        line["annotations"]["org.opencontainers.image.ref.name"],
        "docker.io/library/app:v1"
    );
    assert_eq!(line["digest"], image.manifest.to_string());
    assert_eq!(root.metadata().unwrap().permissions().mode() & 0o777, 0o700);

    let shown = store.inspect("app:v1").unwrap().unwrap();
    assert_eq!(shown["Id"], image.id.to_string());
    assert_eq!(shown["RepoTags"], serde_json::json!(["app:v1"]));
    assert_eq!(shown["RepoDigests"][0], format!("app@{}", image.manifest));
    assert_eq!(shown["Config"]["ExposedPorts"], serde_json::json!({"80/tcp": {}}));
    assert_eq!(shown["RootFS"]["Layers"][0], Digest::of(&archive).to_string());
    assert_eq!((shown["Os"].as_str(), shown["Size"].as_u64()), (Some("linux"), Some(16)));
}

#[test]
fn the_same_layer_is_unpacked_once() {
    let (dir, store) = store();
    let archive = tar(&[("f", b"1")]);
    let first = import(&store, "one", &archive);
    let second = import(&store, "two", &zstd::encode_all(&archive[..], 1).unwrap());
    assert_eq!(first.layers, second.layers);
    let layers = names(&dir.path().join("images"), "layers");
    assert_eq!(layers.len(), 2, "{layers:?}");
}

#[test]
fn an_import_on_a_base_shares_its_layers() {
    let (_dir, store) = store();
    let base_changes = changes(&["CMD old", "ENV A=1", "ENV B=2", "USER app"]);
    let base = Import {
        reference: Some("base".parse().unwrap()),
        changes: &base_changes,
        base: None,
        ..Import::default()
    };
    let base = store.import(&tar(&[("f", b"1")])[..], &base).unwrap();
    let top_changes = changes(&["CMD [\"new\"]", "ENV A=3"]);
    let top = Import {
        reference: Some("top".parse().unwrap()),
        changes: &top_changes,
        base: Some("base"),
        ..Import::default()
    };
    let top = store.import(&tar(&[("g", b"2")])[..], &top).unwrap();
    assert_eq!(top.layers.len(), 2);
    assert_eq!(top.layers[1], base.layers[0]);
    assert!(top.layers[0].join("g").exists());
    let execution = top.execution();
    assert_eq!(execution.env().as_deref().unwrap(), ["A=3", "B=2"]);
    assert_eq!(execution.user().as_deref(), Some("app"));
    assert_eq!(execution.cmd().as_deref().unwrap(), ["new"]);
    assert_eq!(top.config.history().as_ref().unwrap().len(), 2);

    // A layer twice: overlayfs would refuse it.
    let again = Import { reference: None, changes: &[], base: Some("top"), ..Import::default() };
    let again = store.import(&tar(&[("f", b"1")])[..], &again).unwrap();
    assert_eq!(again.layers, [base.layers[0].clone(), top.layers[0].clone()]);
    assert_eq!(again.config.rootfs().diff_ids().len(), 3);

    let none = Import { base: Some("none"), ..Import::default() };
    let refused = store.import(&b""[..], &none).unwrap_err();
    assert_eq!(refused.to_string(), "no such base image: none");
    let directory = Import { base: Some("rootfs:/"), ..Import::default() };
    assert!(matches!(store.import(&b""[..], &directory), Err(ImportError::BaseIsDirectory(_))));
}

#[test]
fn a_base_that_hides_everything_below() {
    let (_dir, store) = store();
    import(&store, "base", &tar(&[("f", b"1")]));
    let opaque = Import { base: Some("base"), ..Import::default() };
    let image = store.import(&tar(&[(".wh..wh..opq", b""), ("g", b"2")])[..], &opaque).unwrap();
    assert_eq!(image.layers.len(), 1);
}

#[test]
fn images_are_found_by_all_their_names() {
    let (_dir, store) = store();
    let image = import(&store, "localhost:5000/team/app:v1", &tar(&[("f", b"1")]));
    let other = import(&store, "mysql", &tar(&[("f", b"2")]));
    let by_digest = format!("localhost:5000/team/app@{}", image.manifest);
    let by_both = format!("localhost:5000/team/app:any@{}", image.manifest);
    let (hex, id) = (image.id.hex(), image.id.to_string());
    for name in [
        "localhost:5000/team/app:v1",
        &by_digest,
        &by_both,
        &hex[..6],
        &hex,
        &id,
        &id[..20],
        &image.manifest.to_string(),
    ] {
        assert_eq!(store.find(name).unwrap().map(|found| found.id), Some(image.id), "{name}");
    }
    for name in
        ["mysql", "mysql:latest", "docker.io/library/mysql", "index.docker.io/library/mysql:latest"]
    {
        assert_eq!(store.find(name).unwrap().map(|found| found.id), Some(other.id), "{name}");
    }
    for name in [
        "app:v1",
        "mysql:8",
        "localhost:5000/team/app",
        "ffffffffffff",
        "sha256:",
        &format!("mysql@{}", image.manifest),
    ] {
        assert_eq!(store.find(name).unwrap(), None, "{name}");
    }
    assert!(matches!(store.find("Bad Name"), Err(FindError::Name(_))));
    assert!(matches!(store.find(""), Err(FindError::Name(_))));
}

#[test]
fn a_beginning_of_two_ids_is_refused() {
    let (_dir, store) = store();
    // Of seventeen ids two begin with the same digit.
    for number in 0..17 {
        import(&store, &format!("image-{number}"), &tar(&[("f", number.to_string().as_bytes())]));
    }
    let ambiguous = ('0'..='f').any(|digit| {
        matches!(store.find(&format!("sha256:{digit}")), Err(FindError::Ambiguous { .. }))
    });
    assert!(ambiguous);
}

#[test]
fn a_directory_is_an_image() {
    let (dir, store) = store();
    let name = format!("rootfs:{}", dir.path().display());
    let image = store.find(&name).unwrap().unwrap();
    assert_eq!(
        (image.origin, image.layers.as_slice()),
        (Origin::Directory, &[dir.path().canonicalize().unwrap()][..])
    );
    assert_eq!(image.execution().cmd().as_deref().unwrap(), ["/bin/sh"]);
    assert!(image.execution().env().as_ref().unwrap()[0].starts_with("PATH="));
    assert_eq!(store.find(&name).unwrap().unwrap().id, image.id);
    assert_eq!(store.inspect(&name).unwrap().unwrap()["Id"], image.id.to_string());
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    for path in [file.to_str().unwrap(), "/no/such/directory", "relative", ""] {
        let refused = store.find(&format!("rootfs:{path}"));
        assert!(matches!(refused, Err(FindError::Directory { .. })), "{path}");
    }
}

#[test]
fn names_come_and_go() {
    let (dir, store) = store();
    let root = dir.path().join("images");
    let image = import(&store, "app", &tar(&[("f", b"1")]));
    store.tag("app", &"app:v1".parse().unwrap()).unwrap();
    store.tag("app:v1", &"other".parse().unwrap()).unwrap();
    assert!(matches!(store.tag("none", &"x".parse().unwrap()), Err(TagError::NotFound(_))));
    assert_eq!(listed(&store).len(), 3);

    // An id that stands for several names.
    let id = image.id.hex();
    let refused = store.remove(&id, Force::No, |_| None).unwrap_err();
    assert!(
        matches!(&refused, RemoveError::SeveralNames { names, .. } if names.len() == 3),
        "{refused}"
    );
    let removed = store.remove("app", Force::No, |_| Some("web-1".to_owned())).unwrap();
    assert_eq!((removed.untagged.len(), removed.deleted), (1, None));
    assert!(store.find("app").unwrap().is_none());

    // The last name goes with the image, and with everything that only it has.
    store.remove("app:v1", Force::No, |_| None).unwrap();
    let kept = import(&store, "kept", &tar(&[("f", b"2")]));
    let removed = store.remove("other", Force::No, |_| None).unwrap();
    assert_eq!(removed.deleted, Some(image.id));
    assert!(!image.layers[0].exists() && kept.layers[0].exists());
    assert_eq!(names(&root, "layers").len(), 2);
    assert_eq!(names(&root, "blobs/sha256").len(), 3);
    assert!(matches!(store.remove("other", Force::No, |_| None), Err(RemoveError::NotFound(_))));
    store.remove(&kept.id.short(), Force::No, |_| None).unwrap();
    assert!(names(&root, "layers").is_empty() && names(&root, "blobs/sha256").is_empty());
}

#[test]
fn an_image_in_use_keeps_its_files() {
    let (_dir, store) = store();
    let image = import(&store, "app", &tar(&[("f", b"1")]));
    let used = |_: &images::Image| Some("p-web-1".to_owned());
    let refused = store.remove("app", Force::No, used).unwrap_err();
    assert_eq!(refused.to_string(), "image app is used by container p-web-1");
    let removed = store.remove("app", Force::Yes, used).unwrap();
    assert_eq!((removed.untagged.len(), removed.deleted), (1, None));
    assert!(image.layers[0].join("f").exists());
    let found = store.find(&image.id.short()).unwrap().unwrap();
    assert_eq!(found.reference, None);
    assert!(matches!(
        store.remove(&image.id.hex(), Force::Yes, used),
        Err(RemoveError::InUse { .. })
    ));
    assert_eq!(store.remove(&image.id.hex(), Force::No, |_| None).unwrap().deleted, Some(image.id));
    assert!(!image.layers[0].exists());
}

#[test]
fn an_image_whose_name_is_taken_stays_without_one() {
    let (_dir, store) = store();
    let old = import(&store, "app", &tar(&[("f", b"1")]));
    let new = import(&store, "app", &tar(&[("f", b"2")]));
    let list = listed(&store);
    assert_eq!(
        list.iter().map(|image| (image.id, image.reference.is_some())).collect::<Vec<_>>(),
        [(new.id, true), (old.id, false)]
    );
    assert_eq!(store.remove(&old.id.hex(), Force::No, |_| None).unwrap().deleted, Some(old.id));
}

#[test]
fn what_is_wrong_is_said_and_leaves_nothing() {
    let (dir, store) = store();
    let archive = tar(&[("f", &[7; 5000])]);
    let whole = gzip(&archive);
    let wanted = Import { reference: Some("app".parse().unwrap()), ..Import::default() };
    let table: [(&[u8], &str); 6] = [
        (b"not an archive", "it is not a tar archive"),
        (b"", "it is not a tar archive"),
        (&archive[..2000], "it is truncated"),
        (&archive[..archive.len() - 1024], "it is truncated"),
        (&whole[..whole.len() - 10], "it is truncated"),
        (b"\xfd7zXZ\0...", "it is truncated"),
    ];
    for (bytes, message) in table {
        let refused = store.import(bytes, &wanted).unwrap_err();
        let ImportError::Layer(LayerError::Archive { source, .. }) = &refused else {
            panic!("{refused:?}")
        };
        assert_eq!(source.to_string(), message);
        assert!(listed(&store).is_empty());
        assert!(names(&dir.path().join("images"), "layers").is_empty());
    }
    let digest = format!("app@{}", Digest::of(b""));
    let refused = Import { reference: Some(digest.parse().unwrap()), ..Import::default() };
    assert!(matches!(store.import(&archive[..], &refused), Err(ImportError::Digest(_))));
}

#[test]
fn damage_is_said_with_its_place() {
    let (dir, store) = store();
    let image = import(&store, "app", &tar(&[("f", b"1")]));
    fs::remove_dir_all(&image.layers[0]).unwrap();
    assert!(matches!(store.find("app"), Err(FindError::Store(StoreError::LayerMissing { .. }))));
    // The next import of the same layer mends it.
    import(&store, "again", &tar(&[("f", b"1")]));
    assert!(store.find("app").unwrap().is_some());
    let blob = dir.path().join("images/blobs/sha256").join(image.manifest.hex());
    fs::write(&blob, "{}").unwrap();
    let refused = store.find("app").unwrap_err().to_string();
    assert!(refused.contains(&image.manifest.hex()) && refused.contains("damaged"), "{refused}");
    // It does not keep others from their work, and its name can be taken away.
    let other = import(&store, "other", &tar(&[("f", b"2")]));
    let listing = store.list().unwrap();
    assert_eq!((listing.images.len(), listing.damaged.len()), (2, 1));
    assert_eq!(listing.damaged[0].name, "app:latest");
    assert_eq!(store.remove("app", Force::No, |_| None).unwrap().untagged.len(), 1);
    assert_eq!(store.remove("again", Force::No, |_| None).unwrap().untagged.len(), 1);
    assert_eq!(listed(&store), [other]);
    assert_eq!(names(&dir.path().join("images"), "layers").len(), 2);
}
