//! Samples of a run by block of time, in a form in which blocks can be drawn again and again.

use std::collections::BTreeMap;

use rand::RngExt;
use rand_xoshiro::Xoshiro256PlusPlus;

use super::Measure;
use crate::report::histograms;
use crate::stats::result::{BlockSeries, TimeBlocks};

/// Samples by block.
pub(super) struct Blocks {
    requests: Vec<u64>,
    failures: Vec<u64>,
    /// Length of a block in seconds.
    seconds: f64,
    /// Each latency that occurred, in microseconds, with its count by block; ascending.
    latencies: Vec<(u64, Vec<u32>)>,
}

/// Numbers of blocks that were drawn.
pub(super) struct Drawn {
    requests: u64,
    failures: u64,
    seconds: f64,
    /// Median, 95th and 99th percentile; `None` without a success.
    percentiles: Option<[f64; 3]>,
}

impl Drawn {
    /// Returns a number; `None` where there is nothing that it could be of.
    pub(super) fn number(&self, measure: Measure) -> Option<f64> {
        let percentile = |place: usize| self.percentiles.map(|all| all[place]);
        match measure {
            Measure::P50 => percentile(0),
            Measure::P95 => percentile(1),
            Measure::P99 => percentile(2),
            Measure::Failures => {
                (self.requests > 0).then(|| self.failures as f64 / self.requests as f64)
            }
            Measure::Rate => (self.seconds > 0.0).then(|| self.requests as f64 / self.seconds),
        }
    }
}

impl Blocks {
    /// Takes the blocks of all steps together.
    pub(super) fn of_run(blocks: &TimeBlocks) -> Self {
        Self::new(blocks.block_micros, &blocks.total)
    }

    /// Takes the blocks of one step; `None` where they are not kept.
    pub(super) fn of_step(
        blocks: &TimeBlocks,
        (scenario, task, step): (&str, &str, &str),
    ) -> Option<Self> {
        let mut steps = blocks.steps.iter();
        let own = steps.find(|one| {
            (one.scenario.as_str(), one.task.as_str(), one.step.as_str()) == (scenario, task, step)
        });
        Some(Self::new(blocks.block_micros, &own?.blocks))
    }

    fn new(block_micros: u64, series: &BlockSeries) -> Self {
        let count = series.requests.len();
        let mut latencies: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
        for (block, text) in series.latency.iter().enumerate().take(count) {
            let Some(samples) = histograms::read(text) else {
                continue;
            };
            for value in samples.iter_recorded() {
                let counts = latencies
                    .entry(value.value_iterated_to())
                    .or_insert_with(|| vec![0; count]);
                counts[block] += value.count_at_value() as u32;
            }
        }
        Self {
            requests: series.requests.clone(),
            failures: series.failures.clone(),
            seconds: block_micros as f64 / 1e6,
            latencies: latencies.into_iter().collect(),
        }
    }

    /// Number of blocks.
    pub(super) fn count(&self) -> usize {
        self.requests.len()
    }

    /// Finished requests of all blocks.
    pub(super) fn requests(&self) -> u64 {
        self.requests.iter().sum()
    }

    /// Takes each block once.
    pub(super) fn whole(&self) -> Drawn {
        self.weighted(&vec![1; self.count()])
    }

    /// Draws as many blocks as there are, with replacement.
    pub(super) fn draw(&self, random: &mut Xoshiro256PlusPlus) -> Drawn {
        let mut times = vec![0; self.count()];
        for _ in 0..self.count() {
            times[random.random_range(0..self.count())] += 1;
        }
        self.weighted(&times)
    }

    fn weighted(&self, times: &[u32]) -> Drawn {
        let sum = |numbers: &[u64]| {
            let numbers = numbers.iter().zip(times);
            numbers
                .map(|(number, times)| number * u64::from(*times))
                .sum()
        };
        let drawn: u32 = times.iter().sum();
        Drawn {
            requests: sum(&self.requests),
            failures: sum(&self.failures),
            seconds: self.seconds * f64::from(drawn),
            percentiles: self.percentiles(times),
        }
    }

    fn percentiles(&self, times: &[u32]) -> Option<[f64; 3]> {
        let count = |counts: &[u32]| -> u64 {
            let counts = counts.iter().zip(times);
            counts
                .map(|(count, times)| u64::from(*count) * u64::from(*times))
                .sum()
        };
        let all: Vec<u64> = self
            .latencies
            .iter()
            .map(|(_, counts)| count(counts))
            .collect();
        let samples: u64 = all.iter().sum();
        if samples == 0 {
            return None;
        }
        let ranks = [0.5, 0.95, 0.99].map(|share| ((samples as f64 * share).ceil() as u64).max(1));
        let mut found = [0.0; 3];
        let (mut passed, mut next) = (0, 0);
        for ((micros, _), count) in self.latencies.iter().zip(&all) {
            passed += count;
            while next < ranks.len() && passed >= ranks[next] {
                found[next] = *micros as f64;
                next += 1;
            }
        }
        Some(found)
    }
}
