//! Invitation of workers from elsewhere to the run of a LoadTest, read by a user with the user's
//! own rights: where the master listens, the run's authority, and the tokens of the indexes that
//! are for such workers, and no others.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Node, Secret, Service};
use kube::api::{Api, ListParams};
use kube::{Client, Config, ResourceExt};

use super::child::Child;
use crate::crd::LoadTest;
use crate::crd::status::RunStatus;
use crate::wire::layout::{CONTROL_PORT, channel};
use crate::wire::tokens::JoinToken;

/// Reasons why nobody can be invited to a run.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// Neither a kubeconfig nor the environment of a Pod says how to reach the API server.
    #[error("cannot find out how to reach the API server: {0}")]
    Config(#[from] kube::config::InferConfigError),
    /// The API server did not do what was asked.
    #[error("cannot {what}: {source}")]
    Api {
        /// Call, such as `read LoadTest "a"`.
        what: String,
        /// Answer of the API server, or why there was none.
        source: Box<kube::Error>,
    },
    /// The LoadTest has no run that workers could join.
    #[error("LoadTest {name:?} {why}")]
    NoRun {
        /// Name of the LoadTest.
        name: String,
        /// Reason in words.
        why: &'static str,
    },
    /// An object of the run is not as it should be.
    #[error("{object} {why}")]
    Damaged {
        /// Kind and name of the object.
        object: String,
        /// Fault of the object.
        why: &'static str,
    },
}

/// All that a worker from elsewhere needs.
#[derive(Clone, PartialEq, Eq)]
pub struct Invitation {
    /// HOST:PORT of the master; `None` while nobody knows it, as before a load balancer is there.
    pub address: Option<String>,
    /// Certificate of the run's authority, as PEM.
    pub ca: String,
    /// Tokens of the indexes that are for workers from elsewhere.
    pub tokens: Vec<JoinToken>,
}

impl std::fmt::Debug for Invitation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Invitation({:?}, {} tokens)",
            self.address,
            self.tokens.len()
        )
    }
}

/// Reads what workers need to join the run in progress of a LoadTest; `namespace` is that of the
/// kubeconfig if `None`.
///
/// # Errors
///
/// No such run, no right to read its objects, and objects that are not what they should be.
pub async fn invitation(name: &str, namespace: Option<&str>) -> Result<Invitation, JoinError> {
    // fails only when one is set already, which is then the one to use
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = Config::infer().await?;
    let namespace = namespace.map_or_else(|| config.default_namespace.clone(), str::to_owned);
    let client = Client::try_from(config).map_err(failed("make a client".into()))?;
    let tests: Api<LoadTest> = Api::namespaced(client.clone(), &namespace);
    let test = tests
        .get(name)
        .await
        .map_err(failed(format!("read LoadTest {name:?}")))?;
    let run = joinable(name, &test)?;
    let service_name = Child::External.name(&run.id);
    let services: Api<Service> = Api::namespaced(client.clone(), &namespace);
    let service = services
        .get(&service_name)
        .await
        .map_err(failed(format!("read Service {service_name:?}")))?;
    let secret_name = Child::Channel.name(&run.id);
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &namespace);
    let secret = secrets
        .get(&secret_name)
        .await
        .map_err(failed(format!("read Secret {secret_name:?}")))?;
    let (ca, tokens) = proofs(run, &secret)?;
    let address = match node_port(&service) {
        Some(port) => node_address(client)
            .await
            .map(|host| host_port(&host, port)),
        None => balanced(&service),
    };
    Ok(Invitation {
        address,
        ca,
        tokens,
    })
}

fn failed(what: String) -> impl FnOnce(kube::Error) -> JoinError {
    move |source| JoinError::Api {
        what,
        source: Box::new(source),
    }
}

/// Returns the run that workers may join.
fn joinable<'a>(name: &str, test: &'a LoadTest) -> Result<&'a RunStatus, JoinError> {
    let no_run = |why| JoinError::NoRun {
        name: name.to_owned(),
        why,
    };
    let run = test.status.as_ref().and_then(|status| status.run.as_ref());
    let run = run.ok_or_else(|| no_run("has no run yet"))?;
    if run.end.is_some() {
        return Err(no_run("has no run in progress: the last one has ended"));
    }
    if run.external == 0 {
        return Err(no_run(
            "has no spec.workers.external, so no worker can join it",
        ));
    }
    Ok(run)
}

/// Returns the authority and the tokens of the indexes for workers from elsewhere.
fn proofs(run: &RunStatus, secret: &Secret) -> Result<(String, Vec<JoinToken>), JoinError> {
    let damaged = |why| JoinError::Damaged {
        object: format!("Secret {:?}", secret.name_any()),
        why,
    };
    let nothing = BTreeMap::new();
    let data = secret.data.as_ref().unwrap_or(&nothing);
    let text = |key: &str| {
        let value: &ByteString = data.get(key)?;
        String::from_utf8(value.0.clone()).ok()
    };
    let ca = text(channel::CA).ok_or_else(|| damaged("holds no certificate"))?;
    let token = |index| {
        let token = text(&channel::worker_key(index))?;
        Some(JoinToken {
            run: run.id.clone(),
            index,
            token,
        })
    };
    let tokens: Option<Vec<_>> = (run.pods()..run.workers).map(token).collect();
    Ok((ca, tokens.ok_or_else(|| damaged("lacks a token"))?))
}

