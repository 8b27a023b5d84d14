//! Preparation of a plan: everything that can be done, and every problem that can be found, before
//! a request is sent.

pub(super) mod compile;
pub(super) mod feeder;
pub(super) mod files;
pub(super) mod lease;
mod permit;
pub(super) mod program;
pub(super) mod secrecy;

use std::sync::Arc;

use futures::future::join_all;

use crate::engine::auth::{Credentials, RefreshedCredentials, Renewal};
use crate::engine::net::resolve::{Freshness, Reach};
use crate::engine::net::route::Route;
use crate::engine::prepare::compile::{Calls, Known, Programs, compile};
use crate::engine::prepare::feeder::{Feed, FeedData};
use crate::engine::prepare::lease::Lease;
use crate::engine::prepare::program::{
    PreparedOnce, PreparedScenario, PreparedStep, Readiness, SetupSlots,
};
use crate::engine::protocol::grpc::services::{self, Served, Unknown};
use crate::engine::protocol::transport::Targets;
use crate::engine::record::redactor::{Redactor, unredacted};
use crate::engine::record::request_log::{RequestLogSink, RunLog};
use crate::engine::world::World;
use crate::plan::budget::{self, MAX_EXPANDED_IN_RUN};
use crate::plan::share::ScenarioAssignment;
use crate::plan::{
    Computed, Inputs, Names, Order, Plan, Problem, Reference, Resolved, Scenario, SetupValues,
};

/// Reason why a plan cannot be carried out. No message holds a credential.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// ConfigMaps or Secrets that the plan refers to and that are not there.
    #[error("missing: {}", join(.0))]
    MissingReferences(Vec<Reference>),
    /// Fields of the plan that cannot be used.
    #[error("{}", join(.0))]
    Invalid(Vec<Problem>),
    /// Addresses that the policies of the cluster do not allow.
    #[error("{}", join(.0))]
    NotAllowed(Vec<Problem>),
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

/// Plan that is ready to be carried out: inputs read, requests compiled, TLS built, hosts resolved.
pub struct Prepared {
    /// Plan that was prepared.
    pub(crate) plan: Arc<Plan>,
    /// Steps by place in [`Plan::steps`].
    pub(crate) steps: Vec<PreparedStep>,
    /// Variables that are computed at the start of each iteration.
    pub(crate) computed: Vec<Computed>,
    /// Scenarios by place in the plan.
    pub(crate) scenarios: Vec<PreparedScenario>,
    /// Steps of setup and teardown.
    pub(crate) once: PreparedOnce,
    /// Assignment of scenarios to the users or arrivals of each population.
    pub(crate) assignments: Vec<ScenarioAssignment>,
    /// True if conditions read answers after the answers were judged.
    pub(crate) conditions_read_answers: bool,
    /// Feeders with their data.
    pub(crate) feeds: Arc<[Feed]>,
    /// Targets to wait for before the load.
    pub(crate) readiness: Vec<Readiness>,
    /// Routes to the targets of the test, with their credentials.
    pub(crate) targets: Arc<Targets>,
    /// Redactor of the test's secrets.
    pub(crate) redactor: Arc<Redactor>,
    descriptor_digest: Option<String>,
    warnings: Vec<String>,
    /// Request log; `None` if no requests are logged.
    pub(crate) request_log: Option<Arc<RunLog>>,
    /// Time until which load may be made.
    pub(crate) lease: Lease,
    /// Tasks that keep tokens from expiring.
    _renewals: Vec<Renewal>,
    /// Tasks that keep addresses from growing old.
    _freshness: Vec<Freshness>,
}

