//! Feeders: rows of test data that templates name, where they come from, and how they are dealt
//! out.

mod comma_separated;
mod order;
mod rows;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use wildmatch::WildMatch;

use super::{Kind, Reference};

pub use comma_separated::{ColumnType, Types};
pub use order::Order;
pub use rows::{MAX_DATA, MAX_ROWS, Rows, RowsError};

/// A named set of rows. An iteration takes one row on first use and keeps it to its end; `take(n)`
/// takes n more.
///
/// A feeder's position in [`super::Plan::feeders`] is its number everywhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Feeder {
    /// Name that templates use.
    pub name: String,
    /// Origin of the rows.
    pub source: Source,
    /// Order in which rows are taken.
    pub strategy: Strategy,
    /// Users that share one set of rows.
    pub scope: FeederScope,
    /// Reaction when all rows have been taken; always `Recycle` where the strategy never ends.
    pub on_exhausted: OnExhausted,
}

/// Origin and format of a feeder's rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Source {
    /// Comma-separated values; text, where a column has no other type.
    Csv {
        /// Place of the text.
        data: Data,
        /// Character between two fields, in ASCII.
        delimiter: char,
        /// Names of the columns; if empty, the first line has them.
        columns: Vec<String>,
        /// Types of the columns.
        #[serde(default, skip_serializing_if = "Types::are_text")]
        types: Types,
    },
    /// A JSON list of objects.
    Json {
        /// Place of the text.
        data: Data,
    },
    /// A JSON object on each line that is not empty.
    JsonLines {
        /// Place of the text.
        data: Data,
    },
    /// Objects written in the test itself, at least one.
    Inline {
        /// The rows; never empty.
        rows: Vec<Value>,
    },
    /// The files of the folder `path` whose names match `glob`, sorted by name; each row has
    /// `name`, `bytes` (the size) and `base64` (the content).
    Files {
        /// Path of the folder, like that of [`Data::File`].
        path: String,
        /// Pattern of names, for [`glob_matches`].
        glob: String,
    },
}

/// Place of a feeder's bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Data {
    /// A key of a Secret or ConfigMap.
    Reference(Reference),
    /// Relative path without `..`: to the folder of the LoadTest's file, or, in a Pod, to the
    /// folder of the volumes, whose names it begins with.
    File(String),
}

/// Order in which rows are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Strategy {
    /// File order, then again from the first.
    Circular,
    /// Any row each time; one may come twice before another comes once.
    Random,
    /// Each row once in a random order, then all again in another.
    Shuffle,
    /// File order, each row once.
    Queue,
}

/// Users among whom the rows are dealt out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FeederScope {
    /// Each user has all rows for itself.
    User,
    /// The users of a worker share the rows; each worker has all of them.
    Worker,
    /// The users of all workers share the rows; the master leases them out.
    Test,
}

/// Reaction to a user that wants a row when all have been taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnExhausted {
    /// The rows begin anew.
    Recycle,
    /// The user stops; in open load the arrival is dropped.
    StopUser,
    /// The load ends, and the run is judged.
    StopRun,
}

impl Data {
    /// The Secret or ConfigMap key, if the data is one.
    pub fn reference(&self) -> Option<&Reference> {
        match self {
            Data::Reference(reference) => Some(reference),
            Data::File(_) => None,
        }
    }
}

impl Feeder {
    /// The Secret or ConfigMap key that holds the rows, if one does.
    pub fn reference(&self) -> Option<&Reference> {
        match &self.source {
            Source::Csv {
                data: Data::Reference(reference),
                ..
            }
            | Source::Json {
                data: Data::Reference(reference),
            }
            | Source::JsonLines {
                data: Data::Reference(reference),
            } => Some(reference),
            Source::Csv { .. }
            | Source::Json { .. }
            | Source::JsonLines { .. }
            | Source::Inline { .. }
            | Source::Files { .. } => None,
        }
    }

    /// Tells whether the rows come from a Secret, so that no message may show them.
    pub fn is_secret(&self) -> bool {
        self.reference()
            .is_some_and(|reference| reference.kind == Kind::Secret)
    }

    /// Tells whether the feeder can run out of rows.
    pub fn is_finite(&self) -> bool {
        self.on_exhausted != OnExhausted::Recycle
    }

    /// Number of positions that can be taken when the data has `rows` rows.
    pub fn limit(&self, rows: u64) -> u64 {
        if self.is_finite() { rows } else { u64::MAX }
    }
}

impl Source {
    /// Name of the feeder's field that the test's author wrote.
    pub fn field(&self) -> &'static str {
        match self {
            Source::Csv { .. } => "csv",
            Source::Json { .. } => "json",
            Source::JsonLines { .. } => "jsonLines",
            Source::Inline { .. } => "inline",
            Source::Files { .. } => "files",
        }
    }
}

/// Tells whether a file's name matches a pattern of text, `*` (any characters) and `?` (one
/// character).
pub fn glob_matches(glob: &str, name: &str) -> bool {
    WildMatch::new(glob).matches(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glob_fits_whole_names_only() {
        for (glob, name) in [
            ("*", ""),
            ("*.png", "a.png"),
            ("a?c*", "abcd"),
            ("*a*b*", "xaxbx"),
            ("ü?", "üö"),
            ("a.b", "a.b"),
        ] {
            assert!(glob_matches(glob, name), "{glob} {name}");
        }
        for (glob, name) in [
            ("", "a"),
            ("*.png", "a.png.txt"),
            ("?", ""),
            ("a.b", "axb"),
            ("*a*b*", "xbxa"),
            ("*?x", "x"),
        ] {
            assert!(!glob_matches(glob, name), "{glob} {name}");
        }
    }
}
