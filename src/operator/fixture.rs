//! A LoadTest, its run and its result, for the tests of every part of the operator.

use std::time::Duration;

use serde_json::json;

use super::child::Child;
use super::install_key::InstallKeys;
use super::lease::Owner;
use super::view::{Children, Governing, Installation, MasterView, Observed, Presence};
use crate::crd::status::RunEnd;
use crate::crd::{LoadTest, LoadTestStatus, Phase};
use crate::wire::RunResult;
use crate::wire::control::{MasterState, Progress};

/// Time of every fixture.
pub const NOW: &str = "2026-11-22T01:00:00Z";

/// [`NOW`], read.
pub fn now() -> jiff::Timestamp {
    NOW.parse().unwrap()
}

/// A small valid LoadTest that no operator has seen.
pub fn test() -> LoadTest {
    serde_json::from_value(json!({
        "apiVersion": "starling.dev/v1alpha1",
        "kind": "LoadTest",
        "metadata": {
            "name": "categorizer",
            "namespace": "team-a",
            "uid": "0b0c",
            "generation": 1,
            "resourceVersion": "1",
        },
        "spec": {
            "target": {
                "url": "http://categorizer:8000",
                "auth": {"bearer": {"tokenFrom": {
                    "secretKeyRef": {"name": "databricks", "key": "pat"},
                }}},
            },
            "scenarios": [{
                "name": "s",
                "tasks": [{"name": "t", "steps": [{"http": {"path": "/"}}]}],
            }],
            "load": {"closed": {"users": 4, "duration": "10s"}},
            "workers": {"replicas": 2},
        },
        "status": {"observedGeneration": -1, "runs": 0},
    }))
    .unwrap()
}

/// Observation of a LoadTest just applied.
pub fn applied() -> Observed {
    Observed {
        test: test(),
        installation: Installation {
            id: "1nsta11".into(),
            key_id: keys().current,
            proofs: keys().current_proofs(),
        },
        governing: Governing::default(),
        owner: Owner::Alive,
        lease: Some("starling-installation-1nsta11".into()),
        children: Children::default(),
        report: String::new(),
        old_reports: Vec::new(),
        job_pods: None,
        pods: Vec::new(),
        master_refused: None,
        master: MasterView::Absent,
        heard: None,
        unreachable_for: Duration::ZERO,
        acknowledged: None,
        spare_masters: Vec::new(),
        result: None,
        refusal: None,
        since_status: None,
        pace: Duration::from_secs(5),
    }
}

/// Install keys of an installation, the same each time.
pub fn keys() -> InstallKeys {
    InstallKeys::generate([9; 40])
}

/// Entry of a child that is the run's own.
pub fn ours(child: Child) -> (Child, Presence) {
    (
        child,
        Presence::Ours {
            uid: format!("uid-of-{child:?}"),
            deleting: false,
        },
    )
}

/// Progress of a master in `state` with both workers up and nothing measured yet.
pub fn progress(run: &str, state: MasterState) -> Progress {
    Progress {
        run: run.into(),
        epoch: 1,
        incarnation: "one".into(),
        state,
        workers: 2,
        connected: 2,
        ready: 2,
        leaving: Some(0),
        problems: Vec::new(),
        elapsed_micros: 0,
        length_micros: 10_000_000,
        level: None,
        planned_iterations: 0,
        iterations: 0,
        requests: 0,
        failures: 0,
        users: 0,
        rps: 0,
        p95_micros: 0,
        deadline_micros: 0,
        granted_micros: None,
        one_off: None,
        load: Vec::new(),
    }
}

/// A LoadTest whose run has ended, and its status.
pub fn ended() -> (LoadTest, LoadTestStatus) {
    let test = test();
    let run = crate::crd::status::RunStatus {
        id: "categorizer-aaaaaa".into(),
        generation: 1,
        digest: crate::crd::digest(&test.spec),
        installation: "1nsta11".into(),
        workers: 2,
        finished_at: Some(NOW.into()),
        end: Some(RunEnd {
            phase: Phase::Succeeded,
            reason: "NoThresholds".into(),
            message: String::new(),
        }),
        ..Default::default()
    };
    let status = LoadTestStatus {
        runs: 1,
        run: Some(run),
        phase: Some(Phase::Succeeded),
        ..LoadTestStatus::default()
    };
    (test, status)
}

/// Result of a run that passed.
pub fn result() -> RunResult {
    let latency = json!({
        "min": 1, "mean": 2.0, "p50": 2, "p90": 3, "p95": 4, "p99": 5, "p999": 6, "max": 7,
    });
    serde_json::from_value(json!({
        "schemaVersion": "1", "run": "categorizer-aaaaaa", "name": "categorizer",
        "namespace": "team-a", "target": "http://categorizer:8000",
        "digest": "d", "plan": {}, "seed": 1, "overrides": [],
        "startedAt": NOW, "finishedAt": NOW, "durationMicros": 10_000_000,
        "verdict": "Passed", "reason": "NoThresholds", "message": "no thresholds were given",
        "totals": {
            "requests": 1000, "failures": 2, "failureRate": 0.002, "interrupted": 0, "unsent": 0,
            "iterations": 1000, "dropped": 0, "connects": 4,
            "rps": 100.0, "requestedRate": null, "achievedRate": 100.0,
            "sentBytes": 1, "receivedBytes": 1,
            "latency": latency, "serviceTime": latency,
        },
        "steps": [], "errors": [], "thresholds": [],
        "generator": {"saturated": false, "cpu": 0.5, "scheduleLagP99": 80, "startSkewMicros": 100},
        "workers": {"planned": 2, "lost": 0, "rejoined": 0},
        "series": [], "histograms": [], "events": [], "warnings": [],
    }))
    .unwrap()
}
