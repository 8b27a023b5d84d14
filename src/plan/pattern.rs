//! Regular expressions over answers, in RE2 syntax: no backtracking, so no input makes them slow.

use std::sync::OnceLock;

use regex::bytes::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

use super::budget;

/// Longest expression, in bytes.
pub const MAX_PATTERN: usize = 512;

/// Largest compiled expression, in bytes: `(.{1000}){1000}` is short to write and long to hold.
const MAX_COMPILED: usize = 1 << 20;

/// Smallest limit that is tried, in bytes.
const SMALL: usize = 1 << 10;

/// A compiled expression; in JSON it is its source text.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern {
    source: String,
    /// Empty in a plan that is only passed on, see [`budget::as_text`].
    compiled: OnceLock<Regex>,
}

impl Pattern {
    /// Compiles an expression. The error is one line for the test's author.
    pub fn parse(source: &str) -> Result<Self, String> {
        if source.len() > MAX_PATTERN {
            return Err(format!(
                "a regular expression is at most {MAX_PATTERN} bytes long"
            ));
        }
        let compiled = compile_within_budget(source)?;
        Ok(Self {
            source: source.to_owned(),
            compiled: compiled.into(),
        })
    }

    fn regex(&self) -> &Regex {
        self.compiled.get_or_init(|| {
            compile(&self.source, MAX_COMPILED)
                .expect("an expression is taken as text only once it has been compiled")
        })
    }

    /// The expression as it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Tells whether the expression matches anywhere in `text`; anchors narrow that down.
    pub fn matches(&self, text: &[u8]) -> bool {
        self.regex().is_match(text)
    }

    /// Group 1 of the first match if the expression has a group, else the whole match. A group that
    /// took no part in the match gives `None`.
    pub fn find<'t>(&self, text: &'t [u8]) -> Option<&'t [u8]> {
        let regex = self.regex();
        match regex.captures_len() {
            1 => regex.find(text).map(|found| found.as_bytes()),
            _ => regex.captures(text)?.get(1).map(|found| found.as_bytes()),
        }
    }
}

fn compile(source: &str, most: usize) -> Result<Regex, regex::Error> {
    RegexBuilder::new(source).size_limit(most).build()
}

/// Compiles an expression and counts what it takes. The library does not tell the size, only
/// whether a limit was kept: with a budget the limit is raised until it is.
fn compile_within_budget(source: &str) -> Result<Regex, String> {
    let mut most = match budget::is_open() {
        true => SMALL,
        false => MAX_COMPILED,
    };
    loop {
        match compile(source, most) {
            Err(regex::Error::CompiledTooBig(_)) if most < MAX_COMPILED => most *= 4,
            Err(error) => return Err(explain(source, &error)),
            Ok(regex) => {
                budget::compile(most)?;
                return Ok(regex);
            }
        }
        // not to be compiled in vain
        budget::compile(0)?;
    }
}

fn explain(source: &str, error: &regex::Error) -> String {
    let text = error.to_string();
    // the last line says what is wrong, those before point at it with a caret
    let why = text
        .lines()
        .last()
        .unwrap_or_default()
        .trim_start_matches("error: ");
    format!("{source:?} is not a regular expression (RE2 syntax): {why}")
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.source() == other.source()
    }
}

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(source: String) -> Result<Self, String> {
        if budget::is_as_text() && source.len() <= MAX_PATTERN {
            let compiled = OnceLock::new();
            return Ok(Self { source, compiled });
        }
        Self::parse(&source)
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> String {
        pattern.source().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_expression_or_too_much_of_one_is_refused_in_one_line() {
        for source in [
            "(",
            "a{2,1}",
            "(?=a)",
            r"(a)\1",
            "(.{1000}){1000}",
            "*",
            r"\p{Nothing}",
        ] {
            let why = Pattern::parse(source).expect_err(source);
            assert!(!why.contains('\n'), "{why}");
        }
        assert!(Pattern::parse(&"a".repeat(MAX_PATTERN + 1)).is_err());
    }

    #[test]
    fn group_one_is_taken_where_there_is_one() {
        let find = |source: &str, text: &str| {
            Pattern::parse(source)
                .unwrap()
                .find(text.as_bytes())
                .map(<[u8]>::to_vec)
        };
        assert_eq!(find("id=([0-9]+)", "x id=42 id=43"), Some(b"42".to_vec()));
        assert_eq!(find("id=[0-9]+", "x id=42"), Some(b"id=42".to_vec()));
        assert_eq!(find("id=(?:[0-9]+)", "id=42"), Some(b"id=42".to_vec()));
        assert_eq!(find("a|b(c)", "a"), None);
        assert_eq!(find("a", "b"), None);
    }

    #[test]
    fn bytes_that_are_no_text_may_be_searched() {
        assert!(Pattern::parse("ok").unwrap().matches(b"\xff\xfeok\x00"));
    }

    #[test]
    fn a_pattern_is_its_source_in_json() {
        let pattern = Pattern::parse("^a(b)$").unwrap();
        assert_eq!(
            serde_json::from_value::<Pattern>(serde_json::to_value(&pattern).unwrap()).unwrap(),
            pattern
        );
    }
}
