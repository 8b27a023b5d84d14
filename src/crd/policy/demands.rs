//! Demands of a LoadTest: every field that a policy may refuse.

use url::{Host, Url};

use crate::crd::Checked;
use crate::crd::spec::{LoadTestSpec, MasterSpec, PodSpec, WorkersSpec};
use crate::plan::host_address::HostAddress;
use crate::plan::policy::{Demand, Permission, Wanted};
use crate::plan::{Auth, Load, Plan, Population, Target};

/// Returns what a test demands, from its spec and the plan that was made of it.
pub fn demands(spec: &LoadTestSpec, checked: &Checked) -> Vec<Demand> {
    let mut all = Vec::new();
    for target in checked.plan.all_targets() {
        add_target(target, &mut all);
    }
    add_load(&checked.plan, checked.deadline, &mut all);
    let WorkersSpec {
        replicas: _,
        per_worker,
        start_deadline: _,
        grace: _,
        on_loss: _,
        volumes: _,
        resources: _,
        pod,
        external,
    } = &spec.workers;
    let path = match per_worker {
        Some(_) => "spec.workers.perWorker",
        None => "spec.workers.replicas",
    };
    add(&mut all, path, Wanted::Workers(checked.workers));
    // those elsewhere count with the others
    if external.is_some() {
        let workers = checked.workers.saturating_add(spec.workers.elsewhere());
        let path = "spec.workers.external.replicas";
        add(&mut all, path, Wanted::Workers(workers));
    }
    add_pod("spec.workers.pod", pod.as_ref(), &mut all);
    let MasterSpec {
        resources: _,
        tls: _,
        pod,
    } = &spec.master;
    add_pod("spec.master.pod", pod.as_ref(), &mut all);
    all
}

fn add(all: &mut Vec<Demand>, field: impl Into<String>, wanted: Wanted) {
    all.push(Demand {
        field: field.into(),
        wanted,
    });
}

/// Adds every address that is connected to for a target: its own (which `readyWhen` asks, too), its
/// proxy's, and that of its tokens. Google's tokens come from the metadata service of the Pod,
/// which is no choice of the test's.
fn add_target(target: &Target, all: &mut Vec<Demand>) {
    let Target {
        name: _,
        url,
        headers: _,
        auth,
        tls: _,
        proxy,
        unix_socket,
        ready_when: _,
        resolve,
    } = target;
    let field = target.field();
    // a zone in the URL says no other address than the URL
    let is_other = |(endpoint, addresses): (&String, &Vec<HostAddress>)| {
        addresses
            .iter()
            .any(|address| !endpoint.starts_with(&format!("[{}]:", address.ip)))
    };
    if resolve.iter().any(is_other) {
        let wanted = Wanted::Permission(Permission::Resolve);
        add(all, format!("{field}.resolve"), wanted);
    }
    match unix_socket {
        Some(_) => {
            let wanted = Wanted::Permission(Permission::UnixSocket);
            add(all, format!("{field}.unixSocket"), wanted);
        }
        None => add_endpoint(format!("{field}.url"), url, all),
    }
    if let Some(proxy) = proxy {
        let wanted = Wanted::Permission(Permission::Proxy);
        add(all, format!("{field}.proxy"), wanted);
        add_endpoint(format!("{field}.proxy.url"), &proxy.url, all);
    }
    match auth {
        Some(Auth::OAuth2(oauth2)) => {
            add_endpoint(
                format!("{field}.auth.oauth2.tokenUrl"),
                &oauth2.token_url,
                all,
            );
        }
        None
        | Some(
            Auth::Bearer { .. }
            | Auth::Basic { .. }
            | Auth::Header { .. }
            | Auth::Google(_)
            | Auth::AwsSigV4(_),
        ) => {}
    }
}

fn add_endpoint(field: String, url: &Url, all: &mut Vec<Demand>) {
    // URLs without a host do not pass the check
    if let Some((host, port)) = url.host().zip(url.port_or_known_default()) {
        let host = match host {
            Host::Domain(name) => Host::Domain(name.to_owned()),
            Host::Ipv4(ip) => Host::Ipv4(ip),
            Host::Ipv6(ip) => Host::Ipv6(ip),
        };
        add(all, field, Wanted::Endpoint(host, port));
    }
}

/// Adds the load of all populations, which run side by side.
fn add_load(plan: &Plan, deadline: std::time::Duration, all: &mut Vec<Demand>) {
    let populations = || plan.populations.iter();
    let rates: Option<Vec<f64>> = populations().map(|one| most_rate(plan, one)).collect();
    add(
        all,
        "spec.load",
        Wanted::Rate(rates.map(|rates| rates.iter().sum())),
    );
    let users = populations().map(|one| most_users(plan, one)).sum();
    add(all, "spec.load", Wanted::Users(users));
    let length = plan.whole_length().unwrap_or(deadline);
    add(all, "spec.load", Wanted::Duration(length));
}

