//! What templates may name: the test's variables, its feeders, and what earlier steps took out of answers.

use std::collections::BTreeMap;

use serde_json::Value;

/// The place of a value among those that a user keeps.
pub type Slot = u16;

/// Names with a meaning of their own in every template.
pub const RESERVED: [&str; 6] = ["user", "iteration", "worker", "true", "false", "null"];

/// What the templates at one place of the test may name.
#[derive(Clone, Default, PartialEq)]
pub struct Names(BTreeMap<String, Declared>);

#[derive(Clone, PartialEq)]
pub enum Declared {
    /// Folded when a template is compiled.
    Constant(Value),
    /// Some text that is known only where the load is made; declared anew as a constant there, before anything is rendered.
    Given,
    /// Read at run time: extracted, `forEach.as`, what `setup` found.
    Value(Slot),
    /// A feeder: its current row is an object, `take(n)` gives a list of further rows.
    Row(Slot),
}

impl Names {
    /// An inner declaration hides an outer one of the same name.
    pub fn declare(&mut self, name: impl Into<String>, declared: Declared) {
        self.0.insert(name.into(), declared);
    }

    pub fn get(&self, name: &str) -> Option<&Declared> {
        self.0.get(name)
    }

    /// All names, sorted.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Declared)> {
        self.0.iter().map(|(name, declared)| (name.as_str(), declared))
    }
}

impl From<&BTreeMap<String, Value>> for Names {
    fn from(constants: &BTreeMap<String, Value>) -> Self {
        Self(constants.iter().map(|(name, value)| (name.clone(), Declared::Constant(value.clone()))).collect())
    }
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // a constant may come from a Secret
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Whether `name` may be declared: letters, digits and `_`, no digit first, and nothing that templates know already.
pub fn check_name(name: &str) -> Result<(), String> {
    let is_word =
        name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    match name {
        _ if !is_word => Err("a name in templates holds letters, digits and _ only, and does not begin with a digit".into()),
        _ if RESERVED.contains(&name) => Err("this name has a meaning of its own in templates".into()),
        _ => Ok(()),
    }
}
