//! A page of text: lines, headings, labelled entries and columns, at most [`WIDTH`] wide.

use super::{Style, WIDTH, clean};
use crate::stats::format;
use crate::stats::result::LatencySummary;

/// Columns before a value.
pub(super) const LABEL: usize = 14;
/// Columns of a step's name.
pub(super) const NAME: usize = 38;

#[derive(Debug, Clone, Copy)]
pub(super) enum Colour {
    Green,
    Red,
    Yellow,
    Bold,
}

pub(super) struct Page {
    pub(super) text: String,
    pub(super) style: Style,
}

impl Page {
    pub(super) fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    pub(super) fn heading(&mut self, text: &str) {
        self.text.push('\n');
        let heading = self.paint(Colour::Bold, text.trim_end());
        self.line(&heading);
    }

    /// `  label       text`, on as many lines as it takes.
    pub(super) fn entry(&mut self, label: &str, text: &str) {
        let mut label = label;
        for part in wrap(&clean(text), WIDTH - LABEL) {
            self.line(&format!("  {label:<width$}{part}", width = LABEL - 2));
            label = "";
        }
    }

    pub(super) fn paint(&self, colour: Colour, text: &str) -> String {
        let code = match colour {
            Colour::Green => "32;1",
            Colour::Red => "31;1",
            Colour::Yellow => "33;1",
            Colour::Bold => "1",
        };
        match self.style {
            Style::Plain => text.to_owned(),
            Style::Coloured => format!("\x1b[{code}m{text}\x1b[0m"),
        }
    }

    /// The heading of [`Self::times`].
    pub(super) fn columns(&mut self, heading: &str) {
        let columns = ["min", "mean", "p50", "p90", "p95", "p99", "p99.9", "max"];
        let columns: String = columns
            .iter()
            .map(|column| format!("{column:>10}"))
            .collect();
        self.heading(&format!("{heading:<16}{columns}"));
    }

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
        let whole = |micros: u64| micros as f64;
        let values = [
            whole(min),
            mean,
            whole(p50),
            whole(p90),
            whole(p95),
            whole(p99),
            whole(p999),
            whole(max),
        ];
        let values: String = values
            .iter()
            .map(|micros| format!("{:>10}", format::micros(*micros)))
            .collect();
        self.line(&format!("  {name:<14}{values}"));
    }
}

/// The last `width` characters, since the end of a step's path tells more than its beginning.
pub(super) fn end_of(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        text.to_owned()
    } else {
        std::iter::once('…')
            .chain(text.chars().skip(length + 1 - width))
            .collect()
    }
}

/// Lines of at most `width` characters, broken at spaces where there are any; never empty.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut rest: Vec<char> = text.trim_end().chars().collect();
    while rest.len() > width {
        let space = rest[..=width]
            .iter()
            .rposition(|c| *c == ' ')
            .filter(|at| *at > width / 2);
        let tail = rest.split_off(space.unwrap_or(width));
        lines.push(rest.into_iter().collect::<String>().trim_end().to_owned());
        rest = tail.into_iter().skip_while(|c| *c == ' ').collect();
    }
    lines.push(rest.into_iter().collect());
    lines
}
