//! A comparison as text for a terminal or a pipe.

use super::{Change, Comparison, Difference};
use crate::report::text::clean;

/// Writes the comparison: what got worse in a sentence, then a table with the worst first.
pub fn render(comparison: &Comparison) -> String {
    let Comparison {
        first,
        second,
        differences,
        warnings,
        summary,
    } = comparison;
    let mut text = format!("{}\n\n", clean(summary));
    text.push_str(&format!("  A  {}\n  B  {}\n", clean(first), clean(second)));
    for warning in warnings {
        text.push_str(&format!("\nwarning: {}", clean(warning)));
    }
    if !warnings.is_empty() {
        text.push('\n');
    }
    let rows: Vec<[String; 6]> = differences.iter().map(row).collect();
    let heads = ["", "A", "B", "change", "95% interval", ""].map(str::to_owned);
    let rows: Vec<&[String; 6]> = std::iter::once(&heads).chain(&rows).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..6).map(width).collect();
    text.push('\n');
    for row in rows {
        let mut line = format!("  {:<1$}", row[0], widths[0]);
        for column in 1..5 {
            line.push_str(&format!("  {:>1$}", row[column], widths[column]));
        }
        line.push_str(&format!("  {}", row[5]));
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn row(difference: &Difference) -> [String; 6] {
    let Difference {
        step,
        measure,
        first,
        second,
        relative: _,
        interval,
        change,
    } = difference;
    let name = match step.as_str() {
        "" => measure.name().to_owned(),
        step => format!("{}: {}", clean(step), measure.name()),
    };
    let interval = interval.map_or("-".to_owned(), |[low, high]| {
        format!(
            "{} to {}",
            signed(difference, low),
            signed(difference, high)
        )
    });
    [
        name,
        measure.written(*first),
        measure.written(*second),
        changed(difference),
        interval,
        word(*change).to_owned(),
    ]
}

/// Writes the change in percent of the first number, or the difference of two shares.
pub(super) fn changed(difference: &Difference) -> String {
    match difference.relative {
        Some(relative) => format!("{:+.1}%", relative * 100.0),
        None => signed(difference, difference.second - difference.first),
    }
}

/// Writes a difference with its sign and unit.
pub(super) fn signed(difference: &Difference, number: f64) -> String {
    let sign = if number < 0.0 { "-" } else { "+" };
    format!("{sign}{}", difference.measure.written(number.abs()))
}

/// Writes the judgement of a change; empty for none.
pub(super) fn word(change: Change) -> &'static str {
    match change {
        Change::Worse => "WORSE",
        Change::Better => "better",
        Change::Same => "",
        Change::TooFew => "too few samples",
    }
}
