//! Which connections requests take, and where those lead.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UdpSocket, UnixListener};

use crate::engine::net::resolve::NameServers;
use crate::engine::prepare::prepare_in;
use crate::engine::tests::server::{Peer, Server, closed_port, scripted, scripted_at};
use crate::engine::tests::*;
use crate::engine::world::World;
use crate::plan::{Basic, Connections, Kind, Proxy, Reference, ThinkTime};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

fn thinking(url: &str, count: u32, millis: u64, think: u64) -> Plan {
    let mut plan = plan(url, users(count, millis));
    let pause = Duration::from_millis(think);
    plan.scenarios[0].think_time = Some(ThinkTime::constant(pause));
    plan
}

/// What was seen at one place, for all to add to.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn add(&self, entry: impl ToString) {
        self.0.lock().unwrap().push(entry.to_string());
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// Answers whatever is asked for with the addresses of now, good for no time at all.
pub(super) async fn name_server(addresses: Arc<Mutex<Vec<Ipv4Addr>>>) -> NameServers {
    slow_name_server(addresses, Duration::ZERO).await
}

/// Likewise, so long after the question.
pub(super) async fn slow_name_server(
    addresses: Arc<Mutex<Vec<Ipv4Addr>>>,
    delay: Duration,
) -> NameServers {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut query = [0; 512];
        while let Ok((_, from)) = socket.recv_from(&mut query).await {
            let mut end = 12;
            while query[end] != 0 {
                end += usize::from(query[end]) + 1;
            }
            let answers = addresses.lock().unwrap().clone();
            let mut answer = query[..end + 5].to_vec();
            // a response, no error; one question, so many answers, nothing else
            answer[2..12].copy_from_slice(&[0x84, 0, 0, 1, 0, answers.len() as u8, 0, 0, 0, 0]);
            for address in answers {
                // the name of the question, A, IN, TTL 0, four bytes
                answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
                answer.extend_from_slice(&address.octets());
            }
            tokio::time::sleep(delay).await;
            socket.send_to(&answer, from).await.unwrap();
        }
    });
    let mut udp = ConnectionConfig::udp();
    udp.port = port;
    let mut server = NameServerConfig::udp(IpAddr::V4(Ipv4Addr::LOCALHOST));
    server.connections = vec![udp];
    let NameServers { options, .. } = NameServers::of_system();
    NameServers {
        config: ResolverConfig::from_parts(None, vec![], vec![server]),
        options,
    }
}

#[tokio::test]
async fn load_moves_to_new_addresses_within_one_age() {
    let (old, new) = (Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3));
    let served: [Arc<AtomicU64>; 2] = Default::default();
    let script = |served: Arc<AtomicU64>| {
        move |mut peer: Peer| {
            let served = served.clone();
            async move {
                while peer.request().await {
                    served.fetch_add(1, Ordering::Relaxed);
                    peer.send(OK).await;
                }
            }
        }
    };
    let url = scripted_at(&format!("{old}:0"), script(served[0].clone())).await;
    let port = url.rsplit_once(':').unwrap().1;
    scripted_at(&format!("{new}:{port}"), script(served[1].clone())).await;
    let addresses = Arc::new(Mutex::new(vec![old]));
    let world = World {
        names: name_server(addresses.clone()).await,
        metadata_host: None,
    };

    let mut plan = thinking(&format!("http://models.example.:{port}"), 8, 3_000, 5);
    plan.http.connection_max_age = Duration::from_millis(400);
    let prepared = Arc::new(
        prepare_in(Arc::new(plan), &Inputs::default(), &world)
            .await
            .unwrap(),
    );
    let mut running = prepared.start(whole(2), Instant::now());
    tokio::time::sleep(Duration::from_millis(300)).await;
    let before = served.each_ref().map(|count| count.load(Ordering::Relaxed));
    *addresses.lock().unwrap() = vec![new];
    // a second until the name is looked up again, one age, the fifth by which it may be longer, and
    // a little
    tokio::time::sleep(Duration::from_millis(1_600)).await;
    let moved = served[0].load(Ordering::Relaxed);
    let snapshot = sum(&deltas(&mut running).await);
    assert!(before[0] > 0 && before[1] == 0, "{before:?}");
    assert_eq!(
        served[0].load(Ordering::Relaxed),
        moved,
        "some requests still went to the old address"
    );
    assert!(served[1].load(Ordering::Relaxed) > 0);
    assert_eq!(snapshot.failures(), 0, "{:?}", snapshot.errors);
}

