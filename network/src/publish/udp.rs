//! Datagrams, relayed by one socket per client, so that the container's answers find their way back.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt,
    sockopt,
};
use rustix::io::Errno;
use rustix::net::SendFlags;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use super::serve::Target;
use crate::subnet::Family;

/// How long a client may be silent, and its container too, until it is forgotten; as docker-proxy has it.
const IDLE: Duration = Duration::from_secs(90);
/// How many clients a port remembers: beyond, the one that was silent longest is forgotten.
const CLIENTS: usize = 4096;
/// The largest datagram.
const DATAGRAM: usize = 64 << 10;

/// A bound socket that tells to which of the host's addresses a datagram came, and answers from there.
#[derive(Debug, Clone)]
pub(super) struct Listener(Arc<UdpSocket>);

/// A client, and the address of the host to which it talks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Client {
    address: SocketAddr,
    host: Option<HostAddress>,
}

/// An address of the host, as packet information has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum HostAddress {
    V4([u8; 4]),
    V6([u8; 16], u32),
}

/// What is kept per client.
#[derive(Debug)]
struct Session {
    /// In the network, connected to the container.
    socket: Arc<UdpSocket>,
    activity: Arc<Activity>,
    answers: AbortHandle,
}

/// When a client or its container last said something.
#[derive(Debug)]
struct Activity {
    start: Instant,
    last_ms: AtomicU64,
}

impl Activity {
    fn new() -> Self {
        Self { start: Instant::now(), last_ms: AtomicU64::new(0) }
    }

    fn touch(&self) {
        let passed = self.start.elapsed().as_millis();
        self.last_ms.store(u64::try_from(passed).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn last(&self) -> Instant {
        self.start + Duration::from_millis(self.last_ms.load(Ordering::Relaxed))
    }
}

impl Listener {
    pub(super) fn new(socket: OwnedFd) -> io::Result<Self> {
        let socket = std::net::UdpSocket::from(socket);
        if socket.local_addr()?.is_ipv4() {
            setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        } else {
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        }
        Ok(Self(Arc::new(UdpSocket::from_std(socket)?)))
    }

    async fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, Client)> {
        self.0.async_io(Interest::READABLE, || receive(&self.0, buffer)).await
    }

    async fn send(&self, datagram: &[u8], client: Client) -> io::Result<()> {
        self.0.async_io(Interest::WRITABLE, || send(&self.0, datagram, client)).await
    }
}

fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<(usize, Client)> {
    let mut control = nix::cmsg_space!(libc::in6_pktinfo);
    let mut parts = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_DONTWAIT;
    let message =
        recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags)?;
    let host = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::Ipv4PacketInfo(info) => {
            Some(HostAddress::V4(info.ipi_spec_dst.s_addr.to_ne_bytes()))
        }
        ControlMessageOwned::Ipv6PacketInfo(info) => {
            Some(HostAddress::V6(info.ipi6_addr.s6_addr, info.ipi6_ifindex))
        }
        _ => None,
    });
    let address = message.address.as_ref().and_then(peer).ok_or(io::ErrorKind::InvalidData)?;
    Ok((message.bytes, Client { address, host }))
}

fn peer(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|address| SocketAddr::V4(SocketAddrV4::from(*address)));
    v4.or_else(|| {
        address.as_sockaddr_in6().map(|address| SocketAddr::V6(SocketAddrV6::from(*address)))
    })
}

fn send(socket: &UdpSocket, datagram: &[u8], client: Client) -> io::Result<()> {
    let (v4, v6);
    let control = match client.host {
        Some(HostAddress::V4(octets)) => {
            let spec = libc::in_addr { s_addr: u32::from_ne_bytes(octets) };
            v4 = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: spec,
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            Some(ControlMessage::Ipv4PacketInfo(&v4))
        }
        Some(HostAddress::V6(octets, interface)) => {
            v6 = libc::in6_pktinfo {
                ipi6_addr: libc::in6_addr { s6_addr: octets },
                ipi6_ifindex: interface,
            };
            Some(ControlMessage::Ipv6PacketInfo(&v6))
        }
        None => None,
    };
    let to = SockaddrStorage::from(client.address);
    let (parts, flags) = ([IoSlice::new(datagram)], MsgFlags::MSG_DONTWAIT);
    sendmsg(socket.as_raw_fd(), &parts, control.as_slice(), flags, Some(&to))?;
    Ok(())
}

