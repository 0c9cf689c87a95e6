//! What builds have made, kept for other machines: `cache_from` and `cache_to`.
//!
//! A cache is an image. Its layers are what steps have made, and its configuration has a table of these steps:
//!
//! ```text
//! "compose.build.cache": {"version": 1, "steps": [{"key": DIGEST, "layer": DIFF_ID, "created": TIME}, …]}
//! ```
//!
//! The keys are those of the cache of this machine, and say what a step reads; so a step that is in the table need not
//! be carried out. The table is read when a step is not in the cache of this machine, and a layer is fetched when its
//! step comes. An image that was built may have the table of its own layers (`type=inline`).
//!
//! Source: docs.docker.com/build/cache/backends, for the words. Caches of other builders have other keys, and are of no
//! use.

mod folder;
mod give;
mod offer;
mod words;

use jiff::Timestamp;
use oci_spec::image::{Descriptor, MediaType};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::cache::{CachedLayer, StepRecord};
use super::state::State;
use crate::digest::Digest;
use crate::import::manifest_of;
use crate::manifest::{canonical, digest_of};
use crate::platform::Platform;
use crate::store::StoreError;
use crate::store::index::descriptor;
use crate::store::workspace::Workspace;

pub(super) use offer::Offers;
pub use words::{CacheFrom, CacheTo, CacheWordError, KeptAt};

/// The key of the configuration under which the table stands.
const TABLE: &str = "compose.build.cache";

/// The steps that a cache has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Table {
    version: u32,
    steps: Vec<Line>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Line {
    key: Digest,
    /// The uncompressed digest of the layer that it made; nothing if it changed no file.
    #[serde(skip_serializing_if = "Option::is_none")]
    layer: Option<Digest>,
    created: Timestamp,
}

impl Table {
    const VERSION: u32 = 1;

    /// Of these steps, in the order of their keys: the same steps are the same table.
    fn of<'a>(steps: impl Iterator<Item = &'a (Digest, StepRecord)>) -> Self {
        let line = |(key, record): &(Digest, StepRecord)| Line {
            key: *key,
            layer: record.layer.map(|layer| layer.diff_id),
            created: record.created,
        };
        let mut steps: Vec<Line> = steps.map(line).collect();
        steps.sort_unstable_by_key(|line| line.key);
        steps.dedup_by_key(|line| line.key);
        Self { version: Self::VERSION, steps }
    }

    /// The table of a configuration, if it has one that can be read.
    fn read(config: &[u8]) -> Option<Self> {
        let mut config: Value = serde_json::from_slice(config).ok()?;
        let table: Self = serde_json::from_value(config.get_mut(TABLE)?.take()).ok()?;
        (table.version == Self::VERSION).then_some(table)
    }
}

/// The layers of a cache as its manifest has them, by the digests that they have uncompressed.
type Layers = Vec<(Digest, Descriptor)>;

/// The records of a table, by their keys. A step whose layer is not of the kind that builds make is left out.
fn records(table: Table, layers: &Layers) -> impl Iterator<Item = (Digest, StepRecord)> {
    table.steps.into_iter().filter_map(move |Line { key, layer, created }| {
        let layer = match layer {
            None => None,
            Some(diff_id) => {
                let (_, found) = layers.iter().find(|(known, _)| *known == diff_id)?;
                if *found.media_type() != MediaType::ImageLayerZstd {
                    return None;
                }
                let blob = digest_of(found).ok()?;
                Some(CachedLayer { diff_id, blob, blob_size: found.size() })
            }
        };
        Some((key, StepRecord { version: StepRecord::VERSION, layer, created }))
    })
}

/// A cache that is to be given away.
struct Cache {
    config: Vec<u8>,
    manifest: Vec<u8>,
    layers: Vec<CachedLayer>,
}

impl Cache {
    /// Of `steps`: all of them, or those of which the image has the layer.
    fn of(
        steps: &[(Digest, StepRecord)],
        state: &State,
        all: bool,
        platform: &Platform,
        workspace: &Workspace<'_>,
    ) -> Result<Self, StoreError> {
        let steps: Vec<&(Digest, StepRecord)> =
            steps.iter().filter(|(_, record)| all || is_in(state, record)).collect();
        let mut layers: Vec<CachedLayer> =
            steps.iter().filter_map(|(_, record)| record.layer).collect();
        layers.sort_unstable_by_key(|layer| layer.diff_id);
        layers.dedup_by_key(|layer| layer.diff_id);
        let diff_ids: Vec<String> = layers.iter().map(|layer| layer.diff_id.to_string()).collect();
        let config = canonical(json!({
            "architecture": platform.architecture(),
            "os": platform.os(),
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
            TABLE: Table::of(steps.into_iter()),
        }));
        let described = |layer: &CachedLayer| {
            descriptor(MediaType::ImageLayerZstd, layer.blob_size, layer.blob)
        };
        let staged = workspace.stage_document(&config)?;
        let manifest = manifest_of(&staged, layers.iter().map(described).collect());
        Ok(Self { config, manifest, layers })
    }
}

fn is_in(state: &State, record: &StepRecord) -> bool {
    record.layer.is_none_or(|layer| state.diff_ids.contains(&layer.diff_id))
}
