//! One request on its way: over a connection, and on to where a registry sends it.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use hyper::body::Body as _;
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, HOST, HeaderValue, LOCATION, USER_AGENT};
use hyper::{Method, Request, Uri};

use super::body::Body;
use super::cancel::Cancel;
use super::client::Registry;
use super::connect::{ConnectError, Origin};
use super::error::RegistryError;
use super::message::{Call, Place, Reply};
use super::refusal::shown;
use super::tls::Verify;

const AGENT: &str = concat!("compose/", env!("CARGO_PKG_VERSION"));
/// How often a redirect is followed.
const MOST_REDIRECTS: usize = 10;

impl Registry {
    /// Asks, and goes where it is sent. What says who we are is shown to the first host only.
    pub(super) fn redirected(
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
}

fn request(
    uri: &Uri,
    origin: &Origin,
    call: &Call,
    authorization: Option<&HeaderValue>,
) -> Result<Request<Body>, ConnectError> {
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
}
