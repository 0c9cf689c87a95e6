//! The server of one container, at 127.0.0.11 inside of it.
//!
//! Its sockets are opened in the sandbox, and questions are answered from memory. A container can only harm itself:
//! each has its own server, whose questions under way and connections are counted, and each wait has an end.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, UdpSocket};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::beside;
use super::forward::{Upstreams, read_message, write_message};
use super::message::{Reply, Transport, reply, server_failure};
use super::zone::Zone;
use crate::firewall::RedirectTable;
use crate::netlink::NetlinkError;
use crate::sandbox::Sandbox;

/// Where Docker answers, and configurations expect it (`resolver 127.0.0.11` of nginx).
pub const SERVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
const PORT: u16 = 53;
/// Questions under way to the host's servers; one more is SERVFAIL.
const QUESTIONS: usize = 256;
/// Connections at a time; one more waits.
const CONNECTIONS: usize = 32;
/// How long a connection may be silent.
const IDLE: Duration = Duration::from_secs(10);
/// How long accepting rests when the process is out of descriptors.
const OUT_OF_DESCRIPTORS_REST: Duration = Duration::from_millis(100);

/// How questions to port 53 reach the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// It is bound there. A container that binds port 53 of all addresses itself cannot.
    Direct,
    /// It is bound elsewhere, and rules in the sandbox lead there: port 53 is the container's own.
    Redirected,
    /// It is bound on a link beside the container's own, which has to be [opened](super::beside::open) after the start.
    Beside,
}

/// The sockets of the server of one container.
#[derive(Debug)]
pub struct Server {
    udp: UdpSocket,
    tcp: TcpListener,
}

/// A server could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The sandbox could not be entered.
    #[error("setns(CLONE_NEWNET)")]
    Enter(#[source] io::Error),
    /// A socket was refused.
    #[error("listen on {address} in the container")]
    Listen {
        /// Where.
        address: SocketAddrV4,
        /// Why not.
        source: io::Error,
    },
    /// The rules were refused.
    #[error("redirect of port 53 in the container")]
    Redirect(#[from] NetlinkError),
    /// The link to it.
    #[error("the link on which names are answered")]
    Link(#[source] NetlinkError),
}

impl Server {
    /// Opens the sockets in `sandbox`. Safe to repeat after a supervisor that was killed.
    ///
    /// # Errors
    ///
    /// [`BindError`], by step.
    pub fn bind(sandbox: &Sandbox, door: Door) -> Result<Self, BindError> {
        let visit = || match door {
            Door::Direct => Self::listen(SERVER, PORT),
            Door::Beside => {
                beside::make(sandbox).map_err(BindError::Link)?;
                Self::listen(beside::SERVER, PORT)
            }
            Door::Redirected => {
                let server = Self::listen(SERVER, 0)?;
                let address = |local: io::Result<SocketAddr>| match local {
                    Ok(SocketAddr::V4(address)) => address,
                    _ => SocketAddrV4::new(SERVER, PORT),
                };
                let (udp, tcp) =
                    (address(server.udp.local_addr()), address(server.tcp.local_addr()));
                RedirectTable::open()?.replace(SocketAddrV4::new(SERVER, PORT), udp, tcp)?;
                Ok(server)
            }
        };
        sys::namespace::within(sandbox.as_fd(), visit).map_err(BindError::Enter)?
    }

    fn listen(server: Ipv4Addr, port: u16) -> Result<Self, BindError> {
        let address = SocketAddrV4::new(server, port);
        let open = || {
            let udp = UdpSocket::bind(address)?;
            let tcp = TcpListener::bind(address)?;
            udp.set_nonblocking(true)?;
            tcp.set_nonblocking(true)?;
            Ok(Self { udp, tcp })
        };
        open().map_err(|source| BindError::Listen { address, source })
    }

    /// Answers questions from the newest `zone`, until it is dropped or the sender of zones is.
    ///
    /// # Errors
    ///
    /// When the sockets cannot be made known to the event loop.
    pub async fn run(
        self,
        zone: watch::Receiver<Zone>,
        upstreams: Arc<Upstreams>,
    ) -> io::Result<()> {
        let answering =
            Answering { zone, upstreams, questions: Arc::new(Semaphore::new(QUESTIONS)) };
        let udp = Arc::new(tokio::net::UdpSocket::from_std(self.udp)?);
        let tcp = tokio::net::TcpListener::from_std(self.tcp)?;
        let mut zone = answering.zone.clone();
        let closed = async { while zone.changed().await.is_ok() {} };
        tokio::select! {
            () = serve_udp(udp, answering.clone()) => {}
            () = serve_tcp(tcp, answering) => {}
            () = closed => {}
        }
        Ok(())
    }
}

/// What every question needs.
#[derive(Debug, Clone)]
struct Answering {
    zone: watch::Receiver<Zone>,
    upstreams: Arc<Upstreams>,
    questions: Arc<Semaphore>,
}

impl Answering {
    fn reply(&self, query: &[u8], transport: Transport) -> Reply {
        reply(query, &self.zone.borrow(), transport)
    }

    async fn forward(&self, query: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let Ok(_permit) = self.questions.try_acquire() else { return server_failure(query) };
        match self.upstreams.ask(query, transport).await {
            Some(answer) => Some(answer),
            None => server_failure(query),
        }
    }
}

async fn serve_udp(socket: Arc<tokio::net::UdpSocket>, answering: Answering) {
    let mut under_way = JoinSet::new();
    let mut buffer = vec![0; 4096];
    loop {
        while under_way.try_join_next().is_some() {}
        // An error is of an earlier answer whose asker has gone; the socket is as good as before.
        let Ok((length, asker)) = socket.recv_from(&mut buffer).await else { continue };
        let query = &buffer[..length];
        match answering.reply(query, Transport::Udp) {
            // An answer that does not fit into the asker's buffer is lost, and asked for again.
            Reply::Answer(answer) => drop(socket.try_send_to(&answer, asker)),
            Reply::Silence => {}
            Reply::Forward => {
                let (socket, answering, query) =
                    (Arc::clone(&socket), answering.clone(), query.to_vec());
                under_way.spawn(async move {
                    if let Some(answer) = answering.forward(&query, Transport::Udp).await {
                        let _ = socket.send_to(&answer, asker).await;
                    }
                });
            }
        }
    }
}

async fn serve_tcp(listener: tokio::net::TcpListener, answering: Answering) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() >= CONNECTIONS {
            connections.join_next().await;
        }
        match listener.accept().await {
            Ok((stream, _)) => drop(connections.spawn(converse(stream, answering.clone()))),
            Err(_) => tokio::time::sleep(OUT_OF_DESCRIPTORS_REST).await,
        }
    }
}

/// One question after the other, until the asker ends, is silent for too long, or makes no sense.
async fn converse(mut stream: tokio::net::TcpStream, answering: Answering) {
    while let Ok(Ok(query)) = timeout(IDLE, read_message(&mut stream)).await {
        let answer = match answering.reply(&query, Transport::Tcp) {
            Reply::Answer(answer) => Some(answer),
            Reply::Forward => answering.forward(&query, Transport::Tcp).await,
            Reply::Silence => None,
        };
        let Some(answer) = answer else { return };
        if !matches!(timeout(IDLE, write_message(&mut stream, &answer)).await, Ok(Ok(()))) {
            return;
        }
    }
}
