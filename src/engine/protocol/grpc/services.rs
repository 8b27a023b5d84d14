//! Descriptors of the services that a test calls, read from its files or asked of the target.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::engine::auth::Credentials;
use crate::engine::net::resolve::Reach;
use crate::engine::net::route::Route;
use crate::engine::protocol::grpc::head::{CallOptions, Head};
use crate::engine::protocol::grpc::late_types::LateTypes;
use crate::engine::protocol::grpc::reflect::{PATIENCE, Unreflected, methods, reflect};
use crate::engine::record::redactor::Redactor;
use crate::engine::world::World;
use crate::plan::grpc::{Descriptors, HEALTH, Messages, Method};
use crate::plan::{Inputs, Names, Plan, Problem, Protocol, Target};

/// Reason why a test's services are not known.
pub(crate) enum Unknown {
    /// The test's files or the target's answer are invalid.
    Invalid(Vec<Problem>),
    /// Targets could not be asked.
    Unreached(Vec<Problem>),
}

/// Services of one target, and the route of calls to it.
pub(crate) struct Served {
    /// Position of the target among the plan's.
    pub(crate) target: usize,
    /// Route of calls to the target.
    pub(crate) route: Route,
    /// Descriptors of the services.
    pub(crate) descriptors: Descriptors,
    /// Types that the target is asked for during the load; `None` if its answers hold none that
    /// could be unknown, or the test has files of its own.
    pub(crate) late_types: Option<Arc<LateTypes>>,
}

/// Returns the services that calls name, by position of the target.
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

/// Returns the names of types that the messages of calls name in an `Any`.
fn types_in_any(plan: &Plan) -> BTreeSet<String> {
    let mut types = BTreeSet::new();
    for place in plan.steps() {
        if let Protocol::Grpc(grpc) = &place.step.call {
            let listed = match grpc.stream.as_ref().map(|stream| &stream.messages) {
                Some(Messages::List(list)) => list.as_slice(),
                Some(Messages::Times(_)) | None => &[],
            };
            for message in grpc.message.iter().chain(listed) {
                message.texts_called("@type", &mut |url| {
                    let name = url.rsplit('/').next().unwrap_or_default();
                    types.insert(name.to_owned());
                });
            }
        }
    }
    types
}

/// Returns whether a target must be asked for its services. The health service is always known.
pub(crate) fn are_asked_for(plan: &Plan) -> bool {
    plan.protos.is_none()
        && named(plan)
            .values()
            .flatten()
            .any(|service| *service != HEALTH)
}

/// Names, credentials and redactor for asking one target.
#[derive(Clone, Copy)]
struct Asking<'a> {
    names: &'a Names,
    /// Credentials of the target.
    credentials: Option<&'a Credentials>,
    /// Redactor for the target's messages.
    redactor: &'a Redactor,
    /// Types that messages name in an `Any`.
    types: &'a BTreeSet<String>,
}

/// Finds the route of calls and the descriptors of each called target. `credentials` are by
/// position of the target.
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
    let types = types_in_any(plan);
    let mut all = Vec::new();
    for (place, target) in plan.all_targets().enumerate() {
        let Some(services) = named.get(&place) else {
            continue;
        };
        let invalid = |problem: Problem| Unknown::Invalid(vec![problem]);
        let reach = Reach {
            names: &world.names,
            rules: &plan.address_rules,
        };
        let route =
            || Route::for_calls(target, &plan.http, &plan.grpc, inputs, reach).map_err(invalid);
        let asked: BTreeSet<&str> = services
            .iter()
            .copied()
            .filter(|service| *service != HEALTH)
            .collect();
        let (descriptors, late_types) = match &of_files {
            Some(descriptors) => (descriptors.clone(), None),
            None if asked.is_empty() => (Descriptors::of_health(), None),
            None => {
                let asking = Asking {
                    names,
                    credentials: credentials.get(place).copied().flatten(),
                    redactor,
                    types: &types,
                };
                discover(target, route()?, &asked, asking).await?
            }
        };
        all.push(Served {
            target: place,
            route: route()?,
            descriptors,
            late_types,
        });
    }
    Ok(all)
}

/// Compiles the plan's files on a blocking thread, since thousands of files take a while.
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

/// Asks a target for its services. Returns also the types that it is asked for later, where a
/// message may hold any.
async fn discover(
    target: &Target,
    route: Route,
    services: &BTreeSet<&str>,
    asking: Asking<'_>,
) -> Result<(Descriptors, Option<Arc<LateTypes>>), Unknown> {
    let (descriptors, heads) = ask(target, &route, services, asking).await?;
    let late_types = descriptors
        .know_any()
        .then(|| LateTypes::begin(route, heads));
    Ok((descriptors, late_types))
}

/// Asks a target for its services. Returns also the heads of the calls by which it is asked.
async fn ask(
    target: &Target,
    route: &Route,
    services: &BTreeSet<&str>,
    asking: Asking<'_>,
) -> Result<(Descriptors, Vec<Head>), Unknown> {
    let Asking {
        names,
        credentials,
        redactor,
        types: _,
    } = asking;
    let head_of = |method: Method| {
        let options = CallOptions {
            method: &method,
            metadata: &[],
            timeout: PATIENCE,
            gzip: false,
        };
        let head = Head::compile(target, credentials, names, &options, "spec.protos");
        head.map_err(|problems| {
            let first = problems.first().map(ToString::to_string);
            Unreflected::Wrong(first.unwrap_or_default())
        })
    };
    let asked = async {
        let heads: Vec<Head> = methods().map(head_of).collect::<Result<_, _>>()?;
        let descriptors = reflect(route, services, asking.types, &heads).await?;
        Ok((descriptors, heads))
    };
    asked.await.map_err(|error| {
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
