//! Lines of several sources in the order of time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use jiff::Timestamp;

/// Something with a time.
pub trait Timed: std::fmt::Debug {
    /// When it happened.
    fn at(&self) -> Timestamp;
}

/// A place that lines come from, in their order.
pub trait Source {
    /// A line.
    type Line: Timed;
    /// Why there may be none.
    type Error;

    /// The next line; `None` if there is none for the time being.
    ///
    /// # Errors
    ///
    /// When the line cannot be read.
    fn next_line(&mut self) -> Result<Option<Self::Line>, Self::Error>;
}

/// Several sources as one. At most one line of each is held in memory.
///
/// A source that has nothing at the moment does not hold up the others: what it says later comes
/// later, as with any terminal. Lines with the same time come in the order of the sources.
#[derive(Debug)]
pub struct Merge<S: Source> {
    slots: Vec<Slot<S>>,
    /// Time and index of each slot that holds a line.
    order: BinaryHeap<Reverse<(Timestamp, usize)>>,
}

#[derive(Debug)]
struct Slot<S: Source> {
    source: S,
    line: Option<S::Line>,
}

impl<S: Source> Default for Merge<S> {
    fn default() -> Self {
        Self { slots: Vec::new(), order: BinaryHeap::new() }
    }
}

impl<S: Source> Merge<S> {
    /// Adds a source and returns its index, by which its lines are told.
    ///
    /// # Errors
    ///
    /// When its first line cannot be read.
    pub fn add(&mut self, source: S) -> Result<usize, S::Error> {
        let index = self.slots.len();
        self.slots.push(Slot { source, line: None });
        self.refill(index)?;
        Ok(index)
    }

    /// Looks again whether the source with this index has a line.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn refill(&mut self, index: usize) -> Result<(), S::Error> {
        let slot = &mut self.slots[index];
        if slot.line.is_none() {
            slot.line = slot.source.next_line()?;
            if let Some(line) = &slot.line {
                self.order.push(Reverse((line.at(), index)));
            }
        }
        Ok(())
    }

    /// The earliest line and the index of its source; `None` if no source has one at the moment.
    ///
    /// # Errors
    ///
    /// When the line after it cannot be read.
    pub fn next_line(&mut self) -> Result<Option<(usize, S::Line)>, S::Error> {
        let Some(Reverse((_, index))) = self.order.pop() else { return Ok(None) };
        let Some(line) = self.slots[index].line.take() else { return Ok(None) };
        self.refill(index)?;
        Ok(Some((index, line)))
    }

    /// The sources, in the order of their indices.
    pub fn sources(&self) -> impl Iterator<Item = &S> {
        self.slots.iter().map(|slot| &slot.source)
    }

    /// The source with this index.
    pub fn source_mut(&mut self, index: usize) -> &mut S {
        &mut self.slots[index].source
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::rc::Rc;

    #[derive(Debug, Clone, PartialEq)]
    struct Said(i64, &'static str);

    impl Timed for Said {
        fn at(&self) -> Timestamp {
            Timestamp::from_second(self.0).unwrap()
        }
    }

    type Mouth = Rc<RefCell<VecDeque<Said>>>;

    impl Source for Mouth {
        type Line = Said;
        type Error = Infallible;

        fn next_line(&mut self) -> Result<Option<Said>, Infallible> {
            Ok(self.borrow_mut().pop_front())
        }
    }

    fn mouth(lines: &[(i64, &'static str)]) -> Mouth {
        Rc::new(RefCell::new(lines.iter().map(|(at, text)| Said(*at, text)).collect()))
    }

    fn all(merge: &mut Merge<Mouth>) -> Vec<(usize, &'static str)> {
        std::iter::from_fn(|| merge.next_line().unwrap().map(|(index, line)| (index, line.1)))
            .collect()
    }

    #[test]
    fn orders_by_time_and_then_by_source() {
        let mut merge = Merge::default();
        merge.add(mouth(&[(1, "a1"), (3, "a3"), (3, "a3'")])).unwrap();
        merge.add(mouth(&[(2, "b2"), (3, "b3")])).unwrap();
        merge.add(mouth(&[])).unwrap();
        assert_eq!(all(&mut merge), [(0, "a1"), (1, "b2"), (0, "a3"), (0, "a3'"), (1, "b3")]);
    }

    #[test]
    fn goes_on_when_a_dry_source_speaks_again() {
        let (a, b) = (mouth(&[(1, "a1")]), mouth(&[]));
        let mut merge = Merge::default();
        merge.add(Rc::clone(&a)).unwrap();
        let index = merge.add(Rc::clone(&b)).unwrap();
        assert_eq!(all(&mut merge), [(0, "a1")]);
        b.borrow_mut().extend([Said(5, "b5"), Said(6, "b6")]);
        assert_eq!(all(&mut merge), []);
        merge.refill(index).unwrap();
        assert_eq!(all(&mut merge), [(1, "b5"), (1, "b6")]);
    }
}
