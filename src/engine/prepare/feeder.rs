//! Rows of test data at run time: which user gets which row, one per iteration, fixed until its
//! end.
//!
//! A row follows from a position, and a position from a counter: that of the user (scope `User`),
//! that of the worker (`Worker`), or a range that the master has leased to the worker (`Test`, see
//! [`supply`]). The shards share the worker's counter, which is touched once per row. Separate
//! counters would leave out the rows of a shard whose users take none.

mod load;
mod supply;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use crate::plan::feeder::{Feeder, FeederScope, OnExhausted, Order, Rows};
use crate::plan::template::Need;
use crate::plan::{Columns, Declared, Names, Plan, Share, Slot, secret_texts};

pub use load::{load, load_feeder};
use supply::Empty;
pub use supply::{Demand, Supply, Usage};

/// Feeder with its data.
pub(crate) struct Feed {
    feeder: Feeder,
    rows: Rows,
}

/// Identity of a feeder's data, compared between the workers of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedData {
    /// Position of the feeder in the plan.
    pub feeder: u16,
    /// Number of rows.
    pub rows: u32,
    /// Digest of the rows.
    pub digest: String,
}

/// Reason why a user gets no row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoRow {
    /// The master has not leased enough rows yet: an arrival is dropped, a user of closed load
    /// waits.
    Later,
    /// All rows have been taken, and the feeder's policy for that case. The policy is never
    /// `Recycle`.
    Exhausted(OnExhausted),
}

/// Dealer of the rows of all feeders to the users of a worker.
pub(crate) struct Dealer {
    /// Slot of the first feeder.
    first_slot: Slot,
    feeds: Arc<[Feed]>,
    /// Order of the rows by feeder, shared by the users of the worker. Users of scope `User` have
    /// orders of their own.
    orders: Box<[Order]>,
    /// Seed of the order, by feeder.
    seeds: Box<[u64]>,
    /// Next position of scope `Worker`, by feeder.
    next: Box<[AtomicU64]>,
    supply: Arc<Supply>,
}

/// Rows that one user holds.
pub(crate) struct Hand {
    user: u64,
    /// Next position of scope `User`, by feeder.
    next: Box<[u64]>,
    /// Row of the current iteration, by feeder.
    row: Box<[Option<u32>]>,
    batches: Vec<Batch>,
}

struct Batch {
    slot: Slot,
    count: u32,
    rows: Value,
}

impl Feed {
    /// Pairs the plan's feeders with `rows`, which are in the same order.
    pub(crate) fn all(plan: &Plan, rows: Vec<Rows>) -> Arc<[Feed]> {
        plan.feeders
            .iter()
            .cloned()
            .zip(rows)
            .map(|(feeder, rows)| Feed { feeder, rows })
            .collect()
    }

    /// Calls `visit` with each text and long number of a feeder whose data comes from a Secret.
    pub(crate) fn secret_texts(&self, mut visit: impl FnMut(&str)) {
        if !self.feeder.is_secret() {
            return;
        }
        let mut texts = Vec::new();
        for row in (0..self.rows.count()).map(|row| self.rows.get(row)) {
            secret_texts(row, &mut texts);
            texts.drain(..).for_each(|text| visit(&text));
        }
    }

    /// Returns the identity of the data of each feeder of scope `Test`, which must be the same on
    /// every worker.
    pub(crate) fn shared(feeds: &[Feed]) -> Vec<FeedData> {
        let data = |(i, feed): (usize, &Feed)| FeedData {
            feeder: i as u16,
            rows: feed.rows.count(),
            digest: feed.rows.digest().to_owned(),
        };
        feeds
            .iter()
            .enumerate()
            .filter(|(_, feed)| feed.feeder.scope == FeederScope::Test)
            .map(data)
            .collect()
    }
}

/// Declares the feeders' names for templates, and the columns of those whose data could be read.
pub(crate) fn declare(names: &mut Names, plan: &Plan, feeds: &[Feed]) {
    for (slot, feeder) in (plan.feeder_slots()..).zip(&plan.feeders) {
        names.declare(&feeder.name, Declared::Row(slot));
    }
    for (slot, feed) in (plan.feeder_slots()..).zip(feeds) {
        names.declare_columns(
            slot,
            Arc::new(Columns {
                names: feed.rows.columns().clone(),
                is_secret: feed.feeder.is_secret(),
            }),
        );
    }
}

