//! The measured part of a run in equal blocks of time, with a histogram of each: two runs are
//! compared by drawing from their blocks. Pure.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::plan::Plan;
use crate::stats::result::{BlockSeries, StepBlocks, TimeBlocks};
use crate::stats::summary::{StepName, all_steps};
use crate::stats::{Histogram, Snapshot, StepStats};

/// Number of blocks in a run whose length is known, and the most there are in any other.
const BLOCKS: usize = 20;

/// Most steps whose blocks are in the result.
const SHOWN: usize = 20;

/// Most steps of which blocks are kept while the run goes on, when nobody knows yet which will have
/// the most requests: those that have had the most so far. With [`BLOCKS`] they take some 30 MB
/// where each histogram is as full as it can be, and a tenth of that as a rule.
const KEPT: usize = 64;

/// The blocks of a run in the making.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Blocks {
    /// The first run second of the measured part.
    from: u32,
    /// Seconds in a block.
    width: f64,
    /// Place of the last block there can be.
    last: usize,
    /// The length of the run is not known beforehand: when there are too many blocks, two become
    /// one.
    is_open_ended: bool,
    /// Blocks that are over, by place.
    done: Vec<Packed>,
    /// Samples of the block that is not over.
    #[serde(with = "super::checkpoint::samples")]
    current: Snapshot,
    /// Place of the block that `current` belongs to.
    place: usize,
    /// Requests of each step so far.
    requests: BTreeMap<u16, u64>,
    /// Seconds are missing of which only counts are known.
    lacks_seconds: bool,
}

/// A block that is over.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Packed {
    total: Cell,
    steps: BTreeMap<u16, Cell>,
}

/// One step in one block.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Cell {
    requests: u64,
    failures: u64,
    /// Latency of successes, encoded by [`Histogram::encode`].
    #[serde(with = "super::checkpoint::bytes")]
    latency: Vec<u8>,
}

impl Blocks {
    /// Divides the measured part of a plan into blocks.
    pub fn new(plan: &Plan) -> Self {
        let length = plan.length().map(|length| length.as_secs_f64());
        // samples are known by the second, so no block can be shorter
        let width = length.map_or(1.0, |length| (length / BLOCKS as f64).max(1.0));
        let blocks = length.map_or(BLOCKS, |length| (length / width).ceil() as usize);
        Self {
            from: plan.warmup.as_secs() as u32,
            width,
            last: blocks.clamp(1, BLOCKS) - 1,
            is_open_ended: length.is_none(),
            done: Vec::new(),
            current: Snapshot::default(),
            place: 0,
            requests: BTreeMap::new(),
            lacks_seconds: false,
        }
    }

    /// Adds all samples of one run second; seconds come in their order.
    pub fn add_second(&mut self, second: u32, snapshot: &Snapshot) {
        let Some(since) = second.checked_sub(self.from) else {
            return;
        };
        let mut place = (f64::from(since) / self.width) as usize;
        while self.is_open_ended && place >= BLOCKS {
            self.close();
            self.halve();
            place = (f64::from(since) / self.width) as usize;
        }
        // requests that end in the drain belong to the last block
        let place = place.min(self.last);
        if place != self.place {
            self.close();
            self.place = place;
        }
        for (step, stats) in &snapshot.steps {
            *self.requests.entry(*step).or_default() += stats.requests;
        }
        self.current.follow(snapshot);
    }

    /// Notes that a second was measured of which only counts are known.
    pub fn miss(&mut self) {
        self.lacks_seconds = true;
    }

    /// Tells whether seconds are missing from the blocks, see [`Self::miss`].
    pub fn lacks_seconds(&self) -> bool {
        self.lacks_seconds
    }

