//! Finds what looks like a secret in a text: a known form, or a value under a name that says so.
//!
//! Whether it is one only its owner knows; so it is shown, and asked about.

use std::fmt;
use std::sync::LazyLock;

use regex::Regex;

/// Something that looks like a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Suspicion {
    /// The line, from 1.
    pub(super) line: usize,
    what: &'static str,
    /// Its first characters.
    hint: String,
}

impl fmt::Display for Suspicion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.hint)
    }
}

/// Characters of a secret that are shown.
const HINT: usize = 4;

/// Forms of secrets that say what they are. Source: the documentation of those who give them out.
static FORMS: LazyLock<Vec<(&'static str, Regex)>> = LazyLock::new(|| {
    [
        ("a private key", r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
        ("an access key of AWS", r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
        ("a token of GitHub", r"\b(?:gh[pousr]_[0-9A-Za-z]{36,}|github_pat_[0-9A-Za-z_]{36,})\b"),
        ("a token of GitLab", r"\bglpat-[0-9A-Za-z_-]{20,}\b"),
        ("a token of Slack", r"\bxox[abprs]-[0-9A-Za-z-]{10,}\b"),
        ("a key of Stripe", r"\b[rs]k_live_[0-9A-Za-z]{16,}\b"),
        ("a key of Google", r"\bAIza[0-9A-Za-z_-]{35}\b"),
        ("a JSON web token", r"\beyJ[0-9A-Za-z_-]{8,}\.eyJ[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]{8,}\b"),
    ]
    .into_iter()
    .map(|(what, form)| (what, pattern(form)))
    .collect()
});

/// `scheme://user:password@`
static ADDRESS: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"[a-z][a-z0-9+.-]*://[^\s/:@]*:(?P<value>[^\s/:@]+)@"));

/// `password: value`, `"API_KEY=value"`
static NAMED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r#"(?i)\b[a-z0-9_.-]*(?:passw(?:or)?d|passphrase|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credentials?)[a-z0-9_.-]*["']?\s*[:=]\s*["']?(?P<value>[^\s"'#,{}\[\]]+)"#,
    )
});

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("our own patterns are well-formed")
}

/// All that looks like a secret, line by line.
pub(super) fn find(text: &str) -> Vec<Suspicion> {
    text.lines().enumerate().filter_map(|(index, line)| suspect(index + 1, line)).collect()
}

fn suspect(line: usize, text: &str) -> Option<Suspicion> {
    let known = FORMS.iter().find_map(|(what, form)| Some((*what, form.find(text)?.as_str())));
    let in_address = || Some(("a password in an address", value(ADDRESS.captures(text)?)?));
    let named =
        || Some(("a value whose name says that it is secret", value(NAMED.captures(text)?)?));
    let (what, found) = known.or_else(in_address).or_else(named)?;
    let hint: String = found.chars().take(HINT).collect();
    let rest = if found.chars().count() > HINT { "…" } else { "" };
    Some(Suspicion { line, what, hint: hint + rest })
}

/// A value that is written out: no variable, no path, and no mere switch.
fn value(captures: regex::Captures<'_>) -> Option<&str> {
    let value = captures.name("value")?.as_str();
    let is_elsewhere =
        value.contains('$') || value.starts_with(['/', '.', '~', '*', '&', '|', '>']);
    let is_switch =
        matches!(value.to_ascii_lowercase().as_str(), "true" | "false" | "yes" | "no" | "null");
    (!is_elsewhere && !is_switch && value.len() > 2).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_suspected() {
        #[rustfmt::skip]
        let table = [
            ("POSTGRES_PASSWORD: hunter2", "a value whose name says that it is secret: hunt…"),
            ("- \"API_KEY=abc\"", "a value whose name says that it is secret: abc"),
            ("url: postgres://u:pass@db/x", "a password in an address: pass"),
            ("key: AKIAIOSFODNN7EXAMPLE", "an access key of AWS: AKIA…"),
            ("-----BEGIN RSA PRIVATE KEY-----", "a private key: ----…"),
            ("t: ghp_0123456789abcdefghij0123456789abcdefghij", "a token of GitHub: ghp_…"),
        ];
        for (text, expected) in table {
            let found = find(&format!("\n{text}\n"));
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert_eq!((found[0].line, found[0].to_string()), (2, expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_not() {
        for text in [
            "image: nginx:1.25",
            "secrets: [db]",
            "POSTGRES_PASSWORD: ${PASSWORD}",
            "token: $TOKEN",
            "PASSWORD_FILE: /run/secrets/db",
            "use_token: true",
            "password:",
            "url: http://h:80/x",
            "digest: sha256:0123456789abcdef",
            "  secrets:",
        ] {
            assert_eq!(find(text), [], "{text}");
        }
    }
}
