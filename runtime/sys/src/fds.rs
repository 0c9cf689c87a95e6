//! Descriptors between processes: sent beside a message, inherited over exec, or sealed in memory.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

/// How many descriptors one message can carry (`SCM_MAX_FD` in the kernel).
pub const MAX_DESCRIPTORS: usize = 253;

/// Makes two ends of a connection that keeps messages whole and in order: unix(7), `SOCK_SEQPACKET`.
pub fn message_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

/// Sends one message with copies of `descriptors`, without blocking and without SIGPIPE.
///
/// # Errors
///
/// [`io::ErrorKind::WouldBlock`] when the other end has not read yet, [`io::ErrorKind::BrokenPipe`] when it is gone,
/// [`io::ErrorKind::InvalidInput`] for more than [`MAX_DESCRIPTORS`].
pub fn send(socket: impl AsFd, message: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    if descriptors.len() > MAX_DESCRIPTORS {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    rustix::io::retry_on_intr(|| {
        rustix::net::sendmsg(&socket, &[IoSlice::new(message)], &mut beside, flags)
    })?;
    Ok(())
}

/// Receives one message into `buffer`, without blocking: its length and its descriptors, which are close-on-exec.
///
/// # Errors
///
/// [`io::ErrorKind::UnexpectedEof`] when the other end is gone, [`io::ErrorKind::WouldBlock`] when there is no message,
/// [`io::ErrorKind::InvalidData`] when one was longer than `buffer` or carried more than [`MAX_DESCRIPTORS`].
pub fn receive(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let answer = rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(&socket, &mut [IoSliceMut::new(buffer)], &mut beside, flags)
    });
    let answer = match answer {
        Err(rustix::io::Errno::CONNRESET) => return Err(io::ErrorKind::UnexpectedEof.into()),
        answer => answer?,
    };
    let mut descriptors = Vec::new();
    for message in beside.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            descriptors.extend(received);
        }
    }
    if answer.flags.bits() & (libc::MSG_TRUNC | libc::MSG_CTRUNC).cast_unsigned() != 0 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    if answer.bytes == 0 && descriptors.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok((answer.bytes, descriptors))
}

/// Puts `content` into an anonymous file that nobody can change any more: memfd_create(2), `F_ADD_SEALS`.
pub fn sealed(name: &str, content: &[u8]) -> io::Result<OwnedFd> {
    let memory = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = File::from(memory);
    file.write_all(content)?;
    seal(&file)?;
    Ok(file.into())
}

/// Takes from everybody, the caller too, the right to write, grow or shrink the file.
pub fn seal(file: impl AsFd) -> io::Result<()> {
    Ok(rustix::fs::fcntl_add_seals(file, everything())?)
}

/// Reads the content of a file made by [`sealed`], whatever position others have left it at.
///
/// # Errors
///
/// [`io::ErrorKind::InvalidData`] when it is not sealed: the sender could change it while it is read.
pub fn read_sealed(memory: impl AsFd) -> io::Result<Vec<u8>> {
    if !rustix::fs::fcntl_get_seals(&memory)?.contains(everything()) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut content = Vec::new();
    let mut file = File::from(memory.as_fd().try_clone_to_owned()?);
    io::Seek::rewind(&mut file)?;
    file.read_to_end(&mut content)?;
    Ok(content)
}

fn everything() -> SealFlags {
    SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE
}

/// Marks every descriptor from `first` on as close-on-exec: close_range(2), `CLOSE_RANGE_CLOEXEC`, Linux 5.11.
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    // SAFETY: the call takes numbers, and marking a descriptor closes nothing that anybody uses.
    let answer =
        unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Takes the descriptor that the parent put at `number` before exec. Works once for each number.
///
/// # Errors
///
/// EBADF when there is none, or when it is one that this process opened itself.
pub fn inherited(number: i32) -> io::Result<OwnedFd> {
    // SAFETY: F_GETFD takes any number and changes nothing.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    // What this process has opened is close-on-exec, and so is what was taken here before; such descriptors have owners.
    if number <= libc::STDERR_FILENO || flags == -1 || flags & libc::FD_CLOEXEC != 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: the descriptor is open and survived an exec, so that it was put there by the parent, and no value of this
    // process stands for it: all those are close-on-exec, as this one is from the next line on.
    let inherited = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&inherited, rustix::io::FdFlags::CLOEXEC)?;
    Ok(inherited)
}

/// Says where a descriptor leads, for messages: the text of `/proc/self/fd/N`.
pub fn describe(descriptor: impl AsFd) -> String {
    let link = format!("/proc/self/fd/{}", descriptor.as_fd().as_raw_fd());
    std::fs::read_link(&link).map_or(link, |target| target.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_arrives_whole_with_its_descriptors() {
        let (near, far) = message_pair().unwrap();
        let memory = sealed("test", b"content").unwrap();
        send(&near, b"hello", &[memory.as_fd(), near.as_fd()]).unwrap();
        send(&near, b"again", &[]).unwrap();
        let mut buffer = [0; 64];
        let (length, descriptors) = receive(&far, &mut buffer).unwrap();
        assert_eq!((&buffer[..length], descriptors.len()), (&b"hello"[..], 2));
        assert_eq!(read_sealed(&descriptors[0]).unwrap(), b"content");
        assert_eq!(receive(&far, &mut buffer[..2]).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(receive(&far, &mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop((near, descriptors));
        assert_eq!(receive(&far, &mut buffer).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(send(&far, b"x", &[]).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_sealed_file_cannot_be_written() {
        let mut file = File::from(sealed("test", b"content").unwrap());
        assert!(file.write_all(b"x").is_err() && file.set_len(0).is_err());
        let open = rustix::fs::memfd_create("open", MemfdFlags::CLOEXEC).unwrap();
        assert!(read_sealed(&open).is_err());
    }

    #[test]
    fn what_we_opened_ourselves_is_not_inherited() {
        let file = File::open("/dev/null").unwrap();
        assert!(
            inherited(file.as_raw_fd()).is_err() && inherited(-1).is_err() && inherited(0).is_err()
        );
    }
}
