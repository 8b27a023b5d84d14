//! A result as a person reads it on a terminal: the verdict and why, then the numbers. At most
//! [`WIDTH`] columns, and nothing in it that a target could steer the terminal with.
//!
//! Layout is our own, in `page` and `table`. Crates for tables (`comfy-table`, `tabled`,
//! `prettytable-rs`, `cli-table`) size the columns of each table by its content or wrap what is too
//! wide, while ours stand in the same places down the whole page and never wrap a number;
//! `textwrap` breaks lines at other places and counts wide characters as two. Either would change
//! every report, and what would be left to them is one `format!` with a width.

mod capacity;
mod fleet;
mod page;
mod run;
mod steps;
mod stream;
mod table;
mod totals;
mod verdict;

use page::Page;

use crate::stats::result::RunResult;

/// Columns that no line of a report passes.
pub const WIDTH: usize = 100;

/// Markup of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Text alone, as for a file or a pipe.
    Plain,
    /// Colours and bold type by ANSI escape codes, as for a terminal.
    Coloured,
}

/// Writes the report of a run. Both styles have the same text; a run without load has no numbers.
pub fn render(result: &RunResult, style: Style) -> String {
    let mut page = Page {
        text: String::new(),
        style,
    };
    page.verdict(result);
    page.run(result);
    page.thresholds(&result.thresholds);
    if let Some(capacity) = &result.capacity {
        page.capacity(capacity);
    }
    if result.started_at.is_some() {
        page.totals(&result.totals);
        page.extrapolated(result.duration_micros);
        if let Some(load) = &result.load {
            page.load(load);
        }
        page.latency(&result.totals);
        page.steps(&result.steps);
        page.streams(&result.steps);
        page.tasks(&result.tasks, result.steps.len());
        page.grpc_statuses(&result.steps);
        if let Some(concurrency) = &result.concurrency {
            page.concurrency(concurrency);
        }
        if let Some(cost) = &result.cost {
            page.cost(cost);
        }
        page.records(&result.records);
        page.errors(&result.errors);
        page.feeders(&result.feeders);
        page.fleet(&result.fleet);
        page.generator(result);
    }
    page.remarks(result);
    page.text
}

/// Removes control characters and those that turn the direction of writing, and makes all white
/// space spaces.
pub fn clean(text: &str) -> String {
    let turns = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars()
        .map(|c| if c.is_whitespace() { ' ' } else { c })
        .filter(|c| !c.is_control() && !turns(*c))
        .collect()
}

#[cfg(test)]
pub(crate) mod tests;
