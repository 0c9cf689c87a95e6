//! How a value came from where it was written to where it is used: through aliases, merge keys,
//! `extends`, `include`, overrides, environment files and variables.
//!
//! A [`Trace`] is part of every [`Span`], so it follows a value through all phases without their
//! doing: messages and `config --explain` read it at the end. The steps themselves lie in
//! [`Sources`]; a trace is the number of the nearest one.

use std::sync::Arc;

use super::node::{Node, Value};
use super::source::{Sources, Span};

/// The nearest step on the way of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Trace(u32);

impl Trace {
    /// The value is not written anywhere: it follows from what stands at its place.
    pub(crate) const IMPLIED: Self = Self(u32::MAX);

    /// The step that was noted as the `number`th.
    pub(super) const fn nth(number: u32) -> Self {
        Self(number)
    }

    pub(super) fn index(self) -> Option<usize> {
        usize::try_from(self.0.checked_sub(1)?).ok()
    }
}

/// One step on the way of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cause {
    /// `*NAME` stands for it.
    Alias(Span),
    /// `<<: *NAME` takes it in.
    Merge(Span),
    /// A service extends the one that has it.
    Extends(Span),
    /// A file includes the one that has it.
    Include(Span),
    /// An environment file or a label file has it.
    EnvFile(Span),
    /// It stands in the place of another value.
    Replaces(Span),
    /// A variable is part of it.
    Variable(Filled),
}

/// A variable that was filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filled {
    pub(crate) name: Arc<str>,
    /// Nothing if it is not set.
    pub(crate) value: Option<Arc<str>>,
    pub(crate) origin: Origin,
}

/// Where the value of a variable comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The environment of the process.
    Environment,
    /// The name of the project.
    Project,
    /// A line of an environment file.
    File(Span),
    /// It is not set; the file says what stands there instead.
    Default,
    /// It is not set and counts as empty.
    Unset,
}

impl Cause {
    /// The place that the step is about.
    pub(crate) const fn place(&self) -> Option<Span> {
        match self {
            Self::Alias(span)
            | Self::Merge(span)
            | Self::Extends(span)
            | Self::Include(span)
            | Self::EnvFile(span)
            | Self::Replaces(span)
            | Self::Variable(Filled { origin: Origin::File(span), .. }) => Some(*span),
            Self::Variable(_) => None,
        }
    }

    /// The place whose own story is part of this one.
    pub(super) const fn leads_on(&self) -> Option<Span> {
        match self {
            Self::Replaces(_) | Self::Variable(_) => None,
            other => other.place(),
        }
    }

    /// What is to be said at the place.
    pub(crate) fn label(&self) -> String {
        match self {
            Self::Alias(_) => "used here".into(),
            Self::Merge(_) => "merged in here".into(),
            Self::Extends(_) => "extended from here".into(),
            Self::Include(_) => "included from here".into(),
            Self::EnvFile(_) => "read from here".into(),
            Self::Replaces(_) => "overrides this".into(),
            Self::Variable(filled) => format!("`{}` is set here", filled.name),
        }
    }
}

impl Filled {
    /// What the variable is and where that was said, if it was not said in a file.
    pub(crate) fn note(&self) -> Option<String> {
        let Self { name, value, origin } = self;
        let value = value.as_deref().map(shortened).unwrap_or_default();
        Some(match origin {
            Origin::File(_) => return None,
            Origin::Environment => format!("`{name}` is `{value}` in the environment"),
            Origin::Project => format!("`{name}` is `{value}`, the name of the project"),
            Origin::Default => format!("`{name}` is not set"),
            Origin::Unset => format!("`{name}` is not set and counts as empty"),
        })
    }
}

/// The beginning of a long value.
fn shortened(text: &str) -> String {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Notes at `node` and all that is in it how it came here.
pub(crate) fn mark(sources: &mut Sources, node: &mut Node, cause: &Cause) {
    Marker { sources, cause, last: None }.node(node);
}

struct Marker<'s> {
    sources: &'s mut Sources,
    cause: &'s Cause,
    /// The last trace and what it has become: most nodes have the same.
    last: Option<(Trace, Trace)>,
}

impl Marker<'_> {
    fn node(&mut self, node: &mut Node) {
        node.span = self.span(node.span);
        match &mut node.value {
            Value::List(items) => items.iter_mut().for_each(|item| self.node(item)),
            Value::Map(map) => {
                for (_, entry) in map.iter_mut() {
                    entry.key = self.span(entry.key);
                    self.node(&mut entry.node);
                }
            }
            _ => {}
        }
    }

    fn span(&mut self, span: Span) -> Span {
        match self.last {
            _ if span.trace == Trace::IMPLIED => span,
            Some((before, after)) if before == span.trace => Span { trace: after, ..span },
            _ => {
                let traced = self.sources.traced(span, self.cause.clone());
                self.last = Some((span.trace, traced.trace));
                traced
            }
        }
    }
}
