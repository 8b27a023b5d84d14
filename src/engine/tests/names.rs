//! Look-ups of names beside the load: packets that are lost, servers that do not answer, and names
//! that are gone.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use tokio::net::UdpSocket;

use crate::engine::net::resolve::NameServers;
use crate::engine::prepare::prepare_in;
use crate::engine::tests::server::{Peer, Server, scripted, scripted_at};
use crate::engine::tests::*;
use crate::engine::world::World;
use crate::plan::host_address::HostAddress;
use crate::plan::{Connections, Preflight, ThinkTime};
use crate::stats::Phase;

/// Behaviour of a name server towards one question.
#[derive(Clone, Copy, PartialEq)]
enum Mood {
    /// Gives the address of loopback.
    Answers,
    /// Gives two addresses of loopback, 127.0.0.2 and 127.0.0.1.
    AnswersTwo,
    /// Says that it cannot find out.
    Fails,
    /// Says that there is no such name.
    Denies,
}

/// Name server on loopback that loses every so many packets.
#[derive(Clone)]
struct NameServer {
    mood: Arc<Mutex<Mood>>,
    lost: Arc<AtomicU64>,
    names: NameServers,
}

impl NameServer {
    /// Starts one whose answers hold for `life` seconds, and which ignores each question whose
    /// number is a multiple of `loses`.
    async fn start(life: u8, loses: u64) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut udp = ConnectionConfig::udp();
        udp.port = socket.local_addr().unwrap().port();
        let (mood, lost) = (Arc::new(Mutex::new(Mood::Answers)), Arc::default());
        tokio::spawn(answer(socket, life, loses, mood.clone(), Arc::clone(&lost)));
        let mut server = NameServerConfig::udp(IpAddr::V4(Ipv4Addr::LOCALHOST));
        server.connections = vec![udp];
        let NameServers { options, .. } = NameServers::of_system();
        let names = NameServers {
            config: ResolverConfig::from_parts(None, vec![], vec![server]),
            options,
        };
        Self { mood, lost, names }
    }

    fn turn(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    fn world(&self) -> World {
        World {
            names: self.names.clone(),
            metadata_host: None,
        }
    }
}

async fn answer(
    socket: UdpSocket,
    life: u8,
    loses: u64,
    mood: Arc<Mutex<Mood>>,
    lost: Arc<AtomicU64>,
) {
    let mut query = [0; 512];
    for nth in 1.. {
        let Ok((_, from)) = socket.recv_from(&mut query).await else {
            return;
        };
        if nth % loses == 0 {
            lost.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        let mut end = 12;
        while query[end] != 0 {
            end += usize::from(query[end]) + 1;
        }
        let is_ipv4 = query[end + 2] == 1;
        let (code, count) = match *mood.lock().unwrap() {
            Mood::Answers => (0, u8::from(is_ipv4)),
            Mood::AnswersTwo => (0, 2 * u8::from(is_ipv4)),
            Mood::Fails => (2, 0),
            Mood::Denies => (3, 0),
        };
        let mut answer = query[..end + 5].to_vec();
        answer[2..12].copy_from_slice(&[0x84, code, 0, 1, 0, count, 0, 0, 0, 0]);
        for last in (1..=count).rev() {
            // the name of the question, A, IN, its life, four bytes
            let record = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, life, 0, 4, 127, 0, 0, last];
            answer.extend_from_slice(&record);
        }
        socket.send_to(&answer, from).await.unwrap();
    }
}

/// Load that opens a connection for each request, for `millis`.
fn connecting(server: &Server, millis: u64) -> Plan {
    let port = server.url.rsplit_once(':').unwrap().1;
    let mut plan = plan(
        &format!("http://my_model.example.:{port}"),
        users(2, millis),
    );
    plan.scenarios[0].think_time = Some(ThinkTime::constant(Duration::from_millis(5)));
    plan.http.connections = Connections::PerRequest;
    plan
}

async fn prepared(plan: Plan, names: &NameServer) -> Arc<Prepared> {
    let plan = Arc::new(plan);
    let prepared = prepare_in(plan, &Inputs::default(), &names.world()).await;
    Arc::new(prepared.unwrap())
}

#[tokio::test]
async fn no_request_waits_where_every_third_packet_of_names_is_lost() {
    let (server, names) = (Server::start(), NameServer::start(0, 3).await);
    let prepared = prepared(connecting(&server, 2_500), &names).await;
    let before = names.lost.load(Ordering::Relaxed);
    let snapshot = sum(&deltas(&mut prepared.start(whole(1), Instant::now())).await);
    let lost = names.lost.load(Ordering::Relaxed) - before;
    assert!(lost > 2, "{lost} packets were lost");
    assert_eq!(snapshot.failures(), 0, "{:?}", snapshot.errors);
    let dns = snapshot.steps[&0].phases.of(Phase::Dns);
    assert!(dns.count() > 50, "{} connections", dns.count());
    assert!(
        dns.max() < 50_000,
        "a request waited {} us for a name",
        dns.max()
    );
}

