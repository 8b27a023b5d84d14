//! Paths of the service, and which of their requests count as load.

use http::Method;

/// Part of the service that answers a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// Categorises a text.
    Predict,
    /// Looks up a prediction made before.
    Prediction,
    /// Model serving as Databricks has it.
    Invocations,
    /// Chat completions in OpenAI's form.
    Chat,
    /// Chats in Ollama's form, as lines of JSON.
    ChatLines,
    /// Redirects to the address in the query.
    Redirect,
    /// Metadata of the server, in the V2 protocol.
    ServerMetadata,
    /// Metadata of a model, in the V2 protocol.
    ModelMetadata,
    /// Inference in the V2 protocol.
    Infer,
    /// The categoriser, reflection and health over gRPC, which ask for no token and no model.
    Grpc,
    /// The V2 protocol over gRPC.
    GrpcModel,
    /// Liveness of the server, in the V2 protocol.
    ServerLive,
    /// Readiness of the server, in the V2 protocol.
    ServerReady,
    /// Readiness of a model, in the V2 protocol.
    ModelReady,
    /// Gives bearer tokens.
    Token,
    /// Health of the process.
    Health,
    /// Shows the counts.
    Count,
    /// Sets the counts to zero.
    Reset,
    /// A path that fits no route.
    UnknownPath,
    /// A known path with another method.
    WrongMethod {
        /// Method that the path takes.
        allowed: &'static str,
    },
}

/// Role of a request for the counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Load: in the total, and subject to faults.
    Load,
    /// Requests that clients make beside their load, for tokens, health and descriptors: counted
    /// apart, and free of faults.
    Aside,
    /// Requests about the service itself: not counted.
    Silent,
}

/// Destination of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Route {
    /// Part of the service that answers.
    pub(super) endpoint: Endpoint,
    /// Role for the counter.
    pub(super) kind: Kind,
    /// Index of the name to count it under, below [`NAMES`].
    pub(super) index: usize,
}

struct Known {
    method: &'static str,
    /// Pattern; a segment in braces stands for any that is not empty.
    path: &'static str,
    endpoint: Endpoint,
    kind: Kind,
}

/// Known routes. The first that fits is taken, so the busiest stand first.
const KNOWN: [Known; 33] = [
    load("POST", "/predict", Endpoint::Predict),
    load("GET", "/predictions/{id}", Endpoint::Prediction),
    load(
        "POST",
        "/categorization.TextCategorization/GetPrediction",
        Endpoint::Grpc,
    ),
    load(
        "POST",
        "/categorization.TextCategorization/WatchPrediction",
        Endpoint::Grpc,
    ),
    load(
        "POST",
        "/categorization.TextCategorization/SummarizePredictions",
        Endpoint::Grpc,
    ),
    load(
        "POST",
        "/categorization.TextCategorization/GetPredictions",
        Endpoint::Grpc,
    ),
    load(
        "POST",
        "/serving-endpoints/{name}/invocations",
        Endpoint::Invocations,
    ),
    load("POST", "/v1/chat/completions", Endpoint::Chat),
    load("POST", "/api/chat", Endpoint::ChatLines),
    load("POST", "/redirect", Endpoint::Redirect),
    load("POST", "/v2/models/{model}/infer", Endpoint::Infer),
    load(
        "POST",
        "/v2/models/{model}/versions/{version}/infer",
        Endpoint::Infer,
    ),
    load("GET", "/v2/models/{model}", Endpoint::ModelMetadata),
    load(
        "GET",
        "/v2/models/{model}/versions/{version}",
        Endpoint::ModelMetadata,
    ),
    load("GET", "/v2", Endpoint::ServerMetadata),
    load(
        "POST",
        "/inference.GRPCInferenceService/ModelInfer",
        Endpoint::GrpcModel,
    ),
    load(
        "POST",
        "/inference.GRPCInferenceService/ModelMetadata",
        Endpoint::GrpcModel,
    ),
    load(
        "POST",
        "/inference.GRPCInferenceService/ServerMetadata",
        Endpoint::GrpcModel,
    ),
    aside(
        "POST",
        "/inference.GRPCInferenceService/ServerLive",
        Endpoint::Grpc,
    ),
    aside(
        "POST",
        "/inference.GRPCInferenceService/ServerReady",
        Endpoint::Grpc,
    ),
    aside(
        "POST",
        "/inference.GRPCInferenceService/ModelReady",
        Endpoint::Grpc,
    ),
    aside("POST", "/grpc.health.v1.Health/{method}", Endpoint::Grpc),
    aside(
        "POST",
        "/grpc.reflection.v1.ServerReflection/{method}",
        Endpoint::Grpc,
    ),
    aside(
        "POST",
        "/grpc.reflection.v1alpha.ServerReflection/{method}",
        Endpoint::Grpc,
    ),
    aside("GET", "/v2/health/live", Endpoint::ServerLive),
    aside("GET", "/v2/health/ready", Endpoint::ServerReady),
    aside("GET", "/v2/models/{model}/ready", Endpoint::ModelReady),
    aside(
        "GET",
        "/v2/models/{model}/versions/{version}/ready",
        Endpoint::ModelReady,
    ),
    aside("POST", "/oauth/token", Endpoint::Token),
    aside("POST", "/oidc/v1/token", Endpoint::Token),
    silent("GET", "/healthz", Endpoint::Health),
    silent("GET", "/_count", Endpoint::Count),
    silent("POST", "/_reset", Endpoint::Reset),
];

