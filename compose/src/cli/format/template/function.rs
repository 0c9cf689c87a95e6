//! The functions of templates, and how values are printed.

use std::cmp::Ordering;
use std::fmt::Write as _;

use serde_json::Value;

/// A function; its name is its word in a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    And,
    Eq,
    Ge,
    Gt,
    Html,
    Index,
    Join,
    Js,
    Json,
    Le,
    Len,
    Lower,
    Lt,
    Ne,
    Not,
    Or,
    Pad,
    Print,
    Printf,
    Println,
    Slice,
    Split,
    Title,
    Truncate,
    Upper,
    Urlquery,
}

/// Words of templates with the function and how many arguments it takes, at least and at most.
const ALL: [(&str, Function, usize, usize); 26] = [
    ("and", Function::And, 1, usize::MAX),
    ("eq", Function::Eq, 2, usize::MAX),
    ("ge", Function::Ge, 2, 2),
    ("gt", Function::Gt, 2, 2),
    ("html", Function::Html, 1, usize::MAX),
    ("index", Function::Index, 1, usize::MAX),
    ("join", Function::Join, 2, 2),
    ("js", Function::Js, 1, usize::MAX),
    ("json", Function::Json, 1, 1),
    ("le", Function::Le, 2, 2),
    ("len", Function::Len, 1, 1),
    ("lower", Function::Lower, 1, 1),
    ("lt", Function::Lt, 2, 2),
    ("ne", Function::Ne, 2, 2),
    ("not", Function::Not, 1, 1),
    ("or", Function::Or, 1, usize::MAX),
    ("pad", Function::Pad, 3, 3),
    ("print", Function::Print, 0, usize::MAX),
    ("printf", Function::Printf, 1, usize::MAX),
    ("println", Function::Println, 0, usize::MAX),
    ("slice", Function::Slice, 1, 3),
    ("split", Function::Split, 2, 2),
    ("title", Function::Title, 1, 1),
    ("truncate", Function::Truncate, 2, 2),
    ("upper", Function::Upper, 1, 1),
    ("urlquery", Function::Urlquery, 1, usize::MAX),
];

impl Function {
    /// The function with this name.
    pub(super) fn named(word: &str) -> Option<Self> {
        ALL.iter().find(|(name, ..)| *name == word).map(|(_, function, ..)| *function)
    }

    fn name(self) -> &'static str {
        ALL.iter().find(|(_, function, ..)| *function == self).map_or("", |(name, ..)| name)
    }

    fn takes(self) -> (usize, usize) {
        let found = ALL.iter().find(|(_, function, ..)| *function == self);
        found.map_or((0, usize::MAX), |(_, _, least, most)| (*least, *most))
    }
}

/// Calls a function.
///
/// # Errors
///
/// What is wrong with its arguments.
pub(super) fn call(function: Function, arguments: &[Value]) -> Result<Value, String> {
    let (least, most) = function.takes();
    if arguments.len() < least || arguments.len() > most {
        let (name, given) = (function.name(), arguments.len());
        let many = if least == 1 { "1 argument".to_owned() } else { format!("{least} arguments") };
        return Err(format!("`{name}` takes {many}, and got {given}"));
    }
    let string = |index: usize| match &arguments[index] {
        Value::String(text) => Ok(text.as_str()),
        other => Err(format!("`{}` takes a string, and got {}", function.name(), text(other))),
    };
    let count = |index: usize| match arguments[index].as_u64().map(usize::try_from) {
        Some(Ok(count)) => Ok(count),
        _ => Err(format!(
            "`{}` takes a number, and got {}",
            function.name(),
            text(&arguments[index])
        )),
    };
    Ok(match function {
        Function::And => chosen(arguments, |value| !truth(value)),
        Function::Or => chosen(arguments, truth),
        Function::Not => (!truth(&arguments[0])).into(),
        Function::Eq => arguments[1..]
            .iter()
            .map(|other| equal(&arguments[0], other))
            .collect::<Result<Vec<bool>, _>>()?
            .contains(&true)
            .into(),
        Function::Ne => (!equal(&arguments[0], &arguments[1])?).into(),
        Function::Lt => compare(arguments)?.is_lt().into(),
        Function::Le => compare(arguments)?.is_le().into(),
        Function::Gt => compare(arguments)?.is_gt().into(),
        Function::Ge => compare(arguments)?.is_ge().into(),
        Function::Index => {
            arguments[1..].iter().try_fold(arguments[0].clone(), |from, by| index(&from, by))?
        }
        Function::Join => match &arguments[0] {
            Value::Array(all) => all.iter().map(text).collect::<Vec<_>>().join(string(1)?).into(),
            other => return Err(format!("`join` takes a list, and got {}", text(other))),
        },
        Function::Json => serde_json::to_string(&arguments[0]).unwrap_or_default().into(),
        Function::Len => length(&arguments[0])?.into(),
        Function::Lower => string(0)?.to_lowercase().into(),
        Function::Upper => string(0)?.to_uppercase().into(),
        Function::Title => title(string(0)?).into(),
        Function::Pad => {
            let (before, behind) = (" ".repeat(count(1)?), " ".repeat(count(2)?));
            format!("{before}{}{behind}", string(0)?).into()
        }
        Function::Truncate => string(0)?.chars().take(count(1)?).collect::<String>().into(),
        Function::Split => string(0)?.split(string(1)?).map(Value::from).collect::<Vec<_>>().into(),
        Function::Slice => {
            let to = if arguments.len() > 2 { Some(count(2)?) } else { None };
            let from = if arguments.len() > 1 { count(1)? } else { 0 };
            slice(&arguments[0], from, to)?
        }
        Function::Print => printed(arguments).into(),
        Function::Html => escaped(&printed(arguments), in_html).into(),
        Function::Js => escaped(&printed(arguments), in_script).into(),
        Function::Urlquery => printed(arguments).bytes().fold(String::new(), in_query).into(),
        Function::Println => {
            format!("{}\n", arguments.iter().map(text).collect::<Vec<_>>().join(" ")).into()
        }
        Function::Printf => printf(string(0)?, &arguments[1..]).into(),
    })
}

