//! From the pipes of a container into its log.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use runtime::log::{Rotation, Stream, Writer};
use rustix::fs::FileType;
use tokio::sync::watch;
use tokio::task::{spawn_local, yield_now};
use tokio::time::sleep;

use super::live::{Descriptors, Live};
use super::{Supervisor, readiness, start};

/// How long a log that cannot be written rests before the next try.
const FULL_DISK_REST: Duration = Duration::from_secs(1);

/// The standard streams of a container whose terminal another runtime makes, and the socket on which it comes.
///
/// # Errors
///
/// Those of socketpair(2) and of opening `/dev/null`.
pub fn terminal_to_come() -> io::Result<([OwnedFd; 3], Descriptors)> {
    let (ours, theirs) = sys::fds::message_pair()?;
    let nothing = OwnedFd::from(File::options().read(true).write(true).open("/dev/null")?);
    let inside = [theirs, nothing.try_clone()?, nothing];
    Ok((inside, Descriptors { output: Some(ours), ..Descriptors::default() }))
}

/// Puts the terminal that has come in the place of the [socket](terminal_to_come), here and in the keeper.
pub fn take_terminal(supervisor: &Supervisor, live: &Live) {
    if !live.record().tty || live.start().foreign.is_none() {
        return;
    }
    let taken = || -> io::Result<()> {
        let mut descriptors = live.descriptors.borrow_mut();
        let Some(output) = descriptors.output.as_ref() else { return Ok(()) };
        let kind = FileType::from_raw_mode(rustix::fs::fstat(output)?.st_mode);
        if kind != FileType::Socket {
            return Ok(());
        }
        let (_, received) = sys::fds::receive(output, &mut [0; 64])?;
        let terminal = received.into_iter().next().ok_or(io::ErrorKind::NotFound)?;
        rustix::io::ioctl_fionbio(&terminal, true)?;
        descriptors.output = Some(terminal);
        Ok(())
    };
    let name = &live.record().name;
    if let Err(error) = taken() {
        tracing::error!(container = name, %error, "its terminal has not come");
    } else if let Err(error) = start::hold(supervisor, live) {
        tracing::error!(container = name, %error, "nobody holds its terminal");
    }
}

/// Begins to move what the container says into its log.
///
/// The bytes go from the pipe to the file inside of the kernel: a supervisor that is killed at any moment has taken
/// nothing out of the pipe that is not in the file.
pub fn begin(live: &Rc<Live>) {
    let limit = live.start().log;
    let rotation = Rotation { segment_bytes: limit.segment_bytes, segments: limit.segments };
    let writer = match Writer::open(&live.paths.log(), rotation) {
        Ok(writer) => Rc::new(RefCell::new(writer)),
        Err(error) => {
            tracing::error!(container = live.record().name, %error, "no log can be kept");
            return;
        }
    };
    let descriptors = live.descriptors.borrow();
    let streams = [(Stream::Stdout, &descriptors.output), (Stream::Stderr, &descriptors.errors)];
    let mut tasks = live.tasks.borrow_mut();
    for (stream, source) in streams {
        let Some(source) = source.as_ref().and_then(|source| source.try_clone().ok()) else {
            continue;
        };
        let (name, log) = (live.record().name.clone(), (Rc::clone(&writer), live.grown.clone()));
        tasks.pumps.push(spawn_local(pump(name, stream, source, log)));
    }
}

async fn pump(
    name: String,
    stream: Stream,
    source: OwnedFd,
    (writer, grown): (Rc<RefCell<Writer>>, watch::Sender<()>),
) {
    let source = match readiness::register(source) {
        Ok(source) => source,
        Err(error) => {
            tracing::error!(container = name, %error, "log");
            return;
        }
    };
    loop {
        let Ok(mut ready) = source.readable().await else { return };
        let pumped = writer.borrow_mut().pump(stream, ready.get_inner().0.as_fd());
        grown.send_replace(());
        match pumped {
            Ok(pumped) if pumped.closed => return,
            Ok(pumped) if pumped.bytes == 0 => ready.clear_ready(),
            // One bounded turn, then everybody else's.
            Ok(_) => yield_now().await,
            // A full disk may have room again: until then the container waits with what it says, and loses nothing.
            Err(error) => {
                tracing::error!(container = name, %error, "log");
                sleep(FULL_DISK_REST).await;
            }
        }
    }
}
