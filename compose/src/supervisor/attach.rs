//! The streams of a container over an upgraded connection: it carries input and output, and ends with the exit code.
//! That of `run` starts the container, and shows all that it says; that of `attach` joins one that runs.

use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use runtime::log::{Reader, Stream};
use rustix::io::Errno;
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::sync::watch;

use super::live::Live;
use super::readiness;
use super::start::{self, Occasion};
use super::{Supervisor, exit};
use crate::api::frame::{Frame, Size};
use crate::event::Failure;
use crate::model::Signal;
use crate::record::Phase;

/// Bytes taken from the connection at a time.
const CHUNK: usize = 16 << 10;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// It starts the container, whose input ends with that of the client.
    Start,
    /// It joins a container that runs, and leaves its input open.
    Join,
}

/// Serves the connection until the container has ended or the client has left.
pub async fn run(
    supervisor: &Rc<Supervisor>,
    id: &str,
    manner: Manner,
    connection: impl AsyncRead + AsyncWrite,
) {
    let (mut from_client, mut to_client) = split(connection);
    let Some(live) = supervisor.container(id) else {
        let failure =
            Failure { message: format!("no such container: {id:.12}"), ..Failure::default() };
        let _ = to_client.write_all(&Frame::Failed(failure).encode()).await;
        return;
    };
    let output = follow(supervisor, &live, manner, &mut to_client);
    let input = feed(supervisor, &live, manner, &mut from_client);
    tokio::select! {
        () = output => {}
        () = input => {}
    }
}

/// Starts the container, sends what it says, and at last how it ended.
async fn follow(
    supervisor: &Rc<Supervisor>,
    live: &Rc<Live>,
    manner: Manner,
    client: &mut (impl AsyncWrite + Unpin),
) {
    let mut changes = live.watch();
    let mut grown = live.grown.subscribe();
    let Ok(mut reader) = Reader::open(&live.paths.log()) else { return };
    if manner == Manner::Join {
        if let Err(message) = join(live, &mut reader) {
            let failure = Failure { message, ..Failure::default() };
            let _ = client.write_all(&Frame::Failed(failure).encode()).await;
            let _ = client.write_all(&Frame::Exit(1).encode()).await;
            return;
        }
    } else if let Err(error) = start::start(supervisor, live, Occasion::Request).await {
        let failure = Failure::new(&error);
        let _ = client.write_all(&Frame::Failed(failure).encode()).await;
        // Whoever has the exit code may look for the container: `run --rm` has removed it by then.
        exit::remove_if_asked(supervisor, live).await;
        let _ = client.write_all(&Frame::Exit(error.shell_code()).encode()).await;
        return;
    }
    loop {
        let ended = ended(live);
        if send_output(&mut reader, client).await.is_err() {
            return;
        }
        if let Some(code) = ended {
            exit::remove_if_asked(supervisor, live).await;
            let _ = client.write_all(&Frame::Exit(code).encode()).await;
            let _ = client.shutdown().await;
            return;
        }
        tokio::select! {
            changed = grown.changed() => if changed.is_err() { return },
            changed = changes.changed() => if changed.is_err() { return },
        }
    }
}

/// Passes over what has been said so far; refuses a container that does not run.
fn join(live: &Live, reader: &mut Reader) -> Result<(), String> {
    let name = &live.record().name;
    match live.state().phase {
        Phase::Running | Phase::Restarting => {}
        Phase::Paused => return Err(format!("container {name} is paused: unpause it first")),
        _ => return Err(format!("container {name} is not running")),
    }
    let passed = reader.since(jiff::Timestamp::now());
    passed.map_err(|error| format!("cannot read the log of container {name}: {error}"))
}

/// Its exit code, once all of its output is in the log.
fn ended(live: &Live) -> Option<i32> {
    let state = live.state();
    matches!(state.phase, Phase::Exited | Phase::Dead)
        .then(|| state.exit.map_or(255, |status| status.shell_code()))
}

async fn send_output(
    reader: &mut Reader,
    client: &mut (impl AsyncWrite + Unpin),
) -> std::io::Result<()> {
    while let Some((stream, bytes)) = reader.next_bytes()? {
        let frame = match stream {
            Stream::Stdout => Frame::Stdout(bytes),
            Stream::Stderr => Frame::Stderr(bytes),
        };
        client.write_all(&frame.encode()).await?;
    }
    client.flush().await
}

/// Obeys what the client sends, until it leaves.
async fn feed(
    supervisor: &Supervisor,
    live: &Rc<Live>,
    manner: Manner,
    client: &mut (impl AsyncRead + Unpin),
) {
    let mut pending = Vec::new();
    let mut changes = live.watch();
    let mut chunk = vec![0; CHUNK];
    loop {
        match Frame::decode(&mut pending) {
            Ok(Some(frame)) => {
                if running(live, &mut changes).await.is_none() {
                    return;
                }
                let is_end = matches!(&frame, Frame::Stdin(bytes) if bytes.is_empty());
                if !(is_end && manner == Manner::Join) {
                    obey(supervisor, live, frame).await;
                }
            }
            Ok(None) => match client.read(&mut chunk).await {
                Ok(0) | Err(_) => return,
                Ok(count) => pending.extend_from_slice(&chunk[..count]),
            },
            Err(error) => {
                tracing::warn!(container = live.record().name, %error, "attach");
                return;
            }
        }
    }
}

/// Waits until the container runs: input may come earlier.
async fn running(live: &Live, changes: &mut watch::Receiver<u64>) -> Option<()> {
    while live.state().phase == Phase::Created {
        changes.changed().await.ok()?;
    }
    Some(())
}

async fn obey(supervisor: &Supervisor, live: &Rc<Live>, frame: Frame) {
    match frame {
        Frame::Stdin(bytes) if bytes.is_empty() => close_input(supervisor, live),
        Frame::Stdin(bytes) => write_input(live, &bytes).await,
        Frame::Resize(size) => resize(live, size),
        Frame::Signal(number) => {
            if let Ok(signal) = number.to_string().parse::<Signal>()
                && let Err(error) = exit::send(live, signal)
            {
                tracing::warn!(container = live.record().name, %error, "signal");
            }
        }
        // Frames for the other direction.
        Frame::Stdout(_) | Frame::Stderr(_) | Frame::Exit(_) | Frame::Failed(_) => {}
    }
}

/// The end of input: the pipe is closed, here and in the keeper. A terminal has no end but the character that its
/// program takes for one.
fn close_input(supervisor: &Supervisor, live: &Live) {
    if live.descriptors.borrow_mut().input.take().is_none() {
        return;
    }
    if let Err(error) = start::hold(supervisor, live) {
        tracing::warn!(container = live.record().name, %error, "end of input");
    }
}

async fn write_input(live: &Live, mut bytes: &[u8]) {
    let writable = {
        let descriptors = live.descriptors.borrow();
        descriptors.writable(live.shape()).and_then(|input| input.try_clone().ok())
    };
    let Some(input) = writable.and_then(|input: OwnedFd| readiness::register(input).ok()) else {
        return;
    };
    while !bytes.is_empty() {
        let Ok(mut ready) = input.writable().await else { return };
        match rustix::io::write(input.get_ref().0.as_fd(), bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::AGAIN) => ready.clear_ready(),
            Err(_) => return,
        }
    }
}

fn resize(live: &Live, size: Size) {
    let descriptors = live.descriptors.borrow();
    let Some(terminal) = descriptors.output.as_ref().filter(|_| live.record().tty) else { return };
    let size = Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    if let Err(error) = tcsetwinsize(terminal, size) {
        tracing::debug!(container = live.record().name, %error, "resize");
    }
}
