//! When a save is over: pure, the clock is the caller's.
//!
//! Editors, compilers and `git checkout` touch files in bursts. A batch is over when nothing has happened for a short
//! while, longer for a burst of many files and the slower it is or the machine busy, and in no case later than [`LONGEST`] after it has begun. A file that
//! somebody still writes to keeps it open: half a file is of no use to anybody.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long nothing must happen after a few files.
pub const QUIET: Duration = Duration::from_millis(3);
/// How long nothing must happen after a compose file, and at most after many files.
pub const QUIET_BURST: Duration = Duration::from_millis(15);
/// How long nothing must happen after many files that came one close upon the other.
pub const QUIET_FAST: Duration = Duration::from_millis(6);
/// A burst is over when it was quiet for so many times the longest pause in it. What comes after all, while its files are put to their
/// places, still belongs to one restart (`cli/watch/due.rs`).
const PAUSES: u32 = 3;
/// How long nothing must happen at most after many files while the machine is busy: whoever saves them may wait for a processor.
pub const QUIET_BUSY: Duration = Duration::from_millis(60);
/// A burst is over when it was quiet for so many times as long as one who waits for a processor has waited.
const DELAYS: u32 = 4;
/// How long a file that is written to may stay quiet before it counts as written.
pub const WRITING: Duration = Duration::from_millis(100);
/// A batch is over at the latest so long after it has begun.
pub const LONGEST: Duration = Duration::from_millis(500);
/// From so many files on it is a burst.
pub const BURST: usize = 8;

/// What is known of a path that was touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Somebody writes to it.
    Writing,
    /// It is as it is to be.
    Whole,
}

/// Paths that were touched in one go.
#[derive(Debug, Default)]
pub struct Batch {
    touched: BTreeSet<PathBuf>,
    writing: BTreeSet<PathBuf>,
    /// When it has begun, and when the last change came.
    times: Option<(Instant, Instant)>,
    /// The longest time between two changes.
    pause: Duration,
    /// The longest time that was waited for a processor.
    delay: Duration,
    patient: bool,
}

impl Batch {
    /// Takes in a change.
    pub fn add(&mut self, path: PathBuf, stage: Stage, now: Instant) {
        let (begun, last) = self.times.unwrap_or((now, now));
        self.times = Some((begun, last.max(now)));
        self.pause = self.pause.max(now.saturating_duration_since(last));
        match stage {
            Stage::Writing => self.writing.insert(path.clone()),
            Stage::Whole => self.writing.remove(&path),
        };
        self.touched.insert(path);
    }

    /// Waits as long as for a burst, however few files there are: for what is expensive to do twice.
    pub const fn be_patient(&mut self) {
        self.patient = true;
    }

    /// Whoever waits here was woken so much too late: whoever saves files may have to wait for a processor as long.
    pub fn was_late(&mut self, by: Duration) {
        self.delay = self.delay.max(by);
    }

    /// Whether so many files were touched that it is worth while to begin before it is over.
    #[must_use]
    pub fn is_burst(&self) -> bool {
        self.touched.len() >= BURST
    }

    /// Whether nothing has happened for longer than ever before in it: whoever saves seems to be done.
    #[must_use]
    pub fn pauses(&self, now: Instant) -> bool {
        self.times.is_some_and(|(_, last)| now.saturating_duration_since(last) > self.pause)
    }

    /// How long it still is to be waited for; none if nothing has happened.
    #[must_use]
    pub fn wait(&self, now: Instant) -> Option<Duration> {
        let (begun, last) = self.times?;
        let quiet = match self.writing.is_empty() {
            false => WRITING,
            true if self.patient => QUIET_BURST,
            true if self.is_burst() => {
                let pauses = (self.pause * PAUSES).clamp(QUIET_FAST, QUIET_BURST);
                pauses.max((self.delay * DELAYS).min(QUIET_BUSY))
            }
            true => QUIET,
        };
        let over = (last + quiet).min(begun + LONGEST);
        Some(over.saturating_duration_since(now))
    }

