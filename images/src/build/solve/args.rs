//! Arguments: those that are given, those of the platform, and those that the Dockerfile names.

use std::collections::{BTreeSet, HashMap};

use super::super::Recipe;
use super::super::dockerfile::{Argument, Dockerfile, Kind, Problem, Word};
use super::super::event::Event;
use super::Builder;
use crate::platform::Platform;
use crate::words::Expansion;

/// Arguments that need no `ARG` to reach a `RUN`, and are no part of what a step reads.
pub(in crate::build) const PROXIES: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// The argument by which all times of an image are no later than this.
pub(super) const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// The platform arguments, which are there in every `FROM`.
pub(super) fn platform_args(platform: &Platform, target: Option<&str>) -> HashMap<String, String> {
    let mut all = HashMap::new();
    let host = Platform::host();
    for (prefix, platform) in [("TARGET", platform), ("BUILD", &host)] {
        let values = [
            ("PLATFORM", platform.to_string()),
            ("OS", platform.os().to_owned()),
            ("ARCH", platform.architecture().to_owned()),
            ("VARIANT", platform.variant().unwrap_or_default().to_owned()),
        ];
        all.extend(values.map(|(name, value)| (format!("{prefix}{name}"), value)));
    }
    all.insert("TARGETSTAGE".to_owned(), target.unwrap_or("default").to_owned());
    all
}

/// The arguments before the first `FROM`.
pub(super) fn globals(
    file: &Dockerfile,
    recipe: &Recipe,
    platform_args: &HashMap<String, String>,
) -> Result<HashMap<String, String>, Problem> {
    let mut all = platform_args.clone();
    for Argument { name, default } in &file.arguments {
        let given = recipe.args.get(&name.text).cloned();
        let value = match (given, default) {
            (Some(given), _) => Some(given),
            (None, Some(default)) => Some(expand(file.escape, default, &all)?),
            (None, None) => None,
        };
        if let Some(value) = value {
            all.insert(name.text.clone(), value);
        }
    }
    Ok(all)
}

/// Replaces the variables of a word.
pub(in crate::build) fn expand(
    escape: char,
    word: &Word,
    variables: &HashMap<String, String>,
) -> Result<String, Problem> {
    Expansion { variables, escape }.word(&word.text).map_err(|error| {
        Problem::new(
            word.place.clone(),
            error.to_string(),
            "see \"Environment replacement\" of the Dockerfile reference",
        )
    })
}

impl Builder<'_> {
    pub(super) fn warn_of_unused_args(&self) {
        let mut known: BTreeSet<&str> = PROXIES.into_iter().chain([EPOCH]).collect();
        known.extend(self.platform_args.keys().map(String::as_str));
        let stages = self.outline.file.stages.iter().flat_map(|stage| &stage.instructions);
        let arguments = stages.filter_map(|one| match &one.kind {
            Kind::Arg(arguments) => Some(arguments),
            _ => None,
        });
        known.extend(
            arguments
                .flatten()
                .chain(&self.outline.file.arguments)
                .map(|one| one.name.text.as_str()),
        );
        let unused = self
            .recipe
            .args
            .keys()
            .filter(|name| !known.contains(name.as_str()) && !name.starts_with("BUILDKIT_"));
        for name in unused {
            self.surroundings
                .tell(Event::Warning(format!("no ARG asks for the argument `{name}`")));
        }
    }

    /// Gives an argument its value.
    pub(in crate::build) fn argument(
        &self,
        argument: &Argument,
        variables: &HashMap<String, String>,
    ) -> Result<Option<String>, Problem> {
        let Argument { name, default } = argument;
        if let Some(given) = self.recipe.args.get(&name.text) {
            return Ok(Some(given.clone()));
        }
        match default {
            Some(default) => expand(self.outline.file.escape, default, variables).map(Some),
            None => Ok(self.outline.globals.get(&name.text).cloned()),
        }
    }
}
