//! What the caches of a build offer, and how it gets here.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::thread;

use super::super::cache::{CachedLayer, StepRecord};
use super::super::error::whole;
use super::super::event::Event;
use super::super::solve::Builder;
use super::folder;
use super::words::{CacheFrom, KeptAt};
use super::{Layers, Table, records};
use crate::build::Foreign;
use crate::digest::Digest;
use crate::registry::Remote;

/// The caches that a build may take from. They are looked at when the first step is not in the cache of this machine.
#[derive(Debug, Default)]
pub(in crate::build) struct Offers(OnceLock<Vec<Offered>>);

/// A cache that could be read.
#[derive(Debug)]
struct Offered {
    source: Source,
    steps: HashMap<Digest, StepRecord>,
}

#[derive(Debug)]
enum Source {
    Registry(Box<Remote>),
    Folder(std::path::PathBuf),
}

impl Builder<'_> {
    /// What the step with this key has made elsewhere. Its layer is in the store then.
    pub(in crate::build) fn take_offer(&self, key: Digest) -> Option<StepRecord> {
        let caches = self.offers.0.get_or_init(|| self.look_at_caches());
        caches.iter().find_map(|cache| {
            let record = cache.steps.get(&key)?;
            if let Some(layer) = record.layer
                && let Err(error) = self.bring(&cache.source, layer)
            {
                let layer = layer.blob.short();
                let message = format!("layer {layer} of a cache is not used: {}", whole(&*error));
                self.surroundings.tell(Event::Warning(message));
                return None;
            }
            self.store.remember_step(key, record);
            Some(record.clone())
        })
    }

    fn look_at_caches(&self) -> Vec<Offered> {
        thread::scope(|scope| {
            let looks: Vec<_> = self
                .recipe
                .cache_from
                .iter()
                .map(|cache| scope.spawn(move || self.look_at(cache)))
                .collect();
            let found = looks
                .into_iter()
                .map(|look| look.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            found.flatten().collect()
        })
    }

    /// A cache that cannot be read costs time, and no build fails for it.
    fn look_at(&self, CacheFrom(kept_at): &CacheFrom) -> Option<Offered> {
        let opened = self.as_step(format!("[cache] from {kept_at}"), |_| self.open(kept_at));
        let warn = |error: &Foreign| {
            let message = format!("the cache {kept_at} is not used: {}", whole(&**error));
            self.surroundings.tell(Event::Warning(message));
        };
        opened.inspect_err(warn).ok()
    }

    fn open(&self, kept_at: &KeptAt) -> Result<Offered, Foreign> {
        let (source, config, layers): (_, _, Layers) = match kept_at {
            KeptAt::Registry(reference) => {
                let (registry, cancel) = self.surroundings.registry()?;
                let remote = registry.look(reference, &self.recipe.platform, cancel)?;
                let (config, layers) = (remote.config.clone(), remote.layers());
                (Source::Registry(Box::new(remote)), config, layers)
            }
            KeptAt::Folder { path, tag } => {
                let (config, layers) = folder::read(path, tag)?;
                (Source::Folder(path.clone()), config, layers)
            }
            KeptAt::Image => return Err("it does not say where the image is".into()),
        };
        let table =
            Table::read(&config).ok_or("it has no table of steps, as those that compose writes")?;
        Ok(Offered { source, steps: records(table, &layers).collect() })
    }

    /// Brings a layer into the store, unless it is there.
    fn bring(&self, source: &Source, layer: CachedLayer) -> Result<(), Foreign> {
        let CachedLayer { diff_id, blob, .. } = layer;
        if self.store.find_layer(diff_id)?.is_some() && self.store.has_blob(blob) {
            return Ok(());
        }
        match source {
            Source::Registry(remote) => {
                let (registry, cancel) = self.surroundings.registry()?;
                registry.fetch_one(&self.workspace, remote, diff_id, cancel)?;
            }
            Source::Folder(path) => folder::fetch(path, &self.workspace, blob, diff_id)?,
        }
        Ok(())
    }
}