/// A text with other words for some of its characters.
fn escaped(text: &str, word: impl Fn(char) -> Option<String>) -> String {
    text.chars().fold(String::new(), |mut all, character| {
        match word(character) {
            Some(word) => all.push_str(&word),
            None => all.push(character),
        }
        all
    })
}

/// What stands for a character in a text of HTML (text/template, `HTMLEscapeString`).
fn in_html(character: char) -> Option<String> {
    let word = match character {
        '\0' => "\u{fffd}",
        '"' => "&#34;",
        '\'' => "&#39;",
        '&' => "&amp;",
        '<' => "&lt;",
        '>' => "&gt;",
        _ => return None,
    };
    Some(word.to_owned())
}

/// What stands for a character in a string of JavaScript (text/template, `JSEscapeString`).
fn in_script(character: char) -> Option<String> {
    match character {
        '\\' | '\'' | '"' => Some(format!("\\{character}")),
        '<' | '>' | '&' | '=' => Some(format!("\\u{:04X}", u32::from(character))),
        _ if character.is_control() => Some(format!("\\u{:04X}", u32::from(character))),
        _ => None,
    }
}

/// Adds a byte as it is written in the query of an address (net/url, `QueryEscape`).
fn in_query(mut all: String, byte: u8) -> String {
    match byte {
        b' ' => all.push('+'),
        b'-' | b'_' | b'.' | b'~' => all.push(char::from(byte)),
        _ if byte.is_ascii_alphanumeric() => all.push(char::from(byte)),
        _ => {
            let _ = write!(all, "%{byte:02X}");
        }
    }
    all
}

/// The first argument of which `ends` is true, else the last.
fn chosen(arguments: &[Value], ends: impl Fn(&Value) -> bool) -> Value {
    let found = arguments.iter().find(|value| ends(value)).or_else(|| arguments.last());
    found.cloned().unwrap_or_default()
}

fn number(value: &Value) -> Option<f64> {
    value.as_f64()
}

fn equal(one: &Value, other: &Value) -> Result<bool, String> {
    let same_kind = std::mem::discriminant(one) == std::mem::discriminant(other);
    match (number(one), number(other)) {
        (Some(one), Some(other)) => Ok(one.total_cmp(&other).is_eq()),
        _ if same_kind || one.is_null() || other.is_null() => Ok(one == other),
        _ => Err(incomparable(one, other)),
    }
}

fn compare(arguments: &[Value]) -> Result<Ordering, String> {
    let (one, other) = (&arguments[0], &arguments[1]);
    match (number(one), number(other), one.as_str(), other.as_str()) {
        (Some(one), Some(other), ..) => Ok(one.total_cmp(&other)),
        (_, _, Some(one), Some(other)) => Ok(one.cmp(other)),
        _ => Err(incomparable(one, other)),
    }
}

fn incomparable(one: &Value, other: &Value) -> String {
    format!("{} and {} cannot be compared", text(one), text(other))
}

fn index(from: &Value, by: &Value) -> Result<Value, String> {
    match (from, by) {
        (Value::Array(all), Value::Number(_)) => {
            let found = by.as_u64().and_then(|at| all.get(usize::try_from(at).ok()?));
            let missing = || format!("index {} is out of range: there are {}", text(by), all.len());
            found.cloned().ok_or_else(missing)
        }
        // What a map does not have is empty.
        (Value::Object(all), Value::String(key)) => {
            Ok(all.get(key).cloned().unwrap_or_else(|| "".into()))
        }
        (Value::Null, _) => Err("nothing can be taken out of nil".to_owned()),
        _ => Err(format!("{} has nothing at {}", kind(from), text(by))),
    }
}

fn length(value: &Value) -> Result<usize, String> {
    match value {
        Value::String(text) => Ok(text.len()),
        Value::Array(all) => Ok(all.len()),
        Value::Object(all) => Ok(all.len()),
        other => Err(format!("{} has no length", kind(other))),
    }
}

