//! Closed load: so many users, each one iteration after the other on a connection of its own.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::client::Client;
use super::deadline::Backoff;
use super::shard::{Member, Shard, State};
use crate::plan::Profile;

/// How often the number of users is brought to the profile's level.
const STEP: Duration = Duration::from_millis(10);

/// Starts and ends users until the profile is over. The shard's user `nth` is `members[nth]`.
pub(super) async fn drive(shard: &Rc<Shard>, profile: &Profile, members: &RefCell<Vec<Member>>) {
    tokio::time::sleep_until(shard.start.into()).await;
    let wanted = Rc::new(Cell::new(0u64));
    loop {
        let now = Instant::now();
        if now >= shard.end {
            return;
        }
        let level = shard.slice.of(profile.users(shard.elapsed(now)));
        let before = wanted.replace(level);
        if level < before {
            release(shard, &members.borrow(), level as usize);
        }
        if level != before || shard.users() < level {
            start_missing(shard, &wanted, &mut members.borrow_mut());
        }
        tokio::time::sleep_until((now + STEP).min(shard.end).into()).await;
    }
}

/// The highest stop first; those within an iteration see at its end that they are not wanted.
fn release(shard: &Shard, members: &[Member], level: usize) {
    for member in members.iter().skip(level) {
        shard.left(u64::from(member.release()));
    }
}

fn start_missing(shard: &Rc<Shard>, wanted: &Rc<Cell<u64>>, members: &mut Vec<Member>) {
    for nth in 0..wanted.get() as usize {
        // one that still finishes an iteration goes on when it is wanted again
        if members.get(nth).is_some_and(|member| member.state.get() != State::Gone) {
            continue;
        }
        let member = shard.spawn(|state| user(shard.clone(), wanted.clone(), state, nth as u64));
        shard.joined();
        match members.get_mut(nth) {
            Some(gone) => *gone = member,
            None => members.push(member),
        }
    }
}

async fn user(shard: Rc<Shard>, wanted: Rc<Cell<u64>>, state: Rc<Cell<State>>, nth: u64) {
    let number = shard.slice.number(nth);
    let prepared = shard.prepared.clone();
    let scenario = &prepared.scenarios[prepared.mix.at(number)];
    let mut client = Client::new(shard.clone(), number);
    let mut backoff = Backoff::default();
    loop {
        let now = Instant::now();
        if shard.is_stopping() || nth >= wanted.get() || now >= shard.end {
            break;
        }
        state.set(State::Busy);
        let end = client.iterate(scenario, now, None).await;
        // one that is over ends itself, as the others do when they look
        if shard.is_stopping() || nth >= wanted.get() {
            break;
        }
        state.set(State::Idle);
        let pause = scenario.think_time.map(|think| shard.random_between(think.min, think.max)).max(backoff.after(end));
        if let Some(pause) = pause {
            tokio::time::sleep(pause).await;
        }
    }
    state.set(State::Gone);
    shard.left(1);
}
