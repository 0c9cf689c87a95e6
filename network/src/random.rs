//! Numbers from the kernel: names of links, the order of answers, the ids of queries.

use rustix::rand::{GetRandomFlags, getrandom};

/// A random number, getrandom(2).
pub(crate) fn number() -> u64 {
    let mut bytes = [0; 8];
    // Before the pool is ready, at the first seconds of a machine, a weak number does for names and shuffling.
    if getrandom(&mut bytes, GetRandomFlags::empty()).is_err() {
        let nanos = std::time::UNIX_EPOCH.elapsed().map_or(0, |passed| passed.subsec_nanos());
        return u64::from(nanos) << 16 | u64::from(std::process::id() & 0xffff);
    }
    u64::from_ne_bytes(bytes)
}

/// Puts `items` in a random order (Fisher and Yates).
pub(crate) fn shuffle<T>(items: &mut [T]) {
    for last in (1..items.len()).rev() {
        let bound = last as u64 + 1;
        items.swap(last, usize::try_from(number() % bound).unwrap_or(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_comes_up() {
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..500 {
            let mut items = [1, 2, 3];
            shuffle(&mut items);
            seen.insert(items);
        }
        assert_eq!(seen.len(), 6);
    }
}
