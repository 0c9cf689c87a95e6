//! Where archives come from, and a word now and then about how far they are.

use std::fs::File;
use std::io::{self, IsTerminal, Read, stdin};
use std::path::Path;
use std::time::{Duration, Instant};

use super::error::unreadable;
use crate::cli::error::CommandError;
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

/// A size as docker shows it: three digits, powers of ten (go-units, `HumanSize`).
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut unit = 0;
    let mut scale = 1u64;
    while bytes / scale >= 1000 && unit + 1 < UNITS.len() {
        scale *= 1000;
        unit += 1;
    }
    let (whole, fraction) = (bytes / scale, bytes % scale);
    let name = UNITS[unit];
    match whole {
        _ if unit == 0 => format!("{whole}{name}"),
        0..10 => format!("{whole}.{:02}{name}", fraction * 100 / scale),
        10..100 => format!("{whole}.{}{name}", fraction * 10 / scale),
        _ => format!("{whole}{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        #[rustfmt::skip]
        let table = [
            (0, "0B"), (999, "999B"), (1000, "1.00kB"), (12_345, "12.3kB"), (123_456, "123kB"), (1_460_000, "1.46MB"),
            (2_000_000_000, "2.00GB"), (u64::MAX, "18446PB"),
        ];
        for (bytes, text) in table {
            assert_eq!(size(bytes), text);
        }
    }
}
