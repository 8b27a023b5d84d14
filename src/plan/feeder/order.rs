//! The order of a feeder's rows: which row stands at which position. Takers count positions from 0
//! without end; a row follows from its position alone.
//!
//! So a taker is remembered by one number, and any number of workers that share positions share the
//! same order.
//!
//! The permutation and its hash are written here and not taken from a crate: a run's `seed`
//! promises the same rows in every version, a promise that `rand` does not make for its algorithms
//! (it shuffles whole lists besides, which would cost memory per taker), and the small crates for
//! Feistel permutations have no releases in years.

use super::Strategy;

/// Rounds of the shuffle's network; with fewer neighbours in one cycle stay neighbours in the next.
const ROUNDS: u64 = 6;

/// Order in which one taker, or a group that shares, gets the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    strategy: Strategy,
    rows: u32,
    key: u64,
}

impl Order {
    /// Builds the order of `rows` rows, at least one. Takers with different keys get different
    /// random orders.
    pub fn new(strategy: Strategy, rows: u32, key: u64) -> Self {
        Self {
            strategy,
            rows: rows.max(1),
            key,
        }
    }

    /// Number of the row at `position`, from 0.
    pub fn row(&self, position: u64) -> u32 {
        let rows = u64::from(self.rows);
        match self.strategy {
            Strategy::Circular | Strategy::Queue => (position % rows) as u32,
            Strategy::Random => {
                let random = mix(self.key ^ mix(position));
                ((u128::from(random) * u128::from(rows)) >> 64) as u32
            }
            Strategy::Shuffle => permuted(
                (position % rows) as u32,
                self.rows,
                mix(self.key ^ mix(position / rows)),
            ),
        }
    }
}

/// A bijection of 0..`rows`: a Feistel network over the next power of four, walked until it comes
/// out within.
fn permuted(row: u32, rows: u32, key: u64) -> u32 {
    let half = (64 - u64::from(rows.saturating_sub(1)).leading_zeros()).div_ceil(2);
    let mask = (1u64 << half) - 1;
    let mut at = u64::from(row);
    loop {
        let (mut left, mut right) = (at >> half, at & mask);
        for round in 0..ROUNDS {
            (left, right) = (right, left ^ (mix(key ^ (right << 8 | round)) & mask));
        }
        at = left << half | right;
        if at < u64::from(rows) {
            return at as u32;
        }
    }
}

/// The finaliser of splitmix64: each bit of the outcome depends on each of the input.
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Strategy;
    use super::*;

    proptest! {
        #[test]
        fn each_cycle_has_each_row_once(rows in 1u32..300, key: u64, cycle in 0u64..1000) {
            for strategy in [Strategy::Circular, Strategy::Queue, Strategy::Shuffle] {
                let order = Order::new(strategy, rows, key);
                let mut seen: Vec<u32> = (0..u64::from(rows)).map(|at| order.row(cycle * u64::from(rows) + at)).collect();
                seen.sort_unstable();
                prop_assert_eq!(seen, (0..rows).collect::<Vec<_>>());
            }
        }

        #[test]
        fn random_rows_exist(rows in 1u32..10, key: u64, position: u64) {
            prop_assert!(Order::new(Strategy::Random, rows, key).row(position) < rows);
        }
    }

    fn first(strategy: Strategy, rows: u32, key: u64, count: u64) -> Vec<u32> {
        let order = Order::new(strategy, rows, key);
        (0..count).map(|position| order.row(position)).collect()
    }

    #[test]
    fn circular_and_queue_are_in_order() {
        assert_eq!(first(Strategy::Circular, 3, 9, 5), [0, 1, 2, 0, 1]);
        assert_eq!(first(Strategy::Queue, 3, 9, 3), [0, 1, 2]);
    }

    #[test]
    fn shuffles_differ_by_cycle_and_key_and_are_the_same_again() {
        let cycles = first(Strategy::Shuffle, 50, 1, 100);
        assert_ne!(cycles[..50], cycles[50..]);
        assert_ne!(cycles[..50], first(Strategy::Circular, 50, 1, 50));
        assert_ne!(cycles, first(Strategy::Shuffle, 50, 2, 100));
        assert_eq!(cycles, first(Strategy::Shuffle, 50, 1, 100));
    }

    #[test]
    fn every_row_comes_first_as_often_as_any_other() {
        let mut counts = [0u32; 8];
        for key in 0..8000 {
            counts[Order::new(Strategy::Shuffle, 8, key).row(0) as usize] += 1;
            counts[Order::new(Strategy::Random, 8, key).row(0) as usize] += 1;
        }
        assert!(
            counts.iter().all(|count| (1800..2200).contains(count)),
            "{counts:?}"
        );
    }
}
