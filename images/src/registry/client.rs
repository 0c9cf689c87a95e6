//! Requests to registries: authorised, redirected, repeated.
//!
//! One [`Registry`] serves many threads. Each request has a connection to itself; those that are done go back to the
//! [`Connector`] for the next.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::body::{Body as _, Incoming};
use hyper::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue,
    LOCATION, RETRY_AFTER, USER_AGENT, WWW_AUTHENTICATE,
};
use hyper::{Method, Request, StatusCode, Uri};
use jiff::Timestamp;
use serde::Deserialize;

use super::body::Content;
use super::cancel::Cancel;
use super::connect::{ConnectError, Connection, Connector, Origin, Patience, lock};
use super::credentials::{self, Credentials};
use super::environment::Environment;
use super::error::RegistryError;
use super::settings::{Settings, SettingsError};
use super::slots::Slots;
use super::tls::Verify;
use super::token::{Answer, Challenge, challenge, escaped};

const AGENT: &str = concat!("compose/", env!("CARGO_PKG_VERSION"));
const HUB: &str = "docker.io";
const HUB_SERVER: &str = "registry-1.docker.io";

/// How often a redirect is followed.
const MOST_REDIRECTS: usize = 10;
/// Bytes of an answer that says why something failed.
const LARGEST_EXCUSE: u64 = 64 << 10;
/// Bytes of the answer of a token server.
const LARGEST_TOKEN: u64 = 1 << 20;
/// Characters of a registry's own words that are shown.
const LONGEST_WORDS: usize = 300;
/// Layers that are fetched side by side: enough to fill a slow line, few enough for a registry not to mind.
const DOWNLOADS: usize = 4;

/// Registries, as one command sees them: its credentials, proxies, certificates and settings.
#[derive(Debug)]
pub struct Registry {
    environment: Environment,
    pub(super) settings: Settings,
    connector: Connector,
    /// How the hosts that may be insecure are spoken to, once that is known.
    bases: Mutex<HashMap<String, Origin>>,
    authorizations: Mutex<HashMap<(String, String), HeaderValue>>,
    pub(super) slots: Slots,
    /// Who we say that we are while that is being checked.
    assumed: Mutex<Option<Credentials>>,
}

/// A repository at one of the places where it can be had.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) origin: Origin,
    /// What stands before `/v2/`.
    prefix: String,
    /// Whose credentials are used: the registry, or the mirror.
    domain: String,
    pub(super) repository: String,
}

impl Place {
    /// A server that is no registry.
    pub(super) fn of_server(origin: Origin) -> Self {
        let domain = origin.authority.clone();
        Self { origin, prefix: String::new(), domain, repository: String::new() }
    }

    /// The address of something in the repository.
    pub(super) fn address(&self, rest: &str) -> String {
        format!("{}{}/v2/{}/{rest}", self.origin, self.prefix, self.repository)
    }

    /// What the registry is called in messages.
    pub(super) fn name(&self) -> &str {
        &self.domain
    }
}

/// One request.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) method: Method,
    /// The whole address.
    pub(super) address: String,
    pub(super) headers: Vec<(HeaderName, String)>,
    pub(super) content: Content,
    /// What is to be allowed, such as `repository:library/mysql:pull`.
    pub(super) scope: String,
    /// What is asked for, in messages.
    pub(super) what: String,
}

impl Call {
    pub(super) fn get(address: String, scope: String, what: impl Into<String>) -> Self {
        let (headers, content) = (Vec::new(), Content::Nothing);
        Self { method: Method::GET, address, headers, content, scope, what: what.into() }
    }

    pub(super) fn with(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// An answer, whose body is read bit by bit.
#[derive(Debug)]
pub(super) struct Reply<'a> {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    body: Incoming,
    connection: Option<Connection>,
    verify: Verify,
    registry: &'a Registry,
}

impl Reply<'_> {
    /// The next piece of the body; `None` at its end.
    pub(super) fn next(&mut self, cancel: &Cancel) -> Result<Option<Bytes>, ConnectError> {
        let Some(connection) = &mut self.connection else { return Ok(None) };
        let stall = self.registry.connector.patience.stall;
        let piece = connection.next(&mut self.body, stall, cancel)?;
        if piece.is_none()
            && let Some(connection) = self.connection.take()
        {
            self.registry.connector.keep(connection, self.verify);
        }
        Ok(piece)
    }

