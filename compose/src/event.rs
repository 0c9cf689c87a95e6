//! What happens to a project, as values: one JSON object a line.
//!
//! The supervisor sends them while it carries out a request and to everybody who
//! listens on [`crate::api::path::EVENTS`]; `cli/terminal` draws them. Progress, `--progress json`,
//! the log of `up` and the end of a command are renderings of this one stream.
//! Nothing here knows how to print or to change anything.

use std::fmt;
use std::path::PathBuf;

use images::build::Mistakes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One line of the stream.
///
/// The answer to a request ends with exactly one [`Event::Done`] or
/// [`Event::Failed`]; a stream that ends without either was cut off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A thing of the project has reached a status.
    Step(Step),
    /// Something the user should know that does not stop the request.
    Warning {
        /// A sentence without the word "warning".
        message: String,
    },
    /// The image of a service is being built.
    Build(BuildEvent),
    /// A container lives its life, asked for or not.
    Container(ContainerEvent),
    /// The request is carried out.
    Done {
        /// Whether anything had to be changed for it.
        changed: bool,
        /// What the command line ends with: 0, or the code of a container that was awaited.
        exit_code: i32,
        /// The supervisor ends when whoever has asked leaves: nothing of the project is left, and nobody else is connected.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        leaves: bool,
    },
    /// The request failed; what could be done is done.
    Failed {
        /// Never empty, in the order in which they happened.
        failures: Vec<Failure>,
    },
}

impl Event {
    /// Whether no further line follows in the answer to a request.
    #[must_use]
    pub const fn is_last(&self) -> bool {
        matches!(self, Self::Done { .. } | Self::Failed { .. })
    }

    /// The end of a request that was carried out.
    #[must_use]
    pub const fn done(changed: bool) -> Self {
        Self::Done { changed, exit_code: 0, leaves: false }
    }

    /// A step of the thing called `name`.
    pub fn step(kind: Kind, name: impl Into<String>, status: Status) -> Self {
        let subject = Subject { kind, name: name.into() };
        Self::Step(Step { subject, status, details: None, amount: None })
    }

    /// The end of a request that failed for one reason.
    #[must_use]
    pub fn failed(failure: Failure) -> Self {
        Self::Failed { failures: vec![failure] }
    }

    /// The event as it travels: one line of JSON with its line feed.
    #[must_use]
    pub fn to_line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).expect("an event has string keys only");
        line.push(b'\n');
        line
    }
}

/// A thing of the project and the status it has reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The thing.
    #[serde(flatten)]
    pub subject: Subject,
    /// What it does, or has done.
    pub status: Status,
    /// A few words more, such as the cause of a recreate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<String>,
    /// How much of it is done, of what takes long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<Amount>,
}

/// How far something is that can be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// Bytes that are done.
    pub done: u64,
    /// Bytes that there are.
    pub total: u64,
}

/// A thing that steps are about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Subject {
    /// What sort of thing.
    pub kind: Kind,
    /// Its full name, such as `shop-web-1` or `shop_default`.
    pub name: String,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// The sorts of things that make up a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the words of the compose file")]
pub enum Kind {
    Network,
    Volume,
    Image,
    Layer,
    Container,
    Artifact,
    Service,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The words for what a thing does or has done, as docker compose says them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each word is its own meaning")]
pub enum Status {
    Creating,
    Created,
    Recreate,
    Recreated,
    Starting,
    Started,
    Running,
    Waiting,
    Healthy,
    Exited,
    Restarting,
    Restarted,
    Updating,
    Updated,
    Stopping,
    Stopped,
    Killing,
    Killed,
    Pausing,
    Paused,
    Unpausing,
    Unpaused,
    Removing,
    Removed,
    Copying,
    Copied,
    Committing,
    Committed,
    Exporting,
    Exported,
    Pulling,
    Pulled,
    Building,
    Built,
    Pushing,
    Pushed,
    Publishing,
    Published,
    Exists,
    Skipped,
    Error,
}

/// How far a [`Status`] is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Another status of the same thing follows.
    Working,
    /// Nothing is left to do.
    Done,
    /// It went wrong.
    Failed,
}

