//! Collects what is wrong, with its places, so that all of it can be shown at once.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::diagnostic::{Diagnostic, Label, Severity};

use super::source::{FileId, Sources, Span};
use super::trace::Cause;

/// Nobody reads more errors, or more warnings, at once.
const MAX_SHOWN: usize = 100;
/// Nobody looks at more places of one message.
const MAX_LABELS: usize = 5;

/// The texts of a run and what was found in them.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) sources: Sources,
    found: Vec<(Option<Span>, Diagnostic)>,
    /// Variables that are not set, with all places that use them.
    unset: BTreeMap<String, Vec<Span>>,
    /// What `!reset` has taken out of which mapping.
    removed: HashMap<((FileId, u32, u32), String), Span>,
    /// What is defined, but not as it should be: its kind and its name.
    refused: HashSet<(&'static str, String)>,
}

impl Report {
    /// Notes an error at `span`.
    pub(crate) fn error(&mut self, span: Span, message: impl Into<String>) -> Finding<'_> {
        self.add(Severity::Error, Some(span), message.into())
    }

    /// Notes a warning at `span`.
    pub(crate) fn warning(&mut self, span: Span, message: impl Into<String>) -> Finding<'_> {
        self.add(Severity::Warning, Some(span), message.into())
    }

    /// Notes an error that has no place in a file.
    pub(crate) fn error_without_place(&mut self, message: impl Into<String>) -> Finding<'_> {
        self.add(Severity::Error, None, message.into())
    }

    /// Notes a warning that has no place in a file.
    pub(crate) fn warning_without_place(&mut self, message: impl Into<String>) -> Finding<'_> {
        self.add(Severity::Warning, None, message.into())
    }

    /// Notes that the variable `name`, used at `span`, is not set.
    pub(crate) fn unset_variable(&mut self, name: &str, span: Span) {
        let places = match self.unset.get_mut(name) {
            Some(places) => places,
            None => self.unset.entry(name.to_owned()).or_default(),
        };
        // What stands at an anchor is read once for each alias.
        if places.last().is_none_or(|last| last.bytes() != span.bytes()) {
            places.push(span);
        }
    }

    /// Notes that `!reset` at `place` has taken `key` out of the mapping at `parent`.
    pub(crate) fn note_removed(&mut self, parent: Span, key: &str, place: Span) {
        self.removed.insert((parent.bytes(), key.to_owned()), place);
    }

    /// Where `!reset` has taken `key` out of the mapping at `parent`.
    pub(crate) fn removed(&self, parent: Span, key: &str) -> Option<Span> {
        self.removed.get(&(parent.bytes(), key.to_owned())).copied()
    }

    /// Notes that the thing `name`, whose kind is `kind`, is there, but was refused.
    pub(crate) fn note_refused(&mut self, kind: &'static str, name: &str) {
        self.refused.insert((kind, name.to_owned()));
    }

    /// True if there is a thing `name` that was refused, so that nobody misses it.
    pub(crate) fn is_refused(&self, kind: &'static str, name: &str) -> bool {
        self.refused.contains(&(kind, name.to_owned()))
    }

    /// The part of what is written at `span` that says `part`; all of it if that is not clear.
    pub(crate) fn part(&self, span: Span, part: &str) -> Span {
        let written = self.sources.slice(span);
        let mut found = written.match_indices(part);
        match (found.next(), found.next()) {
            (Some((at, _)), None) if !part.is_empty() => span.part(at, part.len()),
            _ => span,
        }
    }

    /// A report over the same texts of which nothing will be shown.
    pub(crate) fn scratch(&self) -> Self {
        Self::over(self.sources.clone())
    }

    /// An empty report over the texts of `sources`.
    pub(crate) fn over(sources: Sources) -> Self {
        Self { sources, ..Self::default() }
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.errors() > 0
    }

    /// True if an earlier phase has found an error within `span`.
    pub(crate) fn has_error_within(&self, span: Span) -> bool {
        let (file, start, end) = span.bytes();
        let within = |(other_file, other_start, other_end)| {
            file == other_file && start <= other_start && other_end <= end
        };
        self.found.iter().any(|(place, diagnostic)| {
            diagnostic.severity == Severity::Error && place.map(Span::bytes).is_some_and(within)
        })
    }

    /// How many errors there are so far.
    pub(crate) fn errors(&self) -> usize {
        let is_error = |diagnostic: &Diagnostic| diagnostic.severity == Severity::Error;
        self.found.iter().filter(|(_, diagnostic)| is_error(diagnostic)).count()
    }

    /// Turns into warnings what `find` finds.
    pub(crate) fn doubt<T>(&mut self, find: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.found.len();
        let result = find(self);
        for (_, diagnostic) in &mut self.found[before..] {
            diagnostic.severity = Severity::Warning;
        }
        result
    }

    fn add(&mut self, severity: Severity, span: Option<Span>, message: String) -> Finding<'_> {
        let mut diagnostic = match severity {
            Severity::Error => Diagnostic::error(message),
            Severity::Warning => Diagnostic::warning(message),
        };
        diagnostic.labels.extend(span.map(|span| self.sources.label(span, "")));
        self.found.push((span, diagnostic));
        let index = self.found.len() - 1;
        Finding { report: self, index }
    }

    /// All that was found, in the order of the files.
    pub(crate) fn into_diagnostics(self) -> Vec<Diagnostic> {
        self.into_parts().1
    }

    /// The texts, and what was found in them, in the order of the files.
    pub(crate) fn into_parts(mut self) -> (Sources, Vec<Diagnostic>) {
        self.warn_of_unset_variables();
        let mut found = std::mem::take(&mut self.found);
        found.sort_by_key(|(span, _)| *span);
        let mut shown = [0_usize; 2];
        let mut diagnostics = Vec::with_capacity(found.len().min(2 * MAX_SHOWN));
        for (mut diagnostic, spans) in grouped(found) {
            let count = &mut shown[usize::from(diagnostic.severity == Severity::Warning)];
            *count += 1;
            if *count <= MAX_SHOWN {
                self.tell_the_way(&mut diagnostic, &spans);
                diagnostics.push(diagnostic);
            }
        }
        let [errors, warnings] = shown.map(|count| count.saturating_sub(MAX_SHOWN));
        if errors > 0 {
            diagnostics.push(Diagnostic::error(format!("there are {errors} more errors")));
        }
        if warnings > 0 {
            diagnostics.push(Diagnostic::warning(format!("there are {warnings} more warnings")));
        }
        (self.sources, diagnostics)
    }

    fn warn_of_unset_variables(&mut self) {
        for (name, mut places) in std::mem::take(&mut self.unset) {
            places.sort_unstable();
            places.dedup_by_key(|span| span.bytes());
            let bare = places.iter().any(|span| self.sources.before(*span).ends_with('$'));
            let message =
                format!("the variable `{name}` is not set; it defaults to a blank string");
            let mut finding = self.warning(places[0], message);
            for span in places.iter().skip(1).take(MAX_LABELS - 1) {
                finding = finding.also(*span, "also used here");
            }
            if let Some(more) = places.len().checked_sub(MAX_LABELS).filter(|more| *more > 0) {
                let places = if more == 1 { "place" } else { "places" };
                finding = finding.note(format!("it is used in {more} more {places}"));
            }
            let finding = finding.help(format!(
                "set it in the environment or in `.env`, or give a default: `${{{name}:-value}}`"
            ));
            if bare {
                finding.help(format!("if no variable is meant, double the `$`: `$${name}`"));
            }
        }
    }

    /// Adds how the value at fault came to where it is used.
    fn tell_the_way(&self, diagnostic: &mut Diagnostic, spans: &[Span]) {
        let ways: Vec<Vec<&Cause>> = spans.iter().map(|span| self.sources.causes(*span)).collect();
        let is_variable = |cause: &&&Cause| matches!(cause, Cause::Variable(_));
        // What is wrong where it is written is wrong wherever it is used.
        let direct = ways.iter().any(|way| way.iter().all(|cause| is_variable(&cause)));
        let causes = ways.iter().flatten().filter(|cause| !direct || is_variable(cause));
        let mut more = 0;
        for cause in causes {
            if let Cause::Variable(filled) = cause
                && let Some(note) = filled.note()
                && !diagnostic.notes.contains(&note)
            {
                diagnostic.notes.push(note);
            }
            let Some(place) = cause.place() else { continue };
            let label = self.sources.label(place, cause.label());
            if diagnostic.labels.iter().any(|other| is_same_place(other, &label)) {
                continue;
            }
            if diagnostic.labels.len() < MAX_LABELS {
                diagnostic.labels.push(label);
            } else {
                more += 1;
            }
        }
        if more > 0 {
            let places = if more == 1 { "place leads" } else { "places lead" };
            diagnostic.notes.push(format!("{more} more {places} here"));
        }
    }
}

