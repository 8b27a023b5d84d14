//! The whole result of a run, from everything its workers handed over.

use std::time::Duration;

use jiff::Timestamp;

use super::blocks::Blocks;
use super::cost;
use super::judge::Judge;
use super::roster::Roster;
use super::saturation;
use super::search::Search;
use super::timeline::Timeline;
use super::verdict::{self, Judgement};
use crate::plan::{Action, FlowPlace, OnSaturation, Plan, Section, Trend};
use crate::stats::result::{
    CapacityResult, Event, FeederResult, Generator, LimitedBy, Reason, RunResult, SCHEMA_VERSION,
    Totals, Verdict, Workers,
};
use crate::stats::summary::{
    Scale, StepName, TrendName, error_results, histogram_results, record_results, step_results,
    task_results,
};
use crate::stats::{Snapshot, format};
use crate::wire::control::Stop;
use crate::wire::layout::RunFile;

/// How a run came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// The profile is over.
    Natural,
    /// Somebody stopped it.
    Stopped(Stop),
    /// A threshold that was breached ended it.
    Breached { why: String },
    /// All workers were lost and none came back.
    Deserted,
    /// What comes before the load went wrong, so there was none.
    NotStarted(Obstacle),
}

/// What kept the load from starting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    pub reason: Reason,
    pub message: String,
}

pub struct Parts<'a> {
    pub file: &'a RunFile,
    /// The plan of `file` as JSON.
    pub plan_json: serde_json::Value,
    pub seed: u64,
    pub ending: Ending,
    pub started_at: Option<Timestamp>,
    pub finished_at: Timestamp,
    pub roster: &'a Roster,
    pub timeline: &'a Timeline,
    pub search: Option<&'a Search>,
    pub judge: &'a Judge,
    pub events: &'a [Event],
    pub feeders: Vec<FeederResult>,
    /// What went wrong beside the load.
    pub warnings: &'a [String],
    pub blocks: &'a Blocks,
}

pub fn build(parts: Parts<'_>) -> RunResult {
    let Parts {
        file,
        plan_json,
        seed,
        ending,
        started_at,
        finished_at,
        roster,
        timeline,
        judge,
        search,
        events,
        feeders,
        warnings: beside,
        blocks,
    } = parts;
    let plan = &file.plan;
    let kept = search.and_then(Search::kept);
    let (merged, scale) = match kept {
        Some(level) => (
            with_the_rest_as_warmup(&level.samples, &roster.merged()),
            level.scale,
        ),
        None => (roster.merged(), scale(plan, roster.length())),
    };
    let thresholds = kept.map_or_else(
        || judge.results(&merged, scale),
        |level| level.thresholds.clone(),
    );
    let totals = Totals {
        late: timeline.late(),
        ..Totals::of(&merged, scale)
    };
    let names = step_names(plan);
    let judged = verdict::judge(plan, thresholds, &totals);
    let capacity = search.map(Search::result);
    let judged = match &capacity {
        Some(found) => judge_capacity(found, judged),
        None => judged,
    };
    let generator = saturation::judge(&roster.merged(), roster);
    let judgement = judgement(plan, judged, &generator, ending);
    let message = with_losses(judgement.message, roster);
    let seconds = kept.map_or_else(
        || cost::measured_seconds(plan, scale.length),
        |level| level.seconds.clone(),
    );
    RunResult {
        schema_version: SCHEMA_VERSION.to_owned(),
        run: file.run.clone(),
        name: file.name.clone(),
        namespace: file.namespace.clone(),
        target: plan.target.url.to_string(),
        digest: file.digest.clone(),
        plan: plan_json,
        seed,
        overrides: file.overrides.clone(),
        started_at: started_at.map(|at| at.to_string()),
        finished_at: finished_at.to_string(),
        duration_micros: scale.length.as_micros() as u64,
        verdict: judgement.verdict,
        reason: judgement.reason,
        message,
        steps: step_results(&merged, &names, scale),
        tasks: task_results(&merged, &task_names(plan)),
        records: record_results(&merged, &trend_names(plan)),
        errors: error_results(&merged, &[names.clone(), flow_names(plan)].concat()),
        thresholds: judgement.thresholds,
        workers: Workers {
            planned: file.workers,
            lost: roster.lost(),
            rejoined: roster.rejoined(),
        },
        series: timeline.points().to_vec(),
        histograms: histogram_results(&merged, &names),
        blocks: if search.is_some() {
            None
        } else {
            blocks.result(&names)
        },
        feeders,
        events: events.to_vec(),
        warnings: [
            warnings(file, roster, timeline, blocks, &generator),
            beside.to_vec(),
        ]
        .concat(),
        concurrency: cost::concurrency(timeline.points(), seconds, &merged, scale),
        cost: plan
            .cost
            .as_ref()
            .map(|prices| cost::price(prices, &totals, &merged, capacity.as_ref(), &generator)),
        capacity,
        generator,
        totals,
    }
}

