//! Faults on purpose: latency, errors, stalls and cut streams, decided for each request from its
//! number.

use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_xoshiro::SplitMix64;

use super::options::{Latency, Options, Stall};

/// 2^64 divided by the golden ratio. Multiples of it, modulo 2^64, fall evenly on the whole range,
/// and so does every n-th of them.
const GOLDEN_STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Faults that the service makes.
#[derive(Debug, Clone)]
pub(super) struct Faults {
    latency: Option<Latency>,
    stall: Option<Stall>,
    error_rate: f64,
    first_token: Option<Latency>,
    token_gap: Option<Latency>,
    cut_rate: f64,
    /// Seed, mixed so that neighbouring seeds begin far apart.
    origin: u64,
}

/// Faults of one request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Fate {
    /// Least time from the turn of the request to its answer.
    pub(super) wait: Duration,
    /// `true` if the answer is an error.
    pub(super) fails: bool,
}

/// Times between the parts of a streamed answer, drawn one by one. The default has no pauses and
/// does not cut the answer.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    random: SplitMix64,
    first: Option<Latency>,
    gap: Option<Latency>,
    is_cut: bool,
}

impl Faults {
    /// Creates the faults that the options ask for.
    pub(super) fn new(options: &Options) -> Faults {
        Faults {
            latency: options.latency,
            stall: options.stall,
            error_rate: options.error_rate,
            first_token: options.first_token_delay,
            token_gap: options.token_gap,
            cut_rate: options.cut_rate,
            origin: SplitMix64::seed_from_u64(options.seed).next_u64(),
        }
    }

    /// Decides the faults of the request with this number, which arrived `since_start` after the
    /// start. The same seed gives the same latency and the same error to the same number, on any
    /// thread.
    pub(super) fn fate(&self, since_start: Duration, number: u64) -> Fate {
        let stalled = self
            .stall
            .map_or(Duration::ZERO, |stall| stall.rest(since_start));
        let latency = self.latency.map_or(Duration::ZERO, |latency| {
            latency.draw(&mut SplitMix64::seed_from_u64(
                self.origin.wrapping_add(number),
            ))
        });
        Fate {
            wait: stalled + latency,
            fails: self.strikes(self.error_rate, number),
        }
    }

    /// Returns the pace of the answer to the request with this number, should it be a stream.
    pub(super) fn pace(&self, number: u64) -> Pace {
        Pace {
            // Inverted, so that the pace does not repeat the numbers that the latency is made of.
            random: SplitMix64::seed_from_u64(!self.origin.wrapping_add(number)),
            first: self.first_token,
            gap: self.token_gap,
            is_cut: self.strikes(self.cut_rate, number),
        }
    }

    /// Decides whether a fault of this rate strikes this number. Strikes are spread evenly rather
    /// than by chance: any n requests in a row have n times the rate of them, give or take a few.
    fn strikes(&self, rate: f64, number: u64) -> bool {
        let step = self.origin.wrapping_add(number.wrapping_mul(GOLDEN_STEP));
        // The upper 53 bits are what a float holds exactly, so that the fraction stays below 1.
        ((step >> 11) as f64 / (1_u64 << 53) as f64) < rate
    }
}

impl Pace {
    /// Draws the pause before the first part.
    pub(super) fn first(&mut self) -> Duration {
        self.first
            .map_or(Duration::ZERO, |latency| latency.draw(&mut self.random))
    }

    /// Draws the pause before a part that is not the first.
    pub(super) fn gap(&mut self) -> Duration {
        self.gap
            .map_or(Duration::ZERO, |latency| latency.draw(&mut self.random))
    }

    /// Tells whether the answer ends halfway.
    pub(super) fn is_cut(&self) -> bool {
        self.is_cut
    }
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            random: SplitMix64::seed_from_u64(0),
            first: None,
            gap: None,
            is_cut: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn waits(latency: &str, seed: u64) -> Vec<f64> {
        let faults = Faults::new(&Options {
            latency: latency.parse().ok(),
            seed,
            ..Options::default()
        });
        (0..20_000)
            .map(|number| faults.fate(Duration::ZERO, number).wait.as_secs_f64() * 1000.0)
            .collect()
    }