fn is_same_place(one: &Label, other: &Label) -> bool {
    let key = |label: &Label| (label.place.file.clone(), label.place.line, label.place.column);
    key(one) == key(other)
}

/// What is said several times about one place, because several ways lead there, is said once.
fn grouped(found: Vec<(Option<Span>, Diagnostic)>) -> Vec<(Diagnostic, Vec<Span>)> {
    let mut groups: Vec<(Diagnostic, Vec<Span>)> = Vec::new();
    let mut known: HashMap<_, usize> = HashMap::new();
    for (span, diagnostic) in found {
        let key = (span.map(Span::bytes), diagnostic.severity, diagnostic.message.clone());
        let group = *known.entry(key).or_insert_with(|| {
            groups.push((diagnostic, Vec::new()));
            groups.len() - 1
        });
        groups[group].1.extend(span);
    }
    groups
}

/// A finding to which more can be added.
#[derive(Debug)]
pub(crate) struct Finding<'r> {
    report: &'r mut Report,
    index: usize,
}

impl Finding<'_> {
    /// Says something at the place itself.
    pub(crate) fn says(self, text: impl Into<String>) -> Self {
        if let Some(label) = self.report.found[self.index].1.labels.first_mut() {
            label.text = text.into();
        }
        self
    }

    /// Adds another place.
    pub(crate) fn also(self, span: Span, text: impl Into<String>) -> Self {
        let label = self.report.sources.label(span, text);
        self.report.found[self.index].1.labels.push(label);
        self
    }

    /// Adds another place, if there is one.
    pub(crate) fn also_at(self, span: Option<Span>, text: &str) -> Self {
        match span {
            Some(span) => self.also(span, text),
            None => self,
        }
    }

    /// Adds what is good to know.
    pub(crate) fn note(self, text: impl Into<String>) -> Self {
        self.report.found[self.index].1.notes.push(text.into());
        self
    }

    /// Adds advice.
    pub(crate) fn help(self, text: impl Into<String>) -> Self {
        self.report.found[self.index].1.help.push(text.into());
        self
    }

    /// Adds a "did you mean" if one of `known` is close to `found`.
    pub(crate) fn did_you_mean<'k>(
        self,
        found: &str,
        known: impl IntoIterator<Item = &'k str>,
    ) -> Self {
        match closest(found, known) {
            Some(name) => self.help(format!("did you mean `{name}`?")),
            None => self,
        }
    }
}

/// The one of `known` that was probably meant by `found`.
pub(crate) fn closest<'k>(
    found: &str,
    known: impl IntoIterator<Item = &'k str>,
) -> Option<&'k str> {
    let length = found.chars().count();
    let slips = (length / 3).max(1);
    known
        .into_iter()
        .filter(|name| {
            // Of names of one letter every other one is only a slip away.
            let long_enough = length > 1 && name.chars().nth(1).is_some();
            long_enough && strsim::damerau_levenshtein(found, name) <= slips
                || strsim::jaro_winkler(found, name) > 0.9
        })
        .max_by(|a, b| strsim::jaro_winkler(found, a).total_cmp(&strsim::jaro_winkler(found, b)))
}
