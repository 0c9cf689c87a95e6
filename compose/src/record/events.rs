//! What happened to the containers of a project, for those who ask later: `events --since`.
//!
//! One line of JSON for each event, appended by the supervisor. Two files of bounded size: when the newer one is full it
//! takes the place of the older one. Nothing is synced and nothing is decided by what is written here; the file goes with
//! the last container of the project.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::event::{ContainerEvent, Event};

/// Bytes after which another file is begun: some thousand events.
const FULL: u64 = 1 << 20;

/// Where events are appended.
#[derive(Debug)]
pub struct EventLog {
    path: PathBuf,
    file: Option<File>,
}

impl EventLog {
    /// The log at `path`; the file is made with the first event.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self { path, file: None }
    }

    /// Appends one event with one write(2).
    ///
    /// # Errors
    ///
    /// Those of the file system; the event is then in no file.
    pub fn append(&mut self, event: &Event) -> io::Result<()> {
        if let Some(file) = &self.file
            && file.metadata()?.len() >= FULL
        {
            fs::rename(&self.path, older(&self.path))?;
            self.file = None;
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let file = OpenOptions::new().append(true).create(true).open(&self.path)?;
                none.insert(file)
            }
        };
        file.write_all(&event.to_line())
    }
}

fn older(path: &Path) -> PathBuf {
    path.with_extension("old")
}

/// The events at `path`, oldest first. Lines that are none are passed over: the last one may be half written.
///
/// # Errors
///
/// Those of the file system; a file that is not there has no events.
pub fn read(path: &Path) -> io::Result<Vec<ContainerEvent>> {
    let mut events = Vec::new();
    for path in [older(path), path.to_owned()] {
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let lines = text.split(|byte| *byte == b'\n');
        events.extend(lines.filter_map(|line| match serde_json::from_slice(line) {
            Ok(Event::Container(event)) => Some(event),
            _ => None,
        }));
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Change;

    fn event(number: u32) -> Event {
        Event::Container(ContainerEvent {
            at: jiff::Timestamp::UNIX_EPOCH,
            id: "x".repeat(4000),
            name: "shop-web-1".to_owned(),
            service: "web".to_owned(),
            number,
            oneoff: false,
            change: Change::Created,
        })
    }

    #[test]
    fn what_was_appended_is_read_and_the_files_stay_small() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        assert_eq!(read(&path).unwrap(), []);
        let mut log = EventLog::new(path.clone());
        for number in 0..1000 {
            log.append(&event(number)).unwrap();
        }
        fs::write(&path, [fs::read(&path).unwrap(), b"{\"event\":\"cont".to_vec()].concat())
            .unwrap();
        let numbers: Vec<u32> = read(&path).unwrap().iter().map(|event| event.number).collect();
        assert_eq!(numbers.last(), Some(&999));
        assert!(numbers.len() < 1000 && numbers.len() > 250, "{}", numbers.len());
        assert!(numbers.is_sorted());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