impl Status {
    /// Whether the thing is still being worked on.
    #[must_use]
    pub const fn progress(self) -> Progress {
        match self {
            Self::Creating
            | Self::Recreate
            | Self::Starting
            | Self::Waiting
            | Self::Restarting
            | Self::Updating
            | Self::Stopping
            | Self::Killing
            | Self::Pausing
            | Self::Unpausing
            | Self::Copying
            | Self::Committing
            | Self::Exporting
            | Self::Pulling
            | Self::Building
            | Self::Pushing
            | Self::Publishing
            | Self::Removing => Progress::Working,
            Self::Created
            | Self::Recreated
            | Self::Started
            | Self::Running
            | Self::Healthy
            | Self::Exited
            | Self::Restarted
            | Self::Updated
            | Self::Stopped
            | Self::Killed
            | Self::Paused
            | Self::Unpaused
            | Self::Copied
            | Self::Committed
            | Self::Exported
            | Self::Removed
            | Self::Pulled
            | Self::Built
            | Self::Pushed
            | Self::Published
            | Self::Exists
            | Self::Skipped => Progress::Done,
            Self::Error => Progress::Failed,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Creating => "Creating",
            Self::Created => "Created",
            Self::Recreate => "Recreate",
            Self::Recreated => "Recreated",
            Self::Starting => "Starting",
            Self::Started => "Started",
            Self::Running => "Running",
            Self::Waiting => "Waiting",
            Self::Healthy => "Healthy",
            Self::Exited => "Exited",
            Self::Restarting => "Restarting",
            Self::Restarted => "Restarted",
            Self::Updating => "Updating",
            Self::Updated => "Updated",
            Self::Stopping => "Stopping",
            Self::Stopped => "Stopped",
            Self::Killing => "Killing",
            Self::Killed => "Killed",
            Self::Pausing => "Pausing",
            Self::Paused => "Paused",
            Self::Unpausing => "Unpausing",
            Self::Unpaused => "Unpaused",
            Self::Removing => "Removing",
            Self::Removed => "Removed",
            Self::Copying => "Copying",
            Self::Copied => "Copied",
            Self::Committing => "Committing",
            Self::Committed => "Committed",
            Self::Exporting => "Exporting",
            Self::Exported => "Exported",
            Self::Pulling => "Pulling",
            Self::Pulled => "Pulled",
            Self::Building => "Building",
            Self::Built => "Built",
            Self::Pushing => "Pushing",
            Self::Pushed => "Pushed",
            Self::Publishing => "Publishing",
            Self::Published => "Published",
            Self::Exists => "Exists",
            Self::Skipped => "Skipped",
            Self::Error => "Error",
        })
    }
}

/// Something that happened while the image of a service was built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildEvent {
    /// The service.
    pub service: String,
    /// The number of the step of the Dockerfile: several are underway at the same time.
    pub step: usize,
    /// What happened to it.
    #[serde(flatten)]
    pub change: BuildChange,
}

/// What can happen to a step of a Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum BuildChange {
    /// It has begun.
    Begun {
        /// What it is: `[stage 2/5] RUN make`.
        name: String,
    },
    /// It has said something.
    Said {
        /// A line, without its end.
        line: String,
    },
    /// It is done.
    Done {
        /// What it is.
        name: String,
        /// Its result was in the cache.
        cached: bool,
        /// How long it took.
        milliseconds: u64,
    },
    /// It has failed.
    Failed {
        /// What it is.
        name: String,
    },
}

impl fmt::Display for BuildEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let service = &self.service;
        let place = |name: &str| name.split_inclusive(']').next().unwrap_or_default().to_owned();
        match &self.change {
            BuildChange::Begun { name } => write!(f, "{service} {name}"),
            BuildChange::Said { line } => write!(f, "{service} | {line}"),
            BuildChange::Done { name, cached: true, .. } => {
                write!(f, "{service} {} cached", place(name))
            }
            BuildChange::Done { name, cached: false, milliseconds } => {
                let (seconds, tenths) = (milliseconds / 1000, milliseconds % 1000 / 100);
                write!(f, "{service} {} done in {seconds}.{tenths}s", place(name))
            }
            BuildChange::Failed { name } => write!(f, "{service} {name}: failed"),
        }
    }
}

/// Something that happened to one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerEvent {
    /// When it happened.
    pub at: Timestamp,
    /// The container's id, 64 hex digits; its log lies below it.
    pub id: String,
    /// Its name, such as `shop-web-1`.
    pub name: String,
    /// The service it belongs to.
    pub service: String,
    /// Its number among the replicas; 1 for a one-off.
    pub number: u32,
    /// Whether it was made by `run`.
    pub oneoff: bool,
    /// What happened.
    #[serde(flatten)]
    pub change: Change,
}

