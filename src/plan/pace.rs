//! Pauses of a user between two iterations.
//!
//! The distributions are computed here from uniform bits, and not by `rand_distr`: a run's `seed`
//! promises the same pauses in every version, and `rand_distr` draws a varying number of values and
//! may change its algorithms between releases.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::duration;

/// Length of a user's pause after an iteration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ThinkTime {
    /// Evenly distributed from `min` to `max`, both included.
    Uniform {
        /// Shortest pause.
        #[serde(with = "duration::micros")]
        min: Duration,
        /// Longest pause.
        #[serde(with = "duration::micros")]
        max: Duration,
    },
    /// Normally distributed; a draw below zero is no pause.
    #[serde(rename_all = "camelCase")]
    Normal {
        /// Mean of the distribution.
        #[serde(with = "duration::micros")]
        mean: Duration,
        /// Standard deviation.
        #[serde(with = "duration::micros")]
        std_dev: Duration,
    },
    /// Exponentially distributed.
    Exponential {
        /// Mean of the distribution.
        #[serde(with = "duration::micros")]
        mean: Duration,
    },
}

impl ThinkTime {
    /// Builds a pause that is always the same.
    pub fn constant(time: Duration) -> Self {
        ThinkTime::Uniform {
            min: time,
            max: time,
        }
    }

    /// Draws the next pause; `random` returns 64 uniform bits at each call.
    pub fn draw(self, mut random: impl FnMut() -> u64) -> Duration {
        match self {
            ThinkTime::Uniform { min, max } if min == max => min,
            ThinkTime::Uniform { min, max } => {
                let spread = max.saturating_sub(min).as_nanos();
                min + Duration::from_nanos(((u128::from(random()) * (spread + 1)) >> 64) as u64)
            }
            ThinkTime::Normal { mean, std_dev } => {
                // Box and Muller's: two uniform numbers make a normal one
                let (radius, angle) = (
                    (-2.0 * unit(random()).ln()).sqrt(),
                    std::f64::consts::TAU * unit(random()),
                );
                let seconds = mean.as_secs_f64() + std_dev.as_secs_f64() * radius * angle.cos();
                Duration::from_secs_f64(seconds.max(0.0))
            }
            ThinkTime::Exponential { mean } => {
                Duration::from_secs_f64(mean.as_secs_f64() * exponential(random()))
            }
        }
    }
}

/// Number above 0 and at most 1 from 64 uniform bits.
fn unit(bits: u64) -> f64 {
    ((bits >> 11) + 1) as f64 / (1u64 << 53) as f64
}

/// Exponentially distributed number with mean 1 from 64 uniform bits.
pub fn exponential(bits: u64) -> f64 {
    -unit(bits).ln()
}

#[cfg(test)]
mod tests {
    use rand_xoshiro::Xoshiro256PlusPlus;
    use rand_xoshiro::rand_core::{Rng, SeedableRng};

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Mean and standard deviation of many draws, milliseconds.
    fn moments(think: ThinkTime) -> (f64, f64) {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(5);
        let draws: Vec<f64> = (0..20_000)
            .map(|_| think.draw(|| random.next_u64()).as_secs_f64() * 1e3)
            .collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let variance =
            draws.iter().map(|draw| (draw - mean).powi(2)).sum::<f64>() / draws.len() as f64;
        (mean, variance.sqrt())
    }

    #[test]
    fn the_rarest_bits_give_a_pause_that_ends() {
        for bits in [0, u64::MAX] {
            for think in [
                ThinkTime::Exponential { mean: 100 * MS },
                ThinkTime::Normal {
                    mean: 100 * MS,
                    std_dev: 50 * MS,
                },
                ThinkTime::Uniform {
                    min: MS,
                    max: 100 * MS,
                },
            ] {
                assert!(think.draw(|| bits) < 40 * 100 * MS, "{think:?}");
            }
        }
        assert_eq!(
            ThinkTime::Normal {
                mean: MS,
                std_dev: 1000 * MS
            }
            .draw(|| u64::MAX / 2),
            Duration::ZERO
        );
    }

    #[test]
    fn pauses_have_the_mean_and_the_spread_that_were_asked_for() {
        let close = |think, mean: f64, spread: f64| {
            let (m, s) = moments(think);
            assert!(
                (m - mean).abs() < 2.0 && (s - spread).abs() < 2.0,
                "{think:?}: {m} +- {s}"
            );
        };
        close(ThinkTime::constant(100 * MS), 100.0, 0.0);
        close(
            ThinkTime::Uniform {
                min: 40 * MS,
                max: 160 * MS,
            },
            100.0,
            34.6,
        );
        close(
            ThinkTime::Normal {
                mean: 100 * MS,
                std_dev: 20 * MS,
            },
            100.0,
            20.0,
        );
        close(ThinkTime::Exponential { mean: 100 * MS }, 100.0, 100.0);
    }
}