    /// Ends the current block, since nothing follows or what follows belongs to another.
    pub fn close(&mut self) {
        let current = std::mem::take(&mut self.current);
        if current.steps.is_empty() {
            return;
        }
        if self.done.len() <= self.place {
            self.done.resize_with(self.place + 1, Packed::default);
        }
        let busiest = self.busiest(KEPT);
        let steps = current
            .steps
            .iter()
            .filter(|(step, _)| busiest.contains(step))
            .map(|(step, stats)| (*step, Cell::of(stats)));
        let packed = Packed {
            total: Cell::of(&all_steps(&current)),
            steps: steps.collect(),
        };
        // it may have been closed before, when blocks were put together
        self.done[self.place].add(packed);
    }

    /// Makes two neighbours one.
    fn halve(&mut self) {
        let done = std::mem::take(&mut self.done);
        let mut halved: Vec<Packed> = Vec::with_capacity(BLOCKS);
        for (place, block) in done.into_iter().enumerate() {
            match halved.get_mut(place / 2) {
                Some(first) => first.add(block),
                None => halved.push(block),
            }
        }
        self.done = halved;
        self.width *= 2.0;
        self.place /= 2;
    }

    /// Picks the steps with the most requests so far; of equals those that come first in the plan.
    fn busiest(&self, most: usize) -> Vec<u16> {
        let mut steps: Vec<(u16, u64)> = self
            .requests
            .iter()
            .map(|(step, requests)| (*step, *requests))
            .collect();
        steps.sort_by_key(|(_, requests)| std::cmp::Reverse(*requests));
        steps.into_iter().take(most).map(|(step, _)| step).collect()
    }

    /// The blocks with the names of their steps; `None` where nothing was measured.
    pub fn result(&self, names: &[StepName]) -> Option<TimeBlocks> {
        let total = series(self.done.iter().map(|block| Some(&block.total)));
        let mut busiest = self.busiest(SHOWN);
        busiest.sort_unstable();
        let step = |place: u16| {
            let StepName {
                scenario,
                task,
                step,
                is_control: _,
            } = names.get(usize::from(place))?.clone();
            Some(StepBlocks {
                scenario,
                task,
                step,
                blocks: series(self.done.iter().map(|block| block.steps.get(&place))),
            })
        };
        let steps = busiest.into_iter().filter_map(step).collect();
        let block_micros = (self.width * 1e6) as u64;
        (!self.done.is_empty()).then_some(TimeBlocks {
            from_second: self.from,
            block_micros,
            total,
            steps,
        })
    }
}

/// Unpacks a row of blocks; a block without requests is zeros.
fn series<'a>(cells: impl Iterator<Item = Option<&'a Cell>>) -> BlockSeries {
    let mut series = BlockSeries::default();
    for cell in cells {
        // a step without requests in a block has no cell there
        let cell = cell.cloned().unwrap_or_default();
        series.requests.push(cell.requests);
        series.failures.push(cell.failures);
        // the format has no form for a histogram without values
        series.latency.push(
            cell.histogram()
                .to_hdr_v2()
                .map(|v2| STANDARD.encode(v2))
                .unwrap_or_default(),
        );
    }
    series
}

impl Packed {
    fn add(&mut self, later: Packed) {
        self.total.add(&later.total);
        for (step, cell) in later.steps {
            self.steps.entry(step).or_default().add(&cell);
        }
    }
}

impl Cell {
    fn of(stats: &StepStats) -> Self {
        Self {
            requests: stats.requests,
            failures: stats.failures,
            latency: stats.latency.encode(),
        }
    }

    fn add(&mut self, later: &Cell) {
        let mut latency = self.histogram();
        latency.merge(&later.histogram());
        let Self {
            requests,
            failures,
            latency: packed,
        } = self;
        *requests += later.requests;
        *failures += later.failures;
        *packed = latency.encode();
    }