impl Prepared {
    /// Puts the parts of a prepared plan together.
    fn new(
        plan: Arc<Plan>,
        parts: Parts,
        served: Vec<Served>,
        programs: Programs,
        renewals: Vec<Renewal>,
        warnings: Vec<String>,
    ) -> Self {
        let Programs {
            steps,
            scenarios,
            once,
            conditions_read_answers,
            headers,
            readiness,
        } = programs;
        let descriptor_digest = digest(&served);
        let of_calls = served.into_iter().map(|served| served.route);
        let routes: Vec<Route> = parts.routes.into_iter().flatten().chain(of_calls).collect();
        let freshness = routes.iter().filter_map(Route::keep_fresh).collect();
        Self {
            conditions_read_answers,
            steps,
            computed: parts.computed,
            scenarios,
            once,
            assignments: assignments(&plan),
            feeds: parts.feeds,
            readiness,
            targets: Arc::new(Targets {
                routes,
                credentials: parts.credentials,
                headers,
            }),
            redactor: parts.redactor,
            descriptor_digest,
            warnings,
            request_log: None,
            lease: Lease::default(),
            _renewals: renewals,
            _freshness: freshness,
            plan,
        }
    }

    /// Writes request log entries to `sink` if the plan asks for them.
    pub fn logged_to(self, sink: RequestLogSink) -> Self {
        Self {
            request_log: RunLog::new(&self.plan, self.redactor.clone(), sink),
            ..self
        }
    }

    /// Makes load only while the lease lasts.
    pub fn leased(self, lease: Lease) -> Self {
        Self { lease, ..self }
    }

    /// Puts the values that setup found into the slots from which templates read them. They are
    /// treated as secrets.
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

    /// Returns a digest of the gRPC services and messages, which is the same on every worker;
    /// `None` without calls over gRPC.
    pub fn descriptor_digest(&self) -> Option<&str> {
        self.descriptor_digest.as_deref()
    }

    /// Returns warnings about inputs that are allowed but probably not meant. No warning holds a
    /// value of an input.
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

/// Checks everything that can be checked before the load, and prepares what the load needs. Returns
/// all problems found.
pub async fn prepare(plan: Arc<Plan>, inputs: &Inputs) -> Result<Prepared, PrepareError> {
    prepare_in(plan, inputs, &World::of_process()).await
}

/// Prepares a plan like [`prepare`], with surroundings that the caller gives.
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
    let parts = Parts::new(&plan, inputs, world, &mut problems).await;
    let mut services = Services::default();
    // no service is asked while problems are known
    if problems.is_empty() {
        permit::check(&plan, &parts.routes, &parts.credentials).await?;
        services = find_services(&plan, inputs, world, &parts, &mut problems).await?;
    }
    let programs = compile_programs(&plan, inputs, &parts, &services.served)
        .map_err(|found| problems.extend(found));
    let (true, Ok(programs)) = (problems.is_empty(), programs) else {
        return Err(PrepareError::Invalid(problems));
    };
    files::raise_limit();
    let mut warnings = unredacted(&plan, inputs);
    warnings.extend(permit::resolve(&plan, &parts.routes, &services.served).await?);
    let renewals = match services.renewals {
        Some(begun) => begun,
        None => begin_renewals(&plan, &parts).await?,
    };
    let served = services.served;
    Ok(Prepared::new(
        plan, parts, served, programs, renewals, warnings,
    ))
}

/// Parts of a prepared plan that follow from the plan and its inputs, without asking any service.
struct Parts {
    /// Names that templates may use: variables and feeders.
    names: Names,
    computed: Vec<Computed>,
    feeds: Arc<[Feed]>,
    /// Routes to the targets; `None` for a target with a problem.
    routes: Vec<Option<Route>>,
    /// Credentials of the targets.
    credentials: Vec<Option<Credentials>>,
    redactor: Arc<Redactor>,
}

impl Parts {
    /// Reads variables, feeders, routes and credentials, and adds the problems found to `problems`.
    async fn new(
        plan: &Arc<Plan>,
        inputs: &Inputs,
        world: &World,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let resolved = budget::within(MAX_EXPANDED_IN_RUN, || plan.variables.resolve(Some(inputs)));
        let Resolved {
            mut names,
            computed,
        } = resolved.unwrap_or_else(|found| {
            problems.extend(found);
            Resolved::default()
        });
        let feeds = load_feeds(plan, inputs).await.unwrap_or_else(|found| {
            problems.extend(found);
            [].into()
        });
        feeder::declare(&mut names, plan, &feeds);
        let (routes, credentials) = reach(plan, inputs, world, problems);
        let redactor = Arc::new(Redactor::new(plan, inputs));
        feeds
            .iter()
            .for_each(|feed| feed.secret_texts(|text| redactor.learn(text.as_bytes())));
        Self {
            names,
            computed,
            feeds,
            routes,
            credentials,
            redactor,
        }
    }

