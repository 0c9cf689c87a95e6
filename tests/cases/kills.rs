//! SIGKILL at 50 random moments: what should live lives, what was said is kept, how things ended is known, and the next
//! command finishes the work.
//!
//! | killed | while | moments |
//! |---|---|---|
//! | supervisor, keeper, both at once | everything runs | 12, 10, 6 |
//! | command, supervisor, keeper | `up` works | 5, 4, 4 |
//! | command, supervisor, keeper | `down` works | 3, 3, 3 |

mod moments;
mod stack;

use std::error::Error;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use scenarios::{Stage, Verdict, eventually, world};

use crate::Scenario;
pub(super) use moments::Moments;
pub(super) use stack::port_answers;
use stack::{BOUND, Lives};

pub(super) fn all() -> Vec<Scenario> {
    vec![
        Scenario::plain("a_killed_supervisor_costs_nothing", supervisor),
        Scenario::plain("a_killed_keeper_costs_nothing", keeper),
        Scenario::plain(
            "supervisor_and_keeper_killed_at_once_are_replaced_by_the_next_command",
            both,
        ),
        Scenario::plain("up_survives_kills_at_any_moment", up),
        Scenario::plain("down_survives_kills_at_any_moment", down),
    ]
}

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    /// The process of the command line.
    Command,
    Supervisor,
    Keeper,
    /// Supervisor and keeper.
    Both,
}

impl Victim {
    /// What processes of ours are called: the second of their words.
    const fn kinds(self) -> &'static [&'static str] {
        match self {
            Self::Command => &[],
            Self::Supervisor => &["supervisor"],
            Self::Keeper => &["keeper"],
            Self::Both => &["keeper", "supervisor"],
        }
    }
}

/// How long after `short` and `restless` were started the random moments lie: they end within.
const RUNNING: Duration = Duration::from_millis(500);

fn supervisor(stage: &Stage) -> Verdict {
    killed_while_running(stage, Victim::Supervisor, 12)
}

fn keeper(stage: &Stage) -> Verdict {
    killed_while_running(stage, Victim::Keeper, 10)
}

fn both(stage: &Stage) -> Verdict {
    killed_while_running(stage, Victim::Both, 6)
}

fn killed_while_running(stage: &Stage, victim: Victim, times: usize) -> Verdict {
    stage.file("compose.yaml", stack::FILE)?;
    stage.compose(["up", "--detach"]).success()?;
    let lives = stack::lives(stage)?;
    let mut moments = Moments::new();
    for turn in 1..=times {
        stage.compose(["start", "short"]).success()?;
        let moment = moments.within(RUNNING);
        thread::sleep(moment);
        strike(stage, victim)?;
        intact(stage, victim, &lives)
            .map_err(|error| told(&moments, victim, turn, moment, &*error))?;
    }
    stack::goes_without_trace(stage)
}

/// What has to be true after a kill while everything ran.
///
/// Nobody holds the pipes when both are killed: what talks may end, and is started again by the next command.
fn intact(stage: &Stage, victim: Victim, lives: &Lives) -> Verdict {
    if victim == Victim::Both {
        stack::converges(stage)?;
        same(&quiet(stack::lives(stage)?), &quiet(lives.clone()))?;
    } else {
        let before = [stack::lines(stage, "counter")?, stack::lines(stage, "reaped")?];
        same(&stack::lives(stage)?, lives)?;
        eventually(BOUND, || {
            let now = [stack::lines(stage, "counter")?, stack::lines(stage, "reaped")?];
            if now[0] > before[0] && now[1] > before[1] {
                return Ok(());
            }
            Err(format!("{before:?} lines, and no more: {now:?}").into())
        })?;
    }
    let ended = eventually(BOUND, || match stage.field("short", "State")?.as_str() {
        "exited" => Ok(stage.field("short", "ExitCode")?),
        other => Err(format!("short is {other}").into()),
    })?;
    if ended != "7" {
        return Err(format!("short ended with {ended}").into());
    }
    stack::port_answers()?;
    stack::names_answer(stage)?;
    eventually(BOUND, || stack::restless_goes_on(stage))?;
    if victim != Victim::Both {
        stack::no_word_is_lost(stage)?;
    }
    stack::converges(stage)?;
    same(&quiet(stack::lives(stage)?), &quiet(lives.clone()))
}

