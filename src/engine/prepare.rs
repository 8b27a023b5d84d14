//! Everything that can be done, and everything that can be found wrong, before a single request is
//! sent.

pub(super) mod compile;
pub(super) mod feeder;
pub(super) mod files;
pub(super) mod program;

use std::sync::Arc;

use futures::future::join_all;

use crate::engine::auth::{Credentials, RefreshedCredentials, Renewal};
use crate::engine::net::route::Route;
use crate::engine::prepare::compile::{Calls, Known, Programs, compile};
use crate::engine::prepare::feeder::{Feed, FeedData};
use crate::engine::prepare::program::{
    PreparedOnce, PreparedScenario, PreparedStep, Readiness, SetupSlots,
};
use crate::engine::protocol::grpc::services::{self, Served, Unknown};
use crate::engine::protocol::transport::Targets;
use crate::engine::record::redactor::{Redactor, unredacted};
use crate::engine::record::sampling::{SampleSink, Sampling};
use crate::engine::world::World;
use crate::plan::share::ScenarioAssignment;
use crate::plan::{
    Computed, Inputs, Order, Plan, Problem, Reference, Resolved, Scenario, SetupValues,
};

/// Reason why a plan cannot be carried out here. No message holds a credential.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// ConfigMaps or Secrets that the plan refers to and that are not there.
    #[error("missing: {}", join(.0))]
    MissingReferences(Vec<Reference>),
    /// Fields of the plan that cannot be used.
    #[error("{}", join(.0))]
    Invalid(Vec<Problem>),
    /// Targets whose address could not be found.
    #[error("{}", join(.0))]
    Target(Vec<Problem>),
    /// Targets for which no token could be fetched.
    #[error("{}", join(.0))]
    Token(Vec<Problem>),
}

