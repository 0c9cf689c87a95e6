//! By which of its networks a container reaches what is on none of them.

use network::{Family, WayOut};

use super::{AttachError, network};
use crate::record::start::Place;
use crate::supervisor::Supervisor;

/// By which of its places the default routes of a container go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WaysOut {
    ipv4: Option<usize>,
    ipv6: Option<usize>,
}

impl WaysOut {
    /// For each family the place with the highest `gw_priority`, the first of equals, among those on networks that
    /// lead out.
    ///
    /// # Errors
    ///
    /// When one of the networks is not there.
    pub fn of(supervisor: &Supervisor, places: &[Place]) -> Result<Self, AttachError> {
        let mut ways_out = Self::default();
        let mut best = [None; 2];
        for (index, place) in places.iter().enumerate() {
            let network = network(supervisor, &place.network)?;
            let priority = place.wish.gateway_priority;
            let ways = [&mut ways_out.ipv4, &mut ways_out.ipv6];
            for ((family, way), best) in Family::ALL.into_iter().zip(ways).zip(&mut best) {
                if network.record().leads_out(family) && best.is_none_or(|best| priority > best) {
                    (*way, *best) = (Some(index), Some(priority));
                }
            }
        }
        Ok(ways_out)
    }

    /// The families that go out by the place with this index.
    pub fn at(self, index: usize) -> WayOut {
        WayOut { ipv4: self.ipv4 == Some(index), ipv6: self.ipv6 == Some(index) }
    }

    /// The place by which `family` goes out.
    pub const fn by(self, family: Family) -> Option<usize> {
        match family {
            Family::V4 => self.ipv4,
            Family::V6 => self.ipv6,
        }
    }

    /// The place by which most goes out: that of IPv4, where there is one.
    pub fn main(self) -> Option<usize> {
        self.ipv4.or(self.ipv6)
    }
}
