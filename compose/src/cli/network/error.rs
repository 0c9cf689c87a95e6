//! What to do about the errors of networks.

use network::{FileError, MemberError, NameError, StoreError};

use crate::apply::NetworkError;
use crate::apply::driver::DriverError;
use crate::apply::explain::DRIVERS;
use crate::cli::error::{CommandError, USAGE};

/// A network that is not there.
pub fn missing(name: &str) -> CommandError {
    CommandError::failed(format!("there is no network {name}"))
        .help("`compose network ls` lists the networks")
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        let help = match &error {
            StoreError::InUse { .. } => {
                "`compose down` removes the containers of a project; `compose stop` lets a network go"
            }
            StoreError::Differs { .. } => "`compose network rm` removes the one that is there",
            StoreError::Wanted { .. } => "choose another range with --subnet",
            StoreError::NoIpv6 { .. } => {
                "boot without `ipv6.disable=1`, or leave IPv6 out of the network"
            }
            StoreError::Live { .. } => "`compose doctor` says what the kernel lacks",
            StoreError::File(_) | StoreError::Members(_) => {
                "check that the data root can be read and is not full; COMPOSE_DATA_ROOT moves it"
            }
        };
        Self::new(&error).help(help)
    }
}

impl From<MemberError> for CommandError {
    fn from(error: MemberError) -> Self {
        Self::new(&error).help("check that the run root can be read; COMPOSE_RUN_ROOT moves it")
    }
}

impl From<FileError> for CommandError {
    fn from(error: FileError) -> Self {
        Self::new(&error).help("check that the data root can be read and is not full")
    }
}

impl From<NameError> for CommandError {
    fn from(error: NameError) -> Self {
        Self::new(&error).code(USAGE)
    }
}

impl From<NetworkError> for CommandError {
    fn from(error: NetworkError) -> Self {
        match error {
            NetworkError::Store(error) => error.into(),
            NetworkError::Name(error) => error.into(),
            NetworkError::Driver(DriverError::Driver { .. }) => {
                Self::new(&error).help(DRIVERS).code(USAGE)
            }
            other => Self::new(&other).code(USAGE),
        }
    }
}
