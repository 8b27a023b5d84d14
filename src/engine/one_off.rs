//! Work that one worker does alone, on a separate thread: preflight and setup before the load,
//! teardown after it.

pub(super) mod preflight;

use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};

use crate::engine::load::shard::Order;
use crate::engine::prepare::Prepared;
use crate::engine::prepare::feeder::{Dealer, FeedData};
use crate::engine::record::recorder::ShardDelta;
use crate::engine::user::client::Client;
use crate::engine::user::context::{Context, ContextStart};
use crate::plan::{Action, Plan, Preflight, SetupValues, Share, Step, duration};
use crate::stats::Snapshot;

/// First number that `seq()` gives in a one-off, far beyond those of the load.
const SEQUENCE: u64 = 1 << 40;
/// Most seconds of statistics that wait to be merged; a further second is merged into the next.
const QUEUED_SECONDS: usize = 16;

/// Work done once for a run, by one worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OneOff {
    /// Waits for targets that are not ready.
    AwaitTargets,
    /// Makes the checks that [`Plan::preflight`] asks for.
    Preflight,
    /// Runs the setup steps before the load.
    Setup,
    /// Runs the teardown steps after the load.
    Teardown,
}

/// Inputs of a one-off.
#[derive(Debug, Clone)]
pub struct OneOffInputs {
    /// Share of the worker that does it.
    pub share: Share,
    /// Seed of the run.
    pub seed: u64,
    /// Values that setup found, for the one-offs after it.
    pub found: SetupValues,
    /// Time limit; a one-off that takes longer is cut and fails.
    pub within: Duration,
}

/// Result of a one-off.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Reason of a failure, without any value that setup found; `None` after success.
    pub failure: Option<String>,
    /// Text about a success, to show; empty if there is nothing to say.
    pub note: String,
    /// Values that setup found; after a failure, those found until then.
    pub found: SetupValues,
    /// Statistics of the requests of the one-off, counted as `control`.
    pub snapshot: Snapshot,
}

/// One-off that is running. Dropping it cuts it.
#[derive(Debug)]
pub struct RunningOneOff {
    orders: watch::Sender<Order>,
    outcome: oneshot::Receiver<Outcome>,
}

impl Prepared {
    /// Starts a one-off on a new thread.
    pub fn start_one_off(self: Arc<Self>, one_off: OneOff, inputs: OneOffInputs) -> RunningOneOff {
        let (orders, listener) = watch::channel(Order::Run);
        let (answer, outcome) = oneshot::channel();
        let run = move || {
            let done = std::panic::catch_unwind(AssertUnwindSafe(|| {
                carry_out(self, one_off, inputs, listener)
            }));
            // an error means that the receiver is gone
            let _ = answer.send(done.unwrap_or_else(|_| Outcome::failed("it panicked")));
        };
        // one that cannot be started drops the answer, and that is heard
        let _ = std::thread::Builder::new()
            .name("one-off".into())
            .spawn(run);
        RunningOneOff { orders, outcome }
    }
}

fn carry_out(
    prepared: Arc<Prepared>,
    one_off: OneOff,
    inputs: OneOffInputs,
    orders: watch::Receiver<Order>,
) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default());
    match runtime {
        Ok(runtime) => runtime.block_on(run(prepared, one_off, inputs, orders)),
        Err(error) => Outcome::failed(&format!("cannot start a runtime: {error}")),
    }
}

async fn run(
    prepared: Arc<Prepared>,
    one_off: OneOff,
    inputs: OneOffInputs,
    mut orders: watch::Receiver<Order>,
) -> Outcome {
    let OneOffInputs {
        share,
        seed,
        found,
        within,
    } = inputs;
    let once = &prepared.once;
    let (queue, mut seconds) = mpsc::channel(QUEUED_SECONDS);
    let now = Instant::now();
    let mut context = Context::new(ContextStart {
        prepared: prepared.clone(),
        dealer: Arc::new(dealer(&prepared, share, seed)),
        setup: prepared.setup_slots(&found),
        slice: share.slice(0, 1),
        place: 0,
        is_chief: true,
        seed,
        start: now,
        joined_at: now,
        first_second: 0,
        most_workers: 0,
        queue,
    });
    context.quotes_answers = one_off == OneOff::Preflight;
    context.skip_sequence(SEQUENCE);
    let context = Rc::new(context);
    let mut client = Client::user(context.clone(), Rc::default(), 0);
    let ended = tokio::select! {
        done = act(one_off, &context, &mut client) => done,
        () = tokio::time::sleep(within) => Err(Some(format!("it was not done within {}", duration::format(within)))),
        // cut by an order, or because the owner is gone
        _ = orders.wait_for(|order| *order == Order::Cut) => Err(Some("it was cut off".into())),
    };
    let found = once
        .names
        .iter()
        .filter_map(|(name, slot)| Some((name.clone(), client.value(*slot)?.clone())))
        .collect::<SetupValues>();
    drop(client);
    found
        .texts()
        .iter()
        .for_each(|text| prepared.redactor.learn(text.as_bytes()));
    let snapshot = match one_off {
        // not recorded, like the requests for tokens
        OneOff::AwaitTargets => Snapshot::default(),
        OneOff::Preflight | OneOff::Setup | OneOff::Teardown => measured(&context, &mut seconds),
    };
    conclude(&prepared.plan, one_off, ended, found, snapshot)
}

