//! The whole run in numbers: counts, bytes and times over all steps.

use std::fmt::Write;

use super::page::Page;
use super::stream;
use crate::stats::format;
use crate::stats::result::{LoadResult, Totals};

impl Page {
    /// Adds requests, iterations, bytes and connections, and what only some tests have.
    pub(super) fn totals(&mut self, totals: &Totals) {
        self.heading("TOTALS");
        let rps = format::rate(totals.rps);
        let failed = format!(
            "{} failed ({})",
            format::count(totals.failures),
            format::percent(totals.failure_rate)
        );
        self.entry(
            "requests",
            &format!("{} ({rps}/s), {failed}", format::count(totals.requests)),
        );
        let achieved = format!(
            "{} ({}/s",
            format::count(totals.iterations),
            format::rate(totals.achieved_rate)
        );
        let open = totals.requested_rate.map(|rate| {
            format!(
                " of {}/s asked for), {} dropped",
                format::rate(rate),
                format::count(totals.dropped)
            )
        });
        self.entry(
            "iterations",
            &format!("{achieved}{}", open.as_deref().unwrap_or(")")),
        );
        self.checks(totals);
        self.left_out(totals);
        self.also_sent(totals);
        self.entry(
            "bytes",
            &format!(
                "{} sent, {} received",
                format::bytes(totals.sent_bytes),
                format::bytes(totals.received_bytes)
            ),
        );
        let mut connections = format!("{} opened", format::count(totals.connects));
        for (count, what) in [
            (totals.interrupted, "requests cut at the end"),
            (totals.unsent, "requests failed before a byte was sent"),
        ] {
            if count > 0 {
                // writing to a String cannot fail
                let _ = write!(connections, "; {} {what}", format::count(count));
            }
        }
        self.entry("connections", &connections);
    }

    /// Adds that no second passed by which rates are told, if the run took less than one.
    pub(super) fn extrapolated(&mut self, micros: u64) {
        if micros < 1_000_000 {
            let length = format::micros(micros as f64);
            self.entry("rates", &format!("extrapolated from a run of {length}"));
        }
    }

    /// Adds how much load was planned and offered, and why the rest was not.
    pub(super) fn load(&mut self, load: &LoadResult) {
        let text = format!(
            "{} of the planned load offered: {}",
            format::percent(load.offered),
            load.told()
        );
        self.entry("load", &text);
        for shortfall in &load.shortfalls {
            let share = format::percent(shortfall.share);
            self.entry("", &format!("{share} not offered: {}", shortfall.why));
        }
    }

    /// Adds the checks made and the good requests, where the test has either.
    fn checks(&mut self, totals: &Totals) {
        let checks = totals.checks_passed + totals.checks_failed;
        if checks > 0 {
            let failed = format::percent(totals.checks_failed as f64 / checks as f64);
            self.entry(
                "checks",
                &format!(
                    "{} made, {} failed ({failed})",
                    format::count(checks),
                    format::count(totals.checks_failed)
                ),
            );
        }
        if let Some(goodput) = &totals.goodput {
            self.entry("goodput", &stream::good(goodput));
        }
    }

    /// Adds requests that the other numbers leave out.
    fn left_out(&mut self, totals: &Totals) {
        let left_out = [
            ("warm-up", totals.warmup, totals.warmup_failures, "requests"),
            (
                "control",
                totals.control,
                totals.control_failures,
                "requests of setup, onStart, health and the like",
            ),
        ];
        for (label, count, failures, what) in left_out {
            if count + failures > 0 {
                let failed = if failures > 0 {
                    format!(", {} failed", format::count(failures))
                } else {
                    String::new()
                };
                self.entry(
                    label,
                    &format!(
                        "{} {what}{failed}; not in the other numbers",
                        format::count(count)
                    ),
                );
            }
        }
    }

    /// Adds retries and redirections, and arrivals that found no row.
    fn also_sent(&mut self, totals: &Totals) {
        let sent = [
            (totals.retries, "tried again"),
            (totals.redirect_hops, "redirected"),
        ];
        let sent: Vec<_> = sent
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{} {what}", format::count(*count)))
            .collect();
        if !sent.is_empty() {
            self.entry("also sent", &sent.join(", "));
        }
        if totals.retry_pause_micros > 0 {
            self.entry(
                "pauses",
                &format!(
                    "{} of users' time after requests that failed at once (retryPause)",
                    format::micros(totals.retry_pause_micros as f64)
                ),
            );
        }
        if totals.feeder_drops > 0 {
            self.entry(
                "no row",
                &format!(
                    "{} of the dropped arrivals found no row of a feeder",
                    format::count(totals.feeder_drops)
                ),
            );
        }
    }

    /// Adds latency, service time and phases of successes.
    pub(super) fn latency(&mut self, totals: &Totals) {
        self.times_columns("OF SUCCESSES");
        self.times("latency", &totals.latency);
        self.times("service time", &totals.service_time);
        for phase in &totals.phases {
            self.times(&format!("- {}", phase.phase), &phase.summary);
        }
    }
}
