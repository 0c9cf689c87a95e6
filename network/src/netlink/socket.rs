//! A netlink socket: batches with one acknowledgement, dumps, and errors in the kernel's words.

use std::io;
use std::os::fd::OwnedFd;

use rustix::net::sockopt::{set_socket_recv_buffer_size_force, set_socket_send_buffer_size_force};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::message::flag::{ACK, ACK_TLVS, DONE, DUMP, DUMP_INTERRUPTED, ERROR, REQUEST};
use super::message::{Answer, HEADER, Message, answers, attributes, u32_at};

/// A request that the kernel, or the road to it, refused.
///
/// Carries the request as one would type it, so that the report alone is enough to try it again by hand, and the
/// kernel's own explanation where it has one.
#[derive(Debug, thiserror::Error)]
#[error("`{request}`{}", explanation.as_ref().map(|text| format!(" ({text})")).unwrap_or_default())]
pub struct NetlinkError {
    request: String,
    explanation: Option<String>,
    source: io::Error,
}

impl NetlinkError {
    pub(crate) fn new(request: &str, source: io::Error) -> Self {
        Self { request: request.to_owned(), explanation: None, source }
    }

    /// Whether the thing to be changed or read is not there.
    pub(crate) fn is_missing(&self) -> bool {
        [Some(libc::ENODEV), Some(libc::ENOENT)].contains(&self.source.raw_os_error())
    }
}

/// `NLMSGERR_ATTR_MSG`.
const EXPLANATION: u16 = 1;
/// Room for a batch of some thousand rules; the default of 200 KiB ends in EMSGSIZE.
const BUFFER: usize = 8 << 20;

/// A netlink socket of the namespace in which it was opened.
#[derive(Debug)]
pub(crate) struct Socket {
    descriptor: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

/// A socket for links, addresses and routes.
#[derive(Debug)]
pub(crate) struct RouteSocket(pub(super) Socket);

/// A batch that nfnetlink carries out whole or not at all stands between two of these.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) begin: Message,
    pub(crate) end: Message,
}

impl Socket {
    /// Opens a socket in the namespace of the calling thread; it stays there.
    pub(crate) fn open(protocol: Option<rustix::net::Protocol>) -> Result<Self, NetlinkError> {
        let open = || {
            let (family, flags) = (AddressFamily::NETLINK, SocketFlags::CLOEXEC);
            let descriptor = rustix::net::socket_with(family, SocketType::RAW, flags, protocol)?;
            sys::netlink::explain_errors(&descriptor)?;
            // Without the privilege the defaults have to do: only large batches need more.
            let _ = set_socket_send_buffer_size_force(&descriptor, BUFFER);
            let _ = set_socket_recv_buffer_size_force(&descriptor, BUFFER);
            Ok(Self { descriptor, sequence: 0, buffer: vec![0; 64 << 10] })
        };
        open().map_err(|source| NetlinkError::new("socket(AF_NETLINK)", source))
    }

    /// Sends `messages` in one go and waits until the kernel has carried out the last.
    ///
    /// # Errors
    ///
    /// The first that was refused. rtnetlink has carried out the others all the same; within a `frame` none is.
    pub(crate) fn batch(
        &mut self,
        messages: &[Message],
        frame: Option<&Frame>,
    ) -> Result<(), NetlinkError> {
        let Some(last) = messages.len().checked_sub(1) else { return Ok(()) };
        let mut bytes = Vec::with_capacity((messages.len() + 2) * 256);
        if let Some(frame) = frame {
            bytes.extend(frame.begin.finish(self.sequence, REQUEST));
        }
        let before = self.sequence;
        for (index, message) in messages.iter().enumerate() {
            // Refusals are always answered, successes only where asked for; the kernel works in order.
            bytes.extend(
                message.finish(self.next(), if index == last { REQUEST | ACK } else { REQUEST }),
            );
        }
        if let Some(frame) = frame {
            bytes.extend(frame.end.finish(self.next(), REQUEST));
        }
        self.send(&bytes, messages[0].request())?;
        self.acknowledged(messages, before)
    }

    fn send(&mut self, bytes: &[u8], request: &str) -> Result<(), NetlinkError> {
        let sent = rustix::net::send(&self.descriptor, bytes, SendFlags::empty());
        sent.map(drop).map_err(|errno| NetlinkError::new(request, errno.into()))
    }