/// What a summary of this plan's samples needs to know; `took` is how long the load was, from the
/// run's zero, if that is known.
pub fn scale(plan: &Plan, took: Option<Duration>) -> Scale {
    let took = took.map(|took| took.saturating_sub(plan.warmup));
    // one that was stopped took less than planned, and one that was lost does not know
    let length = match (plan.length(), took) {
        (Some(planned), Some(took)) => planned.min(took),
        // of load that ends by itself and whose workers were all lost nobody knows, so there are no
        // rates
        (planned, took) => planned.or(took).unwrap_or(Duration::ZERO),
    };
    Scale {
        length,
        arrivals: plan.arrivals_until(length),
    }
}

pub fn step_names(plan: &Plan) -> Vec<StepName> {
    plan.steps()
        .map(|place| StepName {
            scenario: place.scenario.to_owned(),
            task: place.task.to_owned(),
            step: place.step.name.clone(),
            is_control: place.is_control(),
        })
        .collect()
}

/// Steps that say when or how often, by where they stand: `steps[2] (call login)`.
fn flow_names(plan: &Plan) -> Vec<StepName> {
    let name = |place: FlowPlace<'_>| {
        let FlowPlace {
            scenario,
            task,
            section,
            number,
            step,
        } = place;
        let list = match section {
            Section::OnStart => "onStart",
            Section::OnStop => "onStop",
            Section::Task(_) | Section::Block(_) => "steps",
            Section::Setup => "setup",
            Section::Teardown => "teardown",
        };
        let act = match &step.action {
            Action::Request(request) => request.name.clone(),
            Action::Call(block) => format!("call {block}"),
            Action::Pause(_) => "pause".to_owned(),
        };
        StepName {
            scenario: scenario.to_owned(),
            task: task.to_owned(),
            step: format!("{list}[{number}] ({act})"),
            is_control: false,
        }
    };
    plan.flows().map(name).collect()
}

pub fn trend_names(plan: &Plan) -> Vec<TrendName> {
    let name = |Trend { name, unit }: Trend| TrendName {
        name,
        unit: unit.name().to_owned(),
        in_base: unit.in_base(),
    };
    plan.trends().into_iter().map(name).collect()
}

fn task_names(plan: &Plan) -> Vec<(String, String)> {
    plan.scenarios
        .iter()
        .flat_map(|scenario| {
            scenario
                .tasks
                .iter()
                .map(|task| (scenario.name.clone(), task.name.clone()))
        })
        .collect()
}

/// The samples of one level; the requests of all others are counted, and else in no result. What is
/// done once, or by users at their beginning and end, is of no level.
fn with_the_rest_as_warmup(level: &Snapshot, whole: &Snapshot) -> Snapshot {
    let mut level = level.clone();
    level.counters.control = whole.counters.control;
    level.counters.control_failures = whole.counters.control_failures;
    level.counters.warmup += whole
        .received_by_target()
        .saturating_sub(level.received_by_target());
    level
}

/// A search is judged by what it found.
fn judge_capacity(found: &CapacityResult, judged: Judgement) -> Judgement {
    let CapacityResult {
        rate,
        limited_by,
        at_least,
        curve,
    } = found;
    let per_second = |rate: f64| format!("{}/s", format::rate(rate));
    let limit = match limited_by {
        Some(LimitedBy::Generator) => {
            ", where the generator was the limit: the target may hold more"
        }
        Some(LimitedBy::Max) => ", the highest rate that was to be tried",
        Some(LimitedBy::Target) | None => "",
    };
    let (verdict, reason, message) = match (rate, at_least) {
        (None, _) => {
            let why = curve
                .iter()
                .rfind(|level| !level.held)
                .map_or("no level was judged", |level| level.why.as_str());
            (
                Verdict::Failed,
                Reason::NothingHeld,
                format!("no rate was found that holds: {why}"),
            )
        }
        (Some(rate), Some(wanted)) if rate < wanted => {
            let message = format!(
                "{} hold{limit}, {} are wanted",
                per_second(*rate),
                per_second(*wanted)
            );
            (Verdict::Failed, Reason::CapacityTooLow, message)
        }
        (Some(rate), _) => (
            Verdict::Passed,
            Reason::CapacityFound,
            format!("{} hold{limit}", per_second(*rate)),
        ),
    };
    Judgement {
        verdict,
        reason,
        message,
        thresholds: judged.thresholds,
    }
}

