//! Checks of the spec as one pass sees them: their outcome where it is known, else a note that it is
//! wanted.

use std::sync::Arc;

use super::checker::{Checker, Outcome};
use crate::crd::LoadTest;

/// Outcomes of checks during one pass.
pub struct SpecCheck {
    source: Source,
    is_wanted: bool,
}

enum Source {
    Kept(Arc<Checker>),
    /// Checks in this process, with the last spec and its outcome and their number.
    #[cfg(test)]
    Here(Option<(Box<crate::crd::LoadTestSpec>, Outcome)>, u32),
}

impl SpecCheck {
    /// Creates the view of one pass on the checks of the operator.
    pub fn kept(checker: Arc<Checker>) -> Self {
        Self {
            source: Source::Kept(checker),
            is_wanted: false,
        }
    }

    /// Returns what checking the spec of `test` found; `None` if that is not known yet.
    pub fn of(&mut self, test: &LoadTest) -> Option<Outcome> {
        let outcome = match &mut self.source {
            Source::Kept(checker) => checker.outcome(test),
            #[cfg(test)]
            Source::Here(last, checks) => match last {
                Some((spec, outcome)) if **spec == test.spec => Some(outcome.clone()),
                last => {
                    *checks += 1;
                    let checked = crate::crd::check(&test.spec);
                    let outcome = checked
                        .and_then(crate::crd::Checked::for_cluster)
                        .map(Arc::new);
                    *last = Some((Box::new(test.spec.clone()), outcome.clone()));
                    Some(outcome)
                }
            },
        };
        self.is_wanted |= outcome.is_none();
        outcome
    }

    /// Tells whether an outcome was asked for that is not known, and forgets that.
    pub fn take_wanted(&mut self) -> bool {
        std::mem::take(&mut self.is_wanted)
    }

    /// Checks made so far in this process.
    #[cfg(test)]
    pub fn count(&self) -> u32 {
        match self.source {
            Source::Kept(_) => 0,
            Source::Here(_, checks) => checks,
        }
    }
}

#[cfg(test)]
impl Default for SpecCheck {
    /// Creates checks that are made in this process.
    fn default() -> Self {
        Self {
            source: Source::Here(None, 0),
            is_wanted: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checking::Process;
    use crate::operator::fixture;

    #[test]
    fn what_is_not_known_is_wanted_once() {
        let checker = Arc::new(Checker::new(Process::new("/nowhere/starling")));
        let mut checks = SpecCheck::kept(checker);
        assert!(!checks.take_wanted());
        assert!(checks.of(&fixture::test()).is_none());
        assert!(checks.take_wanted() && !checks.take_wanted());
    }
}