/// Those who say nothing.
fn quiet(mut lives: Lives) -> Lives {
    lives.retain(|service, _| !["counter", "reaped"].contains(&service.as_str()));
    lives
}

fn up(stage: &Stage) -> Verdict {
    stage.file("compose.yaml", stack::FILE)?;
    let began = Instant::now();
    stage.compose(["up", "--detach"]).success()?;
    let span = began.elapsed();
    stack::goes_without_trace(stage)?;
    let mut moments = Moments::new();
    for (victim, times) in [(Victim::Command, 5), (Victim::Supervisor, 4), (Victim::Keeper, 4)] {
        for turn in 1..=times {
            let moment = moments.within(span);
            let round = || -> Verdict {
                cut_off(stage, &["up", "--detach"], victim, moment)?;
                stack::converges(stage)?;
                stack::port_answers()?;
                stack::names_answer(stage)?;
                stack::lines(stage, "counter")?;
                stack::goes_without_trace(stage)
            };
            round().map_err(|error| told(&moments, victim, turn, moment, &*error))?;
        }
    }
    Ok(())
}

fn down(stage: &Stage) -> Verdict {
    stage.file("compose.yaml", stack::FILE)?;
    stage.compose(["up", "--detach"]).success()?;
    let began = Instant::now();
    stack::goes_without_trace(stage)?;
    let span = began.elapsed();
    let mut moments = Moments::new();
    for (victim, times) in [(Victim::Command, 3), (Victim::Supervisor, 3), (Victim::Keeper, 3)] {
        for turn in 1..=times {
            let moment = moments.within(span);
            let round = || -> Verdict {
                stage.compose(["up", "--detach"]).success()?;
                cut_off(stage, &["down", "--volumes", "--timeout", "2"], victim, moment)?;
                stack::goes_without_trace(stage)
            };
            round().map_err(|error| told(&moments, victim, turn, moment, &*error))?;
        }
    }
    Ok(())
}

/// Runs a command, kills `victim` after `moment`, and waits for the end of the command, however it ends.
fn cut_off(stage: &Stage, words: &[&str], victim: Victim, moment: Duration) -> Verdict {
    let running = stage.start(stage.compose_command(words))?;
    thread::sleep(moment);
    if victim == Victim::Command {
        // It may have ended already.
        let _gone = running.signal(Signal::SIGKILL);
    } else {
        strike(stage, victim)?;
    }
    let run = running.finish(BOUND)?;
    if run.timed_out {
        return Err(format!("`{}` hangs\n{}", run.line, run.stderr).into());
    }
    Ok(())
}

/// Kills the supervisor of the project.
pub(super) fn kill_supervisor(stage: &Stage) -> Verdict {
    strike(stage, Victim::Supervisor)
}

/// Kills, as far as they are there, the processes that `victim` means.
fn strike(stage: &Stage, victim: Victim) -> Verdict {
    let mut all = world::processes(&stage.project, &stage.roots);
    // The reapers in the containers are children of the keeper, and have its words.
    all.retain(|(pid, _)| stack::is_of_host(*pid));
    for kind in victim.kinds() {
        for (pid, _) in all.iter().filter(|(_, words)| words.split(' ').nth(1) == Some(kind)) {
            match kill(Pid::from_raw(*pid), Signal::SIGKILL) {
                Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

fn same(now: &Lives, before: &Lives) -> Verdict {
    if now == before {
        return Ok(());
    }
    Err(format!("other processes live: {now:?}, and before: {before:?}").into())
}

/// An error with all that it takes to repeat it.
fn told(
    moments: &Moments,
    victim: Victim,
    turn: usize,
    moment: Duration,
    error: &dyn Error,
) -> Box<dyn Error> {
    let seed = moments.seed;
    format!("TEST_SEED={seed}, {victim:?} killed for the {turn}. time, after {moment:?}:\n{error}")
        .into()
}
