//! Which connections carry calls, how many at a time, and for how long.

use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use rcgen::ExtendedKeyUsagePurpose;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::engine::prepare::prepare_in;
use crate::engine::tests::grpc::*;
use crate::engine::tests::tls::{acceptor, all_failed_in_tls, authority, reference, signed};
use crate::engine::tests::transport::name_server;
use crate::engine::world::World;
use crate::plan::ClientCertificate;
use crate::plan::grpc::{Channels, KeepAlive};

/// So many users at once.
fn busy(url: &str, users: u32, count: u64, message: Value) -> Plan {
    let mut plan = counted(url, count, vec![call("Say", message)]);
    plan.populations = vec![Population::only(
        1,
        Load::Iterations(Iterations {
            count,
            users,
            per_user: false,
            max_duration: None,
            retry_pause: Duration::from_secs(1),
        }),
    )];
    plan
}

fn with_channels(mut plan: Plan, streams: u32, channels: u32) -> Plan {
    plan.grpc.max_streams_per_channel = streams;
    plan.grpc.max_channels = channels;
    plan
}

#[tokio::test]
async fn one_channel_carries_all_users_while_it_has_streams() {
    let chat = Chat::start().await;
    let snapshot = run_calls(busy(&chat.url, 8, 24, note("wait 50"))).await;
    assert_eq!(
        (snapshot.failures(), snapshot.counters.connects),
        (0, 1),
        "{:?}",
        snapshot.errors
    );
    assert!(chat.seen.most_open.load(Ordering::SeqCst) > 4);
}

#[tokio::test]
async fn without_a_free_stream_there_is_one_more_channel_and_then_waiting() {
    let chat = Chat::start().await;
    let snapshot = run_calls(with_channels(busy(&chat.url, 8, 32, note("wait 40")), 2, 2)).await;
    assert_eq!(
        (snapshot.failures(), snapshot.counters.connects),
        (0, 2),
        "{:?}",
        snapshot.errors
    );
    assert_eq!(chat.seen.most_open.load(Ordering::SeqCst), 4);
    let step = &snapshot.steps[&0];
    assert!(
        step.latency.percentile(50.0) >= 79_000,
        "{} us with the waiting",
        step.latency.percentile(50.0)
    );
    assert!(
        step.service_time.min() < 79_000,
        "{} us without it",
        step.service_time.min()
    );
    assert_eq!(snapshot.received_by_target(), chat.seen.calls());
}

#[tokio::test]
async fn a_server_may_allow_fewer_streams() {
    let chat = Chat::start_at("127.0.0.1:0", Some(3)).await;
    let snapshot = run_calls(with_channels(
        busy(&chat.url, 9, 36, note("wait 20")),
        100,
        2,
    ))
    .await;
    assert_eq!(
        (snapshot.failures(), snapshot.counters.connects),
        (0, 2),
        "{:?}",
        snapshot.errors
    );
    assert_eq!(chat.seen.most_open.load(Ordering::SeqCst), 6);
}

#[tokio::test]
async fn users_may_have_channels_of_their_own() {
    let chat = Chat::start().await;
    let mut plan = calls(&chat.url, 5, 500, vec![call("Say", note("hi"))]);
    plan.grpc.channels = Channels::PerUser;
    let snapshot = run_calls(plan).await;
    assert!(snapshot.requests() > 5);
    assert_eq!(
        (snapshot.failures(), snapshot.counters.connects),
        (0, 5),
        "{:?}",
        snapshot.errors
    );
}

#[tokio::test]
async fn calls_go_to_every_address_and_to_new_ones_within_an_age() {
    let hosts = [2, 3, 4].map(|last| Ipv4Addr::new(127, 0, 0, last));
    let first = Chat::start_at(&format!("{}:0", hosts[0]), None).await;
    let port = first.url.rsplit_once(':').unwrap().1.to_owned();
    let others = [
        Chat::start_at(&format!("{}:{port}", hosts[1]), None).await,
        Chat::start_at(&format!("{}:{port}", hosts[2]), None).await,
    ];
    let addresses = Arc::new(Mutex::new(hosts[..2].to_vec()));
    let names = name_server(addresses.clone()).await;
    let mut plan = calls(
        &format!("http://models.example.:{port}"),
        6,
        60_000,
        vec![call("Say", note("hi"))],
    );
    plan.http.connection_max_age = Duration::from_millis(300);
    let prepared = Arc::new(
        prepare_in(
            Arc::new(plan),
            &inputs(),
            &World {
                names,
                metadata_host: None,
            },
        )
        .await
        .unwrap(),
    );
    let mut running = prepared.start(whole(1), Instant::now());
    until(|| first.seen.calls() > 0 && others[0].seen.calls() > 0).await;
    assert_eq!(others[1].seen.calls(), 0);
    *addresses.lock().unwrap() = hosts[1..].to_vec();
    until(|| others[1].seen.calls() > 0).await;
    // one age, the fifth by which it may be longer, and a little
    tokio::time::sleep(Duration::from_millis(700)).await;
    let moved = first.seen.calls();
    tokio::time::sleep(Duration::from_millis(100)).await;
    running.stop();
    let snapshot = sum(&deltas(&mut running).await);
    assert_eq!(
        first.seen.calls(),
        moved,
        "some calls still went to the old address"
    );
    assert_eq!(snapshot.failures(), 0, "{:?}", snapshot.errors);
}

