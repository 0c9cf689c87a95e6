//! The flags of `ADD` and `COPY`.

use std::collections::HashMap;

use super::super::dockerfile::{Flag, Problem};
use super::super::error::Failed;
use super::super::ignore::Patterns;
use super::super::mode::ModeChange;
use super::Stage;
use crate::digest::Digest;

/// The flags of `ADD` and `COPY`.
pub(super) struct CopyFlags {
    pub(super) owner: Option<String>,
    pub(super) mode: Option<ModeChange>,
    pub(super) link: bool,
    pub(super) parents: bool,
    pub(super) exclude: Patterns,
    pub(super) checksum: Option<Digest>,
    pub(super) keep_git: bool,
    /// Whether archives are unpacked; local ones are if nobody says so.
    pub(super) unpack: Option<bool>,
    /// All of them, as they were written.
    written: Vec<String>,
}

impl CopyFlags {
    pub(super) fn read(
        stage: &Stage<'_, '_>,
        flags: &[Flag],
        variables: &HashMap<String, String>,
    ) -> Result<Self, Failed> {
        let mut read = Self {
            owner: None,
            mode: None,
            link: false,
            parents: false,
            exclude: Patterns::default(),
            checksum: None,
            keep_git: false,
            unpack: None,
            written: Vec::new(),
        };
        let mut excluded = Vec::new();
        for Flag { name, value } in flags {
            let text = stage.word(value, variables)?;
            if !matches!(*name, "from" | "link") {
                read.written.push(format!("{name}={text}"));
            }
            let wrong = |help: &str| {
                let message = format!("`{text}` cannot be the value of `--{name}`");
                Failed::from(Problem::new(value.place.clone(), message, help))
            };
            let switch = || match text.as_str() {
                "true" | "1" => Ok(true),
                "false" | "0" => Ok(false),
                _ => Err(wrong("write true or false")),
            };
            match *name {
                "chown" if text.is_empty() => {}
                "chown" => read.owner = Some(text),
                "chmod" => {
                    let help = "write octal digits such as 755, or u=rwX,go=rX";
                    read.mode = Some(ModeChange::parse(&text).ok_or_else(|| wrong(help))?);
                }
                "link" => read.link = switch()?,
                "parents" => read.parents = switch()?,
                "keep-git-dir" => read.keep_git = switch()?,
                "unpack" => read.unpack = Some(switch()?),
                "exclude" => excluded.push(text),
                "checksum" => {
                    read.checksum =
                        Some(text.parse().map_err(|_| wrong("write sha256: and 64 digits"))?);
                }
                _ => {}
            }
        }
        read.exclude = Patterns::of(excluded.iter().map(String::as_str)).map_err(|error| {
            let place = flags.first().map_or(0..0, |flag| flag.value.place.clone());
            Failed::from(Problem::new(place, error.to_string(), "close the bracket"))
        })?;
        Ok(read)
    }

    pub(super) fn text(&self) -> Vec<u8> {
        self.written.join("\n").into_bytes()
    }
}
