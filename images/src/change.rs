//! Instructions that change the configuration of an image: `--change` of `docker import`.
//!
//! They are written as in a Dockerfile, in the JSON form (`CMD ["a", "b"]`) or the shell form (`CMD a b`).
//! Source: Dockerfile reference; moby `builder/dockerfile/{dispatchers,builder}.go`.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use oci_spec::image::Config;

use crate::words::{WordError, expand, words};

/// The ports that one range may stand for.
const MOST_PORTS: u16 = 1024;

/// One instruction, checked in form and not yet applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    instruction: Instruction,
    arguments: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Instruction {
    Cmd,
    Entrypoint,
    Env,
    Expose,
    Label,
    StopSignal,
    User,
    Volume,
    WorkDir,
}

/// An instruction that cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// Not an instruction, or not one that changes a configuration.
    #[error(
        "`{0}` is not one of CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR"
    )]
    Unknown(String),
    /// An instruction without what it needs.
    #[error("{0} needs an argument")]
    Empty(&'static str),
    /// `ENV` or `LABEL` without `KEY=VALUE`.
    #[error("{instruction} needs KEY=VALUE, found `{found}`")]
    KeyValue {
        /// The instruction.
        instruction: &'static str,
        /// The word without a value.
        found: String,
    },
    /// `EXPOSE` without a port.
    #[error("EXPOSE needs PORT[-PORT][/tcp|udp|sctp], found `{0}`")]
    Port(String),
    /// `STOPSIGNAL` without a signal.
    #[error("STOPSIGNAL needs a signal such as SIGTERM or 15, found `{0}`")]
    Signal(String),
    /// Quotes or braces that do not close.
    #[error("{instruction}")]
    Words {
        /// The instruction.
        instruction: &'static str,
        /// What is wrong.
        source: WordError,
    },
}

impl Instruction {
    const ALL: [Self; 9] = [
        Self::Cmd,
        Self::Entrypoint,
        Self::Env,
        Self::Expose,
        Self::Label,
        Self::StopSignal,
        Self::User,
        Self::Volume,
        Self::WorkDir,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Cmd => "CMD",
            Self::Entrypoint => "ENTRYPOINT",
            Self::Env => "ENV",
            Self::Expose => "EXPOSE",
            Self::Label => "LABEL",
            Self::StopSignal => "STOPSIGNAL",
            Self::User => "USER",
            Self::Volume => "VOLUME",
            Self::WorkDir => "WORKDIR",
        }
    }
}

impl FromStr for Change {
    type Err = ChangeError;

    fn from_str(text: &str) -> Result<Self, ChangeError> {
        let text = text.trim();
        let (name, arguments) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let known =
            Instruction::ALL.into_iter().find(|known| known.name().eq_ignore_ascii_case(name));
        let instruction = known.ok_or_else(|| ChangeError::Unknown(name.to_owned()))?;
        let arguments = arguments.trim();
        if arguments.is_empty() {
            return Err(ChangeError::Empty(instruction.name()));
        }
        Ok(Self { instruction, arguments: arguments.to_owned() })
    }
}

/// Applies `changes` in order.
///
/// As in a build, a new `ENTRYPOINT` takes away the command of the base image, which was written for the old one.
///
/// # Errors
///
/// [`ChangeError`] for the first instruction that cannot be followed.
pub(crate) fn apply(changes: &[Change], config: &mut Config) -> Result<(), ChangeError> {
    let mut has_command = false;
    for change in changes {
        let command = change.instruction == Instruction::Cmd;
        if change.instruction == Instruction::Entrypoint && !has_command {
            config.set_cmd(None);
        }
        has_command |= command;
        change.apply(config)?;
    }
    Ok(())
}

impl Change {
    fn apply(&self, config: &mut Config) -> Result<(), ChangeError> {
        match self.instruction {
            Instruction::Cmd => {
                config.set_cmd(Some(self.command()));
            }
            Instruction::Entrypoint => {
                config.set_entrypoint(Some(self.command()));
            }
            Instruction::Env => {
                for (key, value) in self.pairs(config)? {
                    set_env(config, &key, &value);
                }
            }
            Instruction::Expose => {
                let mut ports = config.exposed_ports().clone().unwrap_or_default();
                for word in self.expanded_words(config)? {
                    ports.extend(parse_ports(&word)?);
                }
                config.set_exposed_ports(Some(unique(ports)));
            }
            Instruction::Label => {
                let mut labels = config.labels().clone().unwrap_or_default();
                labels.extend(self.pairs(config)?);
                config.set_labels(Some(labels));
            }
            Instruction::StopSignal => {
                let signal = self.expanded(config)?;
                check_signal(&signal)?;
                config.set_stop_signal(Some(signal));
            }
            Instruction::User => {
                let user = self.expanded(config)?;
                config.set_user(Some(user));
            }
            Instruction::Volume => {
                let mut volumes = config.volumes().clone().unwrap_or_default();
                volumes.extend(match self.json() {
                    Some(list) => list,
                    None => self.expanded_words(config)?,
                });
                config.set_volumes(Some(unique(volumes)));
            }
            Instruction::WorkDir => {
                let directory = self.expanded(config)?;
                let before = config.working_dir().clone().unwrap_or_default();
                config.set_working_dir(Some(join(&before, &directory)));
            }
        }
        Ok(())
    }