    /// Returns the credentials of each target.
    fn credentials(&self) -> Vec<Option<&Credentials>> {
        self.credentials.iter().map(Option::as_ref).collect()
    }
}

/// Services that a test calls over gRPC.
#[derive(Default)]
struct Services {
    served: Vec<Served>,
    /// Renewals of the tokens, if these had to be fetched to ask for the services.
    renewals: Option<Vec<Renewal>>,
}

/// Finds the services that the plan's steps call, and adds the problems found to `problems`. Fails
/// if a token cannot be fetched or a target does not answer.
async fn find_services(
    plan: &Arc<Plan>,
    inputs: &Inputs,
    world: &World,
    parts: &Parts,
    problems: &mut Vec<Problem>,
) -> Result<Services, PrepareError> {
    let renewals = match services::are_asked_for(plan) {
        true => Some(begin_renewals(plan, parts).await?),
        false => None,
    };
    let (names, redactor) = (&parts.names, &parts.redactor);
    let credentials = parts.credentials();
    let described = services::describe(plan, inputs, names, world, &credentials, redactor).await;
    let served = match described {
        Ok(served) => served,
        Err(Unknown::Invalid(found)) => {
            problems.extend(found);
            Vec::new()
        }
        Err(Unknown::Unreached(why)) => return Err(PrepareError::Target(why)),
    };
    Ok(Services { served, renewals })
}

/// Compiles the programs of the plan. Steps that call a service that is not in `served` are
/// skipped.
fn compile_programs(
    plan: &Plan,
    inputs: &Inputs,
    parts: &Parts,
    served: &[Served],
) -> Result<Programs, Vec<Problem>> {
    let targets = parts.routes.len();
    let calls = (0..targets).map(|target| {
        let nth = served.iter().position(|served| served.target == target)?;
        Some(Calls {
            descriptors: &served[nth].descriptors,
            late_types: served[nth].late_types.as_ref(),
            route: targets + nth,
        })
    });
    let known = Known {
        credentials: &parts.credentials(),
        calls: &calls.collect::<Vec<_>>(),
    };
    budget::within(MAX_EXPANDED_IN_RUN, || {
        compile(plan, parts.names.clone(), inputs, known)
    })
}

/// Returns the references of the plan that have no input.
fn missing(plan: &Plan, inputs: &Inputs) -> Vec<Reference> {
    plan.references()
        .into_iter()
        .filter(|reference| inputs.get(reference).is_none())
        .cloned()
        .collect()
}

/// Creates the route and the credentials of each target; `None` for those with a problem.
fn reach(
    plan: &Plan,
    inputs: &Inputs,
    world: &World,
    problems: &mut Vec<Problem>,
) -> (Vec<Option<Route>>, Vec<Option<Credentials>>) {
    let reached = plan.all_targets().map(|target| {
        let rules = &plan.address_rules;
        let names = &world.names;
        let credentials = Credentials::new(target, inputs, world, rules)?;
        let route = Route::new(target, &plan.http, inputs, Reach { names, rules })?;
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

/// Returns a digest of the gRPC services and messages; `None` without calls over gRPC.
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

/// Fetches every token and starts its renewal.
async fn begin_renewals(plan: &Plan, parts: &Parts) -> Result<Vec<Renewal>, PrepareError> {
    let credentials = parts.credentials.iter().map(Option::as_ref);
    let begun =
        join_all(credentials.map(|credentials| begin_renewal(credentials, &parts.redactor))).await;
    let renewals = all_of(plan, "auth", begun).map_err(PrepareError::Token)?;
    Ok(renewals.into_iter().flatten().collect())
}

/// Fetches the token of `credentials`, if they are one, and starts its renewal.
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

/// Returns the results for all targets, or all problems, each at this field of its target.
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

/// Loads the data of feeders on a blocking thread, since large data take seconds.
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

/// Checks conditions that the engine relies on and a plan's type does not ensure. A validated plan
/// always passes.
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
