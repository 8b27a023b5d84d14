//! Calls to masters, made beside passes and never within one: a master that is silent, slow or
//! hostile holds up nothing but what is asked of it.
//!
//! Each run in progress has a poller, which asks its master again and again, keeps the last answer,
//! and asks for a pass when that is news. What is to be done by a master (grant, stop,
//! acknowledgement) is an order: a pass leaves it with the poller once what announces it is
//! written, and a later pass sees what became of it. A poller ends with its run or its LoadTest.

mod pick;
mod poller;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::fault::KillPoint;
use super::metrics::Metrics;
use super::queue::Queues;
use super::view::MasterView;
use crate::wire::RunResult;
use crate::wire::control::{Grant, Scale, Stop};

use poller::Poller;

/// Most calls at once to masters that answered last time, or said at once that they do not, or were
/// not called before.
const CALLS: usize = 256;
/// Most calls at once to masters that kept the last call waiting for nothing.
const RETRIES: usize = 32;
/// Most results that are fetched at once.
const RESULTS: usize = 16;
/// Most answers at once that take up much memory, until a pass has stored them.
const LARGE: usize = 1;
/// Most orders that wait for one master; a run has no use for more than one of each kind.
const MAX_ORDERS: usize = 4;
/// Time after which a poller ends that no pass has asked about: its LoadTest is gone, or its run
/// has another operator.
const FORGOTTEN: Duration = Duration::from_secs(300);

/// Pollers of all runs in progress.
pub struct Masters {
    shared: Arc<Shared>,
    pollers: Mutex<HashMap<(String, String), Entry>>,
}

/// State that all pollers share.
struct Shared {
    metrics: Metrics,
    queues: Arc<Queues>,
    kill: KillPoint,
    calls: Semaphore,
    retries: Semaphore,
    results: Semaphore,
    large: Arc<Semaphore>,
}

/// Knowledge of a pass about the masters of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// Id of the run.
    pub run: String,
    /// Addresses of its master Pods, newest first. Any of them may be a stranger's: only one that
    /// proves the run's authority is believed.
    pub addresses: Vec<SocketAddr>,
    /// One of these Pods passes its readiness probe.
    pub is_ready: bool,
    /// Incarnation that holds the grant; it is preferred to any other.
    pub trusted: Option<String>,
    /// The result is to be fetched once it is final.
    pub wants_result: bool,
    /// Worker Pods that are up; when their number changes, the master has something new to say.
    pub workers: usize,
}

/// Authority and token that the operator shows to the masters of one run.
#[derive(Clone)]
pub struct Credentials {
    /// Certificate of the run's authority, as PEM.
    pub ca: String,
    /// Token of the operator.
    pub token: String,
}

/// Order to a master.
#[derive(Debug, Clone, PartialEq)]
pub enum Order {
    /// Start or resume the load. The status announces it first (W8).
    Grant(Grant),
    /// Go on with another number of workers.
    Scale(Scale),
    /// End the load.
    Stop(Stop),
    /// Release the workers, since the result is stored (W12).
    Acknowledge,
}

impl Order {
    /// Name of the call, for the metric and the kill points.
    fn label(&self) -> &'static str {
        match self {
            Order::Grant(_) => "grant",
            Order::Scale(_) => "scale",
            Order::Stop(_) => "stop",
            Order::Acknowledge => "acknowledge",
        }
    }
}

/// Knowledge of a poller about the master of a run.
#[derive(Debug, Clone)]
pub struct Known {
    /// Last answer, or why there is none.
    pub view: MasterView,
    /// Time of the last answer that this process has heard.
    pub heard: Option<Timestamp>,
    /// Final result, once it is there.
    pub result: Option<Arc<RunResult>>,
    /// Outcome of the acknowledgement, once it was tried.
    pub acknowledged: Option<bool>,
}

