//! `compose image rm`.

use images::{Force, Image, Removed, Store};

use crate::cli::context::Context;
use crate::cli::error::CommandError;
use crate::cli::terminal::Terminal;
use crate::record::{Container, list};

/// Remove images
#[derive(Debug, clap::Args)]
pub struct RmArgs {
    /// Names or ids
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
    /// Take all names of an id away, and the name of an image that a container uses; its files stay until then
    #[arg(long, short)]
    force: bool,
}

/// Removes one image after the other and goes on when one resists.
///
/// # Errors
///
/// All failures, in the order of the images.
pub fn run(
    args: &RmArgs,
    context: &Context,
    store: &Store,
    terminal: &mut Terminal,
) -> Result<u8, CommandError> {
    let containers = list::all_containers(context.roots())?.containers;
    let force = if args.force { Force::Yes } else { Force::No };
    let mut failures = Vec::new();
    for name in &args.images {
        match store.remove(name, force, |image| user_of(image, &containers)) {
            Ok(removed) => terminal.print(lines(&removed))?,
            Err(error) => failures.extend(CommandError::from(error).failures),
        }
    }
    if failures.is_empty() { Ok(0) } else { Err(failures.into()) }
}

/// A container that is made of the image, or has it mounted.
fn user_of(image: &Image, containers: &[Container]) -> Option<String> {
    let id = image.id.to_string();
    let has = |container: &&Container| container.record.images().any(|used| used == id);
    let user = containers.iter().find(has)?;
    Some(user.record.name.clone())
}

fn lines(removed: &Removed) -> String {
    let untagged = removed.untagged.iter().map(|name| format!("Untagged: {}\n", name.familiar()));
    untagged.chain(removed.deleted.iter().map(|id| format!("Deleted: {id}\n"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::ps::tests::container;
    use crate::record::{MountRecord, MountSource, Phase};

    #[test]
    fn an_image_is_used_by_containers_made_of_it_and_by_those_that_mount_it() {
        let (_dir, store) = super::super::tests::store();
        let image = store.find("app").unwrap().unwrap();
        let mut used = container("web", 1, Phase::Exited);
        assert_eq!(user_of(&image, std::slice::from_ref(&used)), None);
        used.record.image_id = image.id.to_string();
        assert_eq!(user_of(&image, std::slice::from_ref(&used)), Some(used.record.name.clone()));
        let mounted = MountSource::Image {
            image: "app".to_owned(),
            id: std::mem::take(&mut used.record.image_id),
            subpath: None,
        };
        assert_eq!(user_of(&image, std::slice::from_ref(&used)), None);
        used.record.mounts.push(MountRecord {
            target: "/mnt".into(),
            source: mounted,
            read_only: true,
        });
        assert_eq!(user_of(&image, std::slice::from_ref(&used)), Some(used.record.name.clone()));
        let refused =
            store.remove("app:v1", Force::No, |image| user_of(image, std::slice::from_ref(&used)));
        assert_eq!(lines(&refused.unwrap()), "Untagged: app:v1\n");
    }
}
