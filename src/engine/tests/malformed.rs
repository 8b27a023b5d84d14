//! Targets that misbehave: each fault has its class, and the run goes on.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::engine::tests::server::{Peer, closed_port, scripted};
use crate::engine::tests::*;
use crate::plan::{Iterations, ThinkTime};
use crate::stats::Phase;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/// One user for a short while against such a target.
async fn outcome(url: &str) -> Snapshot {
    run(plan(url, users(1, 60)), 1).await
}

async fn only_class(url: &str) -> ErrorClass {
    let snapshot = outcome(url).await;
    assert!(
        snapshot.requests() > 0 && snapshot.failures() == snapshot.requests(),
        "{snapshot:?}"
    );
    match classes(&snapshot).as_slice() {
        [(class, _)] => *class,
        several => panic!("{several:?}"),
    }
}

#[tokio::test]
async fn a_refused_connection_is_counted_as_unsent_and_does_not_spin() {
    let snapshot = outcome(&format!("http://{}", closed_port())).await;
    assert_eq!(
        classes(&snapshot),
        [(ErrorClass::Connect, snapshot.requests())]
    );
    assert_eq!(
        (snapshot.counters.unsent, snapshot.received_by_target()),
        (snapshot.requests(), 0)
    );
    assert!(
        (1..=12).contains(&snapshot.requests()),
        "{} attempts in 60 ms",
        snapshot.requests()
    );
}

#[tokio::test]
async fn garbage_is_a_protocol_error() {
    assert_eq!(
        only_class(&scripted(|peer| peer.always("SSH-2.0-OpenSSH_9.2\r\n\r\n")).await).await,
        ErrorClass::Protocol
    );
}

#[tokio::test]
async fn a_head_without_end_is_a_protocol_error() {
    let url = scripted(|mut peer: Peer| async move {
        peer.request().await;
        peer.send("HTTP/1.1 200 OK\r\n").await;
        for _ in 0..2000 {
            peer.send([b'x'; 64]).await;
        }
    });
    assert_eq!(only_class(&url.await).await, ErrorClass::Protocol);
}

#[tokio::test]
async fn an_answer_cut_short_is_a_reset() {
    let url = scripted(|mut peer: Peer| async move {
        peer.request().await;
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
            .await;
    });
    assert_eq!(only_class(&url.await).await, ErrorClass::Reset);
}

#[tokio::test]
async fn a_long_answer_cut_short_is_a_reset() {
    let url = scripted(|mut peer: Peer| async move {
        peer.request().await;
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
            .await;
        peer.send(vec![b'x'; 200_000]).await;
    });
    assert_eq!(only_class(&url.await).await, ErrorClass::Reset);
}

#[tokio::test]
async fn a_first_request_without_an_answer_is_a_reset() {
    let url = scripted(|mut peer: Peer| async move {
        peer.request().await;
    });
    assert_eq!(only_class(&url.await).await, ErrorClass::Reset);
}

/// So many iterations of one user, however long they take.
fn iterations(count: u64) -> Load {
    Load::Iterations(Iterations {
        count,
        users: 1,
        per_user: false,
        max_duration: None,
        retry_pause: Duration::ZERO,
    })
}

/// A target that answers the first request of a connection and closes it at the second; what it
/// comes to with a method.
async fn closing_at_the_second(method: &str) -> Snapshot {
    let url = scripted(|mut peer: Peer| async move {
        peer.request().await;
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .await;
        peer.request().await;
    });
    let mut plan = plan(&url.await, users(1, 60));
    http(&mut plan.scenarios[0].tasks[0].steps[0])
        .request
        .method = method.into();
    run(plan, 1).await
}

#[tokio::test]
async fn a_later_request_without_an_answer_is_a_stale_connection() {
    let snapshot = closing_at_the_second("POST").await;
    let failures = snapshot.failures();
    assert!(failures > 0);
    assert_eq!(
        (classes(&snapshot), snapshot.counters.retries),
        (vec![(ErrorClass::StaleConnection, failures)], 0)
    );
}

#[tokio::test]
async fn what_may_be_done_twice_is_sent_again_when_it_met_the_end_of_an_idle_connection() {
    for method in ["GET", "HEAD", "DELETE"] {
        let snapshot = closing_at_the_second(method).await;
        let Counters {
            retries, connects, ..
        } = snapshot.counters;
        assert_eq!(snapshot.failures(), 0, "{:?}", snapshot.errors);
        assert!(
            retries > 0 && connects > retries,
            "{retries} retries, {connects} connections"
        );
    }
}

