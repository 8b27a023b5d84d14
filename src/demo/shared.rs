//! What REST and gRPC answer from: the predictions made, the models there are, the counts.

use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

use super::categories::Category;
use super::counts::Counts;
use super::options::Options;
use super::predictions::{Prediction, Predictions};
use super::refusal::{Refusal, Refused};

pub(super) struct Shared {
    pub(super) counts: Counts,
    predictions: Predictions,
    pub(super) started: Instant,
    ready_after: Duration,
    /// Empty: every name is a model.
    models: Vec<String>,
}

impl Shared {
    pub(super) fn new(options: &Options) -> Shared {
        Shared {
            counts: Counts::new(),
            predictions: Predictions::new(rand::random()),
            started: Instant::now(),
            ready_after: options.ready_after,
            models: options.models.clone(),
        }
    }

    /// The id of the prediction, which is kept, and the category.
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

    pub(super) fn prediction(&self, id: &str) -> Option<Prediction> {
        self.predictions.get(id)
    }

    pub(super) fn is_ready(&self) -> bool {
        self.started.elapsed() >= self.ready_after
    }

    pub(super) fn has_model(&self, name: &str) -> bool {
        self.models.is_empty() || self.models.iter().any(|model| model == name)
    }

    /// Whether this model can be asked now.
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
