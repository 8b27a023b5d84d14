//! Delimiters of expressions: `{{` and `}}`, or those that a test chooses because Helm or another
//! tool takes these for its own.

use serde::{Deserialize, Serialize};

/// Text before and after an expression.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct Delimiters {
    open: String,
    close: String,
}

#[derive(Deserialize)]
struct Unchecked {
    open: String,
    close: String,
}

impl Delimiters {
    /// Builds a pair of delimiters. Each has 2 to 4 ASCII signs, other than those that expressions
    /// are made of in that place.
    pub fn new(open: &str, close: &str) -> Result<Self, String> {
        for (name, text) in [("open", open), ("close", close)] {
            let fits = (2..=4).contains(&text.len())
                && text
                    .bytes()
                    .all(|b| b.is_ascii_punctuation() && !b"_\"'".contains(&b));
            if !fits {
                return Err(format!(
                    "{name} must be 2 to 4 signs, such as [[, without letters, digits, spaces, quotes and _"
                ));
            }
        }
        if open == close {
            return Err("open and close must differ".into());
        }
        if close.starts_with(['.', '[', '(']) {
            return Err("close may not begin with . [ or (, which go on with an expression".into());
        }
        Ok(Self {
            open: open.to_owned(),
            close: close.to_owned(),
        })
    }

    /// Text before an expression.
    pub fn open(&self) -> &str {
        &self.open
    }

    /// Text after an expression.
    pub fn close(&self) -> &str {
        &self.close
    }

    /// Tells whether the delimiters are `{{` and `}}`.
    pub(super) fn are_usual(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for Delimiters {
    fn default() -> Self {
        Self {
            open: "{{".into(),
            close: "}}".into(),
        }
    }
}

impl TryFrom<Unchecked> for Delimiters {
    type Error = String;

    fn try_from(Unchecked { open, close }: Unchecked) -> Result<Self, String> {
        Self::new(&open, &close)
    }
}