#[tokio::test]
async fn a_name_that_loses_its_addresses_fails_until_it_has_one_again() {
    let server = Server::start();
    let port = server.url.rsplit_once(':').unwrap().1;
    let addresses = Arc::new(Mutex::new(vec![Ipv4Addr::LOCALHOST]));
    let world = World {
        names: name_server(addresses.clone()).await,
        metadata_host: None,
    };
    let mut plan = thinking(&format!("http://models.example.:{port}"), 1, 1_000, 5);
    plan.http.connections = Connections::PerRequest;
    let prepared = Arc::new(
        prepare_in(Arc::new(plan), &Inputs::default(), &world)
            .await
            .unwrap(),
    );
    let mut running = prepared.start(whole(1), Instant::now());
    tokio::time::sleep(Duration::from_millis(200)).await;
    addresses.lock().unwrap().clear();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let before = server.received();
    addresses.lock().unwrap().push(Ipv4Addr::LOCALHOST);
    let snapshot = sum(&deltas(&mut running).await);
    let failures = snapshot.failures();
    assert!(
        before > 0 && server.received() > before,
        "{before} and {} requests",
        server.received()
    );
    assert_eq!(classes(&snapshot), [(ErrorClass::Dns, failures)]);
    assert!(
        failures > 0 && snapshot.counters.unsent == failures,
        "{:?}",
        snapshot.errors
    );
    assert!(
        snapshot
            .errors
            .iter()
            .all(|(_, entry)| entry.message.starts_with("cannot resolve models.example."))
    );
}

#[tokio::test]
async fn addresses_take_turns() {
    let log = Log::default();
    let script = |log: Log| {
        move |mut peer: Peer| {
            log.add(peer.0.local_addr().unwrap().ip());
            async move { while peer.request().await && peer.0.write_all(OK.as_bytes()).await.is_ok() {} }
        }
    };
    let url = scripted_at("127.0.0.2:0", script(log.clone())).await;
    let port = url.rsplit_once(':').unwrap().1;
    scripted_at(&format!("127.0.0.3:{port}"), script(log.clone())).await;
    let addresses = vec![Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3)];
    let world = World {
        names: name_server(Arc::new(Mutex::new(addresses))).await,
        metadata_host: None,
    };
    let plan = thinking(&format!("http://models.example.:{port}"), 6, 200, 20);
    let prepared = Arc::new(
        prepare_in(Arc::new(plan), &Inputs::default(), &world)
            .await
            .unwrap(),
    );
    let snapshot = sum(&deltas(&mut prepared.start(whole(2), Instant::now())).await);
    let all = log.all();
    assert_eq!(
        (snapshot.counters.connects, snapshot.failures(), all.len()),
        (6, 0, 6)
    );
    // the name server's answers may change places between two lookups
    assert!(
        ["127.0.0.2", "127.0.0.3"]
            .iter()
            .all(|ip| all.iter().any(|seen| seen == ip)),
        "{all:?}"
    );
}

#[tokio::test]
async fn a_new_connection_per_request_is_left_to_the_target_to_close() {
    let log = Log::default();
    let seen = log.clone();
    let url = scripted(move |mut peer: Peer| {
        let seen = seen.clone();
        async move {
            seen.add(peer.head().await.unwrap());
            peer.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
                .await;
        }
    });
    let mut plan = thinking(&url.await, 2, 100, 10);
    plan.http.connections = Connections::PerRequest;
    let snapshot = run(plan, 1).await;
    // a busy machine may come to no more than one of each user
    assert!(
        snapshot.requests() >= 2 && snapshot.failures() == 0,
        "{:?}",
        snapshot.errors
    );
    assert_eq!(snapshot.counters.connects, snapshot.requests());
    assert!(
        log.all()
            .iter()
            .all(|head| head.starts_with("GET / HTTP/1.1\r\nConnection: close\r\n")),
        "{:?}",
        log.all()
    );
}

#[tokio::test]
async fn users_of_a_pool_share_connections() {
    let server = Server::start();
    let mut plan = plan(&server.url, rate(50, 400, 20));
    plan.http.connections = Connections::Pooled;
    let snapshot = run(plan, 1).await;
    assert_eq!((snapshot.requests(), snapshot.failures()), (20, 0));
    let mut shared = thinking(&server.url, 10, 300, 100);
    shared.http.connections = Connections::Pooled;
    let snapshot = run(shared, 1).await;
    assert!(
        snapshot.requests() >= 20 && snapshot.counters.connects <= 10,
        "{} connections",
        snapshot.counters.connects
    );
}

