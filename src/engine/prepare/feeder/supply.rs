//! Rows that the master leases to this worker: requested before they run out, taken by the users of
//! all shards.
//!
//! Only positions come over the wire. A leased row is never leased again, so rows left here when
//! the worker ends are lost.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// Time for which one block of rows is meant to last, at the current rate of use.
const BLOCK_TIME: Duration = Duration::from_secs(1);
/// Most rows requested at once, unless a single batch needs more.
const MAX_BLOCK: u64 = 100_000;
/// Most times by which a block may be larger than the one before, since a short burst is not a
/// rate.
const GROWTH: u64 = 8;

/// Message from the worker to the master about a feeder's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demand {
    /// Request to lease `count` rows of `feeder`.
    Rows {
        /// Place of the feeder among the plan's.
        feeder: u16,
        /// Number of rows.
        count: u32,
    },
    /// Notice that all rows of `feeder` are taken and that the test wants the run to end in that
    /// case.
    UsedUp {
        /// Place of the feeder among the plan's.
        feeder: u16,
    },
}

/// Use of a feeder whose rows the master leases, up to now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Position of the feeder in the plan.
    pub feeder: u16,
    /// Number of rows leased to this worker.
    pub leased: u64,
    /// Number of leased rows that iterations have taken.
    pub used: u64,
    /// Highest position known to bound the leases: only positions before it may be leased to some
    /// worker.
    pub reserved: u64,
}

/// Reason why a stock cannot give rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Empty {
    /// More rows may be leased.
    Later,
    /// The master has no more rows to lease.
    Exhausted,
}

/// Leased rows of all feeders, shared by the shards, which take rows, and the worker, which
/// requests them.
#[derive(Debug)]
pub struct Supply {
    /// Stocks of rows by feeder.
    stocks: Mutex<Box<[Stock]>>,
    /// Signal that a demand may be waiting for the worker to send.
    demanded: Notify,
    /// Signal, by feeder, that rows came or that none will.
    arrived: Box<[Notify]>,
    wakes: AtomicU64,
}

