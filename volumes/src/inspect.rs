//! A volume as `docker volume inspect` shows it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use crate::Volume;

/// The JSON of one volume. Source: Docker Engine API, `Volume`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Inspect<'a> {
    /// When it was made.
    pub created_at: Timestamp,
    /// The driver.
    pub driver: &'a str,
    /// Labels.
    pub labels: &'a BTreeMap<String, String>,
    /// Where its data is on the host.
    pub mountpoint: String,
    /// Name.
    pub name: &'a str,
    /// Driver options; null if there are none, as Docker has it.
    pub options: Option<&'a BTreeMap<String, String>>,
    /// Always `local`: this machine.
    pub scope: &'static str,
}

impl Volume {
    /// The volume in Docker's shape.
    pub fn inspect(&self) -> Inspect<'_> {
        Inspect {
            created_at: self.created,
            driver: &self.driver,
            labels: &self.labels,
            mountpoint: self.path.display().to_string(),
            name: self.name.as_str(),
            options: Some(&self.driver_opts).filter(|options| !options.is_empty()),
            scope: "local",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::VolumeName;

    #[test]
    fn has_the_shape_of_docker() {
        let volume = Volume {
            version: 1,
            name: VolumeName::parse("shop_data").unwrap(),
            labels: BTreeMap::from([("a".into(), "b".into())]),
            driver: "local".into(),
            driver_opts: BTreeMap::new(),
            created: Timestamp::UNIX_EPOCH,
            path: PathBuf::from("/data/volumes/shop_data/_data"),
        };
        assert_eq!(
            serde_json::to_string(&volume.inspect()).unwrap(),
            "{\"CreatedAt\":\"1970-01-01T00:00:00Z\",\"Driver\":\"local\",\"Labels\":{\"a\":\"b\"},\
             \"Mountpoint\":\"/data/volumes/shop_data/_data\",\"Name\":\"shop_data\",\"Options\":null,\"Scope\":\"local\"}"
        );
    }
}
