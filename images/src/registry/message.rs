//! What is said to a registry and what it answers: places, requests, replies.

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, HeaderMap, HeaderName};
use hyper::{Method, StatusCode};

use super::body::Content;
use super::cancel::Cancel;
use super::client::Registry;
use super::connect::{ConnectError, Connection, Origin};
use super::tls::Verify;

/// A repository at one of the places where it can be had.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) origin: Origin,
    /// What stands before `/v2/`.
    pub(super) prefix: String,
    /// Whose credentials are used: the registry, or the mirror.
    pub(super) domain: String,
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
    pub(super) body: Incoming,
    pub(super) connection: Option<Connection>,
    pub(super) verify: Verify,
    pub(super) registry: &'a Registry,
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