/// Highest level of a population's warm-up; nothing without one.
fn warmup(plan: &Plan, population: &Population) -> f64 {
    match plan.warmup.is_zero() {
        true => 0.0,
        false => population.warmup_target,
    }
}

/// Most iterations per second of open load, or requests of closed load; `None` if nothing bounds
/// them.
fn most_rate(plan: &Plan, population: &Population) -> Option<f64> {
    match &population.load {
        Load::Closed { .. } | Load::Iterations(_) => population.throttle,
        Load::Open { profile, .. } => Some(profile.max_level().max(warmup(plan, population))),
        Load::Capacity(capacity) => Some(capacity.max.max(warmup(plan, population))),
    }
}

fn most_users(plan: &Plan, population: &Population) -> u64 {
    let most = population.load.most();
    match &population.load {
        Load::Closed { .. } | Load::Iterations(_) => {
            most.max(warmup(plan, population).ceil() as u64)
        }
        Load::Open { .. } | Load::Capacity(_) => most,
    }
}

fn add_pod(field: &str, pod: Option<&PodSpec>, all: &mut Vec<Demand>) {
    let Some(PodSpec {
        labels,
        annotations,
        node_selector: _,
        tolerations: _,
        priority_class_name,
    }) = pod
    else {
        return;
    };
    for key in labels.keys() {
        add(
            all,
            format!("{field}.labels.{key}"),
            Wanted::Label(key.clone()),
        );
    }
    for key in annotations.keys() {
        let wanted = Wanted::Annotation(key.clone());
        add(all, format!("{field}.annotations.{key}"), wanted);
    }
    if let Some(name) = priority_class_name {
        let wanted = Wanted::PriorityClass(name.clone());
        add(all, format!("{field}.priorityClassName"), wanted);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::crd::check;
    use crate::crd::policy::convert;
    use crate::plan::policy::judge;

    /// Field paths of what the policy refuses of a test, whose spec `change` changes.
    fn refused(policy: Value, change: Value) -> Vec<String> {
        let mut spec = json!({
            "target": {"url": "http://a.ml.svc:8000"},
            "scenarios": [{"name": "s", "tasks": [{"name": "t", "steps": [{"http": {"path": "/"}}]}]}],
            "load": {"open": {"rate": 100, "duration": "1m", "maxInFlight": 50}},
        });
        for (field, value) in change.as_object().unwrap() {
            spec[field] = value.clone();
        }
        let spec = serde_json::from_value(spec).unwrap();
        let checked = check(&spec).unwrap();
        let policy = convert("p", &policy).unwrap();
        let problems = judge(&[policy], &demands(&spec, &checked));
        problems
            .into_iter()
            .inspect(|problem| {
                let message = &problem.message;
                let is_named = message.contains("StarlingPolicy \"p\"");
                assert!(is_named || message.contains("never a target"), "{message}");
            })
            .map(|problem| problem.path)
            .collect()
    }

    #[test]
    fn a_small_test_fits_policies_that_allow_it() {
        for policy in [
            json!({}),
            json!({"hosts": ["*.svc"], "ports": [8000], "maxRate": 100, "maxUsers": 50}),
            json!({"maxDuration": "1m", "maxWorkers": 1, "cidrs": ["10.0.0.0/8"], "podLabels": []}),
        ] {
            assert_eq!(
                refused(policy.clone(), json!({})),
                [] as [&str; 0],
                "{policy}"
            );
        }
    }

    #[test]
    fn every_address_that_is_connected_to_is_a_demand() {
        let hosts = json!({"hosts": ["*.svc"], "allow": ["Proxy"]});
        let secret = json!({"secretKeyRef": {"name": "s", "key": "k"}});
        let evil = "http://evil.example:8000";
        let oauth2 = json!({"tokenUrl": evil, "clientId": "c", "clientSecretFrom": secret});
        let target = |fields: Value| {
            let mut target = json!({"url": "http://a.svc"});
            target
                .as_object_mut()
                .unwrap()
                .extend(fields.as_object().unwrap().clone());
            target
        };
        for (change, field) in [
            (json!({"target": {"url": evil}}), "spec.target.url"),
            (
                json!({"targets": {"b": {"url": evil}}}),
                "spec.targets.b.url",
            ),
            (
                json!({"target": target(json!({"proxy": {"url": evil}}))}),
                "spec.target.proxy.url",
            ),
            (
                json!({"target": target(json!({"auth": {"oauth2": oauth2}}))}),
                "spec.target.auth.oauth2.tokenUrl",
            ),
            (
                json!({"target": {"url": "http://0xA9FEA9FE"}}),
                "spec.target.url",
            ),
            (
                json!({"target": {"url": "http://10.0.0.1"}}),
                "spec.target.url",
            ),
        ] {
            assert_eq!(refused(hosts.clone(), change.clone()), [field], "{change}");
        }
        let ports = json!({"ports": [8000]});
        assert_eq!(
            refused(ports, json!({"target": {"url": "https://a.svc"}})),
            ["spec.target.url"]
        );
        let networks = json!({"cidrs": ["10.0.0.0/8"]});
        let literal = json!({"target": {"url": "http://[64:ff9b::11.0.0.1]"}});
        assert_eq!(refused(networks, literal), ["spec.target.url"]);
    }

    #[test]
    fn a_socket_or_a_proxy_needs_permission() {
        let socket = json!({"target": {"url": "http://any.example", "unixSocket": "/run/s"}});
        assert_eq!(
            refused(json!({"hosts": []}), socket.clone()),
            ["spec.target.unixSocket"]
        );
        let allowed = json!({"hosts": [], "allow": ["UnixSocket"]});
        assert_eq!(refused(allowed, socket), [] as [&str; 0]);
        let proxy = json!({"target": {"url": "http://a", "proxy": {"url": "http://p"}}});
        assert_eq!(refused(json!({}), proxy), ["spec.target.proxy"]);
    }

    #[test]
    fn addresses_that_a_test_gives_to_hosts_need_permission() {
        let given = json!({"target": {"url": "http://a", "resolve": {"a:80": "10.0.0.7"}}});
        assert_eq!(refused(json!({}), given.clone()), ["spec.target.resolve"]);
        assert_eq!(
            refused(json!({"allow": ["Resolve"]}), given),
            [] as [&str; 0]
        );
        // a zone gives the URL no other address, which no policy allows though
        let zone = json!({"target": {"url": "http://[fe80::1%eth0]"}});
        assert_eq!(refused(json!({}), zone), ["spec.target.url"]);
    }

    #[test]
    fn load_counts_as_a_whole() {
        for (policy, change) in [
            (json!({"maxRate": 99}), json!({})),
            (json!({"maxUsers": 49}), json!({})),
            (json!({"maxDuration": "59s"}), json!({})),
            (
                json!({"maxRate": 1000}),
                json!({"load": {"closed": {"users": 1, "duration": "1m"}}}),
            ),
            (
                json!({"maxRate": 10}),
                json!({"load": {"closed": {"users": 1, "duration": "1m"}, "throttle": {"rps": 11}}}),
            ),
            (
                json!({"maxRate": 99}),
                json!({"load": {"capacity": {"start": 1, "max": 100, "hold": "20s", "maxInFlight": 5}}}),
            ),
            (
                json!({"maxDuration": "1h"}),
                json!({"load": {"iterations": {"count": 5, "users": 1}}}),
            ),
        ] {
            assert_eq!(
                refused(policy.clone(), change.clone()),
                ["spec.load"],
                "{policy} {change}"
            );
        }
        let throttled =
            json!({"load": {"closed": {"users": 5, "duration": "1m"}, "throttle": {"rps": 10}}});
        assert_eq!(
            refused(json!({"maxRate": 10, "maxUsers": 5}), throttled),
            [] as [&str; 0]
        );
    }

    #[test]
    fn workers_elsewhere_count_with_those_of_the_cluster() {
        let change = json!({"workers": {"replicas": 2, "external": {"replicas": 2}}});
        let policy = json!({"maxWorkers": 3});
        assert_eq!(
            refused(policy, change.clone()),
            ["spec.workers.external.replicas"]
        );
        assert_eq!(refused(json!({"maxWorkers": 4}), change), [] as [&str; 0]);
    }

    #[test]
    fn pods_are_judged_field_by_field() {
        let pod = json!({"labels": {"team": "a"}, "annotations": {"note": "1"}, "priorityClassName": "high"});
        let change = json!({"workers": {"replicas": 3, "pod": pod}, "master": {"pod": pod}});
        let policy = json!({
            "maxWorkers": 2, "podLabels": ["x"], "podAnnotations": [], "priorityClasses": ["low"],
        });
        let fields = ["labels.team", "annotations.note", "priorityClassName"];
        let pods = ["workers", "master"]
            .into_iter()
            .flat_map(|part| fields.map(|field| format!("spec.{part}.pod.{field}")));
        let expected: Vec<String> = ["spec.workers.replicas".to_owned()]
            .into_iter()
            .chain(pods)
            .collect();
        assert_eq!(refused(policy, change.clone()), expected);
        let generous = json!({"podLabels": ["*"], "priorityClasses": ["hi*"]});
        assert_eq!(refused(generous, change), [] as [&str; 0]);
    }
}
