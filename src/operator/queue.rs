//! Queues of LoadTests that are to be passed over: one for each watched place.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use kube::core::DeserializeGuard;
use kube::runtime::reflector::ObjectRef;
use tokio::sync::mpsc;

use crate::crd::LoadTest;

/// LoadTest that may be unreadable: one that cannot be read must not hide the others.
pub type Guarded = DeserializeGuard<LoadTest>;

/// Most entries that wait in one queue. Its reader drops those that wait already, so that it is
/// full only while that reader is held up.
const MOST: usize = 4096;

/// Senders of all queues, by their watched place.
#[derive(Default)]
pub struct Queues(Mutex<HashMap<Option<String>, mpsc::Sender<ObjectRef<Guarded>>>>);

impl Queues {
    /// Opens the queue of a namespace, or of all namespaces.
    pub fn open(
        &self,
        place: Option<&str>,
    ) -> (
        mpsc::Sender<ObjectRef<Guarded>>,
        mpsc::Receiver<ObjectRef<Guarded>>,
    ) {
        let (sender, receiver) = mpsc::channel(MOST);
        let mut queues = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        queues.insert(place.map(str::to_owned), sender.clone());
        (sender, receiver)
    }

    /// Asks for a pass over one LoadTest. Where the queue is full nothing happens: a pass that is
    /// due by its time comes all the same.
    pub fn wake(&self, namespace: &str, name: &str) {
        let queues = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = queues.get(&Some(namespace.to_owned()));
        if let Some(queue) = own.or_else(|| queues.get(&None)) {
            // full, or its Controller is ending
            let _ = queue.try_send(ObjectRef::new(name).within(namespace));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loadtest_goes_to_the_queue_of_its_namespace_or_else_to_that_of_all() {
        let queues = Queues::default();
        let (_own, mut own) = queues.open(Some("team-a"));
        queues.wake("team-a", "one");
        queues.wake("team-b", "nobody watches it");
        let (_all, mut all) = queues.open(None);
        queues.wake("team-b", "two");
        assert_eq!(own.try_recv().unwrap().name, "one");
        assert_eq!(all.try_recv().unwrap().name, "two");
        assert!(own.try_recv().is_err() && all.try_recv().is_err());
    }
}
