//! From a line to an instruction.

use std::ops::Range;
use std::time::Duration;

use super::instruction::{
    Argument, Command, Copy, Flag, Health, HealthKind, Instruction, Kind, Run,
};
use super::lines::{Heredoc, Line, heredoc_word, shell_words};
use super::{Problem, Stage, Word};

/// A line that was understood.
#[derive(Debug)]
pub(super) enum Parsed {
    From(Stage),
    Instruction(Instruction),
}

const NAMES: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

const ADD_FLAGS: &[&str] =
    &["chown", "chmod", "link", "parents", "exclude", "checksum", "keep-git-dir", "unpack"];
const COPY_FLAGS: &[&str] = &["from", "chown", "chmod", "link", "parents", "exclude"];
const RUN_FLAGS: &[&str] = &["mount", "network", "security"];
const FROM_FLAGS: &[&str] = &["platform"];
const HEALTH_FLAGS: &[&str] = &["interval", "timeout", "start-period", "start-interval", "retries"];

/// Flags that may stand more than once.
const REPEATED: [&str; 2] = ["mount", "exclude"];

/// Flags that need no value.
const SWITCHES: [&str; 4] = ["link", "parents", "keep-git-dir", "unpack"];

/// The part of a line that has not been read.
struct Cursor<'a> {
    line: &'a Line,
    at: usize,
    escape: char,
}

/// Reads one line.
pub(super) fn parse(line: &Line, escape: char) -> Result<Parsed, Problem> {
    let mut cursor = Cursor { line, at: 0, escape };
    let word = cursor.word().unwrap_or(0..0);
    let written = &line.text[word.clone()];
    let Some(name) = NAMES.iter().find(|name| name.eq_ignore_ascii_case(written)) else {
        let close = closest(written, &NAMES);
        let help = close.map_or_else(
            || format!("an instruction is one of {}", NAMES.join(", ")),
            |name| format!("did you mean {name}?"),
        );
        let message = format!("`{written}` is no instruction");
        return Err(Problem::new(line.place(word), message, help));
    };
    cursor.skip_blanks();
    if cursor.rest().is_empty() {
        let message = format!("{name} needs an argument");
        return Err(Problem::new(line.place(word), message, form(name)));
    }
    if *name == "FROM" {
        return cursor.from().map(Parsed::From);
    }
    let source = format!("{name} {}", cursor.rest());
    let kind = cursor.kind(name)?;
    Ok(Parsed::Instruction(Instruction { span: line.span.clone(), source, kind }))
}

/// How an instruction is written.
fn form(name: &str) -> &'static str {
    match name {
        "ADD" => "write ADD SOURCE… TARGET",
        "ARG" => "write ARG NAME[=DEFAULT]",
        "CMD" => "write CMD [\"PROGRAM\", \"ARGUMENT\"]",
        "COPY" => "write COPY SOURCE… TARGET",
        "ENTRYPOINT" => "write ENTRYPOINT [\"PROGRAM\", \"ARGUMENT\"]",
        "ENV" => "write ENV NAME=VALUE…",
        "EXPOSE" => "write EXPOSE PORT[/PROTOCOL]…",
        "FROM" => "write FROM [--platform=PLATFORM] IMAGE [AS NAME]",
        "HEALTHCHECK" => "write HEALTHCHECK [FLAGS] CMD COMMAND, or HEALTHCHECK NONE",
        "LABEL" => "write LABEL NAME=VALUE…",
        "MAINTAINER" => "write LABEL org.opencontainers.image.authors=NAME",
        "ONBUILD" => "write ONBUILD INSTRUCTION",
        "RUN" => "write RUN COMMAND",
        "SHELL" => "write SHELL [\"PROGRAM\", \"ARGUMENT\"]",
        "STOPSIGNAL" => "write STOPSIGNAL SIGNAL",
        "USER" => "write USER NAME[:GROUP]",
        "VOLUME" => "write VOLUME DIRECTORY…",
        _ => "write WORKDIR DIRECTORY",
    }
}

