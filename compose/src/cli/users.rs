//! Which containers have something, for the commands of volumes and networks.

use std::collections::BTreeMap;

use super::context::Context;
use super::error::CommandError;
use crate::record::{Container, ContainerRecord, list};

/// The names of the containers that have a thing, by its name. Stopped containers count as well: they want it when they
/// are started again.
#[derive(Debug, Default)]
pub struct Users(BTreeMap<String, Vec<String>>);

impl Users {
    /// Those on this machine; `has` says what one has.
    ///
    /// # Errors
    ///
    /// When a record cannot be read.
    pub fn read(
        context: &Context,
        has: impl Fn(&ContainerRecord) -> Vec<&str>,
    ) -> Result<Self, CommandError> {
        Ok(Self::among(&list::all_containers(context.roots())?.containers, has))
    }

    /// Those among `containers`.
    pub fn among(containers: &[Container], has: impl Fn(&ContainerRecord) -> Vec<&str>) -> Self {
        let mut users = Self::default();
        for Container { record, .. } in containers {
            for name in has(record) {
                let users = users.0.entry(name.to_owned()).or_default();
                // A container may have the same thing at several places.
                if users.last() != Some(&record.name) {
                    users.push(record.name.clone());
                }
            }
        }
        users
    }

    /// Those of the thing called `name`.
    #[must_use]
    pub fn of(&self, name: &str) -> &[String] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }
}
