//! The command line's end of the supervisor's socket.
//!
//! HTTP/1.1 by hand over a blocking unix socket: a command asks one question and reads one
//! stream, and a process that starts no runtime and no thread is up in a millisecond. Descriptors
//! are lent out ([`AsFd`]) so that a command can wait for events, log lines and signals at once.
//! Nothing here prints or knows what the events mean.

mod http;
mod start;

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, pidfd_open};
use serde::Serialize;

use crate::api::frame;
use crate::event::Event;
use crate::record::socket::reach;

use http::{Body, Head};
pub use start::{StartError, connect_or_start};

/// How long a supervisor that ends may take.
const PARTING: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// A question to the supervisor that got no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens; nothing runs.
    #[error("no supervisor listens at {}", path.display())]
    Absent {
        /// The socket.
        path: PathBuf,
        /// What connect(2) said.
        source: io::Error,
    },
    /// The connection broke before the answer began. The question may be asked again.
    #[error("the supervisor went away before it answered {path}")]
    Unanswered {
        /// What was asked.
        path: String,
        /// What read(2) or write(2) said.
        source: io::Error,
    },
    /// The connection broke within the answer.
    #[error("the supervisor went away while it carried out {path}")]
    CutOff {
        /// What was asked.
        path: String,
        /// What read(2) said.
        source: io::Error,
    },
    /// The answer is not of our making.
    #[error("the answer to {path} is not understood: {what}")]
    Nonsense {
        /// What was asked.
        path: String,
        /// What is wrong with it.
        what: String,
    },
}

/// A connection on which nothing has been asked.
#[derive(Debug)]
pub struct Client {
    socket: UnixStream,
}

impl Client {
    /// Connects to the supervisor that listens at `path`.
    ///
    /// # Errors
    ///
    /// [`ClientError::Absent`].
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        reach(path, |path| UnixStream::connect(path))
            .map(|socket| Self { socket })
            .map_err(|source| ClientError::Absent { path: path.to_owned(), source })
    }

    /// Asks for something to be done; the answer says how it goes.
    ///
    /// # Errors
    ///
    /// [`ClientError::Unanswered`] or [`ClientError::Nonsense`].
    pub fn post<T: Serialize>(self, path: &str, body: &T) -> Result<Answer, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| ClientError::Nonsense {
            path: path.into(),
            what: error.to_string(),
        })?;
        self.ask("POST", path, &[("Content-Type", "application/json")], &body)
    }

    /// Listens to the events of the project: all that happen after this call returned.
    ///
    /// # Errors
    ///
    /// [`ClientError::Unanswered`] or [`ClientError::Nonsense`].
    pub fn listen(self, path: &str) -> Result<Answer, ClientError> {
        self.ask("GET", path, &[], &[])
    }

    /// Turns the connection into one of [`frame`]s. Also returns what has already arrived.
    ///
    /// # Errors
    ///
    /// [`ClientError::Unanswered`] or [`ClientError::Nonsense`].
    pub fn upgrade(self, path: &str) -> Result<(UnixStream, Vec<u8>), ClientError> {
        let headers = [("Connection", "Upgrade"), ("Upgrade", frame::PROTOCOL)];
        let answer = self.ask("POST", path, &headers, &[])?;
        if answer.head.status == 101 {
            return Ok((answer.socket, answer.raw));
        }
        let what = match answer.into_events() {
            Ok(events) => failure_of(&events),
            Err(error) => error.to_string(),
        };
        Err(ClientError::Nonsense { path: path.into(), what })
    }

    fn ask(
        mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer, ClientError> {
        let unanswered = |source| ClientError::Unanswered { path: path.to_owned(), source };
        self.socket.write_all(&http::request(method, path, headers, body)).map_err(unanswered)?;
        let mut raw = Vec::new();
        let head = loop {
            match Head::take(&mut raw) {
                Ok(Some(head)) => break head,
                Ok(None) => {}
                Err(what) => return Err(ClientError::Nonsense { path: path.into(), what }),
            }
            if read_some(&mut self.socket, &mut raw).map_err(unanswered)? == 0 {
                return Err(unanswered(io::ErrorKind::UnexpectedEof.into()));
            }
        };
        let body = head.body();
        Ok(Answer { socket: self.socket, path: path.to_owned(), head, raw, body, text: Vec::new() })
    }
}

fn failure_of(events: &[Event]) -> String {
    events
        .iter()
        .find_map(|event| match event {
            Event::Failed { failures } => failures.first().map(|failure| failure.message.clone()),
            _ => None,
        })
        .unwrap_or_else(|| "no upgrade".to_owned())
}

fn read_some(socket: &mut UnixStream, raw: &mut Vec<u8>) -> io::Result<usize> {
    let mut buffer = [0; 16 * 1024];
    loop {
        match socket.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(count) => {
                raw.extend_from_slice(&buffer[..count]);
                return Ok(count);
            }
            Err(error) => return Err(error),
        }
    }
}

/// The stream of events that answers a question.
#[derive(Debug)]
pub struct Answer {
    socket: UnixStream,
    path: String,
    head: Head,
    raw: Vec<u8>,
    body: Body,
    text: Vec<u8>,
}

impl AsFd for Answer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Answer {
    /// The next event that has arrived already; never waits.
    ///
    /// # Errors
    ///
    /// [`ClientError::Nonsense`].
    pub fn ready(&mut self) -> Result<Option<Event>, ClientError> {
        self.body.decode(&mut self.raw, &mut self.text).map_err(|what| self.nonsense(what))?;
        let Some(end) = self.text.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
        let line: Vec<u8> = self.text.drain(..=end).collect();
        serde_json::from_slice(&line).map(Some).map_err(|error| self.nonsense(error.to_string()))
    }

