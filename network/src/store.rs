//! All networks of a data root: their records, and the live part of each.
//!
//! | path | holds |
//! |---|---|
//! | `DATA/NAME/network.json` | the [`Record`]; a folder without one is none |
//! | `DATA/NAME/leases.json` | who has which address |
//! | `RUN/NAME.ns` | the namespace, mounted: the live part is there, and whole |
//! | `RUN/NAME.uplink` | name and addresses of the uplink |
//! | `RUN/NAME.endpoints/CONTAINER.json` | a [`Member`](crate::Member) |
//!
//! # Why
//!
//! Every change can be cut off anywhere and repeated. The record comes first and goes last; the live part is built
//! behind a descriptor, so it vanishes with a killed process, and becomes real by one mount. Records are replaced
//! whole, without fsync(2): a network that a power cut forgets is made again by the next `up`.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::statfs;
use rustix::mount::{UnmountFlags, mount_bind, unmount};

use crate::bridge;
use crate::child;
use crate::driver::{ChildKind, Driver};
use crate::file::{self, FileError};
use crate::name::{InterfaceName, NetworkName};
use crate::netlink::{NetlinkError, RouteSocket};
use crate::network::{MemberError, Network};
use crate::record::{Record, Wanted, WantedError};
use crate::subnet::Family;
use crate::sysctl::{self, SettingError};
use crate::uplink::{self, Surroundings, Uplink, UplinkError};

/// The networks of one data root.
#[derive(Debug, Clone)]
pub struct Store {
    data: PathBuf,
    run: PathBuf,
}

