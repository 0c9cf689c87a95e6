//! Connections, relayed: short ones by a buffer, long ones by splice(2), so that their bytes never come into this
//! process.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rustix::net::sockopt::{set_socket_keepalive, set_socket_linger};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use super::serve::Target;
use crate::subnet::Family;

/// How long a container may take to accept; its backlog may be full, or it may be paused.
const CONNECT_PATIENCE: Duration = Duration::from_secs(30);
/// How long accepting rests when the process is out of descriptors: they come back as connections end.
const OUT_OF_DESCRIPTORS_REST: Duration = Duration::from_millis(100);
/// Descriptors of a connection without pipes.
const SOCKETS: u32 = 2;
/// Descriptors of a pipe.
const ENDS: u32 = 2;
/// Bytes that are carried by a buffer; when there are more, a pipe is worth its descriptors.
const CHUNK: usize = 16 << 10;
/// Bytes that a pipe takes.
const PIPE: usize = 512 << 10;

/// The descriptors that connections may have: three of four. Whoever floods a port waits in its backlog, and the process
/// can go on with everything else.
static DESCRIPTORS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    Arc::new(Semaphore::new((limit / 4 * 3).min(Semaphore::MAX_PERMITS)))
});

/// Accepts connections whenever there is a target, and relays each to `port` of it.
pub(super) async fn serve(
    listener: TcpListener,
    mut targets: watch::Receiver<Option<Target>>,
    port: u16,
) {
    let mut connections = JoinSet::new();
    loop {
        drop(DESCRIPTORS.acquire_many(SOCKETS).await);
        let Ok(Some(target)) = targets.wait_for(Option::is_some).await.map(|target| target.clone())
        else {
            return;
        };
        tokio::select! {
            // Whoever is accepted is led where the last word says.
            biased;
            changed = targets.changed() => if changed.is_err() { return },
            // Cancel-safe: a connection that was not returned is still in the backlog.
            accepted = listener.accept() => match accepted {
                Ok((client, from)) => {
                    let sockets = Arc::clone(&DESCRIPTORS).try_acquire_many_owned(SOCKETS);
                    let relayed = relay(client, Family::of(from.ip()), target, port);
                    connections.spawn(async move {
                        relayed.await;
                        drop(sockets);
                    });
                }
                Err(error) if is_about_the_client(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "accept on a published port");
                    tokio::time::sleep(OUT_OF_DESCRIPTORS_REST).await;
                }
            },
        }
        while connections.try_join_next().is_some() {}
    }
}

/// accept(2): errors of the connection, which is gone, and not of the listener.
fn is_about_the_client(error: &io::Error) -> bool {
    let codes =
        [libc::ECONNABORTED, libc::EPROTO, libc::EPERM, libc::EHOSTUNREACH, libc::ENETUNREACH];
    error.raw_os_error().is_some_and(|code| codes.contains(&code))
}

async fn relay(client: TcpStream, family: Family, target: Target, port: u16) {
    // Until it has ended on both sides, whatever ends it aborts it, also the end of this process: nobody takes half of
    // something for all of it, and no socket waits in the network for an answer of a container that is gone.
    close_by(Close::Abort, &client);
    let Ok(server) = connect(&target, family, port).await else {
        return;
    };
    close_by(Close::Abort, &server);
    for stream in [&client, &server] {
        // Without these a relay is slower and less patient, and still right.
        let _ = stream.set_nodelay(true);
        let _ = set_socket_keepalive(stream, true);
    }
    if tokio::try_join!(copy(&client, &server), copy(&server, &client)).is_ok() {
        close_by(Close::Order, &client);
        close_by(Close::Order, &server);
    }
}

/// Connects to the container in the family of the client; where nothing listens, in the other.
async fn connect(target: &Target, family: Family, port: u16) -> io::Result<TcpStream> {
    let mut outcome = Err(io::ErrorKind::AddrNotAvailable.into());
    for address in target.members(family, port) {
        let socket = target.socket(|| match address {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        })?;
        outcome = tokio::time::timeout(CONNECT_PATIENCE, socket.connect(address)).await?;
        let refused = |error: &io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
        if !outcome.as_ref().is_err_and(refused) {
            break;
        }
    }
    outcome
}

