//! The end of a load, as those see it who could go on for as long as they like.

use std::cell::Cell;

use tokio::sync::Notify;

/// End of a load, once it has come.
#[derive(Default)]
pub(crate) struct Closing {
    over: Cell<bool>,
    told: Notify,
}

impl Closing {
    /// Nothing new starts from here on.
    pub(crate) fn begin(&self) {
        self.over.set(true);
        self.told.notify_waiters();
    }

    /// Says whether nothing new starts.
    pub(crate) fn is_over(&self) -> bool {
        self.over.get()
    }

    /// Waits until nothing new starts.
    pub(crate) async fn wait(&self) {
        while !self.over.get() {
            self.told.notified().await;
        }
    }
}
