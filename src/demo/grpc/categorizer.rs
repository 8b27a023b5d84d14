//! The text categoriser, in each of the four kinds of call.

use std::collections::HashMap;
use std::sync::Arc;

use futures::stream::{self, BoxStream, StreamExt};
use tokio::time::{Instant, sleep, sleep_until};
use tonic::codec::CompressionEncoding::Gzip;
use tonic::{Request, Response, Status, Streaming};

use super::super::faults::Pace;
use super::super::shared::Shared;
use super::super::wire::text_categorization_server::{
    TextCategorization, TextCategorizationServer,
};
use super::super::wire::{PredictionReply, PredictionRequest, PredictionSummary, WatchRequest};

/// Messages of a watch that does not say how many it wants.
const USUAL_MESSAGES: u32 = 3;
const MOST_MESSAGES: u32 = 10_000;
const CUT: &str = "a stream cut on purpose (--cut-rate)";

type Replies = BoxStream<'static, Result<PredictionReply, Status>>;

/// Implementation of the text categoriser.
pub(in crate::demo) struct Categorizer(Arc<Shared>);

/// Creates the service, which takes and gives gzip.
pub(super) fn server(shared: Arc<Shared>) -> TextCategorizationServer<Categorizer> {
    TextCategorizationServer::new(Categorizer(shared))
        .accept_compressed(Gzip)
        .send_compressed(Gzip)
}

#[tonic::async_trait]
impl TextCategorization for Categorizer {
    type WatchPredictionStream = Replies;
    type GetPredictionsStream = Replies;

    async fn get_prediction(
        &self,
        request: Request<PredictionRequest>,
    ) -> Result<Response<PredictionReply>, Status> {
        Ok(Response::new(self.0.reply(request.into_inner())))
    }

    async fn watch_prediction(
        &self,
        request: Request<WatchRequest>,
    ) -> Result<Response<Replies>, Status> {
        let mut pace = pace(&request);
        self.0.counts.received();
        let WatchRequest { text, count } = request.into_inner();
        let count = match count {
            0 => USUAL_MESSAGES,
            count if count <= MOST_MESSAGES => count,
            _ => {
                return Err(Status::invalid_argument(format!(
                    "count is above {MOST_MESSAGES}"
                )));
            }
        };
        let end = if pace.is_cut() { count / 2 } else { count };
        let (shared, is_cut) = (Arc::clone(&self.0), end < count);
        let mut due = Instant::now();
        let times = (0..end).map(move |place| {
            due += if place == 0 { pace.first() } else { pace.gap() };
            due
        });
        let replies = stream::iter(times).then(move |due| {
            let (shared, text) = (Arc::clone(&shared), text.clone());
            async move {
                if due > Instant::now() {
                    sleep_until(due).await;
                }
                Ok(shared.send(text))
            }
        });
        let end = stream::iter(is_cut.then(|| Err(Status::aborted(CUT))));
        Ok(Response::new(replies.chain(end).boxed()))
    }

    async fn summarize_predictions(
        &self,
        request: Request<Streaming<PredictionRequest>>,
    ) -> Result<Response<PredictionSummary>, Status> {
        let mut requests = request.into_inner();
        let mut summary = PredictionSummary {
            texts: 0,
            categories: HashMap::new(),
        };
        while let Some(PredictionRequest { text }) = requests.message().await? {
            self.0.counts.received();
            summary.texts += 1;
            *summary
                .categories
                .entry(self.0.categorize(&text).1.to_string())
                .or_default() += 1;
        }
        self.0.counts.sent();
        Ok(Response::new(summary))
    }

    async fn get_predictions(
        &self,
        request: Request<Streaming<PredictionRequest>>,
    ) -> Result<Response<Replies>, Status> {
        let mut pace = pace(&request);
        if pace.is_cut() {
            return Err(Status::aborted(CUT));
        }
        let first = pace.first();
        let state = (request.into_inner(), Arc::clone(&self.0), pace, Some(first));
        let replies = stream::unfold(
            state,
            |(mut requests, shared, mut pace, first)| async move {
                let reply = match requests.message().await {
                    Ok(None) => return None,
                    Err(status) => Err(status),
                    Ok(Some(PredictionRequest { text })) => {
                        shared.counts.received();
                        sleep(first.unwrap_or_else(|| pace.gap())).await;
                        Ok(shared.send(text))
                    }
                };
                Some((reply, (requests, shared, pace, None)))
            },
        );
        Ok(Response::new(replies.boxed()))
    }
}

impl Shared {
    /// Answers the only message of a call.
    fn reply(&self, PredictionRequest { text }: PredictionRequest) -> PredictionReply {
        self.counts.received();
        self.send(text)
    }

    /// Creates the reply to a text, and counts it as sent.
    fn send(&self, text: String) -> PredictionReply {
        let (prediction_id, category) = self.categorize(&text);
        self.counts.sent();
        PredictionReply {
            text,
            prediction_id,
            category: category.to_string(),
        }
    }
}

/// Returns the pace that the service attached to the request, as it does to every call of the load.
fn pace<T>(request: &Request<T>) -> Pace {
    request
        .extensions()
        .get::<Pace>()
        .cloned()
        .unwrap_or_default()
}