    fn mean_and_deviation(samples: &[f64]) -> (f64, f64) {
        let mean = samples.iter().sum::<f64>() / samples.len() as f64;
        (
            mean,
            (samples
                .iter()
                .map(|sample| (sample - mean).powi(2))
                .sum::<f64>()
                / samples.len() as f64)
                .sqrt(),
        )
    }

    #[test]
    fn a_stream_has_the_asked_pace_and_the_same_each_time() {
        let options = Options {
            first_token_delay: Some(Latency::Constant(50 * MS)),
            token_gap: "exponential:10ms".parse().ok(),
            cut_rate: 0.25,
            ..Options::default()
        };
        let faults = Faults::new(&options);
        let gaps = |number| {
            let mut pace = faults.pace(number);
            (
                pace.first(),
                (0..50).map(|_| pace.gap()).collect::<Vec<_>>(),
            )
        };
        assert_eq!(gaps(1), gaps(1));
        assert_ne!(gaps(1), gaps(2));
        assert_eq!(gaps(1).0, 50 * MS);
        assert_eq!(
            (0..1000)
                .filter(|number| faults.pace(*number).is_cut())
                .count(),
            250
        );
    }

    #[test]
    fn without_faults_nothing_waits_or_fails() {
        let faults = Faults::new(&Options {
            seed: 3,
            ..Options::default()
        });
        assert!((0..1000).all(|number| faults.fate(MS, number) == Fate::default()));
    }

    #[test]
    fn errors_are_the_asked_fraction_of_all_requests_and_of_every_other() {
        for rate in [0.001, 0.01, 0.37, 0.5, 1.0] {
            for seed in 0..20 {
                let faults = Faults::new(&Options {
                    error_rate: rate,
                    seed,
                    ..Options::default()
                });
                let count = |numbers: &mut dyn Iterator<Item = u64>| {
                    numbers
                        .filter(|number| faults.fate(MS, *number).fails)
                        .count() as f64
                };
                assert!(
                    (count(&mut (0..10_000)) - 10_000.0 * rate).abs() <= 5.0,
                    "{rate} {seed}"
                );
                assert!(
                    (count(&mut (0..10_000).step_by(2)) - 5_000.0 * rate).abs() <= 5.0,
                    "{rate} {seed}"
                );
            }
        }
    }

    #[test]
    fn another_seed_is_another_run_and_the_same_seed_the_same() {
        assert_eq!(waits("exponential:10ms", 1), waits("exponential:10ms", 1));
        assert_ne!(waits("exponential:10ms", 1), waits("exponential:10ms", 2));
    }

    #[test]
    fn latencies_have_the_shape_they_are_named_after() {
        assert!(waits("constant:5ms", 0).iter().all(|wait| *wait == 5.0));

        let uniform = waits("uniform:5ms,20ms", 0);
        assert!(uniform.iter().all(|wait| (5.0..=20.0).contains(wait)));
        let (mean, deviation) = mean_and_deviation(&uniform);
        assert!(
            (mean - 12.5).abs() < 0.2 && (deviation - 15.0 / 12_f64.sqrt()).abs() < 0.1,
            "{mean} {deviation}"
        );

        let (mean, deviation) = mean_and_deviation(&waits("normal:20ms,5ms", 0));
        assert!(
            (mean - 20.0).abs() < 0.2 && (deviation - 5.0).abs() < 0.1,
            "{mean} {deviation}"
        );

        let (mean, deviation) = mean_and_deviation(&waits("exponential:10ms", 0));
        assert!(
            (mean - 10.0).abs() < 0.3 && (deviation - 10.0).abs() < 0.4,
            "{mean} {deviation}"
        );
    }

    #[test]
    fn who_arrives_in_a_stall_waits_until_it_ends() {
        let faults = Faults::new(&Options {
            latency: Some(Latency::Constant(5 * MS)),
            stall: "10s,1s".parse().ok(),
            ..Options::default()
        });
        for (arrival_ms, wait_ms) in [
            (0, 5),
            (500, 5),
            (9_999, 5),
            (10_000, 1005),
            (10_400, 605),
            (10_999, 6),
            (11_000, 5),
            (20_999, 6),
        ] {
            assert_eq!(
                faults.fate(arrival_ms * MS, 0).wait,
                wait_ms * MS,
                "{arrival_ms}"
            );
        }
    }
}