impl Cursor<'_> {
    fn rest(&self) -> &str {
        &self.line.text[self.at..]
    }

    fn skip_blanks(&mut self) {
        self.at = self.line.text.len() - self.rest().trim_start().len();
    }

    /// The next word, cut at blanks.
    fn word(&mut self) -> Option<Range<usize>> {
        self.skip_blanks();
        let start = self.at;
        let length = self.rest().find(char::is_whitespace).unwrap_or(self.rest().len());
        self.at += length;
        (length > 0).then_some(start..start + length)
    }

    fn take(&self, part: Range<usize>) -> Word {
        Word { text: self.line.text[part.clone()].to_owned(), place: self.line.place(part) }
    }

    /// All that is left, as one word.
    fn all(&mut self) -> Word {
        self.skip_blanks();
        let word = self.take(self.at..self.line.text.len());
        self.at = self.line.text.len();
        word
    }

    /// All words that are left, cut at blanks.
    fn words(&mut self) -> Vec<Word> {
        let mut words = Vec::new();
        while let Some(part) = self.word() {
            words.push(self.take(part));
        }
        words
    }

    /// All words that are left, cut at blanks outside of quotes.
    fn quoted_words(&mut self) -> Vec<Word> {
        self.skip_blanks();
        let base = self.at;
        let found = shell_words(self.rest(), self.escape);
        let words =
            found.into_iter().map(|(word, at)| self.take(base + at..base + at + word.len()));
        let words = words.collect();
        self.at = self.line.text.len();
        words
    }

    fn problem(&self, message: impl Into<String>, help: impl Into<String>) -> Problem {
        Problem::new(self.line.span.clone(), message, help)
    }

    fn kind(&mut self, name: &'static str) -> Result<Kind, Problem> {
        Ok(match name {
            "ADD" => Kind::Add(self.copy(name, ADD_FLAGS)?),
            "COPY" => Kind::Copy(self.copy(name, COPY_FLAGS)?),
            "ARG" => Kind::Arg(self.arguments()?),
            "CMD" => Kind::Cmd(self.command()),
            "ENTRYPOINT" => Kind::Entrypoint(self.command()),
            "ENV" => Kind::Env(self.pairs(name)?),
            "LABEL" => Kind::Label(self.pairs(name)?),
            "EXPOSE" => Kind::Expose(self.words()),
            "HEALTHCHECK" => Kind::Healthcheck(self.health()?),
            "MAINTAINER" => Kind::Maintainer(self.all().text),
            "ONBUILD" => Kind::Onbuild(self.trigger()?),
            "RUN" => Kind::Run(self.run()?),
            "SHELL" => match self.json() {
                Some(words) if !words.is_empty() => Kind::Shell(words),
                _ => return Err(self.problem("SHELL needs a list in JSON", form(name))),
            },
            "STOPSIGNAL" => Kind::StopSignal(self.all()),
            "USER" => Kind::User(self.all()),
            "VOLUME" => Kind::Volume(self.list()),
            _ => Kind::Workdir(self.all()),
        })
    }

    fn from(&mut self) -> Result<Stage, Problem> {
        let platform = self.flags("FROM", FROM_FLAGS)?.into_iter().next().map(|flag| flag.value);
        let words = self.words();
        let (base, name) = match &words[..] {
            [base] => (base.clone(), None),
            [base, word, name] if word.text.eq_ignore_ascii_case("as") => {
                (base.clone(), Some(name))
            }
            _ => return Err(self.problem("FROM needs one image, or three words", form("FROM"))),
        };
        if let Some(name) = name {
            let valid = name.text.starts_with(|first: char| first.is_ascii_alphabetic())
                && name
                    .text
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
            if !valid {
                return Err(Problem::new(
                    name.place.clone(),
                    format!("`{}` cannot be the name of a stage", name.text),
                    "a name begins with a letter and has letters, digits, `-`, `_` and `.`",
                ));
            }
        }
        Ok(Stage {
            span: self.line.span.clone(),
            base,
            name: name.map(|name| name.text.to_ascii_lowercase()),
            platform,
            instructions: Vec::new(),
        })
    }

    /// Reads the flags, which stand before everything else.
    fn flags(&mut self, of: &str, known: &[&'static str]) -> Result<Vec<Flag>, Problem> {
        let mut flags: Vec<Flag> = Vec::new();
        loop {
            self.skip_blanks();
            if !self.rest().starts_with("--") {
                return Ok(flags);
            }
            let base = self.at;
            let Some((word, _)) = shell_words(self.rest(), self.escape).into_iter().next() else {
                return Ok(flags);
            };
            let length = word.len();
            if word == "--" {
                self.at += length;
                return Ok(flags);
            }
            let (name, value) = word[2..].split_once('=').unwrap_or((&word[2..], ""));
            let place = self.line.place(base..base + length);
            let Some(found) = known.iter().find(|known| **known == name) else {
                let help = match closest(name, known) {
                    Some(close) => format!("did you mean `--{close}`?"),
                    None if known.is_empty() => format!("{of} has no flags"),
                    None => format!("flags of {of} are --{}", known.join(", --")),
                };
                return Err(Problem::new(place, format!("{of} has no flag `--{name}`"), help));
            };
            let has_value = word.contains('=');
            if !has_value && !SWITCHES.contains(found) {
                let help = format!("write --{found}=VALUE");
                return Err(Problem::new(place, format!("`--{found}` needs a value"), help));
            }
            if !REPEATED.contains(found) && flags.iter().any(|flag| flag.name == *found) {
                let message = format!("`--{found}` is given twice");
                return Err(Problem::new(place, message, "remove one of the two"));
            }
            let start = base + length - value.len();
            let value = if has_value {
                self.take(start..base + length)
            } else {
                Word { text: "true".to_owned(), place }
            };
            flags.push(Flag { name: found, value });
            self.at = base + length;
        }
    }

    fn copy(&mut self, name: &str, known: &[&'static str]) -> Result<Copy, Problem> {
        let flags = self.flags(name, known)?;
        let mut words = self.list();
        let (Some(target), false) = (words.pop(), words.is_empty()) else {
            let message = format!("{name} needs a source and a target");
            return Err(self.problem(message, form(name)));
        };
        Ok(Copy { flags, sources: words, target, heredocs: self.line.heredocs.clone() })
    }

    /// A list in JSON, or words.
    fn list(&mut self) -> Vec<Word> {
        match self.json() {
            Some(words) => {
                let place = self.line.place(self.at..self.line.text.len());
                self.at = self.line.text.len();
                let word = |text: String| Word { text, place: place.clone() };
                words.into_iter().map(word).collect()
            }
            None => self.words(),
        }
    }

    fn json(&self) -> Option<Vec<String>> {
        let rest = self.rest().trim();
        rest.starts_with('[').then(|| serde_json::from_str(rest).ok()).flatten()
    }

    fn command(&mut self) -> Command {
        self.skip_blanks();
        match self.json() {
            Some(words) => Command::Exec(words),
            None => Command::Shell(self.all().text),
        }
    }

    fn run(&mut self) -> Result<Run, Problem> {
        let flags = self.flags("RUN", RUN_FLAGS)?;
        self.skip_blanks();
        if self.rest().is_empty() {
            return Err(self.problem("RUN needs a command", form("RUN")));
        }
        let heredocs = &self.line.heredocs;
        let script = match &heredocs[..] {
            [only] if heredoc_word(self.rest().trim()).is_some() => Some(only.clone()),
            _ => None,
        };
        let command = match self.command() {
            // The shell reads them itself.
            Command::Shell(mut line) if script.is_none() => {
                for Heredoc { name, content, .. } in heredocs {
                    line.extend(["\n", content, name]);
                }
                Command::Shell(line)
            }
            other => other,
        };
        if matches!(&command, Command::Exec(words) if words.is_empty()) {
            return Err(self.problem("RUN needs a command", form("RUN")));
        }
        Ok(Run { flags, command, script })
    }

    fn arguments(&mut self) -> Result<Vec<Argument>, Problem> {
        let words = self.quoted_words();
        let argument = |word: Word| {
            let (name, default) = match word.text.find('=') {
                Some(at) => {
                    let middle = word.place.start + at;
                    let default =
                        Word { text: word.text[at + 1..].to_owned(), place: word.place.clone() };
                    let name =
                        Word { text: word.text[..at].to_owned(), place: word.place.start..middle };
                    (name, Some(default))
                }
                None => (word, None),
            };
            if name.text.is_empty() {
                return Err(Problem::new(name.place, "ARG needs a name", form("ARG")));
            }
            Ok(Argument { name, default })
        };
        words.into_iter().map(argument).collect()
    }

    /// `KEY=VALUE …`, or the old form `KEY VALUE` with one pair.
    fn pairs(&mut self, name: &'static str) -> Result<Vec<(Word, Word)>, Problem> {
        let start = self.at;
        let words = self.quoted_words();
        if !words[0].text.contains('=') {
            self.at = start;
            let key = self.word().map(|part| self.take(part));
            self.skip_blanks();
            return match key {
                Some(key) if !self.rest().is_empty() => Ok(vec![(key, self.all())]),
                _ => Err(self.problem(format!("{name} needs a name and a value"), form(name))),
            };
        }
        let pair = |word: Word| match word.text.split_once('=') {
            Some((key, value)) if !key.is_empty() => {
                let part = |text: &str| Word { text: text.to_owned(), place: word.place.clone() };
                Ok((part(key), part(value)))
            }
            Some(_) => {
                Err(Problem::new(word.place.clone(), "there is no name before the `=`", form(name)))
            }
            None => Err(Problem::new(
                word.place.clone(),
                format!("`{}` is no pair NAME=VALUE", word.text),
                "put a value with blanks in quotes",
            )),
        };
        words.into_iter().map(pair).collect()
    }

    fn health(&mut self) -> Result<Health, Problem> {
        let flags = self.flags("HEALTHCHECK", HEALTH_FLAGS)?;
        let mut health = Health {
            kind: HealthKind::None,
            interval: None,
            timeout: None,
            start_period: None,
            start_interval: None,
            retries: None,
        };
        for Flag { name, value } in &flags {
            let wrong = |help: &str| {
                let message = format!("`{}` cannot be the value of `--{name}`", value.text);
                Problem::new(value.place.clone(), message, help)
            };
            if *name == "retries" {
                let retries = value.text.parse().map_err(|_| wrong("write a number such as 3"))?;
                health.retries = Some(retries).filter(|retries| *retries > 0);
                continue;
            }
            let time = duration(&value.text)
                .ok_or_else(|| wrong("write a time such as 30s, 1m30s or 500ms"))?;
            let time = Some(time).filter(|time| !time.is_zero());
            match *name {
                "interval" => health.interval = time,
                "timeout" => health.timeout = time,
                "start-period" => health.start_period = time,
                _ => health.start_interval = time,
            }
        }
        let word = self.word().map(|part| self.line.text[part].to_ascii_uppercase());
        self.skip_blanks();
        match (word.as_deref(), self.rest().is_empty()) {
            (Some("NONE"), true) if flags.is_empty() => Ok(health),
            (Some("CMD"), false) => {
                health.kind = HealthKind::Command(self.command());
                Ok(health)
            }
            _ => Err(self.problem("the health check is not understood", form("HEALTHCHECK"))),
        }
    }

    /// The instruction behind `ONBUILD`, which is checked now and read again when it is due.
    fn trigger(&mut self) -> Result<String, Problem> {
        let start = self.at;
        let word = self.all();
        let first = word.text.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
        if ["ONBUILD", "FROM", "MAINTAINER"].contains(&first.as_str()) {
            let message = format!("{first} cannot be a trigger");
            return Err(Problem::new(word.place, message, "write it in the file that needs it"));
        }
        let mut text = word.text.clone();
        for Heredoc { name, content, .. } in &self.line.heredocs {
            text.push('\n');
            text.push_str(content);
            text.push_str(name);
        }
        super::parse_trigger(&text).map_err(|problem| Problem {
            span: self.line.place(start..start + word.text.len()),
            ..problem
        })?;
        Ok(text)
    }
}

/// A duration as Go writes it: `1h30m5.5s`, `100ms`. Source: Go `time.ParseDuration`.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut total = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|next: char| !next.is_ascii_digit() && next != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let units = [
            ("ns", 1e-9),
            ("us", 1e-6),
            ("µs", 1e-6),
            ("ms", 1e-3),
            ("s", 1.0),
            ("m", 60.0),
            ("h", 3600.0),
        ];
        let (unit, seconds) = units.into_iter().find(|(unit, _)| rest.starts_with(unit))?;
        total += number * seconds;
        rest = &rest[unit.len()..];
    }
    Duration::try_from_secs_f64(total).ok()
}

/// The known word that is one slip of the finger away.
fn closest<'a>(written: &str, known: &[&'a str]) -> Option<&'a str> {
    let written = written.to_ascii_lowercase();
    known.iter().copied().find(|known| {
        let (known, written): (Vec<char>, Vec<char>) =
            (known.to_ascii_lowercase().chars().collect(), written.chars().collect());
        slips(&known, &written) <= if known.len() < 4 { 1 } else { 2 }
    })
}

/// How many characters have to be changed, added or removed.
fn slips(one: &[char], other: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.iter().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let change = corner + usize::from(a != b);
            corner = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(corner + 1);
        }
    }
    row[other.len()]
}
