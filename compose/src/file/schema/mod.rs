//! The format as data: every attribute, its forms, how it merges and how it is printed.
//!
//! One table per object of the Compose specification. The order of a table is the order in which
//! `config` prints. Checking, the long form, merging, printing and the list of known keys in a
//! message all read these tables, so an attribute that is added here is known everywhere.

mod build;
mod deploy;
mod describe;
mod json;
mod service;
mod top;

pub(crate) use json::json_schema;
pub(crate) use service::SERVICE;
pub(crate) use top::{INCLUDE, PROJECT};

use super::node::{Node, Tag};

/// A mapping with known keys.
#[derive(Debug)]
pub(crate) struct Object {
    /// What it is, in words with an article.
    pub(crate) name: &'static str,
    /// Its keys.
    pub(crate) fields: &'static [Field],
    /// The keys that must be there once all files are merged.
    pub(crate) required: &'static [&'static str],
    /// Which keys may be there besides the known ones.
    pub(crate) others: Others,
    /// How two of them become one.
    pub(crate) merge: ObjectMerge,
    /// How JSON spells its keys.
    pub(crate) json_keys: JsonKeys,
    /// Where each of its keys is.
    pub(in crate::file) index: Index,
}

/// How many marks there are.
const MARKS: usize = 64;

/// The places of the keys of an object, made when the program is built: chains of those with one mark.
#[derive(Debug)]
pub(in crate::file) struct Index {
    /// One more than the place of the first key of each chain; 0 for none.
    heads: [u8; MARKS],
    /// The same for the key after each.
    next: [u8; Self::MOST],
}

/// How JSON spells the keys of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JsonKeys {
    /// As files do.
    AsWritten,
    /// With a capital letter, because docker compose gives these no name for JSON.
    Capitals,
}

/// Keys that are not in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Others {
    /// None.
    None,
    /// Those that begin with `x-`.
    Extensions,
    /// All.
    Any,
    /// All, and they say nothing: those that do not begin with `x-` are warned about.
    Ignored,
}

/// How two mappings become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ObjectMerge {
    /// Key by key.
    Keys,
    /// Key by key if `driver` is the same or only one side has it, else the right one.
    SameDriver,
}

/// A key of an object.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    pub(crate) empty: Empty,
}

/// Whether `config` prints a value that is false, zero or empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Empty {
    /// It says as much as no value, so it is left out.
    Hidden,
    /// It says something else than no value.
    Shown,
    /// As `Hidden` in JSON and `Shown` in YAML.
    ShownInYaml,
    /// JSON never has it, YAML does if it says something.
    NotInJson,
    /// JSON has it, empty, even if it is not there.
    Always,
    /// JSON prints null where it is not there.
    Null,
}

