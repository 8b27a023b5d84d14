//! Checks before any load: whether targets are ready, can be reached, and accept the test's
//! requests.

use std::rc::Rc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use tokio::time::{sleep, timeout_at};

use crate::engine::answer::capture::Wanted;
use crate::engine::attempt::Attempt;
use crate::engine::prepare::program::Readiness;
use crate::engine::protocol::channel::Channel;
use crate::engine::protocol::http::exchange::HttpExchange;
use crate::engine::protocol::http::request::Scratch;
use crate::engine::protocol::http::sender::{Message, Sender};
use crate::engine::user::client::Client;
use crate::engine::user::context::Context;
use crate::engine::user::frame::Frame;
use crate::engine::user::sent::describe;
use crate::plan::{Plan, duration};
use crate::stats::{ErrorClass, ErrorKey, Snapshot};

/// Pause between two requests to a target that is not ready.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// Longest wait for an answer or a connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// Waits until each target with `readyWhen` is ready. Returns a text with the time it took; fails
/// with the last answer of a target that did not get ready in time.
pub(crate) async fn await_targets(context: &Rc<Context>) -> Result<String, String> {
    let waits = context.prepared.readiness.iter().map(async |readiness| {
        let field = context
            .prepared
            .plan
            .all_targets()
            .nth(readiness.route)
            .map_or_else(String::new, |target| target.field());
        await_target(context, readiness).await.map_err(|last| {
            format!(
                "{field}.readyWhen: not ready within {}; the last answer: {last}",
                duration::format(readiness.timeout)
            )
        })
    });
    let notes: Result<Vec<String>, String> = join_all(waits).await.into_iter().collect();
    Ok(notes?.join("; "))
}

async fn await_target(context: &Rc<Context>, readiness: &Readiness) -> Result<String, String> {
    let (mut frame, mut channel, mut scratch) = (
        Frame::new(context.clone(), 0),
        Channel::default(),
        Scratch::default(),
    );
    let begun = Instant::now();
    let until = begun + readiness.timeout;
    for asked in 1u32.. {
        let patience = until.min(Instant::now() + PATIENCE);
        let answer = timeout_at(
            patience.into(),
            ask(context, readiness, &mut channel, &mut frame, &mut scratch),
        )
        .await;
        let last = match answer {
            Ok(Ok(())) => {
                return Ok(format!(
                    "ready after {asked} requests in {}",
                    duration::format(rounded(begun.elapsed()))
                ));
            }
            Ok(Err(last)) => last,
            Err(_) => "none came in time".to_owned(),
        };
        if Instant::now() + ASK_EVERY >= until {
            return Err(last);
        }
        sleep(ASK_EVERY).await;
    }
    Err("none".to_owned())
}

fn rounded(time: Duration) -> Duration {
    Duration::from_millis(time.as_millis() as u64)
}

/// Sends one request, which is not counted. Fails with a description of the answer unless it means
/// that the target is ready.
async fn ask(
    context: &Context,
    readiness: &Readiness,
    channel: &mut Channel,
    frame: &mut Frame,
    scratch: &mut Scratch,
) -> Result<(), String> {
    let bare = readiness
        .request
        .render(frame, scratch)
        .map_err(|why| why.to_string())?;
    let mut authorized = Vec::new();
    let bytes = match context
        .transport
        .targets
        .refreshed(readiness.route)
        .filter(|_| readiness.request.wants_credentials)
    {
        None => bare,
        Some(credentials) => {
            credentials
                .add_to(bare, &mut authorized)
                .map_err(|why| why.to_string())?;
            &authorized
        }
    };
    let attempt = Attempt::new(&context.recorder, Instant::now());
    let sender = Sender {
        transport: &context.transport,
        attempt: &attempt,
        wanted: Wanted::default(),
        stream: None,
    };
    let message = Message {
        bytes,
        is_head: false,
        http2: None,
    };
    let outcome = sender.exchange(readiness.route, channel, message).await;
    attempt.finish(Instant::now(), channel.answer.bytes);
    if outcome.is_ok() && readiness.status.contains(&channel.answer.status) {
        return Ok(());
    }
    Err(describe::<HttpExchange<'_>>(
        &outcome,
        None,
        channel,
        (&context.prepared.redactor.with(&[]), bytes, true),
    ))
}

/// Opens and closes a connection to each target.
pub(crate) async fn connect(context: &Context) -> Result<(), String> {
    let prepared = &context.prepared;
    let attempts = prepared
        .plan
        .all_targets()
        .zip(&prepared.targets.routes)
        .map(async |(target, route)| {
            let opened = timeout_at((Instant::now() + PATIENCE).into(), route.open(0)).await;
            let reached = match opened {
                Ok(opened) => opened
                    .and_then(|(stream, _)| route.is_http2(&stream))
                    .map(drop)
                    .map_err(|failure| failure.to_string()),
                Err(_) => Err(format!(
                    "no connection within {}",
                    duration::format(PATIENCE)
                )),
            };
            reached.map_err(|why| format!("{}: {why}", target.field()))
        });
    join_all(attempts).await.into_iter().collect()
}

/// Carries out each task of each scenario once, by one user per scenario.
pub(crate) async fn rehearse(context: &Rc<Context>) {
    let prepared = context.prepared.clone();
    for (place, scenario) in prepared.scenarios.iter().enumerate() {
        Client::user(context.clone(), Rc::default(), place as u64)
            .rehearse(scenario)
            .await;
    }
}

/// Returns the first step that failed for a lasting reason, with its message.
pub(crate) fn refusal(plan: &Plan, snapshot: &Snapshot) -> Option<String> {
    let lasting = snapshot.errors.iter().filter(|(key, _)| !passes(key));
    let (key, entry) = lasting.min_by_key(|(key, _)| key.step)?;
    let step = plan
        .steps()
        .nth(key.step.into())
        .map_or("a step's condition".to_owned(), |place| {
            format!("step {:?}", place.step.name)
        });
    Some(format!("{step}: {}", entry.message))
}

/// Returns whether a failure may pass: it is up to the load to show how a target copes.
fn passes(key: &ErrorKey) -> bool {
    match key.class {
        ErrorClass::Throttled | ErrorClass::Unavailable | ErrorClass::Timeout => true,
        ErrorClass::Status => key
            .status
            .is_some_and(|status| status >= 500 || status == 408 || status == 425),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_time_does_not_mend_ends_a_run() {
        let key = |class, status| ErrorKey {
            class,
            step: 0,
            status,
        };
        assert!(
            passes(&key(ErrorClass::Throttled, Some(429)))
                && passes(&key(ErrorClass::Status, Some(500)))
        );
        assert!(passes(&key(ErrorClass::Timeout, None)));
        for status in [400, 401, 403, 404, 422] {
            assert!(!passes(&key(ErrorClass::Status, Some(status))), "{status}");
        }
        for class in [
            ErrorClass::Check,
            ErrorClass::Extract,
            ErrorClass::Connect,
            ErrorClass::Tls,
            ErrorClass::Auth,
            ErrorClass::Template,
        ] {
            assert!(!passes(&key(class, None)), "{class}");
        }
    }
}
