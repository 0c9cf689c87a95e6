//! Numbers and strings as ssh writes them.
//!
//! Source: RFC 4251, section 5.

/// Appends a string.
pub(super) fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("nothing here is as long as 4 GiB");
    out.extend(length.to_be_bytes());
    out.extend(bytes);
}

/// Appends a number that is not negative.
pub(super) fn put_number(out: &mut Vec<u8>, number: &[u8]) {
    let number = plain(number);
    // The first bit is the sign.
    let sign = number.first().is_some_and(|first| first & 0x80 != 0);
    put(out, &[if sign { &[0][..] } else { &[] }, number].concat());
}

/// A number without zeros before it.
pub(super) fn plain(number: &[u8]) -> &[u8] {
    &number[number.iter().take_while(|byte| **byte == 0).count()..]
}

/// Takes a number of 32 bits.
pub(super) fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    let (number, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u32::from_be_bytes(*number))
}

/// Takes a string.
pub(super) fn take<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(take_u32(bytes)?).ok()?;
    let (string, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_and_numbers_come_back() {
        let mut out = Vec::new();
        put(&mut out, b"text");
        put_number(&mut out, &[0, 0, 0x80, 1]);
        put_number(&mut out, &[0x7f]);
        put_number(&mut out, &[0]);
        let mut rest = &out[..];
        assert_eq!(take(&mut rest), Some(&b"text"[..]));
        assert_eq!(take(&mut rest), Some(&[0, 0x80, 1][..]));
        assert_eq!(take(&mut rest), Some(&[0x7f][..]));
        assert_eq!(take(&mut rest), Some(&[][..]));
        assert!(rest.is_empty() && take(&mut rest).is_none());
        assert_eq!(take(&mut &[0, 0, 0, 9, 1][..]), None, "one that is cut off");
    }
}
