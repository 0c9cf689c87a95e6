//! The supervisor's door: HTTP/1.1 over the unix socket, requests in, event lines out.
//!
//! Knows paths, bodies and streams; what a request does is the business of [`super::requests`].

use std::cell::Cell;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue, UPGRADE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::spawn_local;

use super::attach::Manner;
use super::{Supervisor, attach, requests};
use crate::api::{frame, path};
use crate::event::{Event, Failure};

/// Where a request reports to: the answer's stream, and everybody who listens.
#[derive(Debug, Clone)]
pub struct Reporter {
    answer: mpsc::UnboundedSender<Bytes>,
}

impl Reporter {
    /// For what the supervisor does by itself, with what would be told.
    #[must_use]
    pub fn to_ourselves() -> (Self, mpsc::UnboundedReceiver<Bytes>) {
        let (answer, told) = mpsc::unbounded_channel();
        (Self { answer }, told)
    }

    /// Sends one event into the answer. A client that has left is no reason to stop.
    pub fn send(&self, event: &Event) {
        let _ = self.answer.send(Bytes::from(event.to_line()));
    }

    /// Ends when the client has left.
    pub async fn closed(&self) {
        self.answer.closed().await;
    }
}

/// Serves connections until the task is dropped.
pub async fn serve(listener: UnixListener, supervisor: Rc<Supervisor>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) if is_allowed(&stream) => {
                spawn_local(connection(stream, Rc::clone(&supervisor)));
            }
            Ok(_) => tracing::warn!("refused a connection of another user"),
            Err(error) => {
                tracing::warn!(%error, "accept");
                tokio::task::yield_now().await;
            }
        }
    }
}

/// Only root and the owner of the supervisor may talk to it (unix(7), SO_PEERCRED).
fn is_allowed(stream: &UnixStream) -> bool {
    stream
        .peer_cred()
        .is_ok_and(|peer| peer.uid() == 0 || peer.uid() == rustix::process::geteuid().as_raw())
}

async fn connection(stream: UnixStream, supervisor: Rc<Supervisor>) {
    let _client = Client::connected(&supervisor);
    let service = service_fn(|request| answer(request, Rc::clone(&supervisor)));
    let served = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "connection");
    }
}

/// Counts a client for as long as it lives: a supervisor with clients does not leave.
#[derive(Debug)]
pub struct Client<'a> {
    count: &'a Cell<usize>,
    idle: &'a tokio::sync::Notify,
}

impl<'a> Client<'a> {
    /// Counts one client more.
    pub fn connected(supervisor: &'a Supervisor) -> Self {
        let (count, idle) = (&supervisor.clients, &supervisor.idle);
        count.set(count.get() + 1);
        Self { count, idle }
    }
}

impl Drop for Client<'_> {
    fn drop(&mut self) {
        self.count.set(self.count.get().saturating_sub(1));
        self.idle.notify_one();
    }
}

async fn answer(
    request: Request<Incoming>,
    supervisor: Rc<Supervisor>,
) -> Result<Response<Lines>, Infallible> {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    if method == Method::GET && path == path::EVENTS {
        return Ok(events(&supervisor));
    }
    if let (Method::POST, Some(id)) = (method.clone(), path::attach_target(&path)) {
        return Ok(upgrade(request, id.to_owned(), Manner::Start, supervisor));
    }
    if let (Method::POST, Some(id)) = (method.clone(), path::join_target(&path)) {
        return Ok(upgrade(request, id.to_owned(), Manner::Join, supervisor));
    }
    if method != Method::POST {
        return Ok(refusal(StatusCode::METHOD_NOT_ALLOWED, "only POST is understood here"));
    }
    let Ok(body) = request.into_body().collect().await.map(http_body_util::Collected::to_bytes)
    else {
        return Ok(refusal(StatusCode::BAD_REQUEST, "the request was cut off"));
    };
    Ok(match path.as_str() {
        path::UP => begin(&supervisor, &body, requests::up),
        path::APPLY => begin(&supervisor, &body, requests::apply),
        path::DOWN => begin(&supervisor, &body, requests::down),
        path::START => begin(&supervisor, &body, requests::start),
        path::STOP => begin(&supervisor, &body, requests::stop),
        path::RESTART => begin(&supervisor, &body, requests::restart),
        path::KILL => begin(&supervisor, &body, requests::kill),
        path::PAUSE => begin(&supervisor, &body, requests::pause),
        path::UNPAUSE => begin(&supervisor, &body, requests::unpause),
        path::CONNECT => begin(&supervisor, &body, requests::connect),
        path::DISCONNECT => begin(&supervisor, &body, requests::disconnect),
        path::HOOK => begin(&supervisor, &body, requests::hook),
        path::RM => begin(&supervisor, &body, requests::rm),
        path::RUN => begin(&supervisor, &body, requests::run),
        _ => refusal(StatusCode::NOT_FOUND, "there is no such request"),
    })
}