    /// Whether it has begun and need not be waited for any more.
    #[must_use]
    pub fn is_over(&self, now: Instant) -> bool {
        self.wait(now).is_some_and(|wait| wait.is_zero())
    }

    /// What was touched; the next batch begins empty.
    pub fn take(&mut self) -> BTreeSet<PathBuf> {
        std::mem::take(self).touched
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn a_save_is_over_when_it_is_quiet() {
        let start = Instant::now();
        let mut batch = Batch::default();
        assert_eq!(batch.wait(start), None);
        batch.add("a".into(), Stage::Whole, start);
        assert_eq!(batch.wait(start), Some(QUIET));
        batch.add("a".into(), Stage::Whole, start + ms(2));
        assert_eq!(batch.wait(start + ms(2)), Some(QUIET));
        assert_eq!(batch.wait(start + ms(60)), Some(Duration::ZERO));
        assert_eq!(batch.take().len(), 1);
        assert_eq!(batch.wait(start), None);
    }

    #[test]
    fn a_burst_and_a_compose_file_are_given_more_time() {
        let start = Instant::now();
        let mut batch = Batch::default();
        let burst = |batch: &mut Batch, pause: Duration| {
            let times = (0..).map(|turn| start + pause * turn).take(BURST);
            let last = times.clone().last().unwrap();
            let files = (0..BURST).map(|file| PathBuf::from(file.to_string()));
            files.zip(times).for_each(|(file, at)| batch.add(file, Stage::Whole, at));
            let quiet = batch.wait(last);
            batch.take();
            quiet
        };
        // The slower it comes the longer it may pause.
        assert_eq!(burst(&mut batch, Duration::ZERO), Some(QUIET_FAST));
        assert_eq!(burst(&mut batch, ms(2)), Some(QUIET_FAST));
        assert_eq!(burst(&mut batch, ms(3)), Some(ms(9)));
        assert_eq!(burst(&mut batch, ms(5)), Some(QUIET_BURST));
        batch.add("compose.yaml".into(), Stage::Whole, start);
        batch.be_patient();
        assert_eq!(batch.wait(start), Some(QUIET_BURST));
    }

    #[test]
    fn it_pauses_when_nothing_comes_for_longer_than_before() {
        let start = Instant::now();
        let mut batch = Batch::default();
        assert!(!batch.pauses(start), "nothing has come");
        batch.add("a".into(), Stage::Whole, start);
        batch.add("b".into(), Stage::Whole, start + ms(2));
        assert!(!batch.pauses(start + ms(4)));
        assert!(batch.pauses(start + ms(5)));
        batch.add("c".into(), Stage::Whole, start + ms(5));
        assert!(!batch.pauses(start + ms(8)));
    }

    #[test]
    fn a_burst_on_a_busy_machine_is_given_more_time() {
        let start = Instant::now();
        let mut batch = Batch::default();
        (0..BURST).for_each(|file| batch.add(file.to_string().into(), Stage::Whole, start));
        for (late, quiet) in [(ms(1), QUIET_FAST), (ms(10), ms(40)), (ms(2), ms(40))] {
            batch.was_late(late);
            assert_eq!(batch.wait(start), Some(quiet), "{late:?}");
        }
        batch.was_late(ms(100));
        assert_eq!(batch.wait(start), Some(QUIET_BUSY));
        batch.take();
        (0..BURST).for_each(|file| batch.add(file.to_string().into(), Stage::Whole, start));
        assert_eq!(batch.wait(start), Some(QUIET_FAST));
    }

    #[test]
    fn half_a_file_is_waited_for_but_not_for_ever() {
        let start = Instant::now();
        let mut batch = Batch::default();
        batch.add("a".into(), Stage::Writing, start);
        assert_eq!(batch.wait(start), Some(WRITING));
        batch.add("a".into(), Stage::Whole, start + ms(50));
        assert_eq!(batch.wait(start + ms(50)), Some(QUIET));
        // A log that is written to all the time.
        (0..50).for_each(|at| batch.add("log".into(), Stage::Writing, start + ms(at * 10)));
        assert_eq!(batch.wait(start + ms(490)), Some(ms(10)));
    }
}
