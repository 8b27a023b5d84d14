//! Rows of test data that templates name.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::KeyRef;

/// Rows of test data under a name: `{{ texts.text }}` is the column `text` of the current row of
/// the feeder `texts`, `{{ texts.take(8) }}` a list of eight further rows. An iteration takes a row
/// when it first names the feeder and keeps it to its end. Exactly one of `csv`, `json`,
/// `jsonLines`, `inline` and `files` says where the rows come from: at most 64 MiB and 1,000,000
/// rows, held in each worker's memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("oneOf" = [{"required": ["csv"]}, {"required": ["json"]}, {"required": ["jsonLines"]}, {"required": ["inline"]}, {"required": ["files"]}]))]
pub struct FeederSpec {
    /// What templates call it: letters, digits and `_`.
    #[schemars(length(min = 1, max = 63), extend("pattern" = "^[A-Za-z_][A-Za-z0-9_]*$"))]
    pub name: String,
    /// Comma-separated values (RFC 4180, UTF-8); every value is text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csv: Option<CsvSpec>,
    /// A JSON list of objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<DataSpec>,
    /// A JSON object on each line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json_lines: Option<DataSpec>,
    /// Objects, written here; at most 64 KiB together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::free_objects")]
    pub inline: Option<Vec<Value>>,
    /// A row for each file of a folder, such as images or audio: `name`, `bytes` (how many) and
    /// `base64` (the content).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<FilesSpec>,
    /// Which row comes next. `Circular`: in order, and again from the first. `Queue`: in order.
    /// `Shuffle`: each row once in a random order, then all in another. `Random`: any row each
    /// time, so that one may come twice before another comes once.
    #[serde(default)]
    pub strategy: FeederStrategySpec,
    /// Who shares the rows. `User`: nobody, each user has all of them. `Worker`: the users of a
    /// worker, of which each has all rows. `Test`: the users of all workers; the master leases
    /// the rows out in blocks, so that none is used twice (before all have been used, if they
    /// recycle), and rows leased to a worker that dies are lost.
    #[serde(default)]
    pub scope: FeederScopeSpec,
    /// What happens when every row has been taken: `Recycle` begins anew, `StopUser` stops the
    /// user that wants one (in open load the arrival is dropped), `StopRun` ends the load, and
    /// the run is judged. Without it `Recycle`, with `strategy: Queue` `StopUser`. `Circular` and
    /// `Random` never end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_exhausted: Option<OnExhaustedSpec>,
}

/// Where the rows are, and how the lines are written. Exactly one of `configMapKeyRef`,
/// `secretKeyRef` and `file`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CsvSpec {
    /// A key of a ConfigMap in the LoadTest's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<KeyRef>,
    /// A key of a Secret in the LoadTest's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeyRef>,
    /// A relative path. In a cluster its first part is the name of a volume of
    /// `spec.workers.volumes`; `starling run` begins at the folder of the LoadTest's file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::relative_path")]
    pub file: Option<String>,
    /// Between two values: one character, such as `;` or a tab.
    #[serde(default = "comma")]
    #[schemars(length(min = 1, max = 1))]
    pub delimiter: String,
    /// Names of the columns, when the first line is a row already and does not name them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 128)), extend("x-kubernetes-list-type" = "atomic"))]
    pub columns: Vec<String>,
}

/// Where the content is. Exactly one of `configMapKeyRef`, `secretKeyRef` and `file`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct DataSpec {
    /// A key of a ConfigMap in the LoadTest's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<KeyRef>,
    /// A key of a Secret in the LoadTest's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeyRef>,
    /// A relative path. In a cluster its first part is the name of a volume of
    /// `spec.workers.volumes`; `starling run` begins at the folder of the LoadTest's file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::relative_path")]
    pub file: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FilesSpec {
    /// A folder, as a relative path. In a cluster its first part is the name of a volume of
    /// `spec.workers.volumes`; `starling run` begins at the folder of the LoadTest's file.
    #[schemars(schema_with = "crate::crd::schema::relative_path")]
    pub path: String,
    /// Which of its files, by name: `*` is any text, `?` any character. Folders and names that
    /// begin with a dot are left out.
    #[serde(default = "all")]
    #[schemars(length(min = 1, max = 253))]
    pub glob: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FeederStrategySpec {
    #[default]
    Circular,
    Random,
    Shuffle,
    Queue,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FeederScopeSpec {
    User,
    #[default]
    Worker,
    Test,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnExhaustedSpec {
    Recycle,
    StopUser,
    StopRun,
}

fn comma() -> String {
    ",".into()
}

fn all() -> String {
    "*".into()
}
