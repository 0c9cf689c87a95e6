//! Where archives come from, and a word now and then about how far they are.

use std::fs::File;
use std::io::{self, IsTerminal, Read, stdin};
use std::path::Path;
use std::time::{Duration, Instant};

use super::error::unreadable;
use crate::cli::error::CommandError;
use crate::cli::size::size;
use crate::cli::terminal::Terminal;

/// How long nothing is said.
const PATIENCE: Duration = Duration::from_secs(2);

/// Opens an archive; `-` is standard input.
pub(super) fn open(path: &Path) -> Result<Box<dyn Read + Send>, CommandError> {
    if path.as_os_str() != "-" {
        let file = File::open(path).map_err(|error| unreadable(path, &error))?;
        return Ok(Box::new(file));
    }
    if stdin().is_terminal() {
        return Err(CommandError::usage("standard input is a terminal, not an archive")
            .help("pipe the archive in, or give its path"));
    }
    Ok(Box::new(stdin()))
}

/// Says what has been read, every two seconds.
pub(super) struct Meter<'a> {
    source: Box<dyn Read + Send>,
    terminal: &'a mut Terminal,
    action: &'static str,
    read: u64,
    said: Instant,
}

impl<'a> Meter<'a> {
    pub(super) fn new(
        source: Box<dyn Read + Send>,
        action: &'static str,
        terminal: &'a mut Terminal,
    ) -> Self {
        Self { source, terminal, action, read: 0, said: Instant::now() }
    }
}

impl Read for Meter<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.read += count as u64;
        if self.said.elapsed() >= PATIENCE {
            self.terminal.note(&format!("{}: {} read", self.action, size(self.read)));
            self.said = Instant::now();
        }
        Ok(count)
    }
}
