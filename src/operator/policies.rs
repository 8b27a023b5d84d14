//! Policies of the cluster: which of them select a namespace. They are read anew for each run that
//! is about to begin, never from a cache: a policy that was applied before a LoadTest holds for it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams};
use kube::{Client, ResourceExt};

use super::api::{ApiError, call, kube_call};
use super::view::Governing;
use crate::crd::policy::{convert, selects};

/// Use that the operator makes of policies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
#[clap(rename_all = "PascalCase")]
pub enum Enforcement {
    /// Holds every run against the policies of its namespace. Without the right to read them no run
    /// begins.
    #[default]
    Enforce,
    /// Reads no policies, as an installation without rights in the whole cluster has to.
    Off,
}

/// Reads the policies that select `namespace`.
///
/// # Errors
///
/// Trouble that may pass. That policies may not be read, or that one cannot be, is no error but a
/// reason to begin no run.
pub async fn read(client: &Client, namespace: &str) -> Result<Governing, ApiError> {
    let resource = ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk("starling.dev", "v1alpha1", "StarlingPolicy"),
        "starlingpolicies",
    );
    let policies: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let listed = call(
        "list",
        "StarlingPolicies",
        policies.list(&ListParams::default()),
    )
    .await?;
    let listed = match listed {
        Ok(listed) => listed.items,
        // the definition is not installed, so nobody can have written one
        Err(kube::Error::Api(status)) if status.code == 404 => return Ok(Governing::default()),
        Err(error) if is_denied(&error) => return Ok(Governing::denied(&error)),
        Err(source) => {
            return Err(ApiError::Kube {
                what: "list",
                name: "StarlingPolicies".to_owned(),
                source: Box::new(source),
            });
        }
    };
    if listed.is_empty() {
        return Ok(Governing::default());
    }
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let labels = match kube_call(
        "read Namespace",
        namespace,
        namespaces.get_metadata(namespace),
    )
    .await
    {
        Ok(found) => found.labels().clone(),
        Err(ApiError::Kube { source, .. }) if is_denied(&source) => {
            return Ok(Governing::denied(&source));
        }
        Err(error) => return Err(error),
    };
    Ok(governing(&listed, namespace, &labels))
}

fn is_denied(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 403)
}

/// Returns those of `policies` that select the namespace, in the order of their names.
fn governing(
    policies: &[DynamicObject],
    namespace: &str,
    labels: &BTreeMap<String, String>,
) -> Governing {
    let mut selected: Vec<(String, &serde_json::Value)> = policies
        .iter()
        .map(|policy| (policy.name_any(), &policy.data["spec"]))
        .filter(|(_, spec)| selects(spec, namespace, labels))
        .collect();
    selected.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut governing = Governing::default();
    for (name, spec) in selected {
        match convert(&name, spec) {
            Ok(policy) => governing.policies.push(policy),
            Err(why) => governing
                .unreadable
                .push(format!("StarlingPolicy {name:?} cannot be read: {why}")),
        }
    }
    governing
}

#[cfg(test)]
mod tests {
    use http::{Request, Response};
    use kube::client::Body;
    use serde_json::{Value, json};

    use super::*;

    /// Reads the policies of `team-a` from an API server that answers the list and the namespace
    /// with these.
    async fn read_from(list: (u16, Value), namespace: (u16, Value)) -> Result<Governing, ApiError> {
        let answer = move |request: Request<Body>| {
            let path = request.uri().path().to_owned();
            let (status, body) = match path.as_str() {
                "/apis/starling.dev/v1alpha1/starlingpolicies" => list.clone(),
                "/api/v1/namespaces/team-a" => namespace.clone(),
                other => panic!("{other} is asked for"),
            };
            async move {
                Response::builder()
                    .status(status)
                    .body(Body::from(body.to_string().into_bytes()))
            }
        };
        read(&Client::new(tower::service_fn(answer), "default"), "team-a").await
    }

    fn list(specs: &[(&str, Value)]) -> (u16, Value) {
        let items = specs.iter().map(|(name, spec)| {
            json!({
                "apiVersion": "starling.dev/v1alpha1", "kind": "StarlingPolicy",
                "metadata": {"name": name}, "spec": spec,
            })
        });
        let list = json!({
            "apiVersion": "starling.dev/v1alpha1", "kind": "StarlingPolicyList",
            "metadata": {"resourceVersion": "1"}, "items": items.collect::<Vec<_>>(),
        });
        (200, list)
    }

    fn team_a() -> (u16, Value) {
        let metadata = json!({"name": "team-a", "labels": {"stage": "test"}});
        let namespace = json!({
            "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": metadata,
        });
        (200, namespace)
    }

    fn failure(code: u16) -> (u16, Value) {
        let status = json!({
            "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code,
            "reason": "No", "message": "no",
        });
        (code, status)
    }

    #[tokio::test]
    async fn those_that_select_the_namespace_govern_it() {
        let policies = list(&[
            ("z-everywhere", json!({"maxUsers": 5})),
            (
                "other",
                json!({"namespaces": ["team-b"], "maxUsers": "unreadable"}),
            ),
            (
                "by-label",
                json!({"namespaceSelector": {"matchLabels": {"stage": "test"}}}),
            ),
        ]);
        let governing = read_from(policies, team_a()).await.unwrap();
        assert_eq!(governing.unreadable, [] as [&str; 0]);
        let names = governing
            .policies
            .iter()
            .map(|policy| policy.addresses.policy.as_str());
        assert_eq!(names.collect::<Vec<_>>(), ["by-label", "z-everywhere"]);
    }

    #[tokio::test]
    async fn one_that_cannot_be_read_is_told_and_none_is_none() {
        let policies = list(&[("new", json!({"maxBytes": 7})), ("old", json!({}))]);
        let governing = read_from(policies, team_a()).await.unwrap();
        assert_eq!(governing.policies.len(), 1);
        let why = &governing.unreadable[0];
        assert!(why.contains("\"new\"") && why.contains("maxBytes"), "{why}");
        for nothing in [list(&[]), failure(404)] {
            let governing = read_from(nothing, failure(500)).await.unwrap();
            assert_eq!(governing, Governing::default());
        }
    }

    #[tokio::test]
    async fn a_missing_right_is_no_policy_that_allows() {
        let all = || list(&[("p", json!({}))]);
        for (policies, namespace) in [(failure(403), team_a()), (all(), failure(403))] {
            let governing = read_from(policies, namespace).await.unwrap();
            assert_eq!(governing.unreadable.len(), 1, "{governing:?}");
        }
        for (policies, namespace) in [(failure(500), team_a()), (all(), failure(500))] {
            assert!(read_from(policies, namespace).await.is_err());
        }
    }
}