impl Dealer {
    /// Creates the dealer of a worker. `first_block` is the number of rows of a feeder that the
    /// worker may need in its first second.
    pub(crate) fn new(
        first_slot: Slot,
        feeds: Arc<[Feed]>,
        share: Share,
        seed: u64,
        first_block: u64,
    ) -> Self {
        let seeds: Box<[u64]> = (0..feeds.len() as u64)
            .map(|i| seed ^ (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
            .collect();
        let order = |(feed, seed): (&Feed, &u64)| {
            let key = match feed.feeder.scope {
                FeederScope::Worker => seed.wrapping_add(u64::from(share.worker) << 40),
                FeederScope::User | FeederScope::Test => *seed,
            };
            Order::new(feed.feeder.strategy, feed.rows.count(), key)
        };
        let orders = feeds.iter().zip(&seeds).map(order).collect();
        let next = feeds.iter().map(|_| AtomicU64::new(0)).collect();
        let shared = feeds
            .iter()
            .map(|feed| feed.feeder.scope == FeederScope::Test);
        let supply = Arc::new(Supply::new(shared, first_block));
        Self {
            first_slot,
            feeds,
            orders,
            seeds,
            next,
            supply,
        }
    }

    /// Returns the rows that the master has leased to the worker.
    pub(crate) fn supply(&self) -> &Arc<Supply> {
        &self.supply
    }

    /// Returns the position of a feeder's slot among the feeders.
    fn place(&self, slot: Slot) -> usize {
        usize::from(slot.wrapping_sub(self.first_slot))
    }

    /// Creates the hand of user number `user`, which holds no rows yet.
    pub(crate) fn hand(&self, user: u64) -> Hand {
        Hand {
            user,
            next: self.feeds.iter().map(|_| 0).collect(),
            row: self.feeds.iter().map(|_| None).collect(),
            batches: Vec::new(),
        }
    }
}

impl Hand {
    /// Begins an iteration: drops the rows of the one before.
    pub(crate) fn begin(&mut self) {
        self.row.fill(None);
        self.batches.clear();
    }

    /// Returns whether the iteration already has the row or batch that `need` asks for.
    pub(crate) fn holds(&self, dealer: &Dealer, need: Need) -> bool {
        match need.take {
            None => self.row[dealer.place(need.slot)].is_some(),
            Some(count) => self.batch(need.slot, count).is_some(),
        }
    }

    /// Takes what `need` asks for, unless the hand already holds it. A batch is taken whole or not
    /// at all.
    pub(crate) fn take(&mut self, dealer: &Dealer, need: Need) -> Result<(), NoRow> {
        if self.holds(dealer, need) {
            return Ok(());
        }
        let at = dealer.place(need.slot);
        let taken = match need.take {
            None => {
                let mut row = None;
                let taken = self.deal(dealer, at, 1, |dealt| row = Some(dealt));
                self.row[at] = row;
                taken
            }
            Some(count) => {
                let mut rows = Vec::new();
                let taken = self.deal(dealer, at, count, |row| {
                    rows.push(dealer.feeds[at].rows.get(row).clone())
                });
                if taken.is_ok() {
                    self.batches.push(Batch {
                        slot: need.slot,
                        count,
                        rows: Value::Array(rows),
                    });
                }
                taken
            }
        };
        if taken == Err(NoRow::Exhausted(OnExhausted::StopRun)) {
            dealer.supply.used_up(at as u16);
        }
        taken
    }

    /// Takes each of `needs` as [`Hand::take`] does and returns whether it had to wait for the
    /// master to lease rows. If `hurry`, it does not wait and fails with [`NoRow::Later`].
    pub(crate) async fn take_all(
        &mut self,
        dealer: &Dealer,
        needs: &[Need],
        hurry: bool,
    ) -> Result<bool, NoRow> {
        let mut waited = false;
        for need in needs {
            match self.take(dealer, *need) {
                Err(NoRow::Later) if !hurry => {
                    // rare, and kept out of the size of every user
                    Box::pin(self.wait_for(dealer, *need)).await?;
                    waited = true;
                }
                taken => taken?,
            }
        }
        Ok(waited)
    }

    /// Takes `need` as [`Hand::take`] does, but waits for the master to lease rows.
    /// [`Supply::wake`] ends the wait with [`NoRow::Later`] if there are still none.
    async fn wait_for(&mut self, dealer: &Dealer, need: Need) -> Result<(), NoRow> {
        let wakes = dealer.supply.wakes();
        loop {
            // before the look, so that rows which come between look and wait are seen
            let arrival = dealer.supply.arrival(dealer.place(need.slot) as u16);
            let mut arrival = std::pin::pin!(arrival);
            arrival.as_mut().enable();
            match self.take(dealer, need) {
                Err(NoRow::Later) if dealer.supply.wakes() == wakes => arrival.await,
                taken => return taken,
            }
        }
    }

    /// Returns the iteration's row of a feeder, if it has one.
    pub(crate) fn row<'a>(&self, dealer: &'a Dealer, slot: Slot) -> Option<&'a Value> {
        let at = dealer.place(slot);
        let row = (*self.row.get(at)?)?;
        Some(dealer.feeds[at].rows.get(row))
    }

    /// Returns the batch of `count` rows that the iteration took of a feeder, if it took one.
    pub(crate) fn batch(&self, slot: Slot, count: u32) -> Option<&Value> {
        self.batches
            .iter()
            .find(|batch| (batch.slot, batch.count) == (slot, count))
            .map(|batch| &batch.rows)
    }

    /// Calls `each` with `count` rows; on an error it is not called.
    fn deal(
        &mut self,
        dealer: &Dealer,
        at: usize,
        count: u32,
        mut each: impl FnMut(u32),
    ) -> Result<(), NoRow> {
        let Feed { feeder, rows } = &dealer.feeds[at];
        let order = dealer.orders[at];
        let (order, first) = match feeder.scope {
            FeederScope::Test => {
                let taken = dealer
                    .supply
                    .take(at as u16, count, |position| each(order.row(position)));
                return taken.map_err(|empty| match empty {
                    Empty::Later => NoRow::Later,
                    Empty::Exhausted => NoRow::Exhausted(feeder.on_exhausted),
                });
            }
            FeederScope::Worker => (
                order,
                dealer.next[at].fetch_add(count.into(), Ordering::Relaxed),
            ),
            FeederScope::User => {
                let first = self.next[at];
                self.next[at] += u64::from(count);
                // the multiplier spreads users whose numbers are neighbours
                let key =
                    dealer.seeds[at].wrapping_add(self.user.wrapping_mul(0xd1b5_4a32_d192_ed03));
                (Order::new(feeder.strategy, rows.count(), key), first)
            }
        };
        let last = first + u64::from(count);
        if last > feeder.limit(rows.count().into()) {
            return Err(NoRow::Exhausted(feeder.on_exhausted));
        }
        (first..last).for_each(|position| each(order.row(position)));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
