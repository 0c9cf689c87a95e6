//! Files with holes: where the stored pieces of such a file belong.
//!
//! Four formats are in use: GNU tar's own entry type, and three generations of PAX records.
//! Source: GNU tar manual, appendix "Storing Sparse Files".

use std::io::Read;

use super::archive::ArchiveError;
use super::pax::decimal;

/// Prefix of the PAX keys.
pub(crate) const PREFIX: &[u8] = b"GNU.sparse.";

const BAD_MAP: ArchiveError = ArchiveError::Malformed("a file with holes whose map is damaged");

/// More pieces than this are refused: 16 MiB of memory.
const MOST_PIECES: usize = 1 << 20;

/// A piece of a file: where it belongs and how long it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// A file with holes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SparseMap {
    /// Size of the file with its holes.
    pub(crate) size: u64,
    /// The stored pieces, in order.
    pub(crate) pieces: Vec<Piece>,
}

impl SparseMap {
    /// Checks that the pieces are in order, do not overlap, lie in the file and are all that is stored.
    pub(crate) fn new(size: u64, pieces: Vec<Piece>, stored: u64) -> Result<Self, ArchiveError> {
        let (mut end, mut total) = (0u64, 0u64);
        for piece in &pieces {
            if piece.offset < end {
                return Err(BAD_MAP);
            }
            end =
                piece.offset.checked_add(piece.length).filter(|end| *end <= size).ok_or(BAD_MAP)?;
            total += piece.length;
        }
        if total == stored { Ok(Self { size, pieces }) } else { Err(BAD_MAP) }
    }
}

/// What PAX records say about holes.
#[derive(Debug, Default)]
pub(crate) struct SparseHints {
    /// The true name of the entry.
    pub(crate) name: Option<Vec<u8>>,
    size: Option<u64>,
    version: (u64, u64),
    numbers: Vec<u64>,
}

impl SparseHints {
    pub(super) fn add(&mut self, key: &[u8], value: &[u8]) -> Result<(), ArchiveError> {
        match key {
            b"name" => self.name = Some(value.to_owned()),
            b"size" | b"realsize" => self.size = Some(decimal(value)?),
            b"major" => self.version.0 = decimal(value)?,
            b"minor" => self.version.1 = decimal(value)?,
            // 0.0: pairs of records, in order.
            b"offset" | b"numbytes" => self.numbers.push(decimal(value)?),
            // 0.1: one record with all numbers.
            b"map" => {
                self.numbers =
                    value.split(|byte| *byte == b',').map(decimal).collect::<Result<_, _>>()?;
            }
            // The number of pieces follows from the pieces.
            _ => {}
        }
        Ok(())
    }

    /// Whether the records are about a file with holes at all.
    pub(crate) fn is_sparse(&self) -> bool {
        self.size.is_some()
    }

    /// Makes the map of a file of which `stored` bytes follow. In version 1.0 the map is at their beginning, and is
    /// taken from `data`. Returns the number of bytes taken, too.
    pub(crate) fn map(
        &self,
        stored: u64,
        data: impl Read,
    ) -> Result<(SparseMap, u64), ArchiveError> {
        let size = self.size.ok_or(BAD_MAP)?;
        let (numbers, taken) = match self.version {
            (1, 0) => read_numbers(data, stored)?,
            (0, _) => (self.numbers.clone(), 0),
            _ => return Err(ArchiveError::Malformed("a file with holes in an unknown format")),
        };
        let stored = stored.checked_sub(taken).ok_or(BAD_MAP)?;
        Ok((SparseMap::new(size, pairs(&numbers)?, stored)?, taken))
    }
}

fn pairs(numbers: &[u64]) -> Result<Vec<Piece>, ArchiveError> {
    let (pairs, rest) = numbers.as_chunks::<2>();
    if !rest.is_empty() || pairs.len() > MOST_PIECES {
        return Err(BAD_MAP);
    }
    Ok(pairs.iter().map(|[offset, length]| Piece { offset: *offset, length: *length }).collect())
}

/// Reads the map of format 1.0: the number of pieces, then offset and length of each, in decimal lines, filled up to
/// whole blocks.
fn read_numbers(mut data: impl Read, stored: u64) -> Result<(Vec<u64>, u64), ArchiveError> {
    let mut numbers = Vec::new();
    let mut line = Vec::new();
    let mut taken = 0;
    let mut wanted = None;
    while wanted != Some(numbers.len()) {
        let mut block = [0; 512];
        taken += 512;
        if taken > stored {
            return Err(BAD_MAP);
        }
        data.read_exact(&mut block).map_err(ArchiveError::from_read)?;
        for byte in block {
            if wanted == Some(numbers.len()) {
                break;
            }
            if byte != b'\n' {
                line.push(byte);
                continue;
            }
            let number = decimal(&line)?;
            line.clear();
            if wanted.is_some() {
                numbers.push(number);
                continue;
            }
            let pieces = usize::try_from(number).map_err(|_| BAD_MAP)?;
            wanted = Some(pieces.checked_mul(2).filter(|_| pieces <= MOST_PIECES).ok_or(BAD_MAP)?);
        }
    }
    Ok((numbers, taken))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hints(records: &[(&[u8], &[u8])]) -> SparseHints {
        let mut hints = SparseHints::default();
        for (key, value) in records {
            hints.add(key, value).unwrap();
        }
        hints
    }

    #[test]
    fn all_generations_of_records_say_the_same() {
        let pieces = vec![Piece { offset: 0, length: 3 }, Piece { offset: 10, length: 2 }];
        let expected = SparseMap { size: 20, pieces };
        let old = hints(&[
            (b"size", b"20"),
            (b"offset", b"0"),
            (b"numbytes", b"3"),
            (b"offset", b"10"),
            (b"numbytes", b"2"),
        ]);
        assert_eq!(old.map(5, &b""[..]).unwrap(), (expected.clone(), 0));
        let middle = hints(&[(b"size", b"20"), (b"map", b"0,3,10,2")]);
        assert_eq!(middle.map(5, &b""[..]).unwrap(), (expected.clone(), 0));
        let new = hints(&[(b"major", b"1"), (b"minor", b"0"), (b"realsize", b"20")]);
        let mut block = b"2\n0\n3\n10\n2\n".to_vec();
        block.resize(512, 0);
        assert_eq!(new.map(517, &block[..]).unwrap(), (expected, 512));
    }

    #[test]
    fn maps_that_lie_are_refused() {
        let huge = b"18446744073709551615";
        let tables: [&[u8]; 5] =
            [b"0,3,2,2", b"0,3,19,2", b"0,3,10,3", b"0,3,10", b"18446744073709551615,5"];
        for map in tables {
            assert!(hints(&[(b"size", b"20"), (b"map", map)]).map(5, &b""[..]).is_err());
        }
        let new = hints(&[(b"major", b"1"), (b"realsize", b"20")]);
        let mut block = huge.to_vec();
        block.push(b'\n');
        block.resize(512, 0);
        assert!(new.map(512, &block[..]).is_err());
        assert!(new.map(5, &block[..]).is_err());
    }
}