    /// The whole body, unless it has more than `limit` bytes.
    pub(super) fn read(
        mut self,
        limit: u64,
        cancel: &Cancel,
    ) -> Result<Option<Vec<u8>>, ConnectError> {
        let mut all = Vec::new();
        while let Some(piece) = self.next(cancel)? {
            if (all.len() + piece.len()) as u64 > limit {
                return Ok(None);
            }
            all.extend_from_slice(&piece);
        }
        Ok(Some(all))
    }

    /// The value of a header that is text.
    pub(super) fn header(&self, name: impl hyper::header::AsHeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The length that the answer promises.
    pub(super) fn length(&self) -> Option<u64> {
        self.header(CONTENT_LENGTH)?.parse().ok()
    }
}

impl Registry {
    /// Reads the settings. Connects to nobody yet.
    ///
    /// # Errors
    ///
    /// [`SettingsError`].
    pub fn new(environment: Environment) -> Result<Self, SettingsError> {
        Self::with_patience(environment, Patience::default())
    }

    /// As [`Registry::new`], with other limits of time.
    ///
    /// # Errors
    ///
    /// [`SettingsError`].
    pub fn with_patience(
        environment: Environment,
        patience: Patience,
    ) -> Result<Self, SettingsError> {
        Ok(Self {
            settings: Settings::read(&environment)?,
            connector: Connector::new(environment.clone(), patience),
            environment,
            bases: Mutex::default(),
            authorizations: Mutex::default(),
            slots: Slots::new(DOWNLOADS),
            assumed: Mutex::default(),
        })
    }

    /// The proxy that requests go through, if one is named in the surroundings, for messages.
    pub fn proxy(&self) -> Option<&str> {
        self.environment.proxy()
    }

    pub(super) fn tries(&self) -> u32 {
        self.connector.patience.tries
    }

    pub(super) fn longest_pause(&self) -> Duration {
        self.connector.patience.longest_pause
    }

    /// The repository at the registry itself.
    pub(super) fn upstream(
        &self,
        domain: &str,
        repository: &str,
        cancel: &Cancel,
    ) -> Result<Place, RegistryError> {
        let server = if domain == HUB { HUB_SERVER } else { domain };
        Ok(Place {
            origin: self.base(server, cancel)?,
            prefix: String::new(),
            domain: domain.to_owned(),
            repository: repository.to_owned(),
        })
    }

    /// The repository at the mirrors of its registry, in their order.
    pub(super) fn mirrors(&self, domain: &str, repository: &str) -> Vec<Place> {
        let mirrors = self.settings.mirrors(domain);
        mirrors
            .filter_map(|mirror| {
                let whole = if mirror.contains("://") {
                    mirror.to_owned()
                } else {
                    format!("https://{mirror}")
                };
                let uri: Uri = whole.parse().ok()?;
                let origin = Origin::of(&uri)?;
                Some(Place {
                    prefix: uri.path().trim_end_matches('/').to_owned(),
                    domain: origin.authority.clone(),
                    origin,
                    repository: repository.to_owned(),
                })
            })
            .collect()
    }

    /// How to speak to a host: TLS, or for one that may be insecure whatever it answers to, TLS first.
    pub(super) fn base(&self, authority: &str, cancel: &Cancel) -> Result<Origin, RegistryError> {
        let origin = |secure| Origin { secure, authority: authority.to_owned() };
        if !self.settings.is_insecure(authority) {
            return Ok(origin(true));
        }
        if let Some(known) = lock(&self.bases).get(authority) {
            return Ok(known.clone());
        }
        let secure = match self.connector.connect(&origin(true), Verify::No, cancel) {
            Ok(connection) => {
                self.connector.keep(connection, Verify::No);
                true
            }
            Err(
                ConnectError::Tls { .. }
                | ConnectError::Broken { .. }
                | ConnectError::Stalled { .. }
                | ConnectError::Refused { .. },
            ) => false,
            // Nobody there: without a port, or with a proxy, it is another door.
            Err(ConnectError::Tcp { .. }) => return Ok(origin(false)),
            Err(error) => return Err(error.into()),
        };
        lock(&self.bases).insert(authority.to_owned(), origin(secure));
        Ok(origin(secure))
    }

    /// Who we are at a place.
    pub(super) fn credentials(&self, place: &Place) -> Result<Option<Credentials>, RegistryError> {
        if let Some(assumed) = &*lock(&self.assumed) {
            return Ok(Some(assumed.clone()));
        }
        Ok(credentials::find(&self.environment, &place.domain, &place.repository)?)
    }

