//! Values that the templates and conditions of one user read: its number, values extracted from
//! answers, and its rows.

use std::rc::Rc;
use std::time::SystemTime;

use serde_json::Value;

use crate::engine::answer::Store;
use crate::engine::prepare::feeder::{Hand, NoRow};
use crate::engine::prepare::program::PreparedScenario;
use crate::engine::prepare::secrecy::secrets_of;
use crate::engine::user::context::Context;
use crate::plan::template::{Need, Scope};
use crate::plan::{Computed, Slot};

/// Variables of one user.
pub(crate) struct Frame {
    context: Rc<Context>,
    /// Number of the user over the whole fleet.
    pub(crate) user: u64,
    /// Number of its iteration, from 0.
    pub(crate) iteration: u64,
    /// Values by slot; empty until the first value is set, since most tests set none.
    values: Vec<Option<Value>>,
    hand: Hand,
}

impl Frame {
    /// Creates the variables of a user, none of them set.
    pub(crate) fn new(context: Rc<Context>, user: u64) -> Self {
        Self {
            user,
            iteration: 0,
            values: Vec::new(),
            hand: context.dealer.hand(user),
            context,
        }
    }

    /// Clears the variables of the last iteration, and computes those of the next one.
    pub(crate) fn begin_iteration(&mut self, scenario: &PreparedScenario) {
        let slots = scenario.of_iteration.start.min(self.values.len())
            ..scenario.of_iteration.end.min(self.values.len());
        self.values[slots]
            .iter_mut()
            .for_each(|value| *value = None);
        self.hand.begin();
        let context = self.context.clone();
        for Computed { slot, template } in &context.prepared.computed {
            // one that cannot be made is not set: the step that names it fails
            let value = template.value(self).ok();
            self.set(*slot, value);
        }
    }

    /// Sets a variable, or forgets its value.
    pub(crate) fn set(&mut self, slot: Slot, value: Option<Value>) {
        let slot = usize::from(slot);
        if self.values.len() <= slot {
            self.values.resize_with(slot + 1, || None);
        }
        self.values[slot] = value;
    }

    /// Returns the user's secrets: what it has in `slots`, and other values that look like tokens.
    pub(crate) fn secrets(&self, slots: &[Slot]) -> Vec<String> {
        let values = self.values.iter().enumerate();
        let values = values.filter_map(|(slot, value)| Some((slot as Slot, value.as_ref()?)));
        secrets_of(values, slots)
    }

    /// Returns whether all rows in `needs` have been taken.
    pub(crate) fn has_rows(&self, needs: &[Need]) -> bool {
        needs
            .iter()
            .all(|need| self.hand.holds(&self.context.dealer, *need))
    }

    /// Takes the iteration's rows in `needs`, and returns whether it waited for them. If `hurry`,
    /// it does not wait.
    pub(crate) async fn take_rows(&mut self, needs: &[Need], hurry: bool) -> Result<bool, NoRow> {
        self.hand.take_all(&self.context.dealer, needs, hurry).await
    }
}

impl Store for Frame {
    fn set(&mut self, slot: Slot, value: Option<Value>) {
        Frame::set(self, slot, value);
    }
}

impl Scope for Frame {
    fn user(&self) -> u64 {
        self.user
    }
    fn iteration(&self) -> u64 {
        self.iteration
    }
    fn worker(&self) -> u32 {
        self.context.slice.share.worker
    }
    fn random(&mut self) -> u64 {
        self.context.random()
    }
    fn sequence(&mut self) -> u64 {
        self.context.sequence()
    }
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
    fn value(&self, slot: Slot) -> Option<&Value> {
        match self.hand.row(&self.context.dealer, slot) {
            Some(row) => Some(row),
            // what setup found is hidden by what has its name and is the user's own
            None => self
                .values
                .get(usize::from(slot))
                .and_then(Option::as_ref)
                .or_else(|| self.context.setup.value(slot)),
        }
    }
    fn batch(&self, slot: Slot, count: u32) -> Option<&Value> {
        self.hand.batch(slot, count)
    }
}
