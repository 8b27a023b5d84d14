//! The worker: accepts a share, runs the engine, hands over snapshots, drains.
//!
//! It starts a run at most once. What it measured it keeps until the master says that the result is
//! stored, so that a master which lost its memory can be told everything again.

mod backlog;
mod connect;
pub mod inputs;
pub mod join;
mod one_off;
mod preparation;
pub mod session;
mod work;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::engine::{RequestLogSink, RequestLogWriter};
use crate::plan::duration;
use crate::runtime::last_words;
use crate::wire::checksum::FileHash;
use crate::wire::layout;

pub use inputs::InputSource;
pub use session::{End, Identity, Worker};
pub use work::{Interval, Work};

/// Pause between two attempts to reach a master.
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// First pause before the name of a master is looked up again that has no address yet; each further
/// one is longer by as much.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Longest such pause: a thousand workers ask 2,000 times a second then.
const LOOK_AGAIN_AT_MOST: Duration = Duration::from_millis(500);
/// Time for which a worker whose load is over keeps its data for a master to fetch them.
const HOLD: Duration = Duration::from_secs(30 * 60);

/// Arguments of `starling worker`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Id of the run to work for
    #[arg(
        long,
        default_value = "",
        required_unless_present = "join",
        hide_default_value = true
    )]
    pub run: String,
    /// HOST:PORT of the master; every address of the host is tried
    #[arg(
        long,
        default_value = "",
        required_unless_present = "join",
        hide_default_value = true
    )]
    pub master: String,
    /// Number of this worker's share, from 0
    #[arg(
        long,
        env = "JOB_COMPLETION_INDEX",
        default_value_t = 0,
        required_unless_present = "join",
        hide_default_value = true
    )]
    pub index: u32,
    /// Folder of the run's CA and the worker token
    #[arg(long, default_value = layout::CHANNEL_DIR)]
    pub channel: PathBuf,
    /// SHA-256 of the plan (run.json) and of the run's CA; once any is given, files without one
    /// are refused
    #[arg(long, value_name = "NAME=HEX")]
    pub sha256: Vec<FileHash>,
    /// Folder of the Secrets and ConfigMaps the test refers to
    #[arg(long, default_value = layout::INPUTS_DIR)]
    pub inputs: PathBuf,
    /// Time without a word from the master after which the load is stopped
    #[arg(long, default_value = "90s", value_parser = duration::parse)]
    pub grace: Duration,
    /// Cores to use; all that this process may use if unset
    #[arg(long)]
    pub cores: Option<usize>,
}

/// Works until released, drained (`stop` cancelled) or without hope. Gives back the process's exit
/// code, one of [`layout::exit`]. Request log entries that the plan wants go to standard output.
pub async fn run(options: Options, stop: CancellationToken) -> u8 {
    let log = match RequestLogWriter::to(std::io::stdout()) {
        Ok(log) => log,
        Err(e) => {
            tracing::error!("cannot start a thread: {e}");
            return layout::exit::FAILED;
        }
    };
    let sink = log.sink(&options.run);
    let code = work(options, sink, stop).await;
    let written = log.close();
    if written.left_out() > 0 {
        tracing::warn!(
            "{} requests were written down, {} were left out",
            written.lines(),
            written.left_out()
        );
    }
    code
}

async fn work(options: Options, request_log: RequestLogSink, stop: CancellationToken) -> u8 {
    let connector = match connect::Connector::new(&options) {
        Ok(connector) => connector,
        Err(e) => {
            tracing::error!("{e}");
            last_words::leave(&e.to_string());
            return layout::exit::BAD_CONFIG;
        }
    };
    let identity = Identity::new(
        &options.run,
        options.index,
        options.cores.unwrap_or_else(usable_cores),
    )
    .in_place(&join::place_of_pod());
    let mut worker = Worker::new(identity, InputSource::Folder(options.inputs), options.grace)
        .checking(options.sha256)
        .logged_to(Some(request_log));
    let mut unresolved = 0;
    loop {
        let end = tokio::select! {
            end = attempt_and_rest(&connector, &mut worker, &mut unresolved) => end,
            () = stop.cancelled() => End::Drained,
        };
        match end {
            End::Released => return layout::exit::RELEASED,
            End::Refused {
                permanent: true,
                reason,
            } => {
                last_words::leave(&reason);
                return layout::exit::BAD_CONFIG;
            }
            End::Drained => {
                worker.drain(&connector).await;
                return layout::exit::DRAINED;
            }
            End::Refused { .. } | End::Lost => {}
        }
        if worker.has_held_for(Instant::now()) > HOLD {
            tracing::error!("no master has fetched the results; giving up");
            return layout::exit::FAILED;
        }
    }
}

/// One connection, from dialling to its end, and the pause before the next.
async fn attempt_and_rest(
    connector: &connect::Connector,
    worker: &mut Worker,
    unresolved: &mut u32,
) -> End {
    let end = attempt(connector, worker, unresolved).await;
    let is_over = match &end {
        End::Released | End::Drained => true,
        End::Lost => *unresolved > 0,
        End::Refused { permanent, .. } => *permanent,
    };
    if !is_over {
        worker.work_without_master(RETRY_EVERY).await;
    }
    end
}

/// One connection, from dialling to its end. `unresolved` counts the tries in a row for which the
/// master's name led to no address: this one then ends with a short pause, since a fleet waits for
/// the name.
async fn attempt(connector: &connect::Connector, worker: &mut Worker, unresolved: &mut u32) -> End {
    let end = match connector.open(worker).await {
        Ok((inbound, outbound)) => worker.serve(inbound, outbound).await,
        Err(e) if e.is_unresolved() => {
            if unresolved.is_power_of_two() || *unresolved == 0 {
                tracing::info!("no master yet: {e}");
            }
            *unresolved = unresolved.saturating_add(1);
            worker
                .work_without_master(look_again_after(*unresolved))
                .await;
            return End::Lost;
        }
        Err(e) if connector.is_final(&e) => End::Refused {
            reason: e.to_string(),
            permanent: true,
        },
        Err(e) => {
            tracing::info!("no master yet: {e}");
            End::Lost
        }
    };
    *unresolved = 0;
    end
}

/// Returns the pause before a name is looked up again that had no address `tries` times in a row.
fn look_again_after(tries: u32) -> Duration {
    LOOK_AGAIN.saturating_mul(tries).min(LOOK_AGAIN_AT_MOST)
}

/// Cores this process may use; one where the system does not say.
pub fn usable_cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_an_address_is_looked_up_soon_and_for_ever() {
        assert_eq!(look_again_after(1), LOOK_AGAIN);
        assert_eq!(look_again_after(2), LOOK_AGAIN * 2);
        for tries in [10, 1_000, u32::MAX] {
            assert_eq!(look_again_after(tries), LOOK_AGAIN_AT_MOST);
        }
    }
}
