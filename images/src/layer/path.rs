//! Names in archives.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The longest path that Linux takes (PATH_MAX, limits.h), less the zero at its end.
const LONGEST_PATH: usize = 4095;
/// The longest name in a directory (NAME_MAX).
const LONGEST_NAME: usize = 255;

/// A name that no file can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// With its `..` it leads out of the archive.
    #[error("it leads out of the archive")]
    Escapes,
    /// Longer than the kernel takes.
    #[error("it is too long")]
    TooLong,
    /// A zero byte would end it early.
    #[error("it has a zero byte")]
    Zero,
}

/// Makes a path below the root of the archive: relative, without `.`, `..` and empty parts. What is left may still
/// lead through symbolic links, and is to be resolved below a descriptor.
///
/// An absolute name is taken as relative, as every tar does; one that leads out by `..` is refused, as by Docker.
pub(crate) fn clean(name: &[u8]) -> Result<PathBuf, PathError> {
    if name.contains(&0) {
        return Err(PathError::Zero);
    }
    if name.len() > LONGEST_PATH {
        return Err(PathError::TooLong);
    }
    let mut path = PathBuf::new();
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if path.pop() => {}
            b".." => return Err(PathError::Escapes),
            _ if part.len() > LONGEST_NAME => return Err(PathError::TooLong),
            _ => path.push(Path::new(OsStr::from_bytes(part))),
        }
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_inside() {
        #[rustfmt::skip]
        let table = [
            ("a/b", Ok("a/b")), ("./a//b/", Ok("a/b")), ("/etc/passwd", Ok("etc/passwd")), ("a/../b", Ok("b")),
            ("", Ok("")), ("./", Ok("")), ("/", Ok("")), ("a/..", Ok("")),
            ("..", Err(PathError::Escapes)), ("../a", Err(PathError::Escapes)), ("a/../../b", Err(PathError::Escapes)),
            ("/../etc", Err(PathError::Escapes)), ("a\0b", Err(PathError::Zero)),
        ];
        for (name, expected) in table {
            assert_eq!(clean(name.as_bytes()), expected.map(PathBuf::from), "{name}");
        }
        assert_eq!(clean("a/".repeat(3000).as_bytes()), Err(PathError::TooLong));
        assert_eq!(clean("a".repeat(256).as_bytes()), Err(PathError::TooLong));
    }
}
