//! From an origin to a connection: TCP, a proxy if there is one, TLS.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, Uri};
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use super::body::Body;
use super::cancel::Cancel;
use super::environment::Environment;
use super::settings::host_of;
use super::socks;
use super::tls::{self, CertificateError, Verify};

/// How long things may take before they count as broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Until a connection is there, TLS included.
    pub connect: Duration,
    /// Between two pieces of an answer.
    pub stall: Duration,
    /// How often something is tried before it is given up.
    pub tries: u32,
    /// How long is waited after the first failure; twice as long after each further one.
    pub pause: Duration,
    /// How long a registry may ask us to wait before we tell the user instead.
    pub longest_pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(20),
            stall: Duration::from_secs(30),
            tries: 5,
            pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(60),
        }
    }
}

/// Whom to talk to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    pub(crate) secure: bool,
    /// Host and port as they are written.
    pub(crate) authority: String,
}

impl Origin {
    pub(crate) fn of(uri: &Uri) -> Option<Self> {
        let secure = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let authority = uri.authority()?;
        // Names and passwords in an address are nobody's business here.
        let host = authority.as_str().rsplit('@').next().unwrap_or_default();
        Some(Self { secure, authority: host.to_owned() })
    }

    pub(crate) fn host(&self) -> &str {
        host_of(&self.authority)
    }

    fn port(&self) -> u16 {
        let port = self.authority.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        port.unwrap_or(if self.secure { 443 } else { 80 })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.secure { "https" } else { "http" }, self.authority)
    }
}

/// Nothing can be said to somebody, or nothing is heard.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No connection.
    #[error("cannot connect to {to}")]
    Tcp {
        /// Whom to, a proxy if there is one.
        to: String,
        /// The kernel's answer, or that of the resolver.
        source: io::Error,
    },
    /// No trust.
    #[error("cannot speak TLS with {to}")]
    Tls {
        /// Whom with.
        to: String,
        /// What is wrong with its certificate, or its words.
        source: io::Error,
    },
    /// The proxy refuses.
    #[error("the proxy {proxy} refuses to connect to {to}: {status}")]
    Refused {
        /// The proxy.
        proxy: String,
        /// Whom to.
        to: String,
        /// Its answer.
        status: u16,
    },
    /// A SOCKS proxy has no way to the host.
    #[error("the proxy {proxy} does not connect to {to}")]
    Socks {
        /// The proxy.
        proxy: String,
        /// Whom to.
        to: String,
        /// Its reason.
        source: io::Error,
    },
    /// A proxy of a kind that is not spoken to.
    #[error(
        "the proxy {0} cannot be used: only http://, https://, socks5:// and socks5h:// proxies can"
    )]
    Proxy(String),
    /// The connection broke.
    #[error("the connection to {to} broke")]
    Broken {
        /// Whom to.
        to: String,
        /// How.
        source: hyper::Error,
    },
    /// It says nothing.
    #[error("{to} says nothing for {} s", after.as_secs_f32())]
    Stalled {
        /// Who.
        to: String,
        /// For how long.
        after: Duration,
    },
    /// Certificates on this machine cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// No event loop.
    #[error("cannot wait for the network")]
    Runtime(#[source] io::Error),
    /// The address is no address of a web server.
    #[error("`{0}` is no address that can be fetched from")]
    Address(String),
    /// It is no longer wanted.
    #[error("given up")]
    Cancelled,
}

impl ConnectError {
    /// Whether the same may succeed a moment later.
    pub(crate) const fn is_passing(&self) -> bool {
        matches!(self, Self::Tcp { .. } | Self::Broken { .. } | Self::Stalled { .. })
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// An event loop that may be dropped anywhere, also where another one runs.
struct Loop(Option<Runtime>);

impl Loop {
    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.0.as_ref().expect("taken only when dropped").block_on(future)
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // Waits for nobody: all that may still be going on is the end of a connection.
            runtime.shutdown_background();
        }
    }
}

/// An open connection with the event loop that drives it. It is used by one thread at a time.
pub(crate) struct Connection {
    runtime: Loop,
    sender: http1::SendRequest<Body>,
    pub(crate) origin: Origin,
    /// The proxy wants to know the whole address.
    absolute: bool,
    proxy_authorization: Option<hyper::header::HeaderValue>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// Makes connections, and keeps those that can be used again.
#[derive(Debug)]
pub(crate) struct Connector {
    environment: Environment,
    proxies: Matcher,
    pub(crate) patience: Patience,
    idle: Mutex<HashMap<(Origin, Verify), Vec<Connection>>>,
    trust: Mutex<HashMap<(String, Verify), Arc<ClientConfig>>>,
}

impl Connector {
    pub(crate) fn new(environment: Environment, patience: Patience) -> Self {
        let text = |name: &str| environment.get_any_case(name).unwrap_or_default().to_owned();
        let proxies = Matcher::builder()
            .all(text("ALL_PROXY"))
            .http(text("HTTP_PROXY"))
            .https(text("HTTPS_PROXY"))
            .no(text("NO_PROXY"))
            .build();
        Self { environment, proxies, patience, idle: Mutex::default(), trust: Mutex::default() }
    }

