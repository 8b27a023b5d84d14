//! Delays before retries: exponential, bounded, with jitter so that clients that failed together do
//! not return together.

use std::time::Duration;

/// Exponential backoff: each delay may be twice as long as the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Upper bound of the first delay.
    pub first: Duration,
    /// Upper bound of every delay.
    pub most: Duration,
}

impl Backoff {
    /// Returns the delay after the `attempt`th failure in a row (from 1). `random` lies in 0..1 and
    /// picks from the upper half of the range, so that a delay never shrinks to nothing.
    pub fn delay(&self, attempt: u32, random: f64) -> Duration {
        let doublings = attempt.saturating_sub(1).min(31);
        let bound = self.first.saturating_mul(1 << doublings).min(self.most);
        bound.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0)
    }

    /// Returns [`Backoff::delay`] with a random number of the thread's generator.
    pub fn jittered(&self, attempt: u32) -> Duration {
        self.delay(attempt, rand::random())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff {
        first: Duration::from_secs(1),
        most: Duration::from_secs(60),
    };

    #[test]
    fn it_never_passes_its_bound_however_often_it_failed() {
        for attempt in [0, 1, 7, 8, 40, u32::MAX] {
            assert!(BACKOFF.delay(attempt, 1.0) <= BACKOFF.most, "{attempt}");
            assert!(
                BACKOFF.delay(attempt, 0.0) >= BACKOFF.first / 2,
                "{attempt}"
            );
        }
    }

    #[test]
    fn it_doubles_and_random_numbers_spread_it_over_the_upper_half() {
        assert_eq!(BACKOFF.delay(1, 1.0), Duration::from_secs(1));
        assert_eq!(BACKOFF.delay(4, 1.0), Duration::from_secs(8));
        assert_eq!(BACKOFF.delay(4, 0.0), Duration::from_secs(4));
    }
}
