//! `logging`: from the driver and its options to what is kept, and where the lines go beside that.
//!
//! Our own log is kept whatever the driver, so that `compose logs` works, as docker does since 20.10.
//!
//! Source: docker's "Configure logging drivers"; moby `daemon/logger/{syslog,journald,loggerutils}`.

use std::collections::BTreeMap;

use regex::Regex;

use crate::file;
use crate::model::{Logging, Service};
use crate::record::logging::{JournalTarget, LogTarget, SyslogAddress, SyslogFormat, SyslogTarget};
use crate::record::start::LogLimit;

/// Of a container whose driver is `none` this much is kept, for whoever is attached to it.
const ATTACHED: LogLimit = LogLimit { segment_bytes: Some(64 << 10), segments: Some(2) };

/// The facilities of RFC 5424, by number.
const FACILITIES: [&str; 24] = [
    "kern",
    "user",
    "mail",
    "daemon",
    "auth",
    "syslog",
    "lpr",
    "news",
    "uucp",
    "cron",
    "authpriv",
    "ftp",
    "ntp",
    "security",
    "console",
    "solaris-cron",
    "local0",
    "local1",
    "local2",
    "local3",
    "local4",
    "local5",
    "local6",
    "local7",
];

/// Options of every driver.
const COMMON: [&str; 7] = [
    "mode",
    "max-buffer-size",
    "cache-disabled",
    "cache-max-size",
    "cache-max-file",
    "cache-compress",
    "max-size",
];

/// What is wrong with `logging`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoggingError {
    /// The driver has no such option.
    #[error("the log driver `{driver}` has no option `{option}`")]
    UnknownOption {
        /// The driver.
        driver: String,
        /// The option.
        option: String,
    },
    /// An option with a value that means nothing.
    #[error("the log option `{option}: {value}` {problem}")]
    BadValue {
        /// The option.
        option: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// What is known of the container whose lines they are.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its image, as the file names it.
    pub image: &'a str,
    /// Its image, by id.
    pub image_id: &'a str,
    /// Its environment.
    pub env: &'a [(String, String)],
}

/// What is kept of the log of a container of `service`, and where its lines go beside that.
///
/// # Errors
///
/// [`LoggingError`] for an option that the driver does not have, or that means nothing. A driver that we do not have is
/// told by [`crate::model::unsupported`], and keeps a log like every other.
pub fn of_service(
    service: &Service,
    subject: &Subject<'_>,
) -> Result<(LogLimit, LogTarget), LoggingError> {
    let none = Logging::default();
    let logging = service.logging.as_ref().unwrap_or(&none);
    let driver = logging.driver.as_deref().filter(|driver| !driver.is_empty());
    let driver = driver.unwrap_or("json-file");
    let options = Options { driver, all: &logging.options };
    let known: &[&str] = match driver {
        "json-file" => {
            &["max-file", "compress", "tag", "labels", "labels-regex", "env", "env-regex"]
        }
        "local" => &["max-file", "compress"],
        "syslog" => &[
            "syslog-address",
            "syslog-facility",
            "syslog-format",
            "tag",
            "labels",
            "labels-regex",
            "env",
            "env-regex",
        ],
        "journald" => &["tag", "labels", "labels-regex", "env", "env-regex"],
        "none" => return Ok((ATTACHED, LogTarget::Nowhere)),
        _ => return Ok((options.limit()?, LogTarget::Files)),
    };
    options.check(known)?;
    options.mode()?;
    let limit = options.limit()?;
    let target = match driver {
        "syslog" => LogTarget::Syslog(SyslogTarget {
            address: options.address()?,
            facility: options.facility()?,
            format: options.format()?,
            tag: options.tag(subject)?,
        }),
        "journald" => {
            let fields = options.fields(service, subject)?;
            LogTarget::Journal(JournalTarget { fields })
        }
        _ => LogTarget::Files,
    };
    Ok((limit, target))
}

struct Options<'a> {
    driver: &'a str,
    all: &'a BTreeMap<String, String>,
}