#[tokio::test]
async fn a_request_is_sent_again_once_and_on_a_new_connection() {
    // a target that answers the first connection once, and no other
    let turn = Arc::new(AtomicU32::new(0));
    let url = scripted(move |mut peer: Peer| {
        let is_first = turn.fetch_add(1, Ordering::Relaxed) == 0;
        async move {
            peer.request().await;
            if is_first {
                peer.send(OK).await;
                peer.request().await;
            }
        }
    });
    let mut plan = plan(&url.await, iterations(1));
    let step = plan.scenarios[0].tasks[0].steps[0].clone();
    plan.scenarios[0].tasks[0].steps.push(step);
    request(&mut plan.scenarios[0].tasks[0].steps[1]).name = "again".into();
    let snapshot = run(plan, 1).await;
    assert_eq!(classes(&snapshot), [(ErrorClass::Reset, 1)]);
    let Counters {
        retries, connects, ..
    } = snapshot.counters;
    assert_eq!((retries, connects), (1, 2));
}

#[tokio::test]
async fn a_connection_that_the_target_is_about_to_close_is_not_used_again() {
    let counted = |keep_alive: &'static str| async move {
        let url = scripted(move |peer: Peer| {
            peer.always(format!(
                "HTTP/1.1 200 OK\r\nKeep-Alive: {keep_alive}\r\nContent-Length: 0\r\n\r\n"
            ))
        });
        let snapshot = run(plan(&url.await, iterations(4)), 1).await;
        assert_eq!((snapshot.failures(), snapshot.requests()), (0, 4));
        (snapshot.counters.connects, snapshot.requests())
    };
    assert_eq!(counted("timeout=600").await.0, 1);
    for keep_alive in ["timeout=0", "timeout=5, max=0"] {
        let (connects, requests) = counted(keep_alive).await;
        assert_eq!(connects, requests, "{keep_alive}");
    }
}

#[tokio::test]
async fn bodies_are_read_in_whatever_form_they_come() {
    let gzip = |text: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let cut = gzip("{\"a\": 1}");
    for (fields, body, told) in [
        ("Content-Encoding: gzip", gzip("{\"a\": 1}"), ""),
        (
            "Content-Encoding: gzip\r\nContent-Encoding: gzip",
            gzip("{\"a\": 1}"),
            "coding says, gzip, gzip",
        ),
        ("Transfer-Encoding: gzip", gzip("{\"a\": 1}"), ""),
        (
            "Content-Encoding: gzip",
            b"{\"a\": 1}".to_vec(),
            "not what its coding says, gzip",
        ),
        (
            "Content-Encoding: gzip",
            cut[..cut.len() - 6].to_vec(),
            "ends before its coding, gzip, does",
        ),
        (
            "Content-Encoding: pack200",
            b"{\"a\": 1}".to_vec(),
            "the coding \"pack200\"",
        ),
        (
            "Content-Encoding: gzip",
            vec![],
            "the body is empty, not JSON",
        ),
        (
            "Content-Type: application/json; charset=latin1",
            b"{\"a\": 1, \"b\": \"\xe9\"}".to_vec(),
            "",
        ),
        ("X: y", b"\xef\xbb\xbf{\"a\": 1}".to_vec(), ""),
    ] {
        let answer = [
            format!("HTTP/1.1 200\nConnection: close\n{fields}\n\n").into_bytes(),
            body,
        ]
        .concat();
        let url = scripted(move |mut peer: Peer| {
            let answer = answer.clone();
            async move {
                peer.request().await;
                peer.send(answer).await;
            }
        });
        let mut plan = plan(&url.await, iterations(1));
        let path = crate::plan::JsonPath::parse("$.a").unwrap();
        let check = crate::plan::Check::JsonPath { path, must: vec![] };
        request(&mut plan.scenarios[0].tasks[0].steps[0]).checks = vec![check];
        let snapshot = run(plan, 1).await;
        let shown = format!("{:?}", snapshot.errors);
        match told {
            "" => assert_eq!(snapshot.failures(), 0, "{fields}: {shown}"),
            told => assert!(
                shown.contains(&told.replace('"', "\\\"")),
                "{fields}: {shown}"
            ),
        }
    }
}

#[tokio::test]
async fn an_idle_connection_that_ended_is_replaced_without_an_error() {
    let url = scripted(|mut peer: Peer| async move {
        peer.request().await;
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .await;
    });
    let mut plan = plan(&url.await, users(1, 600));
    let pause = Duration::from_millis(20);
    plan.scenarios[0].think_time = Some(crate::plan::ThinkTime::constant(pause));
    let snapshot = run(plan, 1).await;
    assert!(
        snapshot.requests() > 2 && snapshot.failures() == 0,
        "{:?}",
        classes(&snapshot)
    );
    assert_eq!(snapshot.counters.connects, snapshot.requests());
}

