//! What the view shows, and how messages change it. Pure: nothing here reads, waits or draws.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::log::Log;
use super::message::{Asked, Effect, Meant, Message, Step, Tone, Usage, Verb};
use crate::cli::stats::history::History;
use crate::event::{Change, ContainerEvent, HealthStatus};
use crate::model::ServiceName;
use crate::record::Container;

/// Events that are kept.
const EVENTS: usize = 500;

/// What keys mean at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// They move and act.
    Usual,
    /// They are text.
    Typing {
        /// For what.
        what: Wanted,
        /// So far.
        text: String,
    },
    /// They answer whether all services are meant.
    Asking {
        /// What would be done.
        what: Asked,
        /// To these.
        services: Vec<ServiceName>,
    },
    /// They put the help away.
    Help,
}

/// What text is typed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each word is its own meaning")]
pub enum Wanted {
    Search,
    Filter,
}

/// What one can look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each word is its own meaning")]
pub enum Pane {
    Services,
    Log,
    Events,
}

/// What is selected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// Everything.
    All,
    /// A service and all its containers.
    Service(ServiceName),
    /// One container, by id, of several that its service has.
    Container(ServiceName, String),
}

impl Selection {
    /// Whether `container` belongs to it.
    #[must_use]
    pub fn has(&self, container: &Container) -> bool {
        match self {
            Self::All => true,
            Self::Service(service) => container.record.service == *service,
            Self::Container(_, id) => container.record.id == *id,
        }
    }
}

/// A row of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What it stands for.
    pub selection: Selection,
    /// Its name.
    pub label: String,
}

/// An event as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRow {
    /// When.
    pub time: String,
    /// Of which container.
    pub name: String,
    /// What happened.
    pub words: String,
    /// How good that is.
    pub tone: Tone,
}

/// All that is shown.
#[derive(Debug, Clone)]
pub struct State {
    /// The name of the project.
    pub project: String,
    /// The services of the file, in its order; those without a container are shown as well.
    pub services: Vec<ServiceName>,
    /// The time zone that times are told in.
    pub zone: TimeZone,
    /// The containers, in the order of the records.
    pub containers: Vec<Container>,
    /// The rows of the list.
    pub rows: Vec<Row>,
    /// Which of them is selected.
    pub selected: usize,
    /// Which pane the movements are for.
    pub focus: Pane,
    /// Whether that pane has the whole screen.
    pub zoomed: bool,
    /// What keys mean.
    pub mode: Mode,
    /// The log lines of the selection.
    pub log: Log,
    /// What has happened, newest last.
    pub events: VecDeque<EventRow>,
    /// How many of the newest events are below the pane.
    pub events_below: usize,
    /// What the containers use, by id.
    pub usage: BTreeMap<String, Usage>,
    /// What they have used, by id.
    pub histories: BTreeMap<String, History>,
    /// What is said in the last row.
    pub note: Option<(Tone, String)>,
    /// Services on which an action is underway.
    pub busy: BTreeSet<ServiceName>,
    /// Rows and columns of the terminal.
    pub size: (u16, u16),
    /// The time of the last look at the machine.
    pub now: Timestamp,
}

impl State {
    /// Nothing of the project `name` yet, whose file has `services`.
    #[must_use]
    pub fn new(
        name: &str,
        services: Vec<ServiceName>,
        zone: TimeZone,
        now: Timestamp,
        size: (u16, u16),
    ) -> Self {
        let mut state = Self {
            project: name.to_owned(),
            services,
            zone,
            containers: Vec::new(),
            rows: Vec::new(),
            selected: 0,
            focus: Pane::Services,
            zoomed: false,
            mode: Mode::Usual,
            log: Log::default(),
            events: VecDeque::new(),
            events_below: 0,
            usage: BTreeMap::new(),
            histories: BTreeMap::new(),
            note: None,
            busy: BTreeSet::new(),
            size,
            now,
        };
        state.rows = state.make_rows();
        state
    }

    /// What is selected.
    #[must_use]
    pub fn selection(&self) -> &Selection {
        self.rows.get(self.selected).map_or(&Selection::All, |row| &row.selection)
    }

