//! Statistics of streams: their messages, the time to the first, the gaps between them, and the
//! tokens that a language model wrote in them.

use super::codec::{Reader, Writer};
use super::{Histogram, StatsError};

/// Messages of the streams of one step. Messages are counted, and gaps kept, in the interval in
/// which they happen, whatever becomes of the request; all else belongs to requests that succeeded,
/// in the interval in which they ended.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StreamStats {
    /// Messages sent by the client, over gRPC.
    pub messages_sent: u64,
    /// Messages received over gRPC, or events over HTTP.
    pub messages_received: u64,
    /// Intended time to the first message; with a language model, to the first event that bears
    /// content (TTFT).
    pub first: Histogram,
    /// Time from one message to the next; with a language model, between events that bear content
    /// (ITL).
    pub gap: Histogram,
    /// Tokens, where a language model answers.
    pub llm: Option<Box<LlmStats>>,
}

/// Output of a language model, in answers that succeeded.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LlmStats {
    /// Intended time to the first text after the reasoning, of answers that begin by reasoning.
    pub first_answer: Histogram,
    /// Time from the first to the last content, by the tokens after the first (TPOT); of answers of
    /// several tokens.
    pub per_token: Histogram,
    /// Thousandths of an output token per second of latency, one value an answer.
    pub token_rate: Histogram,
    /// Tokens of prompts.
    pub input_tokens: u64,
    /// Tokens of completions.
    pub output_tokens: u64,
    /// Tokens among `output_tokens` that the answer calls reasoning.
    pub reasoning_tokens: u64,
    /// Answers whose tokens the target counted.
    pub counted_by_usage: u64,
    /// Answers without a count, of which each event with content counts as one output token and
    /// nothing as input.
    pub counted_by_events: u64,
}

/// Number of requests that met all limits of their step, where it has limits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Goodput {
    /// Requests that met them all.
    pub good: u64,
    /// Requests held against the limits: finished, failed or not, or cut at the end of the run.
    pub judged: u64,
}

impl StreamStats {
    /// Every histogram.
    pub(super) fn histograms(&self) -> impl Iterator<Item = &Histogram> {
        let models = self.llm.iter();
        let of_model = models.flat_map(|llm| [&llm.first_answer, &llm.per_token, &llm.token_rate]);
        [&self.first, &self.gap].into_iter().chain(of_model)
    }

    /// Tells whether no message was sent or received.
    pub fn is_empty(&self) -> bool {
        let Self {
            messages_sent,
            messages_received,
            first,
            gap,
            llm,
        } = self;
        *messages_sent == 0
            && *messages_received == 0
            && first.is_empty()
            && gap.is_empty()
            && llm.is_none()
    }

    /// Adds the messages of another shard, worker or interval.
    pub fn merge(&mut self, other: &StreamStats) {
        let StreamStats {
            messages_sent,
            messages_received,
            first,
            gap,
            llm,
        } = other;
        self.messages_sent += messages_sent;
        self.messages_received += messages_received;
        self.first.merge(first);
        self.gap.merge(gap);
        if let Some(llm) = llm {
            self.llm.get_or_insert_default().merge(llm);
        }
    }

    /// Appends the statistics.
    pub(super) fn write(&self, out: &mut Writer) {
        let StreamStats {
            messages_sent,
            messages_received,
            first,
            gap,
            llm,
        } = self;
        out.number(*messages_sent);
        out.number(*messages_received);
        out.piece(&first.encode());
        out.piece(&gap.encode());
        out.number(llm.is_some().into());
        if let Some(llm) = llm {
            llm.write(out);
        }
    }

    /// Reads what [`write`](Self::write) wrote.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, StatsError> {
        Ok(Self {
            messages_sent: reader.number()?,
            messages_received: reader.number()?,
            first: Histogram::decode(reader.piece()?)?,
            gap: Histogram::decode(reader.piece()?)?,
            llm: if reader.is_present()? {
                Some(Box::new(LlmStats::read(reader)?))
            } else {
                None
            },
        })
    }
}

impl LlmStats {
    fn merge(&mut self, other: &LlmStats) {
        let LlmStats {
            first_answer,
            per_token,
            token_rate,
            input_tokens,
            output_tokens,
            reasoning_tokens,
            counted_by_usage,
            counted_by_events,
        } = other;
        self.first_answer.merge(first_answer);
        self.per_token.merge(per_token);
        self.token_rate.merge(token_rate);
        self.input_tokens += input_tokens;
        self.output_tokens += output_tokens;
        self.reasoning_tokens += reasoning_tokens;
        self.counted_by_usage += counted_by_usage;
        self.counted_by_events += counted_by_events;
    }

    fn write(&self, out: &mut Writer) {
        let LlmStats {
            first_answer,
            per_token,
            token_rate,
            input_tokens,
            output_tokens,
            reasoning_tokens,
            counted_by_usage,
            counted_by_events,
        } = self;
        for histogram in [first_answer, per_token, token_rate] {
            out.piece(&histogram.encode());
        }
        for number in [
            input_tokens,
            output_tokens,
            reasoning_tokens,
            counted_by_usage,
            counted_by_events,
        ] {
            out.number(*number);
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, StatsError> {
        Ok(Self {
            first_answer: Histogram::decode(reader.piece()?)?,
            per_token: Histogram::decode(reader.piece()?)?,
            token_rate: Histogram::decode(reader.piece()?)?,
            input_tokens: reader.number()?,
            output_tokens: reader.number()?,
            reasoning_tokens: reader.number()?,
            counted_by_usage: reader.number()?,
            counted_by_events: reader.number()?,
        })
    }
}

impl Goodput {
    /// Adds the requests of another shard, worker or interval.
    pub fn merge(&mut self, other: &Goodput) {
        let Goodput { good, judged } = other;
        self.good += good;
        self.judged += judged;
    }
}
