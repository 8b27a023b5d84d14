//! One pass over a LoadTest: observe, decide, build, apply, status, until there is something to
//! wait for. A pass never waits itself; it comes back.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::api::ApiError;
use super::apply::applied::Written;
use super::apply::{Created, Writer};
use super::build::{BuildError, build};
use super::context::{Context, Memory};
use super::decide::{Requeue, clocks, decide};
use super::identity;
use super::observe::observe;
use super::spec_check::SpecCheck;
use super::status;
use super::view::{Observed, Refusal};
use crate::checking::CheckError;
use crate::runtime::backoff::Backoff;

/// Longest time of one pass. A longer one is given up and retried.
const PASS_TIMEOUT: Duration = Duration::from_secs(30);

/// Most rounds of one pass. From the id of a run to its grant it takes four; more would mean that
/// two decisions undo each other.
const ROUNDS: usize = 8;

/// Delays between passes that failed, for each LoadTest by itself.
const BACKOFF: Backoff = Backoff {
    first: Duration::from_secs(1),
    most: Duration::from_secs(60),
};

/// Error that ends a pass; the next one comes after a backoff.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// A call to the API server failed.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The spec cannot be checked, for a reason that is not the spec's.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// A child cannot be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The pass panicked, which only a mistake in the operator brings about.
    #[error("a pass over LoadTest {namespace}/{name} panicked")]
    Panicked {
        /// Namespace of the LoadTest.
        namespace: String,
        /// Name of the LoadTest.
        name: String,
    },
    /// The pass took too long.
    #[error(
        "a pass over LoadTest {namespace}/{name} took longer than {} s",
        PASS_TIMEOUT.as_secs()
    )]
    Timeout {
        /// Namespace of the LoadTest.
        namespace: String,
        /// Name of the LoadTest.
        name: String,
    },
}

impl ReconcileError {
    /// Value of the label `kind` of the errors metric.
    pub fn kind(&self) -> &'static str {
        match self {
            ReconcileError::Api(error) => error.kind(),
            ReconcileError::Check(_) => "check",
            ReconcileError::Build(_) => "build",
            ReconcileError::Panicked { .. } => "panic",
            ReconcileError::Timeout { .. } => "pass_timeout",
        }
    }
}

/// Makes one pass. Returns the delay after which the next is due; `None` when there is nothing to
/// do until something changes.
pub async fn reconcile(
    context: &Context,
    namespace: &str,
    name: &str,
) -> Result<Option<Duration>, ReconcileError> {
    let began = Instant::now();
    let memory = context.memory(namespace, name);
    // one pass at a time: the controller never runs two of one object
    let mut memory = memory.lock().await;
    let mut checks = SpecCheck::kept(context.checker.clone());
    let rounds = rounds(context, namespace, name, &mut memory, &mut checks);
    let outcome = match tokio::time::timeout(PASS_TIMEOUT, rounds).await {
        Ok(outcome) => outcome,
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

/// Returns the delay after which the pass following one that failed with `error` is due.
pub fn retry_after(
    context: &Context,
    namespace: &str,
    name: &str,
    error: &ReconcileError,
) -> Duration {
    let asked = match error {
        ReconcileError::Api(error) => error.retry_after(),
        _ => Duration::ZERO,
    };
    let failures = context
        .memory(namespace, name)
        .try_lock()
        .map_or(1, |memory| memory.failures);
    BACKOFF.jittered(failures).max(asked)
}

/// Rounds of observe, decide, build, apply and status, until there is something to wait for.
async fn rounds(
    context: &Context,
    namespace: &str,
    name: &str,
    memory: &mut Memory,
    checks: &mut SpecCheck,
) -> Result<Option<Duration>, ReconcileError> {
    for _ in 0..ROUNDS {
        let Some(mut seen) = observe(context, namespace, name, memory).await? else {
            context.forget(namespace, name);
            return Ok(None);
        };
        if begins(&seen) {
            seen.lease = context.leases.hold(namespace).await?;
        }
        let mut outcome = round(context, &seen, memory, checks).await?;
        if let Outcome::Refused(refusal) = outcome {
            tracing::warn!(
                namespace,
                loadtest = name,
                child = %refusal.child,
                kind = ?refusal.kind,
                message = refusal.message,
                "a create was refused"
            );
            seen.refusal = Some(refusal);
            outcome = round(context, &seen, memory, checks).await?;
        }
        match outcome.requeue() {
            Requeue::AtOnce => {}
            Requeue::After(delay) => return Ok(Some(delay)),
            Requeue::OnChange => return Ok(None),
        }
    }
    Ok(Some(clocks::SOON))
}

/// Returns whether a run may begin in this round, for which a Lease is held from before its first
/// write.
fn begins(seen: &Observed) -> bool {
    let status = seen.status();
    status.run.as_ref().is_none_or(|run| run.end.is_some())
        && !seen.test.spec.run.suspend
        && identity::wants_run(&seen.test, &status)
}

/// Outcome of one round.
enum Outcome {
    /// Everything was written.
    Applied(Requeue),
    /// The LoadTest was changed since it was observed.
    Outdated,
    /// The API server refused an object; nothing after it was written.
    Refused(Refusal),
}

impl Outcome {
    fn requeue(&self) -> Requeue {
        match self {
            Outcome::Applied(requeue) => *requeue,
            Outcome::Outdated => Requeue::AtOnce,
            // what was decided after a refusal was refused too: only a report is created then, and
            // it is left out next time
            Outcome::Refused(_) => Requeue::After(clocks::REFUSED),
        }
    }
}

/// One round after its observation: decides, builds, applies, and writes the status of what was
/// applied.
async fn round(
    context: &Context,
    seen: &Observed,
    memory: &mut Memory,
    checks: &mut SpecCheck,
) -> Result<Outcome, ReconcileError> {
    let now = Timestamp::now();
    let decision = decide(seen, checks, now);
    let mut requeue = decision.requeue;
    if checks.take_wanted() {
        context.checker.ask(&seen.test)?;
        requeue = Requeue::After(context.checker.delay(&seen.test));
    }
    let built = build(
        &seen.test,
        &decision.create,
        &context.settings,
        &context.keys,
    )?;
    if let Some(error) = &decision.unreadable {
        memory.warn_of_unreadable(&seen.test, error);
    }
    let mut writer = Writer {
        context,
        seen,
        memory,
    };
    if let Some(call) = &decision.call_before {
        writer.order_before(call);
    }
    let applied = match writer.create(built).await? {
        Created::All(applied) => applied,
        Created::Refused(refusal) => return Ok(Outcome::Refused(refusal)),
    };
    if let Some(pods) = decision.resize {
        writer.resize(pods).await?;
    }
    writer.delete(&decision.delete).await?;
    let status = decision
        .status
        .as_ref()
        .and_then(|draft| status::next(seen, draft, &applied, now));
    let written = match status {
        None => Written::observed(seen),
        Some(status) => match writer.put_status(status).await? {
            Some(written) => written,
            None => return Ok(Outcome::Outdated),
        },
    };
    if let Some(call) = &decision.call_after {
        writer.order_after(call, &written);
    }
    Ok(Outcome::Applied(requeue))
}

#[cfg(test)]
mod tests;
