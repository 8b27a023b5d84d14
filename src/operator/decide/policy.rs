//! Policies: whether a run may begin under those that govern its namespace.

use std::sync::Arc;

use crate::crd::policy::demands;
use crate::crd::{Checked, LoadTestSpec};
use crate::operator::view::Governing;
use crate::plan::policy::{Policy, judge};
use crate::plan::{Plan, Problem};

/// Holds a checked spec against every policy that governs it. Returns the spec with the rules that
/// its workers enforce.
///
/// # Errors
///
/// Everything that a policy does not allow, and each policy that cannot be read.
pub fn permitted(
    spec: &LoadTestSpec,
    checked: &Arc<Checked>,
    governing: &Governing,
) -> Result<Arc<Checked>, Vec<Problem>> {
    let Governing {
        policies,
        unreadable,
    } = governing;
    let unreadable = unreadable.iter().map(|why| Problem::new("spec", why));
    let refused: Vec<Problem> = unreadable
        .chain(judge(policies, &demands(spec, checked)))
        .collect();
    if !refused.is_empty() {
        return Err(refused);
    }
    if policies.is_empty() {
        return Ok(checked.clone());
    }
    let plan = Plan {
        address_rules: Policy::address_rules(policies),
        control: Policy::control(policies, checked.plan.control),
        ..checked.plan.clone()
    };
    Ok(Arc::new(Checked {
        plan,
        ..Checked::clone(checked)
    }))
}
