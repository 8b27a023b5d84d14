//! Random histories: an operator that is killed between any two writes, masters that come and go
//! and whose last answer may be old, orders that are carried out late or never, users who change
//! their mind.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::crd::RERUN_ANNOTATION;

#[derive(Debug, Clone)]
enum Event {
    /// One pass of an operator that dies after so many writes.
    Pass(usize),
    Seconds(i64),
    /// The poller hears the master as it is now.
    Poll,
    /// The poller carries out what was ordered.
    Orders,
    /// The operator is restarted: orders and answers are forgotten.
    Restart,
    WorkersReady,
    /// A new master Pod: nothing of the old one's memory.
    NewMaster,
    MasterGone,
    /// The load is over.
    Finish,
    Suspend(bool),
    Rerun(u8),
    Retarget(u8),
    /// Outside the digest.
    Replicas(u32),
    DeleteChild(usize),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => (0usize..9).prop_map(Event::Pass),
        2 => (1i64..2000).prop_map(Event::Seconds),
        6 => Just(Event::Poll),
        6 => Just(Event::Orders),
        1 => Just(Event::Restart),
        3 => Just(Event::WorkersReady),
        1 => Just(Event::NewMaster),
        1 => Just(Event::MasterGone),
        3 => Just(Event::Finish),
        1 => any::<bool>().prop_map(Event::Suspend),
        1 => (0u8..3).prop_map(Event::Rerun),
        1 => (0u8..3).prop_map(Event::Retarget),
        1 => (1u32..4).prop_map(Event::Replicas),
        1 => (0usize..7).prop_map(Event::DeleteChild),
    ]
}

/// An API server, a fleet and its users, as far as the operator sees them.
struct World {
    seen: Observed,
    now: Timestamp,
    /// The master as it is; `seen` has what the poller last heard of it.
    master: MasterView,
    /// Orders to the master that wait.
    orders: Vec<Write>,
    incarnations: u32,
    /// Who was ever told to start, by run.
    started: BTreeMap<String, BTreeSet<String>>,
    created_jobs: BTreeMap<String, u32>,
    finished: bool,
}

impl World {
    fn new() -> Self {
        Self {
            seen: applied(),
            now: now(),
            master: MasterView::Absent,
            orders: Vec::new(),
            incarnations: 0,
            started: BTreeMap::new(),
            created_jobs: BTreeMap::new(),
            finished: false,
        }
    }

    fn apply(&mut self, write: Write) {
        match write {
            Write::Status(status) => self.put_status(*status),
            Write::Create(child) => self.create(child),
            Write::Resize(pods) => {
                let MasterView::Up(heard) = &self.seen.master else {
                    panic!("the Job is changed though no master was heard")
                };
                assert_eq!(heard.workers, pods, "the master hears of it first");
                self.seen.job_pods = Some(pods);
            }
            order @ (Write::Grant(_) | Write::Stop(_) | Write::Scale(_) | Write::Acknowledge) => {
                if !self.orders.contains(&order) {
                    self.orders.push(order);
                }
            }
            Write::Delete { child, run, uid } => {
                if child == Child::Report {
                    self.seen.old_reports.retain(|report| report.uid != uid);
                } else if self
                    .seen
                    .status()
                    .run
                    .is_some_and(|current| current.id == run)
                {
                    self.seen.children.0.remove(&child);
                }
                if child == Child::Master {
                    self.master = MasterView::Absent;
                }
            }
        }
    }

    fn carry_out(&mut self) {
        for order in std::mem::take(&mut self.orders) {
            let is_there = matches!(self.master, MasterView::Up(_));
            match order {
                Write::Grant(grant) => self.hear(&grant),
                Write::Stop(_) => {
                    if let MasterView::Up(progress) = &mut self.master {
                        progress.state = MasterState::Finished;
                        self.finished = true;
                    }
                }
                Write::Scale(workers) => {
                    if let MasterView::Up(progress) = &mut self.master {
                        progress.workers = workers.now;
                    }
                }
                Write::Acknowledge => self.seen.acknowledged = Some(is_there),
                other => panic!("{other:?} is no order"),
            }
            self.seen.master = self.master.clone();
        }
    }

