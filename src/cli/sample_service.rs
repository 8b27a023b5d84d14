//! `starling sample-service`: the service that the samples test, until a signal ends it.

use anyhow::Context;

use super::exit::Exit;
use crate::runtime::logging;
use crate::runtime::signals::Signals;
use crate::sample::{Options, SampleService};

pub fn run(options: Options) -> Exit {
    logging::init(logging::Format::Auto);
    let served = super::block_on(serve(options))
        .map_err(anyhow::Error::from)
        .flatten();
    // whoever ends a service by a signal did not see it fail
    served.map_or_else(super::could_not_run, |()| Exit::Passed)
}

async fn serve(options: Options) -> anyhow::Result<()> {
    let signals = Signals::install().context("cannot listen for signals")?;
    let service = SampleService::start(options).await?;
    // the first line of a pipe, so that a script which asked for port 0 learns the port
    println!("sample service on http://{}", service.address());
    signals.drain().cancelled().await;
    service.shut_down().await;
    Ok(())
}