impl Options<'_> {
    fn get(&self, option: &str) -> Option<&str> {
        self.all.get(option).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn check(&self, known: &[&str]) -> Result<(), LoggingError> {
        let mut options = self.all.keys();
        let unknown = options
            .find(|option| !COMMON.contains(&option.as_str()) && !known.contains(&option.as_str()));
        unknown.map_or(Ok(()), |option| {
            let (driver, option) = (self.driver.to_owned(), option.clone());
            Err(LoggingError::UnknownOption { driver, option })
        })
    }

    /// `mode` and `max-buffer-size`. Lines go through a file, which nobody waits for and which loses nothing: it is what
    /// either mode wants, and a buffer as large as the disk.
    fn mode(&self) -> Result<(), LoggingError> {
        match self.get("mode") {
            None | Some("blocking" | "non-blocking") => {}
            Some(mode) => return Err(bad("mode", mode, "must be `blocking` or `non-blocking`")),
        }
        self.size("max-buffer-size").map(drop)
    }

    fn size(&self, option: &'static str) -> Result<Option<u64>, LoggingError> {
        let Some(text) = self.get(option) else { return Ok(None) };
        let bytes = file::bytes(text).and_then(|bytes| u64::try_from(bytes).ok());
        bytes
            .filter(|bytes| *bytes > 0)
            .map(Some)
            .ok_or_else(|| bad(option, text, "must be a size such as `10m`"))
    }

    fn count(&self, option: &'static str) -> Result<Option<u32>, LoggingError> {
        let Some(text) = self.get(option) else { return Ok(None) };
        let count = text.parse().ok().filter(|count| *count > 0);
        count.map(Some).ok_or_else(|| bad(option, text, "must be a number from 1"))
    }

    /// `max-size` and `max-file`, or what the cache of another driver is told.
    fn limit(&self) -> Result<LogLimit, LoggingError> {
        let segment_bytes = self.size("max-size")?;
        let segment_bytes = segment_bytes.or(self.size("cache-max-size")?);
        let segments = self.count("max-file")?.or(self.count("cache-max-file")?);
        Ok(LogLimit { segment_bytes, segments: segments.or(segment_bytes.map(|_| 1)) })
    }

    fn address(&self) -> Result<SyslogAddress, LoggingError> {
        let Some(text) = self.get("syslog-address") else { return Ok(SyslogAddress::Usual) };
        let bad = |problem| Err(bad("syslog-address", text, problem));
        match text.split_once("://") {
            Some((_, "")) => bad("names no address"),
            Some(("unix", path)) => Ok(SyslogAddress::Unix(path.into())),
            Some(("unixgram", path)) => Ok(SyslogAddress::UnixDatagram(path.into())),
            Some(("udp", host)) => Ok(SyslogAddress::Udp(with_port(host))),
            Some(("tcp", host)) => Ok(SyslogAddress::Tcp(with_port(host))),
            Some(("tcp+tls", _)) => bad("wants TLS, which is not spoken to syslog servers here"),
            _ => bad("must begin with `udp://`, `tcp://`, `unix://` or `unixgram://`"),
        }
    }

    fn facility(&self) -> Result<u8, LoggingError> {
        let Some(text) = self.get("syslog-facility") else { return Ok(3) };
        let named = FACILITIES.iter().position(|name| *name == text);
        let number = named.or_else(|| text.parse().ok().filter(|number| *number < 24));
        let number = number.and_then(|number| u8::try_from(number).ok());
        number.ok_or_else(|| {
            bad("syslog-facility", text, "is none: write one such as `daemon` or `local0`")
        })
    }

    fn format(&self) -> Result<SyslogFormat, LoggingError> {
        match self.get("syslog-format") {
            None => Ok(SyslogFormat::Local),
            Some("rfc3164") => Ok(SyslogFormat::Rfc3164),
            Some("rfc5424") => Ok(SyslogFormat::Rfc5424),
            Some("rfc5424micro") => Ok(SyslogFormat::Rfc5424Micro),
            Some(text) => {
                let problem = "must be `rfc3164`, `rfc5424` or `rfc5424micro`";
                Err(bad("syslog-format", text, problem))
            }
        }
    }

    /// `tag`: a text with the fields that docker has for it.
    fn tag(&self, subject: &Subject<'_>) -> Result<String, LoggingError> {
        let template = self.get("tag").unwrap_or("{{.ID}}");
        let problem = "may have {{.ID}}, {{.FullID}}, {{.Name}}, {{.ImageName}}, {{.ImageID}}, {{.ImageFullID}} and {{.DaemonName}} in it";
        let mut tag = String::new();
        let mut rest = template;
        while let Some((before, after)) = rest.split_once("{{") {
            let (field, after) =
                after.split_once("}}").ok_or_else(|| bad("tag", template, problem))?;
            tag.push_str(before);
            let digest = subject.image_id.rsplit(':').next().unwrap_or_default();
            tag.push_str(match field.trim() {
                ".ID" => short(subject.id),
                ".FullID" => subject.id,
                ".Name" => subject.name,
                ".ImageName" => subject.image,
                ".ImageID" => short(digest),
                ".ImageFullID" => subject.image_id,
                ".DaemonName" => "compose",
                _ => return Err(bad("tag", template, problem)),
            });
            rest = after;
        }
        tag.push_str(rest);
        Ok(tag)
    }

    /// The fields of an entry in the journal, with the labels and variables that are asked for.
    fn fields(
        &self,
        service: &Service,
        subject: &Subject<'_>,
    ) -> Result<BTreeMap<String, String>, LoggingError> {
        let tag = self.tag(subject)?;
        let mut fields = BTreeMap::new();
        let labels = service.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let env = subject.env.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in self.chosen("labels", "labels-regex", labels)? {
            fields.insert(field_name(name), value.to_owned());
        }
        for (name, value) in self.chosen("env", "env-regex", env)? {
            fields.insert(field_name(name), value.to_owned());
        }
        for (name, value) in [
            ("CONTAINER_ID", short(subject.id)),
            ("CONTAINER_ID_FULL", subject.id),
            ("CONTAINER_NAME", subject.name),
            ("CONTAINER_TAG", &tag),
            ("IMAGE_NAME", subject.image),
            ("SYSLOG_IDENTIFIER", &tag),
        ] {
            fields.insert(name.to_owned(), value.to_owned());
        }
        // A name without a letter or digit is none.
        fields.remove("");
        Ok(fields)
    }

    /// Those of `all` that one option lists, or whose name another one matches.
    fn chosen<'a>(
        &self,
        list: &str,
        pattern: &'static str,
        all: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<Vec<(&'a str, &'a str)>, LoggingError> {
        let named: Vec<&str> =
            self.get(list).map_or(Vec::new(), |names| names.split(',').map(str::trim).collect());
        let matched = match self.get(pattern) {
            Some(text) => {
                Some(Regex::new(text).map_err(|_| bad(pattern, text, "is no regular expression"))?)
            }
            None => None,
        };
        let is_chosen = |name: &str| {
            named.contains(&name) || matched.as_ref().is_some_and(|matched| matched.is_match(name))
        };
        Ok(all.filter(|(name, _)| is_chosen(name)).collect())
    }
}

