//! How templates are written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TemplateDelimitersSpec {
    /// What an expression begins with: 2 to 4 signs, such as `[[`; no letters, digits, spaces,
    /// quotes or `_`.
    #[serde(default = "open")]
    #[schemars(length(min = 2, max = 4), extend("pattern" = PATTERN))]
    pub open: String,
    /// What it ends with, likewise; not the same as `open`, and not beginning with `.`, `(` or
    /// `[`.
    #[serde(default = "close")]
    #[schemars(length(min = 2, max = 4), extend("pattern" = PATTERN))]
    pub close: String,
}

/// ASCII punctuation without quotes and `_`.
const PATTERN: &str = r"^[!#-&(-/:-@\[-^`{-~]+$";

impl TemplateDelimitersSpec {
    pub fn are_usual(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for TemplateDelimitersSpec {
    fn default() -> Self {
        Self {
            open: open(),
            close: close(),
        }
    }
}

fn open() -> String {
    "{{".into()
}

fn close() -> String {
    "}}".into()
}