    /// Asks until there is an answer that is a success, or one that will not change.
    pub(super) fn ask(
        &self,
        place: &Place,
        call: &Call,
        cancel: &Cancel,
    ) -> Result<Reply<'_>, RegistryError> {
        let mut failures = 0;
        loop {
            let result = self.authorised(place, call, cancel);
            let (error, after) = match result {
                Ok(reply) if reply.status.is_success() => return Ok(reply),
                Ok(reply) => self.refusal(place, call, reply, cancel),
                Err(error) => (error, None),
            };
            failures += 1;
            let is_passing = match &error {
                RegistryError::Connect(error) => error.is_passing(),
                RegistryError::Limited { .. } => true,
                RegistryError::Answer { status, .. } => {
                    matches!(status, 408 | 500 | 502 | 503 | 504)
                }
                _ => false,
            };
            // Somebody whom nobody can reach is asked once more and no oftener: most often there is no network.
            let is_gone = matches!(&error, RegistryError::Connect(ConnectError::Tcp { .. }));
            let tries = if is_gone { self.tries().min(2) } else { self.tries() };
            if !is_passing || failures >= tries {
                return Err(error);
            }
            let pause = after.unwrap_or_else(|| self.pause(failures));
            if pause > self.connector.patience.longest_pause {
                return Err(error);
            }
            self.rest(pause, cancel)?;
        }
    }

    /// Whether the registry `domain` takes these credentials.
    ///
    /// # Errors
    ///
    /// [`RegistryError::Denied`] when it does not, others when it cannot be asked.
    pub fn check(
        &self,
        domain: &str,
        credentials: &Credentials,
        cancel: &Cancel,
    ) -> Result<(), RegistryError> {
        let place = self.upstream(domain, "", cancel)?;
        let address = format!("{}/v2/", place.origin);
        let call = Call::get(address, String::new(), "a login");
        *lock(&self.assumed) = Some(credentials.clone());
        let answer = self.ask(&place, &call, cancel);
        *lock(&self.assumed) = None;
        answer.map(drop)
    }