#[derive(Debug, Default)]
struct Stock {
    /// True if the master leases the feeder's rows.
    is_shared: bool,
    ranges: VecDeque<Range<u64>>,
    /// Rows in all ranges together.
    held: u64,
    leased: u64,
    used: u64,
    reserved: u64,
    exhausted: bool,
    /// Number of rows that the next request asks for.
    block: u64,
    /// Time of the last lease.
    leased_at: Option<Instant>,
    /// Value of `used` at the last lease.
    used_before: u64,
    /// Largest number of rows that a user wanted at once and did not get; 0 if there is none.
    lacking: u64,
    request: Request,
    used_up: UsedUpNotice,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Request {
    #[default]
    None,
    Wanted,
    /// A request was sent to the current master and has not been answered.
    Sent,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum UsedUpNotice {
    #[default]
    None,
    Due,
    Sent,
}

impl Supply {
    /// Creates the stocks. `shared` says of each feeder whether the master leases its rows;
    /// `first_block` is the number of rows in the first request, and 0 makes none.
    pub(crate) fn new(shared: impl Iterator<Item = bool>, first_block: u64) -> Self {
        let stock = |is_shared| Stock {
            is_shared,
            block: first_block.clamp(1, MAX_BLOCK),
            // a worker without users wants none, and would keep those it got from the others
            request: if is_shared && first_block > 0 {
                Request::Wanted
            } else {
                Request::None
            },
            ..Stock::default()
        };
        let stocks: Box<[Stock]> = shared.map(stock).collect();
        let arrived = stocks.iter().map(|_| Notify::new()).collect();
        Self {
            stocks: Mutex::new(stocks),
            demanded: Notify::new(),
            arrived,
            wakes: AtomicU64::new(0),
        }
    }

    // ---- for the users

    /// Calls `each` with the positions of `count` rows; on an error it is not called.
    pub(super) fn take(&self, feeder: u16, count: u32, each: impl FnMut(u64)) -> Result<(), Empty> {
        let mut stocks = self.stocks();
        let stock = &mut stocks[usize::from(feeder)];
        let taken = stock.take(count.into(), each);
        let wanted = stock.request == Request::Wanted;
        drop(stocks);
        if wanted {
            self.demanded.notify_one();
        }
        taken
    }

    /// Returns a future that completes when rows of a feeder come or none will.
    pub(super) fn arrival(&self, feeder: u16) -> Notified<'_> {
        self.arrived[usize::from(feeder)].notified()
    }

    /// Records that all rows of a feeder are taken, which ends the run.
    pub(super) fn used_up(&self, feeder: u16) {
        let mut stocks = self.stocks();
        let stock = &mut stocks[usize::from(feeder)];
        if stock.used_up == UsedUpNotice::None {
            stock.used_up = UsedUpNotice::Due;
            self.demanded.notify_one();
        }
    }

    /// Wakes all users that wait for rows, so that they check whether to go on waiting.
    pub(crate) fn wake(&self) {
        self.wakes.fetch_add(1, Ordering::Relaxed);
        self.arrived.iter().for_each(Notify::notify_waiters);
    }

    /// Returns how often [`Supply::wake`] was called.
    pub(super) fn wakes(&self) -> u64 {
        self.wakes.load(Ordering::Relaxed)
    }

    // ---- for the worker

    /// Waits for the next message to the master. Each is returned once until [`Supply::renew`].
    /// Cancel safe.
    pub async fn demand(&self) -> Demand {
        loop {
            if let Some(demand) = self.next_demand(Instant::now()) {
                return demand;
            }
            self.demanded.notified().await;
        }
    }

    fn next_demand(&self, now: Instant) -> Option<Demand> {
        let mut stocks = self.stocks();
        for (i, stock) in stocks.iter_mut().enumerate() {
            if stock.used_up == UsedUpNotice::Due {
                stock.used_up = UsedUpNotice::Sent;
                return Some(Demand::UsedUp { feeder: i as u16 });
            }
            if stock.request == Request::Wanted {
                stock.request = Request::Sent;
                return Some(Demand::Rows {
                    feeder: i as u16,
                    count: stock.wanted(now) as u32,
                });
            }
        }
        None
    }

    /// Repeats all unanswered demands, since a new master or connection knows of none.
    pub fn renew(&self) {
        for stock in self.stocks().iter_mut() {
            if stock.request == Request::Sent {
                stock.request = Request::Wanted;
            }
            if stock.used_up == UsedUpNotice::Sent {
                stock.used_up = UsedUpNotice::Due;
            }
        }
        self.demanded.notify_one();
    }

    /// Adds the positions that the master leased to this worker alone. `exhausted` says that there
    /// are no more to lease.
    pub fn grant(&self, feeder: u16, positions: Range<u64>, exhausted: bool) {
        let mut stocks = self.stocks();
        let Some(stock) = stocks.get_mut(usize::from(feeder)) else {
            return;
        };
        stock.grant(positions, exhausted, Instant::now());
        let wanted = stock.request == Request::Wanted;
        drop(stocks);
        self.arrived[usize::from(feeder)].notify_waiters();
        if wanted {
            self.demanded.notify_one();
        }
    }

    /// Records that positions before `through` may be leased to some worker by now.
    pub fn raise_reserved(&self, feeder: u16, through: u64) {
        if let Some(stock) = self.stocks().get_mut(usize::from(feeder)) {
            stock.reserved = stock.reserved.max(through);
        }
    }

    /// Returns the use of each feeder whose rows the master leases.
    pub fn usage(&self) -> Vec<Usage> {
        let stocks = self.stocks();
        let shared = stocks
            .iter()
            .enumerate()
            .filter(|(_, stock)| stock.is_shared);
        shared
            .map(|(i, stock)| Usage {
                feeder: i as u16,
                leased: stock.leased,
                used: stock.used,
                reserved: stock.reserved,
            })
            .collect()
    }

    fn stocks(&self) -> MutexGuard<'_, Box<[Stock]>> {
        // numbers that a panicking thread left behind are whole
        self.stocks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stock {
    fn take(&mut self, count: u64, mut each: impl FnMut(u64)) -> Result<(), Empty> {
        if self.held < count {
            self.lacking = self.lacking.max(count);
            self.want();
            return Err(if self.exhausted {
                Empty::Exhausted
            } else {
                Empty::Later
            });
        }
        let mut left = count;
        while let Some(range) = self.ranges.front_mut().filter(|_| left > 0) {
            match range.next() {
                Some(position) => {
                    each(position);
                    left -= 1;
                }
                None => drop(self.ranges.pop_front()),
            }
        }
        self.held -= count;
        self.used += count;
        if self.held <= self.block / 2 {
            self.want();
        }
        Ok(())
    }

    fn want(&mut self) {
        if self.request == Request::None && !self.exhausted {
            self.request = Request::Wanted;
        }
    }

    /// Returns the number of rows to request: about a second's use, by the rate since the last
    /// lease.
    fn wanted(&mut self, now: Instant) -> u64 {
        if let Some(at) = self.leased_at {
            let used = (self.used - self.used_before) as f64;
            let elapsed = now.saturating_duration_since(at).as_secs_f64().max(1e-3);
            let block = (used / elapsed * BLOCK_TIME.as_secs_f64()).ceil() as u64;
            self.block = block.clamp(1, MAX_BLOCK.min(self.block.saturating_mul(GROWTH)));
        }
        self.block.max(self.lacking)
    }

    fn grant(&mut self, positions: Range<u64>, exhausted: bool, now: Instant) {
        let count = positions.end.saturating_sub(positions.start);
        self.request = Request::None;
        self.exhausted |= exhausted;
        if count > 0 {
            self.ranges.push_back(positions);
            self.held += count;
            self.leased += count;
        }
        (self.leased_at, self.used_before) = (Some(now), self.used);
        if self.held < self.lacking {
            self.want();
        } else {
            self.lacking = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn supply(first_block: u64) -> Supply {
        Supply::new([true].into_iter(), first_block)
    }

    fn take(supply: &Supply, count: u32) -> Result<Vec<u64>, Empty> {
        let mut positions = vec![];
        supply
            .take(0, count, |position| positions.push(position))
            .map(|()| positions)
    }

    fn asked(supply: &Supply) -> Option<u32> {
        match supply.next_demand(Instant::now())? {
            Demand::Rows { feeder: 0, count } => Some(count),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_first_block_is_asked_for_before_anybody_wants_a_row() {
        let supply = supply(50);
        assert_eq!(asked(&supply), Some(50));
        assert_eq!(asked(&supply), None, "asked twice");
        assert_eq!(take(&supply, 1), Err(Empty::Later));
        assert_eq!(asked(&supply), None, "the first request is on its way");
        supply.renew();
        assert_eq!(asked(&supply), Some(50), "a new master knows of no request");
    }

    #[test]
    fn more_is_asked_for_at_half() {
        let supply = supply(10);
        asked(&supply);
        supply.grant(0, 100..110, false);
        for position in 100..104 {
            assert_eq!(take(&supply, 1), Ok(vec![position]));
        }
        assert_eq!(asked(&supply), None);
        assert_eq!(take(&supply, 1), Ok(vec![104]));
        assert!(asked(&supply).is_some());
        assert_eq!(
            supply.usage(),
            [Usage {
                feeder: 0,
                leased: 10,
                used: 5,
                reserved: 0
            }]
        );
    }

    #[test]
    fn a_batch_is_put_together_from_blocks_and_never_torn() {
        let supply = supply(2);
        asked(&supply);
        supply.grant(0, 0..2, false);
        assert_eq!(take(&supply, 5), Err(Empty::Later));
        assert!(asked(&supply).unwrap() >= 5);
        supply.grant(0, 7..10, false);
        assert_eq!(take(&supply, 5), Ok(vec![0, 1, 7, 8, 9]));
    }

    #[test]
    fn a_lease_that_is_still_too_small_is_followed_by_another_request() {
        let supply = supply(1);
        asked(&supply);
        assert_eq!(take(&supply, 4), Err(Empty::Later));
        supply.grant(0, 0..1, false);
        assert!(asked(&supply).unwrap() >= 4);
    }

    #[test]
    fn what_is_left_is_given_out_before_the_rows_are_at_an_end() {
        let supply = supply(4);
        asked(&supply);
        supply.grant(0, 0..2, true);
        assert_eq!(take(&supply, 3), Err(Empty::Exhausted));
        assert_eq!(
            (take(&supply, 1), take(&supply, 1)),
            (Ok(vec![0]), Ok(vec![1]))
        );
        assert_eq!(take(&supply, 1), Err(Empty::Exhausted));
        assert_eq!(asked(&supply), None, "asked for what is not there");
    }

    #[test]
    fn the_end_of_the_rows_is_told_once_to_each_master() {
        let supply = Supply::new([false].into_iter(), 1);
        supply.used_up(0);
        supply.used_up(0);
        let told = Some(Demand::UsedUp { feeder: 0 });
        assert_eq!(
            (
                supply.next_demand(Instant::now()),
                supply.next_demand(Instant::now())
            ),
            (told, None)
        );
        supply.renew();
        assert_eq!(supply.next_demand(Instant::now()), told);
    }

    #[test]
    fn blocks_follow_the_rate() {
        let mut stock = Stock {
            block: 10,
            ..Stock::default()
        };
        let begin = Instant::now();
        stock.grant(0..1000, false, begin);
        stock.take(50, drop).unwrap();
        assert_eq!(stock.wanted(begin + Duration::from_secs(1)), 50);
        stock.take(10, drop).unwrap();
        assert_eq!(stock.wanted(begin + Duration::from_secs(4)), 15);
        stock.grant(1000..1100, false, begin + Duration::from_secs(4));
        stock.take(900, drop).unwrap();
        assert_eq!(
            stock.wanted(begin + Duration::from_secs(4)),
            15 * GROWTH,
            "a burst is not a rate"
        );
    }
}
