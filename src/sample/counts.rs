//! The request counter: exact, by route and by status, and bounded however many paths clients think of.

use std::array;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{Method, StatusCode};
use serde::Serialize;

pub(super) const GRPC_PATH: &str = "/categorization.TextCategorization/GetPrediction";

/// Where a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    /// For probes and tests; neither counted nor troubled by faults.
    Admin(Admin),
    Rest(Endpoint),
    Grpc,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admin {
    Health,
    Count,
    Reset,
    WrongMethod { allowed: &'static str },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    Predict,
    Prediction,
    Invocations,
    UnknownPath,
    WrongMethod { allowed: &'static str },
}

/// Names of what is counted, at the index `counted` gives.
const COUNTED: [&str; 6] = [
    "POST /predict",
    "GET /predictions/{id}",
    "POST /serving-endpoints/{name}/invocations",
    "POST /categorization.TextCategorization/GetPrediction",
    "unknown path",
    "wrong method",
];

const STATUSES: usize = 1000;

/// Plain adding to shared numbers: a request costs two of them, tens of nanoseconds each.
pub(super) struct Counts {
    by_path: [AtomicU64; COUNTED.len()],
    by_status: Box<[AtomicU64]>,
}

/// What `GET /_count` shows. `total` is the sum of `byPath`; `byStatus` counts answers, so a client that leaves early is missing there.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CountView {
    total: u64,
    by_path: BTreeMap<&'static str, u64>,
    by_status: BTreeMap<usize, u64>,
}

impl Route {
    pub(super) fn of(method: &Method, path: &str) -> Route {
        let (allowed, route) = match path {
            "/predict" => ("POST", Route::Rest(Endpoint::Predict)),
            GRPC_PATH => ("POST", Route::Grpc),
            "/healthz" => ("GET", Route::Admin(Admin::Health)),
            "/_count" => ("GET", Route::Admin(Admin::Count)),
            "/_reset" => ("POST", Route::Admin(Admin::Reset)),
            _ if prediction_id(path).is_some() => ("GET", Route::Rest(Endpoint::Prediction)),
            _ if is_invocations(path) => ("POST", Route::Rest(Endpoint::Invocations)),
            _ => return Route::Rest(Endpoint::UnknownPath),
        };
        match route {
            _ if method.as_str() == allowed => route,
            Route::Admin(_) => Route::Admin(Admin::WrongMethod { allowed }),
            Route::Rest(_) | Route::Grpc => Route::Rest(Endpoint::WrongMethod { allowed }),
        }
    }

    fn counted(self) -> Option<usize> {
        match self {
            Route::Admin(_) => None,
            Route::Rest(Endpoint::Predict) => Some(0),
            Route::Rest(Endpoint::Prediction) => Some(1),
            Route::Rest(Endpoint::Invocations) => Some(2),
            Route::Grpc => Some(3),
            Route::Rest(Endpoint::UnknownPath) => Some(4),
            Route::Rest(Endpoint::WrongMethod { .. }) => Some(5),
        }
    }
}

/// The `{id}` of `/predictions/{id}`.
pub(super) fn prediction_id(path: &str) -> Option<&str> {
    path.strip_prefix("/predictions/").filter(|id| is_segment(id))
}

fn is_invocations(path: &str) -> bool {
    path.strip_prefix("/serving-endpoints/").and_then(|rest| rest.strip_suffix("/invocations")).is_some_and(is_segment)
}

fn is_segment(text: &str) -> bool {
    !text.is_empty() && !text.contains('/')
}

impl Counts {
    pub(super) fn new() -> Counts {
        Counts { by_path: array::from_fn(|_| AtomicU64::new(0)), by_status: (0..STATUSES).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Counts a request when its head has arrived; says whether it is one of those that count.
    pub(super) fn arrived(&self, route: Route) -> bool {
        route.counted().inspect(|index| add_one(&self.by_path[*index])).is_some()
    }

    pub(super) fn answered(&self, status: StatusCode) {
        add_one(&self.by_status[usize::from(status.as_u16())]);
    }

    pub(super) fn total(&self) -> u64 {
        self.by_path.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// A request under way keeps its place: its answer is counted after the reset, its arrival before.
    pub(super) fn reset(&self) {
        for count in self.by_path.iter().chain(&self.by_status) {
            count.store(0, Ordering::Relaxed);
        }
    }

    pub(super) fn view(&self) -> CountView {
        let seen = |count: &AtomicU64| Some(count.load(Ordering::Relaxed)).filter(|count| *count > 0);
        let by_path: BTreeMap<_, _> = COUNTED.iter().zip(&self.by_path).filter_map(|(name, count)| Some((*name, seen(count)?))).collect();
        let by_status = self.by_status.iter().enumerate().filter_map(|(status, count)| Some((status, seen(count)?))).collect();
        CountView { total: by_path.values().sum(), by_path, by_status }
    }
}

fn add_one(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_only_resembles_a_route_is_unknown() {
        for path in
            ["/", "/predict/", "/predictions/", "/predictions/a/b", "/serving-endpoints//invocations", "/serving-endpoints/a/b/invocations"]
        {
            assert_eq!(Route::of(&Method::POST, path), Route::Rest(Endpoint::UnknownPath), "{path}");
        }
    }

    #[test]
    fn a_known_path_with_another_method_says_which_is_allowed() {
        assert_eq!(Route::of(&Method::GET, "/predict"), Route::Rest(Endpoint::WrongMethod { allowed: "POST" }));
        assert_eq!(Route::of(&Method::GET, GRPC_PATH), Route::Rest(Endpoint::WrongMethod { allowed: "POST" }));
        assert_eq!(Route::of(&Method::DELETE, "/predictions/7"), Route::Rest(Endpoint::WrongMethod { allowed: "GET" }));
        assert_eq!(Route::of(&Method::GET, "/_reset"), Route::Admin(Admin::WrongMethod { allowed: "POST" }));
    }

    #[test]
    fn each_route_counts_under_the_name_of_its_template() {
        for (method, path, name) in [
            (Method::POST, "/predict", "POST /predict"),
            (Method::GET, "/predictions/7", "GET /predictions/{id}"),
            (Method::POST, "/serving-endpoints/wine/invocations", "POST /serving-endpoints/{name}/invocations"),
            (Method::POST, GRPC_PATH, "POST /categorization.TextCategorization/GetPrediction"),
            (Method::GET, "/nowhere", "unknown path"),
            (Method::PUT, "/predict", "wrong method"),
        ] {
            let counts = Counts::new();
            assert!(counts.arrived(Route::of(&method, path)));
            assert_eq!(counts.view().by_path, BTreeMap::from([(name, 1)]), "{method} {path}");
        }
    }

    #[test]
    fn what_probes_and_tests_ask_is_not_counted() {
        let counts = Counts::new();
        for path in ["/healthz", "/_count", "/_reset"] {
            assert!(!counts.arrived(Route::of(&Method::GET, path)), "{path}");
        }
        assert_eq!(counts.total(), 0);
    }

    #[test]
    fn the_view_is_json_that_adds_up_and_a_reset_empties_it() {
        let counts = Counts::new();
        for path in ["/predict", "/predict", "/a"] {
            counts.arrived(Route::of(&Method::POST, path));
        }
        counts.answered(StatusCode::OK);
        counts.answered(StatusCode::NOT_FOUND);
        let json = serde_json::to_value(counts.view()).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"total": 3, "byPath": {"POST /predict": 2, "unknown path": 1}, "byStatus": {"200": 1, "404": 1}})
        );
        counts.reset();
        assert_eq!(serde_json::to_value(counts.view()).unwrap(), serde_json::json!({"total": 0, "byPath": {}, "byStatus": {}}));
    }
}
