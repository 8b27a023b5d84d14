//! Latencies over the course of a run: how many requests took how long and when, in a bounded number
//! of cells. Counts add up, so a cell of many seconds is as true as one of a single second.

use serde::{Deserialize, Serialize};

use crate::stats::Histogram;

/// Upper bound of the lowest row, in microseconds.
const LOWEST: f64 = 100.0;
/// Rows of a decade.
const PER_DECADE: f64 = 10.0;
/// Rows: the highest has everything above some 50 seconds.
const ROWS: u8 = 58;
/// Most columns; when there are more, two neighbours become one.
const MAX_COLUMNS: usize = 240;

/// Successes of one second, or of several, by their latency.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Number of the first second, since the run's zero.
    pub second: u32,
    /// Seconds from the first to the last that are summed up.
    pub seconds: u32,
    /// Failed requests.
    pub failures: u64,
    /// Rows with requests, and their number. Row `n` has latencies up to `100 us * 10^(n/10)` that
    /// are in no lower row.
    pub rows: Vec<(u8, u64)>,
}

impl Column {
    fn of(second: u32, latency: &Histogram, failures: u64) -> Self {
        let mut rows = Vec::new();
        let mut below = 0;
        for row in 0..ROWS {
            let through = if row + 1 == ROWS {
                latency.count()
            } else {
                let bound = LOWEST * 10_f64.powf(f64::from(row) / PER_DECADE);
                latency.count_up_to(bound as u64)
            };
            if through > below {
                rows.push((row, through - below));
            }
            below = through.max(below);
        }
        Self {
            second,
            seconds: 1,
            failures,
            rows,
        }
    }

    /// Adds a later column.
    fn follow(&mut self, later: &Column) {
        self.seconds = later.second + later.seconds - self.second;
        self.failures += later.failures;
        for (row, count) in &later.rows {
            match self.rows.binary_search_by_key(row, |(row, _)| *row) {
                Ok(place) => self.rows[place].1 += count,
                Err(place) => self.rows.insert(place, (*row, *count)),
            }
        }
    }
}

/// The cells of a run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Heat {
    columns: Vec<Column>,
    /// Run seconds that one column stands for; a power of two.
    resolution: u32,
}

impl Heat {
    /// Adds a second; seconds come in their order.
    pub fn add(&mut self, second: u32, latency: &Histogram, failures: u64) {
        self.push(Column::of(second, latency, failures));
        if self.columns.len() > MAX_COLUMNS {
            self.resolution = self.resolution() * 2;
            for column in std::mem::take(&mut self.columns) {
                self.push(column);
            }
        }
    }

    fn push(&mut self, column: Column) {
        let place = |column: &Column| column.second / self.resolution.max(1);
        match self.columns.last_mut() {
            Some(last) if place(last) == place(&column) => last.follow(&column),
            _ => self.columns.push(column),
        }
    }

    /// Columns, oldest first.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Run seconds that one column stands for.
    pub fn resolution(&self) -> u32 {
        self.resolution.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(values: &[u64]) -> Histogram {
        let mut histogram = Histogram::new();
        values.iter().for_each(|value| histogram.record(*value));
        histogram
    }

    #[test]
    fn each_success_is_in_one_cell() {
        let column = Column::of(3, &histogram(&[1, 100, 110, 1000, 3_000_000_000]), 2);
        assert_eq!(column.rows, [(0, 2), (1, 1), (10, 1), (57, 1)]);
        assert_eq!((column.second, column.seconds, column.failures), (3, 1, 2));
    }

    #[test]
    fn a_long_run_has_few_columns_and_loses_no_request() {
        let mut heat = Heat::default();
        for second in 0..10_000 {
            heat.add(second, &histogram(&[u64::from(second) * 100 + 1]), 1);
        }
        let columns = heat.columns();
        assert!(columns.len() <= MAX_COLUMNS);
        let sum = |of: fn(&Column) -> u64| columns.iter().map(of).sum::<u64>();
        assert_eq!(
            sum(|column| column.rows.iter().map(|(_, count)| count).sum()),
            10_000
        );
        assert_eq!(sum(|column| column.failures), 10_000);
        assert_eq!(sum(|column| column.seconds.into()), 10_000);
        assert_eq!(heat.resolution(), 64);
        assert!(columns.iter().all(|column| column.rows.is_sorted()));
    }
}