    /// A connection to `origin`, one that is idle if there is one.
    pub(crate) fn connect(
        &self,
        origin: &Origin,
        verify: Verify,
        cancel: &Cancel,
    ) -> Result<Connection, ConnectError> {
        let key = (origin.clone(), verify);
        loop {
            let idle = lock(&self.idle).get_mut(&key).and_then(Vec::pop);
            let Some(mut connection) = idle else { break };
            if connection.is_usable() {
                return Ok(connection);
            }
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(1)
            .build()
            .map_err(ConnectError::Runtime)?;
        let runtime = Loop(Some(runtime));
        let stalled =
            || ConnectError::Stalled { to: origin.to_string(), after: self.patience.connect };
        let opened = runtime.block_on(async {
            tokio::select! {
                opened = self.open(origin, verify) => opened,
                () = tokio::time::sleep(self.patience.connect) => Err(stalled()),
                () = cancel.cancelled() => Err(ConnectError::Cancelled),
            }
        })?;
        let Opened { sender, absolute, proxy_authorization } = opened;
        Ok(Connection { runtime, sender, origin: origin.clone(), absolute, proxy_authorization })
    }

    /// Keeps a connection for the next who wants one.
    pub(crate) fn keep(&self, connection: Connection, verify: Verify) {
        let key = (connection.origin.clone(), verify);
        lock(&self.idle).entry(key).or_default().push(connection);
    }

    async fn open(&self, origin: &Origin, verify: Verify) -> Result<Opened, ConnectError> {
        let (stream, absolute, proxy_authorization) = self.stream(origin).await?;
        let stream = if origin.secure {
            self.encrypt(stream, origin.host(), &origin.authority, verify).await?
        } else {
            stream
        };
        let sender = handshake(stream, origin).await?;
        Ok(Opened { sender, absolute, proxy_authorization })
    }

    /// A stream to `origin`, through a proxy if the surroundings say so.
    async fn stream(
        &self,
        origin: &Origin,
    ) -> Result<(Box<dyn Stream>, bool, Option<hyper::header::HeaderValue>), ConnectError> {
        let uri: Uri =
            origin.to_string().parse().map_err(|_| ConnectError::Address(origin.to_string()))?;
        let Some(proxy) = self.proxies.intercept(&uri) else {
            return Ok((Box::new(tcp(origin).await?), false, None));
        };
        if socks::speaks(proxy.uri().scheme_str()) {
            let stream = through_socks(proxy.uri(), proxy.raw_auth(), origin).await?;
            return Ok((Box::new(stream), false, None));
        }
        let named =
            Origin::of(proxy.uri()).ok_or_else(|| ConnectError::Proxy(proxy.uri().to_string()))?;
        let stream: Box<dyn Stream> = Box::new(tcp(&named).await?);
        let stream = if named.secure {
            self.encrypt(stream, named.host(), &named.authority, Verify::Yes).await?
        } else {
            stream
        };
        let authorization = proxy.basic_auth().cloned();
        if !origin.secure {
            return Ok((stream, true, authorization));
        }
        Ok((tunnel(stream, &named, origin, authorization).await?, false, None))
    }

    async fn encrypt(
        &self,
        stream: Box<dyn Stream>,
        host: &str,
        authority: &str,
        verify: Verify,
    ) -> Result<Box<dyn Stream>, ConnectError> {
        let failed = |source| ConnectError::Tls { to: authority.to_owned(), source };
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| failed(io::Error::other(error)))?;
        let connector = TlsConnector::from(self.trust_in(authority, verify)?);
        Ok(Box::new(connector.connect(name, stream).await.map_err(failed)?))
    }

