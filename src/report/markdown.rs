//! A result as Markdown, for a pull request or the summary of a CI job: the verdict, the thresholds,
//! the steps and the failures.

use super::names::{selection, step_label};
use super::text::clean;
use crate::stats::format;
use crate::stats::result::{
    ErrorResult, LatencySummary, RunResult, StepResult, ThresholdVerdict, Totals, Verdict,
};

/// Most bytes of a page: what GitHub shows of a comment.
pub const MAX_BYTES: usize = 64 * 1024;
/// Most rows of a table.
const MOST_ROWS: usize = 50;
/// Most characters of a text of the test or its target.
const MOST_CHARACTERS: usize = 200;

/// Writes the page of a run: at most [`MAX_BYTES`], whole lines.
pub fn render(result: &RunResult) -> String {
    let mut page = String::new();
    verdict(result, &mut page);
    thresholds(result, &mut page);
    totals(&result.totals, &mut page);
    steps(&result.steps, &mut page);
    errors(&result.errors, &mut page);
    remarks(result, &mut page);
    cut(page)
}

fn verdict(result: &RunResult, page: &mut String) {
    let sign = match result.verdict {
        Verdict::Passed => "✅",
        Verdict::Failed => "❌",
        Verdict::Errored | Verdict::Aborted => "⚠️",
    };
    let word = format!("{:?}", result.verdict).to_uppercase();
    page.push_str(&format!("## {sign} {word} {}\n\n", safe(&result.name)));
    page.push_str(&format!(
        "**{}**: {}\n\n",
        safe(&result.reason.to_string()),
        safe(&result.message)
    ));
    let length = format::micros(result.duration_micros as f64);
    page.push_str(&format!(
        "Run {} of {length} against {}\n\n",
        code(&result.run),
        code(&result.target)
    ));
}

fn thresholds(result: &RunResult, page: &mut String) {
    if result.thresholds.is_empty() {
        return;
    }
    page.push_str("| | threshold | observed |\n|---|---|---|\n");
    for threshold in result.thresholds.iter().take(MOST_ROWS) {
        let sign = match threshold.verdict {
            ThresholdVerdict::Passed => "✅",
            ThresholdVerdict::Failed => "❌",
            ThresholdVerdict::NotJudged => "not judged",
        };
        let mut name = format!("{} {}", threshold.metric, threshold.expr);
        if let Some(selected) = selection(&threshold.select) {
            name.push_str(&format!(" of {selected}"));
        }
        page.push_str(&format!(
            "| {sign} | {} | {} |\n",
            safe(&name),
            safe(&threshold.observed_text)
        ));
    }
    more(result.thresholds.len(), "thresholds", page);
    page.push('\n');
}

fn totals(totals: &Totals, page: &mut String) {
    if totals.requests == 0 {
        return;
    }
    page.push_str(&format!(
        "{} requests ({}/s), {} failed ({})",
        format::count(totals.requests),
        format::rate(totals.rps),
        format::count(totals.failures),
        format::percent(totals.failure_rate)
    ));
    if totals.requests > totals.failures {
        let LatencySummary { p50, p95, p99, .. } = totals.latency;
        let [p50, p95, p99] = [p50, p95, p99].map(|time| format::micros(time as f64));
        page.push_str(&format!("; latency p50 {p50}, p95 {p95}, p99 {p99}"));
    }
    page.push_str("\n\n");
}

fn steps(steps: &[StepResult], page: &mut String) {
    if steps.len() < 2 {
        return;
    }
    page.push_str("| step | requests | per second | failed | p50 | p95 | p99 |\n");
    page.push_str("|---|--:|--:|--:|--:|--:|--:|\n");
    for step in steps.iter().take(MOST_ROWS) {
        let time = |micros: u64| match step.requests > step.failures {
            true => format::micros(micros as f64),
            false => "-".to_owned(),
        };
        page.push_str(&format!(
            "| {} | {} | {} | {} | {} | {} | {} |\n",
            safe(&step_label(step)),
            format::count(step.requests),
            format::rate(step.rps),
            format::percent(step.failure_rate),
            time(step.latency.p50),
            time(step.latency.p95),
            time(step.latency.p99)
        ));
    }
    more(steps.len(), "steps", page);
    page.push('\n');
}