fn bad(option: &'static str, value: &str, problem: &'static str) -> LoggingError {
    LoggingError::BadValue { option, value: value.to_owned(), problem }
}

fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// `HOST:PORT`, with the port of syslog if none is named.
fn with_port(host: &str) -> String {
    let host = host.trim_end_matches('/');
    let behind = host.rsplit_once(']').map_or(host, |(_, behind)| behind);
    if behind.contains(':') { host.to_owned() } else { format!("{host}:514") }
}

/// A name as the journal takes it: capitals, digits and underscores, not first (systemd.journal-fields(7)).
fn field_name(name: &str) -> String {
    let upper = name.chars().map(|letter| match letter.to_ascii_uppercase() {
        letter @ ('A'..='Z' | '0'..='9') => letter,
        _ => '_',
    });
    upper.collect::<String>().trim_start_matches('_').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(driver: &str, options: &[(&str, &str)]) -> Result<(LogLimit, LogTarget), String> {
        let mut service = Service::new("web".parse().unwrap());
        service.labels.insert("org.team".to_owned(), "seven".to_owned());
        service.logging = Some(Logging {
            driver: Some(driver.to_owned()),
            options: options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        });
        let env = [("MODE".to_owned(), "fast".to_owned()), ("OTHER".to_owned(), "x".to_owned())];
        let subject = Subject {
            id: "0123456789abcdef",
            name: "p-web-1",
            image: "web:1",
            image_id: "sha256:fedcba9876543210",
            env: &env,
        };
        of_service(&service, &subject).map_err(|error| error.to_string())
    }

    #[test]
    fn files_are_limited() {
        let limit = |segment_bytes, segments| LogLimit { segment_bytes, segments };
        for driver in ["json-file", "local", ""] {
            let kept = planned(
                driver,
                &[
                    ("max-size", "10m"),
                    ("max-file", "3"),
                    ("mode", "non-blocking"),
                    ("max-buffer-size", "4m"),
                ],
            );
            assert_eq!(kept, Ok((limit(Some(10 << 20), Some(3)), LogTarget::Files)));
        }
        let one = planned("json-file", &[("max-size", "1k")]);
        assert_eq!(one, Ok((limit(Some(1 << 10), Some(1)), LogTarget::Files)));
        assert_eq!(planned("none", &[("anything", "x")]), Ok((ATTACHED, LogTarget::Nowhere)));
        let cached = planned("journald", &[("cache-max-size", "1k"), ("cache-max-file", "2")]);
        assert_eq!(cached.unwrap().0, limit(Some(1 << 10), Some(2)));
    }

    #[test]
    fn a_syslog_server_has_an_address() {
        let target = |options: &[(&str, &str)]| match planned("syslog", options) {
            Ok((_, LogTarget::Syslog(target))) => target,
            other => panic!("{other:?}"),
        };
        let plain = target(&[]);
        assert_eq!((plain.address, plain.facility), (SyslogAddress::Usual, 3));
        assert_eq!((plain.format, plain.tag.as_str()), (SyslogFormat::Local, "0123456789ab"));
        for (text, expected) in [
            ("udp://log.lan", SyslogAddress::Udp("log.lan:514".into())),
            ("tcp://[::1]", SyslogAddress::Tcp("[::1]:514".into())),
            ("tcp://10.0.0.1:601", SyslogAddress::Tcp("10.0.0.1:601".into())),
            ("unix:///run/s", SyslogAddress::Unix("/run/s".into())),
            ("unixgram:///run/s", SyslogAddress::UnixDatagram("/run/s".into())),
        ] {
            assert_eq!(target(&[("syslog-address", text)]).address, expected);
        }
        let full = target(&[
            ("syslog-facility", "local7"),
            ("syslog-format", "rfc5424"),
            ("tag", "{{.Name}}/{{ .ImageID }}!"),
        ]);
        assert_eq!((full.facility, full.format), (23, SyslogFormat::Rfc5424));
        assert_eq!(full.tag, "p-web-1/fedcba987654!");
        assert_eq!(target(&[("syslog-facility", "5")]).facility, 5);
    }

    #[test]
    fn the_journal_gets_fields() {
        let options = [("labels", "org.team,none"), ("env-regex", "^MO"), ("tag", "t")];
        let Ok((_, LogTarget::Journal(target))) = planned("journald", &options) else { panic!() };
        let fields: Vec<String> =
            target.fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            fields,
            [
                "CONTAINER_ID=0123456789ab",
                "CONTAINER_ID_FULL=0123456789abcdef",
                "CONTAINER_NAME=p-web-1",
                "CONTAINER_TAG=t",
                "IMAGE_NAME=web:1",
                "MODE=fast",
                "ORG_TEAM=seven",
                "SYSLOG_IDENTIFIER=t",
            ]
        );
        assert_eq!(field_name("_hidden.Name-2"), "HIDDEN_NAME_2");
    }

    #[test]
    fn mistakes_are_named() {
        #[rustfmt::skip]
        let table = [
            ("json-file", "max-siez", "1m", "the log driver `json-file` has no option `max-siez`"),
            ("local", "labels", "a", "the log driver `local` has no option `labels`"),
            ("json-file", "max-size", "big", "the log option `max-size: big` must be a size such as `10m`"),
            ("json-file", "max-file", "0", "the log option `max-file: 0` must be a number from 1"),
            ("json-file", "mode", "fast", "the log option `mode: fast` must be `blocking` or `non-blocking`"),
            ("syslog", "syslog-address", "log.lan", "the log option `syslog-address: log.lan` must begin with `udp://`, `tcp://`, `unix://` or `unixgram://`"),
            ("syslog", "syslog-address", "tcp+tls://x", "the log option `syslog-address: tcp+tls://x` wants TLS, which is not spoken to syslog servers here"),
            ("syslog", "syslog-facility", "local9", "the log option `syslog-facility: local9` is none: write one such as `daemon` or `local0`"),
            ("syslog", "syslog-format", "json", "the log option `syslog-format: json` must be `rfc3164`, `rfc5424` or `rfc5424micro`"),
            ("journald", "env-regex", "(", "the log option `env-regex: (` is no regular expression"),
        ];
        for (driver, option, value, message) in table {
            assert_eq!(planned(driver, &[(option, value)]), Err(message.to_owned()));
        }
        let tag = planned("syslog", &[("tag", "{{.Nmae}}")]).unwrap_err();
        assert!(tag.starts_with("the log option `tag: {{.Nmae}}` may have {{.ID}}"), "{tag}");
    }
}