/// What the peer learns when a connection is closed (socket(7), `SO_LINGER`).
enum Close {
    /// A failure.
    Abort,
    /// That everything has been said.
    Order,
}

fn close_by(close: Close, stream: &TcpStream) {
    let linger = match close {
        Close::Abort => Some(Duration::ZERO),
        Close::Order => None,
    };
    // Refused by none: the option is known for every connection.
    let _ = set_socket_linger(stream, linger);
}

/// Carries bytes one way until the end, then says so to the other side, which may go on talking.
///
/// By a buffer at first, and by a pipe once there is much: most connections never need one, and a thousand idle ones
/// hold no more than their sockets.
async fn copy(from: &TcpStream, to: &TcpStream) -> io::Result<()> {
    let mut pipe: Option<Pipe> = None;
    loop {
        let carried = match &pipe {
            Some(pipe) => pipe.carry(from, to).await?,
            None => carry(from, to).await?,
        };
        match carried {
            0 => return shutdown(to),
            CHUNK if pipe.is_none() => {
                if let Ok(ends) = Arc::clone(&DESCRIPTORS).try_acquire_many_owned(ENDS) {
                    pipe = Some(Pipe::new(ends)?);
                }
            }
            _ => {}
        }
    }
}

/// Carries what there is, up to [`CHUNK`], by a buffer that all connections of the thread share; 0 is the end.
async fn carry(from: &TcpStream, to: &TcpStream) -> io::Result<usize> {
    thread_local! {
        static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; CHUNK]);
    }
    loop {
        // Each wait counts against the budget of the task, so a busy connection lets others have their turn.
        from.readable().await?;
        let pass = BUFFER.with_borrow_mut(|buffer| {
            let length = from.try_read(buffer)?;
            let written = retry_later(to.try_write(&buffer[..length]))?.unwrap_or(0);
            Ok((length, buffer[written..length].to_vec()))
        });
        if let Some((length, rest)) = retry_later(pass)? {
            write_all(to, &rest).await?;
            return Ok(length);
        }
    }
}

async fn write_all(to: &TcpStream, mut rest: &[u8]) -> io::Result<()> {
    while !rest.is_empty() {
        to.writable().await?;
        let written = retry_later(to.try_write(rest))?.unwrap_or(0);
        rest = &rest[written..];
    }
    Ok(())
}

/// A socket that is not ready is no error.
fn retry_later<T>(outcome: io::Result<T>) -> io::Result<Option<T>> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        outcome => outcome.map(Some),
    }
}

fn shutdown(stream: &TcpStream) -> io::Result<()> {
    match rustix::net::shutdown(stream, rustix::net::Shutdown::Write) {
        // The peer has gone in the meantime: nobody is left to be told.
        Err(rustix::io::Errno::NOTCONN) => Ok(()),
        outcome => Ok(outcome?),
    }
}

/// The kernel's buffer between two sockets. Empty whenever a turn is over.
struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    _ends: OwnedSemaphorePermit,
}

const SPLICE: SpliceFlags = SpliceFlags::NONBLOCK.union(SpliceFlags::MOVE);

impl Pipe {
    fn new(ends: OwnedSemaphorePermit) -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // Refused beyond the user's allowance of pipe memory; a narrow one does as well.
        let _ = fcntl_setpipe_size(&write, PIPE);
        Ok(Self { read, write, _ends: ends })
    }

    /// Carries what there is, up to what fits; 0 is the end.
    async fn carry(&self, from: &TcpStream, to: &TcpStream) -> io::Result<usize> {
        let filled = loop {
            from.readable().await?;
            let outcome = move_bytes(from, Interest::READABLE, from, &self.write, PIPE);
            if let Some(filled) = retry_later(outcome)? {
                break filled;
            }
        };
        let mut waiting = filled;
        while waiting > 0 {
            to.writable().await?;
            let outcome = move_bytes(to, Interest::WRITABLE, &self.read, to, waiting);
            waiting -= retry_later(outcome)?.unwrap_or(0);
        }
        Ok(filled)
    }
}

fn move_bytes(
    stream: &TcpStream,
    interest: Interest,
    from: impl AsFd,
    to: impl AsFd,
    count: usize,
) -> io::Result<usize> {
    stream.try_io(interest, || Ok(splice(from, None, to, None, count, SPLICE)?))
}
