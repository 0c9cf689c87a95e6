//! What a registry demands, and the tokens that satisfy it.
//!
//! Source: distribution `docs/spec/auth/token.md` and `oauth.md`; RFC 9110, section 11.

use serde::Deserialize;

/// What the answer 401 asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// Name and password with each request.
    Basic,
    /// A token of somebody else.
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

/// The first challenge of a header `WWW-Authenticate` that we can answer; a token before a password.
pub(crate) fn challenge(headers: &[&str]) -> Option<Challenge> {
    let parsed: Vec<Challenge> = headers.iter().filter_map(|header| parse(header)).collect();
    let bearer = parsed.iter().find(|one| matches!(one, Challenge::Bearer { .. }));
    bearer.or_else(|| parsed.first()).cloned()
}

fn parse(header: &str) -> Option<Challenge> {
    let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let (mut realm, mut service, mut scope) = (None, None, None);
    let mut rest = rest.trim();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=')?;
        let (value, after) = value(after)?;
        match name.trim().to_ascii_lowercase().as_str() {
            "realm" => realm = Some(value),
            "service" => service = Some(value),
            "scope" => scope = Some(value),
            _ => {}
        }
        rest = after.trim_start().trim_start_matches(',').trim_start();
    }
    Some(Challenge::Bearer { realm: realm?, service, scope })
}

/// A token or a quoted string, and what follows it.
fn value(text: &str) -> Option<(String, &str)> {
    let text = text.trim_start();
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ']).unwrap_or(text.len());
        return Some((text[..end].to_owned(), &text[end..]));
    };
    let mut out = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((out, &quoted[at + 1..])),
            '\\' => out.push(characters.next()?.1),
            other => out.push(other),
        }
    }
    None
}

/// What a token server answers.
#[derive(Deserialize)]
pub(crate) struct Answer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
}

impl Answer {
    /// The token; registries call it by one of two names.
    pub(crate) fn token(self) -> Option<String> {
        self.token.or(self.access_token).filter(|token| !token.is_empty())
    }
}

/// A word as it may stand in a query (RFC 3986, section 2.3).
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Option<Challenge> {
        let own = |text: Option<&str>| text.map(str::to_owned);
        Some(Challenge::Bearer {
            realm: realm.to_owned(),
            service: own(service),
            scope: own(scope),
        })
    }

    #[test]
    fn challenges_are_understood() {
        #[rustfmt::skip]
        let table: [(&[&str], Option<Challenge>); 8] = [
            (&[r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/mysql:pull,push""#],
                bearer("https://auth.docker.io/token", Some("registry.docker.io"), Some("repository:library/mysql:pull,push"))),
            (&[r#"bearer realm = "https://a\"b" , service=x"#], bearer("https://a\"b", Some("x"), None)),
            (&[r#"Basic realm="x""#, r#"Bearer realm="y""#], bearer("y", None, None)),
            (&[r#"Basic realm="x""#], Some(Challenge::Basic)),
            (&["Basic"], Some(Challenge::Basic)),
            (&[r#"Negotiate"#], None),
            (&[r#"Bearer realm="open"#], None),
            (&["Bearer service=x"], None),
        ];
        for (headers, expected) in table {
            assert_eq!(challenge(headers), expected, "{headers:?}");
        }
    }

    #[test]
    fn words_are_escaped() {
        assert_eq!(escaped("repository:a/b:pull"), "repository%3Aa%2Fb%3Apull");
        assert_eq!(escaped("ä z"), "%C3%A4%20z");
    }
}
