//! Collects what is wrong, with its places, so that all of it can be shown at once.

use std::collections::BTreeMap;

use crate::diagnostic::{Diagnostic, Severity};

use super::source::{Sources, Span};

/// Nobody reads more errors, or more warnings, at once.
const MAX_SHOWN: usize = 100;

/// The texts of a run and what was found in them.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) sources: Sources,
    found: Vec<(Option<Span>, Diagnostic)>,
    /// Variables that are not set, with all places that use them.
    unset: BTreeMap<String, Vec<Span>>,
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
        match self.unset.get_mut(name) {
            Some(places) => places.push(span),
            None => {
                self.unset.insert(name.to_owned(), vec![span]);
            }
        }
    }

    /// A report over the same texts of which nothing will be shown.
    pub(crate) fn scratch(&self) -> Self {
        Self { sources: self.sources.clone(), ..Self::default() }
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.found.iter().any(|(_, diagnostic)| diagnostic.severity == Severity::Error)
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
    pub(crate) fn into_diagnostics(mut self) -> Vec<Diagnostic> {
        for (name, places) in std::mem::take(&mut self.unset) {
            let message = format!("the variable `{name}` is not set and counts as empty");
            let mut finding = self.warning(places[0], message);
            for span in places.iter().skip(1).take(4) {
                finding = finding.also(*span, "also used here");
            }
            finding.help(format!(
                "set it in the environment or in `.env`, or give a default: `${{{name}:-value}}`"
            ));
        }
        self.found.sort_by_key(|(span, _)| *span);
        self.found.dedup();
        let mut shown = [0_usize; 2];
        let mut diagnostics = Vec::with_capacity(self.found.len().min(2 * MAX_SHOWN));
        for (_, diagnostic) in self.found {
            let count = &mut shown[usize::from(diagnostic.severity == Severity::Warning)];
            *count += 1;
            if *count <= MAX_SHOWN {
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
        diagnostics
    }
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
    let slips = (found.chars().count() / 3).max(1);
    known
        .into_iter()
        .filter(|name| {
            strsim::damerau_levenshtein(found, name) <= slips
                || strsim::jaro_winkler(found, name) > 0.9
        })
        .max_by(|a, b| strsim::jaro_winkler(found, a).total_cmp(&strsim::jaro_winkler(found, b)))
}
