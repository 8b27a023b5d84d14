//! The judge of thresholds, a pure state machine: it hears each complete second of a run, and gives
//! the results at its end.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::reading::{Packed, Reader, Reading};
use crate::plan::threshold::{MIN_COUNT, Outcome, Span};
use crate::plan::{Plan, Threshold, duration};
use crate::stats::Snapshot;
use crate::stats::result::{ThresholdResult, ThresholdVerdict};
use crate::stats::summary::Scale;

/// A threshold that was found breached during the run; it stays breached.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Breach {
    /// Place of the threshold in the plan.
    pub threshold: usize,
    /// Second of the run at whose end the breach was found.
    pub second: u32,
    /// Number that breached the threshold, in the unit of its bound.
    pub observed: f64,
}

/// Judge of all thresholds of a run.
#[derive(Debug)]
pub struct Judge {
    rules: Vec<Rule>,
    /// Seconds of the run that lie wholly in the measured part.
    measured: std::ops::Range<u32>,
    /// Second after the last one that was heard.
    next: Option<u32>,
    /// Plan of the run, which tells how many iterations are due.
    plan: Plan,
}

/// Progress of all thresholds' windows.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Progress {
    next: Option<u32>,
    rules: Vec<RuleProgress>,
}

/// Progress of one threshold's window; the fields are those of its rule.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct RuleProgress {
    window: VecDeque<Packed>,
    sum: Reading,
    seconds: u32,
    breached_since: Option<u32>,
    worst: Option<(u32, f64)>,
    breach: Option<(u32, f64)>,
}

/// One threshold during the run.
#[derive(Debug)]
struct Rule {
    reader: Reader,
    /// Readings of the seconds of the window, oldest first; empty for a threshold without a window.
    window: VecDeque<Packed>,
    /// Sum of the window, or without a window of everything so far.
    sum: Reading,
    /// Number of seconds in the sum.
    seconds: u32,
    /// Second since which each second has breached the threshold.
    breached_since: Option<u32>,
    /// Second and number that were furthest on the wrong side of the bound, or nearest to it on the
    /// right side.
    worst: Option<(u32, f64)>,
    /// Second and number of the breach that counts.
    breach: Option<(u32, f64)>,
    /// Set if the run ends before a whole window could be judged.
    is_too_long: bool,
}

impl Judge {
    /// Makes the judge of a run that is about to begin.
    pub fn new(plan: &Plan) -> Self {
        let end = plan
            .whole_length()
            .map_or(u32::MAX, |length| length.as_secs() as u32);
        // a second that is partly warm-up is left out
        let measured = plan.warmup.as_secs_f64().ceil() as u32..end;
        let seconds = measured.len() as u32;
        let rules = plan
            .thresholds
            .iter()
            .map(|threshold| Rule::new(Reader::new(plan, threshold), seconds))
            .collect();
        Self {
            rules,
            measured,
            next: None,
            plan: plan.clone(),
        }
    }

    /// Copies how far the thresholds were judged.
    pub fn progress(&self) -> Progress {
        let rules = self.rules.iter().map(|rule| RuleProgress {
            window: rule.window.clone(),
            sum: rule.sum.clone(),
            seconds: rule.seconds,
            breached_since: rule.breached_since,
            worst: rule.worst,
            breach: rule.breach,
        });
        Progress {
            next: self.next,
            rules: rules.collect(),
        }
    }

    /// Goes on from where the thresholds of the same plan were judged. Breaches that are known stay.
    pub fn resume(&mut self, progress: Progress) {
        self.next = progress.next;
        for (rule, progress) in self.rules.iter_mut().zip(progress.rules) {
            let RuleProgress {
                window,
                sum,
                seconds,
                breached_since,
                worst,
                breach,
            } = progress;
            (rule.window, rule.sum, rule.seconds) = (window, sum, seconds);
            (rule.breached_since, rule.worst) = (breached_since, worst);
            rule.breach = rule.breach.or(breach);
        }
    }

    /// Takes over the breaches that an earlier master of the same run had found.
    pub fn restore(&mut self, breaches: &[Breach]) {
        for Breach {
            threshold,
            second,
            observed,
        } in breaches
        {
            if let Some(rule) = self.rules.get_mut(*threshold) {
                rule.breach = rule.breach.or(Some((*second, *observed)));
            }
        }
    }

