//! The request counter: exact, by route and by status, and of fixed size whatever paths clients
//! ask for.

use std::array;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use http::StatusCode;
use serde::Serialize;
use tonic::Code;

use super::routes::{self, Kind, NAMES, Route};

const STATUSES: usize = 1000;
const GRPC_STATUSES: usize = Code::Unauthenticated as usize + 1;

/// Counts of requests, answers and messages. A request costs two additions to shared numbers, tens
/// of nanoseconds each.
pub(super) struct Counts {
    by_path: [AtomicU64; NAMES],
    by_status: Box<[AtomicU64]>,
    by_grpc_status: [AtomicU64; GRPC_STATUSES],
    messages_received: AtomicU64,
    messages_sent: AtomicU64,
}

/// Body of `GET /_count`. `total` is the sum of `byPath`; the statuses count answers, so a client
/// that leaves early is missing there.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CountView {
    total: u64,
    by_path: BTreeMap<String, u64>,
    by_status: BTreeMap<usize, u64>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    by_grpc_status: BTreeMap<usize, u64>,
    /// Messages of gRPC calls that are load, of each of the four kinds, and tokens and other events
    /// of streamed chats.
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<Messages>,
    /// Requests that are no load: for tokens, health, descriptors.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    aside: BTreeMap<String, u64>,
}

#[derive(Debug, Serialize)]
struct Messages {
    received: u64,
    sent: u64,
}

impl Counts {
    /// Creates counts of zero.
    pub(super) fn new() -> Counts {
        Counts {
            by_path: array::from_fn(|_| AtomicU64::new(0)),
            by_status: (0..STATUSES).map(|_| AtomicU64::new(0)).collect(),
            by_grpc_status: array::from_fn(|_| AtomicU64::new(0)),
            messages_received: AtomicU64::new(0),
            messages_sent: AtomicU64::new(0),
        }
    }

    /// Counts a request, to be called when its head has arrived.
    pub(super) fn arrived(&self, route: Route) {
        if route.kind != Kind::Silent {
            add_one(&self.by_path[route.index]);
        }
    }

    /// Counts an answer by its HTTP status.
    pub(super) fn answered(&self, status: StatusCode) {
        add_one(&self.by_status[usize::from(status.as_u16())]);
    }

    /// Counts the end of a gRPC call by its status.
    pub(super) fn answered_grpc(&self, code: Code) {
        add_one(&self.by_grpc_status[code as usize]);
    }

    /// Counts a message of a call or stream that arrived.
    pub(super) fn received(&self) {
        add_one(&self.messages_received);
    }

    /// Counts a message or event that was handed to the connection.
    pub(super) fn sent(&self) {
        add_one(&self.messages_sent);
    }

    /// Returns the number of requests that are load.
    pub(super) fn total(&self) -> u64 {
        self.by_path
            .iter()
            .enumerate()
            .filter(|(index, _)| routes::kind(*index) == Kind::Load)
            .map(|(_, count)| read(count))
            .sum()
    }

    /// Sets every count to zero. Of a request under way, the arrival was counted before the reset
    /// and the answer is counted after it.
    pub(super) fn reset(&self) {
        let Counts {
            by_path,
            by_status,
            by_grpc_status,
            messages_received,
            messages_sent,
        } = self;
        for count in by_path
            .iter()
            .chain(by_status)
            .chain(by_grpc_status)
            .chain([messages_received, messages_sent])
        {
            count.store(0, Ordering::Relaxed);
        }
    }

    /// Returns the counts as `GET /_count` shows them.
    pub(super) fn view(&self) -> CountView {
        let (mut by_path, mut aside) = (BTreeMap::new(), BTreeMap::new());
        for (index, count) in self
            .by_path
            .iter()
            .enumerate()
            .map(|(index, count)| (index, read(count)))
            .filter(|(_, count)| *count > 0)
        {
            let names = if routes::kind(index) == Kind::Load {
                &mut by_path
            } else {
                &mut aside
            };
            names.insert(routes::name(index), count);
        }
        let (received, sent) = (read(&self.messages_received), read(&self.messages_sent));
        CountView {
            total: by_path.values().sum(),
            by_path,
            by_status: seen(&self.by_status),
            by_grpc_status: seen(&self.by_grpc_status),
            messages: (received + sent > 0).then_some(Messages { received, sent }),
            aside,
        }
    }
}

fn seen(counts: &[AtomicU64]) -> BTreeMap<usize, u64> {
    counts
        .iter()
        .map(read)
        .enumerate()
        .filter(|(_, count)| *count > 0)
        .collect()
}

fn read(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

fn add_one(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    #[test]
    fn what_tests_ask_is_not_counted_and_what_clients_ask_beside_their_load_is_counted_apart() {
        let counts = Counts::new();
        for (method, path) in [
            (Method::GET, "/healthz"),
            (Method::GET, "/_count"),
            (Method::POST, "/oauth/token"),
        ] {
            counts.arrived(Route::of(&method, path));
        }
        assert_eq!(counts.total(), 0);
        let json = serde_json::to_value(counts.view()).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"total": 0, "byPath": {}, "byStatus": {}, "aside": {"POST /oauth/token": 1}})
        );
    }

    #[test]
    fn the_view_is_json_that_adds_up_and_a_reset_empties_it() {
        let counts = Counts::new();
        for path in ["/predict", "/predict", "/a"] {
            counts.arrived(Route::of(&Method::POST, path));
        }
        counts.answered(StatusCode::OK);
        counts.answered(StatusCode::NOT_FOUND);
        counts.answered_grpc(Code::Internal);
        counts.received();
        let json = serde_json::to_value(counts.view()).unwrap();
        let expected = serde_json::json!({
            "total": 3,
            "byPath": {"POST /predict": 2, "unknown path": 1},
            "byStatus": {"200": 1, "404": 1},
            "byGrpcStatus": {"13": 1},
            "messages": {"received": 1, "sent": 0},
        });
        assert_eq!((json, counts.total()), (expected, 3));
        counts.reset();
        assert_eq!(
            serde_json::to_value(counts.view()).unwrap(),
            serde_json::json!({"total": 0, "byPath": {}, "byStatus": {}})
        );
    }
}
