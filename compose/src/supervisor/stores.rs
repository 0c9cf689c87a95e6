//! The stores as the planner sees them.

use std::collections::BTreeMap;

use images::{FindError, Platform};

use super::Supervisor;
use crate::event::Failure;
use crate::observe::{ObservedImage, ObservedNetwork, ObservedVolume, Stores};

/// A store could not be read.
#[derive(Debug, thiserror::Error)]
pub enum StoresError {
    /// That of networks.
    #[error(transparent)]
    Networks(#[from] network::StoreError),
    /// That of volumes.
    #[error(transparent)]
    Volumes(#[from] volumes::StoreError),
    /// That of images.
    #[error(transparent)]
    Images(#[from] images::FindError),
}

/// The stores, from wherever they were opened.
#[derive(Debug, Clone, Copy)]
pub struct OnDisk<'a> {
    /// That of networks.
    pub networks: &'a network::Store,
    /// That of volumes.
    pub volumes: &'a volumes::Store,
    /// That of images.
    pub images: &'a images::Store,
}

impl Supervisor {
    /// The stores of this process.
    pub fn stores(&self) -> OnDisk<'_> {
        let Self { networks, volumes, images, .. } = self;
        OnDisk { networks, volumes, images }
    }
}

impl Stores for OnDisk<'_> {
    type Error = StoresError;

    fn networks(&self) -> Result<BTreeMap<String, ObservedNetwork>, StoresError> {
        let mut observed = BTreeMap::new();
        for record in self.networks.list()? {
            let live = self.networks.is_live(record.name());
            let labels = record.wanted.labels.clone();
            observed.insert(record.name().to_string(), ObservedNetwork { labels, live });
        }
        Ok(observed)
    }

    fn volumes(&self) -> Result<BTreeMap<String, ObservedVolume>, StoresError> {
        let volumes = self.volumes.list()?.into_iter();
        Ok(volumes
            .map(|volume| (volume.name.to_string(), ObservedVolume { labels: volume.labels }))
            .collect())
    }

    fn image(&self, reference: &str, platform: Option<&str>) -> Result<ObservedImage, StoresError> {
        // One that is none has been refused when the file was read, or is by its registry.
        let platform = platform.and_then(|text| text.parse::<Platform>().ok());
        match self.images.find(reference) {
            Ok(Some(image)) if platform.is_some_and(|wanted| !wanted.suits(&image)) => {
                Ok(ObservedImage::Absent)
            }
            Ok(Some(image)) => {
                Ok(ObservedImage::Here { id: image.id.to_string(), named: image.named })
            }
            Ok(None) => Ok(ObservedImage::Absent),
            Err(FindError::Store(error)) => Err(FindError::Store(error).into()),
            Err(error) => Ok(ObservedImage::Impossible(Failure::new(&error).message)),
        }
    }
}