/// Number of names to count under: those of the known routes in their order, one for unknown paths
/// and one for wrong methods.
pub(super) const NAMES: usize = KNOWN.len() + 2;

const fn load(method: &'static str, path: &'static str, endpoint: Endpoint) -> Known {
    Known {
        method,
        path,
        endpoint,
        kind: Kind::Load,
    }
}

const fn aside(method: &'static str, path: &'static str, endpoint: Endpoint) -> Known {
    Known {
        method,
        path,
        endpoint,
        kind: Kind::Aside,
    }
}

const fn silent(method: &'static str, path: &'static str, endpoint: Endpoint) -> Known {
    Known {
        method,
        path,
        endpoint,
        kind: Kind::Silent,
    }
}

impl Route {
    /// Finds the route of a request; every request has one.
    pub(super) fn of(method: &Method, path: &str) -> Route {
        let Some(index) = KNOWN.iter().position(|known| fits(known.path, path)) else {
            return Route {
                endpoint: Endpoint::UnknownPath,
                kind: Kind::Load,
                index: KNOWN.len(),
            };
        };
        let Known {
            method: allowed,
            endpoint,
            kind,
            ..
        } = KNOWN[index];
        if method.as_str() == allowed {
            return Route {
                endpoint,
                kind,
                index,
            };
        }
        // A request about the service itself is no load, even with a wrong method.
        let kind = if kind == Kind::Silent {
            kind
        } else {
            Kind::Load
        };
        Route {
            endpoint: Endpoint::WrongMethod { allowed },
            kind,
            index: KNOWN.len() + 1,
        }
    }
}

/// Returns the `index`-th name, as the counts show it.
pub(super) fn name(index: usize) -> String {
    match KNOWN.get(index) {
        Some(Known { method, path, .. }) => format!("{method} {path}"),
        None if index == KNOWN.len() => "unknown path".to_owned(),
        None => "wrong method".to_owned(),
    }
}

/// Returns the role of requests that are counted under the `index`-th name.
pub(super) fn kind(index: usize) -> Kind {
    KNOWN.get(index).map_or(Kind::Load, |known| known.kind)
}

/// Returns the `place`-th segment of a path, empty if there is none.
pub(super) fn segment(path: &str, place: usize) -> &str {
    path.split('/').nth(place + 1).unwrap_or_default()
}

fn fits(pattern: &str, path: &str) -> bool {
    let (mut wanted, mut given) = (pattern.split('/'), path.split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return true,
            (Some(wanted), Some(given))
                if wanted == given || wanted.starts_with('{') && !given.is_empty() => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_only_resembles_a_route_is_unknown() {
        for path in [
            "/",
            "",
            "/predict/",
            "/predictions/",
            "/predictions/a/b",
            "/serving-endpoints//invocations",
            "/serving-endpoints/a/b/invocations",
            "/v2/models/m/infer/",
            "/categorization.TextCategorization/getprediction",
        ] {
            assert_eq!(
                Route::of(&Method::POST, path).endpoint,
                Endpoint::UnknownPath,
                "{path}"
            );
        }
    }

    #[test]
    fn a_known_path_with_another_method_says_which_is_allowed() {
        for (method, path, allowed, kind) in [
            (Method::GET, "/predict", "POST", Kind::Load),
            (
                Method::GET,
                "/categorization.TextCategorization/GetPrediction",
                "POST",
                Kind::Load,
            ),
            (Method::DELETE, "/predictions/7", "GET", Kind::Load),
            (Method::GET, "/_reset", "POST", Kind::Silent),
        ] {
            let route = Route::of(&method, path);
            assert_eq!(
                (route.endpoint, route.kind),
                (Endpoint::WrongMethod { allowed }, kind),
                "{path}"
            );
        }
    }

    #[test]
    fn each_route_goes_by_the_name_of_its_template() {
        for (method, path, wanted, kind) in [
            (Method::POST, "/predict", "POST /predict", Kind::Load),
            (
                Method::GET,
                "/predictions/7",
                "GET /predictions/{id}",
                Kind::Load,
            ),
            (
                Method::POST,
                "/serving-endpoints/wine/invocations",
                "POST /serving-endpoints/{name}/invocations",
                Kind::Load,
            ),
            (
                Method::GET,
                "/v2/models/wine/ready",
                "GET /v2/models/{model}/ready",
                Kind::Aside,
            ),
            (
                Method::POST,
                "/oauth/token",
                "POST /oauth/token",
                Kind::Aside,
            ),
            (Method::GET, "/_count", "GET /_count", Kind::Silent),
            (Method::GET, "/nowhere", "unknown path", Kind::Load),
            (Method::PUT, "/predict", "wrong method", Kind::Load),
        ] {
            let route = Route::of(&method, path);
            assert_eq!(name(route.index), wanted, "{path}");
            assert_eq!(route.kind, kind, "{path}");
        }
    }

    #[test]
    fn no_route_hides_behind_one_before_it() {
        for (index, known) in KNOWN.iter().enumerate() {
            let path = known.path.replace(['{', '}'], "");
            assert_eq!(
                Route::of(&Method::try_from(known.method).unwrap(), &path).index,
                index,
                "{path}"
            );
        }
    }
}