#[tokio::test]
async fn a_connection_the_target_will_close_is_not_used_again() {
    let url = scripted(|peer: Peer| {
        peer.always("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
    })
    .await;
    let snapshot = outcome(&url).await;
    assert!(snapshot.requests() > 1);
    assert_eq!(
        (snapshot.failures(), snapshot.counters.connects),
        (0, snapshot.counters.iterations)
    );
}

#[tokio::test]
async fn bytes_after_an_answer_are_not_taken_for_the_next_one() {
    let url = scripted(|peer: Peer| {
        peer.always("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more")
    })
    .await;
    let snapshot = outcome(&url).await;
    assert_eq!(
        (snapshot.failures(), snapshot.counters.connects),
        (0, snapshot.counters.iterations)
    );
}

#[tokio::test]
async fn chunks_may_be_cut_at_every_byte() {
    const ANSWER: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nwiki\r\nA;x=y\r\n0123456789\r\n0\r\nT: v\r\n\r\n";
    let served = Arc::new(AtomicU32::new(0));
    let url = scripted(move |mut peer: Peer| {
        let served = served.clone();
        async move {
            while peer.request().await {
                let cut = served.fetch_add(1, Ordering::Relaxed) as usize % ANSWER.len();
                peer.send(&ANSWER[..cut]).await;
                tokio::time::sleep(Duration::from_micros(1500)).await;
                peer.send(&ANSWER[cut..]).await;
            }
        }
    });
    let snapshot = run(plan(&url.await, users(4, 1_000)), 1).await;
    assert!(
        snapshot.requests() > ANSWER.len() as u64,
        "{} requests",
        snapshot.requests()
    );
    assert_eq!(
        (snapshot.failures(), snapshot.counters.connects),
        (0, 4),
        "{:?}",
        classes(&snapshot)
    );
    assert_eq!(
        snapshot.steps[&0].received_bytes,
        snapshot.requests() * ANSWER.len() as u64
    );
}

#[tokio::test]
async fn an_answer_to_the_end_of_the_stream_is_whole() {
    let url = scripted(|mut peer: Peer| async move {
        peer.request().await;
        peer.send("HTTP/1.1 200 OK\r\n\r\nuntil").await;
        peer.send(" the end").await;
    });
    let snapshot = outcome(&url.await).await;
    assert!(
        snapshot.requests() > 1 && snapshot.failures() == 0,
        "{:?}",
        classes(&snapshot)
    );
}

#[tokio::test]
async fn a_timeout_is_a_sample_and_costs_the_connection() {
    let url = scripted(|mut peer: Peer| async move {
        peer.request().await;
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
            .await;
        tokio::time::sleep(Duration::from_secs(60)).await;
    });
    let mut plan = plan(&url.await, users(1, 250));
    request(&mut plan.scenarios[0].tasks[0].steps[0]).timeout = Duration::from_millis(100);
    let snapshot = run(plan, 1).await;
    let requests = snapshot.requests();
    assert_eq!(
        (
            classes(&snapshot),
            snapshot.counters.connects,
            snapshot.counters.unsent
        ),
        (vec![(ErrorClass::Timeout, requests)], requests, 0)
    );
    let latency = &snapshot.steps[&0].failed_latency;
    assert!(
        latency.min() >= 100_000 && latency.max() < 200_000,
        "{} to {}",
        latency.min(),
        latency.max()
    );
}

#[tokio::test]
async fn an_answer_before_the_request_is_read_is_an_answer() {
    let url = scripted(|mut peer: Peer| async move {
        peer.send(
            "HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        )
        .await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    });
    let mut plan = plan(&url.await, users(1, 60));
    let body = crate::plan::Body::Text(Template::parse(&"x".repeat(20_000_000)).unwrap());
    let request = &mut http(&mut plan.scenarios[0].tasks[0].steps[0]).request;
    (request.method, request.body) = ("POST".into(), Some(body));
    let snapshot = run(plan, 1).await;
    assert_eq!(
        snapshot.steps[&0].statuses.get(&413),
        Some(&snapshot.requests()),
        "{:?}",
        snapshot.errors
    );
}

/// The class of a target that misbehaves like this at every other connection: in between, the user
/// must go on as if nothing had been.
async fn class_between_good_ones<F>(
    script: impl Fn(Peer) -> F + Clone + Send + Sync + 'static,
) -> ErrorClass
where
    F: Future<Output = ()> + Send + 'static,
{
    // long enough for the good ones on a busy machine
    class_within(Duration::from_secs(2), users(1, 400), script).await
}

async fn class_within<F>(
    timeout: Duration,
    load: Load,
    script: impl Fn(Peer) -> F + Clone + Send + Sync + 'static,
) -> ErrorClass
where
    F: Future<Output = ()> + Send + 'static,
{
    let turn = Arc::new(AtomicU32::new(0));
    let url = scripted(move |mut peer: Peer| {
        let (bad, script) = (
            turn.fetch_add(1, Ordering::Relaxed).is_multiple_of(2),
            script.clone(),
        );
        async move {
            if bad {
                return script(peer).await;
            }
            peer.request().await;
            peer.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
                .await;
        }
    });
    let mut plan = plan(&url.await, load);
    request(&mut plan.scenarios[0].tasks[0].steps[0]).timeout = timeout;
    plan.scenarios[0].think_time = Some(ThinkTime::constant(Duration::from_millis(3)));
    let snapshot = run(plan, 1).await;
    let (requests, failures) = (snapshot.requests(), snapshot.failures());
    assert!(
        failures > 1 && failures >= requests / 2 && failures <= requests.div_ceil(2),
        "{failures} of {requests}: {:?}",
        snapshot.errors
    );
    match classes(&snapshot).as_slice() {
        [(class, _)] => *class,
        several => panic!("{several:?}"),
    }
}

#[tokio::test]
async fn an_answer_that_is_malformed_costs_only_itself() {
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(4_200));
    let large = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "x".repeat(70_000));
    for answer in [
        "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/9.9 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ntoo long\r\n0\r\n\r\n",
        many.as_str(),
        large.as_str(),
    ] {
        let answer = answer.to_owned();
        let class = class_between_good_ones(move |peer: Peer| peer.always(answer.clone())).await;
        assert_eq!(class, ErrorClass::Protocol);
    }
}

