//! `--chmod` and `--chown`.

use std::io::{BufRead, BufReader};
use std::path::Path;

use sys::root::Root;

/// A change of permission bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ModeChange {
    /// These bits.
    Set(u32),
    /// `u=rwX,go=rX`: who, how, which.
    Symbolic(Vec<(u32, char, Permissions)>),
}

/// Which permissions a symbolic change is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Permissions {
    /// Bits for owner, group and others alike: 4, 2 and 1.
    plain: u32,
    /// `X`: execution for directories and programs.
    conditional: bool,
    /// `s`
    set_id: bool,
    /// `t`
    sticky: bool,
}

impl ModeChange {
    /// Reads octal digits, or what chmod(1) takes.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            let bits = u32::from_str_radix(text, 8).ok()?;
            return (bits <= 0o7777).then_some(Self::Set(bits));
        }
        let mut clauses = Vec::new();
        for clause in text.split(',') {
            let at = clause.find(['=', '+', '-'])?;
            let mut who = 0;
            for letter in clause[..at].chars() {
                who |= match letter {
                    'u' => 0o4700,
                    'g' => 0o2070,
                    'o' => 0o1007,
                    'a' => 0o7777,
                    _ => return None,
                };
            }
            let who = if who == 0 { 0o7777 } else { who };
            let mut rest = &clause[at..];
            while let Some(how) = rest.chars().next() {
                let end = rest[1..].find(['=', '+', '-']).map_or(rest.len(), |end| end + 1);
                let mut which = Permissions::default();
                for letter in rest[1..end].chars() {
                    match letter {
                        'r' => which.plain |= 4,
                        'w' => which.plain |= 2,
                        'x' => which.plain |= 1,
                        'X' => which.conditional = true,
                        's' => which.set_id = true,
                        't' => which.sticky = true,
                        _ => return None,
                    }
                }
                clauses.push((who, how, which));
                rest = &rest[end..];
            }
        }
        Some(Self::Symbolic(clauses))
    }

    /// The permission bits that become of `mode`.
    pub(super) fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        let clauses = match self {
            Self::Set(bits) => return *bits,
            Self::Symbolic(clauses) => clauses,
        };
        clauses.iter().fold(mode & 0o7777, |mode, (who, how, which)| {
            let execute = which.conditional && (is_directory || mode & 0o111 != 0);
            let plain = which.plain | u32::from(execute);
            let special =
                if which.set_id { 0o6000 } else { 0 } | if which.sticky { 0o1000 } else { 0 };
            let bits = ((plain * 0o111) | special) & who;
            match how {
                '+' => mode | bits,
                '-' => mode & !bits,
                _ => mode & !(who & (0o777 | special)) | bits,
            }
        })
    }
}

/// An owner that cannot be found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OwnerError {
    /// A name that the stage does not know.
    #[error("there is no {what} `{name}` in {file} of the stage")]
    Unknown {
        /// `user` or `group`.
        what: &'static str,
        /// The name.
        name: String,
        /// Where it was looked for.
        file: &'static str,
    },
}

/// Looks up `USER[:GROUP]`, names or numbers. A user without a group has the group of his entry, a number the same
/// number as group.
pub(super) fn owner(text: &str, root: &Root) -> Result<(u32, u32), OwnerError> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (text, None),
    };
    let unknown =
        |what, name: &str, file| OwnerError::Unknown { what, name: name.to_owned(), file };
    let (uid, own) = match user.parse() {
        Ok(number) => (number, number),
        Err(_) if user.is_empty() => (0, 0),
        Err(_) => {
            let file = "/etc/passwd";
            let entry =
                entry(root, "etc/passwd", user).ok_or_else(|| unknown("user", user, file))?;
            let number = |at: usize| entry.get(at).and_then(|field| field.parse().ok());
            let uid = number(2).ok_or_else(|| unknown("user", user, file))?;
            (uid, number(3).unwrap_or(uid))
        }
    };
    let gid = match group.map(|group| (group, group.parse())) {
        None => own,
        Some((_, Ok(number))) => number,
        Some((group, Err(_))) => entry(root, "etc/group", group)
            .and_then(|entry| entry.get(2)?.parse().ok())
            .ok_or_else(|| unknown("group", group, "/etc/group"))?,
    };
    Ok((uid, gid))
}

/// The line of a name in a file of the user database.
fn entry(root: &Root, path: &str, name: &str) -> Option<Vec<String>> {
    let file = root.open_file(Path::new(path)).ok()?;
    BufReader::new(file).lines().map_while(Result::ok).find_map(|line| {
        let fields: Vec<String> = line.split(':').map(str::to_owned).collect();
        (fields.first().map(String::as_str) == Some(name)).then_some(fields)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_are_set_as_chmod_sets_them() {
        #[rustfmt::skip]
        let table = [
            ("755", 0o644, false, 0o755), ("0400", 0o777, true, 0o400), ("4755", 0o644, false, 0o4755),
            ("u=rwX,go=rX", 0o644, false, 0o644), ("u=rwX,go=rX", 0o700, false, 0o755),
            ("u=rwX,go=rX", 0o600, true, 0o755), ("+x", 0o644, false, 0o755), ("a-w", 0o666, false, 0o444),
            ("g+s", 0o755, true, 0o2755), ("o+t", 0o777, true, 0o1777), ("u+x-w", 0o644, false, 0o544),
        ];
        for (text, mode, is_directory, expected) in table {
            let change = ModeChange::parse(text).unwrap();
            assert_eq!(change.apply(mode, is_directory), expected, "{text} of {mode:o}");
        }
        for wrong in ["", "8", "17777", "q=r", "u=z", "rwx"] {
            assert_eq!(ModeChange::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn owners_are_looked_up_in_the_stage() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        std::fs::write(dir.path().join("etc/passwd"), "root:x:0:0::/:\napp:x:10:20::/:\n").unwrap();
        std::fs::write(dir.path().join("etc/group"), "root:x:0:\nstaff:x:50:\n").unwrap();
        let root = Root::open(dir.path()).unwrap();
        let table = [
            ("app", (10, 20)),
            ("app:staff", (10, 50)),
            ("7", (7, 7)),
            ("7:app2", (0, 0)),
            (":5", (0, 5)),
        ];
        for (text, expected) in table {
            match owner(text, &root) {
                Ok(found) => assert_eq!(found, expected, "{text}"),
                Err(error) => assert_eq!(
                    error.to_string(),
                    "there is no group `app2` in /etc/group of the stage"
                ),
            }
        }
        assert!(owner("nobody", &root).is_err());
    }
}
