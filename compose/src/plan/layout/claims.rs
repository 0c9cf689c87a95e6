//! What only one running container can have: its place, ports of the host, fixed addresses.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::Layout;
use crate::model::{Networking, Port};
use crate::plan::StepId;
use crate::plan::service::{Replica, Wish};
use crate::plan::up::Decided;
use crate::record::ContainerRecord;

impl Layout<'_, '_> {
    /// The steps after which a place, its ports and its fixed addresses are free.
    pub(super) fn vacated(&self, replica: &Replica<'_>) -> BTreeSet<StepId> {
        let decided = self.decided;
        let Some(wish) = decided.wishes.get(&replica.instance.service) else {
            return BTreeSet::new();
        };
        let claims = Claims::of(decided, wish);
        let yielding = decided.observed.containers.iter().flat_map(|container| {
            let id = container.record.id.as_str();
            let steps = [self.stopped.stops.get(id), self.updates.get(id)];
            steps.into_iter().flatten().map(|step| (&container.record, *step))
        });
        yielding
            .filter(|(record, _)| {
                let same_place = record.service == replica.instance.service
                    && record.number == replica.instance.number
                    && !record.oneoff;
                same_place || claims.collide(record)
            })
            .map(|(_, step)| step)
            .collect()
    }
}

/// What only one running container can have.
struct Claims<'a> {
    ports: &'a [Port],
    addresses: Vec<(&'a str, IpAddr)>,
}

impl<'a> Claims<'a> {
    fn of(decided: &Decided<'a>, wish: &Wish<'a>) -> Self {
        let addresses = match &wish.service.networking {
            Networking::Attached(attachments) => attachments
                .iter()
                .filter_map(|(key, attachment)| {
                    Some((decided.project.networks.get(key)?, attachment))
                })
                .flat_map(|(network, attachment)| {
                    let name = network.name.as_str();
                    attachment.fixed_addresses().map(move |address| (name, address))
                })
                .collect(),
            _ => Vec::new(),
        };
        Self { ports: &wish.service.ports, addresses }
    }

    /// Whether a running container has something of it.
    fn collide(&self, record: &ContainerRecord) -> bool {
        let ports = self.ports.iter().any(|want| record.ports.iter().any(|have| want.meets(have)));
        let addresses = self.addresses.iter().any(|(network, address)| {
            let mut endpoints = record.networks.iter();
            endpoints.any(|have| have.network == *network && have.has(*address))
        });
        ports || addresses
    }
}
