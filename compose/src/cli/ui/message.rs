//! What comes in, and what an update has to be followed by.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::log::Line;
use crate::event::ContainerEvent;
use crate::model::ServiceName;
use crate::record::Container;

/// Something that has happened: a key, or news of the project.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "keys and news in their own words")]
pub enum Message {
    Move(Step),
    /// To the next pane, or the one before.
    Focus(Step),
    /// The pane that has the focus takes the whole screen, or does so no more.
    Zoom,
    Wrap,
    Help,
    Search,
    Filter,
    Match(Step),
    Act(Asked),
    Type(char),
    Erase,
    EraseAll,
    Accept,
    Back,
    Yes,
    No,
    Quit,
    Interrupt,
    Suspend,
    Redraw,
    /// The terminal has this many rows and columns.
    Size(u16, u16),
    /// These containers there are.
    Containers(Vec<Container>),
    /// What they use of the machine at this moment, by id.
    Usage(Timestamp, BTreeMap<String, Usage>),
    Event(Box<ContainerEvent>),
    Line(Line),
    /// Something is said in the last row.
    Note(Tone, String),
    /// An action on these services is over.
    Over(Vec<ServiceName>, Tone, String),
}

/// What a container uses of the machine.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// Hundredths of a processor; none before the second look.
    pub cpu: Option<f64>,
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Bytes that it may have.
    pub limit: Option<u64>,
    /// Bytes that came over its networks.
    pub received: u64,
    /// Bytes that went out over its networks.
    pub sent: u64,
    /// Bytes read from disks.
    pub read: u64,
    /// Bytes written to disks.
    pub written: u64,
    /// Processes.
    pub pids: u64,
}

/// A movement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words on the keys")]
pub enum Step {
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
    Left,
    Right,
}

/// What somebody wants done to the selected services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Stop them and start them.
    Restart,
    /// Stop what runs; start it if nothing does.
    StopOrStart,
    /// Be inside.
    Shell,
    /// Make what is not there, and start it.
    Up,
}

/// What the supervisor is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words of the command line")]
pub enum Verb {
    Restart,
    Stop,
    Start,
}

/// What an update has to be followed by.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// The view ends; with [`crate::cli::error::INTERRUPTED`] if `interrupted`.
    Leave {
        /// By Ctrl-C.
        interrupted: bool,
    },
    /// The supervisor is asked; the text is what people call it.
    Ask(Verb, Meant, String),
    /// A shell in a container of this service with this number.
    Shell(ServiceName, u32),
    /// Services are brought up; none means all.
    Up(Vec<ServiceName>),
    /// The log lines are those of the selection; `anew` if it is another one.
    Follow {
        /// What was shown is forgotten.
        anew: bool,
    },
    /// The process stops until it is told to go on.
    Suspend,
    /// The screen is drawn from nothing.
    Redraw,
}

/// What something is done to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Meant {
    /// Services.
    pub services: Vec<ServiceName>,
    /// The one container of the service that is meant, by id; none: all.
    pub only: Option<String>,
}

/// How good news are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each word is its own meaning")]
pub enum Tone {
    Working,
    Good,
    Bad,
    Plain,
}

impl Meant {
    /// Whether `container` is meant.
    #[must_use]
    pub fn has(&self, container: &Container) -> bool {
        let record = &container.record;
        self.services.contains(&record.service)
            && self.only.as_ref().is_none_or(|id| *id == record.id)
    }
}
