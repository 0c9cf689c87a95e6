//! Archives that we write, and a look at everything that there is.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::fs;

use common::{import, names, store, tar};
use images::{Force, Platform};

#[test]
fn what_is_saved_can_be_loaded_and_is_always_the_same() {
    let (_dir, first) = store();
    let image = import(&first, "app:v1", &tar(&[("etc/", b""), ("etc/one", b"1")]));
    first.tag("app:v1", &"localhost:5000/app".parse().unwrap()).unwrap();
    import(&first, "other", &tar(&[("f", b"2")]));
    let save = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut bytes = Vec::new();
        first.save(&names, &mut bytes).map(|()| bytes)
    };
    let archive = save(&["app:v1", "localhost:5000/app", "other"]).unwrap();
    assert_eq!(save(&["app:v1", "localhost:5000/app", "other"]).unwrap(), archive);
    let (_dir, second) = store();
    second.load(&archive[..], &Platform::host()).unwrap();
    for name in ["app:v1", "localhost:5000/app", "other"] {
        let (one, other) =
            (first.find(name).unwrap().unwrap(), second.find(name).unwrap().unwrap());
        assert_eq!((one.id, one.manifest), (other.id, other.manifest), "{name}");
    }
    // By its id it has no name.
    let (_dir, third) = store();
    third.load(&save(&[&image.id.to_string()]).unwrap()[..], &Platform::host()).unwrap();
    assert!(third.list().unwrap().images[0].reference.is_none());
    assert!(save(&["none"]).unwrap_err().to_string().contains("no such image: none"));
}

#[test]
fn what_is_wrong_is_found_and_what_is_of_no_use_goes() {
    let (dir, store) = store();
    let root = dir.path().join("images");
    let image = import(&store, "app", &tar(&[("one", &[1; 5000])]));
    let verified = store.verify().unwrap();
    assert_eq!((verified.images, verified.blobs, verified.faults.len()), (1, 3, 0), "{verified:?}");
    assert_eq!(store.layer_sizes(&image).unwrap(), [5000]);

    fs::create_dir_all(root.join("partial")).unwrap();
    fs::write(root.join("partial").join("ab".repeat(32)), [0; 1000]).unwrap();
    let before = store.usage().unwrap();
    store.prune().unwrap();
    assert_eq!(before - store.usage().unwrap(), 1000);

    let blob = root.join("blobs/sha256").join(image.id.hex());
    let mut bytes = fs::read(&blob).unwrap();
    bytes.push(b' ');
    fs::write(&blob, bytes).unwrap();
    fs::remove_dir_all(&image.layers[0]).unwrap();
    let faults = store.verify().unwrap().faults;
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults.iter().all(|fault| fault.starts_with("app:latest: ")), "{faults:?}");
    let _gone = store.remove("app", Force::Yes, |_| None);
    assert!(names(&root, "blobs/sha256").len() <= 3);
}
