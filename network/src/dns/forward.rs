//! Questions that others have to answer: passed on byte for byte to the host's servers.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::message::Transport;
use super::resolver::Resolver;
use crate::random;

/// How long a server may take before the next is asked: two of them fit into the 5 seconds of glibc.
const PATIENCE: Duration = Duration::from_secs(2);
/// Codes with which a server says that another might know more.
const SERVER_FAILURE: u8 = 2;
const NOT_IMPLEMENTED: u8 = 4;
const REFUSED: u8 = 5;

/// The servers that are asked for names that no network has.
#[derive(Debug)]
pub struct Upstreams {
    /// Where they come from, and what was read there, when.
    file: Option<(PathBuf, Mutex<Cached>)>,
    fixed: Vec<SocketAddr>,
}

#[derive(Debug, Default)]
struct Cached {
    modified: Option<SystemTime>,
    servers: Vec<SocketAddr>,
}

impl Upstreams {
    /// Those of a file such as `/etc/resolv.conf`, which is read again whenever it has changed.
    pub fn of_file(path: impl Into<PathBuf>) -> Self {
        Self { file: Some((path.into(), Mutex::default())), fixed: Vec::new() }
    }

    /// These, in this order.
    pub fn fixed(servers: Vec<SocketAddr>) -> Self {
        Self { file: None, fixed: servers }
    }

    fn servers(&self) -> Vec<SocketAddr> {
        let Some((path, cached)) = &self.file else { return self.fixed.clone() };
        let mut cached = cached.lock().unwrap_or_else(PoisonError::into_inner);
        let modified = std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
        if cached.servers.is_empty() || cached.modified != modified {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            *cached = Cached { modified, servers: Resolver::parse(&text).servers };
        }
        cached.servers.clone()
    }

    /// Asks one server after the other; the answer of the first that has one, or else of the last.
    pub(super) async fn ask(&self, query: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let mut unsure = None;
        for server in self.servers() {
            match timeout(PATIENCE, ask(server, query, transport)).await {
                Ok(Ok(answer)) if is_sure(&answer) => return Some(answer),
                Ok(Ok(answer)) => unsure = Some(answer),
                Ok(Err(error)) => tracing::debug!(%server, %error, "forward a name"),
                Err(_) => tracing::debug!(%server, "forward a name: no answer"),
            }
        }
        unsure
    }
}

fn is_sure(answer: &[u8]) -> bool {
    let code = answer.get(3).map_or(SERVER_FAILURE, |flags| flags & 0x0f);
    ![SERVER_FAILURE, NOT_IMPLEMENTED, REFUSED].contains(&code)
}

/// Asks with an id of our own, so that nobody who guesses the container's can answer in the server's place.
async fn ask(server: SocketAddr, query: &[u8], transport: Transport) -> io::Result<Vec<u8>> {
    let [a, b, ..] = random::number().to_ne_bytes();
    let mut question = query.to_vec();
    let original = [query[0], query[1]];
    question[..2].copy_from_slice(&[a, b]);
    let mut answer = match transport {
        Transport::Udp => ask_udp(server, &question).await?,
        Transport::Tcp => ask_tcp(server, &question).await?,
    };
    answer[..2].copy_from_slice(&original);
    Ok(answer)
}

async fn ask_udp(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut buffer = vec![0; 4096];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if answers(&buffer[..length], question) {
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
}

async fn ask_tcp(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    write_message(&mut stream, question).await?;
    let answer = read_message(&mut stream).await?;
    if answers(&answer, question) { Ok(answer) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// Reads a message with its length in front (RFC 1035, section 4.2.2).
pub(super) async fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

/// Writes a message with its length in front.
pub(super) async fn write_message(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    stream.write_all(&[&length.to_be_bytes(), message].concat()).await
}

/// Whether a message is an answer to the question: the id, and the question again, letter by letter.
fn answers(message: &[u8], question: &[u8]) -> bool {
    let is_answer = message.len() >= 12 && message[2] & 0x80 != 0;
    is_answer && message[..2] == question[..2] && asked(message) == asked(question)
}

/// The bytes of the first question, in lower case; a message without one has none.
fn asked(message: &[u8]) -> Option<Vec<u8>> {
    let body = message.get(12..)?;
    let mut place = 0;
    loop {
        match usize::from(*body.get(place)?) {
            0 => return Some(body.get(..place + 5)?.to_ascii_lowercase()),
            // A first name has nothing to point back to.
            length if length > 63 => return None,
            length => place += length + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const QUESTION: &[u8] =
        b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x02db\x00\x00\x01\x00\x01";

    #[test]
    fn only_an_answer_to_the_question_counts() {
        let change = |place: usize, byte: u8| {
            let mut answer = QUESTION.to_vec();
            answer[2] |= 0x80;
            answer[place] = byte;
            answer
        };
        assert!(answers(&change(3, 0x80), QUESTION));
        assert!(answers(&change(13, b'D'), QUESTION));
        assert!(!answers(&change(0, 0), QUESTION), "another id");
        assert!(!answers(&change(13, b'x'), QUESTION), "another name");
        assert!(!answers(&change(17, 28), QUESTION), "another type");
        assert!(!answers(QUESTION, QUESTION), "a question");
    }

    #[test]
    fn a_file_is_read_again_when_it_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("resolv.conf");
        let upstreams = Upstreams::of_file(&path);
        assert_eq!(upstreams.servers(), ["127.0.0.1:53".parse().unwrap()]);
        std::fs::write(&path, "nameserver 192.0.2.53\n").unwrap();
        assert_eq!(upstreams.servers(), ["192.0.2.53:53".parse().unwrap()]);
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange_to_compare(bytes: Vec<u8>) {
            prop_assert!(!answers(&bytes, QUESTION) || bytes[..2] == QUESTION[..2]);
        }
    }
}
