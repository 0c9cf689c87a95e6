//! The view without a project: states, what keys make of them, and what is drawn.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use runtime::exit::ExitStatus;
use runtime::log::Stream;

use super::keys::{self, Decoder};
use super::log::Line;
use super::message::{Effect, Meant, Message, Tone, Usage, Verb};
use super::state::{Mode, Selection, State};
use super::{text, view};
use crate::cli::ps::tests;
use crate::event::{Change, ContainerEvent};
use crate::model::{Protocol, ServiceName};
use crate::record::{Container, Health, HealthStatus, Phase, PublishedPort};

const NOW: &str = "2026-11-20T10:05:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

/// The container `number` of `service`, with an id that no other has.
fn container(service: &str, number: u32, phase: Phase) -> Container {
    let mut container = tests::container(service, number, phase);
    container.record.id = format!("{service}{number}");
    container
}

/// Two replicas of `web`, a healthy `db` with ports, a `job` that failed, and `idle`, which has no container.
fn shop() -> Vec<Container> {
    let mut db = container("db", 1, Phase::Running);
    db.state.health =
        Some(Health { status: HealthStatus::Healthy, failing_streak: 0, log: Vec::new() });
    let publish = |host: &str| PublishedPort {
        host: host.parse().unwrap(),
        target: 5432,
        protocol: Protocol::Tcp,
    };
    db.state.published =
        vec![publish("0.0.0.0:5432"), publish("[::]:5432"), publish("127.0.0.1:9000")];
    let mut job = container("job", 1, Phase::Exited);
    job.state.exit = Some(ExitStatus { code: Some(3), signal: None });
    job.state.finished = Some("2026-11-20T10:02:00Z".parse().unwrap());
    vec![db, job, container("web", 1, Phase::Running), container("web", 2, Phase::Running)]
}

fn state(rows: u16, columns: u16) -> State {
    let services = ["web", "db", "job", "idle"].map(|name| name.parse().unwrap());
    State::new("shop", services.into(), TimeZone::UTC, now(), (rows, columns))
}

fn line(name: &str, words: &str) -> Message {
    let (text, paints) = text::read(words.as_bytes());
    Message::Line(Line { name: name.into(), stream: Stream::Stdout, text, paints })
}

fn event(name: &str, change: Change) -> Message {
    Message::Event(Box::new(ContainerEvent {
        at: now(),
        id: "web1".to_owned(),
        name: name.to_owned(),
        service: "web".to_owned(),
        number: 1,
        oneoff: false,
        change,
    }))
}

/// The shop after some time.
fn busy(rows: u16, columns: u16) -> State {
    let mut state = state(rows, columns);
    state.update(Message::Containers(shop()));
    for second in 0..30_u32 {
        let used = |cpu: f64, memory| Usage {
            cpu: Some(cpu * f64::from(second % 10)),
            memory: Some(memory),
            limit: Some(64 << 20),
            pids: 3,
            ..Usage::default()
        };
        let usage = BTreeMap::from([
            ("web1".to_owned(), used(4.0, 12 << 20)),
            ("web2".to_owned(), used(1.0, 6 << 20)),
            ("db1".to_owned(), used(9.0, u64::from(second + 1) << 20)),
        ]);
        state.update(Message::Usage(now(), usage));
    }
    state.update(event("shop-web-1", Change::Started { restarts: 0 }));
    state.update(event("shop-job-1", Change::Exited { code: 3, oom: true, restarting: false }));
    for (name, words) in [
        ("web-1", "GET / 200"),
        ("web-2", "\x1b[31mERROR\x1b[0m no \x07bell"),
        ("db-1", "ready to accept connections"),
    ] {
        state.update(line(name, words));
    }
    state
}

fn drawn(state: &State) -> String {
    drawn_on(state, state.size)
}

fn drawn_on(state: &State, (rows, columns): (u16, u16)) -> String {
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
    terminal.draw(|frame| view::draw(frame, state, true)).unwrap();
    let lines = terminal.backend().to_string();
    lines.lines().map(|line| format!("{}\n", line.trim_matches('"').trim_end())).collect()
}

/// Types at the view; returns what that asks for.
fn typed(state: &mut State, keys: &str) -> Vec<Effect> {
    let keys = Decoder::default().decode(keys.as_bytes());
    let messages = keys.into_iter().filter_map(|key| {
        let message = keys::message(key, &state.mode)?;
        state.update(message)
    });
    messages.collect()
}

fn names(names: &[&str]) -> Vec<ServiceName> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

#[test]
fn the_screen_fits_terminals_of_all_sizes() {
    for (rows, columns) in [(30, 120), (24, 80), (12, 60), (5, 20)] {
        insta::assert_snapshot!(format!("ui_{columns}x{rows}"), drawn(&busy(rows, columns)));
    }
    for rows in 1..12 {
        for columns in 1..12 {
            let _drawn = drawn(&busy(rows, columns));
        }
    }
}

