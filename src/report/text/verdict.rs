//! The verdict and its reason, and each threshold.

use super::page::{Colour, LABEL, Page, wrap};
use super::{WIDTH, clean};
use crate::stats::format;
use crate::stats::result::{LoadResult, RunResult, ThresholdResult, ThresholdVerdict, Verdict};

/// Columns of a rule, if it fits, so that the observed values line up.
const RULE: usize = 60;

impl Page {
    /// Adds the verdict with its reason; a saturated generator and load below the
    /// profile are said before it.
    pub(super) fn verdict(&mut self, result: &RunResult) {
        if result.generator.saturated {
            let warning = "SATURATED  The generator was the bottleneck: the numbers below are its own, not the target's.";
            let warning = self.paint(Colour::Yellow, warning);
            self.line(&warning);
        }
        if let Some(load) = result.load.as_ref().filter(|load| load.is_below_profile()) {
            self.below_profile(load);
        }
        let (word, colour) = match result.verdict {
            Verdict::Passed => ("PASSED", Colour::Green),
            Verdict::Failed => ("FAILED", Colour::Red),
            Verdict::Errored => ("ERRORED", Colour::Red),
            Verdict::Aborted => ("ABORTED", Colour::Yellow),
        };
        let why = if result.message.is_empty() {
            result.reason.to_string()
        } else {
            format!("{}: {}", result.reason, result.message)
        };
        for (i, part) in wrap(
            &clean(&format!("{}  {why}", result.name)),
            WIDTH - word.len() - 2,
        )
        .iter()
        .enumerate()
        {
            let first = if i == 0 {
                self.paint(colour, word)
            } else {
                " ".repeat(word.len())
            };
            self.line(&format!("{first}  {part}"));
        }
    }

    /// Adds what was planned and offered, and why it was not the same.
    fn below_profile(&mut self, load: &LoadResult) {
        const WORDS: &str = "BELOW PROFILE";
        let offered = format!(
            "Only {} of the planned load was offered: {}.",
            format::percent(load.offered),
            load.told()
        );
        let why = load.shortfalls.iter().map(|shortfall| {
            format!(
                "{} of it: {}.",
                format::percent(shortfall.share),
                shortfall.why
            )
        });
        for (i, text) in [offered].into_iter().chain(why).enumerate() {
            for (j, part) in wrap(&clean(&text), WIDTH - WORDS.len() - 2)
                .iter()
                .enumerate()
            {
                let first = if i + j == 0 { WORDS } else { "" };
                let line = format!("{first:width$}  {part}", width = WORDS.len());
                let line = self.paint(Colour::Yellow, &line);
                self.line(&line);
            }
        }
    }

    /// Adds each threshold with what was observed.
    pub(super) fn thresholds(&mut self, thresholds: &[ThresholdResult]) {
        if thresholds.is_empty() {
            return;
        }
        self.heading("THRESHOLDS");
        for threshold in thresholds {
            let (word, colour) = match threshold.verdict {
                ThresholdVerdict::Passed => ("passed", Colour::Green),
                ThresholdVerdict::Failed => ("FAILED", Colour::Red),
                ThresholdVerdict::NotJudged => ("not judged", Colour::Yellow),
            };
            let window = threshold
                .window_micros
                .map(|window| format!(" over {}", format::micros(window as f64)))
                .unwrap_or_default();
            let rule = clean(&format!(
                "{} {}{window}{}",
                threshold.metric,
                threshold.expr,
                selection(&threshold.select)
            ));
            let observed = clean(&threshold.observed_text);
            let text = if rule.chars().count() < RULE {
                format!("{rule:<RULE$}{observed}")
            } else {
                format!("{rule}  {observed}")
            };
            for (i, part) in wrap(&text, WIDTH - LABEL).iter().enumerate() {
                let padded = format!(
                    "{:<width$}",
                    if i == 0 { word } else { "" },
                    width = LABEL - 2
                );
                let padded = self.paint(colour, &padded);
                self.line(&format!("  {padded}{part}"));
            }
        }
    }
}

/// Returns the fields by name: a result that was read from a file may hold them in any order.
fn sorted(
    fields: &serde_json::Map<String, serde_json::Value>,
) -> std::collections::BTreeMap<&String, &serde_json::Value> {
    fields.iter().collect()
}

/// Writes ` of step POST /predict`, or nothing when a threshold reads everything.
fn selection(select: &serde_json::Value) -> String {
    let fields = select
        .as_object()
        .into_iter()
        .flat_map(sorted)
        .filter(|(_, value)| !value.is_null());
    let plain = |value: &serde_json::Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    let value_text = |value: &serde_json::Value| match value.as_object() {
        Some(tags) => sorted(tags)
            .iter()
            .map(|(name, value)| format!("{name}={}", plain(value)))
            .collect::<Vec<_>>()
            .join(" "),
        None => plain(value),
    };
    let parts: Vec<_> = fields
        .map(|(key, value)| format!("{key} {}", value_text(value)))
        .collect();
    if parts.is_empty() {
        String::new()
    } else {
        format!(" of {}", parts.join(", "))
    }
}