/// What decides where the end itself does; `judged` is what the samples alone say.
fn judgement(plan: &Plan, judged: Judgement, generator: &Generator, ending: Ending) -> Judgement {
    let instead = |verdict, reason, message| Judgement {
        verdict,
        reason,
        message,
        thresholds: judged.thresholds.clone(),
    };
    match ending {
        Ending::Natural | Ending::Breached { .. }
            if generator.saturated && plan.on_saturation == OnSaturation::Fail =>
        {
            let why = generator
                .workers
                .iter()
                .map(|worker| format!("worker {}: {}", worker.worker, worker.why))
                .collect::<Vec<_>>();
            instead(
                Verdict::Errored,
                Reason::GeneratorSaturated,
                format!("the load generator was the bottleneck: {}", why.join("; ")),
            )
        }
        Ending::Natural => judged,
        Ending::NotStarted(Obstacle { reason, message }) => {
            instead(Verdict::Errored, reason, message)
        }
        // thresholds are shown as they stood, but do not decide
        Ending::Stopped(stop) => instead(Verdict::Aborted, stop.reason, stop.message),
        Ending::Breached { why } => instead(Verdict::Failed, Reason::ThresholdAborted, why),
        Ending::Deserted => instead(
            Verdict::Errored,
            Reason::WorkersLost,
            "all workers were lost and none came back in time".into(),
        ),
    }
}

/// A verdict over less load than was asked for says so itself: not everyone reads the warnings.
fn with_losses(message: String, roster: &Roster) -> String {
    match roster.lost() + roster.left_early() {
        0 => message,
        1 => format!(
            "{message}; a worker went before the end, so the load was below the profile for a time"
        ),
        gone => format!(
            "{message}; {gone} workers went before the end, so the load was below the profile for a time"
        ),
    }
}

fn warnings(
    file: &RunFile,
    roster: &Roster,
    timeline: &Timeline,
    blocks: &Blocks,
    generator: &Generator,
) -> Vec<String> {
    let mut warnings = file.warnings.clone();
    // the first is always listed
    if let Some(first) = generator.workers.first() {
        let first = format!("; worker {}: {}", first.worker, first.why);
        warnings.push(format!("the load generator was the bottleneck: the numbers are its own, not the target's{first}"));
    }
    if roster.lost() > 0 {
        warnings.push(format!(
            "{} worker processes were lost; what they had not reported (at most a second or two each) is missing",
            roster.lost()
        ));
    }
    if roster.left_early() > 0 {
        warnings.push(format!(
            "{} worker processes were told to go before the end; their share was missing until a replacement took it",
            roster.left_early()
        ));
    }
    if roster.failed() > 0 {
        warnings.push(format!(
            "{} worker processes did not carry out all of their share; the events say why",
            roster.failed()
        ));
    }
    let done = roster.merged().counters.iterations;
    if let Some(planned) = file.plan.iterations().filter(|planned| done < *planned) {
        warnings.push(format!(
            "only {done} of {planned} iterations were carried out"
        ));
    }
    if blocks.lacks_seconds() {
        warnings.push("the time blocks lack what was measured before the master was restarted: of that only counts are known".to_owned());
    }
    if timeline.late() > 0 {
        warnings.push(format!(
            "{} requests were reported after their second was closed: they count in the totals, not in the series",
            timeline.late()
        ));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{Counters, StepStats};

    #[test]
    fn beside_the_kept_level_all_but_control_is_warmup() {
        let of = |requests, counters| Snapshot {
            steps: [(
                0,
                StepStats {
                    requests,
                    ..StepStats::default()
                },
            )]
            .into(),
            counters,
            ..Snapshot::default()
        };
        let level = of(
            100,
            Counters {
                control: 1,
                retries: 2,
                ..Counters::default()
            },
        );
        let whole = of(
            700,
            Counters {
                control: 9,
                control_failures: 3,
                warmup: 50,
                retries: 5,
                ..Counters::default()
            },
        );
        let kept = with_the_rest_as_warmup(&level, &whole);
        assert_eq!(
            (kept.requests(), kept.received_by_target()),
            (100, whole.received_by_target())
        );
        let counters = Counters {
            control: 9,
            control_failures: 3,
            warmup: 653,
            retries: 2,
            ..Counters::default()
        };
        assert_eq!(kept.counters, counters);
    }
}
