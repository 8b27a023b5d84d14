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

/// Runs one worker of a run until the master releases it or a signal stops it.
pub fn worker(options: worker::Options) -> ExitCode {
    serve(|stop| async { Ok(worker::run(options, stop).await) })
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
