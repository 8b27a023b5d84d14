//! What is kept of streams: their messages, the time to the first, the gaps between them, and what
//! a language model wrote in them.

use super::codec::{Reader, Writer};
use super::{Histogram, StatsError};

/// Messages are counted, and gaps kept, in the interval in which they happen, whatever becomes of
/// the request; all else belongs to requests that succeeded, in the interval in which they ended.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StreamStats {
    /// By the client, over gRPC.
    pub messages_sent: u64,
    /// Messages over gRPC, events over HTTP.
    pub messages_received: u64,
    /// Intended time to the first of them; of a language model's to the first that bears content
    /// (TTFT).
    pub first: Histogram,
    /// From one to the next; of a language model's between those that bear content (ITL).
    pub gap: Histogram,
    /// Only where a language model answers.
    pub llm: Option<Box<LlmStats>>,
}

/// What a language model wrote.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LlmStats {
    /// Intended time to the first text that is no reasoning, of answers that begin by reasoning.
    pub first_answer: Histogram,
    /// Time from the first to the last content, by the tokens after the first (TPOT); of answers
    /// of several tokens.
    pub per_token: Histogram,
    /// Thousandths of an output token per second of latency, one value an answer.
    pub token_rate: Histogram,
    pub input_tokens: u64,
    pub output_tokens: u64,
    /// Of `output_tokens`: those that the answer calls reasoning.
    pub reasoning_tokens: u64,
    /// Answers whose tokens are those that the target counted.
    pub counted_by_usage: u64,
    /// Answers that did not say, of which each event with content counts as one output token and
    /// nothing as input.
    pub counted_by_events: u64,
}

/// How many requests met all limits of their step, where it has limits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Goodput {
    pub good: u64,
    /// Those that were held against them: finished, failed or not, or cut at the end of the run.
    pub judged: u64,
}

impl StreamStats {
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

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, StatsError> {
        Ok(Self {
            messages_sent: reader.number()?,
            messages_received: reader.number()?,
            first: Histogram::decode(reader.piece()?)?,
            gap: Histogram::decode(reader.piece()?)?,
            llm: if reader.is_there()? {
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
    pub fn merge(&mut self, other: &Goodput) {
        let Goodput { good, judged } = other;
        self.good += good;
        self.judged += judged;
    }
}
