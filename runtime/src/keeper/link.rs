//! The keeper's end of the socket: it never waits for the supervisor to read.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::client::LONGEST;
use super::message::{Reply, Request};

/// A connection to a supervisor, with the replies that it has not taken yet.
#[derive(Debug)]
pub(super) struct Link {
    socket: OwnedFd,
    waiting: VecDeque<(Vec<u8>, Vec<OwnedFd>)>,
}

impl Link {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self { socket, waiting: VecDeque::new() }
    }

    /// Whether replies wait for the supervisor to read.
    pub(super) fn is_behind(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Sends a reply, at once or when there is room for it.
    pub(super) fn send(&mut self, reply: &Reply, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let message = serde_json::to_vec(reply)?;
        let copies = || {
            descriptors.iter().map(BorrowedFd::try_clone_to_owned).collect::<io::Result<Vec<_>>>()
        };
        if self.is_behind() {
            self.waiting.push_back((message, copies()?));
            return Ok(());
        }
        match sys::fds::send(&self.socket, &message, descriptors) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.waiting.push_back((message, copies()?));
                Ok(())
            }
            answer => answer,
        }
    }

    /// Sends what waits, as far as there is room.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while let Some((message, descriptors)) = self.waiting.front() {
            let lent: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
            match sys::fds::send(&self.socket, message, &lent) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                answer => answer?,
            }
            self.waiting.pop_front();
        }
        // The room of a burst is given back.
        self.waiting.shrink_to_fit();
        Ok(())
    }

    /// Takes the next request, if there is one.
    pub(super) fn receive(&self) -> io::Result<Option<(Request, Vec<OwnedFd>)>> {
        let mut buffer = vec![0; LONGEST];
        match sys::fds::receive(&self.socket, &mut buffer) {
            Ok((length, descriptors)) => {
                Ok(Some((serde_json::from_slice(&buffer[..length])?, descriptors)))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
