//! Names that templates may use: the test's variables, its feeders, and values that earlier steps
//! extracted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Position of a value among those that a user holds.
pub type Slot = u16;

/// Names with a meaning of their own in every template.
pub const RESERVED: [&str; 6] = ["user", "iteration", "worker", "true", "false", "null"];

/// Names that the templates at one place of the test may use.
#[derive(Clone, Default, PartialEq)]
pub struct Names {
    /// Shared until it changes: each step of a test has names of its own, nearly always the same.
    declared: Arc<BTreeMap<String, Declared>>,
    /// Columns of the feeders whose data is known.
    columns: BTreeMap<Slot, Arc<Columns>>,
}

/// Columns of a feeder: names that have a value in at least one row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Columns {
    /// Names of the columns.
    pub names: BTreeSet<String>,
    /// True if the data comes from a Secret, so that no message may show any of it.
    pub is_secret: bool,
}

/// Meaning of a name.
#[derive(Clone, PartialEq)]
pub enum Declared {
    /// A value that is known when a template is compiled.
    Constant(Arc<Value>),
    /// Text of a Secret or ConfigMap, known only where the load is made; it is declared anew as a
    /// constant there, before anything is rendered.
    External,
    /// A value read at run time: extracted, an item of `forEach`, or set by `setup`.
    Value(Slot),
    /// A feeder: its current row is an object, `take(n)` is a list of further rows.
    Row(Slot),
}

impl Names {
    /// Declares a name. An inner declaration hides an outer one of the same name.
    pub fn declare(&mut self, name: impl Into<String>, declared: Declared) {
        Arc::make_mut(&mut self.declared).insert(name.into(), declared);
    }

    /// Declares the columns of a feeder whose data is known: templates may then name only these.
    pub fn declare_columns(&mut self, feeder: Slot, columns: Arc<Columns>) {
        self.columns.insert(feeder, columns);
    }

    /// Checks that `field` is a column of the feeder called `name`. Passes where the data is not
    /// known.
    pub fn check_column(&self, feeder: Slot, name: &str, field: &str) -> Result<(), String> {
        match self.columns.get(&feeder) {
            Some(columns) if !columns.names.contains(field) && columns.is_secret => {
                Err(format!("{name} has no column {field:?}"))
            }
            Some(columns) if !columns.names.contains(field) => Err(format!(
                "{name} has no column {field:?}; it has {}",
                list(columns.names.iter().map(String::as_str))
            )),
            _ => Ok(()),
        }
    }

    /// Meaning of a name, if it is declared.
    pub fn get(&self, name: &str) -> Option<&Declared> {
        self.declared.get(name)
    }

    /// All names, sorted.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Declared)> {
        self.declared
            .iter()
            .map(|(name, declared)| (name.as_str(), declared))
    }
}

impl From<&BTreeMap<String, Value>> for Names {
    fn from(constants: &BTreeMap<String, Value>) -> Self {
        let declared = constants
            .iter()
            .map(|(name, value)| (name.clone(), Declared::Constant(value.clone().into())))
            .collect::<BTreeMap<_, _>>();
        Self {
            declared: declared.into(),
            columns: BTreeMap::new(),
        }
    }
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // a constant may come from a Secret
        f.debug_set().entries(self.declared.keys()).finish()
    }
}

/// Most names that a message lists.
const MAX_LISTED: usize = 30;

/// Lists names for a message, and counts those that are too many to list.
pub fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut names = names.fuse();
    let listed: Vec<&str> = names.by_ref().take(MAX_LISTED).collect();
    let listed = listed.join(", ");
    match names.count() {
        0 => listed,
        more => format!("{listed} and {more} more"),
    }
}

/// Checks that `name` may be declared: letters, digits and `_`, no digit first, and not one of
/// [`RESERVED`].
pub fn check_name(name: &str) -> Result<(), String> {
    let is_word = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    match name {
        _ if !is_word => Err(
            "a name in templates holds letters, digits and _ only, and does not begin with a digit"
                .into(),
        ),
        _ if RESERVED.contains(&name) => {
            Err("this name has a meaning of its own in templates".into())
        }
        _ => Ok(()),
    }
}