#[tokio::test]
async fn a_reset_costs_only_itself() {
    for answer in [
        "",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nhalf",
    ] {
        let class = class_between_good_ones(move |mut peer: Peer| async move {
            peer.request().await;
            peer.send(answer).await;
            // without waiting for what is on its way: a reset instead of an end
            socket2::SockRef::from(&peer.0)
                .set_linger(Some(Duration::ZERO))
                .unwrap();
        });
        assert_eq!(class.await, ErrorClass::Reset, "{answer:?}");
    }
}

#[tokio::test]
async fn an_end_on_one_side_only_costs_only_itself() {
    for answer in [
        "",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhalf",
    ] {
        let class = class_between_good_ones(move |mut peer: Peer| async move {
            peer.request().await;
            peer.send(answer).await;
            tokio::io::AsyncWriteExt::shutdown(&mut peer.0)
                .await
                .unwrap();
            // goes on reading what never comes
            peer.request().await;
        });
        assert_eq!(class.await, ErrorClass::Reset, "{answer:?}");
    }
}

#[tokio::test]
async fn an_answer_that_trickles_for_ever_ends_with_the_timeout() {
    for (begin, piece) in [
        ("HTTP/1.1 200 OK\r\nX: ", "x"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", "x"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "1\r\nx\r\n",
        ),
        ("HTTP/1.1 200 OK\r\n\r\n", "x"),
        ("", "\r\n"),
    ] {
        // long enough for the good ones on a busy machine
        let class = class_within(
            Duration::from_millis(500),
            users(1, 1600),
            move |mut peer: Peer| async move {
                peer.request().await;
                peer.send(begin).await;
                loop {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    if tokio::io::AsyncWriteExt::write_all(&mut peer.0, piece.as_bytes())
                        .await
                        .is_err()
                    {
                        break;
                    }
                }
            },
        );
        assert_eq!(class.await, ErrorClass::Timeout, "{begin:?}");
    }
}

#[tokio::test]
async fn a_body_without_end_is_dropped_as_it_comes() {
    let url = scripted(|mut peer: Peer| async move {
        peer.request().await;
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await;
        let chunk = [b"40000\r\n".as_slice(), &vec![b'x'; 0x40000], b"\r\n"].concat();
        while tokio::io::AsyncWriteExt::write_all(&mut peer.0, &chunk)
            .await
            .is_ok()
        {}
    });
    let mut plan = plan(&url.await, users(1, 600));
    request(&mut plan.scenarios[0].tasks[0].steps[0]).timeout = Duration::from_millis(150);
    let snapshot = run(plan, 1).await;
    assert_eq!(
        classes(&snapshot),
        [(ErrorClass::Timeout, snapshot.requests())]
    );
    assert!(snapshot.steps[&0].received_bytes > 1_000_000);
}