    /// Adds all samples of one second of the run; seconds come in their order.
    pub fn add_second(&mut self, second: u32, snapshot: &Snapshot) {
        // of seconds that a master before this one saw only counts are known
        let is_gap = self.next.is_some_and(|next| next != second);
        self.next = Some(second + 1);
        if !self.measured.contains(&second) {
            return;
        }
        let since_start = second - self.measured.start;
        let due = due_in(&self.plan, second);
        for rule in self
            .rules
            .iter_mut()
            .filter(|rule| rule.is_judged_on_the_way())
        {
            if is_gap {
                rule.forget();
            }
            rule.add_second(second, since_start, rule.reader.read(snapshot, due));
        }
    }

    /// Lists the breaches found so far.
    pub fn breaches(&self) -> Vec<Breach> {
        let found = self
            .rules
            .iter()
            .enumerate()
            .filter_map(|(threshold, rule)| rule.breach.map(|breach| (threshold, breach)));
        found
            .map(|(threshold, (second, observed))| Breach {
                threshold,
                second,
                observed,
            })
            .collect()
    }

    /// Says why the run must end at once; `None` while no threshold demands it.
    pub fn abort(&self) -> Option<String> {
        self.rules
            .iter()
            .filter(|rule| rule.reader.threshold.abort_on_fail)
            .find_map(|rule| {
                let (second, observed) = rule.breach?;
                Some(format!(
                    "{}: observed {} in second {second}",
                    rule.describe(),
                    rule.reader.text(observed)
                ))
            })
    }

    /// Judges every threshold, given all samples of the run.
    pub fn results(&self, merged: &Snapshot, scale: Scale) -> Vec<ThresholdResult> {
        self.rules
            .iter()
            .map(|rule| rule.result(merged, scale))
            .collect()
    }
}

/// Counts the iterations that open load asks for in a second of the run.
fn due_in(plan: &Plan, second: u32) -> u64 {
    let until = |second: u32| {
        plan.arrivals_until(Duration::from_secs(second.into()).saturating_sub(plan.warmup))
            .unwrap_or(0)
    };
    until(second + 1) - until(second)
}

impl Rule {
    fn new(reader: Reader, measured: u32) -> Self {
        let Span {
            window_seconds,
            delay_seconds,
            for_seconds,
            min_count: _,
        } = reader.threshold.span;
        let takes = u64::from(window_seconds) + u64::from(delay_seconds) + u64::from(for_seconds);
        Self {
            reader,
            window: VecDeque::new(),
            sum: Reading::default(),
            seconds: 0,
            breached_since: None,
            worst: None,
            breach: None,
            is_too_long: takes > u64::from(measured),
        }
    }

    fn threshold(&self) -> &Threshold {
        &self.reader.threshold
    }

    fn is_judged_on_the_way(&self) -> bool {
        self.threshold().span.window_seconds > 0 || self.threshold().abort_on_fail
    }

    fn forget(&mut self) {
        self.breached_since = None;
        if self.threshold().span.window_seconds > 0 {
            (self.sum, self.seconds) = (Reading::default(), 0);
            self.window.clear();
        }
    }

    fn add_second(&mut self, second: u32, since_start: u32, reading: Reading) {
        let span = self.threshold().span;
        let is_early = since_start < span.delay_seconds;
        if span.window_seconds > 0 {
            if is_early {
                return;
            }
            self.window.push_back(reading.pack());
        }
        self.sum.add(&reading);
        self.seconds += 1;
        if span.window_seconds > 0 && self.seconds > span.window_seconds {
            if let Some(oldest) = self.window.pop_front() {
                self.sum.remove(&oldest, &self.window);
            }
            self.seconds = span.window_seconds;
        }
        if is_early || self.seconds < span.window_seconds {
            return;
        }
        match self.reader.observe(
            &self.sum,
            f64::from(self.seconds),
            span.min_count.unwrap_or(MIN_COUNT),
        ) {
            Some(observed) => self.judge(second, observed),
            None => self.breached_since = None,
        }
    }

