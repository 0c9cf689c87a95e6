//! What keys do to the project: the requests that `restart`, `stop` and `start` make, in threads of their own; `exec` and
//! `up`, which have the terminal meanwhile.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::feed::{Post, told};
use super::message::{Meant, Message, Tone, Verb};
use crate::api::{
    RestartOptions, RestartRequest, StartOptions, StartRequest, StopOptions, StopRequest, path,
};
use crate::cli::context::{Context, Target};
use crate::cli::error::CommandError;
use crate::cli::session::Session;
use crate::cli::signals::Signals;
use crate::cli::terminal::Terminal;
use crate::event::Event;
use crate::model::ServiceName;

/// Asks the supervisor in a thread of its own; what becomes of what is called `names` is posted.
pub fn ask(
    verb: Verb,
    meant: Meant,
    names: String,
    (context, target): (&Context, &Target),
    post: Post,
) {
    let (context, name) = (context.clone(), target.name.to_string());
    let project = target.project.clone();
    std::thread::spawn(move || {
        let session = Session::new(&context, &name);
        let mut see = |event: &Event| match event {
            Event::Step(step) => {
                let text = format!("{} {}", step.subject, step.status);
                post.say(Message::Note(Tone::Working, text));
            }
            Event::Warning { message } => post.say(Message::Note(Tone::Bad, message.clone())),
            _ => {}
        };
        let Meant { services, only } = meant;
        let (named, parallel) = (services.clone(), context.parallel());
        // What depends on the service has its other containers.
        let dependents = only.is_none();
        let only: Vec<String> = only.into_iter().collect();
        let carried_out = match verb {
            Verb::Restart => {
                let options = RestartOptions {
                    services: named,
                    only,
                    dependents,
                    timeout_seconds: None,
                    parallel,
                };
                let request = RestartRequest { project, options };
                session.carry_out_beside(path::RESTART, &request, &mut see)
            }
            Verb::Stop => {
                let options =
                    StopOptions { services: named, only, timeout_seconds: None, parallel };
                let request = StopRequest { project, options };
                session.carry_out_beside(path::STOP, &request, &mut see)
            }
            Verb::Start => {
                let options = StartOptions { services: named, only, wait: None, parallel };
                let request = StartRequest { project, options };
                session.carry_out_beside(path::START, &request, &mut see)
            }
        };
        let done = match verb {
            Verb::Restart => "restarted",
            Verb::Stop => "stopped",
            Verb::Start => "started",
        };
        let (tone, text) = match carried_out {
            Ok(_) => (Tone::Good, format!("{done} {names}")),
            Err(error) => (Tone::Bad, told(&error)),
        };
        post.say(Message::Over(services, tone, text));
    });
}

/// The shell that there is: bash before sh.
const SHELL: &str = "command -v bash > /dev/null && exec bash; exec sh";

/// Runs a shell in a container until it ends, as `compose exec` does; a message if it could not be begun.
///
/// # Errors
///
/// When a signal asks this process to leave meanwhile; the shell is then ended.
pub fn shell(
    service: &ServiceName,
    number: u32,
    target: &Target,
    signals: &Signals,
) -> Result<Option<Message>, Leaving> {
    let mut command = ourselves();
    command.args(["--project-name", target.name.as_str(), "exec", "--index"]);
    command.arg(number.to_string()).args([service.as_str(), "sh", "-c", SHELL]);
    // What the shell says comes over its own terminal: this is why there is none.
    command.stderr(Stdio::piped());
    Ok(match on_terminal(command, signals)? {
        Ok(Ended { code: Some(125..=127), said }) if !said.is_empty() => Some(bad(said)),
        Ok(_) => None,
        Err(error) => Some(bad(error)),
    })
}

/// Brings services up, all if none is named, as `compose up --detach` does with the files of this command; a message if
/// that failed. What it says about that is read before the view comes back.
///
/// # Errors
///
/// When a signal asks this process to leave meanwhile; `up` is then ended.
pub fn up(
    services: &[ServiceName],
    signals: &Signals,
    terminal: &mut Terminal,
) -> Result<Option<Message>, Leaving> {
    let words: Vec<OsString> = std::env::args_os().collect();
    let mut command = ourselves();
    // The last word is the name of this command, which has no words of its own; flags are before it.
    command.args(&words[1..words.len().saturating_sub(1).max(1)]).args(["up", "--detach"]);
    command.args(services.iter().map(ServiceName::as_str));
    match on_terminal(command, signals)? {
        Ok(Ended { code: Some(0), .. }) => Ok(None),
        Ok(_) => {
            terminal.ask("Enter comes back to the view");
            wait_for_line(signals)?;
            Ok(Some(bad("`compose up` failed".to_owned())))
        }
        Err(error) => Ok(Some(bad(error))),
    }
}

/// This very binary, even if another one has taken its place.
///
/// A process of its own has the terminal and its signals for itself, and the one thread that joins a container.
fn ourselves() -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("compose");
    command
}

fn bad(text: String) -> Message {
    Message::Note(Tone::Bad, told(&CommandError::failed(text)))
}

/// How a command of ours ended, and what it said if that was piped.
struct Ended {
    code: Option<i32>,
    said: String,
}

/// Waits for a command that has the terminal. The inner error says why it could not be begun.
fn on_terminal(mut command: Command, signals: &Signals) -> Result<Result<Ended, String>, Leaving> {
    let begun = command.spawn().and_then(|child| {
        let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
        Ok((child, pidfd))
    });
    let (mut child, pidfd) = match begun {
        Ok(begun) => begun,
        Err(error) => return Ok(Err(format!("cannot run compose: {error}"))),
    };
    let mut leaving = false;
    loop {
        let mut polled = [PollFd::new(&pidfd, PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
        // After an interruption both are looked at again.
        let _ = rustix::event::poll(&mut polled, None);
        if !polled[0].revents().is_empty() {
            break;
        }
        if asks_to_leave(signals) {
            leaving = true;
            // One that has ended in the meantime needs none.
            let _ = rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::HUP);
        }
    }
    let mut said = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        // What is no text is no message of ours.
        let _ = stderr.read_to_string(&mut said);
    }
    let code = child.wait().ok().and_then(|status| status.code());
    if leaving { Err(Leaving) } else { Ok(Ok(Ended { code, said: said.trim().to_owned() })) }
}

/// Whether one of the signals that have arrived is for this process: Ctrl-C is for the one that has the terminal, and that
/// sees its size by itself.
fn asks_to_leave(signals: &Signals) -> bool {
    let mut leaving = false;
    while let Ok(Some(signal)) = signals.take() {
        leaving |= [libc::SIGTERM, libc::SIGHUP].contains(&signal);
    }
    leaving
}

/// Waits until a line has been typed, or the terminal is gone.
fn wait_for_line(signals: &Signals) -> Result<(), Leaving> {
    loop {
        let input = rustix::stdio::stdin();
        let mut polled = [PollFd::new(&input, PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
        // After an interruption both are looked at again.
        let _ = rustix::event::poll(&mut polled, None);
        if !polled[0].revents().is_empty() {
            // Whatever it is, it is not for the view.
            let _ = rustix::io::read(input, &mut [0; 256]);
            return Ok(());
        }
        if asks_to_leave(signals) {
            return Err(Leaving);
        }
    }
}

/// A signal has asked this process to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaving;
