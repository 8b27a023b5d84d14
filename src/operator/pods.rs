//! Pods and Deployments as decisions see them, read from their statuses. Pure.

use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod, PodStatus};
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::Value;

use super::child::{COMPONENT_LABEL, Component};
use super::reason::Reason;
use super::text::cut;
use super::view::{PodView, Trouble};
use crate::wire::layout::exit;

/// Returns how many Pods an Indexed Job is to have; `None` if its two numbers differ, as nobody but
/// a stranger makes them.
pub fn wanted_by_job(job: &DynamicObject) -> Option<u32> {
    let number = |field: &str| job.data["spec"][field].as_u64();
    let pods = number("completions").filter(|pods| number("parallelism") == Some(*pods))?;
    u32::try_from(pods).ok()
}

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
            .find_map(|container| trouble(pod, container, component)),
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
        loss: loss(pod, component),
    })
}

/// Returns the cause for which a Pod, or its container, ended before its time. The kubelet's word
/// goes before that of whoever deleted the Pod.
fn loss(pod: &Pod, component: Component) -> Option<Trouble> {
    let status = pod.status.as_ref()?;
    let containers = status.container_statuses.iter().flatten();
    let ended = containers
        .filter_map(|container| {
            let now = container.state.as_ref()?.terminated.as_ref();
            let before = container.last_state.as_ref();
            Some((container, now.or_else(|| before?.terminated.as_ref())?))
        })
        .find_map(|(container, ended)| ended_badly(pod, &container.name, ended, component));
    let is_killed = |trouble: &Trouble| trouble.reason == Reason::OutOfMemory;
    match ended {
        Some(ended) if is_killed(&ended) => Some(ended),
        ended => evicted(status).or_else(|| disrupted(status)).or(ended),
    }
}

/// Returns what a terminated container says of its end, unless it is one of those that are meant.
fn ended_badly(
    pod: &Pod,
    container: &str,
    ended: &ContainerStateTerminated,
    component: Component,
) -> Option<Trouble> {
    if ended.reason.as_deref() == Some("OOMKilled") {
        let limit = match memory_limit(pod, container) {
            Some(limit) => format!("its limit of {limit}"),
            None => "its node has".to_owned(),
        };
        return Some(Trouble {
            reason: Reason::OutOfMemory,
            message: format!("OOMKilled: it used more memory than {limit}"),
        });
    }
    let meant = [0, i32::from(exit::RELEASED), i32::from(exit::DRAINED)];
    if meant.contains(&ended.exit_code) {
        return None;
    }
    let words = [&ended.message, &ended.reason];
    let why = words.into_iter().flatten().find(|text| !text.is_empty());
    let reason = match component {
        Component::Master => Reason::MasterCrashed,
        Component::Worker => Reason::WorkerCrashed,
    };
    Some(Trouble {
        reason,
        message: format!(
            "ended with code {}: {}",
            ended.exit_code,
            why.map_or("", String::as_str)
        ),
    })
}

fn memory_limit(pod: &Pod, container: &str) -> Option<String> {
    let containers = &pod.spec.as_ref()?.containers;
    let found = containers.iter().find(|known| known.name == container)?;
    let limits = found.resources.as_ref()?.limits.as_ref()?;
    Some(limits.get("memory")?.0.clone())
}

/// Returns why the kubelet threw a Pod out.
fn evicted(status: &PodStatus) -> Option<Trouble> {
    let reason = match status.reason.as_deref()? {
        "Evicted" | "Terminated" | "NodeShutdown" => Reason::Evicted,
        "NodeLost" => Reason::NodeLost,
        "Preempting" => Reason::Preempted,
        _ => return None,
    };
    let message = status.message.clone().unwrap_or_default();
    Some(Trouble { reason, message })
}

