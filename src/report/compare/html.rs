//! A comparison as a page of its own.

use maud::{Markup, html};

use super::text::{changed, signed, word};
use super::{Change, Comparison, Difference};
use crate::report::html::{document, overlay};
use crate::report::text::clean;
use crate::stats::result::RunResult;

/// Writes the page: the sentence first, then the table, then the latencies of both runs in one
/// chart.
pub fn render(comparison: &Comparison, first: &RunResult, second: &RunResult) -> String {
    let Comparison {
        first: a,
        second: b,
        differences,
        warnings,
        summary,
    } = comparison;
    let (class, verdict) = match comparison.is_worse() {
        true => ("failed", "WORSE"),
        false => ("passed", "NOT WORSE"),
    };
    let title = format!("{verdict}: {} and {}", clean(a), clean(b));
    let body = html! {
        header {
            h1 { span class={"verdict " (class)} { (verdict) } }
            p { (clean(summary)) }
        }
        main {
            dl { dt { "A" } dd { (clean(a)) } dt { "B" } dd { (clean(b)) } }
            @if !warnings.is_empty() {
                section { h2 { "Remarks" } ul { @for warning in warnings { li { (clean(warning)) } } } }
            }
            section {
                h2 { "Differences" }
                div.wide { table {
                    thead { tr {
                        th { "Of" } th.number { "A" } th.number { "B" } th.number { "Change" } th.number { "95% interval" } th { "Judged" }
                    } }
                    tbody { @for difference in differences { (row(difference)) } }
                } }
            }
            section { h2 { "Latency of both" } (overlay(first, second)) }
        }
    };
    document(&title, body)
}

fn row(difference: &Difference) -> Markup {
    let Difference {
        step,
        measure,
        first,
        second,
        relative: _,
        interval,
        change,
    } = difference;
    let class = match change {
        Change::Worse => "failed",
        Change::Better => "passed",
        Change::Same | Change::TooFew => "soft",
    };
    html! {
        tr {
            td.text { @if !step.is_empty() { (clean(step)) ": " } (measure.name()) }
            td.number { (measure.written(*first)) }
            td.number { (measure.written(*second)) }
            td.number { (changed(difference)) }
            td.number {
                @match interval {
                    Some([low, high]) => { (signed(difference, *low)) " to " (signed(difference, *high)) }
                    None => { "-" }
                }
            }
            td class=(class) { (word(*change)) }
        }
    }
}
