//! End of a load, as seen by streams and others that could go on without limit.

use std::cell::Cell;

use tokio::sync::Notify;

/// Flag that the load is over, which can be waited for.
#[derive(Default)]
pub(crate) struct Closing {
    over: Cell<bool>,
    begun: Notify,
}

impl Closing {
    /// Ends the load: nothing new starts after it.
    pub(crate) fn begin(&self) {
        self.over.set(true);
        self.begun.notify_waiters();
    }

    /// Returns whether the load is over.
    pub(crate) fn is_over(&self) -> bool {
        self.over.get()
    }

    /// Waits until the load is over.
    pub(crate) async fn wait(&self) {
        while !self.over.get() {
            self.begun.notified().await;
        }
    }
}
