//! What the target holds: the curve of a search for the capacity, requests in flight, and the price.

use super::page::Page;
use crate::stats::format;
use crate::stats::result::{CapacityResult, ConcurrencyResult, CostBasis, Purpose, RunResult};

impl Page {
    /// The curve by rate, each rate once: of those tried again the confirmation counts.
    pub(super) fn capacity(&mut self, capacity: &CapacityResult) {
        self.heading("CAPACITY");
        let limit = capacity
            .limited_by
            .map(|limit| format!(", limited by {limit}"))
            .unwrap_or_default();
        match capacity.rate {
            Some(rate) => self.entry("rate", &format!("{}/s{limit}", format::rate(rate))),
            None => self.entry("rate", &format!("none was confirmed{limit}")),
        }
        let columns = ["rate", "achieved", "p50", "p95", "p99", "failed", "dropped"];
        let heading: String = columns
            .iter()
            .map(|column| format!("{column:>10}"))
            .collect();
        self.line(&format!("  {heading}"));
        let mut levels: Vec<_> = capacity
            .curve
            .iter()
            .filter(|level| level.purpose != Purpose::Recovery)
            .collect();
        levels.sort_by(|a, b| a.rate.total_cmp(&b.rate));
        for level in levels {
            let times =
                [level.p50, level.p95, level.p99].map(|micros| format::micros(micros as f64));
            let [p50, p95, p99] = times;
            let rates =
                [level.rate, level.achieved_rate].map(|rate| format!("{}/s", format::rate(rate)));
            let [rate, achieved] = rates;
            let (failed, dropped) = (
                format::percent(level.failure_rate),
                format::count(level.dropped),
            );
            let word = match (level.held, level.purpose) {
                (true, Purpose::Confirmation) => "confirmed",
                (true, Purpose::Search | Purpose::Recovery) => "held",
                (false, _) => "NOT HELD",
            };
            self.line(&format!("  {rate:>10}{achieved:>10}{p50:>10}{p95:>10}{p99:>10}{failed:>10}{dropped:>10}  {word}"));
            if !level.held {
                self.entry("", &level.why);
            }
        }
    }

    /// What the target holds at once, and what it costs.
    pub(super) fn price(&mut self, result: &RunResult) {
        if let Some(ConcurrencyResult {
            mean,
            max,
            by_latency,
        }) = result.concurrency
        {
            self.heading("CONCURRENCY");
            let observed = format!(
                "{} on average, {} at most",
                format::rate(mean),
                format::count(max)
            );
            self.entry(
                "in flight",
                &format!(
                    "{observed}; by rate x mean latency {}",
                    format::rate(by_latency)
                ),
            );
        }
        let Some(cost) = &result.cost else { return };
        self.heading("COST");
        let Some(rate) = cost.rate else {
            return self.entry("no price", &cost.why_not);
        };
        let at = match cost.basis {
            CostBasis::Sustainable => format!(
                "at {}/s, which holds at this run's thresholds",
                format::rate(rate)
            ),
            CostBasis::Achieved => format!(
                "at {}/s, which this load came to; a search for the capacity finds what holds",
                format::rate(rate)
            ),
        };
        let price = |price: f64| format!("{} {}", format::money(price), cost.currency);
        if let Some(per_million) = cost.per_million_requests {
            self.entry("a million", &format!("{} {at}", price(per_million)));
        }
        if let Some(tokens) = cost.tokens_per_million_requests {
            self.entry(
                "tokens",
                &format!("{} for those of a million requests", price(tokens)),
            );
        }
        if let (Some(wanted), Some(endpoints)) = (cost.wanted_rate, cost.endpoints) {
            let hourly = cost
                .per_hour
                .map(|per_hour| format!(", {} an hour", price(per_hour * endpoints as f64)))
                .unwrap_or_default();
            self.entry(
                "endpoints",
                &format!(
                    "{} for {}/s{hourly}",
                    format::count(endpoints),
                    format::rate(wanted)
                ),
            );
        }
    }
}
