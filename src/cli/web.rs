//! `starling run --web`: the page of a run, for browsers on this machine.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::in_process::RunError;
use super::output::note;
use crate::master::ui::{self, Feed, Hosts, Keys, Site};
use crate::master::{Shared, Token};
use crate::runtime::door::Door;

/// Most connections of strangers.
const STRANGERS: usize = 64;
/// Longest time that viewers have to fetch the result of a run that is over.
const FAREWELL: Duration = Duration::from_secs(5);
/// Time that is left to tabs that share the stream of another one, which has gone.
const LINGER: Duration = Duration::from_millis(500);
/// Interval at which it is looked whether they have.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Arguments of a run that can be watched.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
pub struct Options {
    /// Serve a page on which a browser on this machine can watch the run [default address: a free
    /// port of 127.0.0.1]
    #[arg(
        long,
        value_name = "IP:PORT",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "127.0.0.1:0",
        value_parser = address
    )]
    web: Option<SocketAddr>,
}

/// Reads an address of this machine: a page that others reach would need TLS.
fn address(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text
        .parse()
        .map_err(|_| "write IP:PORT, such as 127.0.0.1:8089".to_owned())?;
    match address.ip().is_loopback() {
        true => Ok(address),
        false => Err("the page is served to this machine only: 127.0.0.1 or [::1]".to_owned()),
    }
}

/// Page that waits for its run.
pub struct Page {
    listener: TcpListener,
    token: String,
}

impl Options {
    /// Tells whether the run is to be watched.
    pub fn is_wanted(&self) -> bool {
        self.web.is_some()
    }

    /// Opens the port, and says where the page is. `None` if the run is not to be watched.
    ///
    /// # Errors
    ///
    /// An address that cannot be listened on.
    pub async fn open(&self) -> anyhow::Result<Option<Page>> {
        let Some(wanted) = self.web else {
            return Ok(None);
        };
        let listener = TcpListener::bind(wanted)
            .await
            .with_context(|| format!("cannot serve the page on {wanted}"))?;
        let address = listener.local_addr()?;
        let token = format!("{:032x}", rand::random::<u128>());
        // browsers keep what follows # to themselves
        note(&format!(
            "note: watch the run at http://{address}/#code={token}"
        ));
        Ok(Some(Page { listener, token }))
    }
}

impl Page {
    /// Carries out `run` while the page is served, and gives those who watch time to fetch its
    /// result.
    ///
    /// # Errors
    ///
    /// Those of `run`, and a port that fails.
    pub async fn beside<T>(
        self,
        master: Shared,
        run: impl Future<Output = Result<T, RunError>>,
    ) -> Result<T, RunError> {
        let stop = CancellationToken::new();
        let feed = Feed::new(master.clone(), stop.clone());
        let token = Token::new(&self.token);
        let keys = Keys {
            read: token.clone(),
            control: Some(token),
        };
        let site = Site {
            hosts: Hosts::Loopback,
            is_secure: false,
            ends_with_run: true,
        };
        let pages = ui::router(master, feed.clone(), keys, site);
        let serving = Door::new(self.listener, STRANGERS).serve(pages, None, stop);
        let watched = async {
            let outcome = run.await;
            farewell(&feed).await;
            outcome
        };
        tokio::select! {
            outcome = watched => outcome,
            served = serving => Err(RunError::Master(match served {
                Ok(()) => "the port of the page was closed".to_owned(),
                Err(error) => format!("cannot serve the page: {error}"),
            })),
            () = feed.run() => Err(RunError::Master("the page stood still".to_owned())),
        }
    }
}

/// Waits until nobody watches any more, for a short time.
async fn farewell(feed: &Feed) {
    if feed.viewers() == 0 {
        return;
    }
    let until = Instant::now() + FAREWELL;
    let mut tick = tokio::time::interval(LOOK_EVERY);
    while feed.viewers() > 0 && Instant::now() < until {
        tick.tick().await;
    }
    tokio::time::sleep(LINGER).await;
}

/// Carries out `run`, with its page if there is one.
pub async fn beside<T>(
    page: Option<Page>,
    master: &Shared,
    run: impl Future<Output = Result<T, RunError>>,
) -> Result<T, RunError> {
    match page {
        Some(page) => page.beside(master.clone(), run).await,
        None => run.await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_for_this_machine_alone() {
        assert_eq!(address("127.0.0.1:0"), Ok(([127, 0, 0, 1], 0).into()));
        assert!(address("[::1]:8089").is_ok());
        for bad in [
            "0.0.0.0:80",
            "10.0.0.1:80",
            "8089",
            "localhost:80",
            "127.0.0.1",
        ] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }
}
