//! What of this terminal a command in a container gets.

use std::io::{IsTerminal, stdin, stdout};

/// The flags of `exec` and `run`.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct StreamArgs {
    /// Without a terminal (default: with one if standard input and output are one)
    #[arg(long, short = 'T', visible_alias = "no-TTY")]
    no_tty: bool,
    /// As without `--no-tty`
    #[arg(long, short, value_name = "WHETHER", num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set, hide = true)]
    tty: bool,
    /// Pass standard input on
    #[arg(long, short, value_name = "WHETHER", num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub interactive: bool,
}

impl StreamArgs {
    /// Whether the command is to have a terminal: one is wanted, and there is one to pass on.
    #[must_use]
    pub fn terminal(self) -> bool {
        self.tty && !self.no_tty && stdin().is_terminal() && stdout().is_terminal()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::args;

    #[test]
    fn a_terminal_is_wanted_unless_something_else_is_said() {
        let said = |words: &[&str]| {
            let StreamArgs { no_tty, tty, interactive } = args::<StreamArgs>(words);
            (tty && !no_tty, interactive)
        };
        assert_eq!(said(&[]), (true, true));
        assert_eq!(said(&["-it"]), (true, true));
        assert_eq!(said(&["-T"]), (false, true));
        assert_eq!(said(&["-T", "-t"]), (false, true));
        assert_eq!(said(&["-i=false", "--tty=false"]), (false, false));
    }
}
