//! What containers have used in the last minute, sample by sample.

use std::collections::{BTreeMap, VecDeque};

use super::sample::Sample;
use crate::cli::terminal::sparkline::sparkline;

/// How many samples are kept: with one a second, those of the last minute.
const KEPT: usize = 60;

/// Less use of the processor than this, in hundredths of one, is not blown up to a whole bar.
const CPU_FLOOR: f64 = 10.0;

/// Samples of one container, the newest last. Where there is none, it did not run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    cpu: VecDeque<Option<f64>>,
    memory: VecDeque<Option<f64>>,
}

impl History {
    /// Adds a sample, and forgets the oldest one if there are too many.
    pub fn push(&mut self, cpu: Option<f64>, memory: Option<u64>) {
        #[expect(clippy::cast_precision_loss, reason = "eight heights are told apart")]
        let memory = memory.map(|bytes| bytes as f64);
        for (samples, sample) in [(&mut self.cpu, cpu), (&mut self.memory, memory)] {
            samples.push_back(sample);
            if samples.len() > KEPT {
                samples.pop_front();
            }
        }
    }

    /// The samples of several containers, taken at the same moments, as those of one.
    #[must_use]
    pub fn sum<'a>(histories: impl Iterator<Item = &'a Self>) -> Self {
        let mut sum = Self::default();
        for history in histories {
            add(&mut sum.cpu, &history.cpu);
            add(&mut sum.memory, &history.memory);
        }
        sum
    }

    /// The use of the processor; a whole bar is the most of the time shown, and a tenth of a processor at least.
    #[must_use]
    pub fn cpu_line(&self, width: usize) -> String {
        sparkline(self.cpu.iter().copied(), most(&self.cpu, width).max(CPU_FLOOR), width)
    }

    /// The memory in use; a whole bar is the most of the time shown.
    #[must_use]
    pub fn memory_line(&self, width: usize) -> String {
        sparkline(self.memory.iter().copied(), most(&self.memory, width), width)
    }
}

/// Adds samples of which the newest are of the same moment.
fn add(sum: &mut VecDeque<Option<f64>>, samples: &VecDeque<Option<f64>>) {
    while sum.len() < samples.len() {
        sum.push_front(None);
    }
    for (sum, sample) in sum.iter_mut().rev().zip(samples.iter().rev()) {
        *sum = match (*sum, *sample) {
            (None, None) => None,
            (one, other) => Some(one.unwrap_or(0.0) + other.unwrap_or(0.0)),
        };
    }
}

/// The highest of the last `count` samples.
fn most(samples: &VecDeque<Option<f64>>, count: usize) -> f64 {
    samples.iter().rev().take(count).flatten().copied().fold(0.0, f64::max)
}

/// Samples of all containers, by id.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Histories(BTreeMap<String, History>);

impl Histories {
    /// Adds what was used between the looks `before` and `now` of the containers `ids`; others are forgotten.
    pub fn push<'a>(
        &mut self,
        ids: impl Iterator<Item = &'a str>,
        before: &BTreeMap<String, Sample>,
        now: &BTreeMap<String, Sample>,
    ) {
        let mut old = std::mem::take(&mut self.0);
        for id in ids {
            let mut history = old.remove(id).unwrap_or_default();
            let sample = now.get(id);
            let cpu = sample.and_then(|now| now.cpu_since(before.get(id)?));
            history.push(cpu, sample.and_then(|now| now.stats.memory));
            self.0.insert(id.to_owned(), history);
        }
    }

    /// That of the container `id`.
    #[must_use]
    pub fn of(&self, id: &str) -> Option<&History> {
        self.0.get(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_is_kept() {
        let mut history = History::default();
        for second in 0..100_u32 {
            history.push(Some(f64::from(second)), None);
        }
        assert_eq!((history.cpu.len(), history.memory.len()), (KEPT, KEPT));
        assert_eq!(history.cpu.back(), Some(&Some(99.0)));
        assert_eq!(history.cpu.front(), Some(&Some(40.0)));
        assert_eq!(history.memory_line(3), "   ");
    }

    #[test]
    fn little_use_of_the_processor_stays_little() {
        let mut history = History::default();
        for (cpu, memory) in [(0.1, 1 << 20), (0.2, 2 << 20), (0.1, 4 << 20)] {
            history.push(Some(cpu), Some(memory));
        }
        assert_eq!(history.cpu_line(4), " ▁▁▁");
        assert_eq!(history.memory_line(4), " ▃▅█");
        history.push(Some(20.0), Some(0));
        assert_eq!(history.cpu_line(4), "▁▁▁█");
    }

    #[test]
    fn histories_are_added_from_their_newest_sample_on() {
        let mut old = History::default();
        for cpu in [Some(10.0), None, Some(10.0)] {
            old.push(cpu, None);
        }
        let mut young = History::default();
        young.push(Some(30.0), None);
        let sum = History::sum([&young, &old].into_iter());
        assert_eq!(sum.cpu, [Some(10.0), None, Some(40.0)]);
        assert_eq!(History::sum(std::iter::empty()), History::default());
    }

    #[test]
    fn containers_that_are_gone_are_forgotten() {
        let mut histories = Histories::default();
        let none = BTreeMap::new();
        histories.push(["a", "b"].into_iter(), &none, &none);
        histories.push(["b", "c"].into_iter(), &none, &none);
        assert_eq!(histories.of("a"), None);
        assert_eq!(histories.of("b").unwrap().cpu.len(), 2);
        assert_eq!(histories.of("c").unwrap().cpu.len(), 1);
    }
}
