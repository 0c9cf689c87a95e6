//! The readers of what registries and archives give, on any bytes, with what must hold of them.

use std::cell::RefCell;
use std::fs;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use oci_spec::image::MediaType;
use serde_json::Value;

use crate::layer::archive::{Archive, Kind};
use crate::layer::stream::decompress;
use crate::layer::{clean, unpack_limited};
use crate::manifest::{Configuration, canonical, digest_of, parse_index, parse_manifest};
use crate::platform::Platform;
use crate::reference::Reference;
use crate::registry::{challenge, escaped};
use crate::select::best;

const BLOCK: usize = 512;
/// Where the sum of a header is, and the word that says that a block may be one.
const SUM: std::ops::Range<usize> = 148..156;
const MAGIC: std::ops::Range<usize> = 257..262;

/// Makes the sums of all headers right: by chance alone hardly any input would get past the first one.
fn with_sums(bytes: &[u8]) -> Vec<u8> {
    let mut archive = bytes.to_vec();
    for block in archive.chunks_exact_mut(BLOCK) {
        if &block[MAGIC] == b"ustar" {
            block[SUM].fill(b' ');
            let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            block[SUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
    archive
}

/// All entries of an archive: none takes more data than there are, and a clean name stays inside.
pub fn archive(bytes: &[u8]) {
    let archive = with_sums(bytes);
    let mut reader = Archive::new(&archive[..]);
    let mut taken = 0u64;
    while let Ok(Some(entry)) = reader.next() {
        if let Kind::File(map) = &entry.kind {
            if let Some(map) = map {
                let ends = map.pieces.iter().map(|piece| piece.offset + piece.length);
                assert!(ends.clone().all(|end| end <= map.size));
                assert!(ends.is_sorted());
            }
            let Ok(read) = std::io::copy(&mut reader, &mut std::io::sink()) else { break };
            taken += read;
        } else {
            assert_eq!(entry.size, 0);
        }
        assert!(taken <= archive.len() as u64, "{taken} of {}", archive.len());
        if let Ok(path) = clean(&entry.path) {
            let is_inside = |part: Component<'_>| matches!(part, Component::Normal(_));
            assert!(path.components().all(is_inside), "{}", path.display());
        }
    }
    // Nor may what decompresses be more than what is read of it.
    if let Ok((_, plain)) = decompress(bytes) {
        let _ = std::io::copy(&mut plain.take(1 << 20), &mut std::io::sink());
    }
}

/// A folder in memory for one process, with a file beside the layer that nothing may touch.
struct Place {
    folder: PathBuf,
}

const CANARY: &str = "untouched";

impl Place {
    fn new() -> Self {
        let folder = PathBuf::from(format!("/dev/shm/fuzz-layer-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("there is room in memory");
        fs::write(folder.join("outside"), CANARY).expect("there is room in memory");
        Self { folder }
    }

    fn layer(&self) -> PathBuf {
        self.folder.join("layer")
    }

    fn check(&self) {
        let names = fs::read_dir(&self.folder).expect("it is there").count();
        let outside = fs::read_to_string(self.folder.join("outside"));
        assert_eq!((names, outside.as_deref().ok()), (2, Some(CANARY)));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

thread_local! {
    static PLACE: RefCell<Option<Place>> = const { RefCell::new(None) };
}

/// A layer that is unpacked as root: whatever it says, nothing happens outside of its directory, and twice the same
/// bytes are twice the same digest.
pub fn layer(bytes: &[u8]) {
    let archive = with_sums(bytes);
    PLACE.with_borrow_mut(|place| {
        let place = place.get_or_insert_with(Place::new);
        let into = place.layer();
        fs::create_dir(&into).expect("the one before is gone");
        let unpacked = unpack_limited(&archive[..], &into, 500, 1 << 20);
        place.check();
        if let Ok(unpacked) = unpacked {
            let size = size(&into, 0);
            assert!(size <= 1 << 20, "{size} bytes of {}", unpacked.size);
        }
        sys::remove::remove_tree(&into).expect("what was made can be removed");
    });
}

/// Bytes of the files below a directory.
fn size(directory: &Path, depth: u32) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    let of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() && depth < 100 => size(&entry.path(), depth + 1),
        Ok(found) if found.is_file() && std::os::unix::fs::MetadataExt::nlink(&found) == 1 => {
            found.len()
        }
        _ => 0,
    };
    entries.flatten().map(of).sum()
}

/// A manifest, an index, a configuration: never two of them at once; and what is written canonically reads the same.
pub fn manifest(bytes: &[u8]) {
    let docker = |name: &str| -> MediaType {
        format!("application/vnd.docker.distribution.manifest.{name}v2+json").as_str().into()
    };
    let manifests = [MediaType::ImageManifest, docker("")].map(|kind| parse_manifest(bytes, &kind));
    let indexes = [MediaType::ImageIndex, docker("list.")].map(|kind| parse_index(bytes, &kind));
    let is_manifest = manifests.iter().any(Result::is_ok);
    assert!(
        !(is_manifest
            && indexes.iter().any(|index| index.as_ref().is_ok_and(|_| has(bytes, "manifests"))))
    );
    for manifest in manifests.into_iter().flatten() {
        for part in manifest.layers().iter().chain([manifest.config()]) {
            let _ = digest_of(part);
        }
    }
    for index in indexes.into_iter().flatten() {
        let host = Platform::host();
        if let Ok(chosen) = best(&host, index.manifests()) {
            assert!(index.manifests().contains(chosen));
        }
    }
    if let Ok(config) = Configuration::parse(bytes) {
        let _ = config.health_check();
        assert_eq!(config.diff_ids.len(), config.typed.rootfs().diff_ids().len());
        let written = canonical(config.json.clone());
        let again = Configuration::parse(&written).expect("what is written can be read");
        assert_eq!((again.diff_ids, canonical(again.json)), (config.diff_ids, written));
    }
}

fn has(bytes: &[u8], key: &str) -> bool {
    serde_json::from_slice::<Value>(bytes).is_ok_and(|value| value.get(key).is_some())
}

/// A name of an image: complete and short it is the same one.
pub fn reference(text: &str) {
    if let Ok(reference) = text.parse::<Reference>() {
        for written in [reference.to_string(), reference.familiar()] {
            assert_eq!(
                written.parse::<Reference>().as_ref(),
                Ok(&reference),
                "{text:?}: {written}"
            );
        }
        assert!(reference.tag().is_some() || reference.digest().is_some());
        assert!(!reference.path().is_empty() && !reference.path().contains(':'));
        assert!(reference.to_string().is_ascii());
    }
    if let Ok(platform) = text.parse::<Platform>() {
        assert_eq!(platform.to_string().parse().as_ref(), Ok(&platform));
        assert!(platform.accepts(&platform));
    }
    let _ = challenge(&[text]);
    assert!(escaped(text).bytes().all(|byte| byte.is_ascii_graphic()));
}