#[tokio::test]
async fn a_connection_carries_no_more_requests_than_it_may() {
    let server = Server::start();
    let mut plan = thinking(&server.url, 1, 200, 2);
    plan.http.connection_max_requests = Some(3);
    let snapshot = run(plan, 1).await;
    assert!(snapshot.requests() > 6 && snapshot.failures() == 0);
    assert_eq!(snapshot.counters.connects, snapshot.requests().div_ceil(3));
}

#[tokio::test]
async fn connections_come_from_the_given_addresses_in_turn() {
    let log = Log::default();
    let seen = log.clone();
    let url = scripted(move |peer: Peer| {
        seen.add(peer.0.peer_addr().unwrap().ip());
        peer.always(OK)
    })
    .await;
    let mut plan = thinking(&url, 4, 100, 10);
    plan.http.source_addresses = ["127.0.0.4", "::1", "127.0.0.5"]
        .map(|ip| ip.parse().unwrap())
        .into();
    let snapshot = run(plan, 1).await;
    assert_eq!(snapshot.failures(), 0, "{:?}", snapshot.errors);
    let mut all = log.all();
    all.sort();
    assert_eq!(all, ["127.0.0.4", "127.0.0.4", "127.0.0.5", "127.0.0.5"]);
}

#[tokio::test]
async fn a_source_address_of_another_machine_is_found_before_load() {
    let mut plan = plan("http://127.0.0.1:1", users(1, 1));
    // from the block for documentation
    plan.http.source_addresses = vec!["192.0.2.1".parse().unwrap()];
    let error = prepare(Arc::new(plan), &Inputs::default())
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("spec.http.sourceAddresses: 192.0.2.1 cannot be used"),
        "{error}"
    );
}

#[tokio::test]
async fn a_unix_socket_takes_the_place_of_the_host() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 1024];
                while tokio::io::AsyncReadExt::read(&mut stream, &mut request)
                    .await
                    .is_ok_and(|count| count > 0)
                {
                    stream
                        .write_all(
                            format!(
                                "HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n{}",
                                "x".repeat(50_000)
                            )
                            .as_bytes(),
                        )
                        .await?;
                }
                std::io::Result::Ok(())
            });
        }
    });
    let mut there = thinking("http://nobody.invalid", 2, 100, 5);
    there.target.unix_socket = Some(path.to_str().unwrap().into());
    let snapshot = run(there.clone(), 1).await;
    assert!(snapshot.requests() > 2);
    assert_eq!(
        (snapshot.failures(), snapshot.counters.connects),
        (0, 2),
        "{:?}",
        snapshot.errors
    );

    there.target.unix_socket = Some(folder.path().join("none").to_str().unwrap().into());
    let snapshot = run(there, 1).await;
    assert_eq!(
        classes(&snapshot),
        [(ErrorClass::Connect, snapshot.requests())]
    );
}

fn with_proxy(mut plan: Plan, url: &str) -> (Plan, Inputs) {
    let reference = |key: &str| Reference {
        kind: Kind::Secret,
        name: "proxy".into(),
        key: key.into(),
        field: "f".into(),
    };
    let basic = Basic {
        username: reference("user"),
        password: reference("password"),
    };
    plan.target.proxy = Some(Proxy {
        url: Url::parse(url).unwrap(),
        basic: Some(basic),
    });
    let mut inputs = Inputs::default();
    inputs.insert(Kind::Secret, "proxy", "user", b"me".to_vec());
    inputs.insert(Kind::Secret, "proxy", "password", b"canary".to_vec());
    (plan, inputs)
}

/// `me:canary`
const CREDENTIALS: &str = "Proxy-Authorization: Basic bWU6Y2FuYXJ5\r\n";

#[tokio::test]
async fn a_proxy_is_asked_for_whole_urls() {
    let log = Log::default();
    let seen = log.clone();
    let url = scripted(move |mut peer: Peer| {
        let seen = seen.clone();
        async move {
            while let Some(head) = peer.head().await {
                seen.add(head);
                peer.send(OK).await;
            }
        }
    });
    let (plan, inputs) = with_proxy(thinking("http://nobody.invalid/base", 1, 60, 5), &url.await);
    let prepared = Arc::new(prepare(Arc::new(plan), &inputs).await.unwrap());
    let snapshot = sum(&deltas(&mut prepared.start(whole(1), Instant::now())).await);
    assert!(snapshot.requests() > 1);
    assert_eq!(
        (snapshot.failures(), snapshot.counters.connects),
        (0, 1),
        "{:?}",
        snapshot.errors
    );
    let expected = format!(
        "GET http://nobody.invalid:80/base/ HTTP/1.1\r\n{CREDENTIALS}Host: nobody.invalid\r\n"
    );
    assert!(
        log.all().iter().all(|head| head.starts_with(&expected)),
        "{:?}",
        log.all()
    );
}

