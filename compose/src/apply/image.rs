//! Fetching images.

use std::rc::Rc;
use std::sync::Arc;

use images::registry::{Cancel, LayerStatus, Progress, Pull, PullError, Pulled, Registry};
use images::{Platform, PlatformError, Reference, ReferenceError, Store};
use tokio::sync::mpsc;

use super::explain;
use super::run::{StepFailure, Walk};
use super::step::place_of;
use crate::event::{Amount, Event, Failure, Kind, Status, Step, Subject};
use crate::model::ServiceName;
use crate::plan::Need;
use crate::registry;

/// What a walk needs to fetch images.
#[derive(Debug, Clone)]
pub struct Fetching {
    /// The registries as the one who asks sees them.
    pub registry: Arc<Registry>,
    /// Gives everything up that is being fetched.
    pub cancel: Cancel,
    /// Nothing is told of how far the layers are.
    pub quiet: bool,
}

/// An image could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Its name is none.
    #[error(transparent)]
    Name(#[from] ReferenceError),
    /// The platform is none.
    #[error(transparent)]
    Platform(#[from] PlatformError),
    /// The registry or the store.
    #[error(transparent)]
    Pull(#[from] PullError),
    /// The walk is not one that fetches.
    #[error("nothing was made ready to fetch it")]
    Unprepared,
    /// The thread that fetched it is gone.
    #[error("what fetched the image did not end")]
    Lost,
}

/// Fetches `image`, and tells `report` of all that happens to its layers. Blocks.
///
/// # Errors
///
/// [`FetchError`].
pub fn fetch(
    store: &Store,
    fetching: &Fetching,
    image: &str,
    platform: Option<&str>,
    report: &(dyn Fn(Event) + Sync),
) -> Result<Pulled, FetchError> {
    let reference: Reference = image.parse()?;
    let platform: Option<Platform> = platform.map(str::parse).transpose()?;
    let tell = |progress: Progress| {
        if !fetching.quiet {
            report(of_layer(progress, Status::Pulling, Status::Pulled));
        }
    };
    let pull = Pull {
        reference: &reference,
        platform: platform.as_ref(),
        cancel: &fetching.cancel,
        report: &tell,
    };
    Ok(fetching.registry.pull(store, &pull)?)
}

/// What has happened to a layer, as an event.
#[must_use]
pub fn of_layer(progress: Progress, moving: Status, complete: Status) -> Event {
    let subject = Subject { kind: Kind::Layer, name: progress.layer.short() };
    let (status, amount) = match progress.status {
        LayerStatus::Waiting => (Status::Waiting, None),
        LayerStatus::Moving { done, total } => (moving, Some(Amount { done, total })),
        LayerStatus::Complete => (complete, None),
        LayerStatus::Present => (Status::Exists, None),
    };
    Event::Step(Step { subject, status, details: None, amount })
}

/// Fetches an image for a walk, without keeping its event loop from anything else.
pub async fn pull(
    walk: &Rc<Walk>,
    service: &ServiceName,
    image: &str,
    platform: Option<&str>,
    need: Need,
) -> Result<(), StepFailure> {
    let at_image = |error: &FetchError| {
        let mut failure = explain::fetching(error, image);
        failure.place = place_of(walk, service, "image").map(Into::into);
        StepFailure { failure, code: 1 }
    };
    let Some(fetching) = walk.job.fetching.clone() else {
        return Err(at_image(&FetchError::Unprepared));
    };
    let store = walk.supervisor.images.clone();
    let (events, mut heard) = mpsc::unbounded_channel();
    let (done, mut result) = tokio::sync::oneshot::channel();
    let (name, platform) = (image.to_owned(), platform.map(str::to_owned));
    // Not one of the few threads of the event loop, which are for what is short.
    std::thread::spawn(move || {
        let tell = |event| drop(events.send(event));
        let fetched = fetch(&store, &fetching, &name, platform.as_deref(), &tell);
        drop(done.send(fetched));
    });
    walk.report(Kind::Image, image, Status::Pulling);
    let fetched = loop {
        tokio::select! {
            biased;
            Some(event) = heard.recv() => walk.report_event(event),
            fetched = &mut result => break fetched.unwrap_or(Err(FetchError::Lost)),
        }
    };
    let error = match fetched {
        Ok(_) => {
            walk.report(Kind::Image, image, Status::Pulled);
            return Ok(());
        }
        Err(error) => error,
    };
    if need == Need::Optional && !is_cancelled(&error) {
        walk.report(Kind::Image, image, Status::Skipped);
        return Ok(());
    }
    walk.report(Kind::Image, image, Status::Error);
    Err(at_image(&error))
}

/// Whether nobody wants it any more.
#[must_use]
pub fn is_cancelled(error: &FetchError) -> bool {
    matches!(error, FetchError::Pull(error) if error.is_cancelled())
}

/// The registries as whoever has this environment sees them.
///
/// # Errors
///
/// What is wrong with their settings.
pub fn registries(environment: images::registry::Environment) -> Result<Arc<Registry>, Failure> {
    match Registry::new(environment) {
        Ok(registry) => Ok(Arc::new(registry)),
        Err(error) => Err(registry::settings(&error)),
    }
}
