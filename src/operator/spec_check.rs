//! Checks of the spec: one for each spec that a pass meets, however many steps ask.

use std::sync::Arc;

use crate::crd::{Checked, LoadTestSpec, check};
use crate::plan::Problem;

/// The checked spec, or everything that is wrong with it.
type Outcome = Result<Arc<Checked>, Vec<Problem>>;

/// Outcome of the last check, kept for as long as the spec stays the same. Checking a large spec
/// compiles every template and pattern in it.
#[derive(Default)]
pub struct SpecCheck {
    last: Option<(LoadTestSpec, Outcome)>,
    #[cfg(test)]
    checks: u32,
}

impl SpecCheck {
    /// Returns what checking `spec` finds, without a new check where it is the spec of the call
    /// before.
    pub fn of(&mut self, spec: &LoadTestSpec) -> Outcome {
        if let Some((known, outcome)) = &self.last
            && known == spec
        {
            return outcome.clone();
        }
        #[cfg(test)]
        {
            self.checks += 1;
        }
        let outcome = check(spec).map(Arc::new);
        self.last = Some((spec.clone(), outcome.clone()));
        outcome
    }

    /// Checks made so far.
    #[cfg(test)]
    pub fn count(&self) -> u32 {
        self.checks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::fixture;

    #[test]
    fn a_spec_is_checked_once_and_a_changed_one_anew() {
        let mut checks = SpecCheck::default();
        let mut spec = fixture::test().spec;
        for _ in 0..3 {
            assert!(checks.of(&spec).is_ok());
        }
        assert_eq!(checks.count(), 1);
        spec.load.closed = None;
        assert!(checks.of(&spec).is_err());
        assert_eq!(checks.count(), 2);
    }
}
