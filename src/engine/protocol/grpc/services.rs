//! What the services of a test's calls are: read from its files, or asked of the target.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::engine::auth::Credentials;
use crate::engine::net::route::Route;
use crate::engine::protocol::grpc::head::{Asked, Head};
use crate::engine::protocol::grpc::reflect::{PATIENCE, Unreflected, reflect};
use crate::engine::record::redactor::Redactor;
use crate::engine::world::World;
use crate::plan::grpc::{Descriptors, HEALTH, Method};
use crate::plan::{Inputs, Names, Plan, Problem, Protocol, Target};

/// Why a test's services are not known.
pub(crate) enum Unknown {
    Invalid(Vec<Problem>),
    /// Targets could not be asked.
    Unreached(Vec<Problem>),
}

/// What is known of the services of one target, and the way of calls to it.
pub(crate) struct Served {
    /// Place among the plan's.
    pub(crate) target: usize,
    pub(crate) route: Route,
    pub(crate) descriptors: Descriptors,
}

/// The services that calls name, by target.
pub(crate) fn named(plan: &Plan) -> BTreeMap<usize, BTreeSet<&str>> {
    let mut all: BTreeMap<usize, BTreeSet<&str>> = BTreeMap::new();
    for place in plan.steps() {
        if let Protocol::Grpc(grpc) = &place.step.call {
            all.entry(place.step.target)
                .or_default()
                .insert(grpc.method.service.as_str());
        }
    }
    all
}

/// Whether a target is to be asked for its services. That for health is always known.
pub(crate) fn are_asked_for(plan: &Plan) -> bool {
    plan.protos.is_none()
        && named(plan)
            .values()
            .flatten()
            .any(|service| *service != HEALTH)
}

/// What is asked, and on whose behalf.
#[derive(Clone, Copy)]
struct Asking<'a> {
    names: &'a Names,
    /// Of the target.
    credentials: Option<&'a Credentials>,
    /// For the target's words.
    redactor: &'a Redactor,
}

/// The ways of calls to their targets, and what is known of the services there. `credentials` are
/// by target.
pub(crate) async fn describe(
    plan: &Arc<Plan>,
    inputs: &Inputs,
    names: &Names,
    world: &World,
    credentials: &[Option<&Credentials>],
    redactor: &Redactor,
) -> Result<Vec<Served>, Unknown> {
    let named = named(plan);
    if named.is_empty() {
        return Ok(vec![]);
    }
    let of_files = match &plan.protos {
        Some(_) => Some(
            compile_files(plan, inputs)
                .await
                .map_err(Unknown::Invalid)?,
        ),
        None => None,
    };
    let mut all = Vec::new();
    for (place, target) in plan.all_targets().enumerate() {
        let Some(services) = named.get(&place) else {
            continue;
        };
        let invalid = |problem: Problem| Unknown::Invalid(vec![problem]);
        let route = Route::for_calls(target, &plan.http, &plan.grpc, inputs, &world.names)
            .map_err(invalid)?;
        let asked: BTreeSet<&str> = services
            .iter()
            .copied()
            .filter(|service| *service != HEALTH)
            .collect();
        let descriptors = match &of_files {
            Some(descriptors) => descriptors.clone(),
            None if asked.is_empty() => Descriptors::of_health(),
            None => {
                let asking = Asking {
                    names,
                    credentials: credentials.get(place).copied().flatten(),
                    redactor,
                };
                ask(target, &route, &asked, asking).await?
            }
        };
        all.push(Served {
            target: place,
            route,
            descriptors,
        });
    }
    Ok(all)
}

/// Compiling thousands of files takes a while, in which others of this thread have work to do.
async fn compile_files(plan: &Arc<Plan>, inputs: &Inputs) -> Result<Descriptors, Vec<Problem>> {
    let (plan, inputs) = (plan.clone(), inputs.clone());
    let compiling = tokio::task::spawn_blocking(move || {
        crate::engine::protocol::grpc::protos::load(&plan, &inputs)
    });
    compiling.await.unwrap_or_else(|e| {
        Err(vec![Problem::new(
            "spec.protos",
            format!("cannot be compiled: {e}"),
        )])
    })
}

async fn ask(
    target: &Target,
    route: &Route,
    services: &BTreeSet<&str>,
    asking: Asking<'_>,
) -> Result<Descriptors, Unknown> {
    let Asking {
        names,
        credentials,
        redactor,
    } = asking;
    let head_of = |method: &Method| {
        let asked = Asked {
            method,
            metadata: &[],
            timeout: PATIENCE,
            gzip: false,
        };
        let head = Head::compile(target, credentials, names, &asked, "spec.protos");
        head.map_err(|problems| {
            problems
                .first()
                .map(ToString::to_string)
                .unwrap_or_default()
        })
    };
    reflect(route, services, head_of).await.map_err(|error| {
        let whose = target
            .name
            .as_ref()
            .map_or(String::new(), |name| format!("of target {name:?}: "));
        // a target may repeat what it was shown
        let message = redactor.message(&format!("{whose}{error}"));
        match error {
            Unreflected::Unreached(_) => Unknown::Unreached(vec![Problem::new(
                format!("{}.url", target.field()),
                message,
            )]),
            Unreflected::Unoffered(_) | Unreflected::Denied(_) | Unreflected::Wrong(_) => {
                Unknown::Invalid(vec![Problem::new("spec.protos", message)])
            }
        }
    })
}