    /// A command: a JSON list, or a line for the shell.
    fn command(&self) -> Vec<String> {
        let shell = || vec!["/bin/sh".to_owned(), "-c".to_owned(), self.arguments.clone()];
        self.json().unwrap_or_else(shell)
    }

    fn json(&self) -> Option<Vec<String>> {
        serde_json::from_str(&self.arguments).ok()
    }

    fn expanded(&self, config: &Config) -> Result<String, ChangeError> {
        expand(&self.arguments, &environment(config)).map_err(|source| self.wrong(source))
    }

    fn expanded_words(&self, config: &Config) -> Result<Vec<String>, ChangeError> {
        words(&self.arguments, &environment(config)).map_err(|source| self.wrong(source))
    }

    fn wrong(&self, source: WordError) -> ChangeError {
        ChangeError::Words { instruction: self.instruction.name(), source }
    }

    /// `KEY=VALUE …`, or the old form `KEY VALUE` with one pair.
    fn pairs(&self, config: &Config) -> Result<Vec<(String, String)>, ChangeError> {
        let key_value = |found: &str| ChangeError::KeyValue {
            instruction: self.instruction.name(),
            found: found.to_owned(),
        };
        let first = self.arguments.split_whitespace().next().unwrap_or_default();
        if !first.contains('=') {
            let (key, value) =
                self.arguments.split_once(char::is_whitespace).ok_or_else(|| key_value(first))?;
            let value = expand(value.trim_start(), &environment(config))
                .map_err(|source| self.wrong(source))?;
            return Ok(vec![(key.to_owned(), value)]);
        }
        let pair = |word: String| match word.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
            _ => Err(key_value(&word)),
        };
        self.expanded_words(config)?.into_iter().map(pair).collect()
    }
}