fn join<T: ToString>(items: &[T]) -> String {
    items
        .iter()
        .map(T::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

/// A plan ready to be carried out: inputs read, requests compiled, TLS built, the target's host
/// resolved.
pub struct Prepared {
    /// The plan.
    pub(crate) plan: Arc<Plan>,
    /// Steps by place in [`Plan::steps`].
    pub(crate) steps: Vec<PreparedStep>,
    /// Variables that each iteration begins with.
    pub(crate) computed: Vec<Computed>,
    /// Scenarios by place in the plan.
    pub(crate) scenarios: Vec<PreparedScenario>,
    /// Setup and teardown.
    pub(crate) once: PreparedOnce,
    /// Assignment of each population: which of its scenarios a user or an arrival gets.
    pub(crate) assignments: Vec<ScenarioAssignment>,
    /// Conditions look at answers when these have been judged.
    pub(crate) looks_back: bool,
    /// Data of feeders.
    pub(crate) feeds: Arc<[Feed]>,
    /// Targets that are waited for.
    pub(crate) readiness: Vec<Readiness>,
    /// Ways to the targets of the test, with their credentials.
    pub(crate) targets: Arc<Targets>,
    /// Takes secrets out of texts of the target's that are shown.
    pub(crate) redactor: Arc<Redactor>,
    descriptor_digest: Option<String>,
    warnings: Vec<String>,
    /// Requests that are written down, if any are.
    pub(crate) sampling: Option<Arc<Sampling>>,
    /// Keep the tokens from expiring.
    _renewals: Vec<Renewal>,
}

impl Prepared {
    /// Requests are written down as the plan asks.
    pub fn sampled_to(self, sink: SampleSink) -> Self {
        Self {
            sampling: Sampling::new(&self.plan, self.redactor.clone(), sink),
            ..self
        }
    }

    /// Puts the values that setup found where templates look for them; they are as secret as what
    /// comes from Secrets.
    pub(crate) fn setup_slots(&self, found: &SetupValues) -> Arc<SetupSlots> {
        found
            .texts()
            .iter()
            .for_each(|text| self.redactor.learn(text.as_bytes()));
        Arc::new(self.once.slots(found))
    }

    /// Returns the data of feeders, which must be the same on every worker.
    pub fn feed_data(&self) -> Vec<FeedData> {
        Feed::shared(&self.feeds)
    }

    /// Returns a digest of what services and messages are known to be, where there are calls over
    /// gRPC; the same on every worker.
    pub fn descriptor_digest(&self) -> Option<&str> {
        self.descriptor_digest.as_deref()
    }

    /// Returns warnings of what is allowed but most likely not meant, as far as only the inputs
    /// show it. No text holds a value of theirs.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // the requests hold credentials
        write!(
            f,
            "Prepared({} steps to {})",
            self.steps.len(),
            self.plan.target.url
        )
    }
}

/// Checks everything that can be checked before load and makes ready what load needs.
pub async fn prepare(plan: Arc<Plan>, inputs: &Inputs) -> Result<Prepared, PrepareError> {
    prepare_in(plan, inputs, &World::of_process()).await
}

/// Does what [`prepare`] does, in surroundings of the caller's choice.
pub(crate) async fn prepare_in(
    plan: Arc<Plan>,
    inputs: &Inputs,
    world: &World,
) -> Result<Prepared, PrepareError> {
    let missing = missing(&plan, inputs);
    if !missing.is_empty() {
        return Err(PrepareError::MissingReferences(missing));
    }
    let mut problems = check(&plan);
    let Resolved {
        names: mut declared,
        computed,
    } = plan
        .variables
        .resolve(Some(inputs))
        .unwrap_or_else(|found| {
            problems.extend(found);
            Resolved::default()
        });
    let feeds = load_feeds(&plan, inputs).await.unwrap_or_else(|found| {
        problems.extend(found);
        [].into()
    });
    feeder::declare(&mut declared, &plan, &feeds);
    let (mut routes, credentials) = reach(&plan, inputs, world, &mut problems);
    let shown: Vec<_> = credentials.iter().map(Option::as_ref).collect();
    let redactor = Arc::new(Redactor::new(&plan, inputs));
    feeds
        .iter()
        .for_each(|feed| feed.secret_texts(|text| redactor.learn(text.as_bytes())));
    let mut renewals = None;
    let mut served = Vec::new();
    // what is wrong already is told without asking anybody
    if problems.is_empty() {
        if services::are_asked_for(&plan) {
            renewals = Some(begin_renewals(&plan, &credentials, &redactor).await?);
        }
        match services::describe(&plan, inputs, &declared, world, &shown, &redactor).await {
            Ok(found) => served = found,
            Err(Unknown::Invalid(found)) => problems.extend(found),
            Err(Unknown::Unreached(why)) => return Err(PrepareError::Target(why)),
        }
    }
    let calls = (0..routes.len()).map(|target| {
        let nth = served.iter().position(|served| served.target == target)?;
        Some(Calls {
            descriptors: &served[nth].descriptors,
            route: routes.len() + nth,
        })
    });
    let calls: Vec<_> = calls.collect();
    let known = Known {
        credentials: &shown,
        calls: &calls,
    };
    let programs = compile(&plan, declared, inputs, known).map_err(|found| problems.extend(found));
    let (
        true,
        Ok(Programs {
            steps,
            scenarios,
            once,
            looks_back,
            headers,
            readiness,
        }),
    ) = (problems.is_empty(), programs)
    else {
        return Err(PrepareError::Invalid(problems));
    };
    files::raise_limit();
    let resolved = join_all(routes.iter().flatten().map(Route::resolve)).await;
    all_of(&plan, "url", resolved).map_err(PrepareError::Target)?;
    let renewals = match renewals {
        Some(begun) => begun,
        None => begin_renewals(&plan, &credentials, &redactor).await?,
    };
    let descriptor_digest = digest(&served);
    let of_calls: Vec<_> = served.into_iter().map(|served| served.route).collect();
    // a way of calls finds its addresses when it is first taken, as it is that of its target
    routes.extend(of_calls.into_iter().map(Some));
    Ok(Prepared {
        looks_back,
        steps,
        computed,
        scenarios,
        once,
        assignments: assignments(&plan),
        feeds,
        readiness,
        targets: Arc::new(Targets {
            routes: routes.into_iter().flatten().collect(),
            credentials,
            headers,
        }),
        redactor,
        descriptor_digest,
        warnings: unredacted(&plan, inputs),
        sampling: None,
        _renewals: renewals,
        plan,
    })
}

/// References of the plan that the inputs have nothing for.
fn missing(plan: &Plan, inputs: &Inputs) -> Vec<Reference> {
    plan.references()
        .into_iter()
        .filter(|reference| inputs.get(reference).is_none())
        .cloned()
        .collect()
}

/// The way to each target, and its credentials; neither where there is something wrong with them.
fn reach(
    plan: &Plan,
    inputs: &Inputs,
    world: &World,
    problems: &mut Vec<Problem>,
) -> (Vec<Option<Route>>, Vec<Option<Credentials>>) {
    let reached = plan.all_targets().map(|target| {
        let credentials = Credentials::new(target, inputs, world)?;
        let route = Route::new(target, &plan.http, inputs, &world.names)?;
        Ok((route, credentials))
    });
    reached
        .map(|reached| match reached {
            Ok((route, credentials)) => (Some(route), credentials),
            Err(problem) => {
                problems.push(problem);
                (None, None)
            }
        })
        .unzip()
}

/// Digest of what services and messages are known to be; `None` without calls over gRPC.
fn digest(served: &[Served]) -> Option<String> {
    let hashes = served.iter().map(|served| served.descriptors.hash());
    (!served.is_empty()).then(|| hashes.collect::<Vec<_>>().join(" "))
}

/// Decides for each population which of its scenarios a user or an arrival gets.
fn assignments(plan: &Plan) -> Vec<ScenarioAssignment> {
    let assignments = plan.populations.iter().map(|population| {
        ScenarioAssignment::new(population.scenarios.iter().map(|place| {
            let scenario = &plan.scenarios[usize::from(*place)];
            // one that is alone has all
            (
                scenario.fixed_users,
                if population.scenarios.len() == 1 {
                    1
                } else {
                    scenario.weight
                },
            )
        }))
    });
    assignments.collect()
}

/// Every token that is asked for is there afterwards.
async fn begin_renewals(
    plan: &Plan,
    credentials: &[Option<Credentials>],
    redactor: &Arc<Redactor>,
) -> Result<Vec<Renewal>, PrepareError> {
    let begun = join_all(
        credentials
            .iter()
            .map(|credentials| begin_renewal(credentials.as_ref(), redactor)),
    )
    .await;
    Ok(all_of(plan, "auth", begun)
        .map_err(PrepareError::Token)?
        .into_iter()
        .flatten()
        .collect())
}

/// Asks for the token, where credentials are one, and keeps it from expiring.
async fn begin_renewal(
    credentials: Option<&Credentials>,
    redactor: &Arc<Redactor>,
) -> Result<Option<Renewal>, String> {
    match credentials
        .and_then(Credentials::refreshed)
        .and_then(RefreshedCredentials::token)
    {
        Some(token) => token.begin(redactor.clone()).await.map(Some),
        None => Ok(None),
    }
}

/// Returns what came of something that was done for each target, or all that went wrong with it,
/// told at this field of the target.
fn all_of<T>(
    plan: &Plan,
    field: &str,
    outcomes: Vec<Result<T, String>>,
) -> Result<Vec<T>, Vec<Problem>> {
    let mut done = Vec::new();
    let mut problems = Vec::new();
    for (target, outcome) in plan.all_targets().zip(outcomes) {
        match outcome {
            Ok(outcome) => done.push(outcome),
            Err(why) => problems.push(Problem::new(format!("{}.{field}", target.field()), why)),
        }
    }
    if problems.is_empty() {
        Ok(done)
    } else {
        Err(problems)
    }
}

/// Large data take seconds, in which others of this thread have work to do.
async fn load_feeds(plan: &Arc<Plan>, inputs: &Inputs) -> Result<Arc<[Feed]>, Vec<Problem>> {
    if plan.feeders.is_empty() {
        return Ok([].into());
    }
    let (plan, inputs) = (plan.clone(), inputs.clone());
    let loading = tokio::task::spawn_blocking(move || {
        feeder::load(&plan, &inputs).map(|rows| Feed::all(&plan, rows))
    });
    loading.await.unwrap_or_else(|e| {
        Err(vec![Problem::new(
            "spec.feeders",
            format!("cannot be read: {e}"),
        )])
    })
}

/// Checks what the engine relies on and a plan's type does not say; a plan made by validation never
/// fails here.
fn check(plan: &Plan) -> Vec<Problem> {
    let mut problems = Vec::new();
    for population in &plan.populations {
        let scenarios: Vec<_> = population
            .scenarios
            .iter()
            .map(|place| plan.scenarios.get(usize::from(*place)))
            .collect();
        let alone = scenarios.len() == 1;
        let plays = |scenario: &Option<&Scenario>| {
            scenario.is_some_and(|s| alone || s.fixed_users.unwrap_or(s.weight) > 0)
        };
        if scenarios.contains(&None) || !scenarios.iter().any(plays) {
            problems.push(Problem::new("spec.scenarios", "no scenario has a weight"));
        }
    }
    for (s, scenario) in plan.scenarios.iter().enumerate() {
        let in_order = scenario.order == Order::Sequential;
        let weighted =
            |task: &crate::plan::Task| (task.weight > 0 || in_order) && !task.steps.is_empty();
        if !scenario.tasks.iter().any(weighted) {
            problems.push(Problem::new(
                format!("spec.scenarios[{s}].tasks"),
                "no task has a weight and steps",
            ));
        }
    }
    if plan.steps().count() > crate::plan::MAX_STEPS {
        problems.push(Problem::new(
            "spec.scenarios",
            format!("there are more than {} steps", crate::plan::MAX_STEPS),
        ));
    }
    problems
}