#[test]
fn replicas_stand_below_their_service() {
    let state = busy(24, 80);
    let labels: Vec<&str> = state.rows.iter().map(|row| row.label.as_str()).collect();
    assert_eq!(labels, ["all", "web", "  web-1", "  web-2", "db", "job", "idle"]);
}

#[test]
fn the_selection_stays_with_what_was_selected() {
    let mut state = busy(24, 80);
    assert_eq!(
        typed(&mut state, "jj"),
        [Effect::Follow { anew: true }, Effect::Follow { anew: true }]
    );
    assert_eq!(*state.selection(), Selection::Container("web".parse().unwrap(), "web1".into()));
    assert_eq!(state.log.count(), (0, 0), "the lines are those of another selection");
    // Replaced: its service is what remains.
    let mut containers = shop();
    containers[2].record.id = "web9".to_owned();
    let effect = state.update(Message::Containers(containers));
    assert_eq!(effect, Some(Effect::Follow { anew: true }));
    assert_eq!(*state.selection(), Selection::Service("web".parse().unwrap()));
    let effect = state.update(Message::Containers(shop()));
    assert_eq!(effect, Some(Effect::Follow { anew: false }));
    typed(&mut state, "G");
    assert_eq!(*state.selection(), Selection::Service("idle".parse().unwrap()));
    assert_eq!(typed(&mut state, "j"), [], "it is the last one");
}

#[test]
fn keys_act_on_what_is_selected() {
    let go = |keys: &str| {
        let mut state = busy(24, 80);
        (typed(&mut state, keys), state)
    };
    let ask = |verb, services: &[&str]| {
        let meant = Meant { services: names(services), only: None };
        vec![Effect::Ask(verb, meant, services.join(", "))]
    };
    let one = |verb, service: &str, number| {
        let only = Some(container(service, number, Phase::Running).record.id);
        let meant = Meant { services: names(&[service]), only };
        vec![Effect::Ask(verb, meant, format!("{service}-{number}"))]
    };
    let acts = |keys: &str| {
        let (mut effects, state) = go(keys);
        effects.retain(|effect| !matches!(effect, Effect::Follow { .. }));
        (effects, state.note.map(|(_, words)| words).unwrap_or_default())
    };
    #[rustfmt::skip]
    let table = [
        ("jr", ask(Verb::Restart, &["web"]), "restarting web (2 containers)"),
        ("jjr", one(Verb::Restart, "web", 1), "restarting web-1"),
        ("jjjs", one(Verb::Stop, "web", 2), "stopping web-2"),
        ("js", ask(Verb::Stop, &["web"]), "stopping web (2 containers)"),
        ("jjjjs", ask(Verb::Stop, &["db"]), "stopping db"),
        ("jjjjjs", ask(Verb::Start, &["job"]), "starting job"),
        ("jjjjjjs", vec![], "idle has no container: u brings it up"),
        ("jjjjjju", vec![Effect::Up(names(&["idle"]))], ""),
        ("u", vec![Effect::Up(Vec::new())], ""),
        ("jjjje", vec![Effect::Shell("db".parse().unwrap(), 1)], ""),
        ("jjje", vec![Effect::Shell("web".parse().unwrap(), 2)], ""),
        ("jjjjje", vec![], "it does not run: nobody can be inside"),
        ("e", vec![], "select a service to be inside of"),
        ("jrr", ask(Verb::Restart, &["web"]), "something is being done to web already"),
        ("ry", ask(Verb::Restart, &["web", "db", "job"]), "restarting web, db, job (4 containers)"),
        ("rn", vec![], ""),
        ("sy", ask(Verb::Stop, &["web", "db", "job"]), "stopping web, db, job (4 containers)"),
        ("q", vec![Effect::Leave { interrupted: false }], ""),
        ("/q\u{3}", vec![Effect::Leave { interrupted: true }], ""),
    ];
    for (keys, effects, note) in table {
        assert_eq!(acts(keys), (effects, note.to_owned()), "{keys:?}");
    }
    let (_, mut state) = go("r");
    assert!(drawn(&state).contains("restart all 3 services? y/n"), "{}", drawn(&state));
    typed(&mut state, "yj");
    state.update(Message::Over(names(&["web", "db", "job"]), Tone::Good, "restarted".to_owned()));
    assert!(state.busy.is_empty());
    assert_eq!(typed(&mut state, "r"), ask(Verb::Restart, &["web"]));
}

#[test]
fn a_filter_and_a_search_are_seen_while_they_are_typed() {
    let mut state = busy(24, 80);
    typed(&mut state, "ferror");
    assert!(drawn(&state).contains("filter: error"), "{}", drawn(&state));
    assert!(!drawn(&state).contains("GET /"), "{}", drawn(&state));
    typed(&mut state, "\r");
    assert!(drawn(&state).contains("1 of 3 lines: error"), "{}", drawn(&state));
    typed(&mut state, "\u{1b}");
    assert!(drawn(&state).contains("GET /"), "{}", drawn(&state));
    typed(&mut state, "/ready\r");
    assert_eq!(state.mode, Mode::Usual);
    assert!(state.log.rows().iter().any(|row| state.log.is_found(row.number)));
    typed(&mut state, "/nowhere");
    assert!(state.note.as_ref().is_some_and(|(tone, _)| *tone == Tone::Bad));
}