fn environment(config: &Config) -> HashMap<String, String> {
    let pairs = config.env().iter().flatten().filter_map(|entry| entry.split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// Sets a variable in its old place, or at the end.
fn set_env(config: &mut Config, key: &str, value: &str) {
    let mut env = config.env().clone().unwrap_or_default();
    let entry = format!("{key}={value}");
    let is_key =
        |known: &String| known.split_once('=').map_or(known.as_str(), |(known, _)| known) == key;
    match env.iter_mut().find(|known| is_key(known)) {
        Some(known) => *known = entry,
        None => env.push(entry),
    }
    config.set_env(Some(env));
}

fn unique(mut words: Vec<String>) -> Vec<String> {
    words.sort();
    words.dedup();
    words
}

/// `80`, `80/udp`, `8000-8010/tcp`.
pub(crate) fn parse_ports(word: &str) -> Result<Vec<String>, ChangeError> {
    let wrong = || ChangeError::Port(word.to_owned());
    let (range, protocol) = word.split_once('/').unwrap_or((word, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(wrong());
    }
    let port = |text: &str| {
        text.parse::<u16>()
            .ok()
            .filter(|port| *port > 0 && !text.starts_with('+'))
            .ok_or_else(wrong)
    };
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last) = (port(first)?, port(last)?);
    if last < first || last - first >= MOST_PORTS {
        return Err(wrong());
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

/// A number, or the name of a signal with or without `SIG`. Source: signal(7).
pub(crate) fn check_signal(signal: &str) -> Result<(), ChangeError> {
    #[rustfmt::skip]
    const NAMES: [&str; 33] = [
        "ABRT", "ALRM", "BUS", "CHLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "KILL", "PIPE", "POLL", "PROF",
        "PWR", "QUIT", "RTMAX", "RTMIN", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU",
        "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU",
    ];
    let upper = signal.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let real_time = |prefix: &str| {
        name.strip_prefix(prefix)
            .and_then(|rest| rest.parse::<u8>().ok())
            .is_some_and(|rest| rest <= 30)
    };
    let known =
        NAMES.contains(&name) || name == "XFSZ" || real_time("RTMIN+") || real_time("RTMAX-");
    let numbered = signal.parse::<u8>().is_ok_and(|number| (1..=64).contains(&number));
    if known || numbered { Ok(()) } else { Err(ChangeError::Signal(signal.to_owned())) }
}

/// A directory relative to the one before, without `.` and `..`.
fn join(before: &str, directory: &str) -> String {
    let mut path = PathBuf::from("/");
    for component in Path::new(before).join(directory).components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => {
                path.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(base: Config, changes: &[&str]) -> Result<Config, ChangeError> {
        let changes =
            changes.iter().map(|text| text.parse()).collect::<Result<Vec<Change>, _>>()?;
        let mut config = base;
        apply(&changes, &mut config)?;
        Ok(config)
    }

    #[test]
    fn changes_what_they_say() {
        let config = changed(
            Config::default(),
            &[
                r#"ENV PATH=/usr/bin A="two words" B='$A'"#,
                "ENV PATH=/opt/bin:$PATH C=${X:-none}",
                "ENV OLD style value",
                r#"cmd ["mysqld", "--user=mysql"]"#,
                "EXPOSE 3306 33060/udp 8000-8001",
                "EXPOSE 3306/tcp",
                "USER mysql:mysql",
                r#"VOLUME ["/var/lib/my sql"]"#,
                "VOLUME /a /b",
                "WORKDIR /srv",
                "WORKDIR app/../data",
                r#"LABEL a="1 2" b=$OLD"#,
                "STOPSIGNAL SIGRTMIN+3",
            ],
        )
        .unwrap();
        let env = ["PATH=/opt/bin:/usr/bin", "A=two words", "B=$A", "C=none", "OLD=style value"];
        assert_eq!(config.env().as_deref().unwrap(), env);
        assert_eq!(config.cmd().as_deref().unwrap(), ["mysqld", "--user=mysql"]);
        let ports = ["3306/tcp", "33060/udp", "8000/tcp", "8001/tcp"];
        assert_eq!(config.exposed_ports().as_deref().unwrap(), ports);
        assert_eq!(config.user().as_deref(), Some("mysql:mysql"));
        assert_eq!(config.volumes().as_deref().unwrap(), ["/a", "/b", "/var/lib/my sql"]);
        assert_eq!(config.working_dir().as_deref(), Some("/srv/data"));
        assert_eq!(config.labels().as_ref().unwrap()["a"], "1 2");
        assert_eq!(config.labels().as_ref().unwrap()["b"], "style value");
        assert_eq!(config.stop_signal().as_deref(), Some("SIGRTMIN+3"));
    }

    #[test]
    fn an_entrypoint_takes_the_command_of_the_base_away() {
        let base = changed(Config::default(), &["CMD old --flag"]).unwrap();
        assert_eq!(base.cmd().as_deref().unwrap(), ["/bin/sh", "-c", "old --flag"]);
        let config = changed(base.clone(), &["ENTRYPOINT [\"new\"]"]).unwrap();
        assert_eq!(*config.cmd(), None);
        let config = changed(base, &["CMD [\"new\"]", "ENTRYPOINT [\"run\"]"]).unwrap();
        assert_eq!(config.cmd().as_deref().unwrap(), ["new"]);
    }

    #[test]
    fn refuses_what_cannot_be_followed() {
        #[rustfmt::skip]
        let table = [
            ("RUN rm -rf /", "`RUN` is not one of CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR"),
            ("", "`` is not one of CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR"),
            ("CMD", "CMD needs an argument"),
            ("ENV ALONE", "ENV needs KEY=VALUE, found `ALONE`"),
            ("ENV A=1 B", "ENV needs KEY=VALUE, found `B`"),
            ("EXPOSE http", "EXPOSE needs PORT[-PORT][/tcp|udp|sctp], found `http`"),
            ("EXPOSE 0", "EXPOSE needs PORT[-PORT][/tcp|udp|sctp], found `0`"),
            ("EXPOSE 90-80", "EXPOSE needs PORT[-PORT][/tcp|udp|sctp], found `90-80`"),
            ("EXPOSE 80/icmp", "EXPOSE needs PORT[-PORT][/tcp|udp|sctp], found `80/icmp`"),
            ("STOPSIGNAL SIGNAL", "STOPSIGNAL needs a signal such as SIGTERM or 15, found `SIGNAL`"),
        ];
        for (change, message) in table {
            assert_eq!(changed(Config::default(), &[change]).unwrap_err().to_string(), message);
        }
    }
}