    fn judge(&mut self, second: u32, observed: f64) {
        let ceiling = self.threshold().comparison.is_ceiling();
        let is_worse = |than: f64| {
            if ceiling {
                observed > than
            } else {
                observed < than
            }
        };
        if self.worst.is_none_or(|(_, worst)| is_worse(worst)) {
            self.worst = Some((second, observed));
        }
        if self.threshold().is_met(observed) {
            self.breached_since = None;
            return;
        }
        let since = *self.breached_since.get_or_insert(second);
        if second - since >= self.threshold().span.for_seconds && self.breach.is_none() {
            self.breach = Some((second, observed));
        }
    }

    fn result(&self, merged: &Snapshot, scale: Scale) -> ThresholdResult {
        let threshold = self.threshold();
        let in_windows = threshold.span.window_seconds > 0 && !self.is_too_long;
        let (second, observed) = self.observed(in_windows, merged, scale);
        let at = second
            .map(|second| format!(" in second {second}"))
            .unwrap_or_default();
        ThresholdResult {
            metric: threshold.name().to_owned(),
            expr: threshold.expr.clone(),
            select: select_json(threshold),
            window_micros: in_windows.then(|| u64::from(threshold.span.window_seconds) * 1_000_000),
            abort_on_fail: threshold.abort_on_fail,
            observed,
            observed_second: second,
            observed_text: observed.map_or_else(
                || "too few samples".to_owned(),
                |value| format!("{}{at}", self.reader.text(value)),
            ),
            verdict: self.verdict(in_windows, observed),
        }
    }

    /// Chooses the number that the result shows, with its second if it is one of a window.
    fn observed(
        &self,
        in_windows: bool,
        merged: &Snapshot,
        scale: Scale,
    ) -> (Option<u32>, Option<f64>) {
        let shown = match (self.breach, in_windows) {
            // of several bad windows the worst, which is not better than the first
            (Some(breach), true) => self.worst.or(Some(breach)),
            (Some(breach), false) => Some(breach),
            (None, true) => self.worst,
            (None, false) => return (None, self.whole(merged, scale)),
        };
        shown.unzip()
    }

    fn verdict(&self, in_windows: bool, observed: Option<f64>) -> ThresholdVerdict {
        match observed {
            _ if self.breach.is_some() => ThresholdVerdict::Failed,
            None => ThresholdVerdict::NotJudged,
            // a breach that did not last is none
            Some(_) if in_windows => ThresholdVerdict::Passed,
            Some(value) if self.threshold().is_met(value) => ThresholdVerdict::Passed,
            Some(_) => ThresholdVerdict::Failed,
        }
    }

    /// Reads the whole measured part of the run.
    fn whole(&self, merged: &Snapshot, scale: Scale) -> Option<f64> {
        let reading = self.reader.read(merged, scale.arrivals.unwrap_or(0));
        self.reader.observe(
            &reading,
            scale.length.as_secs_f64(),
            self.threshold().span.min_count.unwrap_or(1),
        )
    }

    /// Names the rule for messages, such as `latency p(99) < 1s over 30s`.
    fn describe(&self) -> String {
        let threshold = self.threshold();
        let window = Duration::from_secs(threshold.span.window_seconds.into());
        let over = if window.is_zero() {
            String::new()
        } else {
            format!(" over {}", duration::format(window))
        };
        format!("{} {}{over}", threshold.name(), threshold.expr)
    }
}

fn select_json(threshold: &Threshold) -> serde_json::Value {
    let select = &threshold.select;
    let mut json = serde_json::Map::new();
    for (name, value) in [
        ("scenario", &select.scenario),
        ("task", &select.task),
        ("step", &select.step),
    ] {
        if let Some(value) = value {
            json.insert(name.to_owned(), value.as_str().into());
        }
    }
    if !select.tags.is_empty() {
        json.insert(
            "tags".to_owned(),
            serde_json::to_value(&select.tags).unwrap_or_default(),
        );
    }
    if select.outcome != Outcome::Success {
        json.insert(
            "outcome".to_owned(),
            serde_json::to_value(select.outcome).unwrap_or_default(),
        );
    }
    json.sort_keys();
    json.into()
}

#[cfg(test)]
mod tests;
