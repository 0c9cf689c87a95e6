//! The order of keys in the YAML that `config` prints.

use std::cmp::Ordering;

/// Compares two keys as docker compose's YAML library sorts them: letters after everything else,
/// and numbers within words by their value (`a2` before `a10`).
///
/// Where a number ends in one key and a letter follows in the other, the letter comes first.
pub(super) fn natural(left: &str, right: &str) -> Ordering {
    let at = common(left, right);
    let (before, left, right) = (&left[..at], &left[at..], &right[at..]);
    let (Some(a), Some(b)) = (left.chars().next(), right.chars().next()) else {
        return left.len().cmp(&right.len());
    };
    match (a.is_alphabetic(), b.is_alphabetic()) {
        (true, true) => return a.cmp(&b),
        (false, false) => {}
        (a_is_letter, _) => {
            let after_digit = before.ends_with(is_digit);
            return if a_is_letter == after_digit { Ordering::Less } else { Ordering::Greater };
        }
    }
    // Zeros within a number count, zeros before it do not.
    let within = (a == '0' || b == '0')
        && before.chars().rev().take_while(|c| is_digit(*c)).any(|c| c != '0');
    let start = i64::from(within);
    let (a_value, a_length) = number(left, start);
    let (b_value, b_length) = number(right, start);
    a_value.cmp(&b_value).then(a_length.cmp(&b_length)).then(a.cmp(&b))
}

/// The length in bytes of what both begin with, in whole characters.
fn common(left: &str, right: &str) -> usize {
    let same = left.bytes().zip(right.bytes()).take_while(|(a, b)| a == b).count();
    left.floor_char_boundary(same)
}

fn is_digit(c: char) -> bool {
    c.is_ascii_digit()
}

/// The value of the digits that `text` begins with, and how many there are.
fn number(text: &str, start: i64) -> (i64, usize) {
    let digits = text.chars().map_while(|c| c.to_digit(10));
    digits.fold((start, 0), |(value, length), digit| {
        (value.wrapping_mul(10).wrapping_add(i64::from(digit)), length + 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_by_value_and_letters_last() {
        let sorted = [
            "_", "9", "10", "A", "B", "a", "a-b", "a.", "a_b", "a1", "a01", "a2", "a2b", "a2.b",
            "a10", "a100", "aa", "b",
        ];
        let mut keys = sorted;
        keys.reverse();
        keys.sort_by(|a, b| natural(a, b));
        assert_eq!(keys, sorted);
    }

    proptest::proptest! {
        #[test]
        fn both_ways_agree(left in "[a-c0-2._-]{0,6}", right in "[a-c0-2._-]{0,6}") {
            proptest::prop_assert_eq!(natural(&left, &right), natural(&right, &left).reverse());
        }
    }
}
