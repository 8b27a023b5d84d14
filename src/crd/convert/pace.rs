//! Pauses of users: between two iterations, and as steps.

use std::time::Duration;

use super::Context;
use crate::crd::spec::*;
use crate::plan::ThinkTime;

impl Context<'_> {
    /// Checks the length of a pause; `None` if it has a mistake.
    pub(super) fn think_time(&mut self, path: &str, think: &ThinkTimeSpec) -> Option<ThinkTime> {
        let problems = &mut *self.problems;
        let ThinkTimeSpec {
            min,
            max,
            constant,
            normal,
            exponential,
        } = think;
        match (min, max, constant, normal, exponential) {
            (Some(min), Some(max), None, None, None) => {
                let (min, max) = (
                    problems.duration(&format!("{path}.min"), min),
                    problems.duration(&format!("{path}.max"), max),
                );
                if min > max {
                    problems.add(path, "min is longer than max");
                }
                Some(ThinkTime::Uniform { min, max })
            }
            (None, None, Some(time), None, None) => Some(ThinkTime::constant(
                problems.duration(&format!("{path}.constant"), time),
            )),
            (None, None, None, Some(NormalSpec { mean, std_dev }), None) => {
                let mean = problems.duration(&format!("{path}.normal.mean"), mean);
                Some(ThinkTime::Normal {
                    mean,
                    std_dev: problems.duration(&format!("{path}.normal.stdDev"), std_dev),
                })
            }
            (None, None, None, None, Some(ExponentialSpec { mean })) => {
                Some(ThinkTime::Exponential {
                    mean: problems.duration(&format!("{path}.exponential.mean"), mean),
                })
            }
            _ => {
                problems.add(
                    path,
                    "exactly one of min with max, constant, normal and exponential",
                );
                None
            }
        }
    }

    /// Checks the pacing of a scenario; `thinks` says that the scenario has a think time, too,
    /// which is a mistake.
    pub(super) fn pacing(&mut self, path: &str, pacing: &str, thinks: bool) -> Duration {
        self.only_with_users(path);
        if thinks {
            self.problems.add(path, "pacing says when the next iteration begins, thinkTime how long after the last one: write one of them");
        }
        self.problems.positive_duration(path, pacing)
    }

    /// Adds a mistake if the scenario's load is open.
    pub(super) fn only_with_users(&mut self, path: &str) {
        if self.open {
            self.problems.add(
                path,
                "open load starts iterations by the clock, so a user's pause between them has no meaning; remove it or use closed load",
            );
        }
    }
}
