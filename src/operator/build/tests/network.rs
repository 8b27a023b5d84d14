//! NetworkPolicies: who gets in and out by the rules, as the API's documentation has them. The test
//! cluster's network enforces none, so what is built is evaluated here.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Value, json};

use super::{RUN, Settings, fixture, fleet_with, settings};
use crate::operator::child::Child;
use crate::plan::policy::METADATA_NETWORKS;

/// One end of a connection.
#[derive(Clone)]
struct Peer {
    /// Namespace and labels of a Pod; `None` outside of the cluster.
    pod: Option<(&'static str, BTreeMap<String, String>)>,
    address: IpAddr,
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).into(), (*value).into()))
        .collect()
}

fn pod(namespace: &'static str, pairs: &[(&str, &str)]) -> Peer {
    Peer {
        pod: Some((namespace, labels(pairs))),
        address: [10, 244, 0, 9].into(),
    }
}

fn outside(address: &str) -> Peer {
    Peer {
        pod: None,
        address: address.parse().unwrap(),
    }
}

fn matches(selector: &Value, labels: &BTreeMap<String, String>) -> bool {
    let pairs = selector["matchLabels"].as_object().into_iter().flatten();
    let expressions = selector["matchExpressions"]
        .as_array()
        .into_iter()
        .flatten();
    pairs
        .into_iter()
        .all(|(key, value)| labels.get(key).is_some_and(|found| value == found))
        && expressions.into_iter().all(|one| {
            assert_eq!(one["operator"], "In");
            let value = labels.get(one["key"].as_str().unwrap());
            let values = one["values"].as_array().unwrap();
            value.is_some_and(|value| values.iter().any(|allowed| allowed == value))
        })
}

fn is_in(network: &str, address: IpAddr) -> bool {
    let (base, prefix) = network.split_once('/').unwrap();
    let bits = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)) << 96,
        IpAddr::V6(ip) => ip.into(),
    };
    let base: IpAddr = base.parse().unwrap();
    let rest = 128 - prefix.parse::<u32>().unwrap();
    let masked = |ip| bits(ip).checked_shr(rest).unwrap_or(0);
    base.is_ipv4() == address.is_ipv4() && masked(base) == masked(address)
}

/// Tells whether one entry of `from` or `to` means the peer. An address block means nobody in a Pod here,
/// as on some networks.
fn means(entry: &Value, own_namespace: &str, peer: &Peer) -> bool {
    if let Some(block) = entry.get("ipBlock") {
        let excepted = block["except"].as_array().into_iter().flatten();
        return peer.pod.is_none()
            && is_in(block["cidr"].as_str().unwrap(), peer.address)
            && !excepted
                .into_iter()
                .any(|network| is_in(network.as_str().unwrap(), peer.address));
    }
    let Some((namespace, pod_labels)) = &peer.pod else {
        return false;
    };
    let of_namespace = labels(&[("kubernetes.io/metadata.name", *namespace)]);
    let fits_namespace = match entry.get("namespaceSelector") {
        Some(selector) => matches(selector, &of_namespace),
        None => *namespace == own_namespace,
    };
    fits_namespace
        && entry
            .get("podSelector")
            .is_none_or(|selector| matches(selector, pod_labels))
}

fn allows(rules: &Value, direction: &str, peer: &Peer, port: u16) -> bool {
    rules.as_array().unwrap().iter().any(|rule| {
        let ports = rule["ports"].as_array();
        let fits_port = ports.is_none_or(|ports| ports.iter().any(|one| one["port"] == port));
        let peers = rule[direction].as_array();
        fits_port && peers.is_none_or(|all| all.iter().any(|entry| means(entry, "team-a", peer)))
    })
}

fn policy(settings: &Settings) -> Value {
    let all = fleet_with(&fixture::test(), settings);
    let (_, policy) = all
        .into_iter()
        .find(|(child, _)| *child == Child::Policy)
        .unwrap();
    policy["spec"].clone()
}

fn worker(run: &str) -> Peer {
    pod(
        "team-a",
        &[
            ("starling.dev/run", run),
            ("app.kubernetes.io/component", "worker"),
        ],
    )
}

fn operator() -> Peer {
    let pairs = [
        ("app.kubernetes.io/name", "starling"),
        ("app.kubernetes.io/component", "operator"),
    ];
    pod("starling-system", &pairs)
}

#[test]
fn a_master_is_reached_by_its_workers_and_the_operator_alone() {
    let ingress = &policy(&settings())["ingress"];
    let enters = |peer: &Peer, port| allows(ingress, "from", peer, port);
    assert!(enters(&worker(RUN), 8443) && enters(&operator(), 8443));
    for stranger in [
        worker("categorizer-aaaaaa"),
        pod("team-a", &[]),
        pod("starling-system", &[("app.kubernetes.io/name", "other")]),
        pod(
            "team-b",
            &[
                ("app.kubernetes.io/name", "starling"),
                ("app.kubernetes.io/component", "operator"),
            ],
        ),
        outside("192.0.2.1"),
    ] {
        assert!(!enters(&stranger, 8443));
    }
    assert!(!enters(&worker(RUN), 22) && !enters(&operator(), 22));
}

#[test]
fn ui_and_metrics_are_open_to_the_own_namespace_and_to_those_named() {
    let prometheus = pod("monitoring", &[("app", "prometheus")]);
    let closed = policy(&settings());
    let named = Settings {
        metrics_from: vec!["monitoring".into(), "ops".into()],
        ..settings()
    };
    let open = policy(&named);
    for port in [8080, 9090] {
        let enters = |policy: &Value, peer: &Peer| allows(&policy["ingress"], "from", peer, port);
        assert!(enters(&closed, &pod("team-a", &[])));
        assert!(!enters(&closed, &prometheus) && !enters(&closed, &operator()));
        assert!(enters(&open, &prometheus) && enters(&open, &pod("ops", &[])));
        assert!(!enters(&open, &pod("team-b", &[])) && !enters(&open, &outside("192.0.2.1")));
    }
    assert!(!allows(&open["ingress"], "from", &prometheus, 8443));
}

#[test]
fn workers_reach_dns_pods_and_every_address_but_those_that_serve_credentials() {
    let egress = &policy(&settings())["egress"];
    let leaves = |peer: &Peer, port| allows(egress, "to", peer, port);
    assert!(leaves(&pod("kube-system", &[]), 53) && leaves(&outside("169.254.20.10"), 53));
    assert!(leaves(&pod("team-a", &[]), 8443) && leaves(&pod("team-b", &[]), 80));
    for target in ["192.0.2.1", "10.96.0.1", "2001:db8::1", "64:ff9b::c000:201"] {
        assert!(leaves(&outside(target), 443), "{target}");
    }
    for address in [
        "169.254.169.254",
        "169.254.170.2",
        "100.100.100.200",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",
        "64:ff9b::a9fe:a9fe",
    ] {
        assert!(!leaves(&outside(address), 80), "{address}");
    }
    let text = egress.to_string();
    for network in METADATA_NETWORKS {
        assert!(text.contains(&json!(network).to_string()), "{network}");
    }
}
