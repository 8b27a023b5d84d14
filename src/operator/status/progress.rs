//! Progress in a status: how far the run is, and whether these figures are live.

use std::time::Duration;

use jiff::Timestamp;

use super::losses;
use crate::crd::LoadTestStatus;
use crate::crd::status::{LossStatus, ProgressStatus, RunStatus, WorkersStatus};
use crate::operator::child::{COMPONENT_LABEL, Component, RUN_LABEL};
use crate::operator::times;
use crate::operator::view::{Observed, PodView};
use crate::stats::format;
use crate::wire::control::Progress;

/// Age from which on figures are no longer shown as if they were live.
pub const STALE: Duration = Duration::from_secs(15);

/// Shows a run of which nothing is there yet.
pub fn begin(new: &mut LoadTestStatus, run: &RunStatus) {
    new.workers = Some(workers(run, 0, Vec::new()));
    new.columns.get_or_insert_default().workers = format!("0/{}", run.wanted_workers());
}

/// Shows how far the run is. Without an answer of its master, what was shown before stays, and is
/// shown as stale once it is old.
pub fn show(
    new: &mut LoadTestStatus,
    run: &RunStatus,
    progress: Option<&Progress>,
    seen: &Observed,
    now: Timestamp,
) {
    let before = new.workers.as_ref().map_or(0, |workers| workers.ready);
    let ready = progress.map_or(before.min(pods_up(seen)), |progress| progress.ready);
    new.workers = Some(workers(run, ready, losses::losses(seen)));
    let columns = new.columns.get_or_insert_default();
    match progress {
        Some(progress) if run.started_at.is_some() => {
            show_figures(new, run, progress, seen.heard);
        }
        Some(_) => {
            columns.workers = format!("{ready}/{}", run.wanted_workers());
            columns.progress = "0%".into();
        }
        None => columns.workers = format!("{ready}/{}", run.wanted_workers()),
    }
    if run.started_at.is_some() {
        mark_stale(new, now);
    }
}

fn workers(run: &RunStatus, ready: u32, losses: Vec<LossStatus>) -> WorkersStatus {
    let selector = format!(
        "{RUN_LABEL}={},{COMPONENT_LABEL}={}",
        run.id,
        Component::Worker.label()
    );
    WorkersStatus {
        desired: run.wanted_workers(),
        ready,
        selector,
        losses,
    }
}

/// Returns the number of worker Pods that run.
fn pods_up(seen: &Observed) -> u32 {
    let is_up = |pod: &&PodView| {
        pod.component == Component::Worker && pod.ready && !pod.deleting && !pod.over
    };
    seen.pods.iter().filter(is_up).count() as u32
}

fn show_figures(
    new: &mut LoadTestStatus,
    run: &RunStatus,
    progress: &Progress,
    heard: Option<Timestamp>,
) {
    let shown = ProgressStatus {
        percent: progress.percent(),
        users: progress.users,
        rps: progress.rps.to_string(),
        p95: format::micros(progress.p95_micros as f64),
        failure_rate: format::percent(progress.failure_rate()),
        workers: format!("{}/{}", progress.connected, run.wanted_workers()),
        observed_at: heard.map(times::write_instant),
        stale: false,
    };
    let columns = new.columns.get_or_insert_default();
    columns.progress = format!("{}%", shown.percent);
    columns.workers.clone_from(&shown.workers);
    columns.users = shown.users.to_string();
    columns.rps.clone_from(&shown.rps);
    columns.p95.clone_from(&shown.p95);
    columns.failures.clone_from(&shown.failure_rate);
    new.progress = Some(shown);
}

/// Marks figures that are old: what nobody knows now is not shown in the columns.
fn mark_stale(new: &mut LoadTestStatus, now: Timestamp) {
    let Some(shown) = &mut new.progress else {
        return;
    };
    // figures of an operator of before have no time
    let Some(observed_at) = &shown.observed_at else {
        return;
    };
    let is_old = times::read_instant("status.progress.observedAt", observed_at)
        .is_ok_and(|at| now >= times::after(at, STALE));
    if !is_old {
        return;
    }
    shown.stale = true;
    let columns = new.columns.get_or_insert_default();
    columns.progress = format!("{}% (stale)", shown.percent);
    for unknown in [&mut columns.users, &mut columns.rps, &mut columns.p95] {
        *unknown = "?".into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::fixture;
    use crate::wire::control::MasterState;

    /// A run in progress of which 20 users are shown, heard of at [`fixture::now`].
    fn shown() -> (LoadTestStatus, RunStatus, Observed) {
        let run = RunStatus {
            id: "r".into(),
            workers: 2,
            started_at: Some(fixture::NOW.into()),
            ..RunStatus::default()
        };
        let progress = Progress {
            users: 20,
            rps: 500,
            elapsed_micros: 4_000_000,
            ..fixture::progress("r", MasterState::Running)
        };
        let mut seen = fixture::applied();
        seen.heard = Some(fixture::now());
        let mut new = LoadTestStatus::default();
        show(&mut new, &run, Some(&progress), &seen, fixture::now());
        (new, run, seen)
    }

    fn later(seconds: u64) -> Timestamp {
        times::after(fixture::now(), Duration::from_secs(seconds))
    }

    #[test]
    fn figures_stay_for_a_moment_and_are_then_shown_as_stale() {
        let (mut new, run, seen) = shown();
        let columns = |new: &LoadTestStatus| new.columns.clone().unwrap();
        assert_eq!(columns(&new).users, "20");
        show(&mut new, &run, None, &seen, later(14));
        assert_eq!(
            (
                columns(&new).users.as_str(),
                columns(&new).progress.as_str()
            ),
            ("20", "40%")
        );
        show(&mut new, &run, None, &seen, later(15));
        let stale = columns(&new);
        assert_eq!(
            [&stale.progress, &stale.users, &stale.rps, &stale.p95],
            ["40% (stale)", "?", "?", "?"]
        );
        let progress = new.progress.clone().unwrap();
        assert!(
            progress.stale && progress.users == 20,
            "the last ones known stay"
        );
        assert_eq!(progress.observed_at.as_deref(), Some(fixture::NOW));
        let again = new.clone();
        show(&mut new, &run, None, &seen, later(100));
        assert_eq!(new, again, "nothing is written while nothing changes");
    }

    #[test]
    fn an_answer_makes_the_figures_live_again() {
        let (mut new, run, mut seen) = shown();
        show(&mut new, &run, None, &seen, later(60));
        seen.heard = Some(later(61));
        let progress = fixture::progress("r", MasterState::Running);
        show(&mut new, &run, Some(&progress), &seen, later(61));
        assert!(!new.progress.unwrap().stale);
        assert_eq!(new.columns.unwrap().users, "0");
    }

    #[test]
    fn workers_whose_pods_are_gone_are_not_ready_though_the_master_is_silent() {
        let (mut new, run, seen) = shown();
        assert_eq!(new.workers.as_ref().unwrap().ready, 2);
        show(&mut new, &run, None, &seen, later(1));
        assert_eq!(new.workers.unwrap().ready, 0);
        assert_eq!(new.columns.unwrap().workers, "0/2");
    }
}
