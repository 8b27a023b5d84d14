//! Calls that are tried again: only as asked, only before their first message, and each try is
//! counted.

use crate::engine::PrepareError;
use crate::engine::tests::grpc::broken::{GRPC, HI, OK, answer};
use crate::engine::tests::grpc::*;
use crate::engine::tests::http2::{Asked, server};
use crate::engine::tests::server::closed_port;
use crate::plan::grpc::{Code, GrpcRetry};

const UNAVAILABLE: &[(&str, &str)] = &[("grpc-status", "14"), ("grpc-message", "later")];

/// At once.
fn retried(mut step: Step, max: u32, on: &[Code]) -> Step {
    grpc(&mut step).retry = Some(GrpcRetry {
        max,
        on: on.to_vec(),
        backoff: Duration::from_millis(1),
    });
    step
}

/// A server that answers each third call, and of the others says this.
async fn each_third(
    status: u16,
    trailers: &'static [(&'static str, &'static str)],
) -> (String, Arc<crate::engine::tests::http2::Seen>) {
    server(move |asked: Asked| async move {
        match asked.nth % 3 {
            0 => answer(asked, 200, &[GRPC], Some(HI), Some(OK)),
            _ => answer(
                asked,
                status,
                &[GRPC],
                None,
                (!trailers.is_empty()).then_some(trailers),
            ),
        }
    })
    .await
}

async fn alone(url: &str, step: Step) -> Snapshot {
    let mut plan = counted(url, 4, vec![step]);
    let Load::Iterations(iterations) = &mut plan.populations[0].load else {
        unreachable!()
    };
    iterations.users = 1;
    run_calls(plan).await
}

#[tokio::test]
async fn what_is_not_asked_for_is_not_tried_again() {
    let (url, seen) = each_third(200, UNAVAILABLE).await;
    let snapshot = alone(&url, call("Say", note("hi"))).await;
    assert_eq!(
        (
            seen.requests(),
            snapshot.failures(),
            snapshot.counters.retries
        ),
        (4, 3, 0)
    );
    let (url, seen) = each_third(200, UNAVAILABLE).await;
    let snapshot = alone(
        &url,
        retried(
            call("Say", note("hi")),
            5,
            &[Code::RESOURCE_EXHAUSTED, Code::INTERNAL],
        ),
    )
    .await;
    assert_eq!(
        (
            seen.requests(),
            snapshot.failures(),
            snapshot.counters.retries
        ),
        (4, 3, 0)
    );
}

#[tokio::test]
async fn a_call_that_is_tried_again_is_one_request_and_every_try_is_counted() {
    for (status, trailers) in [(200, UNAVAILABLE), (503, &[][..])] {
        for method in ["Say", "Listen"] {
            let (url, seen) = each_third(status, trailers).await;
            let snapshot = alone(
                &url,
                retried(
                    call(method, note("n {{ iteration }}")),
                    2,
                    &[Code::UNAVAILABLE],
                ),
            )
            .await;
            assert_eq!(
                (
                    snapshot.requests(),
                    snapshot.failures(),
                    snapshot.counters.retries
                ),
                (4, 0, 8),
                "{:?}",
                snapshot.errors
            );
            assert_eq!((snapshot.received_by_target(), seen.requests()), (12, 12));
            let step = &snapshot.steps[&0];
            assert_eq!(
                (step.latency.count(), &step.grpc_statuses),
                (4, &[(0, 4)].into())
            );
            assert!(
                step.latency.min() >= 2_000,
                "both pauses are in it: {}",
                step.latency.min()
            );
        }
    }
}

#[tokio::test]
async fn the_last_try_decides() {
    let (url, seen) = each_third(200, UNAVAILABLE).await;
    let snapshot = alone(
        &url,
        retried(call("Say", note("hi")), 1, &[Code::UNAVAILABLE]),
    )
    .await;
    // 1 2, 3, 4 5, 6
    assert_eq!(
        (
            seen.requests(),
            snapshot.requests(),
            snapshot.failures(),
            snapshot.counters.retries
        ),
        (6, 4, 2, 2)
    );
    assert_eq!(samples(&snapshot), ["gRPC status 14 UNAVAILABLE: later"]);
}

#[tokio::test]
async fn nothing_is_tried_again_after_its_first_message() {
    let (url, seen) =
        server(
            |asked: Asked| async move { answer(asked, 200, &[GRPC], Some(HI), Some(UNAVAILABLE)) },
        )
        .await;
    for method in ["Say", "Listen"] {
        let snapshot = alone(
            &url,
            retried(call(method, note("hi")), 3, &[Code::UNAVAILABLE]),
        )
        .await;
        assert_eq!(
            (snapshot.failures(), snapshot.counters.retries),
            (4, 0),
            "{:?}",
            snapshot.errors
        );
    }
    assert_eq!(seen.requests(), 8);
}

#[tokio::test]
async fn a_connection_that_fails_or_breaks_is_unavailable() {
    let snapshot = alone(
        &format!("http://{}", closed_port()),
        retried(call("Say", note("hi")), 2, &[Code::UNAVAILABLE]),
    )
    .await;
    let counters = snapshot.counters;
    assert_eq!(
        (
            snapshot.requests(),
            counters.unsent,
            counters.retries,
            snapshot.received_by_target()
        ),
        (4, 4, 0, 0)
    );
    let (url, seen) = server(|mut asked: Asked| async move {
        match asked.nth % 2 {
            1 => asked.answer.send_reset(h2::Reason::INTERNAL_ERROR),
            _ => answer(asked, 200, &[GRPC], Some(HI), Some(OK)),
        }
    })
    .await;
    let snapshot = alone(
        &url,
        retried(call("Say", note("hi")), 1, &[Code::UNAVAILABLE]),
    )
    .await;
    assert_eq!(
        (
            snapshot.failures(),
            snapshot.counters.retries,
            seen.requests()
        ),
        (0, 4, 8),
        "{:?}",
        snapshot.errors
    );
}

#[tokio::test]
async fn a_stream_of_messages_is_not_tried_again() {
    for method in ["Tell", "Talk"] {
        let plan = calls(
            "http://127.0.0.1:1",
            1,
            50,
            vec![retried(call(method, note("hi")), 1, &[Code::UNAVAILABLE])],
        );
        let error = prepare(Arc::new(plan), &inputs()).await.unwrap_err();
        let PrepareError::Invalid(problems) = &error else {
            panic!("{error}")
        };
        assert_eq!(
            problems[0].path, "spec.scenarios[0].tasks[0].steps[0].grpc.retry",
            "{error}"
        );
    }
}