#[test]
fn panes_are_zoomed_and_focused() {
    let mut state = busy(24, 80);
    typed(&mut state, "l");
    let zoomed = drawn(&state);
    assert!(zoomed.contains("log: all") && !zoomed.contains("SERVICE"), "{zoomed}");
    typed(&mut state, "\u{1b}");
    assert!(drawn(&state).contains("SERVICE"));
    typed(&mut state, "?");
    assert!(drawn(&state).contains("a shell in the container"), "{}", drawn(&state));
    typed(&mut state, "x");
    assert_eq!(state.mode, Mode::Usual);
    // Where there is room for one pane only, it is the one with the focus.
    let mut small = busy(6, 40);
    assert!(drawn(&small).contains("web"));
    typed(&mut small, "\t");
    assert!(drawn(&small).contains("GET / 200"), "{}", drawn(&small));
    typed(&mut small, "\t");
    assert!(drawn(&small).contains("exited (3), out of"), "{}", drawn(&small));
}

#[test]
fn the_log_of_a_chatty_service_does_not_move_while_one_reads() {
    let mut state = busy(24, 80);
    for number in 0..100 {
        state.update(line("web-1", &format!("line {number}")));
    }
    assert!(drawn(&state).contains("line 99"));
    typed(&mut state, "\u{1b}[5~");
    let before = drawn(&state);
    assert!(!before.contains("line 99") && before.contains("End follows"), "{before}");
    state.update(line("web-1", "news"));
    assert_eq!(drawn(&state), before);
    typed(&mut state, "\tG");
    assert!(drawn(&state).contains("news"));
}

fn messages() -> impl Strategy<Value = Vec<Message>> {
    let phases = [Phase::Created, Phase::Running, Phase::Paused, Phase::Exited, Phase::Dead];
    let one = (
        prop::sample::select(vec!["web", "db", "x"]),
        1..4_u32,
        prop::sample::select(phases.to_vec()),
    );
    let containers = prop::collection::vec(one, 0..8).prop_map(|all| {
        let mut containers: Vec<Container> = all
            .into_iter()
            .map(|(service, number, phase)| container(service, number, phase))
            .collect();
        containers.sort_by(|one, other| one.record.id.cmp(&other.record.id));
        containers.dedup_by(|one, other| one.record.id == other.record.id);
        Message::Containers(containers)
    });
    let lines = prop::collection::vec(any::<u8>(), 0..200).prop_map(|bytes| {
        let (text, paints) = text::read(&bytes);
        Message::Line(Line { name: "web-1".into(), stream: Stream::Stderr, text, paints })
    });
    let words = "\\PC{0,40}".prop_map(|words| line("db-1", &words));
    let sizes = (1..40_u16, 1..160_u16).prop_map(|(rows, columns)| Message::Size(rows, columns));
    let events = Just(event("shop-web-1", Change::Started { restarts: 2 }));
    let usage = any::<Option<u32>>().prop_map(|memory| {
        let used = Usage { cpu: Some(f64::NAN), memory: memory.map(u64::from), ..Usage::default() };
        Message::Usage(now(), BTreeMap::from([("web1".to_owned(), used)]))
    });
    // Keys of all kinds, understood as the usual mode does; text is typed all the same.
    let pressed =
        prop::sample::select("jjkkGg nN/f?lwrsehq\t\r\u{1b}abyn".chars().collect::<Vec<_>>());
    let pressed = pressed.prop_filter_map("means nothing", |key| {
        let keys = Decoder::default().decode(key.to_string().as_bytes());
        keys::message(*keys.first()?, &Mode::Usual)
    });
    let text = any::<char>().prop_map(Message::Type);
    let more = prop::sample::select(vec![
        Message::Accept,
        Message::Erase,
        Message::EraseAll,
        Message::Back,
        Message::Yes,
        Message::No,
        Message::Note(Tone::Bad, "oh".to_owned()),
    ]);
    let any_one = prop_oneof![containers, lines, words, sizes, events, usage, pressed, text, more];
    prop::collection::vec(any_one, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_happens_can_be_drawn(
        messages in messages(),
        (rows, columns) in (1..40_u16, 1..160_u16),
    ) {
        let mut state = state(24, 80);
        for message in messages {
            state.update(message);
            prop_assert!(state.selected < state.rows.len());
            // As the state knows the terminal, and as it has become without telling.
            let _drawn = drawn(&state);
        }
        let _drawn = drawn_on(&state, (rows, columns));
    }
}
