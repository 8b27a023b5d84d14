//! The number of workers of a fleet, which may change, and whether the load can follow it.

use std::time::{Duration, Instant};

use super::{Holder, Instance, RETURN, Roster, Seat};

impl Roster {
    /// Sets the number of workers, and the most that there ever were to be.
    pub fn resize(&mut self, workers: u32, most: u32) {
        let most = most.max(workers).max(self.most_workers());
        self.seats.resize_with(most as usize, Seat::default);
        self.workers = workers;
        self.fewest = self.fewest.min(workers);
    }

    /// Fewest workers that the run ever was to have.
    pub fn fewest_workers(&self) -> u32 {
        self.fewest
    }

    /// Number of workers that the run is to have.
    pub fn workers(&self) -> u32 {
        self.workers
    }

    /// Most workers that the run ever was to have.
    pub fn most_workers(&self) -> u32 {
        self.seats.len() as u32
    }

    /// Workers that the run is not to have any more and that still carry load, as far as anybody
    /// knows.
    pub fn leaving(&self) -> u32 {
        let beyond = self.instances.range((self.workers, String::new())..);
        let carries = |instance: &Instance| {
            instance.is_at_work() && !instance.superseded && instance.lost_at.is_none()
        };
        beyond.filter(|(_, instance)| carries(instance)).count() as u32
    }

    /// Number of workers, beginning with the lowest index, that are ready, if the first `known` are
    /// taken to be.
    pub fn ready_from(&self, known: u32) -> u32 {
        let more = self.wanted().skip(known as usize);
        known + more.take_while(|seat| seat.ready).count() as u32
    }

    /// Tells whether every process that may be making load is connected, spoke within `silence`,
    /// and knows that the load may be divided anew.
    pub fn can_divide_anew(&self, now: Instant, silence: Duration) -> bool {
        let is_heard = |instance: &Instance| {
            let spoke = |at: Instant| now.saturating_duration_since(at) < silence;
            instance.closed_at.is_none() && instance.spoke_at.is_some_and(spoke)
        };
        let is_settled = |instance: &Instance| {
            !instance.is_at_work()
                || instance.superseded
                || instance.lost_at.is_some()
                || is_heard(instance)
        };
        self.instances.values().all(is_settled)
            && self.sessions().all(|session| {
                // one whose load is over gets no share that it would not know
                session.divides_anew || self.of(session).is_none_or(|instance| instance.last)
            })
    }

    /// Processes that the run is not to have any more, whose load is over, and which have not come
    /// back since their connection ended.
    pub fn left_as_wanted(&self, now: Instant) -> Vec<Holder> {
        let beyond = self.instances.range((self.workers, String::new())..);
        let has_left = |instance: &Instance| {
            let is_gone = |closed: Instant| now >= closed + RETURN;
            let ended = instance.carrying && instance.last && !instance.superseded;
            ended && !instance.let_go && instance.closed_at.is_some_and(is_gone)
        };
        beyond
            .filter(|(_, instance)| has_left(instance))
            .map(|(holder, _)| holder.clone())
            .collect()
    }
}