#[tokio::test]
async fn a_known_address_stays_in_use_while_name_servers_fail_and_the_result_says_so() {
    let (server, names) = (Server::start(), NameServer::start(0, u64::MAX).await);
    let prepared = prepared(connecting(&server, 1_500), &names).await;
    names.turn(Mood::Fails);
    let snapshot = sum(&deltas(&mut prepared.start(whole(1), Instant::now())).await);
    assert_eq!(snapshot.failures(), 0, "{:?}", snapshot.errors);
    let remark = snapshot
        .errors
        .iter()
        .find(|(key, _)| key.class == ErrorClass::Dns);
    let (_, remark) = remark.expect("a remark");
    assert!(
        remark.message.ends_with("the known address stays in use"),
        "{}",
        remark.message
    );
}

#[tokio::test]
async fn a_name_that_is_gone_leads_nowhere() {
    let (server, names) = (Server::start(), NameServer::start(0, u64::MAX).await);
    let prepared = prepared(connecting(&server, 1_000), &names).await;
    names.turn(Mood::Denies);
    let snapshot = sum(&deltas(&mut prepared.start(whole(1), Instant::now())).await);
    let failed = snapshot.failures();
    assert!(failed > 0);
    assert_eq!(classes(&snapshot), [(ErrorClass::Dns, failed)]);
}

#[tokio::test]
async fn a_first_look_up_that_fails_ends_preparation_unless_the_preflight_is_off() {
    let (server, names) = (Server::start(), NameServer::start(0, u64::MAX).await);
    names.turn(Mood::Denies);
    let plan = connecting(&server, 500);
    let refused = prepare_in(Arc::new(plan.clone()), &Inputs::default(), &names.world()).await;
    let refused = refused.unwrap_err().to_string();
    assert!(
        refused.contains("cannot resolve my_model.example."),
        "{refused}"
    );
    let off = Plan {
        preflight: Preflight::Off,
        ..plan
    };
    let begun = prepared(off, &names).await;
    let remark = &begun.warnings()[0];
    assert!(
        remark.starts_with("spec.target.url: cannot resolve my_model.example."),
        "{remark}"
    );
    // the name comes while the load waits for it
    names.turn(Mood::Answers);
    let snapshot = sum(&deltas(&mut begun.start(whole(1), Instant::now())).await);
    assert!(snapshot.requests() > 0);
    assert_eq!(snapshot.failures(), 0, "{:?}", snapshot.errors);
}

#[tokio::test]
async fn a_name_with_an_underscore_is_resolved() {
    let (server, names) = (Server::start(), NameServer::start(60, u64::MAX).await);
    let prepared = prepared(connecting(&server, 100), &names).await;
    let snapshot = sum(&deltas(&mut prepared.start(whole(1), Instant::now())).await);
    assert!(snapshot.requests() > 0);
    assert_eq!(snapshot.failures(), 0, "{:?}", snapshot.errors);
}

#[tokio::test]
async fn a_connection_tries_the_other_address_of_a_name_where_one_refuses() {
    let (server, names) = (Server::start(), NameServer::start(60, u64::MAX).await);
    names.turn(Mood::AnswersTwo);
    let prepared = prepared(connecting(&server, 500), &names).await;
    let snapshot = sum(&deltas(&mut prepared.start(whole(1), Instant::now())).await);
    assert!(snapshot.requests() > 1);
    assert_eq!(snapshot.failures(), 0, "{:?}", snapshot.errors);
    assert_eq!(server.received(), snapshot.received_by_target());
}

#[tokio::test]
async fn a_connection_tries_the_other_family_of_addresses_of_a_name() {
    let url = scripted_at("[::1]:0", |peer| {
        peer.always("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    })
    .await;
    let port = url.rsplit_once(':').unwrap().1;
    let plan = plan(&format!("http://localhost:{port}"), users(1, 300));
    let snapshot = run(plan, 1).await;
    assert!(snapshot.requests() > 0);
    assert_eq!(snapshot.failures(), 0, "{:?}", snapshot.errors);
}

#[tokio::test]
async fn a_host_is_reached_at_the_address_that_the_test_gives_it() {
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = heads.clone();
    let url = scripted(move |mut peer: Peer| {
        let seen = seen.clone();
        async move {
            while let Some(head) = peer.head().await {
                seen.lock().unwrap().push(head);
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    .await;
            }
        }
    })
    .await;
    let port = url.rsplit_once(':').unwrap().1;
    let mut plan = plan(&format!("http://shop.invalid:{port}"), users(1, 60));
    let addresses = ["127.0.0.9", "127.0.0.1"].map(|text| HostAddress::parse(text).unwrap());
    plan.target.resolve = [(format!("shop.invalid:{port}"), addresses.to_vec())].into();
    let snapshot = run(plan, 1).await;
    assert!(
        snapshot.requests() > 0 && snapshot.failures() == 0,
        "{:?}",
        snapshot.errors
    );
    assert!(heads.lock().unwrap()[0].contains(&format!("Host: shop.invalid:{port}\r\n")));
}

#[tokio::test]
async fn an_interface_that_is_not_there_is_named_before_the_load() {
    let mut plan = plan("http://[fe80::1]:8080", users(1, 60));
    let address = HostAddress::parse("fe80::1%nowhere").unwrap();
    plan.target.resolve = [("[fe80::1]:8080".to_owned(), vec![address])].into();
    let error = prepare(Arc::new(plan), &Inputs::default())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("spec.target.url: ") && error.contains("no interface \"nowhere\""),
        "{error}"
    );
}
