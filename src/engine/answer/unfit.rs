//! Reason why an answer does not fit a rule.

use crate::plan::cel::EvaluationError;
use crate::plan::json_path::TooManySteps;
use crate::stats::ErrorClass;

/// Reason why an answer does not fit a check, or has no value to extract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unfit {
    /// Description of what was found instead.
    Found(String),
    /// Description of what was found in place of a value that an expression gave.
    Differs {
        /// Description of what was found.
        found: String,
        /// Text of the value as the test writes it.
        written: String,
        /// Value that it stands for, shortened.
        given: String,
    },
    /// Description of an expression that takes too many steps: nothing is known about the answer.
    TooManySteps(String),
}

impl Unfit {
    /// Returns the class of the failure; `usual` is that of an answer that was looked at.
    pub(super) fn class(&self, usual: ErrorClass) -> ErrorClass {
        match self {
            Unfit::Found(_) | Unfit::Differs { .. } => usual,
            Unfit::TooManySteps(_) => ErrorClass::Expression,
        }
    }

    /// Returns the text of a rule with the value that was compared with in place of its expression.
    pub(super) fn asked(&self, rule: &str) -> String {
        match self {
            Unfit::Differs { written, given, .. } => rule.replace(written, given),
            Unfit::Found(_) | Unfit::TooManySteps(_) => rule.to_owned(),
        }
    }

    /// Adds words to what was found.
    pub(super) fn and(mut self, words: &str) -> Self {
        let (Unfit::Found(found) | Unfit::Differs { found, .. } | Unfit::TooManySteps(found)) =
            &mut self;
        found.push_str("; ");
        found.push_str(words);
        self
    }
}

impl std::fmt::Display for Unfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Unfit::Found(why) | Unfit::Differs { found: why, .. } | Unfit::TooManySteps(why) => {
                f.write_str(why)
            }
        }
    }
}

impl From<String> for Unfit {
    fn from(why: String) -> Self {
        Unfit::Found(why)
    }
}

impl From<&str> for Unfit {
    fn from(why: &str) -> Self {
        Unfit::Found(why.to_owned())
    }
}

impl From<TooManySteps> for Unfit {
    fn from(error: TooManySteps) -> Self {
        Unfit::TooManySteps(error.to_string())
    }
}

impl From<EvaluationError> for Unfit {
    fn from(error: EvaluationError) -> Self {
        match error {
            EvaluationError::TooManySteps => Unfit::TooManySteps(error.to_string()),
            EvaluationError::NoValue(why) => Unfit::Found(why),
        }
    }
}
