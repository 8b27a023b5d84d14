//! The delimiters of templates.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Delimiters of the expressions in templates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TemplateDelimitersSpec {
    /// Beginning of an expression: 2 to 4 ASCII signs, such as `[[`; no letters, digits, spaces,
    /// quotes or `_`.
    #[serde(default = "open")]
    #[schemars(length(min = 2, max = 4), extend("pattern" = PATTERN))]
    pub open: String,
    /// End of an expression: 2 to 4 signs as in `open`, but not the same as `open`, and not
    /// beginning with `.`, `(` or `[`.
    #[serde(default = "close")]
    #[schemars(length(min = 2, max = 4), extend("pattern" = PATTERN))]
    pub close: String,
}

/// ASCII punctuation without quotes and `_`.
const PATTERN: &str = r"^[!#-&(-/:-@\[-^`{-~]+$";

impl TemplateDelimitersSpec {
    /// Returns whether the delimiters are the usual `{{ }}`, so that the field can be left out.
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
