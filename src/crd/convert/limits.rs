//! Counts that are checked before anything else: the rest of the work grows with them.

use super::Problems;
use crate::crd::spec::{LoadTestSpec, ScenarioSpec};

/// Most steps of a test: those that send nothing, such as pauses and calls of blocks, too.
const MAX_STEPS_OF_ALL_KINDS: usize = 2_000;

/// Most blocks of a test.
const MAX_BLOCKS: usize = 500;

/// Adds a problem if there is more in the test than a check can go through.
pub(super) fn check_counts(spec: &LoadTestSpec, problems: &mut Problems) {
    let steps = spec.scenarios.iter().flat_map(ScenarioSpec::steps).count()
        + spec.setup.len()
        + spec.teardown.len();
    if steps > MAX_STEPS_OF_ALL_KINDS {
        problems.add(
            "spec.scenarios",
            format!("{steps} steps in all, at most {MAX_STEPS_OF_ALL_KINDS} are allowed"),
        );
    }
    let scenarios = spec.scenarios.iter();
    let blocks: usize = scenarios.map(|scenario| scenario.blocks.len()).sum();
    if blocks > MAX_BLOCKS {
        problems.add(
            "spec.scenarios",
            format!("{blocks} blocks in all, at most {MAX_BLOCKS} are allowed"),
        );
    }
}
