//! Open load: iterations start when the profile says so, whether earlier ones have ended or not.
//!
//! A slot carries out one iteration at a time on a connection of its own. Slots are opened on demand up to the shard's part of
//! `maxInFlight`; an arrival that finds none free is dropped and counted, never delayed.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use futures::future::poll_fn;

use super::client::Client;
use super::pacer::Pacer;
use super::recorder::{Dropped, Part};
use super::shard::{Member, Shard, State};
use crate::plan::Profile;

/// Arrivals that are started before others get a turn, when many are due at once.
const BATCH: u32 = 64;

/// No iteration starts after the profile's end; what was due just before it may be late by this.
const LATEST: Duration = Duration::from_millis(200);

/// A worker that comes sooner than this after the profile's zero was there from the start.
const SLOW_START: Duration = Duration::from_secs(1);

struct Arrival {
    /// Over the whole fleet.
    number: u64,
    intended: Instant,
}

/// Where an idle slot waits for its next arrival.
#[derive(Default)]
struct Inbox {
    arrival: Cell<Option<Arrival>>,
    waker: Cell<Option<Waker>>,
}

struct Slots {
    inboxes: RefCell<Vec<Rc<Inbox>>>,
    /// The one that was used last is used next: its connection is the freshest, and rarely used ones may close.
    free: RefCell<Vec<u32>>,
    most: u64,
}

pub(super) async fn drive(shard: &Rc<Shard>, profile: &Profile, max_in_flight: u32, members: &RefCell<Vec<Member>>) {
    let slots = Rc::new(Slots { inboxes: RefCell::default(), free: RefCell::default(), most: shard.slice.of(max_in_flight.into()) });
    let mut pacer = Pacer::new();
    let mut schedule = profile.schedule();
    let mut nth = shard.slice.of(missed_arrivals(profile, shard.elapsed(shard.joined_at)));
    let (mut now, mut in_batch) = (Instant::now(), 0);
    loop {
        let number = shard.slice.number(nth);
        let Some(due) = schedule.arrival(number) else { break };
        let intended = shard.start + due;
        if intended > now {
            now = pacer.until(intended).await;
            in_batch = 0;
        } else if in_batch == BATCH {
            tokio::task::yield_now().await;
            now = Instant::now();
            in_batch = 0;
        }
        in_batch += 1;
        nth += 1;
        if now > shard.end + LATEST {
            shard.recorder.borrow_mut().dropped(Dropped::NoSlot, Part::Measured);
        } else {
            dispatch(shard, &slots, Arrival { number, intended }, members);
        }
    }
    tokio::time::sleep_until(shard.end.into()).await;
}

/// Arrivals from before a worker joined are not its own to catch up on; those of a start that was only slow are.
fn missed_arrivals(profile: &Profile, joined_at: Duration) -> u64 {
    if joined_at < SLOW_START { 0 } else { (profile.arrivals_until(joined_at) + 0.5).floor() as u64 }
}

fn dispatch(shard: &Rc<Shard>, slots: &Rc<Slots>, arrival: Arrival, members: &RefCell<Vec<Member>>) {
    let free = slots.free.borrow_mut().pop();
    let place = match free {
        Some(place) => place,
        None if (slots.inboxes.borrow().len() as u64) < slots.most => open_slot(shard, slots, members),
        None => return shard.recorder.borrow_mut().dropped(Dropped::NoSlot, Part::Measured),
    };
    let inbox = &slots.inboxes.borrow()[place as usize];
    inbox.arrival.set(Some(arrival));
    // from now on it is not idle, though it has not looked yet
    members.borrow()[place as usize].state.set(State::Busy);
    shard.joined();
    if let Some(waker) = inbox.waker.take() {
        waker.wake();
    }
}

fn open_slot(shard: &Rc<Shard>, slots: &Rc<Slots>, members: &RefCell<Vec<Member>>) -> u32 {
    let inbox = Rc::new(Inbox::default());
    let place = slots.inboxes.borrow().len() as u32;
    slots.inboxes.borrow_mut().push(inbox.clone());
    members.borrow_mut().push(shard.spawn(|state| slot(shard.clone(), slots.clone(), inbox, state, place)));
    place
}

async fn slot(shard: Rc<Shard>, slots: Rc<Slots>, inbox: Rc<Inbox>, state: Rc<Cell<State>>, place: u32) {
    let prepared = shard.prepared.clone();
    let mut client = Client::new(shard.clone(), shard.slice.number(place.into()));
    loop {
        let Arrival { number, intended } = next_arrival(&inbox).await;
        let scenario = &prepared.scenarios[prepared.mix.at(number)];
        client.iterate(scenario, Instant::now(), Some(intended)).await;
        shard.left(1);
        // not sooner: an arrival that was taken is carried out
        if shard.is_stopping() {
            break;
        }
        state.set(State::Idle);
        slots.free.borrow_mut().push(place);
    }
    state.set(State::Gone);
}

async fn next_arrival(inbox: &Inbox) -> Arrival {
    poll_fn(|cx| match inbox.arrival.take() {
        Some(arrival) => Poll::Ready(arrival),
        None => {
            inbox.waker.set(Some(cx.waker().clone()));
            Poll::Pending
        }
    })
    .await
}
