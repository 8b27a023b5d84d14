//! Rows of test data that templates name.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::KeyRef;

/// Rows of test data under a name: `{{ texts.text }}` is the column `text` of the current row of
/// the feeder `texts`, `{{ texts.take(8) }}` a list of eight further rows. An iteration takes a row
/// when it first uses the feeder and keeps it to its end. Exactly one of `csv`, `json`,
/// `jsonLines`, `inline` and `files` says where the rows come from: at most 64 MiB and 1,000,000
/// rows, held in each worker's memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(
    extend(
        "oneOf" = [
            {"required": ["csv"]}, {"required": ["json"]}, {"required": ["jsonLines"]},
            {"required": ["inline"]}, {"required": ["files"]},
        ]
    )
)]
pub struct FeederSpec {
    /// Name of the feeder in templates: letters, digits and `_`, unlike that of any variable.
    #[schemars(length(min = 1, max = 63), extend("pattern" = "^[A-Za-z_][A-Za-z0-9_]*$"))]
    pub name: String,
    /// Comma-separated values (RFC 4180, UTF-8); every value is text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csv: Option<CsvSpec>,
    /// JSON list of objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<DataSpec>,
    /// JSON Lines: an object on each line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json_lines: Option<DataSpec>,
    /// Objects written here, at most 64 KiB together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::free_objects")]
    pub inline: Option<Vec<Value>>,
    /// Files of a folder, such as images or audio, a row for each: `name`, `bytes` (its size) and
    /// `base64` (its content).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<FilesSpec>,
    /// Order in which rows are taken.
    #[serde(default)]
    pub strategy: FeederStrategySpec,
    /// Users that share the rows.
    #[serde(default)]
    pub scope: FeederScopeSpec,
    /// Action when every row has been taken. If unset, `StopUser` with `strategy: Queue`, and
    /// `Recycle` otherwise. `Circular` and `Random` never run out and allow only `Recycle`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_exhausted: Option<OnExhaustedSpec>,
}

/// Comma-separated values: exactly one of `configMapKeyRef`, `secretKeyRef` and `file`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CsvSpec {
    /// Key of a ConfigMap in the LoadTest's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<KeyRef>,
    /// Key of a Secret in the LoadTest's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeyRef>,
    /// File. In a cluster the path is relative and its first part is the name of a volume of
    /// `spec.workers.volumes`, which it does not leave by `..`; for `starling run` it is relative to
    /// the folder of the LoadTest's file, or absolute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::file_path")]
    pub file: Option<String>,
    /// Character between two values: one ASCII character, such as `;` or a tab, but no quote and no
    /// line break.
    #[serde(default = "comma")]
    #[schemars(length(min = 1, max = 1))]
    pub delimiter: String,
    /// Names of the columns. If empty, the first line names them; otherwise the first line is a row
    /// already.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 256),
        inner(length(min = 1, max = 128)),
        extend("x-kubernetes-list-type" = "atomic")
    )]
    pub columns: Vec<String>,
    /// Types of columns by name; the others are text. An empty field of another type is `null`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 256))]
    pub types: BTreeMap<String, CsvTypeSpec>,
    /// Gives a type to each other column that holds nothing but numbers, or nothing but `true` and
    /// `false`, beside empty fields. Numbers that begin with a needless `0` stay text.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub infer: bool,
}

/// Type of the values of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum CsvTypeSpec {
    /// Text as it stands.
    Text,
    /// Number as JSON writes it.
    Number,
    /// `true` or `false`.
    Boolean,
    /// Any JSON value.
    Json,
}

/// Bytes from outside the LoadTest: exactly one of `configMapKeyRef`, `secretKeyRef` and `file`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct DataSpec {
    /// Key of a ConfigMap in the LoadTest's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<KeyRef>,
    /// Key of a Secret in the LoadTest's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeyRef>,
    /// File. In a cluster the path is relative and its first part is the name of a volume of
    /// `spec.workers.volumes`, which it does not leave by `..`; for `starling run` it is relative to
    /// the folder of the LoadTest's file, or absolute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::file_path")]
    pub file: Option<String>,
}

/// Files of a folder, each a row of test data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FilesSpec {
    /// Folder. In a cluster the path is relative and its first part is the name of a volume of
    /// `spec.workers.volumes`, which it does not leave by `..`; for `starling run` it is relative to
    /// the folder of the LoadTest's file, or absolute.
    #[schemars(schema_with = "crate::crd::schema::file_path")]
    pub path: String,
    /// Pattern of the file names to take: `*` is any text, `?` any character. Folders and names
    /// that begin with a dot are left out.
    #[serde(default = "all")]
    #[schemars(length(min = 1, max = 253))]
    pub glob: String,
}

/// Order in which the rows of a feeder are taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FeederStrategySpec {
    /// Rows in order, and from the first one after the last.
    #[default]
    Circular,
    /// Any row each time, so that one may come twice before another comes once; not with
    /// `scope: Test`.
    Random,
    /// All rows in a random order, each once, then all in another.
    Shuffle,
    /// Rows in order; `onExhausted` says what follows the last.
    Queue,
}

/// Users that share the rows of a feeder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FeederScopeSpec {
    /// Each user has all rows for itself.
    User,
    /// The users of a worker share the rows; each worker has all of them.
    #[default]
    Worker,
    /// The users of all workers share the rows, so that none is used twice before all have been
    /// used. The master leases them out in blocks; rows leased to a worker that dies are lost.
    Test,
}

/// Action when every row of a feeder has been taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnExhaustedSpec {
    /// All rows are taken once more.
    Recycle,
    /// The user that wants a row stops; in open load the arrival is dropped.
    StopUser,
    /// The load ends, and the run is judged.
    StopRun,
}

fn comma() -> String {
    ",".into()
}

fn all() -> String {
    "*".into()
}
