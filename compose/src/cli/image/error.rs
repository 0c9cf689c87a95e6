//! Advice for what can go wrong with images.

use std::io;

use images::{
    ArchiveError, ChangeError, FindError, ImportError, LayerError, LoadError, ReferenceError,
    RemoveError, StoreError, TagError,
};

use crate::cli::error::{CommandError, USAGE};
use crate::event::Failure;

const MAKE_ROOM: &str = "make room there (`df -h` shows how full it is, `compose image rm` removes images), or move the data root with COMPOSE_DATA_ROOT";
const IMAGES: &str = "`compose image ls` shows the images there are";

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        let help = match &error {
            StoreError::Full { .. } => MAKE_ROOM,
            StoreError::Access { source, .. }
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                "the store belongs to root: use `sudo`, and check that its file system is not mounted read-only"
            }
            StoreError::Access { .. } => {
                "check the file system of the data root; COMPOSE_DATA_ROOT moves it"
            }
            StoreError::Damaged { .. } | StoreError::Invalid { .. } => {
                "remove the image and import or load it again; if that fails as well, remove the data root's `images`"
            }
            StoreError::LayerMissing { .. } => {
                "import or load the image again, which brings the layer back"
            }
        };
        Self::new(&error).help(help)
    }
}

impl From<FindError> for CommandError {
    fn from(error: FindError) -> Self {
        let help = match error {
            FindError::Store(error) => return error.into(),
            FindError::Name(error) => return name(&error),
            FindError::Ambiguous { .. } => "give more digits of the id",
            FindError::Directory { .. } => {
                "write rootfs: and the absolute path of a directory, such as rootfs:/srv/root"
            }
        };
        Self::new(&error).help(help)
    }
}

/// The answer to a name that is none.
fn name(error: &ReferenceError) -> CommandError {
    let help = match error {
        ReferenceError::UpperCase(given) => format!("did you mean {}?", given.to_lowercase()),
        _ => {
            "an image is named [REGISTRY/]NAME[:TAG], such as mysql:8.4 or localhost:5000/team/app"
                .to_owned()
        }
    };
    CommandError::new(error).help(help).code(USAGE)
}

impl From<ImportError> for CommandError {
    fn from(error: ImportError) -> Self {
        let help = match error {
            ImportError::Store(error) => return error.into(),
            ImportError::Base(error) => return error.into(),
            ImportError::BaseNotFound(_) => IMAGES,
            ImportError::BaseIsDirectory(_) => {
                "import the directory first: tar -C DIR -c . | compose image import - NAME"
            }
            ImportError::Digest(_) => {
                "give the image a name with a tag; its digest follows from its content"
            }
            ImportError::Change(ref change) => {
                return Self::new(&error).help(change_help(change)).code(USAGE);
            }
            ImportError::Layer(ref layer) => layer_help(layer),
        };
        Self::new(&error).help(help)
    }
}

const fn change_help(error: &ChangeError) -> &'static str {
    match error {
        ChangeError::Words { .. } => {
            "close the quotes and braces; in a shell, put the whole instruction in single quotes"
        }
        _ => "write it as in a Dockerfile, such as --change 'CMD [\"nginx\"]' --change 'ENV A=b'",
    }
}

const fn layer_help(error: &LayerError) -> &'static str {
    match error {
        LayerError::Archive { source: ArchiveError::NotAnArchive, .. } => {
            "give the tar archive of a root file system: plain, or compressed with gzip, zstd, bzip2 or xz"
        }
        LayerError::Archive { source: ArchiveError::Truncated, .. } => {
            "the archive ends too early: make it, or copy it, again"
        }
        LayerError::Archive { source: ArchiveError::Read(_), .. } => {
            "check the file, and that it is compressed as its name says"
        }
        LayerError::Archive { source: ArchiveError::Malformed(_), .. } => {
            "the archive is damaged, or made to be read in two ways: make it again, with GNU tar"
        }
        LayerError::Full { .. } => MAKE_ROOM,
        LayerError::Path { .. } | LayerError::Entry { .. } | LayerError::TooMuch { .. } => {
            "no root file system has this; do not trust where the archive comes from"
        }
        LayerError::Create { .. } => {
            "check that the data root is on a Linux file system such as ext4, xfs or btrfs"
        }
    }
}

impl From<LoadError> for CommandError {
    fn from(error: LoadError) -> Self {
        let help = match error {
            LoadError::Store(error) => return error.into(),
            LoadError::NoImages => {
                "a root file system is imported: compose image import ARCHIVE NAME"
            }
            LoadError::Platform { .. } => {
                "take another one with --platform, if this machine can run it"
            }
            LoadError::Layer { ref source, .. } => layer_help(source),
            LoadError::Archive(ArchiveError::NotAnArchive) => {
                "give what `docker save`, `podman save` or `skopeo copy` has written"
            }
            LoadError::Document { .. } => {
                "save the image again, with all its layers, as an image of containers"
            }
            _ => "the archive is damaged or incomplete: save the image again",
        };
        Self::new(&error).help(help)
    }
}

impl From<TagError> for CommandError {
    fn from(error: TagError) -> Self {
        let help = match error {
            TagError::Find(error) => return error.into(),
            TagError::Store(error) => return error.into(),
            TagError::NotFound(_) => IMAGES,
            TagError::Digest(_) => "give a name with a tag; the digest follows from the content",
        };
        Self::new(&error).help(help)
    }
}

impl From<RemoveError> for CommandError {
    fn from(error: RemoveError) -> Self {
        let help = match error {
            RemoveError::Find(error) => return error.into(),
            RemoveError::Store(error) => return error.into(),
            RemoveError::NotFound(_) => IMAGES,
            RemoveError::InUse { .. } => {
                "remove the container first (`compose down` in its project); --force takes only the name away"
            }
            RemoveError::SeveralNames { .. } => {
                "remove one name after the other, or all with --force"
            }
        };
        Self::new(&error).help(help)
    }
}

/// An image that a command names and that is not there.
pub(super) fn not_found(name: &str) -> CommandError {
    CommandError::failed(format!("no such image: {name}")).help(IMAGES)
}

/// An archive that cannot be opened.
pub(super) fn unreadable(path: &std::path::Path, error: &io::Error) -> CommandError {
    let said = Failure::new(error).message;
    CommandError::failed(format!("cannot open {}: {said}", path.display()))
        .help("give the path of an archive, or - for standard input")
}