fn errors(errors: &[ErrorResult], page: &mut String) {
    if errors.is_empty() {
        return;
    }
    page.push_str("| failures | class | step | sample |\n|--:|---|---|---|\n");
    for error in errors.iter().take(MOST_ROWS) {
        let class = error.class.map_or("other", |class| class.name());
        let status = error
            .status
            .map_or(String::new(), |status| format!(" {status}"));
        page.push_str(&format!(
            "| {} | {class}{status} | {} | {} |\n",
            format::count(error.count),
            safe(&super::names::label(
                &error.scenario,
                &error.task,
                &error.step
            )),
            code(&error.sample)
        ));
    }
    more(errors.len(), "kinds of failures", page);
    page.push('\n');
}

fn remarks(result: &RunResult, page: &mut String) {
    let changes = result.manual_changes.iter();
    let changes = changes.map(|change| {
        let at = format::micros(change.after_micros as f64);
        format!("changed by hand at {at}: {change}")
    });
    let remarks: Vec<String> = changes.chain(result.warnings.iter().cloned()).collect();
    for remark in remarks.iter().take(MOST_ROWS) {
        page.push_str(&format!("- {}\n", safe(remark)));
    }
}

fn more(rows: usize, what: &str, page: &mut String) {
    if rows > MOST_ROWS {
        page.push_str(&format!("\n… and {} more {what}\n", rows - MOST_ROWS));
    }
}

/// Writes a text so that nothing in it is Markdown or HTML.
fn safe(text: &str) -> String {
    let mut out = String::new();
    for c in shortened(text).chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            // no address becomes a link, and nobody is mentioned
            '@' => out.push_str("&#64;"),
            ':' => out.push_str("&#58;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '#' | '|' | '~' | '!' | '$' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}

/// Writes a text in the type of code, where only the end of it and of a table's cell count.
fn code(text: &str) -> String {
    match shortened(text).replace('`', "'").replace('|', "\\|") {
        empty if empty.trim().is_empty() => String::new(),
        text => format!("`{text}`"),
    }
}

fn shortened(text: &str) -> String {
    let text = clean(text);
    match text.char_indices().nth(MOST_CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn cut(page: String) -> String {
    const REST: &str = "\n… the rest is left out\n";
    if page.len() <= MAX_BYTES {
        return page;
    }
    let mut end = MAX_BYTES - REST.len();
    while !page.is_char_boundary(end) {
        end -= 1;
    }
    let end = page[..end].rfind('\n').unwrap_or(end);
    format!("{}{REST}", &page[..end])
}

#[cfg(test)]
mod tests {
    use super::super::text::tests::result;
    use super::*;
    use crate::stats::result::ThresholdResult;

    #[test]
    fn a_page_begins_with_the_verdict_and_has_what_decided_it() {
        let page = render(&result());
        let begin = "## ❌ FAILED categorizer\n\n**ThresholdsBreached**: 1 of 2";
        assert!(page.starts_with(begin), "{page}");
        assert!(
            page.contains("| ❌ | latency p(95) &lt; 10ms of step=POST /predict | 14.2ms |"),
            "{page}"
        );
        assert!(
            page.contains("12,345 requests (1234/s), 3 failed (0.02%); latency p50"),
            "{page}"
        );
    }

    #[test]
    fn what_a_target_or_an_author_wrote_is_text_and_nothing_else() {
        let mut hostile = result();
        hostile.name = "<script>alert(1)</script> [x](javascript:y) @everyone\n# big".to_owned();
        hostile.errors[0].sample = "`</td>` | ![x](http://evil) \u{1b}[31m".to_owned();
        let page = render(&hostile);
        assert!(
            !page.contains("<script>") && !page.contains("[x](java"),
            "{page}"
        );
        assert!(
            !page.contains("@everyone") && !page.contains("\n# big"),
            "{page}"
        );
        // inside a code span, whose end it cannot write
        assert!(
            page.contains("`'</td>' \\| ![x](http://evil) [31m`"),
            "{page}"
        );
        let rows = page.lines().filter(|line| line.contains("</td>"));
        assert_eq!(rows.count(), 1);
    }

    #[test]
    fn a_page_is_never_longer_than_what_is_shown_of_it() {
        let mut large = result();
        let one = large.steps[0].clone();
        large.steps = vec![one; 300];
        let wide = ThresholdResult {
            expr: "|".repeat(5_000),
            ..large.thresholds[0].clone()
        };
        large.thresholds = vec![wide; 60];
        large.warnings = vec!["w|".repeat(20_000); 200];
        let page = render(&large);
        assert!(page.len() <= MAX_BYTES, "{}", page.len());
        assert!(page.contains("and 250 more steps"), "{page}");
    }
}
