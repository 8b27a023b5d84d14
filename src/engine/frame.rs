//! What the templates and conditions of one user read: its number, the values it took out of answers, its rows.

use std::rc::Rc;
use std::time::SystemTime;

use serde_json::Value;

use super::answer::Store;
use super::program::PreparedScenario;
use super::shard::Shard;
use crate::plan::template::Scope;
use crate::plan::{Computed, Slot};

pub(super) struct Frame {
    shard: Rc<Shard>,
    pub(super) user: u64,
    pub(super) iteration: u64,
    /// By slot; empty until the first value is set, since most tests set none.
    values: Vec<Option<Value>>,
    /// What `take(n)` of a feeder gave for this iteration.
    batches: Vec<((Slot, u32), Value)>,
}

impl Frame {
    pub(super) fn new(shard: Rc<Shard>, user: u64) -> Self {
        Self { shard, user, iteration: 0, values: Vec::new(), batches: Vec::new() }
    }

    /// Forgets what lives for one iteration only, and makes the variables that hold for the next one.
    pub(super) fn begin_iteration(&mut self, scenario: &PreparedScenario) {
        let slots = scenario.of_iteration.start.min(self.values.len())..scenario.of_iteration.end.min(self.values.len());
        self.values[slots].iter_mut().for_each(|value| *value = None);
        self.batches.clear();
        let shard = self.shard.clone();
        for Computed { slot, template } in &shard.prepared.computed {
            // one that cannot be made is not set: the step that names it fails
            let value = template.value(self).ok();
            self.set(*slot, value);
        }
    }

    pub(super) fn set(&mut self, slot: Slot, value: Option<Value>) {
        let slot = usize::from(slot);
        if self.values.len() <= slot {
            self.values.resize_with(slot + 1, || None);
        }
        self.values[slot] = value;
    }

    #[expect(dead_code, reason = "feeders give it")]
    pub(super) fn set_batch(&mut self, slot: Slot, count: u32, rows: Value) {
        self.batches.push(((slot, count), rows));
    }
}

impl Store for Frame {
    fn set(&mut self, slot: Slot, value: Option<Value>) {
        Frame::set(self, slot, value);
    }
    fn record(&mut self, _place: usize, _value: u64) {}
}

impl Scope for Frame {
    fn user(&self) -> u64 {
        self.user
    }
    fn iteration(&self) -> u64 {
        self.iteration
    }
    fn worker(&self) -> u32 {
        self.shard.slice.share.worker
    }
    fn random(&mut self) -> u64 {
        self.shard.random()
    }
    fn sequence(&mut self) -> u64 {
        self.shard.sequence()
    }
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
    fn value(&self, slot: Slot) -> Option<&Value> {
        self.values.get(usize::from(slot))?.as_ref()
    }
    fn batch(&self, slot: Slot, count: u32) -> Option<&Value> {
        self.batches.iter().find(|(key, _)| *key == (slot, count)).map(|(_, rows)| rows)
    }
}
