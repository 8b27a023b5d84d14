//! The list of mistakes that a check fills, each with its field path.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::Value;

use crate::plan::{Problem, budget, duration};

/// Largest size of a free value (`json`, a variable, ...) as JSON, in bytes.
const MAX_FREE_VALUE: usize = 64 * 1024;

/// Most mistakes that are listed. A spec of 256 KiB can hold tens of thousands.
const MAX_PROBLEMS: usize = 100;

/// Most warnings that are listed.
const MAX_WARNINGS: usize = 20;

/// Mistakes found so far.
#[derive(Default)]
pub(super) struct Problems {
    /// Mistakes in the order in which they were found.
    pub(super) found: Vec<Problem>,
    /// True once the budget of the check is used up and the list says so: what is found after that
    /// only follows from it.
    over: bool,
    /// Warnings of what is allowed but most likely not meant, each with its field path.
    pub(super) warnings: Vec<String>,
    /// Fields that only `starling run` can follow: paths out of the folder of files.
    pub(super) local_only: Vec<Problem>,
}

impl Problems {
    /// Tells whether no further mistake is listed, so that looking for it is in vain.
    pub(super) fn are_complete(&self) -> bool {
        self.over || self.found.len() >= MAX_PROBLEMS
    }

    /// Tells whether there is a mistake in a field below `path`.
    pub(super) fn is_any_below(&self, path: &str) -> bool {
        let is_below = |found: &Problem| {
            let rest = found.path.strip_prefix(path);
            rest.is_some_and(|rest| rest.starts_with(['.', '[']))
        };
        self.found.iter().any(is_below)
    }

    /// Adds a mistake in the field at `path`.
    pub(super) fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        if self.are_complete() {
            return;
        }
        self.found.push(Problem::new(path, message));
        self.over = budget::is_over();
    }

    /// Adds a warning about the field at `path`.
    pub(super) fn warn(&mut self, path: &str, message: &str) {
        if self.warnings.len() < MAX_WARNINGS {
            self.warnings.push(format!("{path}: {message}"));
        }
    }

    /// Returns the value of `outcome`, or adds its error as a mistake in the field at `path`.
    pub(super) fn take<T>(&mut self, path: &str, outcome: Result<T, String>) -> Option<T> {
        outcome.map_err(|message| self.add(path, message)).ok()
    }

    /// Checks the path of a file or folder. One that leads out of the folder at which it begins is
    /// for `starling run` only, since a worker in a cluster reads nothing but its volumes.
    pub(super) fn file(&mut self, path: &str, file: &str) {
        let mut parts = file.strip_prefix('/').unwrap_or(file).split('/');
        if parts.clone().any(str::is_empty) || file.contains('\0') {
            self.add(path, "must be the path of a file or folder");
        } else if file.starts_with('/') || parts.any(|part| part == "..") {
            let why = "leads out of the volumes: in a cluster a path begins with the name of a volume of spec.workers.volumes and has no .. in it";
            self.local_only.push(Problem::new(path, why));
        }
    }

    /// Reads a duration; a mistake counts as zero, so that the check can go on.
    pub(super) fn duration(&mut self, path: &str, text: &str) -> Duration {
        self.take(path, duration::parse(text)).unwrap_or_default()
    }

    /// Reads a duration that must not be zero.
    pub(super) fn positive_duration(&mut self, path: &str, text: &str) -> Duration {
        let parsed = duration::parse(text);
        if parsed == Ok(Duration::ZERO) {
            self.add(path, "must be longer than nothing");
        }
        self.take(path, parsed).unwrap_or_default()
    }

    /// Adds a mistake for each name of the list at `path` that stands there a second time. Items
    /// without a name (`None`) are skipped.
    pub(super) fn unique<'a>(
        &mut self,
        path: &str,
        field: &str,
        names: impl Iterator<Item = impl Into<Option<&'a str>>>,
    ) {
        self.unique_at(path, field, names.enumerate());
    }

    /// Adds mistakes like [`unique`](Self::unique), for names that come with their places in the
    /// list.
    pub(super) fn unique_at<'a>(
        &mut self,
        path: &str,
        field: &str,
        names: impl Iterator<Item = (usize, impl Into<Option<&'a str>>)>,
    ) {
        let mut seen = HashSet::new();
        for (i, name) in names {
            if let Some(name) = name.into()
                && !seen.insert(name)
            {
                self.add(
                    format!("{path}[{i}].{field}"),
                    format!("{name:?} is there twice"),
                );
            }
        }
    }
}

/// Checks the size of a free value.
///
/// # Errors
///
/// Values larger than [`MAX_FREE_VALUE`].
pub(super) fn free_value_size(value: &Value) -> Result<(), String> {
    let size = value.to_string().len();
    if size > MAX_FREE_VALUE {
        Err(format!(
            "{size} bytes as JSON, at most {MAX_FREE_VALUE} are allowed"
        ))
    } else {
        Ok(())
    }
}
