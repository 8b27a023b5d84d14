//! Types that an `Any` of an answer holds and that nobody named before the load. Each is asked of
//! the target's reflection once, beside the load; until its answer is there, the `Any` is shown as
//! one of an unknown type.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::mpsc;

use crate::engine::net::route::Route;
use crate::engine::protocol::grpc::head::Head;
use crate::engine::protocol::grpc::reflect::reflect;
use crate::plan::grpc::MessageDescriptor;

/// Most types of one target that are asked for, known to it or not.
const MAX_TYPES: usize = 64;

/// Longest name of a type that is asked for, in bytes.
const MAX_NAME: usize = 256;

/// Types of one target that were found during the load.
pub(crate) struct LateTypes {
    /// Types by name; `None` for one that was asked for and is not known, or not yet.
    known: RwLock<BTreeMap<String, Option<MessageDescriptor>>>,
    questions: mpsc::Sender<String>,
}

impl LateTypes {
    /// Starts the task that asks the target of `route`, one type after the other, by calls with
    /// these `heads`. It ends when the types are dropped.
    pub(super) fn begin(route: Route, heads: Vec<Head>) -> Arc<Self> {
        let (types, mut asked) = Self::new();
        let found = Arc::downgrade(&types);
        tokio::spawn(async move {
            while let Some(name) = asked.recv().await {
                let wanted = BTreeSet::from([name.clone()]);
                let described = reflect(&route, &BTreeSet::new(), &wanted, &heads).await;
                // without an answer the type stays unknown, and is shown as that
                let descriptor = described.ok().and_then(|types| types.message(&name));
                let Some(types) = found.upgrade() else { break };
                types.learn(name, descriptor);
            }
        });
        types
    }

    fn new() -> (Arc<Self>, mpsc::Receiver<String>) {
        let (questions, asked) = mpsc::channel(MAX_TYPES);
        let known = RwLock::default();
        (Arc::new(Self { known, questions }), asked)
    }

    fn learn(&self, name: String, descriptor: Option<MessageDescriptor>) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(name, descriptor);
    }

    /// Returns a type if it is known by now, and has it asked for when it is wanted for the first
    /// time.
    pub(crate) fn find(&self, name: &str) -> Option<MessageDescriptor> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(asked) = known.get(name) {
            return asked.clone();
        }
        drop(known);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() < MAX_TYPES && name.len() <= MAX_NAME && !known.contains_key(name) {
            known.insert(name.to_owned(), None);
            // there is room for each, and a task that is gone asks for none
            let _ = self.questions.try_send(name.to_owned());
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_asked_for_once_and_only_so_many_are() {
        let (types, mut asked) = LateTypes::new();
        for _ in 0..3 {
            assert!(types.find("a.B").is_none());
        }
        assert_eq!(asked.try_recv().as_deref(), Ok("a.B"));
        assert!(asked.try_recv().is_err(), "once");
        types.learn("a.B".into(), None);
        assert!(types.find("a.B").is_none() && asked.try_recv().is_err());
        for nth in 0..2 * MAX_TYPES {
            assert!(types.find(&format!("a.C{nth}")).is_none());
        }
        assert!(types.find(&"x".repeat(MAX_NAME + 1)).is_none());
        let more = std::iter::from_fn(|| asked.try_recv().ok()).count();
        assert_eq!(more, MAX_TYPES - 1);
    }
}
