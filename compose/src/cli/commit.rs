//! `compose commit`.

use std::fs::File;
use std::io::{BufWriter, Seek};
use std::path::Path;

use images::{Change, Import, Reference, Store};
use runtime::cgroup::Place;
use runtime::launch::{Launch, Rootfs, Upper};
use rustix::fs::{Mode, OFlags};

use super::context::Context;
use super::cp::CopyError;
use super::cp::pack::Packer;
use super::error::CommandError;
use super::pick::{self, Among};
use super::signals::Signals;
use super::terminal::Terminal;
use crate::event::{Event, Kind, Status};
use crate::model::ServiceName;
use crate::record::{Container, Phase};

/// Make an image of what a container has changed
///
/// The image is that of the container with one more layer, and with its configuration.
#[derive(Debug, clap::Args)]
pub struct CommitArgs {
    /// The service
    service: ServiceName,
    /// What the image is called (default: nothing, it is found by its id)
    #[arg(value_name = "REPOSITORY[:TAG]")]
    reference: Option<Reference>,
    /// Who made it, such as `Ada <ada@example.com>`
    #[arg(long, short, value_name = "NAME")]
    author: Option<String>,
    /// An instruction of a Dockerfile that changes the configuration: CMD, ENTRYPOINT, ENV, EXPOSE,
    /// LABEL, STOPSIGNAL, USER, VOLUME or WORKDIR
    #[arg(long, short, value_name = "INSTRUCTION")]
    change: Vec<Change>,
    /// Number of the container among the replicas (default: the lowest)
    #[arg(long, value_name = "N")]
    index: Option<u32>,
    /// What the history says about it
    #[arg(long, short, value_name = "TEXT")]
    message: Option<String>,
    /// Freeze the container while its files are read
    #[arg(long, short, value_name = "WHETHER", num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pause: bool,
}

/// Packs the changes of the container as a layer, makes an image of it and prints its id.
///
/// # Errors
///
/// When there is no such container, its changes are in memory or on no image, or the store refuses.
pub fn run(
    args: CommitArgs,
    context: &Context,
    terminal: &mut Terminal,
) -> Result<u8, CommandError> {
    let (target, containers) = context.target_with_containers(terminal)?;
    let container = pick::container(&target, &containers, &args.service, args.index, Among::All)?;
    let name = container.record.name.as_str();
    if context.global().dry_run {
        terminal.print(format!("DRY-RUN MODE - commit {name}\n"))?;
        return Ok(0);
    }
    let launch = context.launch(container)?;
    let upper = changes(container, &launch)?;
    terminal.draw(&Event::step(Kind::Container, name, Status::Committing));
    let done = args.commit(container, &launch, upper, context);
    let word = if done.is_ok() { Status::Committed } else { Status::Error };
    terminal.draw(&Event::step(Kind::Container, name, word));
    terminal.print(format!("{}\n", done?))?;
    Ok(0)
}

/// Where the changes of the container are.
fn changes<'a>(container: &Container, launch: &'a Launch) -> Result<&'a Path, CommandError> {
    let name = &container.record.name;
    let refused = |message: String| {
        Err(CommandError::failed(message)
            .help("`compose export` packs all its files, and `compose image import` makes an image of them"))
    };
    if container.record.image.starts_with("rootfs:") {
        return refused(format!(
            "container {name} is of a directory, which is no image to build on"
        ));
    }
    match &launch.rootfs {
        Rootfs::Overlay { upper: Upper::Directory { upper, .. }, .. } => Ok(upper),
        Rootfs::Overlay { upper: Upper::ReadOnly, .. } => {
            refused(format!("container {name} is read-only: it has changed nothing"))
        }
        Rootfs::Overlay { upper: Upper::Memory, .. } | Rootfs::Directory(_) => {
            refused(format!("the changes of container {name} are on no disk"))
        }
    }
}

impl CommitArgs {
    /// The id of the new image.
    fn commit(
        &self,
        container: &Container,
        launch: &Launch,
        upper: &Path,
        context: &Context,
    ) -> Result<String, CommandError> {
        let store = Store::open(&context.roots().images())?;
        let archive = scratch(&context.roots().images())?;
        {
            // An interrupt waits until the container goes on.
            let _signals = Signals::catch()?;
            let wanted = self.pause && container.state.phase == Phase::Running;
            let _frozen = wanted.then(|| Frozen::begin(launch)).transpose()?;
            pack(upper, &archive)?;
        }
        let mut archive = archive;
        archive.rewind().map_err(|error| CommandError::new(&error))?;
        let import = Import {
            reference: self.reference.clone(),
            changes: &self.change,
            base: Some(&container.record.image_id),
            author: self.author.as_deref(),
            comment: Some(self.message.as_deref().unwrap_or("committed by compose")),
        };
        Ok(store.import(archive, &import)?.id.to_string())
    }
}

fn pack(upper: &Path, archive: &File) -> Result<(), CopyError> {
    let failed = |source: std::io::Error| CopyError { path: upper.to_owned(), source };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(upper, flags, Mode::empty()).map_err(|e| failed(e.into()))?;
    let mut packer = Packer::of_changes(BufWriter::new(archive));
    packer.add_children(folder, Path::new(""))?;
    packer.finish().map(drop).map_err(failed)
}

/// A file without a name on the disk of the images (open(2), `O_TMPFILE`).
fn scratch(folder: &Path) -> Result<File, CommandError> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let opened = rustix::fs::open(folder, flags, Mode::from_raw_mode(0o600));
    opened.map(File::from).map_err(|error| {
        CommandError::failed(format!("cannot make a file in {}: {error}", folder.display()))
            .help("check that the data root is writable and not full; COMPOSE_DATA_ROOT moves it")
    })
}

/// A container that is frozen until this is dropped.
struct Frozen<'a>(&'a Place);

impl<'a> Frozen<'a> {
    fn begin(launch: &'a Launch) -> Result<Self, CommandError> {
        let place = launch.cgroup.as_ref();
        let place =
            place.ok_or_else(|| CommandError::failed("its control groups are not known"))?;
        let frozen = Self(place);
        place.freeze().map_err(|error| {
            CommandError::new(&error).help("`--pause=false` reads its files while it runs")
        })?;
        Ok(frozen)
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        // One that has ended meanwhile has nothing to go on with.
        let _ = self.0.thaw();
    }
}
