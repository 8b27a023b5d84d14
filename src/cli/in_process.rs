//! Runs in one process: the same master and worker as in a cluster, joined by two queues instead of
//! a socket.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use super::web::{self, Page};
use crate::engine::RequestLogSink;
use crate::master::fleet::{Admission, serve_worker};
use crate::master::{Coordinator, Memory, Shared};
use crate::plan::Inputs;
use crate::stats::RunResult;
use crate::stats::result::Reason;
use crate::wire::control::{Grant, GrantAction, MasterState, Progress, Stop, WorkerProblem};
use crate::wire::layout::RunFile;
use crate::worker::{Identity, InputSource, Worker};

/// Interval of calls to `on_progress`.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);
/// Time from the master's start message to the start of the load: short, since it travels nowhere.
const START_IN: Duration = Duration::from_millis(50);
/// Largest number of messages in each queue.
const QUEUE: usize = 64;

/// Reason for which a run in this process has no result.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Problems of the worker with the test: the first of each kind and field.
    #[error("the run cannot start: {}", .0.iter().map(describe).collect::<Vec<_>>().join("; "))]
    NotReady(Vec<WorkerProblem>),
    /// Fewer workers than wanted were ready in time.
    #[error("{0}")]
    TooFew(String),
    /// The master refused the run, or a part of it ended early.
    #[error("cannot begin the run: {0}")]
    Master(String),
}

/// Writes a problem of a worker as a sentence.
pub(super) fn describe(problem: &WorkerProblem) -> String {
    let WorkerProblem {
        field,
        object,
        message,
        ..
    } = problem;
    if object.is_empty() {
        format!("{field}: {message}")
    } else {
        format!("{field}: {object} {message}")
    }
}

/// Carries out `file`, a run of one worker, on `cores` cores, and returns its result. The request
/// log goes to `request_log`, and `page` shows the run. When `stop` is cancelled, the load ends and the run is aborted; its
/// result is complete all the same.
///
/// # Errors
///
/// A test that the worker cannot run, and a master or worker that ends early.
pub async fn carry_out(
    file: RunFile,
    inputs: Inputs,
    cores: usize,
    request_log: Option<RequestLogSink>,
    page: Option<Page>,
    mut on_progress: impl FnMut(&Progress),
    stop: CancellationToken,
) -> Result<RunResult, RunError> {
    let (run, grace) = (file.run.clone(), file.grace);
    let coordinator = Coordinator::new(file, Memory::none(), Instant::now())
        .map_err(|e| RunError::Master(e.to_string()))?
        .starting_in(START_IN);
    let master = Shared::new(coordinator);
    let (to_master, from_worker) = mpsc::channel(QUEUE);
    let (to_worker, from_master) = mpsc::channel(QUEUE);
    let mut worker = Worker::new(
        Identity::new(&run, 0, cores),
        InputSource::Values(inputs),
        grace,
    )
    .logged_to(request_log);
    let serving = serve_worker(
        master.clone(),
        Admission::Any,
        ReceiverStream::new(from_worker),
        to_worker,
    );
    let working = async move {
        worker
            .serve(ReceiverStream::new(from_master), to_master)
            .await
    };
    let followed = follow(&master, &run, &mut on_progress, stop);
    let finished = web::beside(page, &master, followed);
    tokio::select! {
        outcome = finished => outcome,
        // both work until the run is over; to end before it is a defect, reported as one
        ((), end) = async { tokio::join!(serving, working) } => Err(RunError::Master(format!("the worker ended early: {end:?}"))),
        () = master.clone().keep_time() => Err(RunError::Master("time stood still".into())),
    }
}

/// Starts the run once the worker is ready, and waits for its result.
async fn follow(
    master: &Shared,
    run: &str,
    on_progress: &mut impl FnMut(&Progress),
    stop: CancellationToken,
) -> Result<RunResult, RunError> {
    tokio::select! {
        () = master.until(|coordinator| is_settled(&coordinator.progress(Instant::now()))) => {
            let problems = progress(master).problems;
            if !problems.is_empty() {
                return Err(RunError::NotReady(problems));
            }
            start(master, run)?;
        }
        // nothing has been started: the result says so
        () = stop.cancelled() => {}
    }
    finish(master, run, on_progress, &stop).await
}

/// Returns the progress of the run now.
pub(super) fn progress(master: &Shared) -> Progress {
    master.with(|coordinator| coordinator.progress(Instant::now()))
}

/// Gives the grant that starts the load.
pub(super) fn start(master: &Shared, run: &str) -> Result<(), RunError> {
    let grant = Grant {
        workers: None,
        deadline_micros: 0,
        run: run.to_owned(),
        epoch: 1,
        incarnation: progress(master).incarnation,
        action: GrantAction::Start,
    };
    master
        .with(|coordinator| coordinator.grant(&grant, Instant::now()))
        .map_err(|e| RunError::Master(e.to_string()))
}

/// Waits for the result of a run, and stops the run when `stop` is cancelled.
pub(super) async fn finish(
    master: &Shared,
    run: &str,
    on_progress: &mut impl FnMut(&Progress),
    stop: &CancellationToken,
) -> Result<RunResult, RunError> {
    let mut tick = tokio::time::interval(PROGRESS_EVERY);
    let mut stopping = false;
    loop {
        tokio::select! {
            () = master.until(|coordinator| coordinator.result().is_some()) => break,
            _ = tick.tick() => on_progress(&progress(master)),
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                let stop = Stop { run: run.to_owned(), reason: Reason::Interrupted, message: "stopped by a signal".into() };
                master.with(|coordinator| coordinator.stop(stop, Instant::now()));
            }
        }
    }
    on_progress(&progress(master));
    master
        .with(|coordinator| coordinator.result().cloned())
        .ok_or_else(|| RunError::Master("the result is gone".into()))
}

/// Returns whether the worker is ready or has reported why it is not.
fn is_settled(progress: &Progress) -> bool {
    progress.state != MasterState::Waiting || !progress.problems.is_empty()
}