/// Waits for what a busy machine may take its time for.
async fn until(holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(20), "in vain");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Hands bytes on to `to`; a connection on which something comes in the silence is silent from then
/// on.
async fn relay(to: String, silent: tokio::sync::watch::Receiver<bool>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = tokio::net::TcpStream::connect(to.trim_start_matches("http://"))
                .await
                .unwrap();
            let ((mut near_in, mut near_out), (mut far_in, mut far_out)) =
                (near.into_split(), far.into_split());
            let quiet = silent.clone();
            tokio::spawn(async move {
                let (mut bytes, mut dead) = ([0; 4096], false);
                while let Ok(count @ 1..) = near_in.read(&mut bytes).await {
                    dead |= *quiet.borrow();
                    if !dead && far_out.write_all(&bytes[..count]).await.is_err() {
                        break;
                    }
                }
            });
            let quiet = silent.clone();
            tokio::spawn(async move {
                let (mut bytes, mut dead) = ([0; 4096], false);
                while let Ok(count @ 1..) = far_in.read(&mut bytes).await {
                    dead |= *quiet.borrow();
                    if !dead && near_out.write_all(&bytes[..count]).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    url
}

#[tokio::test]
async fn a_channel_that_is_found_dead_by_its_pings_is_replaced() {
    let chat = Chat::start().await;
    let (silence, silent) = tokio::sync::watch::channel(false);
    let url = relay(chat.url.clone(), silent).await;
    let mut plan = calls(&url, 1, 60_000, vec![call("Say", note("hi"))]);
    request(&mut plan.scenarios[0].tasks[0].steps[0]).timeout = Duration::from_secs(30);
    let pings = |interval, timeout| KeepAlive {
        interval: Duration::from_millis(interval),
        timeout: Duration::from_millis(timeout),
    };
    plan.grpc.keep_alive = Some(pings(50, 150));
    let prepared = Arc::new(prepare(Arc::new(plan), &inputs()).await.unwrap());
    let mut running = prepared.start(whole(1), Instant::now());
    until(|| chat.seen.calls() > 0).await;
    silence.send_replace(true);
    // a ping after 50 ms, given up after another 150
    tokio::time::sleep(Duration::from_millis(600)).await;
    silence.send_replace(false);
    let before = chat.seen.calls();
    until(|| chat.seen.calls() > before).await;
    running.stop();
    let snapshot = sum(&deltas(&mut running).await);
    let lost = [
        ErrorClass::StaleConnection,
        ErrorClass::Reset,
        ErrorClass::Protocol,
    ];
    assert!(
        snapshot.failures() > 0
            && classes(&snapshot)
                .iter()
                .all(|(class, _)| lost.contains(class)),
        "{:?}",
        snapshot.errors
    );
    assert!(
        snapshot.counters.connects >= 2 && snapshot.requests() > snapshot.failures(),
        "{:?}",
        snapshot.counters
    );
}

#[tokio::test]
async fn channels_are_encrypted_and_show_certificates_as_asked() {
    let (ours, clients) = (authority(), authority());
    let chat = Chat::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let (protocols, to) = (["h2"], chat.url.trim_start_matches("http://").to_owned());
    let tls = acceptor(&ours, "127.0.0.1", Some(&clients), &protocols);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (tls, to) = (tls.clone(), to.clone());
            tokio::spawn(async move {
                let Ok(mut near) = tls.accept(stream).await else {
                    return;
                };
                let mut far = tokio::net::TcpStream::connect(to).await.unwrap();
                // ends as either side does
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    let run = async |tls: Tls, pairs: &[(&str, String)]| {
        let mut plan = counted(&url, 4, vec![call("Say", note("hi"))]);
        plan.target.tls = tls;
        let mut inputs = inputs();
        pairs.iter().for_each(|(key, value)| {
            inputs.insert(Kind::ConfigMap, "tls", *key, value.clone().into_bytes())
        });
        let prepared = Arc::new(prepare(Arc::new(plan), &inputs).await.unwrap());
        sum(&deltas(&mut prepared.start(whole(1), Instant::now())).await)
    };
    let without = Tls {
        ca: Some(reference("ca")),
        ..Tls::default()
    };
    all_failed_in_tls(&run(without.clone(), &[("ca", ours.pem())]).await);
    let (certificate, key) = signed(&clients, "client", ExtendedKeyUsagePurpose::ClientAuth);
    let with = Tls {
        client: Some(ClientCertificate {
            certificate: reference("cert"),
            key: Some(reference("key")),
            passphrase: None,
        }),
        ..without
    };
    let snapshot = run(
        with,
        &[("ca", ours.pem()), ("cert", certificate), ("key", key)],
    )
    .await;
    assert_eq!(
        (snapshot.requests(), snapshot.failures()),
        (4, 0),
        "{:?}",
        snapshot.errors
    );
    assert_eq!(snapshot.received_by_target(), chat.seen.calls());
}

#[tokio::test]
async fn a_tls_server_that_does_not_choose_http2_is_named_as_that() {
    let ours = authority();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let tls = acceptor(&ours, "127.0.0.1", None, &[]);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let tls = tls.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = tls.accept(stream).await else {
                    return;
                };
                // until it is hung up on
                let _ = stream.read(&mut [0; 99]).await;
            });
        }
    });
    let mut plan = counted(&url, 2, vec![call("Say", note("hi"))]);
    plan.target.tls = Tls {
        insecure_skip_verify: true,
        ..Tls::default()
    };
    let snapshot = run_calls(plan).await;
    assert_eq!(
        classes(&snapshot),
        [(ErrorClass::Protocol, snapshot.requests())]
    );
    assert!(
        samples(&snapshot)[0].contains("HTTP/2, which gRPC needs"),
        "{:?}",
        snapshot.errors
    );
}
