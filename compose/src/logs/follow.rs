//! Log files of containers as one stream, and waiting for more of it.

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use runtime::log::{Line, Reader, Stream};

use super::changes::Changes;
use super::merge::{Merge, Source, Timed};
use super::paint::Painter;
use crate::watch::source::WatchError;

/// Which lines of a container are wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wanted {
    /// So many from the end; none: all.
    pub tail: Option<usize>,
    /// None before.
    pub since: Option<Timestamp>,
    /// None after.
    pub until: Option<Timestamp>,
}

/// The log of a container cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// It cannot be read.
    #[error("cannot read the log in {}", path.display())]
    Read {
        /// Where it lies.
        path: PathBuf,
        /// The kernel's words.
        source: std::io::Error,
    },
    /// Nobody tells when it grows.
    #[error(transparent)]
    Follow(#[from] WatchError),
}

/// What comes after the lines that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// Nothing.
    Leave,
    /// More of them: [`Follower::changes`] tells when.
    Wait,
}

/// Log lines of several containers, merged and with their names before them.
#[derive(Debug)]
pub struct Follower {
    merge: Merge<Tap>,
    painter: Painter,
    after: After,
    changes: Changes,
    shown: Vec<Shown>,
}

#[derive(Debug)]
struct Tap {
    reader: Reader,
    path: PathBuf,
    wanted: Wanted,
    over: bool,
}

#[derive(Debug)]
struct Shown {
    id: String,
    name: String,
    folder: PathBuf,
}

/// Bytes that are handed on at a time at most, unless one line is longer.
const BATCH: usize = 64 * 1024;

impl Follower {
    /// A follower of nothing yet.
    #[must_use]
    pub fn new(painter: Painter, after: After) -> Self {
        Self {
            merge: Merge::default(),
            painter,
            after,
            changes: Changes::default(),
            shown: Vec::new(),
        }
    }

    /// Adds the container `id`, whose log lies in `folder`, under the name `name`.
    ///
    /// # Errors
    ///
    /// When its log cannot be read.
    pub fn add(
        &mut self,
        id: &str,
        name: &str,
        folder: &Path,
        wanted: Wanted,
    ) -> Result<(), LogError> {
        let failed = |source| LogError::Read { path: folder.to_owned(), source };
        let mut reader = Reader::open(folder).map_err(failed)?;
        if self.after == After::Wait {
            self.changes.follow(folder)?;
        }
        if let Some(since) = wanted.since {
            reader.since(since).map_err(failed)?;
        }
        if let Some(count) = wanted.tail {
            reader.tail(count).map_err(failed)?;
        }
        self.painter.add(name);
        let (id, name) = (id.to_owned(), name.to_owned());
        self.shown.push(Shown { id, name, folder: folder.to_owned() });
        self.merge.add(Tap { reader, path: folder.to_owned(), wanted, over: false })?;
        Ok(())
    }

    /// Whether the container `id` has been added.
    #[must_use]
    pub fn has(&self, id: &str) -> bool {
        self.shown.iter().any(|shown| shown.id == id)
    }

    /// Waits no longer for lines of the container `id`; what it has said still comes.
    pub fn forget(&mut self, id: &str) {
        for shown in self.shown.iter().filter(|shown| shown.id == id) {
            self.changes.forget(&shown.folder);
        }
    }

    /// What poll(2) can wait for: one of them is readable when there may be more lines.
    pub fn changes(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.changes.descriptors()
    }

    /// Hands all lines that are there to `sink`, in batches for one stream each. Never waits.
    ///
    /// # Errors
    ///
    /// When a log cannot be read, or the sink's own.
    pub fn drain<E: From<LogError>>(
        &mut self,
        mut sink: impl FnMut(Stream, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.refill()?;
        let (mut batch, mut of) = (Vec::new(), Stream::Stdout);
        while let Some((index, line)) = self.merge.next_line()? {
            if (line.stream != of || batch.len() >= BATCH) && !batch.is_empty() {
                sink(of, &batch)?;
                batch.clear();
            }
            of = line.stream;
            self.painter.paint(index, line.at, &line.bytes, &mut batch);
        }
        if batch.is_empty() { Ok(()) } else { sink(of, &batch) }
    }

    /// Hands lines that are there to `sink`, each with the name of its container, until they are `bound` bytes long.
    /// Returns whether there may be more. Never waits.
    ///
    /// # Errors
    ///
    /// When a log cannot be read.
    pub fn take(
        &mut self,
        bound: usize,
        mut sink: impl FnMut(&str, Line),
    ) -> Result<bool, LogError> {
        self.refill()?;
        let mut taken = 0;
        while taken < bound {
            let Some((index, line)) = self.merge.next_line()? else { return Ok(false) };
            taken += line.bytes.len() + 1;
            sink(self.shown.get(index).map_or("", |shown| &shown.name), line);
        }
        Ok(true)
    }

    fn refill(&mut self) -> Result<(), LogError> {
        self.changes.take();
        (0..self.shown.len()).try_for_each(|index| self.merge.refill(index))
    }
}

impl Timed for Line {
    fn at(&self) -> Timestamp {
        self.at
    }
}

impl Source for Tap {
    type Line = Line;
    type Error = LogError;

