//! Tables of a page: a name, then right-aligned cells. Columns of one kind stand in the same places
//! in every table, so that the eye can follow them down the page.

use super::clean;
use super::page::{Page, end_of};
use crate::stats::format;
use crate::stats::result::LatencySummary;

/// Columns of a name in a table of seven.
pub(super) const NAME: usize = 38;
/// Widths of the seven: three counts, then four times or numbers.
const SEVEN: [usize; 7] = [10, 9, 9, 8, 8, 8, 8];
/// Width of each cell in a table of equal columns.
const EQUAL: usize = 10;
/// Columns of a name in a table of times.
const TIMES_NAME: usize = 14;

fn seven(cells: [&str; 7]) -> String {
    cells
        .iter()
        .zip(SEVEN)
        .map(|(cell, width)| format!("{cell:>width$}"))
        .collect()
}

/// Joins cells of equal width.
pub(super) fn equal<T: std::fmt::Display>(cells: impl IntoIterator<Item = T>) -> String {
    cells
        .into_iter()
        .map(|cell| format!("{cell:>EQUAL$}"))
        .collect()
}

impl Page {
    /// Adds the heading of a table of seven columns, for [`Self::row`].
    pub(super) fn seven_columns(&mut self, heading: &str, columns: [&str; 7]) {
        let columns = seven(columns);
        self.heading(&format!("{heading:<width$}{columns}", width = NAME + 2));
    }

    /// Adds a row of a table of seven columns; of a long name the end is shown.
    pub(super) fn row(&mut self, name: &str, counts: [String; 3], numbers: [String; 4]) {
        let name = end_of(&clean(name), NAME - 1);
        let [first, second, third] = &counts;
        let [p50, p95, p99, max] = &numbers;
        let cells = seven([first, second, third, p50, p95, p99, max]);
        self.line(&format!("  {name:<NAME$}{cells}"));
    }

    /// Adds the heading of a table of times, for [`Self::times`].
    pub(super) fn times_columns(&mut self, heading: &str) {
        let columns = equal(["min", "mean", "p50", "p90", "p95", "p99", "p99.9", "max"]);
        self.heading(&format!(
            "{heading:<width$}{columns}",
            width = TIMES_NAME + 2
        ));
    }

    /// Adds a row of a table of times.
    pub(super) fn times(&mut self, name: &str, summary: &LatencySummary) {
        let LatencySummary {
            min,
            mean,
            p50,
            p90,
            p95,
            p99,
            p999,
            max,
        } = *summary;
        let [min, p50, p90, p95, p99, p999, max] =
            [min, p50, p90, p95, p99, p999, max].map(|micros| micros as f64);
        let times = equal([min, mean, p50, p90, p95, p99, p999, max].map(time_of(summary)));
        self.line(&format!("  {name:<TIMES_NAME$}{times}"));
    }
}

/// The four times of a row: median, 95th and 99th percentile and maximum.
pub(super) fn four_times(summary: &LatencySummary) -> [String; 4] {
    let LatencySummary {
        p50, p95, p99, max, ..
    } = *summary;
    [p50, p95, p99, max].map(|micros| time_of(summary)(micros as f64))
}

/// Returns how to write the times of `summary`: `-` each if it sums up nothing. A measured time is
/// at least 1 us.
fn time_of(summary: &LatencySummary) -> fn(f64) -> String {
    match summary.max {
        0 => |_| "-".to_owned(),
        _ => format::micros,
    }
}
