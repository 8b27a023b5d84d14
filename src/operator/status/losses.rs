//! Losses: Pods of a run that ended before their time. They stay in the status when the Pods are
//! gone, since their causes belong to the end of the run.

use crate::crd::status::LossStatus;
use crate::operator::text::cut;
use crate::operator::view::Observed;

/// Most losses that a status names.
const MOST: usize = 8;

/// Returns the losses that the status has, and those that are seen now.
pub fn losses(seen: &Observed) -> Vec<LossStatus> {
    let workers = seen.status().workers.unwrap_or_default();
    let mut losses = workers.losses;
    for pod in &seen.pods {
        let Some(loss) = &pod.loss else { continue };
        let name = cut(&pod.name, 64);
        if losses.len() < MOST && !losses.iter().any(|known| known.pod == name) {
            losses.push(LossStatus {
                pod: name,
                reason: cut(loss.reason.text(), 64),
                message: cut(&loss.message, 256),
            });
        }
    }
    losses
}

/// Returns `message` with what the run has lost behind it.
pub fn told(seen: &Observed, message: String) -> String {
    let losses = losses(seen);
    let told = losses
        .iter()
        .map(|loss| format!("; Pod {:?}: {}", loss.pod, loss.message));
    told.fold(message, |message, loss| message + &loss)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::child::Component;
    use crate::operator::fixture;
    use crate::operator::reason::Reason;
    use crate::operator::view::{PodView, Trouble};

    fn lost(name: &str) -> PodView {
        PodView {
            name: name.into(),
            component: Component::Worker,
            created: None,
            address: None,
            ready: false,
            deleting: false,
            over: true,
            trouble: None,
            loss: Some(Trouble {
                reason: Reason::OutOfMemory,
                message: "OOMKilled".into(),
            }),
        }
    }

    #[test]
    fn a_loss_is_kept_when_its_pod_is_gone_and_named_once() {
        let mut seen = fixture::applied();
        seen.pods = vec![lost("w-0"), lost("w-1")];
        let first = losses(&seen);
        assert_eq!(first.len(), 2);
        let mut status = seen.status();
        status.workers.get_or_insert_default().losses = first;
        seen.test.status = Some(status);
        seen.pods = vec![lost("w-1"), lost("w-2")];
        let pods: Vec<String> = losses(&seen).into_iter().map(|loss| loss.pod).collect();
        assert_eq!(pods, ["w-0", "w-1", "w-2"]);
        let told = told(&seen, "the load is running".into());
        assert!(
            told.starts_with("the load is running; Pod \"w-0\": OOMKilled"),
            "{told}"
        );
    }

    #[test]
    fn a_crash_loop_fills_no_status() {
        let mut seen = fixture::applied();
        seen.pods = (0..100)
            .map(|number| lost(&format!("w-{number}")))
            .collect();
        assert_eq!(losses(&seen).len(), MOST);
    }
}
