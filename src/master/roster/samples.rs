//! The fleet's samples: what each process measured, and the sum of it, which follows every change.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::super::sum::Gauges;
use super::{Holder, Instance, Roster, SessionId};
use crate::stats::Snapshot;

impl Roster {
    /// Adds the samples of one run second, unless they are held already: a worker that came back
    /// sends again what was not acknowledged.
    pub fn add_second(&mut self, id: SessionId, second: u32, samples: &Snapshot) {
        let Some(instance) = self.instance(id) else {
            return;
        };
        if instance.through.is_some_and(|through| second <= through) {
            return;
        }
        instance.through = Some(second);
        let before = Gauges::of(&instance.snapshot);
        instance.snapshot.follow(samples);
        let now = Gauges::of(&instance.snapshot);
        self.sum.follow(&before, &now, samples);
    }

    /// Puts all that a process has measured `through` a second in place of what is held of it,
    /// unless that is more.
    pub fn replace_samples(&mut self, id: SessionId, through: Option<u32>, samples: Snapshot) {
        let Some(instance) = self.instance(id) else {
            return;
        };
        if instance.through.is_none() || through > instance.through {
            instance.through = through;
            let before = std::mem::replace(&mut instance.snapshot, samples.clone());
            self.sum.replace(&before, &samples);
        }
    }

    /// Puts the samples of the one-offs of a process in place of those held of it.
    pub fn replace_one_offs(&mut self, id: SessionId, samples: Snapshot) {
        if let Some(instance) = self.instance(id) {
            let before = std::mem::replace(&mut instance.one_offs, samples.clone());
            self.sum.replace(&before, &samples);
        }
    }

    /// Puts back a process that an earlier master process knew.
    pub fn restore(&mut self, holder: Holder, instance: Instance) {
        let nothing = Snapshot::default();
        self.sum.replace(&nothing, &instance.snapshot);
        self.sum.replace(&nothing, &instance.one_offs);
        self.instances.insert(holder, instance);
    }

    /// Sum of all that was ever measured.
    pub fn merged(&self) -> Cow<'_, Snapshot> {
        self.sum.get(samples(&self.instances))
    }

    /// Adds up the sum anew where a process has replaced what was added of it.
    pub fn refresh(&mut self) {
        self.sum.refresh(samples(&self.instances));
    }
}

/// Everything that processes measured.
fn samples(instances: &BTreeMap<Holder, Instance>) -> impl Iterator<Item = &Snapshot> {
    instances
        .values()
        .flat_map(|instance| [&instance.snapshot, &instance.one_offs])
}
