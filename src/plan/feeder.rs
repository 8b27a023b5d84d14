//! Feeders: rows of test data that templates name, where they come from, and who gets which.

mod order;
mod rows;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Kind, Reference};

pub use order::Order;
pub use rows::{MAX_DATA, MAX_ROWS, Rows, RowsError};

/// A named set of rows. An iteration takes one row on first use and keeps it to its end; `take(n)`
/// takes n more.
///
/// Its place in [`super::Plan::feeders`] is its number everywhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Feeder {
    /// What templates call it.
    pub name: String,
    pub source: Source,
    pub strategy: Strategy,
    pub scope: FeederScope,
    /// `Recycle` where the strategy never comes to an end.
    pub on_exhausted: OnExhausted,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Source {
    /// Every value is text. Without `columns` the first line names them.
    Csv {
        data: Data,
        delimiter: char,
        columns: Vec<String>,
    },
    /// A list of objects.
    Json { data: Data },
    /// An object on each line that is not empty.
    JsonLines { data: Data },
    /// Objects, never none.
    Inline { rows: Vec<Value> },
    /// The files of the folder `path` whose names fit `glob`, sorted by name: `name`, `bytes` (how
    /// many) and `base64` of each.
    Files { path: String, glob: String },
}

/// Where the bytes are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Data {
    Reference(Reference),
    /// Relative, without `..`: to the folder of the LoadTest's file, or, in a Pod, to the folder of
    /// the volumes, whose names it begins with.
    File(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Strategy {
    /// In order, then again from the first.
    Circular,
    /// Any row each time; one may come twice before another comes once.
    Random,
    /// Each row once in a random order, then all in another.
    Shuffle,
    /// In order.
    Queue,
}

/// Among whom the rows are dealt out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FeederScope {
    /// Each user has all rows for itself.
    User,
    /// The users of a worker share the rows; each worker has all of them.
    Worker,
    /// The users of all workers share the rows; the master leases them out.
    Test,
}

/// What happens to one who wants a row when all have been taken.
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
    pub fn reference(&self) -> Option<&Reference> {
        match self {
            Data::Reference(reference) => Some(reference),
            Data::File(_) => None,
        }
    }
}

impl Feeder {
    /// The Secret or ConfigMap key that holds the rows.
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

    /// Its rows are of a Secret.
    pub fn is_secret(&self) -> bool {
        self.reference()
            .is_some_and(|reference| reference.kind == Kind::Secret)
    }

    /// There are only so many rows as the data has.
    pub fn is_finite(&self) -> bool {
        self.on_exhausted != OnExhausted::Recycle
    }

    /// How many positions there are to take, out of `rows`.
    pub fn limit(&self, rows: u64) -> u64 {
        if self.is_finite() { rows } else { u64::MAX }
    }
}

impl Source {
    /// The field of the feeder that the test's author wrote.
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

/// Whether a file's name fits a pattern of text, `*` (any characters) and `?` (one).
pub fn fits(glob: &str, name: &str) -> bool {
    let (glob, name): (Vec<char>, Vec<char>) = (glob.chars().collect(), name.chars().collect());
    let (mut g, mut n) = (0, 0);
    // the last star, and how much of the name it has been given
    let mut star = None;
    while n < name.len() {
        match glob.get(g) {
            Some('*') => {
                star = Some((g, n));
                g += 1;
            }
            Some(c) if *c == '?' || *c == name[n] => (g, n) = (g + 1, n + 1),
            _ => {
                let Some((at, taken)) = star else {
                    return false;
                };
                star = Some((at, taken + 1));
                (g, n) = (at + 1, taken + 1);
            }
        }
    }
    glob[g..].iter().all(|c| *c == '*')
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
            assert!(fits(glob, name), "{glob} {name}");
        }
        for (glob, name) in [
            ("", "a"),
            ("*.png", "a.png.txt"),
            ("?", ""),
            ("a.b", "axb"),
            ("*a*b*", "xbxa"),
            ("*?x", "x"),
        ] {
            assert!(!fits(glob, name), "{glob} {name}");
        }
    }
}