    /// Asks once, for what cannot be asked again without a look at what has arrived.
    pub(super) fn ask_once(
        &self,
        place: &Place,
        call: &Call,
        cancel: &Cancel,
    ) -> Result<Reply<'_>, RegistryError> {
        let reply = self.authorised(place, call, cancel)?;
        if reply.status.is_success() {
            return Ok(reply);
        }
        Err(self.refusal(place, call, reply, cancel).0)
    }

    /// Asks once, and does not say who we are whatever the answer is.
    pub(super) fn ask_stranger(
        &self,
        place: &Place,
        call: &Call,
        cancel: &Cancel,
    ) -> Result<Reply<'_>, RegistryError> {
        let reply = self.redirected(place, call, None, cancel)?;
        if reply.status.is_success() {
            return Ok(reply);
        }
        Err(self.refusal(place, call, reply, cancel).0)
    }

    /// How long is waited after so many failures.
    pub(super) fn pause(&self, failures: u32) -> Duration {
        let patience = &self.connector.patience;
        let factor = 1 << (failures.saturating_sub(1)).min(16);
        patience.pause.saturating_mul(factor).min(patience.longest_pause)
    }

    /// Waits, unless it is given up meanwhile.
    pub(super) fn rest(&self, pause: Duration, cancel: &Cancel) -> Result<(), ConnectError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(ConnectError::Runtime)?;
        runtime.block_on(async {
            tokio::select! {
                () = tokio::time::sleep(pause) => Ok(()),
                () = cancel.cancelled() => Err(ConnectError::Cancelled),
            }
        })
    }

    /// Asks, and says who we are if that is what is wanted.
    fn authorised(
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

    /// Asks, and goes where it is sent. What says who we are is shown to the first host only.
    fn redirected(
        &self,
        place: &Place,
        call: &Call,
        authorization: Option<&HeaderValue>,
        cancel: &Cancel,
    ) -> Result<Reply<'_>, RegistryError> {
        let refused = |target: &str| RegistryError::Redirect {
            registry: place.name().to_owned(),
            what: call.what.clone(),
            target: shown(target),
        };
        let mut uri: Uri = call.address.parse().map_err(|_| refused(&call.address))?;
        let first = Origin::of(&uri).ok_or_else(|| refused(&call.address))?;
        let mut origin = first.clone();
        for _ in 0..=MOST_REDIRECTS {
            let shows = authorization.filter(|_| origin == first);
            let reply = self.send(&uri, &origin, call, shows, cancel)?;
            let follows = match reply.status.as_u16() {
                307 | 308 => true,
                301..=303 => matches!(call.method, Method::GET | Method::HEAD),
                _ => false,
            };
            if !follows {
                return Ok(reply);
            }
            let target = reply.header(LOCATION).unwrap_or_default().to_owned();
            uri = resolve(&uri, &target).ok_or_else(|| refused(&target))?;
            let next = Origin::of(&uri).ok_or_else(|| refused(&target))?;
            if first.secure && !next.secure {
                return Err(refused(&target));
            }
            origin = next;
        }
        let (registry, what) = (place.name().to_owned(), call.what.clone());
        Err(RegistryError::Redirects { registry, what, count: MOST_REDIRECTS })
    }

    fn send(
        &self,
        uri: &Uri,
        origin: &Origin,
        call: &Call,
        authorization: Option<&HeaderValue>,
        cancel: &Cancel,
    ) -> Result<Reply<'_>, RegistryError> {
        let verify =
            if self.settings.is_insecure(&origin.authority) { Verify::No } else { Verify::Yes };
        let mut connection = self.connector.connect(origin, verify, cancel)?;
        let request = request(uri, origin, call, authorization)?;
        let answer = connection.send(request, self.connector.patience.stall, cancel)?;
        let (head, body) = answer.into_parts();
        let mut reply = Reply {
            status: head.status,
            headers: head.headers,
            connection: Some(connection),
            body,
            verify,
            registry: self,
        };
        if reply.body.is_end_stream() {
            reply.next(cancel)?;
        }
        Ok(reply)
    }

    /// What an answer that is no success means, and when it says that it may be asked again.
    fn refusal(
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

fn basic(user: &str, password: &str) -> HeaderValue {
    let encoded = STANDARD.encode(format!("{user}:{password}"));
    let mut value = HeaderValue::from_str(&format!("Basic {encoded}"))
        .expect("base64 has only characters that a header may have");
    value.set_sensitive(true);
    value
}

fn request(
    uri: &Uri,
    origin: &Origin,
    call: &Call,
    authorization: Option<&HeaderValue>,
) -> Result<Request<super::body::Body>, ConnectError> {
    let address = || ConnectError::Address(uri.to_string());
    let body = call
        .content
        .open(Arc::new(AtomicU64::new(0)))
        .map_err(|source| ConnectError::Tcp { to: "a file of the store".to_owned(), source })?;
    let mut request = Request::new(body);
    *request.method_mut() = call.method.clone();
    *request.uri_mut() = uri.clone();
    let headers = request.headers_mut();
    headers.insert(HOST, origin.authority.parse().map_err(|_| address())?);
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    for (name, value) in &call.headers {
        headers.append(name, value.parse().map_err(|_| address())?);
    }
    if let Some(length) = call.content.length() {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    } else if matches!(call.method, Method::POST | Method::PUT | Method::PATCH) {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(0));
    }
    if let Some(authorization) = authorization {
        headers.insert(AUTHORIZATION, authorization.clone());
    }
    Ok(request)
}

/// Where a `Location` leads to from `base` (RFC 3986, section 5.2, as far as servers use it).
pub(super) fn resolve(base: &Uri, target: &str) -> Option<Uri> {
    if target.contains("://") {
        return target.parse().ok();
    }
    let scheme = base.scheme_str()?;
    if let Some(rest) = target.strip_prefix("//") {
        return format!("{scheme}://{rest}").parse().ok();
    }
    let authority = base.authority()?;
    let path = match target {
        "" => return None,
        absolute if absolute.starts_with('/') => absolute.to_owned(),
        relative => {
            let folder = base.path().rsplit_once('/').map_or("", |(folder, _)| folder);
            format!("{folder}/{relative}")
        }
    };
    format!("{scheme}://{authority}{path}").parse().ok()
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
    fn locations_are_resolved() {
        let base: Uri = "https://r.lan:5000/v2/app/blobs/x?y".parse().unwrap();
        #[rustfmt::skip]
        let table = [
            ("https://cdn.lan/z?q", Some("https://cdn.lan/z?q")),
            ("//cdn.lan/z", Some("https://cdn.lan/z")),
            ("/v2/z?s=1", Some("https://r.lan:5000/v2/z?s=1")),
            ("z", Some("https://r.lan:5000/v2/app/blobs/z")),
            ("", None),
        ];
        for (target, expected) in table {
            let found = resolve(&base, target).map(|uri| uri.to_string());
            assert_eq!(found.as_deref(), expected, "{target}");
        }
    }

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
