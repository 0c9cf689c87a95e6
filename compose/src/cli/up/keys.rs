//! The keys of an attached `up` on a terminal: `d` leaves everything running, `w` begins and ends the watch, Enter makes a gap
//! in the output.

use std::io::{self, IsTerminal, stdin};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

/// What a key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// Leave, and let everything run on.
    Detach,
    /// Begin the watch, or end it.
    Watch,
    /// An empty line.
    Gap,
}

/// The terminal giving each key at once, without showing it, until this is dropped. Ctrl-C and Ctrl-Z work as ever.
#[derive(Debug)]
pub struct Keys {
    before: Termios,
}

impl Keys {
    /// Begins to listen; `None` where nobody types.
    pub fn listen() -> Option<Self> {
        let typed_at = stdin().is_terminal() && io::stdout().is_terminal();
        if !typed_at || !is_in_front() {
            return None;
        }
        let before = tcgetattr(stdin()).ok()?;
        let mut keys = before.clone();
        keys.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        tcsetattr(stdin(), OptionalActions::Now, &keys).ok()?;
        Some(Self { before })
    }

    /// What has been typed; to be asked when standard input can be read. `None` at the end of input.
    pub fn take(&self) -> Option<Vec<Key>> {
        let mut buffer = [0; 64];
        let count = rustix::io::read(stdin(), &mut buffer).unwrap_or(0);
        (count > 0).then(|| buffer[..count].iter().copied().filter_map(key).collect())
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        // The terminal may be gone; then there is nothing to put back.
        let _ = tcsetattr(stdin(), OptionalActions::Now, &self.before);
    }
}

/// A process in the background that sets the terminal is stopped (SIGTTOU): it listens to no keys.
fn is_in_front() -> bool {
    rustix::termios::tcgetpgrp(stdin()).is_ok_and(|front| front == rustix::process::getpgrp())
}

const fn key(byte: u8) -> Option<Key> {
    match byte {
        b'd' => Some(Key::Detach),
        b'w' => Some(Key::Watch),
        b'\r' | b'\n' => Some(Key::Gap),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_mean_nothing_are_passed_over() {
        let keys: Vec<Key> = b"x\nwd".iter().copied().filter_map(key).collect();
        assert_eq!(keys, [Key::Gap, Key::Watch, Key::Detach]);
    }
}
