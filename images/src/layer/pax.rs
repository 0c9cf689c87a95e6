//! PAX extended headers: records that override fields of the entry behind them.
//!
//! The `tar` crate splits these records at newlines, but a value may have newlines in it: `security.capability` is
//! binary. A record behind such a value is lost to it, and if that is the size, reader and writer disagree about
//! where the next entry begins (the class of CVE-2025-62518). So records are cut here by their length, and anything
//! that could be read in two ways is refused.
//!
//! Source: POSIX.1-2017, pax, "pax Extended Header"; GNU tar manual, "Storing Sparse Files".

use rustix::fs::Timespec;

use super::archive::ArchiveError;
use super::sparse::{self, SparseHints};

/// Prefix of the keys of extended attributes. Source: star(5); what Docker, GNU tar and bsdtar write.
const XATTR: &[u8] = b"SCHILY.xattr.";

/// What the records before an entry say about it.
#[derive(Debug, Default)]
pub(crate) struct Extensions {
    pub(crate) path: Option<Vec<u8>>,
    pub(crate) link: Option<Vec<u8>>,
    pub(crate) size: Option<u64>,
    pub(crate) uid: Option<u64>,
    pub(crate) gid: Option<u64>,
    pub(crate) mtime: Option<Timespec>,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) sparse: SparseHints,
}

impl Extensions {
    /// Reads the records of one extended header.
    pub(crate) fn parse(mut records: &[u8]) -> Result<Self, ArchiveError> {
        let mut extensions = Self::default();
        while let Some((record, rest)) = next_record(records)? {
            extensions.add(record.0, record.1)?;
            records = rest;
        }
        Ok(extensions)
    }

    fn add(&mut self, key: &[u8], value: &[u8]) -> Result<(), ArchiveError> {
        if let Some(name) = key.strip_prefix(XATTR) {
            self.xattrs.push((name.to_owned(), value.to_owned()));
            return Ok(());
        }
        if let Some(name) = key.strip_prefix(sparse::PREFIX) {
            return self.sparse.add(name, value);
        }
        // An empty value takes the record back, and leaves the field of the header.
        if value.is_empty() {
            return Ok(());
        }
        match key {
            b"path" => set_once(&mut self.path, value.to_owned()),
            b"linkpath" => set_once(&mut self.link, value.to_owned()),
            b"size" => set_once(&mut self.size, decimal(value)?),
            b"uid" => set_once(&mut self.uid, decimal(value)?),
            b"gid" => set_once(&mut self.gid, decimal(value)?),
            b"mtime" => set_once(&mut self.mtime, time(value)?),
            // Names of users, access times, comments: not used.
            _ => Ok(()),
        }
    }
}

/// Checks a global header, whose records would be for all entries. Only comments and such occur in practice
/// (`git archive`); one that changes names or sizes is refused, because readers differ in how they apply it.
pub(crate) fn check_global(mut records: &[u8]) -> Result<(), ArchiveError> {
    while let Some(((key, _), rest)) = next_record(records)? {
        if matches!(key, b"path" | b"linkpath" | b"size") || key.starts_with(sparse::PREFIX) {
            return Err(ArchiveError::Malformed("a global header that changes names or sizes"));
        }
        records = rest;
    }
    Ok(())
}

/// A key with its value.
type Record<'a> = (&'a [u8], &'a [u8]);

/// Cuts off `LENGTH KEY=VALUE\n`, where LENGTH counts all of it. Zeros at the end are padding.
fn next_record(records: &[u8]) -> Result<Option<(Record<'_>, &[u8])>, ArchiveError> {
    const BAD: ArchiveError = ArchiveError::Malformed("an extended header that is cut or damaged");
    if records.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    let space = records.iter().position(|byte| *byte == b' ').ok_or(BAD)?;
    let length = usize::try_from(decimal(&records[..space])?).map_err(|_| BAD)?;
    let body = records.get(space + 1..length).ok_or(BAD)?.strip_suffix(b"\n").ok_or(BAD)?;
    let equals = body.iter().position(|byte| *byte == b'=').ok_or(BAD)?;
    Ok(Some(((&body[..equals], &body[equals + 1..]), &records[length..])))
}

/// A second record that says the same is harmless, one that says something else is an attack on some reader.
fn set_once<T: PartialEq>(field: &mut Option<T>, value: T) -> Result<(), ArchiveError> {
    match field {
        Some(known) if *known != value => {
            Err(ArchiveError::Malformed("an extended header that contradicts itself"))
        }
        _ => {
            *field = Some(value);
            Ok(())
        }
    }
}

/// A decimal number without sign, spaces or anything else.
pub(super) fn decimal(text: &[u8]) -> Result<u64, ArchiveError> {
    const BAD: ArchiveError =
        ArchiveError::Malformed("an extended header with a number that is none");
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return Err(BAD);
    }
    str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(BAD)
}

/// Seconds since 1970, with a fraction and a sign if need be.
fn time(text: &[u8]) -> Result<Timespec, ArchiveError> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut parts = text.splitn(2, |byte| *byte == b'.');
    let seconds = i64::try_from(decimal(parts.next().unwrap_or_default())?).unwrap_or(i64::MAX);
    let mut nanoseconds = 0;
    if let Some(fraction) = parts.next() {
        let mut scale = 100_000_000;
        for digit in fraction {
            if !digit.is_ascii_digit() {
                return Err(ArchiveError::Malformed("an extended header with a time that is none"));
            }
            nanoseconds += i64::from(digit - b'0') * scale;
            scale /= 10;
        }
    }
    Ok(match (negative, nanoseconds) {
        (false, _) => Timespec { tv_sec: seconds, tv_nsec: nanoseconds },
        (true, 0) => Timespec { tv_sec: -seconds, tv_nsec: 0 },
        (true, _) => Timespec { tv_sec: -seconds - 1, tv_nsec: 1_000_000_000 - nanoseconds },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newline_in_a_value_hides_nothing() {
        let extensions = Extensions::parse(b"23 SCHILY.xattr.u.a=\n\n\n12 size=300\n").unwrap();
        assert_eq!(extensions.xattrs, [(b"u.a".to_vec(), b"\n\n".to_vec())]);
        assert_eq!(extensions.size, Some(300));
    }

    #[test]
    fn reads_times_on_both_sides_of_1970() {
        let time = |text: &str| time(text.as_bytes()).map(|time| (time.tv_sec, time.tv_nsec));
        assert_eq!(time("1.5").unwrap(), (1, 500_000_000));
        assert_eq!(time("0.1234567891").unwrap(), (0, 123_456_789));
        assert_eq!(time("-1.25").unwrap(), (-2, 750_000_000));
        assert_eq!(time("-3").unwrap(), (-3, 0));
        assert!(time("x").is_err());
    }

    #[test]
    fn refuses_what_could_be_read_in_two_ways() {
        let table: [&[u8]; 9] = [
            b"12 size=300",
            b"99 size=300\n",
            b"0 size=300\n",
            b"12 size+300\n",
            b"12 size=+30\n",
            b"12 size= 30\n",
            b"12 size=-30\n",
            b"12 size=300\n12 size=301\n",
            b"11 path=ab\n11 path=cd\n",
        ];
        for records in table {
            assert!(Extensions::parse(records).is_err(), "{}", String::from_utf8_lossy(records));
        }
        assert!(
            Extensions::parse(b"12 size=300\n12 size=300\n8 path=\n\0\0").unwrap().path.is_none()
        );
        assert!(check_global(b"14 comment=ab\n").is_ok());
        assert!(check_global(b"12 size=300\n").is_err());
    }
}