/// What can happen to a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Change {
    /// Its record exists; it has not run.
    Created,
    /// PID 1 has been executed.
    Started {
        /// How often the restart policy has started it again since it was last asked for.
        restarts: u32,
    },
    /// PID 1 was sent a signal that somebody asked for.
    Signalled {
        /// By number.
        signal: i32,
    },
    /// All its processes are frozen.
    Paused,
    /// They go on.
    Unpaused,
    /// It is otherwise than it was made, without having been made anew.
    Updated,
    /// A stop that somebody asked for is over.
    Stopped,
    /// PID 1 is gone.
    Exited {
        /// Exit code, or 128 + n for signal n.
        code: i32,
        /// Whether the kernel killed it for want of memory.
        oom: bool,
        /// Whether it is going to be started again: by its restart policy, or by the command that has stopped it.
        restarting: bool,
    },
    /// Its health check has a new verdict.
    Health {
        /// The verdict.
        status: HealthStatus,
    },
    /// Its record is gone.
    Removed,
}

/// The verdict of a health check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthStatus {
    /// Within the start period and not yet healthy.
    Starting,
    /// The last probe succeeded.
    Healthy,
    /// As many probes failed in a row as `retries` says.
    Unhealthy,
}

impl From<crate::record::HealthStatus> for HealthStatus {
    fn from(status: crate::record::HealthStatus) -> Self {
        match status {
            crate::record::HealthStatus::Starting => Self::Starting,
            crate::record::HealthStatus::Healthy => Self::Healthy,
            crate::record::HealthStatus::Unhealthy => Self::Unhealthy,
        }
    }
}

/// A failure as it is told to the user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What failed and why: the whole chain of causes, joined with `: `.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Where in the compose file the thing that failed is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// Where in a Dockerfile, if it is a build that has failed there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<Box<FailedBuild>>,
}

/// A build that has failed at a place in its Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedBuild {
    /// The service whose image it was.
    pub service: String,
    /// The file, the places, and what the failed step has said.
    #[serde(flatten)]
    pub mistakes: Mistakes,
}

impl Failure {
    /// Takes down `error` and its causes.
    pub fn new(error: &dyn std::error::Error) -> Self {
        let chain = std::iter::successors(Some(error), |error| error.source());
        let words: Vec<String> =
            chain.map(|error| without_errno(&error.to_string()).to_owned()).collect();
        Self { message: words.join(": "), ..Self::default() }
    }

    /// The same failure with advice.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same failure with the place in the file.
    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }
}

/// The words of the standard library for an error of the kernel, without its number.
fn without_errno(words: &str) -> &str {
    match words.rsplit_once(" (os error ") {
        Some((bare, number)) if number.ends_with(')') => bare,
        _ => words,
    }
}

/// A place in a file; line and column count from 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "nothing to add to the names")]
pub struct Place {
    pub file: PathBuf,
    pub line: u32,
    pub column: u32,
}

impl From<crate::model::Place> for Place {
    fn from(place: crate::model::Place) -> Self {
        let crate::model::Place { file, line, column } = place;
        Self { file: file.to_path_buf(), line, column }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn travels_as_one_flat_line() {
        let exited = Event::Container(ContainerEvent {
            at: "2026-11-20T10:00:00Z".parse().unwrap(),
            id: "ab".into(),
            name: "shop-web-1".into(),
            service: "web".into(),
            number: 1,
            oneoff: false,
            change: Change::Exited { code: 137, oom: true, restarting: false },
        });
        #[rustfmt::skip]
        let table = [
            (
                Event::step(Kind::Container, "shop-web-1", Status::Started),
                r#"{"event":"step","kind":"Container","name":"shop-web-1","status":"Started"}"#,
            ),
            (
                exited,
                r#"{"event":"container","at":"2026-11-20T10:00:00Z","id":"ab","name":"shop-web-1","service":"web","number":1,"oneoff":false,"change":"exited","code":137,"oom":true,"restarting":false}"#,
            ),
            (
                Event::done(false),
                r#"{"event":"done","changed":false,"exit_code":0}"#,
            ),
            (
                Event::failed(Failure { message: "no".into(), ..Failure::default() }),
                r#"{"event":"failed","failures":[{"message":"no"}]}"#,
            ),
        ];
        for (event, line) in table {
            assert_eq!(event.to_line(), format!("{line}\n").into_bytes());
            assert_eq!(serde_json::from_str::<Event>(line).unwrap(), event);
        }
    }

    #[test]
    fn a_failure_tells_the_whole_chain_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot start web")]
        struct Outer(#[source] std::io::Error);
        let failure = Failure::new(&Outer(std::io::Error::other("disk on fire")));
        assert_eq!(failure.message, "cannot start web: disk on fire");
        let failure = Failure::new(&Outer(std::io::Error::from_raw_os_error(28)));
        assert_eq!(failure.message, "cannot start web: No space left on device");
    }
}
