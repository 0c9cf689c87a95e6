//! What is mounted into a container: from the mounts of the file to binds of host paths.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use images::Image;
use runtime::launch::{GrantedFile, MountedImage};
use runtime::spec::{Bind, MountWish, Recursion, Tmpfs};
use volumes::bind::{self, BindError, Missing};
use volumes::{Volume, Wanted};

use super::run::Walk;
use crate::model::{
    FileSource, Grant, Mount, MountKind, Project, Propagation, Recursive, Service, TmpfsOptions,
    VolumeSource, VolumesFrom,
};
use crate::record::{ContainerPaths, ContainerRecord, MountRecord, MountSource, labels};

/// A mount could not be made ready.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// A bind.
    #[error("cannot mount {}", target.display())]
    Bind {
        /// Where it was to appear.
        target: PathBuf,
        /// Why.
        source: BindError,
    },
    /// An image that cannot be used.
    #[error(transparent)]
    Image(#[from] images::FindError),
    /// An image that was to be there.
    #[error("image {image} does not exist here")]
    NoImage {
        /// Its reference.
        image: String,
    },
    /// A volume that was to be there.
    #[error("volume {name} does not exist")]
    NoVolume {
        /// Its real name.
        name: String,
    },
    /// A volume that could not be made.
    #[error(transparent)]
    Create(#[from] volumes::CreateError),
    /// A volume that could not be read.
    #[error(transparent)]
    Store(#[from] volumes::StoreError),
    /// A name that no volume can have.
    #[error(transparent)]
    Name(#[from] volumes::NameError),
    /// A volume with options that could not be mounted.
    #[error(transparent)]
    Options(#[from] volumes::MountError),
    /// A part of a volume.
    #[error(transparent)]
    Subpath(#[from] volumes::SubpathError),
    /// What the image has at the place could not be copied.
    #[error("cannot fill volume {name} from the image")]
    Populate {
        /// The volume.
        name: String,
        /// Why.
        source: volumes::PopulateError,
    },
    /// A secret or config.
    #[error("cannot make the file for {}", target.display())]
    Grant {
        /// Where it was to appear.
        target: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A secret or config whose variable is not set.
    #[error("environment variable {variable} is not set; it is the source of {}", target.display())]
    Unset {
        /// The variable.
        variable: String,
        /// Where it was to appear.
        target: PathBuf,
    },
    /// A kind of mount that does not exist on this system, or not yet.
    #[error("{}: {kind} mounts are not possible here", target.display())]
    Impossible {
        /// Where it was to appear.
        target: PathBuf,
        /// Which kind.
        kind: &'static str,
    },
}

/// Everything that decides what is mounted into one container.
#[derive(Debug)]
pub struct Sources<'a> {
    /// The walk, for images.
    pub walk: &'a Walk,
    /// The volumes.
    pub volumes: &'a volumes::Store,
    /// The whole project, for the names of volumes and the content of secrets.
    pub project: &'a Project,
    /// The service.
    pub service: &'a Service,
    /// Its image.
    pub image: &'a Image,
    /// The container, by id.
    pub id: &'a str,
    /// Where the container's own files are.
    pub paths: &'a ContainerPaths,
    /// The folder whose `hosts`, `hostname` and `resolv.conf` it sees: its own, or that of whose network it shares.
    pub etc: &'a Path,
    /// Anonymous volumes of the container that this one replaces, by target.
    pub inherited: &'a BTreeMap<PathBuf, String>,
    /// The containers whose mounts it takes over.
    pub others: &'a [(VolumesFrom, ContainerRecord)],
}

/// The mounts of a container, for the runtime and for its record.
#[derive(Debug, Default)]
pub struct Mounts {
    /// For the runtime.
    pub wishes: Vec<MountWish>,
    /// For the record.
    pub records: Vec<MountRecord>,
    /// Which of them are images.
    pub images: Vec<MountedImage>,
    /// Which of them are copies in memory, with an owner of their own.
    pub granted: Vec<GrantedFile>,
}

impl Mounts {
    fn bind(&mut self, bind: Bind, source: MountSource) {
        self.records.push(MountRecord {
            source,
            target: bind.target.clone(),
            read_only: bind.read_only,
        });
        self.wishes.push(MountWish::Bind(bind));
    }

    fn targets(&self) -> BTreeSet<&Path> {
        self.records.iter().map(|mount| mount.target.as_path()).collect()
    }
}

impl Sources<'_> {
    /// Makes everything ready that is to be mounted: sources are there, volumes exist and are filled.
    ///
    /// # Errors
    ///
    /// The first mount that cannot be made ready. Volumes that were made meanwhile stay: they are empty or whole.
    pub fn resolve(&self) -> Result<Mounts, MountError> {
        let mut mounts = Mounts::default();
        self.etc_files(&mut mounts);
        for mount in &self.service.mounts {
            self.mount(mount, &mut mounts)?;
        }
        for tmpfs in &self.service.tmpfs {
            add_tmpfs(&tmpfs.target, false, &tmpfs.options, &mut mounts);
        }
        self.granted(&mut mounts)?;
        for (from, other) in self.others {
            self.taken_over(from, other, &mut mounts)?;
        }
        self.volumes_of_image(&mut mounts)?;
        Ok(mounts)
    }

    /// Makes the secrets and configs ready.
    ///
    /// # Errors
    ///
    /// The first one that cannot be.
    pub fn granted(&self, mounts: &mut Mounts) -> Result<(), MountError> {
        for grant in &self.service.secrets {
            let secret = &self.project.secrets[&grant.source];
            self.grant(grant, &secret.source, mounts)?;
        }
        for grant in &self.service.configs {
            let config = &self.project.configs[&grant.source];
            self.grant(grant, &config.source, mounts)?;
        }
        Ok(())
    }

    /// The three files that say who and where the container is; not in the record, like Docker's.
    fn etc_files(&self, mounts: &mut Mounts) {
        for name in ["hosts", "hostname", "resolv.conf"] {
            mounts.wishes.push(MountWish::Bind(Bind {
                source: self.etc.join(name),
                target: Path::new("/etc").join(name),
                ..Bind::default()
            }));
        }
    }

    fn mount(&self, mount: &Mount, mounts: &mut Mounts) -> Result<(), MountError> {
        let Mount { target, read_only, kind } = mount;
        let impossible = |kind| Err(MountError::Impossible { target: target.clone(), kind });
        match kind {
            MountKind::Bind { source, create_host_path, propagation, recursive, selinux: _ } => {
                let missing = if *create_host_path { Missing::Create } else { Missing::Refuse };
                let found = bind::check(source, missing)
                    .map_err(|source| MountError::Bind { target: target.clone(), source })?;
                let bind = Bind {
                    source: found.path.clone(),
                    target: target.clone(),
                    read_only: *read_only,
                    propagation: propagation.map(propagate).unwrap_or_default(),
                    recursion: recursion(*recursive),
                };
                mounts.bind(bind, MountSource::Bind { path: found.path });
                Ok(())
            }
            MountKind::Volume { source, nocopy, subpath, labels } => {
                let volume = match source {
                    VolumeSource::Named(key) => self.named(&self.project.volumes[key].name)?,
                    VolumeSource::Anonymous => self.anonymous(target, labels)?,
                };
                self.add_volume(volume, mount, !nocopy, subpath.as_deref(), mounts)
            }
            MountKind::Tmpfs(options) => {
                add_tmpfs(target, *read_only, options, mounts);
                Ok(())
            }
            MountKind::Image { image, subpath } => {
                self.mounted_image(target, image, subpath.as_deref(), mounts)
            }
            MountKind::NamedPipe { .. } => impossible("named pipe"),
            MountKind::Cluster { .. } => impossible("cluster volume"),
        }
    }

    /// The content of an image, or of that of a service.
    fn mounted_image(
        &self,
        target: &Path,
        name: &str,
        subpath: Option<&Path>,
        mounts: &mut Mounts,
    ) -> Result<(), MountError> {
        let reference = self.project.image_of(name);
        let found = self.walk.image(&reference)?;
        let image = found.ok_or_else(|| MountError::NoImage { image: reference.clone() })?;
        let staging = self.paths.grants();
        fs::create_dir_all(&staging)
            .map_err(|source| MountError::Grant { target: target.to_owned(), source })?;
        let bind =
            Bind { source: staging, target: target.to_owned(), read_only: true, ..Bind::default() };
        mounts.images.push(MountedImage {
            // As the spec spells the destination of its mount.
            target: target.components().collect(),
            layers: image.layers.clone(),
            subpath: subpath.map(|path| path.strip_prefix("/").unwrap_or(path).to_owned()),
        });
        let subpath = subpath.map(Path::to_owned);
        let id = image.id.to_string();
        mounts.bind(bind, MountSource::Image { image: reference, id, subpath });
        Ok(())
    }

    fn named(&self, name: &str) -> Result<Volume, MountError> {
        let found = self.volumes.find(name)?;
        found.ok_or_else(|| MountError::NoVolume { name: name.to_owned() })
    }

    /// The anonymous volume at `target`: that of the container which is replaced, or a new one.
    fn anonymous(
        &self,
        target: &Path,
        labels: &BTreeMap<String, String>,
    ) -> Result<Volume, MountError> {
        if let Some(name) = self.inherited.get(target)
            && let Some(volume) = self.volumes.find(name)?
        {
            return Ok(volume);
        }
        let mut all = labels.clone();
        all.insert(labels::CONTAINER.to_owned(), self.id.to_owned());
        let wanted = Wanted::anonymous(all)
            .map_err(|source| MountError::Grant { target: target.to_owned(), source })?;
        Ok(self.volumes.create(&wanted)?)
    }

    fn add_volume(
        &self,
        volume: Volume,
        mount: &Mount,
        fill: bool,
        subpath: Option<&Path>,
        mounts: &mut Mounts,
    ) -> Result<(), MountError> {
        let root = volume.mount()?;
        if fill && volume.local_mount()?.is_none() {
            volumes::populate(&volume, &self.image.layers, &mount.target)
                .map_err(|source| MountError::Populate { name: volume.name.to_string(), source })?;
        }
        let source = match subpath {
            Some(subpath) => volume.subpath(&root, subpath)?.1,
            None => root,
        };
        let bind = Bind {
            source,
            target: mount.target.clone(),
            read_only: mount.read_only,
            ..Bind::default()
        };
        let record =
            MountSource::Volume { name: volume.name.to_string(), anonymous: volume.is_anonymous() };
        mounts.bind(bind, record);
        Ok(())
    }

    /// A secret or config: the file itself if it is one and nothing is said of its owner and permissions, else a copy that
    /// the container gets in memory.
    fn grant<K>(
        &self,
        grant: &Grant<K>,
        source: &FileSource,
        mounts: &mut Mounts,
    ) -> Result<(), MountError> {
        let Grant { target, uid, gid, mode, .. } = grant;
        let content = match source {
            FileSource::File(path) => {
                let found = bind::check(path, Missing::Refuse)
                    .map_err(|source| MountError::Bind { target: target.clone(), source })?;
                if (uid, gid, mode) != (&None, &None, &None) {
                    self.copied(grant, mounts)?;
                }
                let bind = bind_grant(target, &found.path);
                mounts.bind(bind, MountSource::Bind { path: found.path });
                return Ok(());
            }
            FileSource::Content(content) => content,
            FileSource::Environment { value: Some(value), .. } => value,
            FileSource::Environment { variable, value: None } => {
                let (variable, target) = (variable.clone(), target.clone());
                return Err(MountError::Unset { variable, target });
            }
            FileSource::External => {
                return Err(MountError::Impossible { target: target.clone(), kind: "external" });
            }
            FileSource::Driver(_) => {
                return Err(MountError::Impossible { target: target.clone(), kind: "driver" });
            }
            FileSource::Template(_) => {
                let kind = "template_driver";
                return Err(MountError::Impossible { target: target.clone(), kind });
            }
        };
        let file = self.copied(grant, mounts)?;
        let failed = |source| MountError::Grant { target: target.clone(), source };
        // Beside its place first: a container that exists may be started at any time, and reads it whole.
        let beside = file.with_extension("new");
        fs::write(&beside, content).map_err(failed)?;
        fs::set_permissions(&beside, fs::Permissions::from_mode(0o400)).map_err(failed)?;
        fs::rename(&beside, &file).map_err(failed)?;
        // Not in the record: it is the container's own, and nobody's with `volumes_from`.
        mounts.wishes.push(MountWish::Bind(bind_grant(target, &file)));
        Ok(())
    }

    /// Has the container get a copy, and gives the place for what is copied if it is not a file of the host.
    fn copied<K>(&self, grant: &Grant<K>, mounts: &mut Mounts) -> Result<PathBuf, MountError> {
        let folder = self.paths.grants();
        fs::create_dir_all(&folder)
            .map_err(|source| MountError::Grant { target: grant.target.clone(), source })?;
        let file = folder.join(mounts.granted.len().to_string());
        mounts.granted.push(granted(grant));
        Ok(file)
    }

    /// Binds and volumes of another container, at the same places; what the service says itself goes before.
    fn taken_over(
        &self,
        from: &VolumesFrom,
        other: &ContainerRecord,
        mounts: &mut Mounts,
    ) -> Result<(), MountError> {
        for mount in &other.mounts {
            if mounts.targets().contains(mount.target.as_path()) {
                continue;
            }
            let source = match &mount.source {
                MountSource::Bind { path } => path.clone(),
                MountSource::Volume { name, .. } => self.named(name)?.mount()?,
                MountSource::Image { image, subpath, .. } => {
                    self.mounted_image(&mount.target, image, subpath.as_deref(), mounts)?;
                    continue;
                }
                MountSource::Tmpfs => continue,
            };
            let bind = Bind {
                source,
                target: mount.target.clone(),
                read_only: mount.read_only || from.read_only,
                ..Bind::default()
            };
            // The volume belongs to the other container: it goes when that one goes.
            let record = match &mount.source {
                MountSource::Volume { name, .. } => {
                    MountSource::Volume { name: name.clone(), anonymous: false }
                }
                source => source.clone(),
            };
            mounts.bind(bind, record);
        }
        Ok(())
    }

    /// `VOLUME` of the image: an anonymous volume wherever the service mounts nothing itself.
    fn volumes_of_image(&self, mounts: &mut Mounts) -> Result<(), MountError> {
        for target in self.image.execution().volumes().iter().flatten() {
            let target = PathBuf::from(target);
            if mounts.targets().contains(target.as_path()) {
                continue;
            }
            let volume = self.anonymous(&target, &BTreeMap::new())?;
            let mount = Mount {
                target,
                read_only: false,
                kind: MountKind::Volume {
                    source: VolumeSource::Anonymous,
                    nocopy: false,
                    subpath: None,
                    labels: BTreeMap::new(),
                },
            };
            self.add_volume(volume, &mount, true, None, mounts)?;
        }
        Ok(())
    }
}

fn bind_grant(target: &Path, source: &Path) -> Bind {
    let (source, target) = (source.to_owned(), target.to_owned());
    Bind { source, target, read_only: true, ..Bind::default() }
}

fn granted<K>(grant: &Grant<K>) -> GrantedFile {
    GrantedFile {
        // As the spec spells the destination of its mount.
        target: grant.target.components().collect(),
        uid: grant.uid,
        gid: grant.gid,
        mode: grant.mode.unwrap_or(0o444),
    }
}

fn add_tmpfs(target: &Path, read_only: bool, options: &TmpfsOptions, mounts: &mut Mounts) {
    let TmpfsOptions { size_bytes, mode, uid, gid, other } = options;
    let mut further = other.clone();
    if read_only {
        further.push("ro".to_owned());
    }
    mounts.records.push(MountRecord {
        source: MountSource::Tmpfs,
        target: target.to_owned(),
        read_only,
    });
    mounts.wishes.push(MountWish::Tmpfs(Tmpfs {
        target: target.to_owned(),
        size: *size_bytes,
        mode: *mode,
        uid: *uid,
        gid: *gid,
        options: further,
    }));
}

const fn propagate(propagation: Propagation) -> runtime::spec::Propagation {
    use runtime::spec::Propagation as To;
    match propagation {
        Propagation::Private => To::Private,
        Propagation::Rprivate => To::RPrivate,
        Propagation::Shared => To::Shared,
        Propagation::Rshared => To::RShared,
        Propagation::Slave => To::Slave,
        Propagation::Rslave => To::RSlave,
    }
}

const fn recursion(recursive: Recursive) -> Recursion {
    match recursive {
        Recursive::Enabled | Recursive::Readonly => Recursion::Recursive,
        Recursive::Disabled => Recursion::Off,
        Recursive::Writable => Recursion::WritableBelow,
    }
}
