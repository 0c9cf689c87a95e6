//! Looking for images by a word.
//!
//! Docker Hub, and some others, answer to the search of the first version of registries. Where that is unknown, the
//! catalogue of all repositories is read instead: it has names and nothing else.
//!
//! Source: github.com/moby/moby `registry/search.go`; OCI distribution-spec 1.1 leaves search out; `_catalog` is in
//! github.com/distribution/distribution `docs/spec/api.md`, "Catalog".

use hyper::Uri;
use hyper::header::LINK;
use serde::Deserialize;

use super::cancel::Cancel;
use super::client::Registry;
use super::error::RegistryError;
use super::message::{Call, Place};
use super::refusal::shown;
use super::send::resolve;
use super::token::escaped;
use crate::manifest::{DocumentError, LARGEST_DOCUMENT};

const HUB: &str = "docker.io";
/// Who searches for Docker Hub.
const HUB_INDEX: &str = "index.docker.io";
/// The most that one search answers with.
const MOST: usize = 100;
/// Names in one piece of a catalogue, and pieces that are read: a larger one is not to be searched this way.
const PIECE: usize = 1000;
const MOST_PIECES: usize = 100;

/// A repository that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What it is called, with its registry unless that is Docker Hub.
    pub name: String,
    /// What its owner says about it.
    pub description: String,
    /// How many people like it.
    pub stars: u64,
    /// Whether it is one of Docker's own.
    pub official: bool,
}

/// The answer of the first version.
#[derive(Deserialize)]
struct Answer {
    results: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    name: String,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    star_count: u64,
    #[serde(default)]
    is_official: bool,
}

#[derive(Deserialize)]
struct Catalogue {
    repositories: Option<Vec<String>>,
}

/// Which registry is meant by what people write, and which word: `registry.lan:5000/app`, or `app` at Docker Hub.
fn split(term: &str) -> (&str, &str) {
    match term.split_once('/') {
        Some((host, word)) if host.contains(['.', ':']) || host == "localhost" => match host {
            HUB | HUB_INDEX => (HUB, word.strip_prefix("library/").unwrap_or(word)),
            other => (other, word),
        },
        _ => (HUB, term.strip_prefix("library/").unwrap_or(term)),
    }
}

impl Registry {
    /// Looks for repositories with `term` in their name, at the registry that it begins with, or at Docker Hub.
    ///
    /// At most `limit`, and never more than 100.
    ///
    /// # Errors
    ///
    /// [`RegistryError`].
    pub fn search(
        &self,
        term: &str,
        limit: usize,
        cancel: &Cancel,
    ) -> Result<Vec<Found>, RegistryError> {
        let (domain, word) = split(term);
        let limit = limit.min(MOST);
        if domain == HUB {
            let place = self.upstream_at(HUB_INDEX, HUB, cancel)?;
            return self.search_index(&place, word, limit, cancel);
        }
        let place = self.upstream(domain, "", cancel)?;
        match self.search_index(&place, word, limit, cancel) {
            Err(RegistryError::NotFound { .. } | RegistryError::Document { .. }) => {
                self.search_catalogue(&place, word, limit, cancel)
            }
            answer => answer,
        }
    }

    fn search_index(
        &self,
        place: &Place,
        word: &str,
        limit: usize,
        cancel: &Cancel,
    ) -> Result<Vec<Found>, RegistryError> {
        let address = format!("{}/v1/search?q={}&n={limit}", place.origin, escaped(word));
        let what = format!("a search for `{}`", shown(word));
        let call = Call::get(address, String::new(), what.clone());
        let reply = self.ask(place, &call, cancel)?;
        let answer: Answer =
            self.small_json(place, &what, reply.read(LARGEST_DOCUMENT, cancel)?)?;
        let found = answer.results.into_iter().map(|item| Found {
            name: named(place, &item.name),
            description: shown(&item.description.unwrap_or_default()),
            stars: item.star_count,
            official: item.is_official,
        });
        Ok(found.take(limit).collect())
    }

    fn search_catalogue(
        &self,
        place: &Place,
        word: &str,
        limit: usize,
        cancel: &Cancel,
    ) -> Result<Vec<Found>, RegistryError> {
        let what = "its list of repositories";
        let mut address = format!("{}/v2/_catalog?n={PIECE}", place.origin);
        let mut found = Vec::new();
        for _ in 0..MOST_PIECES {
            let call = Call::get(address.clone(), "registry:catalog:*".to_owned(), what);
            let reply = self.ask(place, &call, cancel)?;
            let next = reply.header(LINK).and_then(|link| following(&address, link));
            let piece: Catalogue =
                self.small_json(place, what, reply.read(LARGEST_DOCUMENT, cancel)?)?;
            let names = piece.repositories.unwrap_or_default().into_iter();
            found.extend(names.filter(|name| name.contains(word)).map(|name| Found {
                name: named(place, &name),
                description: String::new(),
                stars: 0,
                official: false,
            }));
            match next {
                Some(next) if found.len() < limit => address = next,
                _ => break,
            }
        }
        found.truncate(limit);
        Ok(found)
    }

    fn small_json<T: for<'de> Deserialize<'de>>(
        &self,
        place: &Place,
        what: &str,
        bytes: Option<Vec<u8>>,
    ) -> Result<T, RegistryError> {
        let (registry, what) = (place.name().to_owned(), what.to_owned());
        let Some(bytes) = bytes else {
            return Err(RegistryError::TooLarge { registry, what, limit: LARGEST_DOCUMENT });
        };
        serde_json::from_slice(&bytes).map_err(|source| RegistryError::Document {
            registry,
            what: format!("the answer to {what}"),
            source: DocumentError::Json { source },
        })
    }
}

/// A stranger's name of a repository, as one writes it to fetch it.
fn named(place: &Place, name: &str) -> String {
    if place.name() == HUB { shown(name) } else { format!("{}/{}", place.name(), shown(name)) }
}

/// The address of the next piece of a list, at the same server (RFC 8288).
fn following(address: &str, link: &str) -> Option<String> {
    let (target, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
    if !rest.replace(['"', ' '], "").contains("rel=next") {
        return None;
    }
    let base: Uri = address.parse().ok()?;
    let next = resolve(&base, target)?;
    (next.authority() == base.authority() && next.scheme() == base.scheme())
        .then(|| next.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_stands_in_front_of_the_word() {
        for (term, parts) in [
            ("mysql", (HUB, "mysql")),
            ("library/mysql", (HUB, "mysql")),
            ("docker.io/bitnami/mysql", (HUB, "bitnami/mysql")),
            ("team/app", (HUB, "team/app")),
            ("localhost/app", ("localhost", "app")),
            ("r.lan:5000/team/app", ("r.lan:5000", "team/app")),
            ("r.lan/", ("r.lan", "")),
        ] {
            assert_eq!(split(term), parts, "{term}");
        }
    }

    #[test]
    fn the_next_piece_is_at_the_same_server() {
        let base = "http://r.lan/v2/_catalog?n=2";
        for (link, next) in [
            (
                "</v2/_catalog?last=b&n=2>; rel=\"next\"",
                Some("http://r.lan/v2/_catalog?last=b&n=2"),
            ),
            ("</v2/_catalog>; rel=prev", None),
            ("<http://other.lan/x>; rel=next", None),
            ("nothing", None),
        ] {
            assert_eq!(following(base, link).as_deref(), next, "{link}");
        }
    }
}
