//! Capacity, requests in flight, and the price.

use super::page::Page;
use super::table::equal;
use crate::stats::format;
use crate::stats::result::{
    CapacityResult, ConcurrencyResult, CostBasis, CostResult, LevelResult, Purpose,
};

impl Page {
    /// Adds what a search for the capacity found, and its levels by rate.
    pub(super) fn capacity(&mut self, capacity: &CapacityResult) {
        self.heading("CAPACITY");
        let limit = capacity
            .limited_by
            .map(|limit| format!(", limited by {limit}"))
            .unwrap_or_default();
        match capacity.rate {
            Some(rate) => self.entry("rate", &format!("{}{limit}", per_second(rate))),
            None => self.entry("rate", &format!("none was confirmed{limit}")),
        }
        let columns = ["rate", "achieved", "p50", "p95", "p99", "failed", "dropped"];
        self.line(&format!("  {}", equal(columns)));
        let mut levels: Vec<_> = capacity
            .curve
            .iter()
            .filter(|level| level.purpose != Purpose::Recovery)
            .collect();
        levels.sort_by(|a, b| a.rate.total_cmp(&b.rate));
        for level in levels {
            let cells = equal([
                per_second(level.rate),
                per_second(level.achieved_rate),
                format::micros(level.p50 as f64),
                format::micros(level.p95 as f64),
                format::micros(level.p99 as f64),
                format::percent(level.failure_rate),
                format::count(level.dropped),
            ]);
            let word = match (level.held, level.purpose) {
                (true, Purpose::Confirmation) => "confirmed",
                (true, Purpose::Search | Purpose::Recovery) => "held",
                (false, _) => "NOT HELD",
            };
            self.line(&format!("  {cells}  {word}"));
            if !level.held {
                self.entry("", &level.why);
            }
        }
    }

    /// Adds requests in flight, users and busy slots.
    pub(super) fn concurrency(&mut self, concurrency: &ConcurrencyResult) {
        let ConcurrencyResult {
            in_flight,
            users,
            slots,
            by_latency,
        } = *concurrency;
        self.heading("CONCURRENCY");
        let by_latency = format!("by rate x mean latency {}", format::rate(by_latency));
        let in_flight = match in_flight {
            Some(in_flight) => format!("{}; {by_latency}", observed(in_flight)),
            None => by_latency,
        };
        self.entry("in flight", &in_flight);
        for (name, level) in [("users", users), ("busy slots", slots)] {
            if let Some(level) = level {
                self.entry(name, &observed(level));
            }
        }
    }

    /// Adds what the target costs at the rate it serves, or why no price can be named.
    pub(super) fn cost(&mut self, cost: &CostResult) {
        self.heading("COST");
        let Some(rate) = cost.rate else {
            return self.entry("no price", &cost.why_not);
        };
        let what = match cost.basis {
            CostBasis::Sustainable => "which holds at this run's thresholds",
            CostBasis::Achieved => {
                "which this load came to; a search for the capacity finds what holds"
            }
        };
        let price = |price: f64| format!("{} {}", format::money(price), cost.currency);
        if let Some(per_million) = cost.per_million_requests {
            self.entry(
                "a million",
                &format!("{} at {}, {what}", price(per_million), per_second(rate)),
            );
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
                    "{} for {}{hourly}",
                    format::count(endpoints),
                    per_second(wanted)
                ),
            );
        }
    }
}

fn observed(LevelResult { mean, max }: LevelResult) -> String {
    format!(
        "{} on average, {} at most",
        format::number(mean),
        format::count(max)
    )
}

fn per_second(rate: f64) -> String {
    format!("{}/s", format::rate(rate))
}
