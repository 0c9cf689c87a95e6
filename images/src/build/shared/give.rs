//! Caches on their way to where other machines find them.

use super::super::error::{BuildError, whole};
use super::super::event::Event;
use super::super::solve::Builder;
use super::super::state::State;
use super::folder;
use super::words::{CacheTo, KeptAt};
use super::{Cache, TABLE, Table, is_in};
use crate::build::Foreign;
use crate::registry::Documents;

impl Builder<'_> {
    /// Puts the table of its own steps into an image, if it is to be a cache as well.
    pub(in crate::build) fn add_table(&self, state: &mut State) {
        if self.recipe.cache_to.iter().any(|cache| cache.kept_at == KeptAt::Image) {
            let steps = self.taken.lock().expect("nobody panics with it");
            let own = steps.iter().filter(|(_, record)| is_in(state, record));
            let table = serde_json::json!(Table::of(own));
            drop(steps);
            state.document.insert(TABLE.to_owned(), table);
        } else {
            // That of the base image says nothing about this one.
            state.document.remove(TABLE);
        }
    }

    /// Writes all caches that are asked for.
    pub(in crate::build) fn give_caches(&self, state: &State) -> Result<(), BuildError> {
        for cache in &self.recipe.cache_to {
            let CacheTo { kept_at, may_fail, .. } = cache;
            if *kept_at == KeptAt::Image {
                continue;
            }
            let name = format!("[cache] to {kept_at}");
            if let Err(source) = self.as_step(name, |_| self.give_cache(cache, state)) {
                let error = BuildError::Cache { kept_at: kept_at.to_string(), source };
                if !may_fail {
                    return Err(error);
                }
                self.surroundings.tell(Event::Warning(whole(&error)));
            }
        }
        Ok(())
    }

    fn give_cache(&self, to: &CacheTo, state: &State) -> Result<(), Foreign> {
        let steps = self.taken.lock().expect("nobody panics with it").clone();
        let cache = Cache::of(&steps, state, to.all, &self.recipe.platform, &self.workspace)?;
        match &to.kept_at {
            KeptAt::Registry(reference) => {
                let (registry, cancel) = self.surroundings.registry()?;
                let documents = Documents { config: &cache.config, manifest: &cache.manifest };
                registry.give(self.store, reference, documents, &cache.layers, cancel)?;
            }
            KeptAt::Folder { path, tag } => folder::write(path, tag, &cache, self.store)?,
            KeptAt::Image => {}
        }
        Ok(())
    }
}
