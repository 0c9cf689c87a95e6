//! The keys that let go of a container.

use std::str::FromStr;

/// A sequence of keys, and how much of it has been typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetachKeys {
    sequence: Vec<u8>,
    typed: usize,
}

impl Default for DetachKeys {
    /// Ctrl-P, Ctrl-Q.
    fn default() -> Self {
        Self { sequence: vec![16, 17], typed: 0 }
    }
}

impl FromStr for DetachKeys {
    type Err = String;

    /// Keys with commas between them: a letter, or `ctrl-` and a letter or one of `@[]^_` and a backslash.
    fn from_str(text: &str) -> Result<Self, String> {
        let key = |word: &str| match word.strip_prefix("ctrl-").map(str::as_bytes) {
            Some([letter @ b'a'..=b'z']) => Ok(letter - b'a' + 1),
            Some(b"@") => Ok(0),
            Some([sign @ (b'[' | b'\\' | b']' | b'^' | b'_')]) => Ok(sign - b'@'),
            None if word.len() == 1 && word.is_ascii() => Ok(word.as_bytes()[0]),
            _ => Err(format!("`{word}` is no key: write a letter, or `ctrl-` and a letter")),
        };
        let sequence = text.split(',').map(key).collect::<Result<_, _>>()?;
        Ok(Self { sequence, typed: 0 })
    }
}

impl DetachKeys {
    /// What of `input` goes to the container: what may become the sequence is kept back until it does or does not.
    pub fn filter(&mut self, input: &[u8]) -> Vec<u8> {
        let mut passed = Vec::new();
        for byte in input {
            if self.are_typed() {
                break;
            }
            if *byte == self.sequence[self.typed] {
                self.typed += 1;
                continue;
            }
            // Of what was kept back, the end may be the beginning of the sequence.
            let mut kept = self.sequence[..self.typed].to_vec();
            kept.push(*byte);
            let again = (0..=kept.len()).find(|cut| self.sequence.starts_with(&kept[*cut..]));
            let cut = again.unwrap_or(kept.len());
            passed.extend_from_slice(&kept[..cut]);
            self.typed = kept.len() - cut;
        }
        passed
    }

    /// Whether the whole sequence has been typed.
    #[must_use]
    pub fn are_typed(&self) -> bool {
        self.typed == self.sequence.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_docker_reads_them() {
        for (text, sequence) in [
            ("ctrl-p,ctrl-q", vec![16, 17]),
            ("a", vec![b'a']),
            ("ctrl-@,x,ctrl-\\\\", vec![0, b'x', 28]),
            ("ctrl-_", vec![31]),
        ] {
            let keys: DetachKeys = text.replace("\\\\", "\\").parse().unwrap();
            assert_eq!(keys.sequence, sequence, "{text}");
        }
        for text in ["", "ctrl-", "ctrl-1", "ab"] {
            assert!(text.parse::<DetachKeys>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn only_the_whole_sequence_lets_go() {
        let mut keys: DetachKeys = "a,a,b".parse().unwrap();
        assert_eq!(keys.filter(b"xa"), b"x");
        assert_eq!(keys.filter(b"c"), b"ac");
        assert_eq!(keys.filter(b"aaa"), b"a");
        assert!(!keys.are_typed());
        assert_eq!(keys.filter(b"bz"), b"");
        assert!(keys.are_typed());
        let mut keys = DetachKeys::default();
        assert_eq!(keys.filter(&[16, 16, b'x', 16, 17]), [16, 16, b'x']);
        assert!(keys.are_typed());
    }
}
