//! What to do about the errors of the volumes.

use volumes::bind::BindError;
use volumes::{CreateError, MountError, PopulateError, RemoveError, StoreError};

use crate::cli::error::CommandError;

const LOOK: &str = "`compose volume ls` lists the volumes";

/// A volume that is not there.
pub fn missing(name: &str) -> CommandError {
    CommandError::new(&RemoveError::Missing { name: name.to_owned() }).help(LOOK)
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        let help = match &error {
            StoreError::Record { path, .. } => {
                let folder = path.parent().unwrap_or(path).display();
                format!(
                    "the data is in {folder}/_data: save it, remove {folder}, and create the volume again"
                )
            }
            StoreError::Read { .. } | StoreError::Open { .. } => {
                "check that the data root can be read and is not full; COMPOSE_DATA_ROOT moves it"
                    .to_owned()
            }
        };
        Self::new(&error).help(help)
    }
}

impl From<CreateError> for CommandError {
    fn from(error: CreateError) -> Self {
        let help = match &error {
            CreateError::Store(_) | CreateError::Populate(_) | CreateError::Write { .. } => {
                "check that the disk of the data root has room (`df -h`)".to_owned()
            }
            CreateError::Driver { .. } => "leave `driver` out".to_owned(),
            CreateError::Options { .. } => {
                "`type: none`, `device: /a/folder`, `o: bind` shows a folder of the host".to_owned()
            }
            CreateError::Different { name } => {
                format!(
                    "`compose volume rm {name}` removes it with its data; or undo the change in the file"
                )
            }
        };
        Self::new(&error).help(help)
    }
}

impl From<RemoveError> for CommandError {
    fn from(error: RemoveError) -> Self {
        let help = match &error {
            RemoveError::Missing { .. } => LOOK,
            RemoveError::InUse { .. } => "`compose down` removes the containers of a project",
            RemoveError::Mount(_) => "`fuser -vm` on its folder shows which processes have it open",
            RemoveError::Delete { .. } | RemoveError::Store(_) => {
                "the next change to a volume tries again to remove what is left"
            }
        };
        Self::new(&error).help(help)
    }
}

impl From<PopulateError> for CommandError {
    fn from(error: PopulateError) -> Self {
        let help = match &error {
            PopulateError::NotDirectory { .. } => "mount the volume at a folder, not at a file",
            PopulateError::Mount(_) => "check `driver_opts` of the volume",
            PopulateError::Layers(_) => "load the image again: `compose image load`",
            PopulateError::Source { .. }
            | PopulateError::Copy { .. }
            | PopulateError::Write { .. } => {
                "check that the disk of the data root has room (`df -h`); `nocopy: true` leaves the volume empty"
            }
        };
        Self::new(&error).help(help)
    }
}

impl From<MountError> for CommandError {
    fn from(error: MountError) -> Self {
        Self::new(&error).help(
            "check `driver_opts` of the volume: `type`, `device` and `o` are those of mount(8)",
        )
    }
}

impl From<BindError> for CommandError {
    fn from(error: BindError) -> Self {
        let help = match &error {
            BindError::Missing { .. } => "create it, or let `create_host_path: true` make a folder",
            BindError::Relative { .. } => "write the whole path",
            BindError::Dangling { .. } => "remove the link, or create what it points to",
            BindError::Create { .. } | BindError::Look { .. } => {
                "check the path: every part of it must be a folder that root may enter"
            }
        };
        Self::new(&error).help(help)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_volume_gets_advice() {
        let [failure] = &missing("data").failures[..] else { panic!("one failure") };
        assert_eq!(failure.message, "there is no volume data");
        assert_eq!(failure.help.as_deref(), Some(LOOK));
    }
}
