//! What a container says: its bytes as they came, and when.
//!
//! A log is a folder of numbered segments. Each has the bytes of standard output in `N.out`, those of standard error in
//! `N.err`, and in `N.idx` one record of 16 bytes for each piece: time, length, stream. The bytes go from the pipe to the
//! file by splice(2) and are never in our memory; the record is written after them. So a [`Writer`] that is killed at any
//! moment has lost nothing: what it had taken out of the pipe is in the file, and the next one indexes what is not yet.
//!
//! A [`Reader`] joins the pieces to lines. It needs no writer: it reads the files, and goes on where it was when there is more in them.
//!
//! # Why
//! Docker's formats copy and quote each line in the memory of a daemon, which limits a container to what that can do and
//! loses what it has read when it is killed.

mod reader;
mod record;
mod seek;
mod segment;
mod writer;

use jiff::Timestamp;

pub use reader::Reader;
pub use writer::{Pumped, Writer};

/// The longest line that is given out whole; a longer one comes in pieces of this size.
pub const LONGEST_LINE: usize = 1 << 20;

/// Which of the two streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output; of a container with a terminal, all there is.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// Both, in the order of [`Stream::index`].
    const BOTH: [Self; 2] = [Self::Stdout, Self::Stderr];

    /// Its place in an array with one element for each.
    fn index(self) -> usize {
        match self {
            Self::Stdout => 0,
            Self::Stderr => 1,
        }
    }
}

