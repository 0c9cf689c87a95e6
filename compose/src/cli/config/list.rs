//! Lists out of the document: a name a line, and the table of variables.

use std::fmt::Write as _;

use serde_json::{Map, Value as Json, json};

use super::{Format, yaml};
use crate::file::{Printed, Variable};

/// A name a line.
pub(super) fn lines(names: impl IntoIterator<Item = String>) -> String {
    names.into_iter().map(|name| name + "\n").collect()
}

/// The variables as a table, or as what `format` says.
pub(super) fn variables(variables: &[Variable], format: Option<Format>) -> String {
    match format {
        None => table(variables),
        Some(Format::Yaml) => {
            let variables = object(variables, |name| name.to_ascii_lowercase());
            yaml::text(&Printed::from(&variables), 4)
        }
        Some(Format::Json) => format!("{:#}\n", object(variables, str::to_owned)),
    }
}

fn object(variables: &[Variable], key: fn(&str) -> String) -> Json {
    let entry = |variable: &Variable| {
        let fields = [
            ("Name", json!(variable.name)),
            ("DefaultValue", json!(variable.default)),
            ("PresenceValue", json!(variable.alternate)),
            ("Required", json!(variable.required)),
        ];
        let fields: Map<String, Json> =
            fields.into_iter().map(|(name, value)| (key(name), value)).collect();
        (variable.name.clone(), Json::Object(fields))
    };
    Json::Object(variables.iter().map(entry).collect())
}

fn table(variables: &[Variable]) -> String {
    const HEAD: [&str; 4] = ["NAME", "REQUIRED", "DEFAULT VALUE", "ALTERNATE VALUE"];
    let rows: Vec<[String; 4]> = std::iter::once(HEAD.map(str::to_owned))
        .chain(variables.iter().map(|variable| {
            let Variable { name, required, default, alternate } = variable.clone();
            [name, required.to_string(), default, alternate]
        }))
        .collect();
    let width = |column: usize| {
        let longest = rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        (longest + 3).max(20)
    };
    let widths = [width(0), width(1), width(2)];
    let mut text = String::new();
    for [name, required, default, alternate] in &rows {
        let [first, second, third] = widths;
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name:first$}{required:second$}{default:third$}{alternate}");
    }
    text
}
