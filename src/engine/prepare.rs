//! Everything that can be done, and everything that can be found wrong, before a single request is sent.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::files;
use super::request::{Request, credentials};
use super::resolve::NameServers;
use super::route::Route;
use crate::plan::share::Cast;
use crate::plan::{Computed, Inputs, Names, Plan, Problem, Reference, Resolved, Scenario, ThinkTime};

/// Why a plan cannot be carried out here. No message holds a credential.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    #[error("missing: {}", join(.0))]
    MissingReferences(Vec<Reference>),
    #[error("{}", join(.0))]
    Invalid(Vec<Problem>),
    /// The target has no address.
    #[error("{0}")]
    Target(String),
}

fn join<T: ToString>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join("; ")
}

/// A plan ready to be carried out: inputs read, requests compiled, TLS built, the target's host resolved.
pub struct Prepared {
    pub(super) plan: Arc<Plan>,
    /// By place in [`Plan::steps`].
    pub(super) steps: Vec<PreparedStep>,
    /// Variables that each iteration begins with.
    pub(super) computed: Vec<Computed>,
    pub(super) scenarios: Vec<PreparedScenario>,
    /// For each population which of its scenarios a user or an arrival gets.
    pub(super) casts: Vec<Cast>,
    /// The way to each target, the test's own first.
    pub(super) routes: Vec<Route>,
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // the requests hold credentials
        write!(f, "Prepared({} steps to {})", self.steps.len(), self.plan.target.url)
    }
}

pub(super) struct PreparedStep {
    pub(super) request: Request,
    pub(super) timeout: Duration,
}

pub(super) struct PreparedScenario {
    think_time: Option<ThinkTime>,
    pacing: Option<Duration>,
    tasks: Vec<PreparedTask>,
    /// Sum of the tasks' weights.
    weight: u64,
}

pub(super) struct PreparedTask {
    /// In the plan's list of tasks.
    pub(super) place: u16,
    /// Sum of the weights up to and with this task.
    until: u64,
    pub(super) steps: Range<u16>,
}

impl PreparedScenario {
    /// The places of the scenario's first task and step.
    fn new(scenario: &Scenario, mut place: u16, mut first_step: u16) -> Self {
        let mut weight = 0;
        let mut tasks = Vec::new();
        for task in &scenario.tasks {
            weight += u64::from(task.weight);
            let next = first_step + task.steps.len() as u16;
            tasks.push(PreparedTask { place, until: weight, steps: first_step..next });
            (place, first_step) = (place + 1, next);
        }
        Self { think_time: scenario.think_time, pacing: scenario.pacing, tasks, weight }
    }

    /// What a user waits after an iteration that it began at `begun`.
    pub(super) fn pause_after(&self, begun: Instant, random: impl FnMut() -> u64) -> Option<Duration> {
        match self.pacing {
            Some(pacing) => Some((begun + pacing).saturating_duration_since(Instant::now())),
            None => self.think_time.map(|think| think.draw(random)),
        }
    }

    /// A task chosen by weight.
    pub(super) fn pick_task(&self, random: impl FnOnce() -> u64) -> &PreparedTask {
        let [task] = self.tasks.as_slice() else {
            let at = ((u128::from(random()) * u128::from(self.weight)) >> 64) as u64;
            // `at` is below the weight, which is the last task's `until`
            return self.tasks.iter().find(|task| at < task.until).unwrap_or(&self.tasks[0]);
        };
        task
    }
}

/// Checks everything that can be checked before load and makes ready what load needs.
pub async fn prepare(plan: Arc<Plan>, inputs: &Inputs) -> Result<Prepared, PrepareError> {
    prepare_asking(plan, inputs, &NameServers::of_system()).await
}

/// Likewise, with name servers of the caller's choice.
pub(super) async fn prepare_asking(plan: Arc<Plan>, inputs: &Inputs, names: &NameServers) -> Result<Prepared, PrepareError> {
    let missing: Vec<Reference> = plan.references().into_iter().filter(|reference| inputs.get(reference).is_none()).cloned().collect();
    if !missing.is_empty() {
        return Err(PrepareError::MissingReferences(missing));
    }
    let mut problems = check(&plan);
    let Resolved { names: declared, computed } = plan.variables.resolve(Some(inputs)).unwrap_or_else(|found| {
        problems.extend(found);
        Resolved::default()
    });
    let steps = compile_steps(&plan, &declared, inputs, &mut problems);
    let route = Route::new(&plan.target, &plan.http, inputs, names).map_err(|problem| problems.push(problem));
    let (true, Ok(route)) = (problems.is_empty(), route) else { return Err(PrepareError::Invalid(problems)) };

    files::raise_limit();
    route.resolve().await.map_err(PrepareError::Target)?;
    let (mut first_task, mut first_step) = (0, 0);
    let scenarios = plan.scenarios.iter().map(|scenario| {
        let prepared = PreparedScenario::new(scenario, first_task, first_step);
        first_task += scenario.tasks.len() as u16;
        first_step += scenario.tasks.iter().map(|task| task.steps.len() as u16).sum::<u16>();
        prepared
    });
    let scenarios = scenarios.collect();
    let casts = plan.populations.iter().map(|population| {
        Cast::new(population.scenarios.iter().map(|place| {
            let scenario = &plan.scenarios[usize::from(*place)];
            (scenario.fixed_users, scenario.weight)
        }))
    });
    let casts = casts.collect();
    Ok(Prepared { steps, computed, scenarios, casts, routes: vec![route], plan })
}

/// What the engine relies on and a plan's type does not say; a plan made by validation never fails here.
fn check(plan: &Plan) -> Vec<Problem> {
    let mut problems = Vec::new();
    for population in &plan.populations {
        let scenarios: Vec<_> = population.scenarios.iter().map(|place| plan.scenarios.get(usize::from(*place))).collect();
        let plays = |scenario: &Option<&Scenario>| scenario.is_some_and(|s| s.fixed_users.unwrap_or(s.weight) > 0);
        if scenarios.contains(&None) || !scenarios.iter().any(plays) {
            problems.push(Problem::new("spec.scenarios", "no scenario has a weight"));
        }
    }
    for (s, scenario) in plan.scenarios.iter().enumerate() {
        let weighted = |task: &crate::plan::Task| task.weight > 0 && !task.steps.is_empty();
        if !scenario.tasks.iter().any(weighted) {
            problems.push(Problem::new(format!("spec.scenarios[{s}].tasks"), "no task has a weight and steps"));
        }
    }
    if plan.steps().count() > crate::plan::MAX_STEPS {
        problems.push(Problem::new("spec.scenarios", format!("there are more than {} steps", crate::plan::MAX_STEPS)));
    }
    problems
}

fn compile_steps(plan: &Plan, names: &Names, inputs: &Inputs, problems: &mut Vec<Problem>) -> Vec<PreparedStep> {
    let auth = credentials(plan.target.auth.as_ref(), inputs).unwrap_or_else(|problem| {
        problems.push(problem);
        None
    });
    let mut steps = Vec::new();
    for (s, scenario) in plan.scenarios.iter().enumerate() {
        for (t, task) in scenario.tasks.iter().enumerate() {
            for (i, step) in task.steps.iter().enumerate() {
                let path = format!("spec.scenarios[{s}].tasks[{t}].steps[{i}].http");
                match Request::compile(&plan.target, auth.as_ref(), names, &step.http, &path) {
                    Ok(request) => steps.push(PreparedStep { request, timeout: step.timeout }),
                    Err(found) => problems.extend(found),
                }
            }
        }
    }
    // a target's header is compiled for each step, and wrong in each
    problems.dedup();
    steps
}
