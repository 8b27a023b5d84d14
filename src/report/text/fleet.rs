//! The workers of a run and where they ran.

use super::clean;
use super::page::{Page, end_of};
use super::table::equal;
use crate::stats::format;
use crate::stats::result::WorkerResult;

/// Most workers that a page lists.
const LISTED: usize = 20;
/// Columns of a worker's place.
const PLACE: usize = 46;

impl Page {
    /// Adds a line for each worker, unless there is only one.
    pub(super) fn fleet(&mut self, fleet: &[WorkerResult]) {
        if fleet.len() < 2 {
            return;
        }
        let columns = equal(["requests", "failed", "p95"]);
        self.heading(&format!(
            "{:<width$}{columns}",
            "WORKERS",
            width = PLACE + 2
        ));
        for worker in fleet.iter().take(LISTED) {
            let WorkerResult {
                worker,
                place,
                requests,
                failures,
                p95,
            } = worker;
            let name = end_of(clean(&format!("{worker} {place}")).trim_end(), PLACE - 1);
            let cells = equal([
                requests.to_string(),
                failures.to_string(),
                format::micros(*p95 as f64),
            ]);
            self.line(&format!("  {name:<PLACE$}{cells}"));
        }
        if fleet.len() > LISTED {
            self.line(&format!("  and {} more", fleet.len() - LISTED));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::result;
    use super::super::{Style, render};
    use super::*;

    fn workers(count: u32) -> Vec<WorkerResult> {
        let of = |worker| WorkerResult {
            worker,
            place: format!("eu-{worker}\x1b[31m"),
            requests: 100 + u64::from(worker),
            failures: 1,
            p95: 14_200,
        };
        (0..count).map(of).collect()
    }

    #[test]
    fn each_worker_of_several_is_shown_with_its_place() {
        let mut result = result();
        result.fleet = workers(2);
        let text = render(&result, Style::Plain);
        let line = text.lines().find(|line| line.starts_with("  1 eu-1"));
        let cells: Vec<&str> = line.unwrap().split_whitespace().collect();
        assert_eq!(cells, ["1", "eu-1[31m", "101", "1", "14.2ms"]);
        result.fleet = workers(25);
        let text = render(&result, Style::Plain);
        assert!(
            text.contains("  19 eu-19") && text.contains("  and 5 more"),
            "{text}"
        );
        result.fleet = workers(1);
        assert!(!render(&result, Style::Plain).contains("WORKERS"));
    }
}
