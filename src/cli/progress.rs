//! Progress of a run on the terminal: one line that is rewritten, or a plain line now and then for
//! a log.

use std::io::Write;
use std::time::Duration;

use crate::plan::Plan;
use crate::stats::format;
use crate::wire::control::{MasterState, Progress};

/// Interval of the lines of a log.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// Control sequence that clears the rest of a longer previous line.
const CLEAR: &str = "\x1b[K";

/// Kind of output, which decides how progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Terminal, on which one line is rewritten.
    Live,
    /// File or pipe, which gets a line now and then.
    Plain,
}

/// Display of a run's progress.
pub struct Display<W: Write> {
    out: W,
    kind: Kind,
    /// Unit of the plan's levels: users, or iterations in flight.
    unit: &'static str,
    /// Time of the last plain line, since the display was made.
    shown: Duration,
}

impl<W: Write> Display<W> {
    /// Returns a display that writes to `out`; `plan` decides the unit of its levels.
    pub fn new(out: W, kind: Kind, plan: &Plan) -> Self {
        let open = plan
            .populations
            .iter()
            .any(|population| population.load.is_open());
        let unit = if open { "in flight" } else { "users" };
        Self {
            out,
            kind,
            unit,
            shown: Duration::ZERO,
        }
    }

    /// Shows `progress`. `since` is the time since the display was made. A failure to write is no
    /// reason to stop a run and is ignored.
    pub fn show(&mut self, progress: &Progress, since: Duration) {
        let line = line(progress, self.unit);
        let _ = match self.kind {
            Kind::Live => write!(self.out, "\r{line}{CLEAR}").and_then(|()| self.out.flush()),
            Kind::Plain if since >= self.shown + PLAIN_EVERY => {
                self.shown = since;
                writeln!(self.out, "{}", line.trim_start())
            }
            Kind::Plain => Ok(()),
        };
    }

    /// Clears the rewritten line, so that other output can follow.
    pub fn finish(mut self) {
        if self.kind == Kind::Live {
            let _ = write!(self.out, "\r{CLEAR}").and_then(|()| self.out.flush());
        }
    }
}

/// Returns the line for `progress`, shorter than 80 columns: a line that wraps cannot be rewritten.
fn line(progress: &Progress, unit: &str) -> String {
    let Progress {
        state,
        workers,
        ready,
        elapsed_micros,
        length_micros,
        requests,
        users,
        rps,
        p95_micros,
        ..
    } = progress;
    let seconds = |micros: u64| micros / 1_000_000;
    match state {
        MasterState::Waiting | MasterState::Ready => {
            format!("waiting for workers: {ready} of {workers} ready")
        }
        MasterState::Preparing => format!(
            "before the load: {}",
            progress.one_off.as_deref().unwrap_or("everything is there")
        ),
        MasterState::Stopping if progress.one_off.is_some() => format!(
            "after the load: {}",
            progress.one_off.as_deref().unwrap_or_default()
        ),
        MasterState::Running
        | MasterState::Stopping
        | MasterState::Recovering
        | MasterState::Lost
        | MasterState::Finished => {
            let clock = match seconds(*length_micros) {
                0 => format!("{}s", seconds(*elapsed_micros)),
                length => format!("{}s/{length}s", seconds(*elapsed_micros)),
            };
            let numbers = format!(
                "{users} {unit}  {rps}/s  p95 {}",
                format::micros(*p95_micros as f64)
            );
            let failed = if *requests == 0 {
                "no request yet".into()
            } else {
                format!("{} failed", format::percent(progress.failure_rate()))
            };
            let lead = match (state, progress.level) {
                (MasterState::Stopping, _) => "stopping".into(),
                (MasterState::Running, Some(rate)) => format!("trying {}/s", format::rate(rate)),
                _ => format!("{:>3}%", progress.percent()),
            };
            format!("{lead}  {clock}  {numbers}  {failed}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress() -> Progress {
        Progress {
            run: "r".into(),
            epoch: 1,
            incarnation: "i".into(),
            state: MasterState::Running,
            workers: 1,
            connected: 1,
            ready: 1,
            leaving: None,
            problems: Vec::new(),
            elapsed_micros: 12_300_000,
            length_micros: 30_000_000,
            level: None,
            planned_iterations: 0,
            iterations: 0,
            requests: 5_000,
            failures: 1,
            users: 50,
            rps: 1_834,
            deadline_micros: 0,
            granted_micros: None,
            one_off: None,
            load: Vec::new(),
            p95_micros: 14_230,
        }
    }

    fn closed() -> Plan {
        let spec = serde_json::json!({
            "target": {"url": "http://t"},
            "scenarios": [{"name": "s", "tasks": [{"name": "t", "steps": [{"http": {"path": "/"}}]}]}],
            "load": {"closed": {"users": 1, "duration": "30s"}},
        });
        crate::crd::check(&serde_json::from_value(spec).unwrap())
            .unwrap()
            .plan
    }

    fn shown(kind: Kind, at: &[f64]) -> String {
        let mut out = Vec::new();
        let mut display = Display::new(&mut out, kind, &closed());
        at.iter()
            .for_each(|seconds| display.show(&progress(), Duration::from_secs_f64(*seconds)));
        display.finish();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_log_gets_a_line_every_five_seconds_and_nothing_else() {
        let text = shown(Kind::Plain, &[0.0, 0.5, 4.9, 5.0, 5.5, 9.0, 10.1]);
        assert_eq!(
            text,
            "41%  12s/30s  50 users  1834/s  p95 14.2ms  0.02% failed\n".repeat(2)
        );
    }

    #[test]
    fn a_terminal_sees_one_line_that_goes_away() {
        let text = shown(Kind::Live, &[0.0, 0.5]);
        assert_eq!(text.matches("\r 41%  12s/30s").count(), 2);
        assert!(
            !text.contains('\n') && text.ends_with("\r\x1b[K"),
            "{text:?}"
        );
    }

    #[test]
    fn a_run_whose_length_nobody_knows_shows_how_many_iterations_are_done() {
        let mut progress = progress();
        (
            progress.length_micros,
            progress.planned_iterations,
            progress.iterations,
        ) = (0, 400, 100);
        assert!(
            line(&progress, "users").starts_with(" 25%  12s  50 users"),
            "{}",
            line(&progress, "users")
        );
    }

    #[test]
    fn a_search_shows_what_it_tries() {
        let mut progress = progress();
        (progress.length_micros, progress.level) = (0, Some(420.0));
        assert!(
            line(&progress, "in flight").starts_with("trying 420"),
            "{}",
            line(&progress, "in flight")
        );
    }

    #[test]
    fn a_line_never_wraps() {
        let mut progress = progress();
        progress.state = MasterState::Stopping;
        (progress.length_micros, progress.elapsed_micros) = (604_800_000_000, 604_800_000_000);
        (progress.users, progress.rps, progress.p95_micros) = (1_000_000, 9_999_999, 3_600_000_000);
        let line = line(&progress, "in flight");
        assert!(line.chars().count() < 80, "{line}");
        assert!(line.starts_with("stopping"));
    }

    #[test]
    fn before_the_start_it_says_what_is_awaited() {
        let mut progress = progress();
        (progress.state, progress.ready) = (MasterState::Waiting, 0);
        assert_eq!(
            line(&progress, "users"),
            "waiting for workers: 0 of 1 ready"
        );
    }
}