    fn next(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    /// Waits for the answer to the last of `messages`, whose numbers follow `before`.
    fn acknowledged(&mut self, messages: &[Message], before: u32) -> Result<(), NetlinkError> {
        let mut refusal: Option<NetlinkError> = None;
        loop {
            // All answers are there when send(2) returns. A batch that is refused as a whole has no last one.
            let waiting = if refusal.is_some() { RecvFlags::DONTWAIT } else { RecvFlags::empty() };
            let length = match self.receive(waiting) {
                Ok(length) => length,
                Err(errno) => {
                    let failed = || NetlinkError::new("recv(AF_NETLINK)", errno.into());
                    return Err(refusal.unwrap_or_else(failed));
                }
            };
            for answer in answers(&self.buffer[..length]).filter(|answer| answer.kind == ERROR) {
                let place = answer.sequence.wrapping_sub(before).wrapping_sub(1) as usize;
                if let Err((source, explanation)) = verdict(answer) {
                    let request = messages.get(place).unwrap_or(&messages[0]).request().to_owned();
                    refusal.get_or_insert(NetlinkError { request, explanation, source });
                }
                if place + 1 == messages.len() {
                    return refusal.map_or(Ok(()), Err);
                }
            }
        }
    }

    /// Reads the one thing that `message` asks for.
    pub(crate) fn get<T>(
        &mut self,
        message: &Message,
        read: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<T, NetlinkError> {
        let sequence = self.next();
        self.send(&message.finish(sequence, REQUEST), message.request())?;
        let failed = |source, explanation| NetlinkError {
            request: message.request().to_owned(),
            explanation,
            source,
        };
        loop {
            let length =
                self.receive(RecvFlags::empty()).map_err(|errno| failed(errno.into(), None))?;
            let answer = answers(&self.buffer[..length]).find(|answer| answer.sequence == sequence);
            if let Some(answer) = answer {
                if answer.kind == ERROR {
                    verdict(answer).map_err(|(source, why)| failed(source, why))?;
                }
                return read(answer.payload)
                    .ok_or_else(|| failed(io::ErrorKind::InvalidData.into(), None));
            }
        }
    }

    /// Collects what `each` makes of kind and payload of everything that the kernel has for `message`.
    ///
    /// A dump during which something changed is done again.
    pub(crate) fn dump<T>(
        &mut self,
        message: &Message,
        each: impl Fn(u16, &[u8]) -> Option<T>,
    ) -> Result<Vec<T>, NetlinkError> {
        loop {
            let sequence = self.next();
            self.send(&message.finish(sequence, REQUEST | DUMP), message.request())?;
            if let Some(found) = self.dumped(message, sequence, &each)? {
                return Ok(found);
            }
        }
    }

    fn dumped<T>(
        &mut self,
        message: &Message,
        sequence: u32,
        each: &impl Fn(u16, &[u8]) -> Option<T>,
    ) -> Result<Option<Vec<T>>, NetlinkError> {
        let mut found = Vec::new();
        let mut interrupted = false;
        let failed = |source, explanation| NetlinkError {
            request: message.request().to_owned(),
            explanation,
            source,
        };
        loop {
            let length =
                self.receive(RecvFlags::empty()).map_err(|errno| failed(errno.into(), None))?;
            for answer in
                answers(&self.buffer[..length]).filter(|answer| answer.sequence == sequence)
            {
                interrupted |= answer.flags & DUMP_INTERRUPTED != 0;
                match answer.kind {
                    DONE => return Ok((!interrupted).then_some(found)),
                    ERROR => verdict(answer).map_err(|(source, why)| failed(source, why))?,
                    kind => found.extend(each(kind, answer.payload)),
                }
            }
        }
    }

    fn receive(&mut self, flags: RecvFlags) -> rustix::io::Result<usize> {
        loop {
            match rustix::net::recv(&self.descriptor, self.buffer.as_mut_slice(), flags) {
                Err(rustix::io::Errno::INTR) => {}
                outcome => return outcome.map(|(length, _)| length),
            }
        }
    }
}

impl RouteSocket {
    /// Opens a socket in the namespace of the calling thread; it stays there.
    pub(crate) fn open() -> Result<Self, NetlinkError> {
        Socket::open(None).map(Self)
    }

    /// Sends `messages` in one go and waits until the kernel has carried out the last.
    pub(crate) fn batch(&mut self, messages: &[Message]) -> Result<(), NetlinkError> {
        self.0.batch(messages, None)
    }
}

/// What an `NLMSG_ERROR` says: all well, or the error with the kernel's explanation.
fn verdict(answer: Answer<'_>) -> Result<(), (io::Error, Option<String>)> {
    let code = u32_at(answer.payload, 0).unwrap_or(0).cast_signed();
    if code == 0 {
        return Ok(());
    }
    let explained = answer.flags & ACK_TLVS != 0;
    let details = answer.payload.get(4 + HEADER..).filter(|_| explained).unwrap_or_default();
    let explanation = attributes(details)
        .find(|(kind, _)| *kind == EXPLANATION)
        .map(|(_, text)| String::from_utf8_lossy(text).trim_end_matches('\0').to_owned());
    Err((io::Error::from_raw_os_error(-code), explanation))
}
