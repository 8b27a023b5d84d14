//! Poller of the masters of one run.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use jiff::Timestamp;
use tokio::sync::SemaphorePermit;
use tokio::time::Instant;

use super::{Credentials, FORGOTTEN, Order, Shared, State, Wanted, pick};
use crate::operator::decide::clocks;
use crate::operator::view::MasterView;
use crate::runtime::backoff::Backoff;
use crate::wire::RunResult;
use crate::wire::control::{Client, ControlError, Large, MasterState, Progress};

/// Delays after calls that failed at once, as those to a master that is only starting do.
const AT_ONCE: Backoff = Backoff {
    first: Duration::from_secs(1),
    most: Duration::from_secs(5),
};
/// Delays after calls that took their time to fail.
const SLOWLY: Backoff = Backoff {
    first: Duration::from_secs(1),
    most: Duration::from_secs(60),
};
/// Bound between the two.
const SLOW: Duration = Duration::from_millis(1500);
/// Time that a result stays here for a pass to store it, before it is dropped and fetched again.
const KEPT: Duration = Duration::from_secs(120);

/// Poller of one run; it lives on a task of its own.
pub struct Poller {
    shared: Arc<Shared>,
    /// Namespace and name of the LoadTest.
    test: (String, String),
    run: String,
    state: Arc<State>,
    credentials: Credentials,
    clients: HashMap<SocketAddr, Arc<Client>>,
    /// Master that answered last.
    current: Option<SocketAddr>,
    /// Calls in a row that failed.
    failures: u32,
    /// Time that the last call took.
    took: Duration,
    /// Tries in a row that gave no result though there should be one.
    result_failures: u32,
    /// Time before which the result is not tried again.
    result_due: Instant,
    /// Time at which the result was fetched.
    fetched: Option<Instant>,
}

impl Poller {
    /// Prepares a poller; nothing is called yet.
    pub fn new(
        shared: Arc<Shared>,
        test: (String, String),
        run: String,
        state: Arc<State>,
        credentials: Credentials,
    ) -> Self {
        Self {
            shared,
            test,
            run,
            state,
            credentials,
            clients: HashMap::new(),
            current: None,
            failures: 0,
            took: Duration::ZERO,
            result_failures: 0,
            result_due: Instant::now(),
            fetched: None,
        }
    }

    /// Polls until the task is aborted, or no pass has asked for long.
    pub async fn run(mut self) {
        loop {
            let (wanted, order) = self.turn();
            let wants_call = !wanted.addresses.is_empty() && !self.holds_result();
            match order {
                Some(order) => self.carry_out(order, &wanted).await,
                None if wants_call => {
                    let state = self.state.clone();
                    tokio::select! {
                        () = self.poll(&wanted) => {}
                        () = state.moved.notified() => {}
                    }
                }
                None => {}
            }
            self.drop_stored_result();
            if self.state.lock().asked_about.elapsed() > FORGOTTEN {
                return;
            }
            self.rest().await;
        }
    }

    /// Takes in what a pass has said since the last call: what it knows, and what is to be done.
    fn turn(&mut self) -> (Wanted, Option<Order>) {
        let mut inner = self.state.lock();
        if std::mem::take(&mut inner.is_fresh) {
            (self.failures, self.took) = (0, Duration::ZERO);
            // the call that comes is to the new Pods already
            let _ = self.state.moved.notified().now_or_never();
        }
        (inner.wanted.clone(), inner.orders.first().cloned())
    }

