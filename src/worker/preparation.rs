//! Preparation of a share, and what stands in its way.

use std::sync::Arc;
use std::time::Duration;

use super::inputs::InputSource;
use crate::engine::{self, Lease, PrepareError, Prepared, RequestLogSink};
use crate::plan::Plan;
use crate::wire::control::ProblemKind;
use crate::wire::fleet;

/// Pause before a share that could not be prepared is tried again: Secrets may come, targets may
/// start.
const PREPARE_EVERY: Duration = Duration::from_secs(2);

/// Prepares the plan with the inputs that are there now; pends while there is no plan. Cancel safe.
pub(super) async fn prepare_now(
    plan: Option<Arc<Plan>>,
    inputs: &InputSource,
    (request_log, lease): (Option<&RequestLogSink>, &Lease),
) -> Result<Arc<Prepared>, PrepareError> {
    let Some(plan) = plan else {
        return std::future::pending().await;
    };
    let inputs = inputs.read(&plan);
    let prepared = engine::prepare(plan, &inputs).await?.leased(lease.clone());
    Ok(Arc::new(match request_log {
        Some(sink) => prepared.logged_to(sink.clone()),
        None => prepared,
    }))
}

/// Prepares the plan after a pause. Cancel safe.
pub(super) async fn prepare_again(
    plan: Option<Arc<Plan>>,
    inputs: &InputSource,
    outside: (Option<&RequestLogSink>, &Lease),
) -> Result<Arc<Prepared>, PrepareError> {
    tokio::time::sleep(PREPARE_EVERY).await;
    prepare_now(plan, inputs, outside).await
}

/// Lists what stands in the way, as the operator shows it.
pub(super) fn problems(error: &PrepareError) -> Vec<fleet::Problem> {
    let problem = |kind: ProblemKind, field: &str, object: String, message: &str| fleet::Problem {
        kind: kind.to_string(),
        field: field.to_owned(),
        object,
        message: message.to_owned(),
    };
    let (kind, problems) = match error {
        PrepareError::MissingReferences(references) => {
            let missing = references.iter().map(|reference| {
                let object = format!(
                    "{} {:?} key {:?}",
                    reference.kind, reference.name, reference.key
                );
                let kind = ProblemKind::MissingReference;
                problem(kind, &reference.field, object, "is not there")
            });
            return missing.collect();
        }
        PrepareError::Invalid(problems) => (ProblemKind::InvalidSpec, problems),
        PrepareError::NotAllowed(problems) => (ProblemKind::PolicyViolation, problems),
        PrepareError::Target(problems) => (ProblemKind::TargetUnresolved, problems),
        PrepareError::Token(problems) => (ProblemKind::NoToken, problems),
    };
    problems
        .iter()
        .map(|p| problem(kind, &p.path, String::new(), &p.message))
        .collect()
}