/// One poller and its task.
struct Entry {
    run: String,
    state: Arc<State>,
    task: JoinHandle<()>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// State through which a poller and the passes talk.
struct State {
    inner: Mutex<Inner>,
    /// Signal that something is to be done before its time.
    poked: Notify,
    /// Signal that all Pods are others than before: a call to one of those is not worth its time.
    moved: Notify,
}

struct Inner {
    wanted: Wanted,
    orders: Vec<Order>,
    known: Known,
    /// Room that a large result takes up.
    room: Option<OwnedSemaphorePermit>,
    asked_about: Instant,
    /// The Pods are others than before, or one has become ready: failures of before say nothing.
    is_fresh: bool,
}

impl State {
    fn new(wanted: Wanted) -> Self {
        let known = Known {
            view: MasterView::Unasked,
            heard: None,
            result: None,
            acknowledged: None,
        };
        Self {
            inner: Mutex::new(Inner {
                wanted,
                orders: Vec::new(),
                known,
                room: None,
                asked_about: Instant::now(),
                is_fresh: false,
            }),
            poked: Notify::new(),
            moved: Notify::new(),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Masters {
    /// Starts with no poller.
    pub fn new(metrics: Metrics, queues: Arc<Queues>) -> Self {
        Self {
            shared: Arc::new(Shared {
                metrics,
                queues,
                kill: KillPoint::from_env(),
                calls: Semaphore::new(CALLS),
                retries: Semaphore::new(RETRIES),
                results: Semaphore::new(RESULTS),
                large: Arc::new(Semaphore::new(LARGE)),
            }),
            pollers: Mutex::default(),
        }
    }

    /// Returns what is known of the masters of the run in `wanted`, and has them polled from now
    /// on. Does not wait. `credentials` are asked for only where a poller begins; their error is
    /// then what is known.
    pub fn look(
        &self,
        namespace: &str,
        name: &str,
        wanted: Wanted,
        credentials: impl FnOnce() -> Result<Credentials, String>,
    ) -> Known {
        let mut pollers = self.pollers();
        let key = (namespace.to_owned(), name.to_owned());
        let is_stale = |entry: &Entry| entry.run != wanted.run || entry.task.is_finished();
        if pollers.get(&key).is_some_and(is_stale) {
            pollers.remove(&key);
        }
        if let Some(entry) = pollers.get(&key) {
            return entry.state.turn_to(wanted);
        }
        let run = wanted.run.clone();
        let state = Arc::new(State::new(wanted));
        let credentials = match credentials() {
            Ok(credentials) => credentials,
            Err(why) => {
                state.lock().known.view = MasterView::Unreachable(why);
                return state.lock().known.clone();
            }
        };
        let poller = Poller::new(
            self.shared.clone(),
            key.clone(),
            run.clone(),
            state.clone(),
            credentials,
        );
        let known = state.lock().known.clone();
        let task = tokio::spawn(poller.run());
        pollers.insert(key, Entry { run, state, task });
        known
    }

    /// Leaves an order with the poller of `run`; one that waits already is not doubled. Without
    /// such a poller nothing happens: a later pass orders it anew.
    pub fn order(&self, namespace: &str, name: &str, run: &str, order: Order) {
        let pollers = self.pollers();
        let entry = pollers.get(&(namespace.to_owned(), name.to_owned()));
        let Some(entry) = entry.filter(|entry| entry.run == run) else {
            return;
        };
        let mut inner = entry.state.lock();
        if let Order::Scale(_) = order {
            // the latest number counts
            inner
                .orders
                .retain(|waiting| !matches!(waiting, Order::Scale(_)));
        }
        if inner.orders.contains(&order) || inner.orders.len() >= MAX_ORDERS {
            return;
        }
        inner.orders.push(order);
        entry.state.poked.notify_one();
    }

    /// Ends the poller of a LoadTest whose run is over, or that is gone.
    pub fn forget(&self, namespace: &str, name: &str) {
        self.pollers()
            .remove(&(namespace.to_owned(), name.to_owned()));
    }

    /// Number of pollers.
    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.pollers().len()
    }

    fn pollers(&self) -> std::sync::MutexGuard<'_, HashMap<(String, String), Entry>> {
        self.pollers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes in what a pass knows of the masters, and returns what the poller knows.
    fn turn_to(&self, wanted: Wanted) -> Known {
        let mut inner = self.lock();
        inner.asked_about = Instant::now();
        if !wanted.wants_result {
            (inner.known.result, inner.room) = (None, None);
        }
        let before = std::mem::replace(&mut inner.wanted, wanted);
        let wanted = &inner.wanted;
        let has_moved = before.addresses != wanted.addresses;
        let is_fresh = has_moved || (wanted.is_ready && !before.is_ready);
        let is_due =
            before.workers != wanted.workers || (wanted.wants_result && !before.wants_result);
        let stays = |address| wanted.addresses.contains(address);
        if has_moved && !before.addresses.iter().any(stays) {
            // whoever answered is gone, and with it the answer
            inner.known.view = MasterView::Unasked;
            self.moved.notify_one();
        }
        inner.is_fresh |= is_fresh;
        if is_fresh || is_due {
            self.poked.notify_one();
        }
        inner.known.clone()
    }
}

#[cfg(test)]
pub mod tests;
