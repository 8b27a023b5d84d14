//! Addresses of targets and token endpoints, found before the load and held against the rules of the
//! plan.

use futures::future::join_all;

use crate::engine::auth::{Credentials, RefreshedCredentials};
use crate::engine::net::resolve::Unresolved;
use crate::engine::net::route::Route;
use crate::engine::prepare::PrepareError;
use crate::engine::protocol::grpc::services::Served;
use crate::plan::{Plan, Preflight, Problem};

/// Fails if a target or a token endpoint may not be reached. Names that do not resolve are left to
/// whoever needs their addresses. Without rules nothing is asked.
pub(super) async fn check(
    plan: &Plan,
    routes: &[Option<Route>],
    credentials: &[Option<Credentials>],
) -> Result<(), PrepareError> {
    if plan.address_rules.is_empty() {
        return Ok(());
    }
    let routes = join_all(routes.iter().map(async |route| match route {
        Some(route) => refusal(route.resolve().await),
        None => None,
    }));
    let tokens = join_all(credentials.iter().map(async |credentials| {
        let refreshed = credentials.as_ref().and_then(Credentials::refreshed);
        match refreshed.and_then(RefreshedCredentials::token) {
            Some(token) => token.refusal().await,
            None => None,
        }
    }));
    let (routes, tokens) = futures::join!(routes, tokens);
    let refused = problems(plan, "url", routes)
        .chain(problems(plan, "auth.oauth2.tokenUrl", tokens))
        .collect::<Vec<_>>();
    match refused.is_empty() {
        true => Ok(()),
        false => Err(PrepareError::NotAllowed(refused)),
    }
}

/// Finds the addresses of every target, and of the calls over gRPC to them. Fails with those that
/// may not be reached, or else with those whose names do not resolve; with preflight `Off` the
/// latter are remarks, which are returned.
pub(super) async fn resolve(
    plan: &Plan,
    routes: &[Option<Route>],
    served: &[Served],
) -> Result<Vec<String>, PrepareError> {
    let resolved = join_all(routes.iter().map(async |route| match route {
        Some(route) => route.resolve().await,
        None => Ok(()),
    }));
    // those have the hosts of targets, of which the outcome tells
    let of_calls = join_all(served.iter().map(|served| served.route.resolve()));
    let (resolved, _) = futures::join!(resolved, of_calls);
    let refused = resolved.iter().cloned().map(refusal).collect();
    let refused: Vec<Problem> = problems(plan, "url", refused).collect();
    if !refused.is_empty() {
        return Err(PrepareError::NotAllowed(refused));
    }
    let unknown = resolved
        .into_iter()
        .map(|outcome| outcome.err().map(|why| why.to_string()));
    let unknown: Vec<Problem> = problems(plan, "url", unknown.collect()).collect();
    match unknown.is_empty() || plan.preflight == Preflight::Off {
        true => Ok(unknown.iter().map(Problem::to_string).collect()),
        false => Err(PrepareError::Target(unknown)),
    }
}

fn refusal(outcome: Result<(), Unresolved>) -> Option<String> {
    match outcome {
        Err(Unresolved::NotAllowed(why)) => Some(why),
        Ok(()) | Err(Unresolved::Dns(_) | Unresolved::Unanswered(_)) => None,
    }
}

/// Returns a problem for each target with a message, each at this field of its target.
fn problems(
    plan: &Plan,
    field: &str,
    messages: Vec<Option<String>>,
) -> impl Iterator<Item = Problem> {
    let targets = plan.all_targets().zip(messages);
    targets.filter_map(move |(target, message)| {
        Some(Problem::new(
            format!("{}.{field}", target.field()),
            message?,
        ))
    })
}