fn slice(value: &Value, from: usize, to: Option<usize>) -> Result<Value, String> {
    let range = |length: usize| from..to.unwrap_or(length);
    let found = match value {
        Value::String(text) => text.get(range(text.len())).map(Value::from),
        Value::Array(all) => all.get(range(all.len())).map(|part| part.to_vec().into()),
        other => return Err(format!("{} cannot be sliced", kind(other))),
    };
    found.ok_or_else(|| format!("slice {from}:{} is out of range", to.unwrap_or(from)))
}

fn title(words: &str) -> String {
    let mut begins = true;
    let mut capital = |c: char| {
        let turned = if begins { c.to_uppercase().collect() } else { c.to_string() };
        begins = c.is_whitespace();
        turned
    };
    words.chars().map(&mut capital).collect()
}

/// Blanks stand between two that are no strings (fmt.Sprint).
fn printed(arguments: &[Value]) -> String {
    let mut out = String::new();
    for (position, value) in arguments.iter().enumerate() {
        let before = position.checked_sub(1).map(|before| &arguments[before]);
        if before.is_some_and(|before| !before.is_string() && !value.is_string()) {
            out.push(' ');
        }
        out.push_str(&text(value));
    }
    out
}

/// What stands between `%` and the verb.
#[derive(Debug, Default)]
struct Directive {
    left: bool,
    zeros: bool,
    width: usize,
    precision: Option<usize>,
}

impl Directive {
    fn parse(flags: &str) -> Self {
        let left = flags.contains('-');
        let rest = flags.trim_start_matches(['-', '+', '#', ' ']);
        let (width, precision) = rest.split_once('.').map_or((rest, None), |(w, p)| (w, Some(p)));
        Self {
            left,
            zeros: !left && width.starts_with('0'),
            // More than a terminal has is a mistake, and would only cost memory.
            width: width.parse().unwrap_or(0).min(1000),
            precision: precision.map(|digits| digits.parse().unwrap_or(0).min(1000)),
        }
    }

    fn fill(&self, text: &str, number: bool) -> String {
        let room = self.width.saturating_sub(text.chars().count());
        match (self.left, self.zeros && number) {
            (true, _) => format!("{text}{}", " ".repeat(room)),
            (false, true) => {
                let digits = text.trim_start_matches('-');
                let sign = if digits.len() < text.len() { "-" } else { "" };
                format!("{sign}{}{digits}", "0".repeat(room))
            }
            (false, false) => format!("{}{text}", " ".repeat(room)),
        }
    }
}

fn printf(format: &str, arguments: &[Value]) -> String {
    let mut out = String::new();
    let mut values = arguments.iter();
    let mut rest = format;
    while let Some((before, behind)) = rest.split_once('%') {
        out.push_str(before);
        let Some(end) = behind.find(|c: char| c.is_ascii_alphabetic() || c == '%') else {
            out.push_str("%!(NOVERB)");
            return out;
        };
        let (flags, verb) = (&behind[..end], behind.as_bytes()[end]);
        rest = &behind[end + 1..];
        if verb == b'%' {
            out.push('%');
            continue;
        }
        let verb = char::from(verb);
        match values.next() {
            Some(value) => out.push_str(&formatted(&Directive::parse(flags), verb, value)),
            None => {
                let _ = write!(out, "%!{verb}(MISSING)");
            }
        }
    }
    out.push_str(rest);
    for value in values {
        let _ = write!(out, "%!(EXTRA {})", text(value));
    }
    out
}

fn formatted(directive: &Directive, verb: char, value: &Value) -> String {
    let plain = text(value);
    match verb {
        's' | 'v' => {
            let cut = match directive.precision {
                Some(most) if value.is_string() => plain.chars().take(most).collect(),
                _ => plain,
            };
            directive.fill(&cut, value.is_number())
        }
        'd' if value.is_i64() || value.is_u64() => directive.fill(&plain, true),
        't' if value.is_boolean() => directive.fill(&plain, false),
        'q' => directive.fill(&format!("{plain:?}"), false),
        'x' => match value.as_u64() {
            Some(number) => directive.fill(&format!("{number:x}"), true),
            None => plain.bytes().map(|byte| format!("{byte:02x}")).collect(),
        },
        'f' | 'g' | 'e' if value.is_number() => {
            let number = value.as_f64().unwrap_or_default();
            let precision = directive.precision.unwrap_or(6);
            directive.fill(&format!("{number:.precision$}"), true)
        }
        other => format!("%!{other}({plain})"),
    }
}

/// Whether `if` takes `value` for true.
pub(super) fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(truth) => *truth,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(all) => !all.is_empty(),
        Value::Object(all) => !all.is_empty(),
    }
}

/// What sort of value this is, in words.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nil",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

/// A value as Go prints it.
#[must_use]
pub fn text(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(all) => {
            format!("[{}]", all.iter().map(text).collect::<Vec<_>>().join(" "))
        }
        Value::Object(all) => {
            let mut pairs: Vec<(&String, &Value)> = all.iter().collect();
            pairs.sort_by_key(|(key, _)| *key);
            let words = pairs.iter().map(|(key, value)| format!("{key}:{}", text(value)));
            format!("map[{}]", words.collect::<Vec<_>>().join(" "))
        }
    }
}
