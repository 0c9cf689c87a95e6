//! Saying who we are, to a registry or to the server that gives tokens for it.
//!
//! Source: github.com/distribution/distribution `docs/spec/auth`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Method, StatusCode, Uri};

use super::body::Content;
use super::cancel::Cancel;
use super::client::Registry;
use super::connect::{Origin, lock};
use super::credentials::Credentials;
use super::error::RegistryError;
use super::message::{Call, Place, Reply};
use super::token::{Answer, Challenge, challenge, escaped};

/// Bytes of the answer of a token server.
const LARGEST_TOKEN: u64 = 1 << 20;

impl Registry {
    /// Asks, and says who we are if that is what is wanted.
    pub(super) fn authorised(
        &self,
        place: &Place,
        call: &Call,
        cancel: &Cancel,
    ) -> Result<Reply<'_>, RegistryError> {
        let key = (place.origin.to_string(), call.scope.clone());
        let known = lock(&self.authorizations).get(&key).cloned();
        let reply = self.redirected(place, call, known.as_ref(), cancel)?;
        if reply.status != StatusCode::UNAUTHORIZED {
            return Ok(reply);
        }
        let headers = reply.headers.get_all(WWW_AUTHENTICATE).iter();
        let headers: Vec<&str> = headers.filter_map(|header| header.to_str().ok()).collect();
        let registry = place.name().to_owned();
        let Some(wanted) = challenge(&headers) else {
            if headers.is_empty() {
                return Ok(reply);
            }
            return Err(RegistryError::Challenge { registry });
        };
        let credentials = self.credentials(place)?;
        let authorization = match (wanted, credentials) {
            (Challenge::Basic, Some(Credentials::Password { user, password })) => {
                basic(&user, &password)
            }
            // It says in its own words why not.
            (Challenge::Basic, _) => return Ok(reply),
            (Challenge::Bearer { realm, service, scope }, credentials) => {
                drop(reply);
                // What is wanted beyond that is known here only.
                let further = call.scope.split_once(' ').map(|(_, further)| further);
                let scope = match (scope, further) {
                    (Some(scope), Some(further)) => format!("{scope} {further}"),
                    (Some(scope), None) => scope,
                    (None, _) => call.scope.clone(),
                };
                self.token(place, call, &realm, service.as_deref(), &scope, credentials, cancel)?
            }
        };
        lock(&self.authorizations).insert(key.clone(), authorization.clone());
        let reply = self.redirected(place, call, Some(&authorization), cancel)?;
        if reply.status == StatusCode::UNAUTHORIZED {
            lock(&self.authorizations).remove(&key);
        }
        Ok(reply)
    }

    /// Asks the server of tokens.
    #[expect(clippy::too_many_arguments, reason = "the parts of a challenge, and who asks")]
    fn token(
        &self,
        place: &Place,
        call: &Call,
        realm: &str,
        service: Option<&str>,
        scope: &str,
        credentials: Option<Credentials>,
        cancel: &Cancel,
    ) -> Result<HeaderValue, RegistryError> {
        let pair = |name: &str, value: &str| format!("{name}={}", escaped(value));
        let mut words: Vec<String> =
            service.map(|service| pair("service", service)).into_iter().collect();
        words.extend(
            scope.split(' ').filter(|scope| !scope.is_empty()).map(|scope| pair("scope", scope)),
        );
        let what = format!("a token for {}", call.what);
        let refused = || RegistryError::Redirect {
            registry: place.name().to_owned(),
            what: what.clone(),
            target: realm.to_owned(),
        };
        let uri: Uri = realm.parse().map_err(|_| refused())?;
        let origin = Origin::of(&uri).ok_or_else(refused)?;
        // A secret does not leave by a door that everybody can see.
        if place.origin.secure && !origin.secure && !self.settings.is_insecure(&origin.authority) {
            return Err(refused());
        }
        let mut asked = Call::get(realm.to_owned(), String::new(), what);
        let mut authorization = None;
        match credentials {
            Some(Credentials::Identity { token }) => {
                words.push(pair("grant_type", "refresh_token"));
                words.push(pair("client_id", "compose"));
                words.push(pair("refresh_token", &token));
                asked.method = Method::POST;
                asked.content = Content::Bytes(words.join("&").into());
                asked = asked.with(CONTENT_TYPE, "application/x-www-form-urlencoded");
            }
            other => {
                if let Some(Credentials::Password { user, password }) = other {
                    words.push(pair("account", &user));
                    authorization = Some(basic(&user, &password));
                }
                let joint = if realm.contains('?') { '&' } else { '?' };
                asked.address = format!("{realm}{joint}{}", words.join("&"));
            }
        }
        let reply = self.redirected(place, &asked, authorization.as_ref(), cancel)?;
        if !reply.status.is_success() {
            let (error, _) = self.refusal(place, &asked, reply, cancel);
            return Err(error);
        }
        let answer = reply.read(LARGEST_TOKEN, cancel)?;
        let answer = answer.and_then(|bytes| serde_json::from_slice::<Answer>(&bytes).ok());
        let token = answer.and_then(Answer::token);
        let bearer = token.and_then(|token| HeaderValue::from_str(&format!("Bearer {token}")).ok());
        bearer.ok_or_else(|| RegistryError::Token {
            registry: place.name().to_owned(),
            server: origin.to_string(),
        })
    }
}

fn basic(user: &str, password: &str) -> HeaderValue {
    let encoded = STANDARD.encode(format!("{user}:{password}"));
    let mut value = HeaderValue::from_str(&format!("Basic {encoded}"))
        .expect("base64 has only characters that a header may have");
    value.set_sensitive(true);
    value
}
