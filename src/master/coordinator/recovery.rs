//! The coordinator's part in what survives its process: checkpoints, and how it goes on from one.

use std::time::{Duration, Instant};

use super::super::checkpoint::{self, Checkpoint};
use super::super::memory::Memory;
use super::super::roster::Holder;
use super::{Clock, Coordinator};
use crate::wire::control::MasterState;
use crate::wire::fleet::{self, from_master::Message};

/// Time between two checkpoints; at each loss of a worker there is one at once.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(5);

/// Checkpoints of a coordinator.
#[derive(Debug, Default)]
pub(super) struct Checkpoints {
    /// Time of the last.
    at: Option<Instant>,
    /// The next is wanted before its time.
    pub(super) is_wanted: bool,
    /// Last second of each worker in the checkpoint that is being stored; `None` if none is.
    storing: Option<Vec<(Holder, u32)>>,
    /// The last could not be stored.
    has_failed: bool,
}

impl Coordinator {
    /// Begins a checkpoint, if it is time for one. The caller stores it with the memory that comes
    /// with it, and says [`checkpointed`](Self::checkpointed).
    pub fn checkpoint(&mut self, now: Instant) -> Option<(Memory, Checkpoint)> {
        let is_due = self
            .checkpoints
            .at
            .is_none_or(|at| now.duration_since(at) >= CHECKPOINT_EVERY);
        let is_under_load = matches!(self.state, MasterState::Running | MasterState::Stopping);
        if !(is_due || self.checkpoints.is_wanted)
            || !is_under_load
            || !self.memory.keeps()
            || self.checkpoints.storing.is_some()
        {
            return None;
        }
        self.checkpoints.at = Some(now);
        self.checkpoints.is_wanted = false;
        let instances = self.roster.instances().iter();
        let seen =
            instances.filter_map(|(holder, instance)| Some((holder.clone(), instance.seen?)));
        self.checkpoints.storing = Some(seen.collect());
        let zero = self.clock.and_then(|clock| {
            // the zero may lie ahead
            let since = now.saturating_duration_since(clock.zero);
            let ahead = clock.zero.saturating_duration_since(now);
            self.memory.uptime()?.moved(since, ahead)
        });
        let lost = self.incomplete.iter();
        let checkpoint = Checkpoint {
            run: self.file.run.clone(),
            zero,
            seed: self.seed,
            cut_at: self.cut_at,
            stopped: self.stopped.clone(),
            breached: self.breached.clone(),
            failed: self.failed.clone(),
            shares: self.shares.clone(),
            processes: checkpoint::processes(&self.roster),
            timeline: self.timeline.clone(),
            judge: self.judge.progress(),
            blocks: self.blocks.clone(),
            events: self.events.clone(),
            incomplete: lost
                .map(|loss| (loss.index, loss.instance.clone(), loss.requests))
                .collect(),
            reissued: self.reissued,
        };
        Some((self.memory.clone(), checkpoint))
    }

    /// Acknowledges to the workers what is in the checkpoint that was begun; `error` says why it
    /// could not be stored.
    pub fn checkpointed(&mut self, error: Option<String>) {
        let stored = self.checkpoints.storing.take().unwrap_or_default();
        if let Some(error) = error {
            if !std::mem::replace(&mut self.checkpoints.has_failed, true) {
                self.event(&format!("the master's state cannot be stored: {error}"));
            }
            return;
        }
        self.checkpoints.has_failed = false;
        for (holder, second) in stored {
            let Some(instance) = self.roster.find(&holder) else {
                continue;
            };
            instance.stored = Some(second);
            if let Some(session) = self.roster.session_of(&holder) {
                let second = Some(second);
                // one that takes no message comes back and says everything again
                let _ = session.send(Message::Ack(fleet::Ack { second }));
            }
        }
    }

    /// Goes on from a checkpoint.
    pub(super) fn restore(&mut self, checkpoint: Checkpoint, now: Instant) {
        let Checkpoint {
            run: _,
            zero,
            seed,
            cut_at,
            stopped,
            breached,
            failed,
            shares,
            processes,
            timeline,
            judge,
            blocks,
            events,
            incomplete,
            reissued,
        } = checkpoint;
        self.clock = zero
            .and_then(|zero| self.memory.since(&zero))
            .and_then(|elapsed| Clock::at(now, elapsed.as_micros() as i64));
        (self.seed, self.cut_at, self.stopped) = (seed, cut_at, stopped);
        (self.breached, self.failed) = (breached, failed);
        (self.shares, self.timeline, self.blocks) = (shares, timeline, blocks);
        (self.events, self.reissued) = (events, reissued);
        self.judge.resume(judge);
        for process in processes {
            let (holder, instance) = process.restored(now);
            self.roster.restore(holder, instance);
        }
        self.incomplete = incomplete
            .into_iter()
            .map(|(index, instance, requests)| fleet::Loss {
                index,
                instance,
                requests,
            })
            .collect();
        // all workers are known
        self.recovering_until = None;
        self.is_restored = true;
        tracing::info!(run = self.file.run, "goes on from a checkpoint");
    }
}