    fn histogram(&self) -> Histogram {
        Histogram::decode(&self.latency).expect("this process encoded it")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn blocks(load: Value, warmup: Option<&str>) -> Blocks {
        let mut spec = json!({
            "target": {"url": "http://t"},
            "scenarios": [{"name": "s", "tasks": [{"name": "t", "steps": [{"http": {"path": "/"}}]}]}],
            "load": load,
        });
        if let Some(duration) = warmup {
            spec["warmup"] = json!({"duration": duration});
        }
        Blocks::new(
            &crate::crd::check(&serde_json::from_value(spec).unwrap())
                .unwrap()
                .plan,
        )
    }

    fn closed(duration: &str) -> Value {
        json!({"closed": {"users": 1, "duration": duration}})
    }

    /// `steps` with one success each of as many milliseconds as the second is the number of.
    fn second(second: u32, steps: u16) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for step in 0..steps {
            let mut stats = StepStats {
                requests: 1,
                ..StepStats::default()
            };
            stats.latency.record(u64::from(second) * 1000 + 1);
            snapshot.steps.insert(step, stats);
        }
        snapshot
    }

    fn names(count: usize) -> Vec<StepName> {
        let name = |i: usize| StepName {
            scenario: "s".into(),
            task: "t".into(),
            step: i.to_string(),
            is_control: false,
        };
        (0..count).map(name).collect()
    }

    fn heard(mut blocks: Blocks, seconds: std::ops::Range<u32>) -> TimeBlocks {
        seconds.for_each(|at| blocks.add_second(at, &second(at, 1)));
        blocks.close();
        blocks.result(&names(1)).unwrap()
    }

    #[test]
    fn nothing_measured_gives_no_blocks() {
        let mut blocks = blocks(closed("60s"), Some("5s"));
        blocks.add_second(3, &second(3, 1));
        blocks.close();
        assert_eq!(blocks.result(&names(1)), None);
    }

    #[test]
    fn a_run_of_known_length_has_twenty_equal_blocks_and_the_drain_is_in_the_last() {
        let found = heard(blocks(closed("60s"), Some("5s")), 0..67);
        assert_eq!(
            (
                found.from_second,
                found.block_micros,
                found.total.requests.len()
            ),
            (5, 3_000_000, 20)
        );
        assert_eq!(found.total.requests[..19], [3; 19]);
        assert_eq!(found.total.requests[19], 5);
        assert_eq!(found.steps[0].blocks, found.total);
        assert!(
            found
                .total
                .latency
                .iter()
                .all(|latency| STANDARD.decode(latency).is_ok_and(|v2| v2.len() > 40))
        );
    }

    #[test]
    fn a_short_run_has_a_block_a_second() {
        let found = heard(blocks(closed("4s"), None), 0..5);
        assert_eq!(
            (found.block_micros, found.total.requests),
            (1_000_000, vec![1, 1, 1, 2])
        );
    }

    #[test]
    fn blocks_of_a_run_without_an_end_grow_and_stay_equal() {
        let iterations = json!({"iterations": {"count": 10, "users": 1, "maxDuration": "1h"}});
        let found = heard(blocks(iterations, None), 0..131);
        assert_eq!(
            (found.block_micros, found.total.requests.len()),
            (8_000_000, 17)
        );
        assert_eq!(found.total.requests[..16], [8; 16]);
        assert_eq!(found.total.requests[16], 3);
    }

    #[test]
    fn of_many_steps_the_busiest_are_kept() {
        let mut blocks = blocks(closed("20s"), None);
        for at in 0..20 {
            let mut snapshot = second(at, 100);
            // the last ones are the busiest
            snapshot
                .steps
                .iter_mut()
                .filter(|(step, _)| **step >= 80)
                .for_each(|(_, stats)| stats.requests += 5);
            blocks.add_second(at, &snapshot);
        }
        blocks.close();
        let found = blocks.result(&names(100)).unwrap();
        assert!(blocks.done.iter().all(|block| block.steps.len() == KEPT));
        let steps: Vec<&str> = found.steps.iter().map(|step| step.step.as_str()).collect();
        assert_eq!((steps.len(), steps[0], steps[19]), (20, "80", "99"));
        assert_eq!(found.steps[0].blocks.requests, [6; 20]);
        assert_eq!(found.total.requests, [200; 20]);
    }
}
