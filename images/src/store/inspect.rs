//! An image as JSON, in the shape of `docker image inspect`.

use serde_json::{Value, json};

use super::Store;
use super::find::FindError;
use super::index::Index;
use super::lock::Mode;
use crate::reference::Reference;

impl Store {
    /// Describes an image as `docker image inspect` does; `None` when there is no such image.
    ///
    /// `Config` is the document of the image itself, with all its keys.
    ///
    /// # Errors
    ///
    /// As for [`Store::find`].
    pub fn inspect(&self, name: &str) -> Result<Option<Value>, FindError> {
        let Some(image) = self.find(name)? else { return Ok(None) };
        let (names, config) = if image.origin == crate::Origin::Directory {
            (Vec::new(), serde_json::to_value(&image.config).unwrap_or_default())
        } else {
            let _lock = self.lock_index(Mode::Shared)?;
            let index = Index::read(&self.index())?;
            (self.names(&index, image.id), self.configuration(image.id)?.json)
        };
        let key = |key: &str| config.get(key).cloned();
        let digest = image.source.unwrap_or(image.manifest);
        let mut digests: Vec<String> =
            names.iter().map(|name: &Reference| name.at(digest).familiar()).collect();
        digests.sort();
        digests.dedup();
        Ok(Some(json!({
            "Id": image.id,
            "RepoTags": names.iter().filter(|name| name.tag().is_some()).map(Reference::familiar).collect::<Vec<_>>(),
            "RepoDigests": digests,
            "Comment": key("comment").unwrap_or_else(|| json!("")),
            "Created": key("created").unwrap_or_else(|| json!("")),
            "Author": key("author").unwrap_or_else(|| json!("")),
            "Config": key("config").unwrap_or_else(|| json!({})),
            "Architecture": key("architecture").unwrap_or_else(|| json!("")),
            "Variant": key("variant").unwrap_or_else(|| json!("")),
            "Os": key("os").unwrap_or_else(|| json!("")),
            "Size": image.size,
            "GraphDriver": {"Name": "overlay2", "Data": {"LowerDirs": image.layers}},
            "RootFS": {"Type": "layers", "Layers": image.config.rootfs().diff_ids()},
        })))
    }
}