    /// The containers that belong to `selection`.
    pub fn containers_of<'a>(
        &'a self,
        selection: &'a Selection,
    ) -> impl Iterator<Item = &'a Container> {
        self.containers.iter().filter(|one| selection.has(one))
    }

    /// Takes in what has happened; returns what has to be done about it.
    pub fn update(&mut self, message: Message) -> Option<Effect> {
        let effect = self.take(message);
        // What is shown may have more or less room now.
        let room = super::view::areas(self).log.inner;
        self.log.fit(room.height.into(), room.width.into());
        effect
    }

    fn take(&mut self, message: Message) -> Option<Effect> {
        match message {
            Message::Size(rows, columns) => self.size = (rows, columns),
            Message::Containers(containers) => return Some(self.renew(containers)),
            Message::Usage(now, usage) => self.measure(now, usage),
            Message::Event(event) => self.tell(&event),
            Message::Line(line) => self.log.push(line),
            Message::Note(tone, text) => self.note = Some((tone, text)),
            Message::Over(services, tone, text) => {
                self.busy.retain(|busy| !services.contains(busy));
                self.note = Some((tone, text));
            }
            key => return self.obey(key),
        }
        None
    }

    fn obey(&mut self, key: Message) -> Option<Effect> {
        // What has been said is read by whoever types; what goes on is not over by that.
        self.note.take_if(|(tone, _)| *tone != Tone::Working);
        match key {
            Message::Quit => return Some(Effect::Leave { interrupted: false }),
            Message::Interrupt => return Some(Effect::Leave { interrupted: true }),
            Message::Suspend => return Some(Effect::Suspend),
            Message::Redraw => return Some(Effect::Redraw),
            Message::Move(step) => return self.go(step),
            Message::Focus(step) => self.focus = self.focus.next(step),
            Message::Zoom => self.zoom(),
            Message::Wrap => self.log.toggle_wrap(),
            Message::Help => self.mode = Mode::Help,
            Message::Search => {
                self.mode = Mode::Typing { what: Wanted::Search, text: String::new() };
            }
            Message::Filter => {
                let text = self.log.filter().to_owned();
                self.mode = Mode::Typing { what: Wanted::Filter, text };
            }
            Message::Match(step) => self.next_match(step),
            Message::Act(asked) => return self.act(asked),
            Message::Yes | Message::No => return self.answer(key == Message::Yes),
            Message::Back => self.back(),
            typed => self.write(&typed),
        }
        None
    }

    fn go(&mut self, step: Step) -> Option<Effect> {
        let pages = matches!(step, Step::PageUp | Step::PageDown | Step::Left | Step::Right);
        match self.focus {
            Pane::Events => self.scroll_events(step),
            Pane::Services if !pages => {
                let last = self.rows.len().saturating_sub(1);
                let to = match step {
                    Step::Up => self.selected.saturating_sub(1),
                    Step::Down => (self.selected + 1).min(last),
                    Step::First => 0,
                    _ => last,
                };
                if to != self.selected {
                    self.selected = to;
                    self.log.clear();
                    return Some(Effect::Follow { anew: true });
                }
            }
            Pane::Services | Pane::Log => self.log.scroll(step),
        }
        None
    }

    fn scroll_events(&mut self, step: Step) {
        let page = usize::from(super::view::areas(self).events.inner.height).max(1);
        let most = self.events.len().saturating_sub(page);
        let below = self.events_below;
        self.events_below = match step {
            Step::Up => below + 1,
            Step::Down => below.saturating_sub(1),
            Step::PageUp => below + page,
            Step::PageDown => below.saturating_sub(page),
            Step::First => most,
            Step::Last => 0,
            Step::Left | Step::Right => below,
        }
        .min(most);
    }

    fn zoom(&mut self) {
        self.zoomed = !self.zoomed;
        if self.zoomed && self.focus == Pane::Services {
            self.focus = Pane::Log;
        }
    }

    fn back(&mut self) {
        match std::mem::replace(&mut self.mode, Mode::Usual) {
            Mode::Help | Mode::Asking { .. } => {}
            Mode::Typing { what: Wanted::Search, .. } => self.log.forget_search(),
            Mode::Typing { what: Wanted::Filter, .. } => self.log.set_filter(""),
            Mode::Usual if self.zoomed => {
                self.zoomed = false;
                self.focus = Pane::Services;
            }
            Mode::Usual if !self.log.search().is_empty() => self.log.forget_search(),
            Mode::Usual if !self.log.filter().is_empty() => self.log.set_filter(""),
            Mode::Usual => self.focus = Pane::Services,
        }
    }

    fn write(&mut self, typed: &Message) {
        let Mode::Typing { what, text } = &mut self.mode else { return };
        match typed {
            Message::Type(character) => text.push(*character),
            Message::Erase => drop(text.pop()),
            Message::EraseAll => text.clear(),
            _ => {}
        }
        let (what, text) = (*what, text.clone());
        if *typed == Message::Accept {
            self.mode = Mode::Usual;
        }
        match what {
            Wanted::Filter => self.log.set_filter(&text),
            // Where the search stands is where it has led so far.
            Wanted::Search if *typed == Message::Accept && self.log.search() == text => {}
            Wanted::Search => {
                if !self.log.look_for(&text) {
                    self.note = Some((Tone::Bad, format!("`{text}` is not in these lines")));
                }
            }
        }
    }

    fn next_match(&mut self, step: Step) {
        if self.log.search().is_empty() {
            self.note = Some((Tone::Plain, "nothing is looked for: / begins a search".to_owned()));
        } else if !self.log.next_match(step) {
            let text = format!("`{}` is not in these lines", self.log.search());
            self.note = Some((Tone::Bad, text));
        }
    }

    fn act(&mut self, asked: Asked) -> Option<Effect> {
        let selection = self.selection().clone();
        let services = match &selection {
            Selection::All => self.with_containers(),
            Selection::Service(service) | Selection::Container(service, _) => {
                vec![service.clone()]
            }
        };
        match asked {
            Asked::Shell => return self.shell(&selection),
            Asked::Up if selection == Selection::All => return Some(Effect::Up(Vec::new())),
            Asked::Up => return Some(Effect::Up(services)),
            Asked::Restart | Asked::StopOrStart => {}
        }
        if let Some(busy) = services.iter().find(|service| self.busy.contains(*service)) {
            self.note = Some((Tone::Bad, format!("something is being done to {busy} already")));
            return None;
        }
        let known = self.with_containers();
        if let Some(absent) = services.iter().find(|service| !known.contains(service)) {
            let text = format!("{absent} has no container: u brings it up");
            self.note = Some((Tone::Bad, text));
            return None;
        }
        if services.is_empty() {
            let text = "the project has no container: u brings it up".to_owned();
            self.note = Some((Tone::Bad, text));
            return None;
        }
        let only = match selection {
            Selection::Container(_, id) => Some(id),
            Selection::All | Selection::Service(_) => None,
        };
        let is_all = self.selection() == &Selection::All;
        let meant = Meant { services, only };
        if is_all && self.verb(asked, &meant) != Verb::Start {
            self.mode = Mode::Asking { what: asked, services: meant.services };
            return None;
        }
        Some(self.ask(asked, meant))
    }

    /// The services that have a container of their own, in the order of the list.
    fn with_containers(&self) -> Vec<ServiceName> {
        let services = self.rows.iter().filter_map(|row| match &row.selection {
            Selection::Service(service) => Some(service),
            _ => None,
        });
        let has_one = |service: &&ServiceName| {
            self.containers.iter().any(|one| one.record.service == **service && !one.record.oneoff)
        };
        services.filter(has_one).cloned().collect()
    }

    /// What is asked for, as things are.
    #[must_use]
    pub fn verb(&self, asked: Asked, meant: &Meant) -> Verb {
        let is_up = |one: &Container| one.state.phase.is_up() && meant.has(one);
        match asked {
            Asked::StopOrStart if self.containers.iter().any(is_up) => Verb::Stop,
            Asked::StopOrStart => Verb::Start,
            _ => Verb::Restart,
        }
    }

    fn ask(&mut self, asked: Asked, meant: Meant) -> Effect {
        let verb = self.verb(asked, &meant);
        let services = &meant.services;
        let doing = match verb {
            Verb::Restart => "restarting",
            Verb::Stop => "stopping",
            Verb::Start => "starting",
        };
        let names: Vec<&str> = match &meant.only {
            Some(_) => {
                let one = self.containers.iter().find(|one| meant.has(one));
                one.iter().map(|one| super::short_name(&one.record.name, &self.project)).collect()
            }
            None => services.iter().map(ServiceName::as_str).collect(),
        };
        let count = self.containers.iter().filter(|one| meant.has(one)).count();
        let containers =
            if count > services.len() { format!(" ({count} containers)") } else { String::new() };
        let names = names.join(", ");
        self.note = Some((Tone::Working, format!("{doing} {names}{containers}")));
        self.busy.extend(services.iter().cloned());
        Effect::Ask(verb, meant, names)
    }

    fn answer(&mut self, yes: bool) -> Option<Effect> {
        match std::mem::replace(&mut self.mode, Mode::Usual) {
            Mode::Asking { what, services } if yes => {
                Some(self.ask(what, Meant { services, only: None }))
            }
            _ => None,
        }
    }

    fn shell(&mut self, selection: &Selection) -> Option<Effect> {
        if *selection == Selection::All {
            self.note = Some((Tone::Plain, "select a service to be inside of".to_owned()));
            return None;
        }
        let inside = self
            .containers_of(selection)
            .filter(|one| one.state.phase.is_up() && !one.record.oneoff)
            .min_by_key(|one| (one.state.aside, one.record.number));
        match inside {
            Some(one) => Some(Effect::Shell(one.record.service.clone(), one.record.number)),
            None => {
                let text = "it does not run: nobody can be inside".to_owned();
                self.note = Some((Tone::Bad, text));
                None
            }
        }
    }

    fn renew(&mut self, containers: Vec<Container>) -> Effect {
        let before = self.selection().clone();
        self.containers = containers;
        self.rows = self.make_rows();
        let same = |row: &Row| row.selection == before;
        // A container that was replaced has its service still.
        let service = |row: &Row| match &before {
            Selection::Container(service, _) => {
                row.selection == Selection::Service(service.clone())
            }
            _ => false,
        };
        let found = self.rows.iter().position(same);
        let found = found.or_else(|| self.rows.iter().position(service));
        self.selected = found.unwrap_or(self.selected.min(self.rows.len().saturating_sub(1)));
        let anew = *self.selection() != before;
        if anew {
            self.log.clear();
        }
        Effect::Follow { anew }
    }

    fn make_rows(&self) -> Vec<Row> {
        let mut services: Vec<&ServiceName> = self.services.iter().collect();
        for container in &self.containers {
            if !services.contains(&&container.record.service) {
                services.push(&container.record.service);
            }
        }
        let mut rows = vec![Row { selection: Selection::All, label: "all".to_owned() }];
        for service in services {
            let selection = Selection::Service(service.clone());
            let own: Vec<&Container> = self.containers_of(&selection).collect();
            let replicas = own.iter().filter(|_| own.len() > 1).map(|one| Row {
                selection: Selection::Container(service.clone(), one.record.id.clone()),
                label: format!("  {}", super::short_name(&one.record.name, &self.project)),
            });
            let replicas: Vec<Row> = replicas.collect();
            rows.push(Row { label: service.to_string(), selection });
            rows.extend(replicas);
        }
        rows
    }

    fn measure(&mut self, now: Timestamp, usage: BTreeMap<String, Usage>) {
        self.now = now;
        let mut old = std::mem::take(&mut self.histories);
        for container in &self.containers {
            let id = &container.record.id;
            let mut history = old.remove(id).unwrap_or_default();
            let used = usage.get(id).copied();
            history.push(used.and_then(|used| used.cpu), used.and_then(|used| used.memory));
            self.histories.insert(id.clone(), history);
        }
        self.usage = usage;
    }

    fn tell(&mut self, event: &ContainerEvent) {
        let (words, tone) = words(&event.change);
        let time = event.at.to_zoned(self.zone.clone()).strftime("%H:%M:%S").to_string();
        let name = super::short_name(&event.name, &self.project).to_owned();
        self.events.push_back(EventRow { time, name, words, tone });
        if self.events_below > 0 {
            self.events_below += 1;
        }
        if self.events.len() > EVENTS {
            self.events.pop_front();
            self.events_below = self.events_below.min(self.events.len());
        }
    }
}

