//! One-offs of this worker, which are done once for the whole run: each kind at most once in a
//! process's life. And the values that setup extracted, here or elsewhere.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::{OneOff, OneOffInputs, Outcome, Prepared, RunningOneOff};
use crate::plan::{SetupValues, Share};
use crate::stats::Snapshot;
use crate::wire::fleet::{self, OneOffKind};

/// One-offs of this process: those done, and the one under way.
#[derive(Default)]
pub(super) struct OneOffs {
    /// Outcome of each that is over: why it failed, or else what there is to say of it.
    done: BTreeMap<OneOffKind, Result<String, String>>,
    /// The one under way.
    under_way: Option<(OneOffKind, RunningOneOff)>,
    /// Values that setup extracted, here or on another worker.
    setup_values: SetupValues,
    /// Samples of all of them.
    measured: Snapshot,
    /// Newest format of snapshots that the master reads.
    format: u64,
}

impl OneOffs {
    /// Lists the one-offs that a master may ask for without anything being done again.
    pub(super) fn known(&self) -> Vec<i32> {
        let under_way = self.under_way.iter().map(|(kind, _)| kind);
        self.done
            .keys()
            .chain(under_way)
            .map(|kind| *kind as i32)
            .collect()
    }

    /// Begins what is asked for; gives back the answer, if it is there already.
    pub(super) fn ask(
        &mut self,
        asked: &fleet::OneOff,
        prepared: Option<&Arc<Prepared>>,
        worker: u32,
    ) -> Option<fleet::OneOffDone> {
        let kind = asked.kind();
        if let Some(done) = self.done.get(&kind) {
            return Some(self.answer(kind, done));
        }
        if self
            .under_way
            .as_ref()
            .is_some_and(|(under_way, _)| *under_way == kind)
        {
            return None;
        }
        let (one_off, prepared) = match (one_off(kind), prepared) {
            (Some(one_off), Some(prepared)) => (one_off, prepared.clone()),
            (Some(_), None) => return Some(refusal(kind, "this worker is not ready")),
            (None, _) => return Some(refusal(kind, "this worker does not know how")),
        };
        match asked.setup_values.as_ref().map(read) {
            Some(Ok(values)) => self.setup_values = values,
            Some(Err(why)) => return Some(refusal(kind, why)),
            None => {}
        }
        let share = Share {
            worker,
            workers: asked.workers.max(worker + 1),
        };
        let inputs = OneOffInputs {
            share,
            seed: asked.seed,
            found: self.setup_values.clone(),
            within: Duration::from_micros(asked.within_micros),
        };
        tracing::info!(?kind, "begun");
        self.under_way = Some((kind, prepared.start_one_off(one_off, inputs)));
        None
    }

    /// Waits for what is under way, and answers; pends without anything. Cancel safe.
    pub(super) async fn next(&mut self) -> fleet::OneOffDone {
        let Some((kind, running)) = &mut self.under_way else {
            return std::future::pending().await;
        };
        let (kind, outcome) = (*kind, running.outcome().await);
        self.under_way = None;
        let Outcome {
            failure,
            note,
            found,
            snapshot,
        } = outcome;
        tracing::info!(?kind, failure, "done");
        if kind == OneOffKind::Setup {
            self.setup_values = found;
        }
        self.measured.merge(&snapshot);
        let done = failure.map_or(Ok(note), Err);
        let answer = self.answer(kind, &done);
        self.done.insert(kind, done);
        answer
    }

    /// Takes in the values of setup that come with a share; an error when they cannot be read.
    pub(super) fn learn(&mut self, found: Option<&fleet::SetupValues>) -> Result<(), &'static str> {
        if let Some(found) = found {
            self.setup_values = read(found)?;
            self.done.insert(OneOffKind::Setup, Ok(String::new()));
        }
        Ok(())
    }

    /// Values that setup extracted.
    pub(super) fn setup_values(&self) -> SetupValues {
        self.setup_values.clone()
    }

    /// Sets the newest format of snapshots that the master reads.
    pub(super) fn write_for(&mut self, format: u64) {
        self.format = format;
    }

    /// Samples of all one-offs, encoded.
    pub(super) fn measured(&self) -> Vec<u8> {
        self.measured.encode_as(self.format)
    }

    /// Cuts what is under way, since the run is stopped or nobody is left who wants it; only a
    /// teardown goes on.
    pub(super) fn stop(&self) {
        if let Some((kind, running)) = &self.under_way
            && *kind != OneOffKind::Teardown
        {
            running.cut();
        }
    }

    fn answer(&self, kind: OneOffKind, done: &Result<String, String>) -> fleet::OneOffDone {
        let (failure, note) = match done {
            Ok(note) => (String::new(), note.clone()),
            Err(failure) => (failure.clone(), String::new()),
        };
        fleet::OneOffDone {
            kind: kind.into(),
            failure,
            note,
            setup_values: (kind == OneOffKind::Setup).then(|| fleet::SetupValues {
                values: self.setup_values.to_json(),
            }),
            snapshot: self.measured(),
        }
    }
}

fn one_off(kind: OneOffKind) -> Option<OneOff> {
    match kind {
        OneOffKind::Unspecified => None,
        OneOffKind::Setup => Some(OneOff::Setup),
        OneOffKind::Teardown => Some(OneOff::Teardown),
        OneOffKind::AwaitTargets => Some(OneOff::AwaitTargets),
        OneOffKind::Preflight => Some(OneOff::Preflight),
    }
}

/// Reads the values of setup. They are secret, so that the error says no more.
fn read(found: &fleet::SetupValues) -> Result<SetupValues, &'static str> {
    SetupValues::from_json(&found.values).ok_or("what setup found cannot be read")
}

/// Answers that a one-off is not done.
fn refusal(kind: OneOffKind, why: &str) -> fleet::OneOffDone {
    fleet::OneOffDone {
        kind: kind.into(),
        failure: why.into(),
        ..fleet::OneOffDone::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_without_what_setup_found_is_not_begun() {
        let mut one_offs = OneOffs::default();
        let torn = fleet::SetupValues {
            values: b"{".to_vec(),
        };
        assert!(one_offs.learn(Some(&torn)).is_err());
        assert_eq!(one_offs.known(), Vec::<i32>::new());
        one_offs.learn(None).unwrap();
        let whole = fleet::SetupValues {
            values: SetupValues::default().to_json(),
        };
        one_offs.learn(Some(&whole)).unwrap();
        assert_eq!(one_offs.known(), [OneOffKind::Setup as i32]);
    }
}
