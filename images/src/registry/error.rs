//! What a registry can do to us.

use std::time::Duration;

use super::connect::ConnectError;
use super::credentials::CredentialsError;
use super::settings::SettingsError;
use crate::manifest::DocumentError;

/// A registry did not give or take what it should.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// It cannot be reached, or stopped answering.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// What we know about ourselves cannot be read.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The file of settings.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// It does not have it.
    #[error("{registry} has no {what}{}", words(said))]
    NotFound {
        /// The registry.
        registry: String,
        /// What was asked for.
        what: String,
        /// Its words.
        said: String,
    },
    /// It does not let us.
    #[error("{registry} refuses {what} to {who}{}", words(said))]
    Denied {
        /// The registry.
        registry: String,
        /// What was asked for.
        what: String,
        /// As whom we asked.
        who: String,
        /// Its words.
        said: String,
    },
    /// We asked too often.
    #[error("{registry} limits how often it is asked{}{}", again(after.as_ref()), words(said))]
    Limited {
        /// The registry.
        registry: String,
        /// When it may be asked again.
        after: Option<Duration>,
        /// Its words.
        said: String,
    },
    /// Another answer that is no success.
    #[error("{registry} answers {status} to the request for {what}{}", words(said))]
    Answer {
        /// The registry.
        registry: String,
        /// What was asked for.
        what: String,
        /// The status of HTTP.
        status: u16,
        /// Its words.
        said: String,
    },
    /// It sends us elsewhere, again and again.
    #[error("{registry} sends us from one place to the next for {what}, {count} times")]
    Redirects {
        /// The registry.
        registry: String,
        /// What was asked for.
        what: String,
        /// How often we followed.
        count: usize,
    },
    /// It sends us to where everybody can listen, or nowhere.
    #[error("{registry} sends us to `{target}` for {what}, which is not followed")]
    Redirect {
        /// The registry.
        registry: String,
        /// What was asked for.
        what: String,
        /// Where to.
        target: String,
    },
    /// It wants to know who we are in a way that nobody knows.
    #[error("{registry} wants a kind of authentication that is unknown")]
    Challenge {
        /// The registry.
        registry: String,
    },
    /// The server of tokens gives none.
    #[error("{server} gives no token for {registry}")]
    Token {
        /// The registry.
        registry: String,
        /// Who should give it.
        server: String,
    },
    /// Something is larger than it can be.
    #[error("{what} from {registry} has more than {limit} bytes")]
    TooLarge {
        /// The registry.
        registry: String,
        /// What.
        what: String,
        /// What would be the most.
        limit: u64,
    },
    /// Something is not what it was announced as.
    #[error("{what} from {registry} should have {expected} and has {found}")]
    Mismatch {
        /// The registry.
        registry: String,
        /// What.
        what: String,
        /// What was announced.
        expected: String,
        /// What came.
        found: String,
    },
    /// A document is not what it should be.
    #[error("{what} from {registry} cannot be used")]
    Document {
        /// The registry.
        registry: String,
        /// Which one.
        what: String,
        /// What is wrong.
        source: DocumentError,
    },
}

fn words(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!(": {said}") }
}

fn again(after: Option<&Duration>) -> String {
    after.map_or_else(String::new, |after| {
        format!(", and lets us ask again in {} s", after.as_secs())
    })
}

impl RegistryError {
    /// Whether it is only that nobody wants it any more.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Connect(ConnectError::Cancelled))
    }
}