/// A network could not be made, found or removed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The network exists and is another than the one that is wanted.
    #[error("network {name} exists with another `{what}`")]
    Differs {
        /// Its name.
        name: NetworkName,
        /// The attribute in which it differs.
        what: &'static str,
    },
    /// Containers are attached to the network.
    #[error("network {name} is in use by {}", containers.join(", "))]
    InUse {
        /// Its name.
        name: NetworkName,
        /// The first name of each container that is attached.
        containers: Vec<String>,
    },
    /// What was asked for makes no network.
    #[error("network {name}")]
    Wanted {
        /// Its name.
        name: NetworkName,
        /// Why not.
        source: WantedError,
    },
    /// The kernel has no IPv6, which was asked for.
    #[error("network {name} is to have IPv6 addresses, and this kernel speaks no IPv6")]
    NoIpv6 {
        /// Its name.
        name: NetworkName,
    },
    /// A step of bringing the live part up failed.
    #[error("network {name}: {step}")]
    Live {
        /// Its name.
        name: NetworkName,
        /// What was tried.
        step: &'static str,
        /// Why it failed.
        source: LiveError,
    },
    /// The folders could not be read or written.
    #[error("networks on disk")]
    File(#[from] FileError),
    /// The members could not be listed.
    #[error("members of the network")]
    Members(#[from] MemberError),
}

/// The live part of a network could not be made or taken down.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// A system call failed.
    #[error(transparent)]
    Call(#[from] io::Error),
    /// A request over netlink failed.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// A setting was refused.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// The way out could not be made.
    #[error(transparent)]
    Uplink(#[from] UplinkError),
    /// A file could not be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The link of the host on which the network is to be is not there.
    #[error("there is no link {parent} on this host")]
    NoParent {
        /// Its name.
        parent: InterfaceName,
    },
}

/// What statfs(2) says of a mounted namespace (linux/magic.h).
const NSFS: i64 = 0x6e73_6673;

impl Store {
    /// Opens the store with its records in `data` and its live parts in `run`; both are made if missing.
    ///
    /// # Errors
    ///
    /// [`StoreError::File`] when a folder cannot be made.
    pub fn open(data: &Path, run: &Path) -> Result<Self, StoreError> {
        for folder in [data, run] {
            let made = DirBuilder::new().recursive(true).mode(0o755).create(folder);
            made.map_err(|source| FileError::new("mkdir", folder, source))?;
        }
        Ok(Self { data: data.to_owned(), run: run.to_owned() })
    }

    /// The same store, only to be looked into: nothing is made, and where nothing is there are no networks.
    pub fn look(data: &Path, run: &Path) -> Self {
        Self { data: data.to_owned(), run: run.to_owned() }
    }

    /// Finds the network or makes it, and brings its live part up where that is missing or broken.
    ///
    /// Labels are replaced by those that are wanted. The host is what the calling thread's namespace is.
    ///
    /// # Errors
    ///
    /// [`StoreError::Differs`] when there is one of the name with other attributes; else by step.
    pub fn create(&self, wanted: &Wanted) -> Result<Network, StoreError> {
        let _lock = file::lock(&self.data)?;
        let name = &wanted.name;
        let live = |step| {
            let name = name.clone();
            move |source: LiveError| StoreError::Live { name, step, source }
        };
        let mut host = RouteSocket::open().map_err(|error| live("ask the host")(error.into()))?;
        let record = match self.record(name)? {
            Some(record) => self.keep(record, wanted)?,
            None => {
                let surroundings = Surroundings::observe(&mut host);
                let surroundings =
                    surroundings.map_err(|error| live("ask the host")(error.into()))?;
                if wanted.has_ipv6() && !sysctl::has_ipv6() {
                    return Err(StoreError::NoIpv6 { name: name.clone() });
                }
                self.decide(wanted, surroundings)?
            }
        };
        let namespace = match self.namespace(name)? {
            Some(namespace) if self.verify(&record, &namespace).map_err(live("verify"))? => {
                namespace
            }
            _ => {
                self.take_down(name).map_err(live("clear away what is broken"))?;
                self.bring_up(&record, &mut host).map_err(live("bring up"))?
            }
        };
        Ok(Network::new(record, namespace, &self.data, &self.run))
    }

    /// Finds a network by its name; its live part is brought up after a reboot.
    ///
    /// # Errors
    ///
    /// As [`Store::create`].
    pub fn find(&self, name: &NetworkName) -> Result<Option<Network>, StoreError> {
        match self.record(name)? {
            None => Ok(None),
            Some(record) => match self.namespace(name)? {
                Some(namespace) => Ok(Some(Network::new(record, namespace, &self.data, &self.run))),
                None => self.create(&record.wanted).map(Some),
            },
        }
    }

    /// All records, by name. Touches the kernel not at all.
    ///
    /// # Errors
    ///
    /// [`StoreError::File`] when one cannot be read.
    pub fn list(&self) -> Result<Vec<Record>, StoreError> {
        let entries = match fs::read_dir(&self.data) {
            Ok(entries) => entries.flatten(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(FileError::new("read", &self.data, source).into()),
        };
        let names = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let mut names: Vec<NetworkName> = names.collect();
        names.sort();
        let records = names.iter().filter_map(|name| self.record(name).transpose());
        records.collect()
    }

    /// Reads the record of a network. Touches the kernel not at all.
    ///
    /// # Errors
    ///
    /// [`StoreError::File`] when it cannot be read.
    pub fn record(&self, name: &NetworkName) -> Result<Option<Record>, StoreError> {
        Ok(file::read(&self.data.join(name.as_str()).join("network.json"))?)
    }

    /// Whether the network is up; after a reboot only its record is left.
    pub fn is_live(&self, name: &NetworkName) -> bool {
        matches!(self.namespace(name), Ok(Some(_)))
    }

    /// Removes a network with all that belongs to it; one that is not there is no error.
    ///
    /// The namespace goes in the background, when the last descriptor and socket in it are closed; nothing waits
    /// for that, and a network of the same name can be made at once.
    ///
    /// # Errors
    ///
    /// [`StoreError::InUse`] while containers are attached; then nothing has changed.
    pub fn remove(&self, name: &NetworkName) -> Result<(), StoreError> {
        let _lock = file::lock(&self.data)?;
        let folder = self.data.join(name.as_str());
        // Nobody attaches in the meantime.
        let _members = folder.exists().then(|| file::lock(&folder)).transpose()?;
        if let (Some(record), Some(namespace)) = (self.record(name)?, self.namespace(name)?) {
            let network = Network::new(record, namespace, &self.data, &self.run);
            let containers: Vec<String> = network
                .members()?
                .into_iter()
                .map(|member| member.names.first().unwrap_or(&member.endpoint.container).clone())
                .collect();
            if !containers.is_empty() {
                return Err(StoreError::InUse { name: name.clone(), containers });
            }
        }
        let failed = |source| StoreError::Live { name: name.clone(), step: "take down", source };
        self.take_down(name).map_err(failed)?;
        for file in ["leases.json", "network.json"] {
            file::remove(&folder.join(file))?;
        }
        file::remove_folder(&folder)?;
        Ok(())
    }

    fn decide(&self, wanted: &Wanted, surroundings: Surroundings) -> Result<Record, StoreError> {
        let mut taken = surroundings.taken;
        taken.extend(self.list()?.iter().filter_map(|record| record.subnet));
        let name = &wanted.name;
        let refused = |source| StoreError::Wanted { name: name.clone(), source };
        let record = wanted.clone().decide(&taken).map_err(refused)?;
        self.write(&record)?;
        Ok(record)
    }

    fn keep(&self, mut record: Record, wanted: &Wanted) -> Result<Record, StoreError> {
        if let Some(what) = record.difference(wanted) {
            return Err(StoreError::Differs { name: wanted.name.clone(), what });
        }
        if record.wanted.labels != wanted.labels || record.wanted.options != wanted.options {
            record.wanted.labels.clone_from(&wanted.labels);
            record.wanted.options.clone_from(&wanted.options);
            self.write(&record)?;
        }
        Ok(record)
    }

    fn write(&self, record: &Record) -> Result<(), FileError> {
        let folder = self.data.join(record.name().as_str());
        fs::create_dir_all(&folder).map_err(|source| FileError::new("mkdir", &folder, source))?;
        file::replace(&folder.join("network.json"), record)
    }

    /// The namespace of a network that is up.
    fn namespace(&self, name: &NetworkName) -> Result<Option<OwnedFd>, FileError> {
        let path = self.live(name, "ns");
        let failed = |source| FileError::new("open", &path, source);
        match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(error)),
            // Without the mount it is an empty file: half of a creation, or of a removal.
            Ok(file)
                if rustix::fs::fstatfs(&file).map_err(|errno| failed(errno.into()))?.f_type
                    != NSFS =>
            {
                Ok(None)
            }
            Ok(file) => Ok(Some(file.into())),
        }
    }

    fn live(&self, name: &NetworkName, what: &str) -> PathBuf {
        self.run.join(format!("{name}.{what}"))
    }

    /// Whether the live part has all its links. What the host may have lost, such as rules, is put back.
    fn verify(&self, record: &Record, namespace: &OwnedFd) -> Result<bool, LiveError> {
        let links = sys::namespace::within(namespace.as_fd(), || RouteSocket::open()?.links())??;
        let has = |name: &str| links.iter().any(|link| link.name == name);
        let uplink: Option<Uplink> = file::read(&self.live(record.name(), "uplink"))?;
        if let Driver::Child { parent, .. } = &record.wanted.driver {
            return Ok(parent.is_some() || has(child::OWN_PARENT));
        }
        match uplink {
            Some(uplink) if has(uplink::NAME) && !record.wanted.internal => uplink.let_out()?,
            None if record.wanted.internal => {}
            _ => return Ok(false),
        }
        Ok(has(bridge::NAME))
    }

    /// Builds the live part; the mount at the end makes it real.
    fn bring_up(&self, record: &Record, host: &mut RouteSocket) -> Result<OwnedFd, LiveError> {
        let surroundings = Surroundings::observe(host)?;
        let mtu = record.wanted.mtu.unwrap_or(surroundings.mtu);
        let namespace = sys::namespace::new_network()?;
        if let Driver::Child { parent, kind } = &record.wanted.driver {
            bring_up_parent(host, namespace.as_fd(), parent.as_ref(), *kind, mtu)?;
            self.make_real(record.name(), &namespace)?;
            return Ok(namespace);
        }
        let mut inside = sys::namespace::within(namespace.as_fd(), || {
            bridge::set_up_namespace(record)?;
            if !record.wanted.internal {
                uplink::create_rules(record)?;
            }
            Ok::<_, LiveError>(RouteSocket::open()?)
        })??;
        bridge::create(&mut inside, record, mtu)?;
        if !record.wanted.internal {
            let uplink = Uplink::choose(&surroundings, record)?;
            file::replace(&self.live(record.name(), "uplink"), &uplink)?;
            uplink.create(host, &mut inside, namespace.as_fd(), mtu)?;
            uplink.let_out()?;
        }
        if record.has(Family::V6) {
            sys::namespace::within(namespace.as_fd(), bridge::quieten_links)??;
        }
        self.make_real(record.name(), &namespace)?;
        Ok(namespace)
    }

    /// Mounts the namespace of a live part that is whole.
    fn make_real(&self, name: &NetworkName, namespace: &OwnedFd) -> Result<(), LiveError> {
        let path = self.live(name, "ns");
        File::create(&path)?;
        let source = format!("/proc/self/fd/{}", namespace.as_raw_fd());
        Ok(mount_bind(source, &path).map_err(io::Error::from)?)
    }

    /// Takes away all of the live part that there is.
    fn take_down(&self, name: &NetworkName) -> Result<(), LiveError> {
        let mount = self.live(name, "ns");
        while statfs(&mount).is_ok_and(|found| found.f_type == NSFS) {
            unmount(&mount, UnmountFlags::DETACH).map_err(io::Error::from)?;
        }
        file::remove(&mount)?;
        let endpoints = self.live(name, "endpoints");
        if let Ok(entries) = fs::read_dir(&endpoints) {
            for entry in entries.flatten() {
                file::remove(&entry.path())?;
            }
            file::remove_folder(&endpoints)?;
        }
        let path = self.live(name, "uplink");
        if let Some(uplink) = file::read::<Uplink>(&path)? {
            uplink.forget()?;
            file::remove(&path)?;
        }
        Ok(())
    }
}

/// Makes what members are on, if it is not a link of the host, and sees whether they can be.
fn bring_up_parent(
    host: &mut RouteSocket,
    namespace: BorrowedFd<'_>,
    parent: Option<&InterfaceName>,
    kind: ChildKind,
    mtu: u32,
) -> Result<(), LiveError> {
    let Some(parent) = parent else {
        let mut inside = sys::namespace::within(namespace, || {
            bridge::quieten_links()?;
            Ok::<_, LiveError>(RouteSocket::open()?)
        })??;
        child::create_parent(&mut inside, namespace, mtu)?;
        return Ok(child::try_out(&mut inside, child::OWN_PARENT, kind, namespace)?);
    };
    match host.link(parent.as_str()) {
        Err(error) if error.is_missing() => Err(LiveError::NoParent { parent: parent.clone() }),
        Err(error) => Err(error.into()),
        Ok(_) => Ok(child::try_out(host, parent.as_str(), kind, namespace)?),
    }
}
