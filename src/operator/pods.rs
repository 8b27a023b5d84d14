//! Pods and Deployments as decisions see them, read from their statuses. Pure.

use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod};
use kube::ResourceExt;
use serde_json::Value;

use super::child::{COMPONENT_LABEL, Component};
use super::reason::Reason;
use super::text::cut;
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
            "CrashLoopBackOff" => {
                let last = container.last_state.as_ref();
                let last = last.and_then(|state| state.terminated.as_ref());
                if let Some(trouble) = last.and_then(|ended| refusal(ended, component)) {
                    return Some(trouble);
                }
                crashed
            }
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
    if let Some(trouble) = refusal(&ended, component) {
        return Some(trouble);
    }
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

/// Returns the trouble of a master that refused what it mounted, which it says by its exit code.
fn refusal(ended: &ContainerStateTerminated, component: Component) -> Option<Trouble> {
    let is_refusal =
        component == Component::Master && ended.exit_code == i32::from(exit::BAD_CONFIG);
    is_refusal.then(|| Trouble {
        reason: Reason::ForeignChild,
        message: cut(ended.message.as_deref().unwrap_or("refused its files"), 512),
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
        pod_of("worker", status)
    }

    fn pod_of(component: &str, status: Value) -> PodView {
        let labels = json!({"app.kubernetes.io/component": component});
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
    fn a_master_that_refuses_its_files_is_told_from_one_that_crashed() {
        let refused = json!({"exitCode": 42, "message": "tls.key is not what the operator wrote"});
        let crashed = json!({"exitCode": 1, "message": "cannot listen"});
        let looping = |last: &Value| {
            let mut status = container(json!({"waiting": {"reason": "CrashLoopBackOff"}}));
            status["containerStatuses"][0]["lastState"] = json!({"terminated": last});
            status
        };
        for (ended, reason) in [
            (&refused, Reason::ForeignChild),
            (&crashed, Reason::MasterCrashed),
        ] {
            for status in [container(json!({"terminated": ended})), looping(ended)] {
                let trouble = pod_of("master", status).trouble.unwrap();
                assert_eq!(trouble.reason, reason);
            }
        }
        let status = container(json!({"terminated": refused}));
        let message = pod_of("master", status).trouble.unwrap().message;
        assert!(message.contains("tls.key"), "{message}");
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
