//! Reason why an answer does not fit a rule.

use crate::plan::cel::EvaluationError;
use crate::plan::json_path::TooManySteps;
use crate::stats::ErrorClass;

/// Reason why an answer does not fit a check, or has no value to extract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unfit {
    /// Description of what was found instead.
    Found(String),
    /// Description of an expression that takes too many steps: nothing is known about the answer.
    TooManySteps(String),
}

impl Unfit {
    /// Returns the class of the failure; `usual` is that of an answer that was looked at.
    pub(super) fn class(&self, usual: ErrorClass) -> ErrorClass {
        match self {
            Unfit::Found(_) => usual,
            Unfit::TooManySteps(_) => ErrorClass::Expression,
        }
    }
}

impl std::fmt::Display for Unfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Unfit::Found(why) | Unfit::TooManySteps(why) => f.write_str(why),
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
