//! `command: sh -c "a b"`: splits a string into words as docker compose does, which is nearly, but
//! not quite, as a shell does.

/// A command in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Words {
    pub(crate) words: Vec<String>,
    /// The byte and the shell operator at which reading stopped: there is no shell that could
    /// understand it.
    pub(crate) stopped_at: Option<(usize, char)>,
}

/// A quote, a backslash or a parenthesis without its partner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WordsError {
    #[error("a quote is not closed")]
    Quote,
    #[error("there is nothing after the last backslash")]
    Backslash,
    #[error("an unquoted parenthesis is not closed")]
    Parenthesis,
}

/// Splits `line` by the rules of go-shellwords: quotes and backslashes as in a shell; reading
/// ends, without an error, at an unquoted `;`, `&`, `|`, `<` or `>`.
pub(crate) fn split(line: &str) -> Result<Words, WordsError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let (mut double, mut single, mut back, mut dollar, mut escaped) =
        (false, false, false, false, false);
    let mut stopped_at = None;
    for (at, c) in line.char_indices() {
        if escaped {
            word.get_or_insert_default().push(c);
            escaped = false;
            continue;
        }
        let quoted = single || double || back || dollar;
        match c {
            '\\' if single => word.get_or_insert_default().push(c),
            '\\' => escaped = true,
            ' ' | '\t' | '\r' | '\n' if !quoted => words.extend(word.take()),
            '"' if !single && !dollar => {
                double = !double;
                word.get_or_insert_default();
            }
            '\'' if !double && !dollar => {
                single = !single;
                word.get_or_insert_default();
            }
            ';' | '&' | '|' | '<' | '>' if !quoted => {
                let file_descriptor = word.as_deref().is_some_and(|word| {
                    c == '>' && word.starts_with(|first: char| first.is_ascii_digit())
                });
                if file_descriptor {
                    word = None;
                }
                stopped_at = Some((at, c));
                break;
            }
            other => {
                match other {
                    '`' if !single && !double && !dollar => back = !back,
                    ')' if !single && !double && !back => dollar = !dollar,
                    '(' if !single && !double && !back => {
                        let after_dollar = word.as_deref().is_some_and(|word| word.ends_with('$'));
                        if dollar || !after_dollar {
                            return Err(WordsError::Parenthesis);
                        }
                        dollar = true;
                    }
                    _ => {}
                }
                word.get_or_insert_default().push(other);
            }
        }
    }
    words.extend(word);
    match (single || double || back, dollar, escaped) {
        (true, ..) => Err(WordsError::Quote),
        (_, true, _) => Err(WordsError::Parenthesis),
        (.., true) => Err(WordsError::Backslash),
        _ => Ok(Words { words, stopped_at }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits() {
        #[rustfmt::skip]
        let table: [(&str, &[&str], Option<char>); 14] = [
            ("a b", &["a", "b"], None), ("", &[], None), ("  a   b ", &["a", "b"], None),
            ("sh -c 'a b'", &["sh", "-c", "a b"], None), (r#"a"b c"d"#, &["ab cd"], None),
            (r"a\ b", &["a b"], None), ("a ''", &["a", ""], None), (r"a\nb", &["anb"], None),
            ("a && b", &["a"], Some('&')), ("a > f", &["a"], Some('>')), ("a 2>f", &["a"], Some('>')),
            ("'a|b'", &["a|b"], None), ("$(a b) c", &["$(a b)", "c"], None), ("'a\\n'", &["a\\n"], None),
        ];
        for (line, words, stopped_at) in table {
            let split = split(line).unwrap();
            assert_eq!(
                (split.words, split.stopped_at.map(|(_, operator)| operator)),
                (words.iter().map(ToString::to_string).collect(), stopped_at),
                "{line}"
            );
        }
        for bad in ["'a", "\"a", "a\\", "(a)", "a )", "`a"] {
            assert!(split(bad).is_err(), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(line in "[a$'\"\\\\()`;& \n]{0,16}") {
            let _ = split(&line);
        }
    }
}
