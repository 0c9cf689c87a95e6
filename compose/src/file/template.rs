//! `$NAME` and `${NAME…}`: the templates of compose files and of `.env` files.

use std::collections::BTreeMap;

/// The longest value: an environment of Linux cannot hold more than a few of these.
const MAX_BYTES: usize = 1 << 20;
/// Variables within the defaults of variables.
const MAX_DEPTH: usize = 50;

/// Where the values of variables come from, and who wants to know about missing ones.
pub(crate) trait Variables {
    /// The value of `name`, if it is set.
    fn value(&mut self, name: &str) -> Option<String>;

    /// `name` was needed, is not set, and counts as empty.
    fn missing(&mut self, name: &str);
}

/// A template that cannot be filled in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TemplateError {
    /// Not a template.
    #[error("`{0}` is not a variable")]
    Invalid(String),
    /// Variables that double each other would fill the memory.
    #[error("the value is longer than {MAX_BYTES} bytes")]
    TooLong,
    /// Templates in templates in templates.
    #[error("more than {MAX_DEPTH} variables are nested")]
    TooDeep,
    /// `${NAME?…}` of a variable that is not there.
    #[error("the required variable `{name}` {state}{separator}{message}", separator = if message.is_empty() { "" } else { ": " })]
    Required {
        /// The variable.
        name: String,
        /// "is not set" or "is empty".
        state: &'static str,
        /// What the author of the file says about it.
        message: String,
    },
}

/// Fills in `template`.
pub(crate) fn fill<V: Variables>(
    template: &str,
    variables: &mut V,
) -> Result<String, TemplateError> {
    fill_at(template, variables, 0)
}

fn fill_at<V: Variables>(
    template: &str,
    variables: &mut V,
    depth: usize,
) -> Result<String, TemplateError> {
    if depth > MAX_DEPTH {
        return Err(TemplateError::TooDeep);
    }
    let mut filled = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(at) = rest.find('$') {
        filled.push_str(&rest[..at]);
        rest = piece(&rest[at..], variables, &mut filled, depth)?;
        if filled.len() > MAX_BYTES {
            return Err(TemplateError::TooLong);
        }
    }
    filled.push_str(rest);
    Ok(filled)
}

/// Fills in what begins at the `$` of `text` and returns what follows it.
fn piece<'t, V: Variables>(
    text: &'t str,
    variables: &mut V,
    filled: &mut String,
    depth: usize,
) -> Result<&'t str, TemplateError> {
    let after = &text[1..];
    if let Some(rest) = after.strip_prefix('$') {
        filled.push('$');
        return Ok(rest);
    }
    if let Some(inner) = after.strip_prefix('{') {
        let Some(end) = closing_brace(inner) else {
            return Err(TemplateError::Invalid(text.to_owned()));
        };
        filled.push_str(&braced(&inner[..end], variables, depth)?);
        return Ok(&inner[end + 1..]);
    }
    let name = &after[..name_length(after)];
    if name.is_empty() {
        filled.push('$');
    } else {
        filled.push_str(&plain(name, variables));
    }
    Ok(&after[name.len()..])
}

fn plain<V: Variables>(name: &str, variables: &mut V) -> String {
    variables.value(name).unwrap_or_else(|| {
        variables.missing(name);
        String::new()
    })
}

fn braced<V: Variables>(
    inner: &str,
    variables: &mut V,
    depth: usize,
) -> Result<String, TemplateError> {
    let Some(expression) = Expression::parse(inner) else {
        return Err(TemplateError::Invalid(format!("${{{inner}}}")));
    };
    let Expression { name, operator } = expression;
    let Some(Operator { kind, empty_counts_as_unset, word }) = operator else {
        return Ok(plain(name, variables));
    };
    let value = variables.value(name);
    let usable = value.filter(|value| !(empty_counts_as_unset && value.is_empty()));
    match (kind, usable) {
        (OperatorKind::Default | OperatorKind::Required, Some(value)) => Ok(value),
        (OperatorKind::Default, None) | (OperatorKind::Alternate, Some(_)) => {
            fill_at(word, variables, depth + 1)
        }
        (OperatorKind::Alternate, None) => Ok(String::new()),
        (OperatorKind::Required, None) => {
            let state = if variables.value(name).is_some() { "is empty" } else { "is not set" };
            let message = fill_at(word, variables, depth + 1)?;
            Err(TemplateError::Required { name: name.to_owned(), state, message })
        }
    }
}

