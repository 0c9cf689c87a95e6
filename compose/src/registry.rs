//! Where registries refuse: what to do about it, for all that asks them: compose files, images, artifacts.

use images::registry::{ConnectError, PullError, RegistryError, SettingsError};

use crate::event::Failure;

/// A search that a registry has not answered, as it is told to the user.
#[must_use]
pub fn searching(error: &RegistryError, term: &str) -> Failure {
    let failure = Failure::new(error);
    let message = format!("cannot search for {term}: {}", failure.message);
    Failure { message, help: help(error), ..failure }
}

/// What is wrong with the settings of registries, as it is told to the user.
#[must_use]
pub fn settings(error: &SettingsError) -> Failure {
    Failure::new(error).with_help(
        "it is JSON such as {\"registry-mirrors\": [\"https://mirror.lan\"], \"insecure-registries\": [\"registry.lan:5000\"]}",
    )
}

/// What to do about an image that a registry does not give as it should.
#[must_use]
pub fn of_pull(error: &PullError) -> Option<String> {
    let text = match error {
        PullError::Registry(error) => return help(error),
        PullError::Platform { .. } => {
            "name one of these with `platform`, if this machine can run it, or another image"
        }
        PullError::Layer { .. } | PullError::DiffId { .. } | PullError::TooManyLayers(_) => {
            "the image in the registry is damaged, or made to harm: do not trust where it comes from"
        }
        PullError::NoRoom { .. } => {
            "make room (`compose image prune`), or move the data root with COMPOSE_DATA_ROOT"
        }
        PullError::Store(_) => return None,
    };
    Some(text.to_owned())
}

/// What to do about a registry that does not give or take what it should.
#[must_use]
pub fn help(error: &RegistryError) -> Option<String> {
    let text = match error {
        RegistryError::NotFound { .. } => {
            "check the name and the tag; a private repository is not shown to strangers: `compose login`"
        }
        RegistryError::Denied { registry, .. } => {
            return Some(format!("log in: `compose login {registry}`; or check the name"));
        }
        RegistryError::Limited { .. } => {
            "wait, log in with `compose login` for a higher limit, or name a mirror in registries.json"
        }
        RegistryError::Connect(ConnectError::Tls { to, .. }) => {
            return Some(format!(
                "put its authority into /etc/docker/certs.d/{to}/ca.crt or SSL_CERT_FILE; or, for plain HTTP or an unknown certificate, name it under `insecure-registries` in /etc/compose/registries.json"
            ));
        }
        RegistryError::Connect(ConnectError::Cancelled) => {
            "what has come is kept; the same command goes on from there"
        }
        RegistryError::Connect(_) => {
            "check the network, the name of the registry, and HTTPS_PROXY, ALL_PROXY and NO_PROXY; what has come is kept"
        }
        RegistryError::Credentials(_) => {
            "correct the file, or log in again: `compose logout`, then `compose login`"
        }
        RegistryError::Settings(_) => "correct the file",
        RegistryError::Answer { .. } => "try again later, or ask who runs the registry",
        RegistryError::Redirects { .. }
        | RegistryError::Redirect { .. }
        | RegistryError::Challenge { .. }
        | RegistryError::Token { .. }
        | RegistryError::TooLarge { .. }
        | RegistryError::Mismatch { .. }
        | RegistryError::Document { .. } => {
            "the registry, or something between it and us, does not do what it should: ask who runs it"
        }
    };
    Some(text.to_owned())
}
