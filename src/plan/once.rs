//! Steps carried out once for the whole run: setup before the load, teardown after it, and the
//! values that setup extracts for every worker.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::scenario::requests;
use super::symbols::{Outline, StepNames};
use super::{Section, Step, StepPlace, duration};

/// Largest size of the values that setup extracts, as JSON, in bytes: every worker is sent them
/// with its share.
pub const MAX_SETUP_VALUES: usize = 64 * 1024;

/// Digits from which a number may be a secret; shorter ones are everywhere.
const MIN_DIGITS: usize = 6;

/// Steps that one worker carries out alone. They know no feeders and call no blocks.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Once {
    /// Steps after all workers are ready and before any load. Every scenario and teardown may name
    /// what they extract.
    pub setup: Vec<Step>,
    /// Steps after the load, also after an aborted one.
    pub teardown: Vec<Step>,
    /// Longest time that setup may take.
    #[serde(with = "duration::micros")]
    pub setup_timeout: Duration,
}

impl Once {
    /// The two lists of steps, each with its name.
    pub fn sections(&self) -> [(&'static str, Section, &[Step]); 2] {
        [
            ("setup", Section::Setup, &self.setup),
            ("teardown", Section::Teardown, &self.teardown),
        ]
    }

    /// All requests, those of setup first.
    pub fn steps(&self) -> impl Iterator<Item = StepPlace<'_>> {
        self.sections()
            .into_iter()
            .flat_map(|(name, section, steps)| requests(name, name, section, steps))
    }

    /// Names that setup and teardown set and use. Setup takes the part of `onStart`: what it
    /// extracts is known to all that comes after.
    pub fn outline(&self) -> Outline<'_> {
        Outline {
            on_start: self.setup.iter().map(StepNames::from).collect(),
            others: self.teardown.iter().map(StepNames::from).collect(),
            blocks: BTreeMap::new(),
        }
    }
}

/// Values that setup extracted, by name. They may be secret, so they are neither shown nor logged.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SetupValues(BTreeMap<String, Value>);

impl SetupValues {
    /// The value of that name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// The values as a JSON object.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("values are JSON")
    }

    /// Reads what [`to_json`](Self::to_json) wrote; `None` if the bytes are no JSON object.
    pub fn from_json(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

    /// Checks that the values take at most [`MAX_SETUP_VALUES`] bytes. The error is a sentence for
    /// the test's author.
    pub fn check_size(&self) -> Result<(), String> {
        let size = self.to_json().len();
        if size > MAX_SETUP_VALUES {
            Err(format!(
                "what setup extracts takes {size} bytes as JSON, at most {MAX_SETUP_VALUES} may be"
            ))
        } else {
            Ok(())
        }
    }

    /// All texts, and numbers of 6 or more digits, among the values: what no message may show.
    pub fn texts(&self) -> Vec<String> {
        let mut found = Vec::new();
        self.0
            .values()
            .for_each(|value| secret_texts(value, &mut found));
        found
    }
}

impl FromIterator<(String, Value)> for SetupValues {
    fn from_iter<T: IntoIterator<Item = (String, Value)>>(values: T) -> Self {
        Self(values.into_iter().collect())
    }
}

impl std::fmt::Debug for SetupValues {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SetupValues({} values)", self.0.len())
    }
}

/// Adds all texts, and numbers of 6 or more digits, of a value that is secret to `found`.
pub fn secret_texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.trim().to_owned()),
        Value::Number(number) if number.to_string().len() >= MIN_DIGITS => {
            found.push(number.to_string())
        }
        Value::Array(items) => items.iter().for_each(|item| secret_texts(item, found)),
        Value::Object(fields) => fields.values().for_each(|field| secret_texts(field, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(values: Value) -> SetupValues {
        serde_json::from_value(values).unwrap()
    }

    #[test]
    fn what_no_message_may_show_is_found_however_deep_it_lies() {
        let found = found(
            json!({"token": "canary-0123456789", "deep": {"list": ["whole text\n", 7, 1234567, true]}}),
        );
        assert_eq!(
            found.texts(),
            ["whole text", "1234567", "canary-0123456789"]
        );
        assert!(!format!("{found:?}").contains("canary"));
    }

    #[test]
    fn more_than_every_worker_can_be_sent_is_refused() {
        assert_eq!(found(json!({"a": "x".repeat(60_000)})).check_size(), Ok(()));
        assert!(
            found(json!({"a": "x".repeat(33_000), "b": "y".repeat(33_000)}))
                .check_size()
                .unwrap_err()
                .contains("66015 bytes")
        );
    }

    #[test]
    fn values_survive_their_way_to_another_worker() {
        let values = found(json!({"id": 7, "list": [1.5, null, "ü"]}));
        assert_eq!(SetupValues::from_json(&values.to_json()), Some(values));
        assert_eq!(SetupValues::from_json(b"{"), None);
    }
}