#[tokio::test]
async fn answers_without_a_body_end_with_their_head() {
    for (method, answer) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"),
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        ),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n"),
        (
            "GET",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 5000\r\n\r\n",
        ),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nServer-Timing: x\r\nX: y\r\n\r\n",
        ),
    ] {
        let url = scripted(move |peer: Peer| peer.always(answer)).await;
        let mut plan = plan(&url, users(1, 250));
        http(&mut plan.scenarios[0].tasks[0].steps[0])
            .request
            .method = method.into();
        let snapshot = run(plan, 1).await;
        assert!(snapshot.requests() > 1);
        assert_eq!(
            (snapshot.failures(), snapshot.counters.connects),
            (0, 1),
            "{method} {answer:?}: {:?}",
            snapshot.errors
        );
    }
}

#[tokio::test]
async fn the_time_of_a_request_is_told_by_phases() {
    let pause = Duration::from_millis(30);
    let url = scripted(move |mut peer: Peer| async move {
        while peer.request().await {
            tokio::time::sleep(pause).await;
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha")
                .await;
            tokio::time::sleep(pause).await;
            peer.send("lf").await;
        }
    })
    .await;
    let snapshot = run(plan(&url, users(2, 800)), 1).await;
    let step = &snapshot.steps[&0];
    let count = |phase| step.phases.of(phase).count();
    assert!(step.requests > 4 && step.failures == 0);
    assert_eq!(
        [Phase::Dns, Phase::Connect, Phase::Tls].map(count),
        [2, 2, 0]
    );
    assert_eq!(
        [Phase::Wait, Phase::Download].map(count),
        [step.requests; 2]
    );
    for phase in [Phase::Wait, Phase::Download] {
        let times = step.phases.of(phase);
        // a busy machine may see the first part late, never early
        assert!(
            times.max() >= 29_000,
            "{phase:?}: {} to {} us",
            times.min(),
            times.max()
        );
    }
    let parts = step.phases.of(Phase::Wait).mean() + step.phases.of(Phase::Download).mean();
    assert!(
        parts <= step.service_time.mean() * 1.01,
        "no time is in two phases: {parts} us of {}",
        step.service_time.mean()
    );

    let quick = run(
        plan(&scripted(|peer: Peer| peer.always(OK)).await, users(1, 50)),
        1,
    )
    .await;
    assert!(
        quick.steps[&0].phases.of(Phase::Download).max() <= 1,
        "it came in one piece"
    );
}

/// The message of every failure of a short run.
async fn only_message(url: &str) -> String {
    let snapshot = outcome(url).await;
    let mut messages = snapshot.errors.iter().map(|(_, entry)| &entry.message);
    let first = messages.next().expect("a failure").clone();
    assert!(messages.all(|message| *message == first), "{snapshot:?}");
    first
}

#[tokio::test]
async fn a_target_of_another_scheme_is_told_as_that() {
    // what a target that speaks TLS sends in answer to a request without it
    let alert = [0x15, 3, 3, 0, 2, 2, 0x16];
    let with_tls = scripted(move |peer| peer.always(alert)).await;
    assert_eq!(only_class(&with_tls).await, ErrorClass::Protocol);
    let message = only_message(&with_tls).await;
    assert!(
        message.contains("speaks TLS there; the URL may have to begin with https://"),
        "{message}"
    );
    let without = scripted(|mut peer: Peer| async move {
        let mut hello = [0; 64];
        let _ = tokio::io::AsyncReadExt::read(&mut peer.0, &mut hello).await;
        peer.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            .await;
    })
    .await;
    let without = without.replace("http:", "https:");
    assert_eq!(only_class(&without).await, ErrorClass::Tls);
    let message = only_message(&without).await;
    assert!(
        message.contains("does not speak TLS there; the URL may have to begin with http://"),
        "{message}"
    );
}

#[tokio::test]
async fn an_answer_of_a_hundred_and_fifty_fields_is_read() {
    let fields: String = (0..150).map(|nth| format!("X-{nth}: v\r\n")).collect();
    let answer = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 2\r\n\r\nok");
    let url = scripted(move |peer| peer.always(answer.clone())).await;
    let snapshot = outcome(&url).await;
    assert!(snapshot.requests() > 0);
    assert_eq!(snapshot.failures(), 0, "{:?}", snapshot.errors);
}
