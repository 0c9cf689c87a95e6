//! What keys do to the project: the requests that `restart`, `stop` and `start` make, in threads of their own, and a shell
//! by `exec`, which has the terminal meanwhile.

use std::io::Read;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::feed::{Post, told};
use super::state::{Message, Tone, Verb};
use crate::api::{
    RestartOptions, RestartRequest, StartOptions, StartRequest, StopOptions, StopRequest, path,
};
use crate::cli::context::{Context, Target};
use crate::cli::error::CommandError;
use crate::cli::session::Session;
use crate::cli::signals::Signals;
use crate::event::Event;
use crate::model::ServiceName;

/// Asks the supervisor in a thread of its own; what becomes of it is posted.
pub fn ask(verb: Verb, services: Vec<ServiceName>, context: &Context, target: &Target, post: Post) {
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
        let (named, parallel) = (services.clone(), context.parallel());
        let carried_out = match verb {
            Verb::Restart => {
                let options = RestartOptions {
                    services: named,
                    dependents: true,
                    timeout_seconds: None,
                    parallel,
                };
                let request = RestartRequest { project, options };
                session.carry_out_beside(path::RESTART, &request, &mut see)
            }
            Verb::Stop => {
                let options = StopOptions { services: named, timeout_seconds: None, parallel };
                let request = StopRequest { project, options };
                session.carry_out_beside(path::STOP, &request, &mut see)
            }
            Verb::Start => {
                let options = StartOptions { services: named, wait: None, parallel };
                let request = StartRequest { project, options };
                session.carry_out_beside(path::START, &request, &mut see)
            }
        };
        let names: Vec<&str> = services.iter().map(ServiceName::as_str).collect();
        let done = match verb {
            Verb::Restart => "restarted",
            Verb::Stop => "stopped",
            Verb::Start => "started",
        };
        let (tone, text) = match carried_out {
            Ok(_) => (Tone::Good, format!("{done} {}", names.join(", "))),
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
    // A process of its own: who joins a container has one thread, and signals of its own.
    // This very binary, even if another one has taken its place.
    let mut command = Command::new("/proc/self/exe");
    command.arg0("compose").args(["--project-name", target.name.as_str(), "exec", "--index"]);
    command.arg(number.to_string()).args([service.as_str(), "sh", "-c", SHELL]);
    let begun = command.stderr(Stdio::piped()).spawn();
    let cannot = |error: &dyn std::fmt::Display| {
        Ok(Some(Message::Note(Tone::Bad, format!("cannot run `compose exec`: {error}"))))
    };
    let mut child = match begun {
        Ok(child) => child,
        Err(error) => return cannot(&error),
    };
    let pidfd = match pidfd_open(Pid::from_child(&child), PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        Err(error) => return cannot(&error),
    };
    let mut leaving = false;
    loop {
        let mut polled = [PollFd::new(&pidfd, PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
        // After an interruption both are looked at again.
        let _ = rustix::event::poll(&mut polled, None);
        if !polled[0].revents().is_empty() {
            break;
        }
        while let Ok(Some(signal)) = signals.take() {
            // The size is seen by the child itself; Ctrl-C before the shell is there is for the child.
            if [libc::SIGTERM, libc::SIGHUP].contains(&signal) {
                leaving = true;
                let _ = rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::HUP);
            }
        }
    }
    let mut said = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        // What is no text is no message of ours.
        let _ = stderr.read_to_string(&mut said);
    }
    let ended = child.wait();
    if leaving {
        return Err(Leaving);
    }
    let code = ended.ok().and_then(|status| status.code());
    let said = said.trim();
    Ok(match code {
        Some(125..=127) if !said.is_empty() => {
            Some(Message::Note(Tone::Bad, told(&CommandError::failed(said))))
        }
        _ => None,
    })
}

/// A signal has asked this process to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaving;
