//! A run in one process: the same master and worker as in a cluster, joined by two queues instead
//! of a socket.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use crate::engine::SampleSink;
use crate::master::fleet::attend;
use crate::master::{Coordinator, Memory, Shared};
use crate::plan::Inputs;
use crate::stats::RunResult;
use crate::wire::control::{Grant, GrantAction, MasterState, Progress, Stop, WorkerProblem};
use crate::wire::layout::RunFile;
use crate::worker::{Identity, InputSource, Worker};

/// How often progress is told.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);
/// Nothing travels far here.
const START_IN: Duration = Duration::from_millis(50);
/// Messages on their way between master and worker.
const QUEUE: usize = 64;

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The first of each kind and field.
    #[error("the run cannot start: {}", .0.iter().map(describe).collect::<Vec<_>>().join("; "))]
    NotReady(Vec<WorkerProblem>),
    #[error("cannot begin the run: {0}")]
    Master(String),
}

fn describe(problem: &WorkerProblem) -> String {
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

/// Carries out `file`, a run of one worker, on `cores` cores. Requests that the plan wants written
/// down go to `samples`. When `stop` is cancelled the load is ended and the run aborted; the result
/// is whole either way.
pub async fn carry_out(
    file: RunFile,
    inputs: Inputs,
    cores: usize,
    samples: Option<SampleSink>,
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
        InputSource::Given(inputs),
        grace,
    )
    .sampled_to(samples);
    let attending = attend(master.clone(), ReceiverStream::new(from_worker), to_worker);
    let working = async move {
        worker
            .serve(ReceiverStream::new(from_master), to_master)
            .await
    };
    let conducting = conduct(&master, &run, &mut on_progress, stop);
    tokio::select! {
        outcome = conducting => outcome,
        // both go on until the run is over; that they end first is a defect, told as one
        ((), end) = async { tokio::join!(attending, working) } => Err(RunError::Master(format!("the worker ended early: {end:?}"))),
        () = master.clone().keep_time() => Err(RunError::Master("time stood still".into())),
    }
}

async fn conduct(
    master: &Shared,
    run: &str,
    on_progress: &mut impl FnMut(&Progress),
    stop: CancellationToken,
) -> Result<RunResult, RunError> {
    let state = |master: &Shared| master.with(|coordinator| coordinator.progress(Instant::now()));
    master
        .until(|coordinator| is_settled(&coordinator.progress(Instant::now())))
        .await;
    let progress = state(master);
    if !progress.problems.is_empty() {
        return Err(RunError::NotReady(progress.problems));
    }
    let grant = Grant {
        run: run.to_owned(),
        epoch: 1,
        incarnation: progress.incarnation,
        action: GrantAction::Start,
    };
    master
        .with(|coordinator| coordinator.grant(&grant, Instant::now()))
        .map_err(|e| RunError::Master(e.to_string()))?;
    let mut tick = tokio::time::interval(PROGRESS_EVERY);
    let mut stopping = false;
    loop {
        tokio::select! {
            () = master.until(|coordinator| coordinator.result().is_some()) => break,
            _ = tick.tick() => on_progress(&state(master)),
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                let stop = Stop { run: run.to_owned(), reason: "Interrupted".into(), message: "stopped by a signal".into() };
                master.with(|coordinator| coordinator.stop(stop, Instant::now()));
            }
        }
    }
    on_progress(&state(master));
    master
        .with(|coordinator| coordinator.result().cloned())
        .ok_or_else(|| RunError::Master("the result is gone".into()))
}

/// The worker is ready, or has said why not.
fn is_settled(progress: &Progress) -> bool {
    progress.state != MasterState::Waiting || !progress.problems.is_empty()
}
