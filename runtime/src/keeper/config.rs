//! What a keeper is told when it is started, on its command line.

use std::ffi::{CString, OsString};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// What a keeper has to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The project's name.
    pub project: String,
    /// The project's folder for what outlives a reboot: here lies `exits.journal`.
    pub data: PathBuf,
    /// The project's folder for what does not: here lie `keeper.json` and `keeper.log`.
    pub run: PathBuf,
}

/// How a keeper comes to its supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// It starts one; descriptor 3 is the pipe on which that says it is ready.
    Fresh,
    /// One that has lost its keeper started it; descriptor 3 is the socket to it.
    Replacement,
}

/// The word that stands for [`Origin::Replacement`] on the command line.
const REPLACEMENT: &str = "--replacement";

impl Config {
    /// The command line of a keeper: `compose keeper PROJECT DATA RUN`.
    pub(super) fn keeper_arguments(&self, origin: Origin) -> io::Result<Vec<CString>> {
        let mut words: Vec<OsString> =
            ["compose", "keeper", &self.project].map(OsString::from).into();
        words.extend([self.data.clone().into_os_string(), self.run.clone().into_os_string()]);
        if origin == Origin::Replacement {
            words.push(REPLACEMENT.into());
        }
        strings(words)
    }

    /// The command line of a supervisor: `compose supervisor PROJECT`.
    pub(super) fn supervisor_arguments(&self) -> io::Result<Vec<CString>> {
        strings(["compose", "supervisor", &self.project].map(OsString::from))
    }

    /// Reads what follows `compose keeper`.
    pub(super) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Option<(Self, Origin)> {
        let mut arguments = arguments.into_iter();
        let project = arguments.next()?.into_string().ok()?;
        let config =
            Self { project, data: arguments.next()?.into(), run: arguments.next()?.into() };
        let origin = match arguments.next() {
            None => Origin::Fresh,
            Some(word) if word == REPLACEMENT => Origin::Replacement,
            Some(_) => return None,
        };
        Some((config, origin))
    }
}

/// The environment of this process, for one of ours that it starts.
pub(super) fn environment() -> io::Result<Vec<CString>> {
    strings(std::env::vars_os().map(|(mut name, value)| {
        name.push("=");
        name.push(value);
        name
    }))
}

fn strings(words: impl IntoIterator<Item = OsString>) -> io::Result<Vec<CString>> {
    words.into_iter().map(|word| Ok(CString::new(word.into_vec())?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_read_back() {
        let config =
            Config { project: "p".to_owned(), data: "/data/p".into(), run: "/run/p".into() };
        for origin in [Origin::Fresh, Origin::Replacement] {
            let words = config.keeper_arguments(origin).unwrap();
            let rest = words.into_iter().skip(2).map(|word| OsString::from_vec(word.into_bytes()));
            assert_eq!(Config::parse(rest), Some((config.clone(), origin)));
        }
        assert_eq!(Config::parse(["p".into()]), None);
    }
}
