//! Preparation of a share, and what stands in its way.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::inputs::InputSource;
use crate::engine::{self, Lease, PrepareError, Prepared, RequestLogSink};
use crate::plan::{Auth, Plan, Problem};
use crate::wire::control::ProblemKind;
use crate::wire::fleet;

/// Pause before a share that could not be prepared is tried again: Secrets may come, targets may
/// start.
pub(super) const PREPARE_EVERY: Duration = Duration::from_secs(2);

/// Outcome of a preparation.
type Outcome = Result<Arc<Prepared>, PrepareError>;

/// Preparation of a share, in a task of its own: messages of the master neither wait for it nor
/// cancel it, and a signal ends the process in the middle of it.
#[derive(Default)]
pub(super) struct Preparation(Option<JoinHandle<Outcome>>);

impl Preparation {
    /// Returns whether a preparation is under way, or about to be tried again.
    pub(super) fn is_under_way(&self) -> bool {
        self.0.is_some()
    }

    /// Begins to prepare the plan with the inputs that are there after `pause`.
    pub(super) fn begin(
        &mut self,
        plan: Arc<Plan>,
        inputs: InputSource,
        (request_log, lease): (Option<RequestLogSink>, Lease),
        pause: Duration,
    ) {
        self.cancel();
        self.0 = Some(tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            if matches!(inputs, InputSource::Confined(_)) {
                refuse_what_is_of_the_machine(&plan)?;
            }
            let inputs = inputs.read(&plan);
            let prepared = engine::prepare(plan, &inputs).await?.leased(lease);
            Ok(Arc::new(match request_log {
                Some(sink) => prepared.logged_to(sink),
                None => prepared,
            }))
        }));
    }

    /// Waits for the outcome, which is given once; pends while nothing is under way. Cancel safe.
    pub(super) async fn outcome(&mut self) -> Outcome {
        let Some(task) = &mut self.0 else {
            return std::future::pending().await;
        };
        let joined = task.await;
        self.0 = None;
        match joined {
            Ok(outcome) => outcome,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // the runtime is ending, and this task with it
            Err(_) => std::future::pending().await,
        }
    }

    fn cancel(&mut self) {
        if let Some(task) = self.0.take() {
            task.abort();
        }
    }
}

impl Drop for Preparation {
    fn drop(&mut self) {
        self.cancel();
    }
}

/// Refuses a plan that would have a worker from elsewhere use what belongs to its machine and not
/// to its folder of files: sockets, and the tokens of the machine's own identity.
fn refuse_what_is_of_the_machine(plan: &Plan) -> Result<(), PrepareError> {
    let mut problems = Vec::new();
    for target in plan.all_targets() {
        let field = target.field();
        if target.unix_socket.is_some() {
            let why = "a worker from elsewhere connects to no socket of its machine";
            problems.push(Problem::new(format!("{field}.unixSocket"), why));
        }
        if matches!(target.auth, Some(Auth::Google(_))) {
            let why = "a worker from elsewhere gives out no token of its machine";
            problems.push(Problem::new(format!("{field}.auth.google"), why));
        }
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(PrepareError::NotAllowed(problems)),
    }
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(target: serde_json::Value) -> String {
        let spec = json!({
            "target": target,
            "scenarios": [{"name": "s", "tasks": [{"name": "t", "steps": [{"http": {"path": "/"}}]}]}],
            "load": {"closed": {"users": 1, "duration": "1s"}},
        });
        let plan = crate::crd::check(&serde_json::from_value(spec).unwrap())
            .unwrap()
            .plan;
        let outcome = refuse_what_is_of_the_machine(&plan);
        outcome
            .err()
            .map_or(String::new(), |error| error.to_string())
    }

    #[test]
    fn a_worker_from_elsewhere_gives_its_machine_to_nobody() {
        assert_eq!(refused(json!({"url": "http://t"})), "");
        let socket = json!({"url": "http://t", "unixSocket": "/run/docker.sock"});
        assert!(refused(socket).starts_with("spec.target.unixSocket: "));
        let google = json!({"idToken": {"audience": "https://t"}});
        let token = json!({"url": "https://t", "auth": {"google": google}});
        assert!(refused(token).starts_with("spec.target.auth.google: "));
    }
}
