//! Comparison of the installed CRD with the one of this version: the API server drops a field that
//! the installed one does not know, in silence.

use kube::Client;
use kube::api::{Api, DynamicObject, GroupVersionKind};
use serde_json::Value;

use super::api::kube_call;
use crate::crd::{self, CRD_NAME};

/// Logs the fields that an older CRD would drop. Where the operator may not read the CRD (an
/// installation in one namespace), nothing is compared.
pub async fn warn_of_missing_fields(client: &Client) {
    let resource = kube::api::ApiResource::from_gvk(&GroupVersionKind::gvk(
        "apiextensions.k8s.io",
        "v1",
        "CustomResourceDefinition",
    ));
    let definitions: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    match kube_call(
        "read CustomResourceDefinition",
        CRD_NAME,
        definitions.get(CRD_NAME),
    )
    .await
    {
        Ok(installed) => {
            let missing = missing(&crd::definition()["spec"], &installed.data["spec"]);
            if !missing.is_empty() {
                tracing::warn!(
                    fields = missing.join(", "),
                    "the installed CRD is not of this version and drops fields; \
                     install the CRD of this release"
                );
            }
        }
        Err(error) => tracing::debug!(%error, "the installed CRD was not compared"),
    }
}

fn missing(ours: &Value, installed: &Value) -> Vec<String> {
    let root = |spec: &Value| spec["versions"][0]["schema"]["openAPIV3Schema"].clone();
    let mut found = Vec::new();
    compare("", &root(ours), &root(installed), &mut found);
    found
}

fn compare(path: &str, ours: &Value, installed: &Value, missing: &mut Vec<String>) {
    for (name, schema) in ours["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        match installed["properties"].get(name) {
            None => missing.push(path),
            Some(there) => compare(&path, schema, there, missing),
        }
    }
    if ours["items"].is_object() {
        compare(
            &format!("{path}[]"),
            &ours["items"],
            &installed["items"],
            missing,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_installed_schema_lacks_is_named() {
        let ours = crd::definition()["spec"].clone();
        assert_eq!(missing(&ours, &ours), [] as [&str; 0]);
        let mut older = ours.clone();
        let status = &mut older["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]
            ["properties"];
        status["run"]["properties"]
            .as_object_mut()
            .unwrap()
            .remove("end");
        status["results"]["properties"]["steps"]["items"]["properties"]
            .as_object_mut()
            .unwrap()
            .remove("p99");
        assert_eq!(
            missing(&ours, &older),
            ["status.results.steps[].p99", "status.run.end"]
        );
    }
}
