//! `compose publish`: the files of a project into a registry, from where `-f oci://…` reads them.
//!
//! What is published is there for others to read. Whatever could be meant for nobody else is shown, and nothing leaves
//! this machine before all of it has been agreed to.
//!
//! Source: compose reference S62; docker/compose `pkg/compose/publish.go`.

mod concern;
mod secret;

use std::collections::{BTreeMap, BTreeSet};

use images::registry::{Companions, ManifestVersion, Part, Publication, PushError, Pushed};
use images::{Reference, ReferenceError, Store};

use super::context::{Context, mistakes};
use super::error::CommandError;
use super::terminal::Terminal;
use super::transfer::{fetching, side_by_side};
use super::{config, digests, push};
use crate::apply::explain;
use crate::apply::image::Fetching;
use crate::diagnostic::Diagnostic;
use crate::event::{Event, Failure, Kind, Status};
use crate::file::artifact::{self, Role};
use crate::file::publish::{Published, published};
use crate::model::Project;
use crate::registry;

/// What [`concern`] finds, at its places.
type Found = Vec<Diagnostic>;

/// Put the compose files of the project into a registry, for `-f oci://REPOSITORY`
#[derive(Debug, clap::Args)]
pub struct PublishArgs {
    /// Where to put them
    #[arg(value_name = "REPOSITORY[:TAG]")]
    repository: String,
    /// Put the images of the services there as well
    #[arg(long)]
    app: bool,
    /// Version of the manifest (default: 1.1, or 1.0 if the registry does not know that)
    #[arg(long, value_name = "VERSION", value_parser = version)]
    oci_version: Option<ManifestVersion>,
    /// Pin the images to the digests that their names lead to
    #[arg(long)]
    resolve_image_digests: bool,
    /// Agree to publish environment variables and env files
    #[arg(long)]
    with_env: bool,
    /// Answer every question with yes
    #[arg(long, short)]
    yes: bool,
}

fn version(text: &str) -> Result<ManifestVersion, String> {
    match text {
        "1.0" => Ok(ManifestVersion::V1_0),
        "1.1" => Ok(ManifestVersion::V1_1),
        _ => Err("the versions are 1.0 and 1.1".to_owned()),
    }
}

/// Asks, pushes what is built, and publishes.
///
/// # Errors
///
/// When something of the project cannot be published, nobody can be asked, or the registry does not take it.
pub fn run(
    args: PublishArgs,
    context: &Context,
    terminal: &mut Terminal,
) -> Result<u8, CommandError> {
    if args.app {
        context.require_root()?;
    }
    let reference: Reference =
        args.repository.parse().map_err(|error: ReferenceError| CommandError::new(&error))?;
    if context.global().files.iter().any(|file| file.as_os_str() == "-") {
        return Err(CommandError::usage("standard input cannot be published")
            .help("save it to a file and name that with -f"));
    }
    let mut options = context.options();
    options.profiles = vec!["*".to_owned()];
    let project = context.read(&options, terminal)?;
    let published = published(&options).map_err(|found| mistakes(&found, &options, terminal))?;
    let refused = concern::refused(&project, &published, args.with_env);
    if !refused.is_empty() {
        return Err(mistakes(&refused, &options, terminal));
    }
    for left in concern::left_behind(&project) {
        terminal.warn_drawn(&super::context::draw(&[left], &options, terminal));
    }
    if !args.yes && !agree(&project, &published, terminal)? {
        terminal.warn("nothing was published");
        return Ok(0);
    }
    let mut parts = parts(published);
    if args.resolve_image_digests {
        let pinned = digests::resolve(images(&project), context, terminal)?;
        let text = config::yaml_text(&digests::lock(&pinned, &[]));
        parts.push(artifact::part(Role::Compose, "image-digests.yaml", text.into_bytes()));
    }
    let step = |status| Event::step(Kind::Artifact, reference.familiar(), status);
    if context.global().dry_run {
        terminal.draw(&step(Status::Publishing));
        terminal.draw(&step(Status::Published));
        return Ok(0);
    }
    let fetching = fetching(false)?;
    push_built(&project, &fetching, context, terminal)?;
    terminal.draw(&step(Status::Publishing));
    let work = Work { args: &args, reference: &reference, parts: &parts, fetching: &fetching };
    let failures = side_by_side(vec![()], None, &fetching.cancel, terminal, |(), _| {
        let pushed = work.publish()?;
        if args.app { work.accompany(pushed, &project, context) } else { Ok(()) }
    })?;
    if !failures.is_empty() {
        terminal.draw(&step(Status::Error));
        return Err(failures.into());
    }
    terminal.draw(&step(Status::Published));
    Ok(0)
}

