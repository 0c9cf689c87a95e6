//! Requests to registries: authorised, redirected, repeated.
//!
//! One [`Registry`] serves many threads. Each request has a connection to itself; those that are done go back to the
//! [`Connector`] for the next.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use hyper::Uri;
use hyper::header::HeaderValue;

use super::cancel::Cancel;
use super::connect::{ConnectError, Connector, Origin, Patience, lock};
use super::credentials::{self, Credentials};
use super::environment::Environment;
use super::error::RegistryError;
use super::message::{Call, Place, Reply};
use super::settings::{Settings, SettingsError};
use super::slots::Slots;
use super::tls::Verify;
use super::turns::Turns;

const HUB: &str = "docker.io";
const HUB_SERVER: &str = "registry-1.docker.io";

/// Layers that are fetched side by side: enough to fill a slow line, few enough for a registry not to mind.
const DOWNLOADS: usize = 4;

/// Registries, as one command sees them: its credentials, proxies, certificates and settings.
#[derive(Debug)]
pub struct Registry {
    environment: Environment,
    pub(super) settings: Settings,
    pub(super) connector: Connector,
    /// How the hosts that may be insecure are spoken to, once that is known.
    bases: Mutex<HashMap<String, Origin>>,
    pub(super) authorizations: Mutex<HashMap<(String, String), HeaderValue>>,
    pub(super) slots: Slots,
    pub(super) sending: Turns,
    /// Who we say that we are while that is being checked.
    assumed: Mutex<Option<Credentials>>,
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
            sending: Turns::default(),
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
        let repository = repository.to_owned();
        Ok(Place { repository, ..self.upstream_at(server, domain, cancel)? })
    }

    /// The registry `domain` at one of its servers, without a repository.
    pub(super) fn upstream_at(
        &self,
        server: &str,
        domain: &str,
        cancel: &Cancel,
    ) -> Result<Place, RegistryError> {
        Ok(Place {
            origin: self.base(server, cancel)?,
            prefix: String::new(),
            domain: domain.to_owned(),
            repository: String::new(),
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
}
