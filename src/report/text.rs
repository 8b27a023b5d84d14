//! A result as a person reads it on a terminal: the verdict and why, then the numbers. At most
//! [`WIDTH`] columns, and nothing in it that a target could steer the terminal with.

mod capacity;
mod page;
mod run;
mod steps;
mod stream;
mod totals;
mod verdict;

use page::Page;

use crate::stats::result::RunResult;

pub const WIDTH: usize = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    Plain,
    Coloured,
}

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
        page.latency(&result.totals);
        page.steps(&result.steps);
        page.streams(&result.steps);
        page.tasks(&result.tasks, result.steps.len());
        page.grpc_statuses(&result.steps);
        page.price(result);
        page.grpc_statuses(&result.steps);
        page.records(&result.records);
        page.errors(&result.errors);
        page.feeders(&result.feeders);
        page.generator(result);
    }
    page.remarks(result);
    page.text
}

/// Without control characters, and without those that turn the direction of writing.
pub fn clean(text: &str) -> String {
    let turns = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars()
        .map(|c| if c.is_whitespace() { ' ' } else { c })
        .filter(|c| !c.is_control() && !turns(*c))
        .collect()
}

#[cfg(test)]
pub(super) mod tests;