/// Relays datagrams to `port` of the target. With another target all clients start anew.
pub(super) async fn serve(
    listener: Listener,
    mut targets: watch::Receiver<Option<Target>>,
    port: u16,
) {
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let target = targets.borrow_and_update().clone();
        let mut sessions = Sessions::new(listener.clone(), target, port);
        loop {
            tokio::select! {
                // Cancel-safe: a datagram that was not returned was not taken.
                received = listener.receive(&mut buffer) => match received {
                    Ok((length, client)) => sessions.forward(client, &buffer[..length]),
                    // An earlier answer could not be delivered; the socket is as good as before.
                    Err(error) => tracing::debug!(%error, "receive on a published port"),
                },
                changed = targets.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
            }
        }
    }
}

/// The clients of one listener, for one target. Dropping it forgets them.
struct Sessions {
    listener: Listener,
    target: Option<Target>,
    port: u16,
    clients: HashMap<Client, Session>,
    /// One for each client; ends with the client that has gone silent.
    answers: JoinSet<Client>,
}

impl Sessions {
    fn new(listener: Listener, target: Option<Target>, port: u16) -> Self {
        Self { listener, target, port, clients: HashMap::new(), answers: JoinSet::new() }
    }

    /// Carries a datagram to the container. What cannot be carried is lost, as datagrams are.
    fn forward(&mut self, client: Client, datagram: &[u8]) {
        self.forget_silent();
        let Some(session) = self.session(client) else { return };
        session.activity.touch();
        // Past the event loop, which does not know yet that a new socket is writable. Refused means that nothing
        // listens in the container, which an earlier datagram found out: once more.
        let send = || rustix::net::send(&session.socket, datagram, SendFlags::DONTWAIT);
        if send() == Err(Errno::CONNREFUSED) {
            let _ = send();
        }
    }

    fn forget_silent(&mut self) {
        while let Some(ended) = self.answers.try_join_next() {
            // A task that was aborted has been forgotten already.
            if let Ok(client) = ended {
                self.clients.remove(&client);
            }
        }
    }

    fn session(&mut self, client: Client) -> Option<&Session> {
        if !self.clients.contains_key(&client) {
            if self.clients.len() >= CLIENTS {
                self.evict();
            }
            let opened = self.open(client);
            let session =
                opened.inspect_err(|error| tracing::debug!(%error, "relay datagrams")).ok()??;
            self.clients.insert(client, session);
        }
        self.clients.get(&client)
    }

    fn open(&mut self, client: Client) -> io::Result<Option<Session>> {
        let Some(target) = &self.target else { return Ok(None) };
        let mut members = target.members(Family::of(client.address.ip()), self.port);
        let Some(member) = members.next() else { return Ok(None) };
        let any: IpAddr = match member {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = target.socket(|| {
            let socket = std::net::UdpSocket::bind((any, 0))?;
            socket.connect(member)?;
            Ok(socket)
        })?;
        socket.set_nonblocking(true)?;
        let socket = Arc::new(UdpSocket::from_std(socket)?);
        let activity = Arc::new(Activity::new());
        let task =
            answer(Arc::clone(&socket), self.listener.clone(), client, Arc::clone(&activity));
        Ok(Some(Session { socket, activity, answers: self.answers.spawn(task) }))
    }

    /// Forgets the client that was silent longest.
    fn evict(&mut self) {
        let oldest = self.clients.iter().min_by_key(|(_, session)| session.activity.last());
        if let Some(client) = oldest.map(|(client, _)| *client)
            && let Some(session) = self.clients.remove(&client)
        {
            session.answers.abort();
        }
    }
}

/// Carries the container's datagrams to the client, until both are silent.
async fn answer(
    socket: Arc<UdpSocket>,
    listener: Listener,
    client: Client,
    activity: Arc<Activity>,
) -> Client {
    loop {
        let patience = activity.last() + IDLE;
        match tokio::time::timeout_at(patience, socket.readable()).await {
            Ok(_) => {}
            Err(_) if activity.last() + IDLE > patience => continue,
            Err(_) => return client,
        }
        if let Some(datagram) = take(&socket) {
            activity.touch();
            if let Err(error) = listener.send(&datagram, client).await {
                tracing::debug!(%error, "answer on a published port");
            }
        }
    }
}

/// Takes a datagram by way of a buffer that all sessions of the thread share: a thousand clients are no 64 MB.
fn take(socket: &UdpSocket) -> Option<Vec<u8>> {
    thread_local! {
        static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; DATAGRAM]);
    }
    BUFFER.with_borrow_mut(|buffer| {
        let length = socket.try_recv(buffer).ok()?;
        Some(buffer[..length].to_vec())
    })
}