/// What stands between the braces.
struct Expression<'t> {
    name: &'t str,
    operator: Option<Operator<'t>>,
}

struct Operator<'t> {
    kind: OperatorKind,
    empty_counts_as_unset: bool,
    word: &'t str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum OperatorKind {
    Default,
    Required,
    Alternate,
}

impl<'t> Expression<'t> {
    fn parse(inner: &'t str) -> Option<Self> {
        let (name, rest) = inner.split_at(name_length(inner));
        if name.is_empty() {
            return None;
        }
        if rest.is_empty() {
            return Some(Self { name, operator: None });
        }
        let (empty_counts_as_unset, rest) = match rest.strip_prefix(':') {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let kind = match rest.chars().next()? {
            '-' => OperatorKind::Default,
            '?' => OperatorKind::Required,
            '+' => OperatorKind::Alternate,
            _ => return None,
        };
        Some(Self {
            name,
            operator: Some(Operator { kind, empty_counts_as_unset, word: &rest[1..] }),
        })
    }
}

fn name_length(text: &str) -> usize {
    let valid = |(index, byte): &(usize, u8)| {
        byte.is_ascii_alphabetic() || *byte == b'_' || (*index > 0 && byte.is_ascii_digit())
    };
    text.bytes().enumerate().take_while(valid).count()
}

/// The brace that closes the one before `inner`; where braces do not balance, the last one.
fn closing_brace(inner: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, byte) in inner.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 0 => return Some(at),
            b'}' => depth -= 1,
            _ => {}
        }
    }
    inner.rfind('}')
}

/// What a file says about a variable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Mention {
    /// The file cannot be read without it.
    pub(crate) required: bool,
    /// What stands in for it.
    pub(crate) default: String,
    /// What stands there if it is set.
    pub(crate) alternate: String,
}

/// Notes all variables that `template` mentions, in defaults too.
pub(crate) fn mentions(template: &str, found: &mut BTreeMap<String, Mention>) {
    mentions_at(template, found, 0);
}

fn mentions_at(template: &str, found: &mut BTreeMap<String, Mention>, depth: usize) {
    if depth > MAX_DEPTH {
        return;
    }
    let mut rest = template;
    while let Some(at) = rest.find('$') {
        let after = &rest[at + 1..];
        if let Some(escaped) = after.strip_prefix('$') {
            rest = escaped;
        } else if let Some(inner) = after.strip_prefix('{') {
            let Some(end) = closing_brace(inner) else { return };
            if let Some(expression) = Expression::parse(&inner[..end]) {
                note(&expression, found, depth);
            }
            rest = &inner[end + 1..];
        } else {
            let length = name_length(after);
            if length > 0 {
                found.entry(after[..length].to_owned()).or_default();
            }
            rest = &after[length..];
        }
    }
}

