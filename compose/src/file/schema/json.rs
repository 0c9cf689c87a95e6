//! The tables as a JSON Schema (draft 2020-12), for completion and hover in editors.
//!
//! It accepts what one file may say before variables are filled in and files are merged: text with
//! a `$` may stand wherever a single value may, and keys that another file can give are not
//! required.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde_json::{Map as JsonMap, Value as Json, json};

use super::describe::description;
use super::{List, Map, Object, Others, PROJECT, Shape};
use crate::file::canonical::{PORT, ULIMIT};

/// The schema of a compose file.
pub(crate) fn json_schema() -> Json {
    let mut definitions = Definitions::default();
    let root = definitions.object(&PROJECT);
    // Definitions mention others; each is written once.
    let mut written: BTreeMap<String, Json> = BTreeMap::new();
    while let Some((name, object)) = definitions.open.pop() {
        if let Entry::Vacant(place) = written.entry(name) {
            place.insert(definitions.define(object));
        }
    }
    let mut schema = JsonMap::new();
    schema.insert("$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
    schema.insert("title".into(), json!("Compose file"));
    schema.insert("description".into(), json!("Services, and what they share."));
    if let Json::Object(root) = root {
        schema.extend(root);
    }
    schema.insert("$defs".into(), written.into_iter().collect());
    Json::Object(schema)
}

/// Objects that a schema mentions.
#[derive(Debug, Default)]
struct Definitions {
    open: Vec<(String, &'static Object)>,
}

/// Where a variable may stand.
const VARIABLE: &str = r"\$";

impl Definitions {
    /// A reference to the definition of `object`.
    fn object(&mut self, object: &'static Object) -> Json {
        let name = slug(object.name);
        let reference = json!({ "$ref": format!("#/$defs/{name}") });
        self.open.push((name, object));
        reference
    }

    fn define(&mut self, object: &'static Object) -> Json {
        let mut properties = JsonMap::new();
        for field in object.fields {
            let mut property = JsonMap::new();
            if let Some(text) = description(object.name, field.name) {
                property.insert("description".into(), json!(text));
            }
            if let Json::Object(shape) = self.shape(&field.shape) {
                property.extend(shape);
            }
            properties.insert(field.name.into(), Json::Object(property));
        }
        let mut definition = JsonMap::new();
        definition.insert("type".into(), json!("object"));
        definition.insert("properties".into(), Json::Object(properties));
        if object.others == Others::Extensions {
            let text = "An extension: kept, and without a meaning of its own.";
            let extension = json!({ "^x-": { "description": text } });
            definition.insert("patternProperties".into(), extension);
        }
        definition.insert("additionalProperties".into(), json!(object.others == Others::Any));
        Json::Object(definition)
    }

    fn shape(&mut self, shape: &Shape) -> Json {
        match shape {
            Shape::Text => json!({ "type": "string" }),
            Shape::TextOrNull => json!({ "type": ["string", "null"] }),
            Shape::TextLike => json!({ "type": ["string", "number"] }),
            Shape::Scalar => json!({ "type": ["string", "number", "boolean"] }),
            Shape::TextOrInteger => json!({ "type": ["string", "integer"] }),
            Shape::TextOrFlag => json!({ "type": ["string", "boolean"] }),
            Shape::Pattern(pattern) => matching(&[], pattern.expression),
            Shape::Flag => flag(),
            Shape::BareFlag => json!({ "type": "boolean" }),
            Shape::BareInteger => json!({ "type": "integer" }),
            Shape::Bounded(least, most) => any_of([
                json!({ "type": "integer", "minimum": least, "maximum": most }),
                matching(&[], r"^[+-]?[0-9]+$"),
            ]),
            Shape::Integer => matching(&["integer"], r"^[+-]?[0-9]+$"),
            Shape::Number => {
                matching(&["number"], r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$")
            }
            Shape::Bytes => matching(&["integer"], BYTES),
            Shape::BytesText => matching(&[], BYTES),
            Shape::Duration => {
                matching(&[], r"^[+-]?(0|([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|ms|s|m|h|d|w))+$")
            }
            Shape::Mode | Shape::ModeNumber => matching(&["integer"], "^[0-7]+$"),
            Shape::Count => matching(&["integer"], "^(all|[+-]?[0-9]+)$"),
            Shape::Choice(words) => choice(words),
            Shape::Command => any_of([
                json!({ "type": ["string", "null"] }),
                list_of(json!({ "type": "string" })),
            ]),
            Shape::HealthTest => {
                any_of([json!({ "type": "string" }), list_of(json!({ "type": "string" }))])
            }
            Shape::List(list) => self.list(list),
            Shape::Contexts => pairs(json!({ "type": "string" })),
            Shape::Pairs(_) | Shape::DistinctPairs(_) => {
                pairs(json!({ "type": ["string", "number", "boolean", "null"] }))
            }
            Shape::Options => mapping(json!({ "type": ["string", "number", "null"] })),
            Shape::DriverOptions => mapping(json!({ "type": ["string", "number"] })),
            Shape::Map(map) => self.map(map),
            Shape::Object(object) => self.object(object),
            Shape::ObjectOrNull(object) => any_of([self.object(object), json!({ "type": "null" })]),
            Shape::Long(long) => any_of([
                json!({ "type": "string", "description": long.forms }),
                self.object(long.object),
            ]),
            Shape::Ports => {
                let short = json!({ "type": ["number", "string"], "description": "`[IP:][HOST:]CONTAINER[/PROTOCOL]`" });
                list_of(any_of([short, self.object(&PORT)]))
            }
            Shape::ExtraHosts => {
                let addresses =
                    json!({ "type": ["string", "array"], "items": { "type": "string" } });
                pairs(addresses)
            }
            Shape::Ssh => pairs(json!({ "type": ["string", "null"] })),
            Shape::Ulimit => any_of([self.shape(&Shape::Integer), self.object(&ULIMIT)]),
            Shape::External => {
                let named = mapping(json!({ "type": "string" }));
                any_of([flag(), named])
            }
        }
    }

    fn list(&mut self, list: &List) -> Json {
        let item = self.shape(list.item);
        let items = list_of(item.clone());
        if list.single { any_of([json!({ "type": "string" }), item, items]) } else { items }
    }

    fn map(&mut self, map: &Map) -> Json {
        let value = self.shape(map.value);
        let value =
            if map.null_values { any_of([value, json!({ "type": "null" })]) } else { value };
        let entries = mapping(value);
        match map.from_list {
            Some(_) => any_of([entries, list_of(json!({ "type": "string" }))]),
            None => entries,
        }
    }
}

const BYTES: &str = r"^-?([0-9]+\.?[0-9]*|\.[0-9]+) ?([kKmMgGtTpP][iI]?)?[bB]?$";

/// `true`, or one of the words of YAML 1.1.
fn flag() -> Json {
    let words = r"^([Tt][Rr][Uu][Ee]|[Ff][Aa][Ll][Ss][Ee]|[Yy]([Ee][Ss])?|[Nn][Oo]?|[Oo][Nn]|[Oo][Ff][Ff])$";
    matching(&["boolean"], words)
}

/// One of `types`, or text like `pattern` or with a variable.
fn matching(types: &[&str], pattern: &str) -> Json {
    let types: Vec<&str> = types.iter().copied().chain(["string"]).collect();
    let types = if let [only] = types[..] { json!(only) } else { json!(types) };
    json!({ "type": types, "pattern": format!("{pattern}|{VARIABLE}") })
}

fn choice(words: &[&str]) -> Json {
    any_of([json!({ "enum": words }), json!({ "type": "string", "pattern": VARIABLE })])
}

/// One of `forms`, each once.
fn any_of<const N: usize>(forms: [Json; N]) -> Json {
    let mut different: Vec<Json> = Vec::with_capacity(N);
    for form in forms {
        if !different.contains(&form) {
            different.push(form);
        }
    }
    json!({ "anyOf": different })
}

fn list_of(item: Json) -> Json {
    json!({ "type": "array", "items": item })
}

fn mapping(value: Json) -> Json {
    json!({ "type": "object", "additionalProperties": value })
}

/// A mapping, or a list of `KEY=VALUE`.
fn pairs(value: Json) -> Json {
    any_of([mapping(value), list_of(json!({ "type": "string" }))])
}

/// `the options of a bind` as `options-of-a-bind`.
fn slug(name: &str) -> String {
    let plain: String = name.chars().filter(|c| *c != '`').collect();
    let words = plain.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let words: Vec<&str> = words.skip_while(|word| matches!(*word, "a" | "an" | "the")).collect();
    words.join("-")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn objects() -> Vec<(String, &'static Object)> {
        let mut definitions = Definitions::default();
        definitions.object(&PROJECT);
        let mut seen: Vec<(String, &'static Object)> = Vec::new();
        while let Some((name, object)) = definitions.open.pop() {
            if !seen.iter().any(|(_, other)| std::ptr::eq(*other, object)) {
                seen.push((name, object));
                definitions.define(object);
            }
        }
        seen
    }

    #[test]
    fn every_key_of_every_object_is_described() {
        let mut missing = Vec::new();
        for (_, object) in objects() {
            for field in object.fields {
                if description(object.name, field.name).is_none_or(|text| text.len() < 10) {
                    missing.push(format!("{}: {}", object.name, field.name));
                }
            }
        }
        assert!(missing.is_empty(), "{missing:#?}");
    }

    /// Objects with the same name have the same keys, so one definition will do.
    #[test]
    fn names_of_definitions_are_unambiguous() {
        let mut known: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for (name, object) in objects() {
            let keys: Vec<&str> = object.fields.iter().map(|field| field.name).collect();
            let first = known.entry(name.clone()).or_insert_with(|| keys.clone());
            assert_eq!(*first, keys, "{name}");
        }
    }
}