    fn forget(&mut self) {
        self.orders.clear();
        (self.seen.master, self.seen.acknowledged) = (MasterView::Unasked, None);
    }

    fn put_status(&mut self, new: LoadTestStatus) {
        let old = self.seen.status();
        let generation = self.seen.test.metadata.generation.unwrap();
        let fault = step::fault_of(&old, &new, generation);
        assert_eq!(fault, None, "from {old:?} to {new:?}");
        if old.run.as_ref().map(|run| &run.id) != new.run.as_ref().map(|run| &run.id) {
            // the channel is the garbage collector's, and has a name of its own
            let left = self
                .seen
                .children
                .0
                .keys()
                .find(|child| !matches!(child, Child::Report | Child::Channel));
            assert_eq!(
                left, None,
                "a run begins among the children of the one before"
            );
            self.seen.children = Children::default();
            self.master = MasterView::Absent;
            self.seen.job_pods = None;
            self.forget();
            self.finished = false;
        }
        self.seen.test.status = Some(new);
    }

    fn create(&mut self, child: Child) {
        let run = run_of(&self.seen);
        let (name, presence) = ours(child);
        assert!(!self.seen.children.has(child), "{child} is there already");
        assert!(
            child == Child::Report || run.started_at.is_none(),
            "{child} made after the grant"
        );
        self.seen.children.0.insert(name, presence);
        if child == Child::Master {
            self.new_master();
        }
        if child == Child::Workers {
            self.seen.job_pods = Some(run.wanted_pods());
            *self.created_jobs.entry(run.id).or_default() += 1;
        }
    }

    fn hear(&mut self, grant: &Grant) {
        let run = run_of(&self.seen);
        let master = run.master.clone().expect("a grant is in the status first");
        // one that was ordered before another master took over is of a lower epoch
        assert!(grant.epoch <= master.epoch);
        assert!(grant.epoch < master.epoch || grant.incarnation == master.incarnation);
        if grant.action == GrantAction::Start {
            self.started
                .entry(run.id.clone())
                .or_default()
                .insert(grant.incarnation.clone());
        }
        let MasterView::Up(progress) = &mut self.master else {
            return;
        };
        let has_started = matches!(
            progress.state,
            MasterState::Running | MasterState::Recovering | MasterState::Finished
        );
        if progress.incarnation == grant.incarnation && !has_started {
            progress.epoch = grant.epoch;
            progress.workers = grant.workers.map_or(progress.workers, |size| size.now);
            progress.state = if grant.action == GrantAction::Start {
                MasterState::Running
            } else {
                MasterState::Recovering
            };
        }
    }

    fn new_master(&mut self) {
        if !self.seen.children.has(Child::Master) {
            return;
        }
        self.incarnations += 1;
        let run = run_of(&self.seen);
        let mut progress = progress(&run.id, MasterState::Waiting);
        progress.workers = run.workers;
        progress.incarnation = format!("incarnation-{}", self.incarnations);
        self.master = MasterView::Up(progress);
    }

    /// What the operator would see: the result only while a finished master or the report has it.
    fn look(&mut self) -> Observed {
        let mut seen = self.seen.clone();
        let from_master = self.finished && state(&seen.master) == Some(MasterState::Finished);
        let active = seen.status().run.is_some_and(|run| run.end.is_none());
        if active && (from_master || seen.children.has(Child::Report)) {
            seen.result = Some(std::sync::Arc::new(fixture::result()));
        }
        seen
    }