/// What a value may look like.
#[derive(Debug)]
pub(crate) enum Shape {
    /// A string.
    Text,
    /// A string, or nothing.
    TextOrNull,
    /// A string or a number, read as text.
    TextLike,
    /// A string or an integer, read as text.
    TextOrInteger,
    /// A string or a boolean, read as text.
    TextOrFlag,
    /// A string, number or boolean, read as text.
    Scalar,
    /// A string in which one of these forms can be found.
    Pattern(&'static Pattern),
    /// A boolean; as text only if it came from a variable.
    Flag,
    /// A boolean, not as text, even if it came from a variable.
    BareFlag,
    /// An integer, also as text.
    Integer,
    /// An integer, not as text, even if it came from a variable.
    BareInteger,
    /// An integer within these bounds, also as text.
    Bounded(i128, i128),
    /// A number, also as text.
    Number,
    /// An amount of bytes: an integer, or text with a unit.
    Bytes,
    /// An amount of bytes as text with a unit.
    BytesText,
    /// A duration.
    Duration,
    /// Permissions: octal text, or a number; printed as octal text.
    Mode,
    /// Permissions: octal text, or a number; printed as a number.
    ModeNumber,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// `all`, or a number (-1 means all).
    Count,
    /// A string that is split into words, or a list.
    Command,
    /// The command of a health check.
    HealthTest,
    /// A list.
    List(List),
    /// `KEY: VALUE` or a list of `KEY=VALUE`.
    Pairs(Bare),
    /// As `Pairs`, but an item that is twice in a list is a mistake.
    DistinctPairs(Bare),
    /// `NAME: CONTEXT` or a list of `NAME=CONTEXT`: places from which a build may copy.
    Contexts,
    /// A mapping of strings and numbers, or nothing for a key.
    Options,
    /// A mapping of strings and numbers.
    DriverOptions,
    /// A mapping whose keys are chosen by the user.
    Map(Map),
    /// A mapping with known keys.
    Object(&'static Object),
    /// A mapping with known keys, or nothing.
    ObjectOrNull(&'static Object),
    /// A mapping with known keys, or a short form of it.
    Long(&'static Long),
    /// Published ports; one item may stand for several.
    Ports,
    /// Lines for `/etc/hosts`.
    ExtraHosts,
    /// Keys and agents for a build.
    Ssh,
    /// A soft and a hard limit, or one number for both.
    Ulimit,
    /// `true`, `false`, or `{name: …}`.
    External,
}

/// A list.
#[derive(Debug)]
pub(crate) struct List {
    pub(crate) item: &'static Shape,
    /// One item may stand without brackets.
    pub(crate) single: bool,
    pub(crate) merge: ListMerge,
}

/// How two lists become one.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ListMerge {
    /// One after the other.
    Append,
    /// One after the other; an item that is there twice is a mistake.
    Distinct,
    /// One after the other; of two items with the same key the later one takes the place of the
    /// earlier one.
    Unique(fn(&Node) -> String),
    /// One after the other; of two items with the same key the later one is merged over the
    /// earlier one.
    Merged(fn(&Node) -> String),
}

/// What a string must have in it.
#[derive(Debug)]
pub(crate) struct Pattern {
    pub(crate) found_in: fn(&str) -> bool,
    /// The words that may be meant.
    pub(crate) words: &'static [&'static str],
    /// The same as a regular expression, for editors.
    pub(crate) expression: &'static str,
    /// The forms, in words.
    pub(crate) forms: &'static str,
}

/// What a bare `KEY` means in a list of `KEY=VALUE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bare {
    /// The value is the empty string.
    Empty,
    /// The value is looked up in the environment.
    Unset,
}

/// A mapping whose keys are chosen by the user.
#[derive(Debug)]
pub(crate) struct Map {
    pub(crate) value: &'static Shape,
    /// What a key names, for messages.
    pub(crate) key: &'static str,
    /// A key may have no value.
    pub(crate) null_values: bool,
    /// A list of keys is understood as well, with this value for each.
    pub(crate) from_list: Option<fn(&Node) -> Node>,
}

/// A mapping with known keys that has a short form.
#[derive(Debug)]
pub(crate) struct Long {
    pub(crate) object: &'static Object,
    /// The forms, in words.
    pub(crate) forms: &'static str,
    /// The long form of a short one, or what is wrong with it.
    pub(crate) short: fn(&Node) -> Result<Node, ShortError>,
}

/// A short form that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ShortError {
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

impl ShortError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None }
    }

    pub(crate) fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }
}

impl Index {
    /// Keys that an object may have.
    const MOST: usize = 128;

    const fn of(fields: &[Field]) -> Self {
        let mut index = Self { heads: [0; MARKS], next: [0; Self::MOST] };
        // From the end, so that chains are in the order of the table.
        let mut place = fields.len();
        while place > 0 {
            let chain = mark(fields[place - 1].name);
            index.next[place - 1] = index.heads[chain];
            #[expect(clippy::cast_possible_truncation, reason = "it is at most MOST")]
            {
                index.heads[chain] = place as u8;
            }
            place -= 1;
        }
        index
    }
}

/// One of 64 numbers, mostly another one for another key.
pub(crate) const fn mark(key: &str) -> usize {
    let key = key.as_bytes();
    if key.is_empty() {
        return 0;
    }
    (key[0] as usize + key[key.len() - 1] as usize * 3 + key.len() * 7) % MARKS
}

