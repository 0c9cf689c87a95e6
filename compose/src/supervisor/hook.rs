//! `post_start` and `pre_stop`: commands that run inside a container around its life.

use std::rc::Rc;

use super::Supervisor;
use super::command::{self, Command, CommandError};
use super::live::Live;
use crate::model::Hook;

/// Why a hook failed.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// It did not run.
    #[error("`{words}` could not be run")]
    Run {
        /// The command.
        words: String,
        /// Why.
        source: CommandError,
    },
    /// It ran and said no.
    #[error("`{words}` exited with status {code}: {output}")]
    Failed {
        /// The command.
        words: String,
        /// Exit code, or 128 + n for signal n.
        code: i32,
        /// The end of what it said.
        output: String,
    },
}

/// Runs the `post_start` commands of a container that has just been started, in order.
///
/// # Errors
///
/// The first failure.
pub async fn post_start(supervisor: &Rc<Supervisor>, live: &Live) -> Result<(), HookError> {
    run_all(supervisor, live, &live.start().post_start).await
}

/// Runs the `pre_stop` commands of a running container, in order.
///
/// # Errors
///
/// The first failure; but a container that has gone meanwhile needs no command.
pub async fn pre_stop(supervisor: &Rc<Supervisor>, live: &Live) -> Result<(), HookError> {
    match run_all(supervisor, live, &live.start().pre_stop).await {
        Err(_) if !live.is_running() => Ok(()),
        ran => ran,
    }
}

/// Runs commands in a running container, in order.
///
/// # Errors
///
/// The first failure.
pub async fn run_all(
    supervisor: &Rc<Supervisor>,
    live: &Live,
    hooks: &[Hook],
) -> Result<(), HookError> {
    for hook in hooks {
        let Hook { command, user, privileged, working_dir, environment } = hook;
        let words = command.join(" ");
        let wanted = Command {
            args: command.clone(),
            environment: environment.clone().into_iter().collect(),
            user: user.clone(),
            working_dir: working_dir.clone(),
            privileged: *privileged,
        };
        let outcome = command::run(supervisor, live, &wanted, None).await;
        let outcome = outcome.map_err(|source| HookError::Run { words: words.clone(), source })?;
        match outcome.status {
            Some(status) if status.success() => {}
            status => {
                let code = status.map_or(255, |status| status.shell_code());
                let output = outcome.output.trim_end().to_owned();
                return Err(HookError::Failed { words, code, output });
            }
        }
    }
    Ok(())
}