/// Returns the port that every node has for the Service; `None` for a load balancer.
fn node_port(service: &Service) -> Option<i32> {
    let spec = service.spec.as_ref()?;
    if spec.type_.as_deref() != Some("NodePort") {
        return None;
    }
    spec.ports.as_ref()?.first()?.node_port
}

/// Returns the address of the load balancer, if it has one already.
fn balanced(service: &Service) -> Option<String> {
    let status = service.status.as_ref()?.load_balancer.as_ref()?;
    let ingress = status.ingress.as_ref()?.first()?;
    let host = ingress.hostname.as_ref().or(ingress.ip.as_ref())?;
    Some(host_port(host, CONTROL_PORT.into()))
}

/// Returns an address of a node; `None` for a user who may not read nodes.
async fn node_address(client: Client) -> Option<String> {
    let nodes: Api<Node> = Api::all(client);
    let nodes = nodes.list(&ListParams::default().limit(50)).await.ok()?;
    address_of(&nodes.items)
}

/// Returns an address of the first node that has one, preferably one that is reached from outside.
fn address_of(nodes: &[Node]) -> Option<String> {
    let of_kind = |kind: &str| {
        let addresses = nodes
            .iter()
            .filter_map(|node| node.status.as_ref()?.addresses.as_ref())
            .flatten();
        addresses
            .filter(|address| address.type_ == kind)
            .map(|address| address.address.clone())
            .next()
    };
    of_kind("ExternalIP").or_else(|| of_kind("InternalIP"))
}

/// Joins host and port as they stand in a URL.
fn host_port(host: &str, port: i32) -> String {
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::crd::Phase;
    use crate::crd::status::{LoadTestStatus, RunEnd};
    use crate::operator::fixture;

    fn run() -> RunStatus {
        RunStatus {
            id: "categorizer-aaaaaa".into(),
            workers: 4,
            external: 2,
            ..RunStatus::default()
        }
    }

    #[test]
    fn only_the_tokens_of_workers_from_elsewhere_are_given_out() {
        let secret = serde_json::from_value(json!({
            "metadata": {"name": "channel"},
            "data": {
                "ca.crt": "Y2E=", "workers.key": "a2V5", "operator.token": "b3A=",
                "worker-0": "MC54", "worker-1": "MS54", "worker-2": "Mi54", "worker-3": "My54",
            },
        }))
        .unwrap();
        let (ca, tokens) = proofs(&run(), &secret).unwrap();
        assert_eq!(ca, "ca");
        let lines: Vec<String> = tokens.iter().map(ToString::to_string).collect();
        assert_eq!(lines, ["categorizer-aaaaaa/2.x", "categorizer-aaaaaa/3.x"]);
        assert!(proofs(&run(), &Secret::default()).is_err());
    }

    #[test]
    fn a_run_that_cannot_be_joined_is_told_apart() {
        let of = |run: Option<RunStatus>| {
            let mut test = fixture::test();
            test.status = Some(LoadTestStatus {
                run,
                ..LoadTestStatus::default()
            });
            joinable("a", &test)
                .map(|run| run.external)
                .map_err(|error| error.to_string())
        };
        assert_eq!(of(Some(run())), Ok(2));
        let ended = RunStatus {
            end: Some(RunEnd {
                phase: Phase::Aborted,
                reason: String::new(),
                message: String::new(),
            }),
            ..run()
        };
        let closed = RunStatus {
            external: 0,
            ..run()
        };
        for (run, words) in [
            (None, "no run yet"),
            (Some(ended), "has ended"),
            (Some(closed), "no spec.workers.external"),
        ] {
            let error = of(run).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn the_address_is_that_of_the_load_balancer_or_of_a_node() {
        let service = |value| serde_json::from_value::<Service>(value).unwrap();
        let port = json!({"port": 8443, "nodePort": 30443});
        let by_node = service(json!({"spec": {"type": "NodePort", "ports": [port]}}));
        assert_eq!(node_port(&by_node), Some(30443));
        let pending = json!({"spec": {"type": "LoadBalancer", "ports": [port]}});
        assert_eq!(
            (
                node_port(&service(pending.clone())),
                balanced(&service(pending))
            ),
            (None, None)
        );
        let ready = service(json!({
            "spec": {"type": "LoadBalancer", "ports": [port]},
            "status": {"loadBalancer": {"ingress": [{"ip": "2001:db8::1"}]}},
        }));
        assert_eq!(balanced(&ready).as_deref(), Some("[2001:db8::1]:8443"));
        let node = |kind: &str, address: &str| {
            let status = json!({"addresses": [{"type": kind, "address": address}]});
            serde_json::from_value::<Node>(json!({"metadata": {}, "status": status})).unwrap()
        };
        let nodes = [
            node("InternalIP", "10.0.0.1"),
            node("ExternalIP", "192.0.2.1"),
        ];
        assert_eq!(address_of(&nodes).as_deref(), Some("192.0.2.1"));
        assert_eq!(address_of(&nodes[..1]).as_deref(), Some("10.0.0.1"));
        assert_eq!(address_of(&[]), None);
    }
}