impl Object {
    pub(crate) fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.get(self.place(name)?)
    }

    /// Where the key is among [`Object::fields`].
    pub(crate) fn place(&self, name: &str) -> Option<usize> {
        let mut at = usize::from(self.index.heads[mark(name)]);
        while at > 0 {
            if self.fields[at - 1].name == name {
                return Some(at - 1);
            }
            at = usize::from(self.index.next[at - 1]);
        }
        None
    }

    /// True if `key` is one that users may add.
    pub(crate) fn allows(&self, key: &str) -> bool {
        match self.others {
            Others::None => false,
            Others::Extensions | Others::Ignored => key.starts_with("x-"),
            Others::Any => true,
        }
    }
}

impl Shape {
    /// True for a value that is nothing although something is needed: over another file that leaves
    /// what is there, so that only the merged whole shows whether it is a mistake.
    pub(crate) fn leaves_open(&self, node: &Node) -> bool {
        let allowed = matches!(self, Self::TextOrNull | Self::ObjectOrNull(_) | Self::Command);
        node.is_null() && node.tag == Tag::None && !allowed
    }

    /// What is expected, in words with an article.
    pub(crate) fn expected(&self) -> &'static str {
        match self {
            Self::Text | Self::TextOrNull | Self::Pattern(_) => "a string",
            Self::TextLike => "a string or a number",
            Self::TextOrInteger => "a string or an integer",
            Self::TextOrFlag => "a string or a boolean",
            Self::Scalar => "a string, a number or a boolean",
            Self::Flag | Self::BareFlag => "`true` or `false`",
            Self::Integer | Self::BareInteger | Self::Bounded(..) => "an integer",
            Self::Number => "a number",
            Self::Bytes | Self::BytesText => "an amount of bytes like `64m`",
            Self::Duration => "a duration like `1m30s`",
            Self::Mode | Self::ModeNumber => "permissions like `0440`",
            Self::Choice(_) => "a word",
            Self::Count => "a number or `all`",
            Self::Command => "a string or a list of strings",
            Self::HealthTest => "a string or a list that begins with `CMD`, `CMD-SHELL` or `NONE`",
            Self::List(List { single: true, .. }) => "a string or a list",
            Self::List(_) | Self::Ports => "a list",
            Self::Ssh => "a mapping or a list of `ID=PATH`",
            Self::Pairs(_) | Self::DistinctPairs(_) | Self::Contexts | Self::ExtraHosts => {
                "a mapping or a list of `KEY=VALUE`"
            }
            Self::Map(Map { from_list: Some(_), .. }) => "a mapping or a list of names",
            Self::Options
            | Self::DriverOptions
            | Self::Map(_)
            | Self::Object(_)
            | Self::ObjectOrNull(_) => "a mapping",
            Self::Long(long) => long.forms,
            Self::Ulimit => "a number, or a mapping with `soft` and `hard`",
            Self::External => "`true` or `false`",
        }
    }
}

// Short names for the tables.

const fn field(name: &'static str, shape: Shape) -> Field {
    Field { name, shape, empty: Empty::Hidden }
}

const fn shown(name: &'static str, shape: Shape) -> Field {
    Field { name, shape, empty: Empty::Shown }
}

pub(crate) const fn object(name: &'static str, fields: &'static [Field]) -> Object {
    Object {
        name,
        fields,
        required: &[],
        others: Others::Extensions,
        merge: ObjectMerge::Keys,
        json_keys: JsonKeys::AsWritten,
        index: Index::of(fields),
    }
}

const fn list(item: &'static Shape, merge: ListMerge) -> Shape {
    Shape::List(List { item, single: false, merge })
}

const fn one_or_list(item: &'static Shape, merge: ListMerge) -> Shape {
    Shape::List(List { item, single: true, merge })
}

const UNIQUE: ListMerge = ListMerge::Unique(before_equals);

/// The key of `KEY=VALUE`, or the whole text.
pub(crate) fn before_equals(node: &Node) -> String {
    let text = node.as_str().unwrap_or_default();
    text.split('=').next().unwrap_or(text).to_owned()
}
