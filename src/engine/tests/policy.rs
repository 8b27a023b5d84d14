//! Addresses that policies do not allow: found before the load where they can be, and never
//! connected to where a name comes to lead elsewhere.

use std::net::Ipv4Addr;
use std::sync::Mutex;

use crate::engine::PrepareError;
use crate::engine::prepare::prepare_in;
use crate::engine::tests::server::{Peer, scripted, scripted_at};
use crate::engine::tests::transport::name_server;
use crate::engine::tests::*;
use crate::engine::world::World;
use crate::plan::{
    AddressRules, Auth, ClientAuthentication, Connections, Kind, OAuth2, Proxy, Reference,
};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
const ALLOWED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const REFUSED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

/// Rules of a policy that allows this network only.
fn network(cidr: &str) -> AddressRules {
    serde_json::from_str(&format!(r#"[{{"policy": "team-a", "cidrs": ["{cidr}"]}}]"#)).unwrap()
}

/// Heads of requests, as a server has seen them.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<String>>>);

impl Seen {
    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    /// Serves `answer` to everything; returns the URL.
    async fn serve(&self, address: &str, answer: String) -> String {
        let seen = self.clone();
        scripted_at(address, move |mut peer: Peer| {
            let (seen, answer) = (seen.clone(), answer.clone());
            async move {
                while let Some(head) = peer.head().await {
                    seen.0.lock().unwrap().push(head);
                    peer.send(&answer).await;
                }
            }
        })
        .await
    }
}

fn port(url: &str) -> &str {
    url.rsplit_once(':').unwrap().1
}

/// Surroundings in which every name has these addresses, and what changes them.
async fn world() -> (World, Arc<Mutex<Vec<Ipv4Addr>>>) {
    let addresses = Arc::new(Mutex::new(vec![ALLOWED]));
    let world = World {
        names: name_server(addresses.clone()).await,
        metadata_host: None,
    };
    (world, addresses)
}

async fn refusal(plan: Plan, inputs: &Inputs, world: &World) -> String {
    match prepare_in(Arc::new(plan), inputs, world).await {
        Err(PrepareError::NotAllowed(problems)) => problems[0].to_string(),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it is allowed"),
    }
}

#[tokio::test]
async fn a_target_that_no_policy_allows_is_named_before_the_load() {
    let (world, addresses) = world().await;
    let mut plan = plan("http://models.example.:8000", users(1, 100));
    plan.address_rules = network("127.0.0.2/32");
    assert!(
        prepare_in(Arc::new(plan.clone()), &Inputs::default(), &world)
            .await
            .is_ok()
    );
    // one of several is enough
    *addresses.lock().unwrap() = vec![ALLOWED, REFUSED];
    let why = refusal(plan.clone(), &Inputs::default(), &world).await;
    assert!(why.starts_with("spec.target.url: "), "{why}");
    assert!(why.contains("resolves to 127.0.0.3"), "{why}");
    assert!(why.contains("StarlingPolicy \"team-a\""), "{why}");
    // without a policy only where credentials are served
    plan.address_rules = AddressRules::default();
    *addresses.lock().unwrap() = vec![Ipv4Addr::new(169, 254, 169, 254)];
    let why = refusal(plan, &Inputs::default(), &world).await;
    assert!(why.contains("never a target"), "{why}");
}

#[tokio::test]
async fn an_address_that_the_test_gives_to_a_host_is_judged() {
    let (world, _) = world().await;
    let mut plan = plan("http://models.example.:8000", users(1, 100));
    plan.address_rules = network("127.0.0.2/32");
    let address = crate::plan::host_address::HostAddress::parse("127.0.0.3").unwrap();
    plan.target.resolve = [("models.example.:8000".to_owned(), vec![address])].into();
    let refused = refusal(plan, &Inputs::default(), &world).await;
    assert!(
        refused.contains("127.0.0.3") && refused.contains("team-a"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_name_that_comes_to_lead_elsewhere_is_not_followed_there() {
    let (world, addresses) = world().await;
    let (there, elsewhere) = (Seen::default(), Seen::default());
    let url = there.serve(&format!("{ALLOWED}:0"), OK.into()).await;
    let port = port(&url);
    elsewhere
        .serve(&format!("{REFUSED}:{port}"), OK.into())
        .await;
    let mut plan = plan(&format!("http://models.example.:{port}"), rate(20, 500, 5));
    plan.http.connections = Connections::PerRequest;
    plan.address_rules = network("127.0.0.2/32");
    let prepared = prepare_in(Arc::new(plan), &Inputs::default(), &world)
        .await
        .unwrap();
    *addresses.lock().unwrap() = vec![REFUSED];
    let mut running = Arc::new(prepared).start(whole(1), Instant::now());
    let snapshot = sum(&deltas(&mut running).await);
    // the address known before is used until the name has been looked up again
    let before = there.all().len() as u64;
    assert!(before < snapshot.requests(), "{before}");
    assert_eq!(
        classes(&snapshot),
        [(ErrorClass::Policy, snapshot.requests() - before)]
    );
    assert_eq!(snapshot.counters.unsent, snapshot.requests() - before);
    let message = &snapshot.errors.iter().next().unwrap().1.message;
    assert!(
        message.contains("does not allow the address 127.0.0.3"),
        "{message}"
    );
    assert!(elsewhere.all().is_empty());
}

#[tokio::test]
async fn every_hop_of_a_redirect_is_judged() {
    let (world, addresses) = world().await;
    let (first, second) = (Seen::default(), Seen::default());
    let beyond = second.serve(&format!("{REFUSED}:0"), OK.into()).await;
    let beyond = format!("http://models.example.:{}", port(&beyond));
    let answer = format!("HTTP/1.1 302 Found\r\nLocation: {beyond}/x\r\nContent-Length: 0\r\n\r\n");
    let url = first.serve("127.0.0.1:0", answer).await;
    let mut plan = plan(&url, rate(10, 400, 5));
    let mut other = plan.target.clone();
    other.name = Some("other".into());
    other.url = Url::parse(&beyond).unwrap();
    plan.targets = vec![other];
    http(&mut plan.scenarios[0].tasks[0].steps[0]).follow_redirects = 3;
    plan.address_rules = network("127.0.0.0/30");
    let prepared = prepare_in(Arc::new(plan), &Inputs::default(), &world)
        .await
        .unwrap();
    // outside of the network
    *addresses.lock().unwrap() = vec![Ipv4Addr::new(127, 0, 0, 9)];
    let mut running = Arc::new(prepared).start(whole(1), Instant::now());
    let snapshot = sum(&deltas(&mut running).await);
    // nobody listens at the address known before, which is tried until there is a new one
    let found = classes(&snapshot);
    let of = |class| {
        found
            .iter()
            .filter(move |(of, _)| *of == class)
            .map(|(_, n)| n)
    };
    let (refused, before): (u64, u64) =
        (of(ErrorClass::Policy).sum(), of(ErrorClass::Connect).sum());
    assert!(refused > 0, "{found:?}");
    assert_eq!(refused + before, snapshot.requests(), "{found:?}");
    assert_eq!(first.all().len() as u64, snapshot.requests());
    assert_eq!(second.all(), [] as [&str; 0]);
}

fn proxied(target: &str, proxy: &str) -> Plan {
    let mut plan = plan(target, rate(10, 300, 5));
    plan.target.proxy = Some(Proxy {
        url: Url::parse(proxy).unwrap(),
        basic: None,
    });
    plan
}

#[tokio::test]
async fn a_proxy_is_given_the_address_that_was_judged() {
    let (world, addresses) = world().await;
    let target = Seen::default();
    let url = target.serve(&format!("{ALLOWED}:0"), OK.into()).await;
    let port = port(&url).to_owned();
    let asked = Seen::default();
    let log = asked.clone();
    let proxy = scripted(move |mut peer: Peer| {
        let log = log.clone();
        async move {
            let head = peer.head().await.unwrap();
            let authority = head.split(' ').nth(1).unwrap().to_owned();
            log.0.lock().unwrap().push(head);
            peer.send("HTTP/1.1 200 OK\r\n\r\n").await;
            let mut target = tokio::net::TcpStream::connect(authority).await.unwrap();
            // ends with whichever side ends first
            let _ = tokio::io::copy_bidirectional(&mut peer.0, &mut target).await;
        }
    })
    .await;
    let mut plan = proxied(&format!("http://models.example.:{port}"), &proxy);
    plan.address_rules = network("127.0.0.0/30");
    let prepared = prepare_in(Arc::new(plan.clone()), &Inputs::default(), &world)
        .await
        .unwrap();
    let mut running = Arc::new(prepared).start(whole(1), Instant::now());
    let snapshot = sum(&deltas(&mut running).await);
    assert_eq!(snapshot.failures(), 0, "{:?}", snapshot.errors);
    let tunnel = format!("CONNECT {ALLOWED}:{port} HTTP/1.1\r\nHost: {ALLOWED}:{port}\r\n\r\n");
    assert!(
        asked.all().iter().all(|head| *head == tunnel),
        "{:?}",
        asked.all()
    );
    let host = format!("Host: models.example.:{port}\r\n");
    assert!(!target.all().is_empty());
    assert!(
        target.all().iter().all(|head| head.contains(&host)),
        "{:?}",
        target.all()
    );
    // the proxy is asked for nothing once the name leads elsewhere
    *addresses.lock().unwrap() = vec![Ipv4Addr::new(127, 0, 0, 9)];
    let before = asked.all().len();
    let why = refusal(plan, &Inputs::default(), &world).await;
    assert!(why.contains("resolves to 127.0.0.9"), "{why}");
    assert_eq!(asked.all().len(), before);
}

#[tokio::test]
async fn proxies_themselves_and_what_lies_behind_them_are_judged() {
    let (world, _) = world().await;
    let none = Inputs::default();
    let mut plan = proxied("http://models.example.", "http://127.0.0.9:3128");
    plan.address_rules = network("127.0.0.0/30");
    let why = refusal(plan, &none, &world).await;
    assert!(
        why.contains("does not allow the address 127.0.0.9"),
        "{why}"
    );
    let hosts = r#"[{"policy": "team-a", "hosts": ["proxy.example", "127.*"]}]"#;
    let mut plan = proxied("http://models.example.", "http://proxy.example.:3128");
    plan.address_rules = serde_json::from_str(hosts).unwrap();
    let why = refusal(plan, &none, &world).await;
    assert!(
        why.contains("does not allow the host models.example"),
        "{why}"
    );
    // without any policy
    for target in [
        "http://0xA9FEA9FE/",
        "http://[64:ff9b::a9fe:a9fe]/",
        "http://metadata.google.internal/",
    ] {
        let why = refusal(proxied(target, "http://127.0.0.1:3128"), &none, &world).await;
        assert!(why.contains("never a target"), "{target}: {why}");
    }
}

#[tokio::test]
async fn a_token_is_asked_for_nowhere_but_where_it_is_allowed() {
    let (world, addresses) = world().await;
    let giver = Seen::default();
    let url = giver.serve(&format!("{REFUSED}:0"), OK.into()).await;
    let secret = Reference {
        kind: Kind::Secret,
        name: "keys".into(),
        key: "secret".into(),
        field: "f".into(),
    };
    let mut inputs = Inputs::default();
    inputs.insert(Kind::Secret, "keys", "secret", b"hush".to_vec());
    let mut plan = plan("http://127.0.0.1:1", users(1, 100));
    plan.target.auth = Some(Auth::OAuth2(Box::new(OAuth2 {
        token_url: Url::parse(&format!("http://tokens.example.:{}/", port(&url))).unwrap(),
        client_id: "me".into(),
        client_secret: secret,
        scopes: vec![],
        audience: None,
        client_authentication: ClientAuthentication::Body,
    })));
    plan.address_rules = network("127.0.0.0/30");
    *addresses.lock().unwrap() = vec![Ipv4Addr::new(127, 0, 0, 9)];
    let why = refusal(plan, &inputs, &world).await;
    assert!(
        why.starts_with("spec.target.auth.oauth2.tokenUrl: "),
        "{why}"
    );
    assert!(
        why.contains("tokens.example. resolves to 127.0.0.9"),
        "{why}"
    );
    assert_eq!(giver.all(), [] as [&str; 0]);
}