    /// The error of an answer that is complete, for when nothing is [ready](Self::ready) and the event that ends a request
    /// was not among what came: whoever was about to send it has failed.
    #[must_use]
    pub fn without_end(&self) -> Option<ClientError> {
        let source = io::ErrorKind::UnexpectedEof.into();
        let cut_off = || ClientError::CutOff { path: self.path.clone(), source };
        self.body.is_complete().then(cut_off)
    }

    /// Leaves, and waits until the supervisor has ended; not much longer than it should take, because another client may have
    /// come.
    pub fn see_off(self) {
        // The one that has called listen(2): unix(7).
        let supervisor = rustix::net::sockopt::socket_peercred(&self.socket)
            .and_then(|peer| pidfd_open(peer.pid, PidfdFlags::empty()));
        drop(self);
        let Ok(supervisor) = supervisor else { return };
        let mut end = [PollFd::new(&supervisor, PollFlags::IN)];
        while matches!(poll(&mut end, Some(&PARTING)), Err(Errno::INTR)) {}
    }

    /// Reads once from the connection, after poll(2) said that there is something. Returns
    /// whether the answer may go on.
    ///
    /// # Errors
    ///
    /// [`ClientError::CutOff`] when the connection broke or ended before the answer did.
    pub fn fill(&mut self) -> Result<bool, ClientError> {
        let cut_off = |source| ClientError::CutOff { path: self.path.clone(), source };
        let count = read_some(&mut self.socket, &mut self.raw).map_err(cut_off)?;
        self.body.decode(&mut self.raw, &mut self.text).map_err(|what| self.nonsense(what))?;
        match (count, self.body.is_complete()) {
            (_, true) => Ok(false),
            (0, false) => Err(cut_off(io::ErrorKind::UnexpectedEof.into())),
            _ => Ok(true),
        }
    }

    /// Waits for all that is left. Meant for short answers.
    fn into_events(mut self) -> Result<Vec<Event>, ClientError> {
        let mut events = Vec::new();
        loop {
            while let Some(event) = self.ready()? {
                events.push(event);
            }
            if self.body.is_complete() || !self.fill()? {
                while let Some(event) = self.ready()? {
                    events.push(event);
                }
                return Ok(events);
            }
        }
    }

    fn nonsense(&self, what: String) -> ClientError {
        ClientError::Nonsense { path: self.path.clone(), what }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Kind, Status};
    use std::os::unix::net::UnixListener;

    /// Answers one request with `answer` in pieces of `size` bytes, and returns what was asked.
    fn server(
        answer: Vec<u8>,
        size: usize,
    ) -> (tempfile::TempDir, PathBuf, std::thread::JoinHandle<String>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("api.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let thread = std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let mut raw = Vec::new();
            while !String::from_utf8_lossy(&raw).ends_with("}") && !raw.ends_with(b"\r\n\r\n") {
                read_some(&mut socket, &mut raw).unwrap();
            }
            for piece in answer.chunks(size) {
                socket.write_all(piece).unwrap();
            }
            String::from_utf8(raw).unwrap()
        });
        (folder, path, thread)
    }

    fn chunked(events: &[Event]) -> Vec<u8> {
        let mut answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for event in events {
            let line = event.to_line();
            answer.extend(format!("{:x}\r\n", line.len()).bytes());
            answer.extend(line);
            answer.extend(b"\r\n");
        }
        answer.extend(b"0\r\n\r\n");
        answer
    }

    #[test]
    fn reads_events_however_they_are_cut() {
        let events = [Event::step(Kind::Network, "p_default", Status::Created), Event::done(true)];
        for size in [1, 7, 4096] {
            let (_folder, path, thread) = server(chunked(&events), size);
            let answer =
                Client::connect(&path).unwrap().post("/v1/up", &serde_json::json!({"a": 1}));
            assert_eq!(answer.unwrap().into_events().unwrap(), events);
            let asked = thread.join().unwrap();
            assert!(asked.starts_with("POST /v1/up HTTP/1.1\r\n"), "{asked}");
            assert!(asked.ends_with("Content-Length: 7\r\n\r\n{\"a\":1}"), "{asked}");
        }
    }

    #[test]
    fn tells_a_broken_answer_from_none() {
        let (_folder, path, _thread) = server(Vec::new(), 1);
        let error = Client::connect(&path).unwrap().post("/v1/up", &serde_json::json!({"a": 1}));
        assert!(matches!(error, Err(ClientError::Unanswered { .. })), "{error:?}");

        let mut half = chunked(&[Event::done(true)]);
        half.truncate(half.len() - 5);
        let (_folder, path, _thread) = server(half, 4096);
        let answer = Client::connect(&path).unwrap().post("/v1/up", &serde_json::json!({"a": 1}));
        let error = answer.unwrap().into_events();
        assert!(matches!(error, Err(ClientError::CutOff { .. })), "{error:?}");
    }

    #[test]
    fn an_upgraded_connection_keeps_early_bytes() {
        let answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: compose-frames\r\n\r\nearly";
        let (_folder, path, thread) = server(answer.to_vec(), 4096);
        let (_socket, early) = Client::connect(&path).unwrap().upgrade("/v1/x").unwrap();
        assert_eq!(early, b"early");
        assert!(thread.join().unwrap().contains("Upgrade: compose-frames\r\n"));
    }
}