/// Reads the request and lets it run by itself: a client that leaves does not cut a change in two.
fn begin<R, F>(
    supervisor: &Rc<Supervisor>,
    body: &Bytes,
    request: impl FnOnce(Rc<Supervisor>, R, Reporter) -> F + 'static,
) -> Response<Lines>
where
    R: DeserializeOwned + 'static,
    F: Future<Output = Event> + 'static,
{
    let wanted: R = match serde_json::from_slice(body) {
        Ok(wanted) => wanted,
        Err(error) => return refusal(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let (sender, receiver) = mpsc::unbounded_channel();
    let reporter = Reporter { answer: sender };
    let supervisor = Rc::clone(supervisor);
    spawn_local(async move {
        let _client = Client::connected(&supervisor);
        let last = request(Rc::clone(&supervisor), wanted, reporter.clone()).await;
        reporter.send(&last);
    });
    lines(StatusCode::OK, Lines(receiver))
}

fn events(supervisor: &Rc<Supervisor>) -> Response<Lines> {
    let (sender, receiver) = mpsc::unbounded_channel();
    let mut feed = supervisor.events.subscribe();
    spawn_local(async move {
        loop {
            tokio::select! {
                event = feed.recv() => match event {
                    Ok(event) => {
                        if sender.send(Bytes::from(event.to_line())).is_err() {
                            return;
                        }
                    }
                    Err(tokio::sync::broadcast::error::RecvError::Lagged(lost)) => {
                        tracing::warn!(lost, "a listener is too slow");
                    }
                    Err(tokio::sync::broadcast::error::RecvError::Closed) => return,
                },
                () = sender.closed() => return,
            }
        }
    });
    lines(StatusCode::OK, Lines(receiver))
}

fn upgrade(
    mut request: Request<Incoming>,
    id: String,
    manner: Manner,
    supervisor: Rc<Supervisor>,
) -> Response<Lines> {
    let asked = request.headers().get(UPGRADE).is_some_and(|word| word == frame::PROTOCOL);
    if !asked {
        return refusal(StatusCode::UPGRADE_REQUIRED, "ask for `Upgrade: compose-frames`");
    }
    spawn_local(async move {
        let _client = Client::connected(&supervisor);
        match hyper::upgrade::on(&mut request).await {
            Ok(upgraded) => attach::run(&supervisor, &id, manner, TokioIo::new(upgraded)).await,
            Err(error) => tracing::debug!(%error, "upgrade"),
        }
    });
    let (_, nothing) = mpsc::unbounded_channel();
    let mut response = Response::new(Lines(nothing));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    response.headers_mut().insert(UPGRADE, HeaderValue::from_static(frame::PROTOCOL));
    response
}

fn refusal(status: StatusCode, message: &str) -> Response<Lines> {
    let (sender, receiver) = mpsc::unbounded_channel();
    let failure = Failure { message: message.to_owned(), ..Failure::default() };
    Reporter { answer: sender }.send(&Event::failed(failure));
    lines(status, Lines(receiver))
}

fn lines(status: StatusCode, body: Lines) -> Response<Lines> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/jsonl; charset=utf-8"));
    response
}

/// A body that is sent line by line, as the lines come in.
#[derive(Debug)]
struct Lines(mpsc::UnboundedReceiver<Bytes>);

impl Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let line = ready!(self.0.poll_recv(context));
        Poll::Ready(line.map(|line| Ok(Frame::data(line))))
    }
}