    fn trust_in(
        &self,
        authority: &str,
        verify: Verify,
    ) -> Result<Arc<ClientConfig>, CertificateError> {
        let mut trust = lock(&self.trust);
        let key = (authority.to_owned(), verify);
        if let Some(known) = trust.get(&key) {
            return Ok(Arc::clone(known));
        }
        let config = Arc::new(tls::config(&self.environment, authority, verify)?);
        trust.insert(key, Arc::clone(&config));
        Ok(config)
    }
}

struct Opened {
    sender: http1::SendRequest<Body>,
    absolute: bool,
    proxy_authorization: Option<hyper::header::HeaderValue>,
}

async fn tcp(origin: &Origin) -> Result<TcpStream, ConnectError> {
    dial(&origin.authority, origin.host(), origin.port()).await
}

async fn dial(authority: &str, host: &str, port: u16) -> Result<TcpStream, ConnectError> {
    let connected = TcpStream::connect((host, port)).await;
    let stream =
        connected.map_err(|source| ConnectError::Tcp { to: authority.to_owned(), source })?;
    // Requests are small and waited for.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// A way to `origin` through the SOCKS proxy at `proxy`.
async fn through_socks(
    proxy: &Uri,
    credentials: Option<(&str, &str)>,
    origin: &Origin,
) -> Result<TcpStream, ConnectError> {
    let unusable = || ConnectError::Proxy(proxy.to_string());
    let authority = proxy.authority().ok_or_else(unusable)?.as_str();
    let port = proxy.port_u16().unwrap_or(socks::PORT);
    let mut stream = dial(authority, host_of(authority), port).await?;
    let connected = socks::connect(&mut stream, credentials, origin.host(), origin.port()).await;
    let refused = |source| ConnectError::Socks {
        proxy: authority.to_owned(),
        to: origin.authority.clone(),
        source,
    };
    connected.map(|()| stream).map_err(refused)
}

async fn handshake(
    stream: Box<dyn Stream>,
    origin: &Origin,
) -> Result<http1::SendRequest<Body>, ConnectError> {
    let broken = |source| ConnectError::Broken { to: origin.to_string(), source };
    let shaken = http1::Builder::new().handshake(TokioIo::new(stream)).await;
    let (sender, connection) = shaken.map_err(broken)?;
    // How it ends is heard by whoever uses the sender.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

/// Asks the proxy for a way to `origin` (RFC 9110, section 9.3.6).
async fn tunnel(
    stream: Box<dyn Stream>,
    proxy: &Origin,
    origin: &Origin,
    authorization: Option<hyper::header::HeaderValue>,
) -> Result<Box<dyn Stream>, ConnectError> {
    let broken = |source| ConnectError::Broken { to: proxy.to_string(), source };
    let handshake = http1::Builder::new().handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(broken)?;
    tokio::spawn(async move { drop(connection.with_upgrades().await) });
    let target = format!("{}:{}", bracketed(origin.host()), origin.port());
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.method_mut() = Method::CONNECT;
    *request.uri_mut() = target.parse().map_err(|_| ConnectError::Address(target.clone()))?;
    let host = target.parse().map_err(|_| ConnectError::Address(target.clone()))?;
    request.headers_mut().insert(hyper::header::HOST, host);
    if let Some(authorization) = authorization {
        request.headers_mut().insert(hyper::header::PROXY_AUTHORIZATION, authorization);
    }
    let answer = sender.send_request(request).await.map_err(broken)?;
    if !answer.status().is_success() {
        return Err(ConnectError::Refused {
            proxy: proxy.to_string(),
            to: origin.to_string(),
            status: answer.status().as_u16(),
        });
    }
    let upgraded = hyper::upgrade::on(answer).await.map_err(broken)?;
    Ok(Box::new(TokioIo::new(upgraded)))
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

impl Connection {
    /// Whether the other side still listens, as far as has been heard.
    fn is_usable(&mut self) -> bool {
        // Lets the event loop hear what has come since.
        self.runtime.block_on(tokio::task::yield_now());
        self.sender.is_ready()
    }

    /// Sends a request and waits for the head of the answer.
    pub(crate) fn send(
        &mut self,
        mut request: Request<Body>,
        patience: Duration,
        cancel: &Cancel,
    ) -> Result<Response<Incoming>, ConnectError> {
        if self.absolute {
            request.headers_mut().extend(
                self.proxy_authorization
                    .clone()
                    .map(|value| (hyper::header::PROXY_AUTHORIZATION, value)),
            );
        } else {
            let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
            let path = path.parse().map_err(|_| ConnectError::Address(path.to_owned()))?;
            *request.uri_mut() = path;
        }
        let Self { runtime, sender, origin, .. } = self;
        let to = || origin.to_string();
        let progress = request.body().progress();
        runtime.block_on(async {
            let answer = async {
                sender.ready().await?;
                sender.send_request(request).await
            };
            let mut answer = std::pin::pin!(answer);
            loop {
                let sent = progress.load(std::sync::atomic::Ordering::Relaxed);
                tokio::select! {
                    answer = &mut answer => {
                        return answer.map_err(|source| ConnectError::Broken { to: to(), source });
                    }
                    () = tokio::time::sleep(patience) => {
                        // A long upload is no silence.
                        if progress.load(std::sync::atomic::Ordering::Relaxed) == sent {
                            return Err(ConnectError::Stalled { to: to(), after: patience });
                        }
                    }
                    () = cancel.cancelled() => return Err(ConnectError::Cancelled),
                }
            }
        })
    }

    /// Waits for the next piece of an answer; `None` at its end.
    pub(crate) fn next(
        &mut self,
        body: &mut Incoming,
        patience: Duration,
        cancel: &Cancel,
    ) -> Result<Option<Bytes>, ConnectError> {
        let Self { runtime, origin, .. } = self;
        let to = || origin.to_string();
        runtime.block_on(async {
            loop {
                let frame = tokio::select! {
                    biased;
                    frame = body.frame() => frame,
                    () = tokio::time::sleep(patience) => {
                        return Err(ConnectError::Stalled { to: to(), after: patience });
                    }
                    () = cancel.cancelled() => return Err(ConnectError::Cancelled),
                };
                match frame {
                    None => return Ok(None),
                    Some(Err(source)) => return Err(ConnectError::Broken { to: to(), source }),
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(data) if !data.is_empty() => return Ok(Some(data)),
                        // An empty piece, or trailers.
                        _ => {}
                    },
                }
            }
        })
    }
}

/// What a poisoned lock guards is a map, which is whole at every moment.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
