//! What an answer that is no success means.

use std::time::Duration;

use hyper::header::RETRY_AFTER;
use jiff::Timestamp;
use serde::Deserialize;

use super::cancel::Cancel;
use super::client::Registry;
use super::credentials::Credentials;
use super::error::RegistryError;
use super::message::{Call, Place, Reply};

/// Bytes of an answer that says why something failed.
const LARGEST_EXCUSE: u64 = 64 << 10;
/// Characters of a registry's own words that are shown.
const LONGEST_WORDS: usize = 300;

impl Registry {
    /// What an answer that is no success means, and when it says that it may be asked again.
    pub(super) fn refusal(
        &self,
        place: &Place,
        call: &Call,
        reply: Reply<'_>,
        cancel: &Cancel,
    ) -> (RegistryError, Option<Duration>) {
        let after = reply.header(RETRY_AFTER).and_then(retry_after);
        let status = reply.status;
        let said = reply.read(LARGEST_EXCUSE, cancel).ok().flatten().unwrap_or_default();
        let said = excuse(&said);
        let (registry, what) = (place.name().to_owned(), call.what.clone());
        let error = match status.as_u16() {
            404 => RegistryError::NotFound { registry, what, said },
            401 | 403 => {
                let who = match self.credentials(place) {
                    Ok(Some(Credentials::Password { user, .. })) => format!("`{user}`"),
                    Ok(Some(Credentials::Identity { .. })) => {
                        "whom the identity token is for".to_owned()
                    }
                    _ => "somebody without a name".to_owned(),
                };
                RegistryError::Denied { registry, what, who, said }
            }
            429 => RegistryError::Limited { registry, after, said },
            status => RegistryError::Answer { registry, what, status, said },
        };
        (error, after)
    }
}

/// What `Retry-After` says: seconds, or a time.
fn retry_after(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = jiff::fmt::rfc2822::parse(text.trim()).ok()?.timestamp();
    let left = until.duration_since(Timestamp::now());
    Some(Duration::try_from(left).unwrap_or_default())
}

/// The registry's own words about a failure.
///
/// Source: OCI distribution-spec 1.1, "Error Codes".
fn excuse(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<One>,
    }
    #[derive(Deserialize)]
    struct One {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    #[derive(Deserialize)]
    struct Details {
        #[serde(alias = "message")]
        details: String,
    }
    if let Ok(Errors { errors }) = serde_json::from_slice(body) {
        let words: Vec<String> = errors
            .into_iter()
            .map(|one| if one.message.is_empty() { one.code } else { one.message })
            .collect();
        return shown(&words.join("; "));
    }
    if let Ok(Details { details }) = serde_json::from_slice(body) {
        return shown(&details);
    }
    let text = String::from_utf8_lossy(body);
    // A page for people says nothing in one line.
    if text.contains('<') { String::new() } else { shown(text.trim()) }
}

/// A stranger's words as they may go to a terminal.
pub(super) fn shown(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(LONGEST_WORDS).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excuses_are_short_and_plain() {
        let json =
            br#"{"errors":[{"code":"DENIED","message":"no \u001b[31mway"},{"code":"TOOMANY"}]}"#;
        assert_eq!(excuse(json), "no  [31mway; TOOMANY");
        assert_eq!(excuse(b"<html>sorry</html>"), "");
        assert_eq!(excuse(br#"{"details":"incorrect username"}"#), "incorrect username");
        assert_eq!(excuse(&[b'x'; 5000]).len(), LONGEST_WORDS);
    }

    #[test]
    fn retry_after_is_seconds_or_a_time() {
        assert_eq!(retry_after("7"), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert_eq!(retry_after("soon"), None);
    }
}
