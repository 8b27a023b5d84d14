//! A scope for tests, in which every value is set beforehand.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::{Scope, Slot};

/// User 7 on worker 2, on a day in November 2023.
pub(crate) struct Fixed {
    /// Values by slot; those beyond the end are unset.
    pub(crate) values: Vec<Option<Value>>,
    /// Rows of `take(n)`, with the feeder's slot and n.
    pub(crate) batch: Option<(Slot, u32, Value)>,
    /// Number of the iteration.
    pub(crate) iteration: u64,
    /// Last random number.
    pub(crate) random: u64,
}

impl Default for Fixed {
    fn default() -> Self {
        Self {
            values: Vec::new(),
            batch: None,
            iteration: 3,
            random: 0,
        }
    }
}

impl Fixed {
    /// Builds a scope with these values.
    pub(crate) fn of(values: impl IntoIterator<Item = Option<Value>>) -> Self {
        Self {
            values: values.into_iter().collect(),
            ..Self::default()
        }
    }
}

impl Scope for Fixed {
    fn user(&self) -> u64 {
        7
    }
    fn iteration(&self) -> u64 {
        self.iteration
    }
    fn worker(&self) -> u32 {
        2
    }
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x0123_4567_89ab_cdef);
        self.random
    }
    fn sequence(&mut self) -> u64 {
        11
    }
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123)
    }
    fn value(&self, slot: Slot) -> Option<&Value> {
        self.values.get(usize::from(slot))?.as_ref()
    }
    fn batch(&self, slot: Slot, count: u32) -> Option<&Value> {
        self.batch
            .as_ref()
            .filter(|(at, of, _)| (*at, *of) == (slot, count))
            .map(|(_, _, rows)| rows)
    }
}