impl Pane {
    const fn next(self, step: Step) -> Self {
        match (self, step) {
            (Self::Services, Step::Up) | (Self::Log, Step::Down) => Self::Events,
            (Self::Log, _) | (Self::Events, Step::Down) => Self::Services,
            (Self::Services | Self::Events, _) => Self::Log,
        }
    }
}

/// What is said of an event.
fn words(change: &Change) -> (String, Tone) {
    match change {
        Change::Created => ("created".to_owned(), Tone::Plain),
        Change::Started { restarts: 0 } => ("started".to_owned(), Tone::Good),
        Change::Started { restarts } => (format!("started again ({restarts})"), Tone::Good),
        Change::Signalled { signal } => (format!("was sent signal {signal}"), Tone::Plain),
        Change::Paused => ("paused".to_owned(), Tone::Plain),
        Change::Unpaused => ("goes on".to_owned(), Tone::Plain),
        Change::Updated => ("updated".to_owned(), Tone::Plain),
        Change::Stopped => ("stopped".to_owned(), Tone::Plain),
        Change::Exited { code, oom, restarting } => {
            let oom = if *oom { ", out of memory" } else { "" };
            let again = if *restarting { ", will be started again" } else { "" };
            let tone = if *code == 0 { Tone::Plain } else { Tone::Bad };
            (format!("exited ({code}){oom}{again}"), tone)
        }
        Change::Health { status: HealthStatus::Starting } => {
            ("health is looked at".to_owned(), Tone::Plain)
        }
        Change::Health { status: HealthStatus::Healthy } => ("healthy".to_owned(), Tone::Good),
        Change::Health { status: HealthStatus::Unhealthy } => ("unhealthy".to_owned(), Tone::Bad),
        Change::Removed => ("removed".to_owned(), Tone::Plain),
    }
}