#[tokio::test]
async fn a_proxy_makes_a_tunnel_for_tls() {
    let authority = crate::engine::tests::tls::authority();
    let target = crate::engine::tests::tls::server(&authority, "127.0.0.1", None).await;
    let log = Log::default();
    let seen = log.clone();
    let url = scripted(move |mut peer: Peer| {
        let seen = seen.clone();
        async move {
            let head = peer.head().await.unwrap();
            let authority = head.split(' ').nth(1).unwrap().to_owned();
            seen.add(head);
            peer.send("HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n")
                .await;
            let mut target = TcpStream::connect(authority).await.unwrap();
            // ends with whichever side ends first
            let _ = tokio::io::copy_bidirectional(&mut peer.0, &mut target).await;
        }
    });
    let (mut plan, mut inputs) = with_proxy(thinking(&target, 2, 600, 5), &url.await);
    plan.target.tls.ca = Some(crate::engine::tests::tls::reference("ca"));
    inputs.insert(Kind::ConfigMap, "tls", "ca", authority.pem().into_bytes());
    let prepared = Arc::new(prepare(Arc::new(plan), &inputs).await.unwrap());
    let snapshot = sum(&deltas(&mut prepared.start(whole(1), Instant::now())).await);
    assert!(snapshot.requests() > 2);
    assert_eq!(
        (snapshot.failures(), snapshot.counters.connects),
        (0, 2),
        "{:?}",
        snapshot.errors
    );
    let place = target.strip_prefix("https://").unwrap();
    let expected = format!("CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n{CREDENTIALS}\r\n");
    assert_eq!(log.all(), [expected.clone(), expected]);
}

#[tokio::test]
async fn a_proxy_that_refuses_a_tunnel_is_no_connection() {
    for answer in [
        "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
        "SSH-2.0\r\n\r\n",
        "",
    ] {
        let url = scripted(move |mut peer: Peer| async move {
            peer.request().await;
            peer.send(answer).await;
        });
        let (mut plan, inputs) = with_proxy(plan("https://127.0.0.1:1", users(1, 60)), &url.await);
        plan.target.tls.insecure_skip_verify = true;
        let prepared = Arc::new(prepare(Arc::new(plan), &inputs).await.unwrap());
        let snapshot = sum(&deltas(&mut prepared.start(whole(1), Instant::now())).await);
        assert_eq!(
            classes(&snapshot),
            [(ErrorClass::Connect, snapshot.requests())],
            "{answer:?}"
        );
        let samples: Vec<_> = snapshot
            .errors
            .iter()
            .map(|(_, entry)| entry.message.clone())
            .collect();
        assert!(
            samples[0].starts_with("proxy: ") && !samples[0].contains("canary"),
            "{samples:?}"
        );
        assert_eq!(snapshot.counters.unsent, snapshot.requests());
    }
}

#[tokio::test]
async fn a_proxy_that_wants_other_credentials_is_no_answer_of_the_target() {
    let url = scripted(|peer: Peer| {
        peer.always("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
    });
    let (plan, inputs) = with_proxy(plan("http://nobody.invalid", users(1, 60)), &url.await);
    let prepared = Arc::new(prepare(Arc::new(plan), &inputs).await.unwrap());
    let snapshot = sum(&deltas(&mut prepared.start(whole(1), Instant::now())).await);
    assert_eq!(
        classes(&snapshot),
        [(ErrorClass::Connect, snapshot.requests())]
    );
}

#[tokio::test]
async fn a_proxy_that_is_not_there_is_no_connection() {
    let (plan, inputs) = with_proxy(
        plan("http://nobody.invalid", users(1, 40)),
        &format!("http://{}", closed_port()),
    );
    let prepared = Arc::new(prepare(Arc::new(plan), &inputs).await.unwrap());
    let snapshot = sum(&deltas(&mut prepared.start(whole(1), Instant::now())).await);
    assert_eq!(
        classes(&snapshot),
        [(ErrorClass::Connect, snapshot.requests())]
    );
}
