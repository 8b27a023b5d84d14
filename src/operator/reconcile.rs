//! One pass over a LoadTest: observe, decide, apply, until there is something to wait for. A pass
//! never waits itself; it comes back.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::api::ApiError;
use super::apply::{Applied, Pass};
use super::context::{Context, Memory};
use super::decide::{Decision, Requeue, clocks, decide};
use super::observe::observe;
use crate::runtime::backoff::Backoff;

/// One pass; a longer one is given up and begun anew.
const PASS_TIMEOUT: Duration = Duration::from_secs(30);

/// From the id of a run to its grant it is four; more would mean that two decisions undo each
/// other.
const ROUNDS: usize = 8;

/// Between passes that failed, for each LoadTest by itself.
pub const BACKOFF: Backoff = Backoff {
    first: Duration::from_secs(1),
    most: Duration::from_secs(60),
};

#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error("a pass over LoadTest {namespace}/{name} took longer than {} s", PASS_TIMEOUT.as_secs())]
    Timeout { namespace: String, name: String },
}

impl ReconcileError {
    pub fn kind(&self) -> &'static str {
        match self {
            ReconcileError::Api(error) => error.kind(),
            ReconcileError::Timeout { .. } => "pass_timeout",
        }
    }
}

/// `None`: nothing to do until something changes.
pub async fn reconcile(
    context: &Context,
    namespace: &str,
    name: &str,
) -> Result<Option<Duration>, ReconcileError> {
    let began = Instant::now();
    let memory = context.memory(namespace, name);
    // one pass at a time: the controller never runs two of one object
    let mut memory = memory.lock().await;
    let pass =
        tokio::time::timeout(PASS_TIMEOUT, rounds(context, namespace, name, &mut memory)).await;
    let outcome = match pass {
        Ok(outcome) => outcome.map_err(ReconcileError::from),
        Err(_) => Err(ReconcileError::Timeout {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }),
    };
    context.metrics.reconciles.inc();
    context
        .metrics
        .duration
        .observe(began.elapsed().as_secs_f64());
    match &outcome {
        Ok(_) => memory.failures = 0,
        Err(_) => memory.failures = memory.failures.saturating_add(1),
    }
    outcome
}

/// How long after a failed pass the next one is due.
pub fn retry_after(context: &Context, namespace: &str, name: &str) -> Duration {
    let failures = context
        .memory(namespace, name)
        .try_lock()
        .map_or(1, |memory| memory.failures);
    BACKOFF.jittered(failures)
}

async fn rounds(
    context: &Context,
    namespace: &str,
    name: &str,
    memory: &mut Memory,
) -> Result<Option<Duration>, ApiError> {
    for _ in 0..ROUNDS {
        let Some(mut seen) = observe(context, namespace, name, memory).await? else {
            context.forget(namespace, name);
            return Ok(None);
        };
        let mut decision = decide(&seen, Timestamp::now());
        let mut applied = Pass {
            context,
            seen: &seen,
            memory,
        }
        .apply(&decision.writes)
        .await?;
        if let Applied::Refused(refusal) = applied {
            tracing::warn!(namespace, loadtest = name, child = %refusal.child, kind = ?refusal.kind, message = refusal.message, "a create was refused");
            seen.refusal = Some(refusal);
            decision = decide(&seen, Timestamp::now());
            applied = Pass {
                context,
                seen: &seen,
                memory,
            }
            .apply(&decision.writes)
            .await?;
        }
        match next(&decision, &applied) {
            Requeue::AtOnce => {}
            Requeue::After(delay) => return Ok(Some(delay)),
            Requeue::OnChange => return Ok(None),
        }
    }
    Ok(Some(clocks::SOON))
}

fn next(decision: &Decision, applied: &Applied) -> Requeue {
    match applied {
        Applied::All => decision.requeue,
        Applied::Conflict => Requeue::AtOnce,
        // what the decision after a refusal wrote was refused too: only a report is created then,
        // and it is left out next time
        Applied::Refused(_) => Requeue::After(clocks::REFUSED),
    }
}
