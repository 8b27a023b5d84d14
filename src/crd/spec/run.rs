//! When a run starts, how it ends, and what is kept of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::plan::{OnSaturation, Preflight};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RunSpec {
    /// `OnApply`: each change that matters for the load starts a run. `OnTrigger`: only a changed
    /// `trigger` or `starling.dev/rerun` annotation does.
    pub start: StartPolicy,
    /// Any text; changing it starts a new run.
    #[schemars(length(max = 128))]
    pub trigger: String,
    /// How long iterations that run at the end may go on before they are cut.
    #[schemars(schema_with = "crate::crd::schema::duration")]
    pub stop_timeout: String,
    /// How long `spec.setup` may take; then it has failed.
    #[schemars(schema_with = "crate::crd::schema::duration")]
    pub setup_timeout: String,
    /// What is tried before any load, so that a wrong URL or token ends the run at once, `Errored`
    /// with reason `PreflightFailed`. `"Off"`, in quotes since YAML takes a bare `Off` for
    /// `false`: nothing. `Connect`: a connection to each target. `Once`: each task of each
    /// scenario once, by one user; the run ends, with the first line of the answer, if a request
    /// is refused (400 to 499, but 408, 425 and 429), a check or an extract fails, or no
    /// connection comes about. These requests count as `control`; the rows they take from
    /// feeders are taken again by the load. In a cluster one worker does it.
    pub preflight: Preflight,
    /// A run that has not ended by then ends `Errored`; the planned length, `stopTimeout`,
    /// `setupTimeout` where there is a `setup`, and 10 minutes if unset, and at least
    /// 2 hours where only the run itself tells how long it takes, as with `iterations` and
    /// `capacity`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::optional_duration")]
    pub deadline: Option<String>,
    /// What becomes of a run in which a worker was the limit (its CPU, its quota, its ports), so
    /// that the numbers are not the target's. `Warn`: it is judged, and says so first. `Fail`:
    /// it ends `Errored`, reason `GeneratorSaturated`.
    #[schemars(schema_with = "crate::crd::schema::on_saturation")]
    pub on_saturation: OnSaturation,
    /// How long the master is kept after the end.
    #[schemars(schema_with = "crate::crd::schema::duration")]
    pub ttl_after_finished: String,
    /// Holds a run that has not started; ends one that has.
    pub suspend: bool,
    /// Ended runs shown in `status.history`.
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
            ttl_after_finished: "1h".into(),
            suspend: false,
            history_limit: 10,
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StartPolicy {
    #[default]
    OnApply,
    OnTrigger,
}