/// How much is kept; by default everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rotation {
    /// Bytes, those of the index among them, after which a new segment begins; `None`: never.
    pub segment_bytes: Option<u64>,
    /// Segments that are kept, the one being written among them; `None`: all.
    pub segments: Option<u32>,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When its first byte was taken from the container.
    pub at: Timestamp,
    /// Where it was written to.
    pub stream: Stream,
    /// Its bytes, without the newline.
    pub bytes: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use std::fs::{File, OpenOptions};
    use std::io::Write;
    use std::os::fd::{AsFd, OwnedFd};
    use std::path::Path;

    use proptest::prelude::*;
    use rustix::pipe::PipeFlags;

    use super::*;

    fn pipes() -> [(OwnedFd, File); 2] {
        [(); 2].map(|()| {
            let (reader, writer) =
                rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap();
            rustix::pipe::fcntl_setpipe_size(&writer, 1 << 20).unwrap();
            (reader, File::from(writer))
        })
    }

    fn all(reader: &mut Reader) -> Vec<(Stream, String)> {
        let next = || reader.next_line().unwrap();
        std::iter::from_fn(next)
            .map(|line| (line.stream, String::from_utf8(line.bytes).unwrap()))
            .collect()
    }

    #[test]
    fn a_terminal_is_read_as_well() {
        let folder = tempfile::tempdir().unwrap();
        let flags = rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY;
        let master = rustix::pty::openpt(flags).unwrap();
        rustix::pty::unlockpt(&master).unwrap();
        rustix::io::ioctl_fionbio(&master, true).unwrap();
        let name = rustix::pty::ptsname(&master, Vec::new()).unwrap();
        let mut slave = OpenOptions::new().write(true).open(name.to_str().unwrap()).unwrap();
        let mut writer = Writer::open(folder.path(), Rotation::default()).unwrap();
        slave.write_all(b"a\nb\n").unwrap();
        let pumped = writer.pump(Stream::Stdout, master.as_fd()).unwrap();
        assert_eq!(pumped, Pumped { bytes: 6, closed: false });
        drop(slave);
        assert!(writer.pump(Stream::Stdout, master.as_fd()).unwrap().closed);
        let lines = all(&mut Reader::open(folder.path()).unwrap());
        assert_eq!(lines, [(Stream::Stdout, "a\r".to_owned()), (Stream::Stdout, "b\r".to_owned())]);
    }

    /// Writes pieces to a log, each by its own turn, with the streams ended at last if `end` says so.
    fn write(folder: &Path, rotation: Rotation, pieces: &[(Stream, &str)], end: bool) {
        let mut writer = Writer::open(folder, rotation).unwrap();
        let mut ends = pipes().map(Some);
        for (stream, piece) in pieces {
            let (pipe, input) = ends[stream.index()].as_mut().unwrap();
            input.write_all(piece.as_bytes()).unwrap();
            let pumped = writer.pump(*stream, pipe.as_fd()).unwrap();
            assert_eq!(pumped, Pumped { bytes: piece.len() as u64, closed: false });
        }
        for (stream, pair) in Stream::BOTH.into_iter().zip(&mut ends).filter(|_| end) {
            let (pipe, input) = pair.take().unwrap();
            drop(input);
            assert!(writer.pump(stream, pipe.as_fd()).unwrap().closed);
        }
    }

    use Stream::{Stderr as E, Stdout as O};

    fn text(lines: &[(Stream, &str)]) -> Vec<(Stream, String)> {
        lines.iter().map(|(stream, text)| (*stream, (*text).to_owned())).collect()
    }

    #[test]
    fn pieces_become_lines() {
        let folder = tempfile::tempdir().unwrap();
        let pieces = [(O, "one\ntw"), (E, "oops"), (O, "o\n\nthree"), (E, "\n")];
        write(folder.path(), Rotation::default(), &pieces, false);
        let mut reader = Reader::open(folder.path()).unwrap();
        assert_eq!(all(&mut reader), text(&[(O, "one"), (O, "two"), (O, ""), (E, "oops")]));
        // The rest of a line comes with the next writer, or with the end of its stream.
        write(folder.path(), Rotation::default(), &[(O, " and four\nfive")], true);
        assert_eq!(all(&mut reader), text(&[(O, "three and four"), (O, "five")]));
    }

    #[test]
    fn a_log_that_does_not_exist_yet_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut reader = Reader::open(&log).unwrap();
        assert_eq!(all(&mut reader), []);
        write(&log, Rotation::default(), &[(O, "line\n")], false);
        assert_eq!(all(&mut reader), text(&[(O, "line")]));
    }

    #[test]
    fn the_last_lines_are_found_from_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let pieces = [(O, "a\nb"), (E, "x\n"), (O, "c\nd\ne\nf"), (E, "y")];
        write(folder.path(), Rotation::default(), &pieces, true);
        #[rustfmt::skip]
        let whole = text(&[(O, "a"), (E, "x"), (O, "bc"), (O, "d"), (O, "e"), (O, "f"), (E, "y")]);
        for count in 0..10 {
            let mut reader = Reader::open(folder.path()).unwrap();
            reader.tail(count).unwrap();
            assert_eq!(all(&mut reader), whole[whole.len().saturating_sub(count)..], "{count}");
        }
    }

    #[test]
    fn since_begins_with_the_first_line_after() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), Rotation::default(), &[(O, "a\nb"), (E, "x\n")], false);
        let between = Timestamp::now();
        write(folder.path(), Rotation::default(), &[(O, "c\nd\n"), (E, "y\n")], true);
        let mut reader = Reader::open(folder.path()).unwrap();
        reader.since(between).unwrap();
        assert_eq!(all(&mut reader), text(&[(O, "d"), (E, "y")]));
        reader.since(Timestamp::now()).unwrap();
        assert_eq!(all(&mut reader), []);
        reader.since(Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(all(&mut reader).len(), 5);
    }

    #[test]
    fn old_segments_are_removed_and_a_reader_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let rotation = Rotation { segment_bytes: Some(10), segments: Some(3) };
        write(folder.path(), rotation, &[(O, "0123456789\n0")], false);
        let mut reader = Reader::open(folder.path()).unwrap();
        let pieces: Vec<_> = (0..20).map(|_| (O, "123456789\n0")).collect();
        assert_eq!(all(&mut reader).len(), 1);
        write(folder.path(), rotation, &pieces, false);
        assert_eq!(segment::numbers(folder.path()).unwrap().len(), 3);
        let left = all(&mut reader);
        assert!(
            left.len() >= 2 && left.iter().all(|(_, text)| text.ends_with("123456789")),
            "{left:?}"
        );
    }

    #[test]
    fn what_a_killed_writer_has_moved_is_indexed() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), Rotation::default(), &[(O, "one\n"), (E, "two\n")], false);
        // Killed between splice and record, with half a record before that.
        OpenOptions::new()
            .append(true)
            .open(folder.path().join("1.out"))
            .unwrap()
            .write_all(b"three\n")
            .unwrap();
        OpenOptions::new()
            .append(true)
            .open(folder.path().join("1.idx"))
            .unwrap()
            .write_all(&[7; 5])
            .unwrap();
        write(folder.path(), Rotation::default(), &[(O, "four\n")], false);
        let lines = all(&mut Reader::open(folder.path()).unwrap());
        assert_eq!(lines, text(&[(O, "one"), (E, "two"), (O, "three"), (O, "four")]));
        // Records beyond the bytes: the machine went down before these were on disk.
        OpenOptions::new()
            .write(true)
            .open(folder.path().join("1.out"))
            .unwrap()
            .set_len(4)
            .unwrap();
        write(folder.path(), Rotation::default(), &[(O, "five\n")], false);
        let lines = all(&mut Reader::open(folder.path()).unwrap());
        assert_eq!(lines, text(&[(O, "one"), (E, "two"), (O, "five")]));
    }

    #[test]
    fn a_very_long_line_comes_in_pieces() {
        let folder = tempfile::tempdir().unwrap();
        let piece = "x".repeat(LONGEST_LINE / 2);
        let pieces = [(O, &*piece), (O, &*piece), (O, &*piece), (O, "\nshort\n")];
        write(folder.path(), Rotation::default(), &pieces, false);
        let lines = all(&mut Reader::open(folder.path()).unwrap());
        let lengths: Vec<_> = lines.iter().map(|(_, text)| text.len()).collect();
        assert_eq!(lengths, [LONGEST_LINE, LONGEST_LINE / 2, 5]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn any_interleaving_of_partial_lines_is_read_back(
            pieces in prop::collection::vec((any::<bool>(), "[ab\n]{1,12}"), 0..40),
            segment_bytes in prop::option::of(8_u64..64),
            restart in 0_usize..40,
            count in 0_usize..30,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let pieces: Vec<(Stream, &str)> =
                pieces.iter().map(|(error, text)| (if *error { E } else { O }, &**text)).collect();
            let rotation = Rotation { segment_bytes, segments: None };
            let (before, after) = pieces.split_at(restart.min(pieces.len()));
            write(folder.path(), rotation, before, false);
            write(folder.path(), rotation, after, true);
            let lines = all(&mut Reader::open(folder.path()).unwrap());
            for stream in Stream::BOTH {
                let said: String = pieces.iter().filter(|(of, _)| *of == stream).map(|(_, text)| *text).collect();
                let expected: Vec<&str> = said.split_terminator('\n').collect();
                let got: Vec<&str> = lines.iter().filter(|(of, _)| *of == stream).map(|(_, text)| &**text).collect();
                prop_assert_eq!(got, expected);
            }
            let mut reader = Reader::open(folder.path()).unwrap();
            reader.tail(count).unwrap();
            prop_assert_eq!(all(&mut reader), &lines[lines.len().saturating_sub(count)..]);
        }
    }
}
