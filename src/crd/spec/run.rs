//! Start, end and retention of runs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::plan::{ManualControl, OnSaturation, Preflight};

/// Start, end and retention of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RunSpec {
    /// Change that starts a run.
    pub start: StartPolicy,
    /// Any text; changing it starts a new run.
    #[schemars(length(max = 128))]
    pub trigger: String,
    /// Longest time for which iterations may go on after the end of the load; then they are cut,
    /// and their requests counted as `interrupted`. At most 1 hour; a longer one counts as that.
    #[schemars(schema_with = "crate::crd::schema::duration")]
    pub stop_timeout: String,
    /// Longest time for `spec.setup`; then it has failed.
    #[schemars(schema_with = "crate::crd::schema::duration")]
    pub setup_timeout: String,
    /// Trial before any load, so that a wrong URL or token ends the run at once, `Errored` with
    /// reason `PreflightFailed`. In a cluster one worker does it. Its requests count as `control`;
    /// rows that it takes from feeders are taken by the load as well. In YAML `"Off"` is written in
    /// quotes, since a bare `Off` means `false`.
    pub preflight: Preflight,
    /// Longest time from the start of the run (`status.run.startedAt`) to its end; then it ends
    /// `Errored`. Not shorter than the load, `stopTimeout` and what comes before the load together.
    /// If unset, those and 10 minutes, and at least 2 hours where the length is unknown beforehand,
    /// as with `iterations` and `capacity`. At most 30 days; a longer one counts as that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::optional_duration")]
    pub deadline: Option<String>,
    /// Verdict on a run in which a worker was the limit (its CPU, its quota, its ports), so that
    /// the numbers are not the target's, or in which the generator kept load back by itself: less
    /// than 99% of the planned load was offered because it came late, or because users paused
    /// (`retryPause`). Load that `spawnRate` or the loss of a worker held back is not meant. `Warn`:
    /// The run is judged, and the result says so first. `Fail`: The run ends `Errored`, reason
    /// `GeneratorSaturated`.
    #[schemars(schema_with = "crate::crd::schema::on_saturation")]
    pub on_saturation: OnSaturation,
    /// Largest share of requests that may fail in a run that passes. Does not count where a
    /// threshold judges `failures`, `checks` or `goodputRatio`, nor in a search for a capacity.
    #[schemars(schema_with = "crate::crd::schema::percent")]
    pub max_failures: String,
    /// Time for which the master is kept after the end of a run, with its result; the next run
    /// removes it at once, and so may a run of another LoadTest in the namespace that finds no room.
    /// Afterwards `starling report` reads the stored report.
    #[schemars(schema_with = "crate::crd::schema::duration")]
    pub ttl_after_finished: String,
    /// Actions that people may take during a run, who have its control token. A run whose load was
    /// changed by hand says so: it passes with reason `ManualChanges`, and with less than 99% of the
    /// load that its profile asks for it fails with that reason.
    pub manual_control: ManualControl,
    /// Holds a run that has not started; ends one that has, `Aborted`. Setting it back to `false`
    /// starts no run anew; a changed `trigger` or annotation does.
    pub suspend: bool,
    /// Number of ended runs kept in `status.history`.
    #[schemars(range(min = 0, max = 10))]
    pub history_limit: u32,
}

impl Default for RunSpec {
    fn default() -> Self {
        Self {
            start: StartPolicy::OnApply,
            trigger: String::new(),
            stop_timeout: "30s".into(),
            setup_timeout: "10m".into(),
            preflight: Preflight::Connect,
            deadline: None,
            on_saturation: OnSaturation::Warn,
            max_failures: "5%".into(),
            ttl_after_finished: "10m".into(),
            manual_control: ManualControl::Allowed,
            suspend: false,
            history_limit: 10,
        }
    }
}

/// Change that starts a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StartPolicy {
    /// Each change of the spec that matters for the load.
    #[default]
    OnApply,
    /// A changed `trigger` or `starling.dev/rerun` annotation only.
    OnTrigger,
}
