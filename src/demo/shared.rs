//! State that REST and gRPC share: the predictions made, the names of the models, the counts.

use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

use super::categories::Category;
use super::counts::Counts;
use super::options::Options;
use super::predictions::{Prediction, Predictions};
use super::refusal::{Refusal, Refused};

/// State that all connections and protocols of a service share.
pub(super) struct Shared {
    /// Requests, answers and messages so far.
    pub(super) counts: Counts,
    predictions: Predictions,
    /// Start of the service, from which stalls, readiness and the expiry of tokens are reckoned.
    pub(super) started: Instant,
    ready_after: Duration,
    /// Names of the models; if empty, every name is one.
    models: Vec<String>,
}

impl Shared {
    /// Creates the state of a service that starts now.
    pub(super) fn new(options: &Options) -> Shared {
        Shared {
            counts: Counts::new(),
            predictions: Predictions::new(rand::random()),
            started: Instant::now(),
            ready_after: options.ready_after,
            models: options.models.clone(),
        }
    }

    /// Categorises a text, keeps the prediction, and returns its id and the category.
    pub(super) fn categorize(&self, text: &str) -> (String, Category) {
        let category = Category::of(text);
        (
            self.predictions.add(Prediction {
                text: text.into(),
                category,
            }),
            category,
        )
    }

    /// Returns the prediction with this id, unless it was never made or has been forgotten.
    pub(super) fn prediction(&self, id: &str) -> Option<Prediction> {
        self.predictions.get(id)
    }

    /// Tells whether the time of `--ready-after` has passed.
    pub(super) fn is_ready(&self) -> bool {
        self.started.elapsed() >= self.ready_after
    }

    /// Tells whether there is a model of this name, ready or not.
    pub(super) fn has_model(&self, name: &str) -> bool {
        self.models.is_empty() || self.models.iter().any(|model| model == name)
    }

    /// Checks that this model can be asked now.
    ///
    /// # Errors
    /// Fails with 404 if there is no such model, with 503 if the service is not ready.
    pub(super) fn model(&self, name: &str) -> Refused<()> {
        if !self.has_model(name) {
            return Err(Refusal::of(
                StatusCode::NOT_FOUND,
                format!("there is no model {name:?} here"),
            ));
        }
        if self.is_ready() {
            Ok(())
        } else {
            Err(Refusal::not_ready())
        }
    }
}
