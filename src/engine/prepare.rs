//! Everything that can be done, and everything that can be found wrong, before a single request is sent.

use std::sync::Arc;

use super::compile::{Programs, compile};
use super::feeder::{self, Feed, FeedData};
use super::files;
use super::program::{PreparedScenario, PreparedStep};
use super::redactor::Redactor;
use super::resolve::NameServers;
use super::route::Route;
use crate::plan::share::Cast;
use crate::plan::{Computed, Inputs, Order, Plan, Problem, Reference, Resolved, Scenario};

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
    /// Conditions look at answers when these have been judged.
    pub(super) looks_back: bool,
    pub(super) feeds: Arc<[Feed]>,
    /// The way to each target, the test's own first.
    pub(super) routes: Vec<Route>,
    /// For texts of the target's that are shown.
    pub(super) redactor: Redactor,
}

impl Prepared {
    /// What must be the same on every worker.
    pub fn feed_data(&self) -> Vec<FeedData> {
        Feed::shared(&self.feeds)
    }
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // the requests hold credentials
        write!(f, "Prepared({} steps to {})", self.steps.len(), self.plan.target.url)
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
    let Resolved { names: mut declared, computed } = plan.variables.resolve(Some(inputs)).unwrap_or_else(|found| {
        problems.extend(found);
        Resolved::default()
    });
    let feeds = load_feeds(&plan, inputs).await.unwrap_or_else(|found| {
        problems.extend(found);
        [].into()
    });
    feeder::declare(&mut declared, &plan, &feeds);
    let programs = compile(&plan, declared, inputs).map_err(|found| problems.extend(found));
    let route = Route::new(&plan.target, &plan.http, inputs, names).map_err(|problem| problems.push(problem));
    let (true, Ok(Programs { steps, scenarios, looks_back }), Ok(route)) = (problems.is_empty(), programs, route) else {
        return Err(PrepareError::Invalid(problems));
    };
    files::raise_limit();
    route.resolve().await.map_err(PrepareError::Target)?;
    let casts = plan.populations.iter().map(|population| {
        Cast::new(population.scenarios.iter().map(|place| {
            let scenario = &plan.scenarios[usize::from(*place)];
            // one that is alone has all
            (scenario.fixed_users, if population.scenarios.len() == 1 { 1 } else { scenario.weight })
        }))
    });
    let casts = casts.collect();
    let redactor = Redactor::new(&plan, inputs, &feeds);
    Ok(Prepared { looks_back, steps, computed, scenarios, casts, feeds, routes: vec![route], redactor, plan })
}

/// Large data take seconds, in which others of this thread have work to do.
async fn load_feeds(plan: &Arc<Plan>, inputs: &Inputs) -> Result<Arc<[Feed]>, Vec<Problem>> {
    if plan.feeders.is_empty() {
        return Ok([].into());
    }
    let (plan, inputs) = (plan.clone(), inputs.clone());
    let loading = tokio::task::spawn_blocking(move || feeder::load(&plan, &inputs).map(|rows| Feed::all(&plan, rows)));
    loading.await.unwrap_or_else(|e| Err(vec![Problem::new("spec.feeders", format!("cannot be read: {e}"))]))
}

/// What the engine relies on and a plan's type does not say; a plan made by validation never fails here.
fn check(plan: &Plan) -> Vec<Problem> {
    let mut problems = Vec::new();
    for population in &plan.populations {
        let scenarios: Vec<_> = population.scenarios.iter().map(|place| plan.scenarios.get(usize::from(*place))).collect();
        let alone = scenarios.len() == 1;
        let plays = |scenario: &Option<&Scenario>| scenario.is_some_and(|s| alone || s.fixed_users.unwrap_or(s.weight) > 0);
        if scenarios.contains(&None) || !scenarios.iter().any(plays) {
            problems.push(Problem::new("spec.scenarios", "no scenario has a weight"));
        }
    }
    for (s, scenario) in plan.scenarios.iter().enumerate() {
        let in_order = scenario.order == Order::Sequential;
        let weighted = |task: &crate::plan::Task| (task.weight > 0 || in_order) && !task.steps.is_empty();
        if !scenario.tasks.iter().any(weighted) {
            problems.push(Problem::new(format!("spec.scenarios[{s}].tasks"), "no task has a weight and steps"));
        }
    }
    if plan.steps().count() > crate::plan::MAX_STEPS {
        problems.push(Problem::new("spec.scenarios", format!("there are more than {} steps", crate::plan::MAX_STEPS)));
    }
    problems
}