/// Builds the outcome of a one-off from what `ended` returned.
fn conclude(
    plan: &Plan,
    one_off: OneOff,
    ended: Result<String, Option<String>>,
    found: SetupValues,
    snapshot: Snapshot,
) -> Outcome {
    let ended = ended.and_then(|note| found.check_size().map_err(Some).map(|()| note));
    let refused = (one_off == OneOff::Preflight)
        .then(|| preflight::refusal(plan, &snapshot))
        .flatten();
    let (note, failure) = match ended {
        Ok(note) => (note, refused),
        Err(why) => (
            String::new(),
            Some(why.unwrap_or_else(|| failed_step(plan, one_off, &snapshot))),
        ),
    };
    Outcome {
        failure,
        note,
        found,
        snapshot,
    }
}

/// Carries out the one-off. Returns a text about its success or failure; `None` if the statistics
/// tell why it failed.
async fn act(
    one_off: OneOff,
    context: &Rc<Context>,
    client: &mut Client,
) -> Result<String, Option<String>> {
    let once = &context.prepared.once.steps;
    let program = match (one_off, context.prepared.plan.preflight) {
        (OneOff::AwaitTargets, _) => return preflight::await_targets(context).await.map_err(Some),
        (OneOff::Preflight, Preflight::Off) => return Ok(String::new()),
        (OneOff::Preflight, Preflight::Connect) => {
            return preflight::connect(context)
                .await
                .map(|()| String::new())
                .map_err(Some);
        }
        (OneOff::Preflight, Preflight::Once) => {
            preflight::connect(context).await.map_err(Some)?;
            preflight::rehearse(context).await;
            return Ok(String::new());
        }
        (OneOff::Setup, _) => &once.on_start,
        (OneOff::Teardown, _) => &once.on_stop,
    };
    if client.run_once(once, program).await {
        Ok(String::new())
    } else {
        Err(None)
    }
}

/// Creates the dealer of rows for a preflight. Rows of scope `Test` are taken without a lease,
/// since the load uses them anyway.
fn dealer(prepared: &Prepared, share: Share, seed: u64) -> Dealer {
    let dealer = Dealer::new(
        prepared.plan.feeder_slots(),
        prepared.feeds.clone(),
        share,
        seed,
        0,
    );
    for FeedData { feeder, rows, .. } in prepared.feed_data() {
        dealer.supply().grant(feeder, 0..u64::from(rows), false);
    }
    dealer
}

/// Returns all statistics, without the CPU time, which belongs to the load.
fn measured(context: &Context, seconds: &mut mpsc::Receiver<ShardDelta>) -> Snapshot {
    let mut snapshot = context
        .recorder
        .borrow_mut()
        .finish(Instant::now())
        .snapshot;
    while let Ok(delta) = seconds.try_recv() {
        snapshot.merge(&delta.snapshot);
    }
    let counters = &mut snapshot.counters;
    (
        counters.cpu_micros,
        counters.core_micros,
        counters.throttled_micros,
    ) = (0, 0, 0);
    // what was found meanwhile was not known to be secret then
    snapshot
        .errors
        .reword(|sample| context.prepared.redactor.message(&sample));
    snapshot
}

/// Describes the step at which the one-off failed: the last one with an error, since failures
/// before it were allowed.
fn failed_step(plan: &Plan, one_off: OneOff, snapshot: &Snapshot) -> String {
    let list = match one_off {
        OneOff::Setup => &plan.once.setup,
        OneOff::Teardown => &plan.once.teardown,
        OneOff::AwaitTargets | OneOff::Preflight => return "a step of it failed".to_owned(),
    };
    let requests: Vec<_> = plan.steps().collect();
    let flows: Vec<_> = plan.flows().collect();
    let place_of = |number: usize| match requests.get(number) {
        Some(place) => list.iter().position(
            |step| matches!(&step.action, Action::Request(request) if **request == *place.step),
        ),
        None => flows.get(number - requests.len()).map(|place| place.number),
    };
    let placed = snapshot
        .errors
        .iter()
        .filter_map(|(key, entry)| Some((place_of(key.step.into())?, entry)));
    match placed.max_by_key(|(place, _)| *place) {
        Some((place, entry)) => format!("{}: {}", described(place, &list[place]), entry.message),
        None => "a step of it failed".to_owned(),
    }
}

fn described(place: usize, step: &Step) -> String {
    match &step.action {
        Action::Request(request) => format!("step {:?}", request.name),
        Action::Call(_) | Action::Pause(_) => format!("step {}", place + 1),
    }
}

impl RunningOneOff {
    /// Waits for the outcome, which is returned once. Cancel safe.
    pub async fn outcome(&mut self) -> Outcome {
        (&mut self.outcome)
            .await
            .unwrap_or_else(|_| Outcome::failed("its thread could not be started"))
    }

    /// Cuts the one-off.
    pub fn cut(&self) {
        self.orders.send_replace(Order::Cut);
    }
}

impl Drop for RunningOneOff {
    fn drop(&mut self) {
        self.cut();
    }
}

impl Outcome {
    fn failed(why: &str) -> Self {
        Self {
            failure: Some(why.to_owned()),
            ..Self::default()
        }
    }
}
