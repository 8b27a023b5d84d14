//! `starling demo-service`: serves what the examples test, until a signal ends it.

use anyhow::Context;

use super::exit::Exit;
use crate::demo::{DemoService, Options};
use crate::runtime::logging;
use crate::runtime::signals::Signals;

/// Serves until a signal asks it to end; a service that was ended by a signal has not failed.
pub fn run(options: Options) -> Exit {
    logging::init(logging::Format::Auto);
    let served = super::block_on(serve(options))
        .map_err(anyhow::Error::from)
        .flatten();
    served.map_or_else(super::could_not_run, |()| Exit::Passed)
}

async fn serve(options: Options) -> anyhow::Result<()> {
    let signals = Signals::install().context("cannot listen for signals")?;
    let service = DemoService::start(options).await?;
    // Scripts that asked for port 0 read the port from this line, so its words do not change.
    super::output::write(&format!("sample service on http://{}\n", service.address()))
        .context("cannot say where the service listens")?;
    signals.drain().cancelled().await;
    service.shut_down().await;
    Ok(())
}
