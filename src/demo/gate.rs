//! The gate: bounds on the requests that are served at once and on those that wait for their turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::options::Options;

/// Bounds the requests served at once. Without `--concurrency` it lets every request in.
pub(super) struct Gate {
    places: Option<Arc<Semaphore>>,
    waiting: AtomicU32,
    max_waiting: u32,
}

/// Place among the requests served, given back when it is dropped; `None` where there is no limit.
pub(super) type Place = Option<OwnedSemaphorePermit>;

/// Error of a request that finds no place and no room to wait.
#[derive(Debug)]
pub(super) struct Full;

/// One waiting request; dropping it lowers the count, however the wait ends.
struct Waiting<'a>(&'a AtomicU32);

impl Gate {
    /// Creates a gate with the limits of the options.
    pub(super) fn new(options: &Options) -> Gate {
        Gate {
            places: options
                .concurrency
                .map(|places| Arc::new(Semaphore::new(places.get() as usize))),
            waiting: AtomicU32::new(0),
            max_waiting: options.max_waiting.unwrap_or(u32::MAX),
        }
    }

    /// Takes a place, waiting for one if the options allow.
    ///
    /// # Errors
    /// Fails at once if as many requests wait as may.
    pub(super) async fn enter(&self) -> Result<Place, Full> {
        let Some(places) = &self.places else {
            return Ok(None);
        };
        if let Ok(place) = Arc::clone(places).try_acquire_owned() {
            return Ok(Some(place));
        }
        let waiting = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _leaves = Waiting(&self.waiting);
        if waiting >= self.max_waiting {
            return Err(Full);
        }
        // The semaphore is never closed, so its error cannot occur.
        Arc::clone(places)
            .acquire_owned()
            .await
            .map(Some)
            .map_err(|_| Full)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use futures::FutureExt;

    use super::*;

    fn gate(places: u32, max_waiting: u32) -> Gate {
        Gate::new(&Options {
            concurrency: NonZeroU32::new(places),
            max_waiting: Some(max_waiting),
            ..Options::default()
        })
    }

    #[tokio::test]
    async fn who_finds_no_place_and_no_room_to_wait_is_sent_away() {
        let gate = gate(1, 1);
        let place = gate.enter().await.unwrap();
        let mut second = Box::pin(gate.enter());
        assert!(second.as_mut().now_or_never().is_none());
        assert!(gate.enter().await.is_err());
        drop(place);
        assert!(second.await.is_ok());
    }

    #[tokio::test]
    async fn who_stops_waiting_leaves_room_for_another() {
        let gate = gate(1, 1);
        let _place = gate.enter().await.unwrap();
        for _ in 0..3 {
            assert!(gate.enter().now_or_never().is_none());
        }
    }

    #[tokio::test]
    async fn without_a_limit_everyone_enters() {
        let gate = Gate::new(&Options::default());
        for _ in 0..1000 {
            assert!(gate.enter().await.unwrap().is_none());
        }
    }
}