    fn next_line(&mut self) -> Result<Option<Line>, LogError> {
        while !self.over {
            let line = self.reader.next_line();
            let line = line.map_err(|source| LogError::Read { path: self.path.clone(), source })?;
            let Some(line) = line else { return Ok(None) };
            if self.wanted.until.is_some_and(|until| line.at > until) {
                self.over = true;
            } else if self.wanted.since.is_none_or(|since| line.at >= since) {
                return Ok(Some(line));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::paint::Look;
    use runtime::log::{Rotation, Writer};
    use rustix::pipe::{PipeFlags, pipe_with};
    use std::os::fd::AsFd as _;

    /// Writes `text` into the log in `folder` as the supervisor would.
    fn say(folder: &Path, stream: Stream, text: &str) {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap();
        rustix::io::write(&write, text.as_bytes()).unwrap();
        let mut writer = Writer::open(folder, Rotation::default()).unwrap();
        writer.pump(stream, read.as_fd()).unwrap();
    }

    fn painter() -> Painter {
        Painter::new(Look { prefix: true, colour: false, timestamps: false })
    }

    fn drained(follower: &mut Follower) -> Vec<(Stream, String)> {
        let mut batches = Vec::new();
        follower
            .drain(|stream, text| {
                batches.push((stream, String::from_utf8(text.to_vec()).unwrap()));
                Ok::<(), LogError>(())
            })
            .unwrap();
        batches
    }

    #[test]
    fn merges_what_is_there_and_what_comes() {
        let (web, db) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        say(web.path(), Stream::Stdout, "w1\n");
        say(db.path(), Stream::Stdout, "d1\n");
        say(web.path(), Stream::Stderr, "w2\n");
        let mut follower = Follower::new(painter(), After::Wait);
        follower.add("web", "web-1", web.path(), Wanted::default()).unwrap();
        follower.add("db", "db-1", db.path(), Wanted::default()).unwrap();
        assert_eq!(
            drained(&mut follower),
            [
                (Stream::Stdout, "web-1  | w1\ndb-1   | d1\n".to_owned()),
                (Stream::Stderr, "web-1  | w2\n".to_owned())
            ]
        );
        assert_eq!(drained(&mut follower), []);

        say(db.path(), Stream::Stdout, "d2\n");
        let mut changes: Vec<_> = follower
            .changes()
            .map(|change| {
                rustix::event::PollFd::from_borrowed_fd(change, rustix::event::PollFlags::IN)
            })
            .collect();
        assert_eq!(rustix::event::poll(&mut changes, None), Ok(1), "the log of db has changed");
        assert_eq!(drained(&mut follower), [(Stream::Stdout, "db-1   | d2\n".to_owned())]);

        follower.forget("db");
        assert!(follower.has("db"));
    }

    #[test]
    fn lines_are_handed_out_up_to_a_bound() {
        let folder = tempfile::tempdir().unwrap();
        say(folder.path(), Stream::Stdout, "one\ntwo\nthree\n");
        let mut follower = Follower::new(painter(), After::Wait);
        follower.add("web", "web-1", folder.path(), Wanted::default()).unwrap();
        let mut lines = Vec::new();
        let mut take = |bound| {
            let sink = |name: &str, line: Line| lines.push((name.to_owned(), line.bytes));
            follower.take(bound, sink).unwrap()
        };
        assert!(take(5), "there is a third line");
        assert!(!take(100));
        let expected = ["one", "two", "three"];
        let expected: Vec<_> =
            expected.map(|line| ("web-1".to_owned(), line.as_bytes().to_vec())).into();
        assert_eq!(lines, expected);
    }

    #[test]
    fn shows_only_what_is_wanted() {
        let folder = tempfile::tempdir().unwrap();
        say(folder.path(), Stream::Stdout, "1\n2\n");
        let between = Timestamp::now();
        say(folder.path(), Stream::Stdout, "3\n4\n");
        #[rustfmt::skip]
        let table = [
            (Wanted { tail: Some(1), ..Wanted::default() }, "4\n"),
            (Wanted { tail: Some(0), ..Wanted::default() }, ""),
            (Wanted { since: Some(between), ..Wanted::default() }, "3\n4\n"),
            (Wanted { until: Some(between), ..Wanted::default() }, "1\n2\n"),
            (Wanted { since: Some(between), tail: Some(3), ..Wanted::default() }, "3\n4\n"),
            (Wanted { since: Some(between), tail: Some(1), ..Wanted::default() }, "4\n"),
        ];
        for (wanted, expected) in table {
            let look = Look { prefix: false, colour: false, timestamps: false };
            let mut follower = Follower::new(Painter::new(look), After::Leave);
            follower.add("x", "x-1", folder.path(), wanted).unwrap();
            let text: String = drained(&mut follower).into_iter().map(|(_, text)| text).collect();
            assert_eq!(text, expected, "{wanted:?}");
        }
    }
}