    fn pass(&mut self, writes: usize) -> Decision {
        let decision = decide(&self.look(), self.now);
        for write in decision.writes.clone().into_iter().take(writes) {
            self.apply(write);
        }
        decision
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Pass(writes) => {
                self.pass(writes);
            }
            Event::Poll => {
                self.seen.master = self.master.clone();
                if matches!(self.seen.master, MasterView::Up(_)) {
                    self.seen.unreachable_for = Duration::ZERO;
                }
            }
            Event::Orders => self.carry_out(),
            Event::Restart => self.forget(),
            Event::Seconds(seconds) => self.wait(seconds),
            Event::WorkersReady => self.advance(&[
                (MasterState::Waiting, MasterState::Ready),
                (MasterState::Recovering, MasterState::Running),
            ]),
            Event::NewMaster => self.new_master(),
            Event::MasterGone => self.master = MasterView::Absent,
            Event::Finish => {
                self.finished |= state(&self.master) == Some(MasterState::Running);
                self.advance(&[(MasterState::Running, MasterState::Finished)]);
            }
            Event::Suspend(suspend) => self.edit(|test| test.spec.run.suspend = suspend),
            Event::Rerun(n) => {
                self.seen.test.metadata.annotations =
                    Some([(RERUN_ANNOTATION.to_owned(), n.to_string())].into())
            }
            Event::Retarget(n) => {
                self.edit(|test| test.spec.target.url = format!("http://target-{n}"))
            }
            Event::Replicas(n) => self.edit(|test| test.spec.workers.replicas = n),
            Event::DeleteChild(n) => {
                self.seen.children.0.remove(&Child::FLEET[n]);
                if Child::FLEET[n] == Child::Workers {
                    self.seen.job_pods = None;
                }
                if Child::FLEET[n] == Child::Master {
                    self.master = MasterView::Absent;
                }
            }
        }
    }

    /// Lets time pass, for the wall clock and for the operator's own.
    fn wait(&mut self, seconds: i64) {
        let time = SignedDuration::from_secs(seconds);
        self.now += time;
        if !matches!(self.seen.master, MasterView::Up(_)) {
            self.seen.unreachable_for += time.unsigned_abs();
        }
    }

    fn advance(&mut self, steps: &[(MasterState, MasterState)]) {
        if let MasterView::Up(progress) = &mut self.master
            && let Some((_, next)) = steps.iter().find(|(from, _)| *from == progress.state)
        {
            progress.state = *next;
        }
    }

    fn edit(&mut self, change: impl Fn(&mut crate::crd::LoadTest)) {
        let before = self.seen.test.spec.clone();
        change(&mut self.seen.test);
        if self.seen.test.spec != before {
            let generation = self.seen.test.metadata.generation.get_or_insert(1);
            *generation += 1;
        }
    }
}

fn state(master: &MasterView) -> Option<MasterState> {
    match master {
        MasterView::Up(progress) => Some(progress.state),
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_happens_load_starts_at_most_once_a_run_and_every_run_ends(
        events in proptest::collection::vec(event(), 0..60),
    ) {
        let mut world = World::new();
        for event in events {
            world.happen(event);
        }
        for (run, masters) in &world.started {
            prop_assert!(masters.len() == 1, "{run} was started by {masters:?}");
        }
        // left alone, with nobody answering any more, it comes to an end and to rest
        world.happen(Event::Suspend(false));
        for _ in 0..40 {
            world.master = MasterView::Absent;
            world.happen(Event::Poll);
            world.pass(usize::MAX);
            world.happen(Event::Orders);
            world.wait(2_000);
        }
        world.master = MasterView::Absent;
        world.happen(Event::Poll);
        let status = world.seen.status();
        prop_assert!(status.phase.is_some_and(Phase::is_terminal), "{:?}", status.phase);
        let children = &world.seen.children;
        let are_kept = |child: &Child| matches!(child, Child::Report | Child::Channel);
        prop_assert!(children.0.keys().all(are_kept), "{:?}", children);
        prop_assert_eq!(world.pass(0).writes, vec![]);
    }

    #[test]
    fn a_decision_carried_out_asks_for_nothing_more(
        events in proptest::collection::vec(event(), 0..60),
    ) {
        let mut world = World::new();
        for event in events {
            world.happen(event);
        }
        let mut last = Vec::new();
        for _ in 0..12 {
            world.happen(Event::Poll);
            last = world.pass(usize::MAX).writes;
            world.happen(Event::Orders);
            if last.is_empty() {
                return Ok(());
            }
        }
        prop_assert!(false, "never at rest: {last:?}");
    }
}
