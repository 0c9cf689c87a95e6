//! Each parser on any text, with what must hold of it.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::canonical::{self, Variables as State, volume as mount};
use super::environment::Environment;
use super::interpolate::interpolate;
use super::node::{Map, Node, Value};
use super::read::DOCUMENT;
use super::render::{self, Nulls};
use super::report::Report;
use super::template::{self, Variables};
use super::units::{self, Nanoseconds};
use super::{check, complete, dotenv, merge, normalize, schema, words, yaml as reader};
use crate::diagnostic::Style;

/// A whole compose file: everything that is done with it before files are opened for it.
pub fn yaml(text: &str) {
    let mut report = Report::default();
    let file = report.sources.add(Path::new("compose.yaml"), text, None);
    let environment = Environment::from(BTreeMap::from([("SET".to_owned(), "1".to_owned())]));
    let mut merged: Option<Node> = None;
    for mut document in reader::documents(&mut report, file) {
        interpolate(&mut report, &environment, &mut document);
        let Some(document) =
            canonical::canonical(&mut report, State::FilledIn, document, &DOCUMENT)
        else {
            continue;
        };
        merged = Some(match merged {
            Some(below) => merge::Merger { report: &mut report, variables: State::FilledIn }
                .merge(below, document, &DOCUMENT),
            None => document,
        });
    }
    if let Some(mut tree) = merged {
        merge::remove_reset(&mut report, &mut tree);
        merge::deduplicate(&mut report, &mut tree, &DOCUMENT);
        complete::defaults(&mut tree, State::FilledIn);
        complete::check(&mut report, &tree, &DOCUMENT);
        check::values(&mut report, &tree);
        normalize::normalize(&mut report, &mut tree, "fuzz");
        check::references(&mut report, &tree, &Map::default());
        let _ = render::document(&tree, Nulls::Shown);
    }
    for diagnostic in report.into_diagnostics() {
        let drawn = diagnostic.render(&Style::default());
        assert!(
            drawn.contains(&diagnostic.message.replace('\t', "    "))
                || !is_plain(&diagnostic.message)
        );
        let _ = diagnostic.to_json();
    }
}

/// Control characters are drawn as something else.
fn is_plain(text: &str) -> bool {
    !text.contains(|c: char| c.is_control() || !c.is_ascii())
}

struct Known(HashMap<&'static str, &'static str>);

impl Variables for Known {
    fn value(&mut self, name: &str) -> Option<String> {
        self.0.get(name).map(|value| (*value).to_owned())
    }

    fn missing(&mut self, name: &str) {
        assert!(!self.0.contains_key(name), "{name} is there");
    }
}

/// A value with variables.
pub fn interpolation(text: &str) {
    let known = [("A", "a"), ("EMPTY", ""), ("DOLLAR", "$A"), ("_x1", "}")];
    let filled = template::fill(text, &mut Known(HashMap::from(known)));
    if let Ok(filled) = filled
        && !text.contains('$')
    {
        assert_eq!(filled, text);
    }
    let escaped = text.replace('$', "$$");
    let plain = template::fill(&escaped, &mut Known(HashMap::from(known)));
    assert!(text.len() > 1 << 20 || plain.as_deref() == Ok(text), "{text:?} became {plain:?}");
    template::mentions(text, &mut BTreeMap::new());
    if let Ok(words) = words::split(text) {
        assert!(words.words.iter().map(String::len).sum::<usize>() <= text.len());
    }
}

/// An environment file, in both grammars.
pub fn dotenv(text: &str) {
    let lookup = |name: &str| (name == "OS").then(|| "linux".to_owned());
    for parsed in [dotenv::parse(text, &lookup), dotenv::parse_raw(text, &lookup)] {
        match parsed {
            Ok(parsed) => {
                assert_eq!(parsed.entries.len(), parsed.ranges.len());
                for (from, to) in parsed.ranges {
                    assert!(text.get(from..to).is_some(), "{from}..{to} of {text:?}");
                }
                assert!(parsed.entries.iter().all(|(name, _)| !name.contains('=')));
            }
            Err(error) => {
                let (from, to) = error.range;
                assert!(text.get(from..to).is_some(), "{from}..{to} of {text:?}");
            }
        }
    }
}

/// A value in the place of an attribute, or nothing if it is refused.
fn attribute(key: &str, value: &str) -> Option<Node> {
    let mut report = Report::default();
    let span = report.sources.add(Path::new("compose.yaml"), value, None).start();
    let mut service = Map::default();
    service.set(key, Node::list(vec![Node::text(value, span)], span));
    let service = Node::map(service, span);
    let shape = schema::Shape::Object(&schema::SERVICE);
    let node = canonical::canonical(&mut report, State::FilledIn, service, &shape)?;
    (!report.has_errors()).then(|| node.get(key).cloned()).flatten()
}

/// A port in the short form: what is accepted has a target that fits.
pub fn port(text: &str) {
    // Thousands of ports at once are no other code, and slow.
    let long =
        |part| canonical::port_range(part).is_some_and(|range| range.last - range.first > 64);
    if text.split([':', '/']).any(long) {
        return;
    }
    let Some(ports) = attribute("ports", text) else { return };
    assert!(!ports.items().is_empty());
    for port in ports.items() {
        let target = port.get("target").and_then(Node::as_int);
        assert!(
            target.is_some_and(|target| (0..=65_535).contains(&target)),
            "{text:?}: {target:?}"
        );
        assert!(matches!(port.get("protocol").map(|node| &node.value), Some(Value::Text(_))));
        let _ = canonical::port_key(port);
    }
}

/// A mount in the short form: what is accepted has a target.
pub fn volume(text: &str) {
    let Some(mounts) = attribute("volumes", text) else { return };
    for mount in mounts.items() {
        assert!(mount.get("target").and_then(Node::as_str).is_some(), "{text:?}");
        let _ = mount::key(mount);
    }
}

/// A duration: what is printed reads back the same.
pub fn duration(text: &str) {
    let Ok(duration) = Nanoseconds::parse(text) else { return };
    let printed = duration.to_string();
    let back = Nanoseconds::parse(&printed).expect("what is printed can be read");
    // Fractions of a second are read as floating point numbers.
    let slack = 1 + duration.0.unsigned_abs() / (1 << 50);
    assert!(back.0.abs_diff(duration.0) <= slack, "{text:?}: {printed} is not {duration:?}");
}

/// An amount of bytes: never negative, and the number alone means the same.
pub fn bytes(text: &str) {
    let Some(amount) = units::bytes(text) else { return };
    assert!(amount >= 0, "{text:?} is {amount}");
    if amount < 1 << 52 {
        assert_eq!(units::bytes(&amount.to_string()), Some(amount), "{text:?}");
    }
}