/// Shows what others will be able to read, and asks. A no is an answer and no failure, as for docker compose.
fn agree(
    project: &Project,
    published: &Published,
    terminal: &mut Terminal,
) -> Result<bool, CommandError> {
    for question in concern::questions(project, published) {
        if !terminal.confirm(&question, "`compose publish --yes`")? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn parts(published: Published) -> Vec<Part> {
    let part = |file: crate::file::publish::PublishedFile| {
        artifact::part(file.role, &file.name, file.text.into_bytes())
    };
    published.files.into_iter().map(part).collect()
}

/// The images of the services, by service.
fn images(project: &Project) -> BTreeMap<String, String> {
    let image = |service: &crate::model::Service| {
        Some((service.name.as_str().to_owned(), service.image.clone()?))
    };
    project.services.values().filter_map(image).collect()
}

/// Gives the images away that are built here; one that is not here may be there already.
fn push_built(
    project: &Project,
    fetching: &Fetching,
    context: &Context,
    terminal: &mut Terminal,
) -> Result<(), CommandError> {
    let built = project.services.values().filter(|service| service.build.is_some());
    let names: Vec<String> = built.filter_map(|service| service.image.clone()).collect();
    if names.is_empty() {
        return Ok(());
    }
    context.require_root()?;
    let store = Store::open(&context.roots().images())?;
    let failures =
        side_by_side(names, context.parallel(), &fetching.cancel, terminal, |name, tell| {
            push::push(&store, fetching, &name, tell)
        })?;
    failures.iter().for_each(|failure| terminal.warn(&failure.message));
    Ok(())
}

/// What is published, and how.
struct Work<'a> {
    args: &'a PublishArgs,
    reference: &'a Reference,
    parts: &'a [Part],
    fetching: &'a Fetching,
}

impl Work<'_> {
    fn publish(&self) -> Result<Pushed, Failure> {
        let publication = Publication {
            reference: self.reference,
            kind: artifact::KIND,
            parts: self.parts,
            version: self.args.oci_version,
            cancel: &self.fetching.cancel,
        };
        self.fetching.registry.publish(&publication).map_err(|error| {
            let help = match &error {
                PushError::Registry(error) => registry::help(error),
                PushError::Digest(_) => Some("publish to a name with a tag".to_owned()),
                _ => None,
            };
            let failure = Failure::new(&error);
            let message = format!("cannot publish {}: {}", self.args.repository, failure.message);
            Failure { message, help, ..failure }
        })
    }

    fn accompany(
        &self,
        subject: Pushed,
        project: &Project,
        context: &Context,
    ) -> Result<(), Failure> {
        let mut images: Vec<Reference> = Vec::new();
        for image in images_of(project) {
            let image = image.parse().map_err(|error: ReferenceError| Failure::new(&error))?;
            images.push(image);
        }
        let store =
            Store::open(&context.roots().images()).map_err(|error| explain::other(&error))?;
        let companions = Companions {
            reference: self.reference,
            subject,
            artifact_type: artifact::KIND.artifact,
            images: &images,
            annotations: &artifact::marks(),
            cancel: &self.fetching.cancel,
        };
        let done = self.fetching.registry.accompany(&store, &companions);
        done.map(drop).map_err(|error| explain::other(&error))
    }
}

/// The images of all services, each once.
fn images_of(project: &Project) -> BTreeSet<String> {
    images(project).into_values().collect()
}