fn note(expression: &Expression<'_>, found: &mut BTreeMap<String, Mention>, depth: usize) {
    let mut mention = Mention::default();
    if let Some(Operator { kind, word, .. }) = &expression.operator {
        match kind {
            OperatorKind::Default => mention.default = (*word).to_owned(),
            OperatorKind::Required => mention.required = true,
            OperatorKind::Alternate => mention.alternate = (*word).to_owned(),
        }
        mentions_at(word, found, depth + 1);
    }
    found.insert(expression.name.to_owned(), mention);
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(Vec<String>);

    impl Variables for Fixed {
        fn value(&mut self, name: &str) -> Option<String> {
            match name {
                "FOO" => Some("first".into()),
                "EMPTY" => Some(String::new()),
                _ => None,
            }
        }

        fn missing(&mut self, name: &str) {
            self.0.push(name.into());
        }
    }

    fn filled(template: &str) -> Result<String, String> {
        fill(template, &mut Fixed(Vec::new())).map_err(|error| error.to_string())
    }

    #[test]
    fn every_form() {
        #[rustfmt::skip]
        let table = [
            ("a$FOO-b", "afirst-b"), ("${FOO}", "first"), ("$$FOO", "$FOO"), ("$$$FOO", "$first"),
            ("$", "$"), ("$1", "$1"), ("a$-b", "a$-b"), ("$UNSET.", "."), ("${UNSET}", ""),
            ("${EMPTY:-d}", "d"), ("${EMPTY-d}", ""), ("${UNSET-d}", "d"), ("${FOO:-d}", "first"),
            ("${EMPTY:+a}", ""), ("${EMPTY+a}", "a"), ("${FOO:+a}z", "az"), ("${UNSET+a}", ""),
            ("${UNSET:-${FOO}}", "first"), ("${UNSET:-${EMPTY:-x}}y", "xy"),
            (r#"${UNSET:-{"a":1}}"#, r#"{"a":1}"#), ("${UNSET:-:?-}", ":?-"), ("${FOO?no}", "first"),
            ("${UNSET:-$$x}", "$x"), ("${UNSET:-a b/c}", "a b/c"), ("${UNSET:-}", ""),
        ];
        for (template, text) in table {
            assert_eq!(filled(template).as_deref(), Ok(text), "{template}");
        }
    }

    #[test]
    fn what_is_refused() {
        #[rustfmt::skip]
        let table = [
            ("${", "`${` is not a variable"), ("${}", "`${}` is not a variable"),
            ("${ FOO}", "`${ FOO}` is not a variable"), ("${1A}", "`${1A}` is not a variable"),
            ("${FOO!x}", "`${FOO!x}` is not a variable"), ("${FOO:x}", "`${FOO:x}` is not a variable"),
            ("${A.B}", "`${A.B}` is not a variable"),
            ("${UNSET?}", "the required variable `UNSET` is not set"),
            ("${EMPTY:?why $FOO}", "the required variable `EMPTY` is empty: why first"),
        ];
        for (template, error) in table {
            assert_eq!(filled(template), Err(error.into()), "{template}");
        }
    }

    #[test]
    fn depth_and_length_are_bounded() {
        let deep = "${A:-".repeat(100_000) + &"}".repeat(100_000);
        assert!(filled(&deep).unwrap_err().contains("nested"));
        mentions(&deep, &mut BTreeMap::new());
        let long = "$FOO".repeat(300_000);
        assert!(filled(&long).unwrap_err().contains("longer"));
    }

    #[test]
    fn defaults_are_lazy() {
        let mut variables = Fixed(Vec::new());
        assert_eq!(fill("${FOO:-$A} ${UNSET:-$B}", &mut variables).unwrap(), "first ");
        assert_eq!(variables.0, ["B"]);
    }

    #[test]
    fn finds_the_variables() {
        let mut found = BTreeMap::new();
        mentions("$A ${B:-x${C}} ${D:?e} $$E ${F+g}", &mut found);
        let names: Vec<&str> = found.keys().map(String::as_str).collect();
        assert_eq!(names, ["A", "B", "C", "D", "F"]);
        assert_eq!(found["B"].default, "x${C}");
        assert!(found["D"].required && !found["A"].required);
        assert_eq!(found["F"].alternate, "g");
    }

    proptest::proptest! {
        #[test]
        fn never_panics(template in "[${}:?+A_ é-]{0,24}") {
            let _ = filled(&template);
            mentions(&template, &mut BTreeMap::new());
        }
    }
}