    /// Waits until the next call is due, or something is to be done before.
    async fn rest(&self) {
        let (has_orders, is_fresh) = {
            let inner = self.state.lock();
            (!inner.orders.is_empty(), inner.is_fresh)
        };
        let delay = match (self.failures, has_orders) {
            _ if is_fresh => return,
            (0, true) => return,
            (0, false) => pace(&self.state.lock().known.view),
            (failures, _) if self.is_slow() => SLOWLY.jittered(failures),
            (failures, _) => AT_ONCE.jittered(failures),
        };
        // an order hurries no master that does not answer, but another Pod does
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = self.state.poked.notified() => {
                if self.failures > 0 && !self.state.lock().is_fresh {
                    tokio::time::sleep(AT_ONCE.first.min(delay)).await;
                }
            }
        }
    }

    /// Asks for the progress, and for the result when that is final.
    async fn poll(&mut self, wanted: &Wanted) {
        let shared = self.shared.clone();
        let began = Instant::now();
        let answer = {
            let _permit = lane(&shared, self.is_slow()).await;
            self.ask(wanted).await
        };
        self.took = began.elapsed();
        match answer {
            Ok(progress) => {
                let is_final = wanted.wants_result
                    && progress.state == MasterState::Finished
                    && progress.run == self.run
                    && Instant::now() >= self.result_due;
                self.failures = 0;
                let result = match is_final {
                    true => self.fetch_result().await,
                    false => None,
                };
                self.publish(progress, result);
            }
            Err(error) => self.publish_failure(&error),
        }
    }

    /// Asks the master that answered last, and all others where it does not answer or does not hold
    /// the grant.
    async fn ask(&mut self, wanted: &Wanted) -> Result<Progress, ControlError> {
        let addresses = pick::candidates(&wanted.addresses);
        let trusted = wanted.trusted.as_deref();
        let current = self.current.filter(|address| addresses.contains(address));
        let mut others = addresses.clone();
        let mut answers = Vec::new();
        let mut failure = None;
        if let Some(address) = current {
            others.retain(|other| *other != address);
            match self.progress_of(address)?.await {
                Ok(progress)
                    if others.is_empty()
                        || trusted.is_none()
                        || pick::is_trusted(&progress, trusted) =>
                {
                    return Ok(progress);
                }
                Ok(progress) => answers.push((address, progress)),
                Err(error) => failure = Some(error),
            }
        }
        let mut asked: FuturesUnordered<_> = others
            .into_iter()
            .map(|address| {
                let call = self.progress_of(address)?;
                Ok(async move { (address, call.await) })
            })
            .collect::<Result<_, ControlError>>()?;
        while let Some((address, answer)) = asked.next().await {
            match answer {
                Ok(progress) => {
                    let is_it = pick::is_trusted(&progress, trusted);
                    answers.push((address, progress));
                    if is_it {
                        break;
                    }
                }
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        drop(asked);
        match pick::best(&answers, &addresses, trusted) {
            Some((address, progress)) => {
                self.current = Some(*address);
                Ok(progress.clone())
            }
            None => {
                self.current = None;
                Err(failure.expect("there is an address, and each answers or fails"))
            }
        }
    }

    /// Returns the call for the progress of one master.
    fn progress_of(
        &mut self,
        address: SocketAddr,
    ) -> Result<impl Future<Output = Result<Progress, ControlError>> + use<>, ControlError> {
        let client = self.client(address)?;
        let metrics = self.shared.metrics.clone();
        Ok(async move {
            let answer = client.progress().await;
            metrics.master_called("progress", outcome(&answer));
            answer
        })
    }

    fn client(&mut self, address: SocketAddr) -> Result<Arc<Client>, ControlError> {
        if let Some(client) = self.clients.get(&address) {
            return Ok(client.clone());
        }
        let client = Client::with_room(
            &self.run,
            address,
            &self.credentials.ca,
            &self.credentials.token,
            self.shared.large.clone(),
        )?;
        let client = Arc::new(client);
        let addresses = self.state.lock().wanted.addresses.clone();
        self.clients.retain(|known, _| addresses.contains(known));
        self.clients.insert(address, client.clone());
        Ok(client)
    }

    /// Fetches the final result of the master that answered last.
    async fn fetch_result(&mut self) -> Option<Large<RunResult>> {
        let client = self.current_client().ok()?;
        let shared = self.shared.clone();
        let answer = {
            let lane = match self.result_failures {
                0 => &shared.results,
                _ => &shared.retries,
            };
            // never closed
            let _permit = lane.acquire().await;
            client.large_result().await
        };
        shared.metrics.master_called("result", outcome(&answer));
        let error = match answer {
            Ok(Large { value, room }) => match value {
                Some(value) if value.run == self.run => {
                    self.result_failures = 0;
                    return Some(Large { value, room });
                }
                Some(_) => "it is that of another run".to_owned(),
                None => "there is none yet".to_owned(),
            },
            Err(error) => error.to_string(),
        };
        self.result_failures = self.result_failures.saturating_add(1);
        self.result_due = Instant::now() + SLOWLY.jittered(self.result_failures);
        tracing::warn!(
            run = self.run,
            %error,
            "the master is finished but its result cannot be read"
        );
        None
    }

    /// Does what a pass has ordered, and keeps what became of it.
    async fn carry_out(&mut self, order: Order, wanted: &Wanted) {
        let began = Instant::now();
        let answer = match self.current_client() {
            // its Pod is gone: another may be the master now
            Err(None) if !wanted.addresses.is_empty() => {
                let answer = self.ask(wanted).await;
                self.took = began.elapsed();
                match answer {
                    Ok(progress) => return self.publish(progress, None),
                    Err(error) => Err(error),
                }
            }
            Err(None) => {
                self.end(&order, false);
                return self.wake();
            }
            Err(Some(error)) => Err(error),
            Ok(client) => self.call(&client, &order).await,
        };
        self.took = began.elapsed();
        self.end(&order, answer.is_ok());
        match answer {
            Ok(progress) => {
                self.failures = 0;
                self.publish(progress, None);
            }
            Err(error) => {
                let (namespace, loadtest) = &self.test;
                tracing::warn!(
                    namespace,
                    loadtest,
                    %error,
                    "the master did not take a call"
                );
                match error {
                    // it answers, and says what it will not do
                    ControlError::Refused { .. } => self.failures += 1,
                    _ => self.publish_failure(&error),
                }
            }
        }
        self.wake();
    }

    async fn call(&self, client: &Client, order: &Order) -> Result<Progress, ControlError> {
        // the operator's own name of the write, as in LIFECYCLE 2
        let point = match order {
            Order::Acknowledge => "W12",
            other => other.label(),
        };
        let _permit = lane(&self.shared, self.is_slow()).await;
        self.shared.kill.before(point);
        let answer = match order {
            Order::Grant(grant) => client.grant(grant).await,
            Order::Scale(scale) => client.scale(scale).await,
            Order::Stop(stop) => client.stop(stop).await,
            Order::Acknowledge => client.acknowledge().await,
        };
        self.shared
            .metrics
            .master_called(order.label(), outcome(&answer));
        if answer.is_ok() || !matches!(order, Order::Grant(_)) {
            self.shared.kill.after(point);
        }
        answer
    }

    /// Returns the client of the master that answered last; `None` as the error when none has.
    fn current_client(&mut self) -> Result<Arc<Client>, Option<ControlError>> {
        let addresses = self.state.lock().wanted.addresses.clone();
        let current = self.current.filter(|address| addresses.contains(address));
        self.client(current.ok_or(None)?).map_err(Some)
    }

    fn end(&self, order: &Order, is_done: bool) {
        let mut inner = self.state.lock();
        inner.orders.retain(|waiting| waiting != order);
        if *order == Order::Acknowledge {
            inner.known.acknowledged = Some(is_done);
        }
    }

    fn publish(&mut self, progress: Progress, result: Option<Large<RunResult>>) {
        let view = MasterView::Up(progress);
        let mut inner = self.state.lock();
        let is_news = inner.known.view != view || result.is_some();
        inner.known.view = view;
        inner.known.heard = Some(Timestamp::now());
        if let Some(Large { value, room }) = result {
            inner.known.result = Some(Arc::new(value));
            inner.room = room;
            self.fetched = Some(Instant::now());
        }
        drop(inner);
        if is_news {
            self.wake();
        }
    }

    fn publish_failure(&mut self, error: &ControlError) {
        self.failures = self.failures.saturating_add(1);
        let view = MasterView::Unreachable(error.to_string());
        let is_news = {
            let mut inner = self.state.lock();
            let before = std::mem::replace(&mut inner.known.view, view);
            before != inner.known.view
        };
        if is_news {
            self.wake();
        }
    }

    /// Returns whether the last call took long to come to nothing.
    fn is_slow(&self) -> bool {
        self.failures > 0 && self.took >= SLOW
    }

    fn holds_result(&self) -> bool {
        self.state.lock().known.result.is_some()
    }

    /// Drops a result that no pass has stored in its time: it may take up the room of others.
    fn drop_stored_result(&mut self) {
        if self.fetched.is_some_and(|at| at.elapsed() > KEPT) {
            let mut inner = self.state.lock();
            (inner.known.result, inner.room) = (None, None);
            self.fetched = None;
        }
    }

    fn wake(&self) {
        let (namespace, name) = &self.test;
        self.shared.queues.wake(namespace, name);
    }
}

/// Waits for the right to make a call. Masters that keep their callers waiting have a lane of their
/// own, so that they never hold up the others.
async fn lane(shared: &Shared, is_slow: bool) -> Option<SemaphorePermit<'_>> {
    let lane = match is_slow {
        true => &shared.retries,
        false => &shared.calls,
    };
    // never closed
    lane.acquire().await.ok()
}

/// Returns the time between two calls to a master that answers.
fn pace(view: &MasterView) -> Duration {
    match view {
        MasterView::Up(progress) if progress.state == MasterState::Running => {
            clocks::POLL.min(time_left(progress)).max(clocks::SOON)
        }
        _ => clocks::SOON,
    }
}

/// Returns the time until the load is over. A run whose length nobody knows may end at any time.
fn time_left(progress: &Progress) -> Duration {
    match progress.length_micros {
        0 => clocks::POLL,
        length => Duration::from_micros(length.saturating_sub(progress.elapsed_micros)),
    }
}

fn outcome<T>(answer: &Result<T, ControlError>) -> &'static str {
    answer.as_ref().map_or_else(ControlError::outcome, |_| "ok")
}
