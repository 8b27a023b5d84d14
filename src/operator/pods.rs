//! Pods and Deployments as decisions see them, read from their statuses. Pure.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::ResourceExt;
use serde_json::Value;

use super::child::{COMPONENT_LABEL, Component};
use super::reason::Reason;
use super::view::{PodView, Trouble};
use crate::wire::layout::exit;

/// Reads a Pod; `None` for one that is neither a master nor a worker.
pub fn view(pod: &Pod) -> Option<PodView> {
    let component = match pod.labels().get(COMPONENT_LABEL)?.as_str() {
        "master" => Component::Master,
        "worker" => Component::Worker,
        _ => return None,
    };
    let status = pod.status.clone().unwrap_or_default();
    let condition = |kind: &str| {
        status
            .conditions
            .iter()
            .flatten()
            .find(|condition| condition.type_ == kind)
    };
    let over = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    let unschedulable = condition("PodScheduled")
        .filter(|c| c.status == "False" && c.reason.as_deref() == Some("Unschedulable"));
    let trouble = match unschedulable {
        Some(condition) => Some(Trouble {
            reason: Reason::Unschedulable,
            message: condition.message.clone().unwrap_or_default(),
        }),
        None => status
            .container_statuses
            .iter()
            .flatten()
            .find_map(|container| trouble(container, component)),
    };
    Some(PodView {
        name: pod.name_any(),
        component,
        created: pod.metadata.creation_timestamp.as_ref().map(|at| at.0),
        address: status.pod_ip.as_deref().and_then(|ip| ip.parse().ok()),
        ready: condition("Ready").is_some_and(|condition| condition.status == "True"),
        deleting: pod.metadata.deletion_timestamp.is_some(),
        over,
        trouble,
    })
}

fn trouble(container: &ContainerStatus, component: Component) -> Option<Trouble> {
    let crashed = match component {
        Component::Master => Reason::MasterCrashed,
        Component::Worker => Reason::WorkerCrashed,
    };
    let state = container.state.clone().unwrap_or_default();
    if let Some(waiting) = state.waiting {
        let cause = waiting.reason.unwrap_or_default();
        let reason = match cause.as_str() {
            "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" => {
                Reason::ImagePullFailed
            }
            "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
                Reason::ContainerConfigError
            }
            "CrashLoopBackOff" => crashed,
            _ => return None,
        };
        let message = waiting
            .message
            .filter(|message| !message.is_empty())
            .map_or_else(|| cause.clone(), |message| format!("{cause}: {message}"));
        return Some(Trouble { reason, message });
    }
    let ended = state.terminated.filter(|ended| {
        ended.exit_code != i32::from(exit::RELEASED) && ended.exit_code != i32::from(exit::DRAINED)
    })?;
    let why = ended
        .message
        .filter(|message| !message.is_empty())
        .or(ended.reason)
        .unwrap_or_default();
    let reason = if why == "OOMKilled" {
        Reason::OutOfMemory
    } else {
        crashed
    };
    Some(Trouble {
        reason,
        message: format!("ended with code {}: {why}", ended.exit_code),
    })
}

/// Returns what a Deployment says when its Pods are refused.
pub fn creation_failure(deployment: &Value) -> Option<String> {
    let conditions = deployment["status"]["conditions"].as_array()?;
    let failure = conditions
        .iter()
        .find(|condition| condition["type"] == "ReplicaFailure" && condition["status"] == "True")?;
    failure["message"].as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(status: Value) -> PodView {
        let labels = json!({"app.kubernetes.io/component": "worker"});
        view(
            &serde_json::from_value(
                json!({"metadata": {"name": "p", "labels": labels}, "status": status}),
            )
            .unwrap(),
        )
        .unwrap()
    }

    fn reason(status: Value) -> Option<&'static str> {
        pod(status).trouble.map(|trouble| trouble.reason.text())
    }

    fn container(state: Value) -> Value {
        json!({"containerStatuses": [{
            "name": "worker",
            "ready": false,
            "restartCount": 0,
            "image": "",
            "imageID": "",
            "state": state,
        }]})
    }

    #[test]
    fn what_keeps_a_pod_from_running_is_named() {
        let unschedulable = json!({
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": "0/1 nodes",
        });
        assert_eq!(
            reason(json!({"conditions": [unschedulable]})),
            Some("Unschedulable")
        );
        assert_eq!(
            reason(container(
                json!({"waiting": {"reason": "ImagePullBackOff"}})
            )),
            Some("ImagePullFailed")
        );
        assert_eq!(
            reason(container(
                json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}})
            )),
            Some("OutOfMemory")
        );
        assert_eq!(
            reason(container(
                json!({"terminated": {"exitCode": 42, "reason": "Error"}})
            )),
            Some("WorkerCrashed")
        );
    }

    #[test]
    fn what_is_as_it_should_be_is_no_trouble() {
        for state in [
            json!({"waiting": {"reason": "ContainerCreating"}}),
            json!({"running": {}}),
            json!({"terminated": {"exitCode": 0}}),
            json!({"terminated": {"exitCode": 44}}),
        ] {
            assert_eq!(reason(container(state.clone())), None, "{state}");
        }
    }

    #[test]
    fn a_deployment_without_rights_to_pods_says_why() {
        let failure = json!({
            "type": "ReplicaFailure",
            "status": "True",
            "message": "pods \"x\" is forbidden: exceeded quota",
        });
        assert!(
            creation_failure(&json!({"status": {"conditions": [failure]}}))
                .unwrap()
                .contains("exceeded quota")
        );
        assert_eq!(creation_failure(&json!({"status": {}})), None);
    }
}
