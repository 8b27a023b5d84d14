//! `starling operator`, and the roles that it starts in a cluster: `starling master` and
//! `starling worker`.

use std::process::ExitCode;

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use crate::master::MasterError;
use crate::runtime::signals::Signals;
use crate::runtime::{last_words, logging};
use crate::wire::layout::exit;
use crate::{master, operator, worker};

/// Runs the operator until a signal stops it.
pub fn operator(options: operator::Options) -> ExitCode {
    serve(|stop| async { Ok(operator::run(options, stop).await.map(|()| 0)?) })
}

/// Runs the master of one run until the run is over or a signal stops it.
pub fn master(options: master::Options) -> ExitCode {
    serve(|stop| async {
        match master::run(options, stop).await {
            Ok(()) => Ok(0),
            // the operator reads this code off the Pod and ends the run
            Err(error @ MasterError::Foreign(_)) => {
                tracing::error!("{error}");
                last_words::leave(&error.to_string());
                Ok(exit::BAD_CONFIG)
            }
            Err(error) => Err(error.into()),
        }
    })
}

/// Generate one share of a run's load: a worker that joins from elsewhere, or one of a cluster
///
/// With --join the worker joins a run whose controller listens for it: starling run --listen, or
/// the master of a LoadTest with spec.workers.external. It goes when the run is over. The other
/// arguments are those by which the operator starts the workers of a cluster.
///
/// Exit codes: 0 the run is over; 42 turned away, such as for a wrong token or authority; 44 told
/// to go by a signal, after what was measured was handed over; 1 anything else.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct WorkerOptions {
    #[command(flatten)]
    join: worker::join::Options,
    #[command(flatten, next_help_heading = "A worker of a cluster")]
    of_cluster: worker::Options,
}

/// Runs one worker of a run until the master releases it or a signal stops it.
pub fn worker(options: WorkerOptions) -> ExitCode {
    let WorkerOptions { join, of_cluster } = options;
    serve(|stop| async move {
        let code = match join.join {
            Some(_) => worker::join::run(&join, of_cluster.cores, stop).await,
            None => worker::run(of_cluster, stop).await,
        };
        Ok(code)
    })
}

/// Runs a role until it is done or a signal has drained it.
fn serve<F: Future<Output = anyhow::Result<u8>>>(
    role: impl FnOnce(CancellationToken) -> F,
) -> ExitCode {
    logging::init(logging::Format::Auto);
    let work = async {
        let signals = Signals::install().context("cannot listen for signals")?;
        role(signals.drain().clone()).await
    };
    let code = super::block_on(work)
        .map_err(anyhow::Error::from)
        .flatten()
        .unwrap_or_else(|error| {
            tracing::error!("{error:#}");
            last_words::leave(&format!("{error:#}"));
            exit::FAILED
        });
    code.into()
}