/// Returns why someone else ends a Pod, by its condition `DisruptionTarget`.
fn disrupted(status: &PodStatus) -> Option<Trouble> {
    let conditions = || status.conditions.iter().flatten();
    let target = conditions().find(|c| c.type_ == "DisruptionTarget" && c.status == "True")?;
    // set by the controller of nodes, which gives no reason, when the kubelet no longer answers
    let is_silent = conditions().any(|c| {
        c.type_ == "Ready" && c.status != "True" && c.reason.as_deref().unwrap_or_default() == ""
    });
    let (reason, words) = match target.reason.as_deref().unwrap_or_default() {
        "DeletionByTaintManager" if is_silent => (Reason::NodeLost, "its node no longer answers"),
        "DeletionByTaintManager" => (Reason::Tainted, "its node got a taint"),
        "DeletionByPodGC" => (Reason::NodeLost, "its node is gone"),
        "PreemptionByScheduler" => (Reason::Preempted, "it gave way to a Pod of higher priority"),
        _ => (Reason::Evicted, "it was evicted"),
    };
    let message = match target.message.as_deref().unwrap_or_default() {
        "" => words.to_owned(),
        more => format!("{words}: {more}"),
    };
    Some(Trouble { reason, message })
}

fn trouble(pod: &Pod, container: &ContainerStatus, component: Component) -> Option<Trouble> {
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
    let ended = state.terminated?;
    refusal(&ended, component).or_else(|| ended_badly(pod, &container.name, &ended, component))
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

    fn loss(status: Value) -> Option<(&'static str, String)> {
        let labels = json!({"app.kubernetes.io/component": "worker"});
        let limits = json!({"limits": {"memory": "64Mi"}});
        let pod = json!({
            "metadata": {"name": "p", "labels": labels},
            "spec": {"containers": [{"name": "worker", "resources": limits}]},
            "status": status,
        });
        let loss = view(&serde_json::from_value(pod).unwrap()).unwrap().loss?;
        Some((loss.reason.text(), loss.message))
    }

    #[test]
    fn a_container_without_memory_is_told_with_its_limit_whatever_it_wrote_last() {
        let killed = json!({"exitCode": 137, "reason": "OOMKilled", "message": "last words"});
        let (reason, message) = loss(container(json!({"terminated": killed}))).unwrap();
        assert_eq!(reason, "OutOfMemory");
        assert!(
            message.contains("OOMKilled") && message.contains("64Mi"),
            "{message}"
        );
        // a master's container is running again
        let mut restarted = container(json!({"running": {}}));
        restarted["containerStatuses"][0]["lastState"] = json!({"terminated": killed});
        assert_eq!(loss(restarted).unwrap().0, "OutOfMemory");
    }

    #[test]
    fn what_takes_a_pod_away_is_named() {
        let target = |reason: &str, ready: Value| {
            let target = json!({
                "type": "DisruptionTarget", "status": "True",
                "reason": reason, "message": "words",
            });
            json!({"conditions": [target, ready]})
        };
        let ready = json!({"type": "Ready", "status": "True"});
        let silent = json!({"type": "Ready", "status": "False"});
        for (status, expected) in [
            (
                json!({"reason": "Evicted", "message": "The node was low on resource: memory."}),
                "Evicted",
            ),
            (target("EvictionByEvictionAPI", ready.clone()), "Evicted"),
            (target("TerminationByKubelet", ready.clone()), "Evicted"),
            (target("PreemptionByScheduler", ready.clone()), "Preempted"),
            (target("DeletionByTaintManager", ready.clone()), "Tainted"),
            (target("DeletionByTaintManager", silent), "NodeLost"),
            (target("DeletionByPodGC", ready), "NodeLost"),
        ] {
            let (reason, message) = loss(status.clone()).unwrap();
            assert_eq!(reason, expected, "{status}");
            assert!(
                message.contains("words") || message.contains("low on"),
                "{message}"
            );
        }
    }

    #[test]
    fn a_pod_that_ends_as_it_should_is_no_loss() {
        for state in [
            json!({"running": {}}),
            json!({"terminated": {"exitCode": 0, "reason": "Completed"}}),
            json!({"terminated": {"exitCode": 44, "reason": "Error"}}),
        ] {
            assert_eq!(loss(container(state.clone())), None, "{state}");
        }
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
    fn only_for_want_of_cpu_or_memory_is_room_made() {
        let waiting = |message: &str| {
            pod(json!({"conditions": [{
                "type": "PodScheduled",
                "status": "False",
                "reason": "Unschedulable",
                "message": message,
            }]}))
            .finds_no_room()
        };
        assert!(waiting("0/1 nodes are available: 1 Insufficient cpu."));
        assert!(waiting(
            "0/2 nodes are available: 2 Insufficient memory. preemption: none"
        ));
        assert!(!waiting(
            "0/1 nodes are available: 1 node(s) had untolerated taint {a: b}."
        ));
        assert!(!pod(json!({})).finds_no_room());
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
