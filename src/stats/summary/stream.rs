//! Summaries of streams: the numbers of a result, computed from their statistics.

use super::{Scale, share};
use crate::stats::result::{
    GoodputResult, LatencySummary, LlmResult, StreamResult, TokenRate, TokensFrom,
};
use crate::stats::{Goodput, Histogram, LlmStats, StreamStats};

impl StreamResult {
    /// Summarises the streams of a step.
    pub(super) fn of(stats: &StreamStats, scale: Scale) -> Self {
        let StreamStats {
            messages_sent,
            messages_received,
            first,
            gap,
            llm,
        } = stats;
        let of_messages = |times: &Histogram| llm.is_none().then(|| LatencySummary::of(times));
        Self {
            messages_sent: *messages_sent,
            messages_received: *messages_received,
            received_per_second: scale.per_second(*messages_received),
            first: of_messages(first),
            gap: of_messages(gap),
            llm: llm
                .as_ref()
                .map(|llm| LlmResult::of(llm, first, gap, scale)),
        }
    }
}

impl LlmResult {
    fn of(stats: &LlmStats, first: &Histogram, gap: &Histogram, scale: Scale) -> Self {
        let LlmStats {
            first_answer,
            per_token,
            token_rate,
            input_tokens,
            output_tokens,
            reasoning_tokens,
            counted_by_usage,
            counted_by_events,
        } = stats;
        Self {
            ttft: LatencySummary::of(first),
            first_answer: (!first_answer.is_empty()).then(|| LatencySummary::of(first_answer)),
            itl: LatencySummary::of(gap),
            tpot: LatencySummary::of(per_token),
            answer_rate: TokenRate::of(token_rate),
            input_tokens: *input_tokens,
            output_tokens: *output_tokens,
            reasoning_tokens: *reasoning_tokens,
            input_tokens_per_second: scale.per_second(*input_tokens),
            output_tokens_per_second: scale.per_second(*output_tokens),
            tokens_from: match (counted_by_usage, counted_by_events) {
                (_, 0) => TokensFrom::Usage,
                (0, _) => TokensFrom::Events,
                _ => TokensFrom::Both,
            },
        }
    }
}

impl TokenRate {
    /// Summarises rates in thousandths of a token per second.
    fn of(rates: &Histogram) -> Self {
        let p = |percent| rates.percentile(percent) as f64 / 1e3;
        Self {
            mean: rates.mean() / 1e3,
            p5: p(5.0),
            p50: p(50.0),
            p95: p(95.0),
        }
    }
}

impl GoodputResult {
    /// Summarises good requests; `None` where no request was held against limits.
    pub(super) fn of(stats: Goodput, dropped: u64, scale: Scale) -> Option<Self> {
        let Goodput { good, judged } = stats;
        let intended = judged + dropped;
        (judged > 0).then(|| Self {
            good,
            intended,
            per_second: scale.per_second(good),
            ratio: share(good, intended),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const TEN_SECONDS: Scale = Scale {
        length: Duration::from_secs(10),
        arrivals: None,
    };

    #[test]
    fn requests_without_limits_are_neither_good_nor_bad() {
        assert_eq!(GoodputResult::of(Goodput::default(), 5, TEN_SECONDS), None);
        let found = GoodputResult::of(Goodput { good: 0, judged: 1 }, 0, TEN_SECONDS).unwrap();
        assert_eq!((found.per_second, found.ratio), (0.0, 0.0));
    }

    #[test]
    fn dropped_arrivals_were_intended() {
        let found = GoodputResult::of(
            Goodput {
                good: 60,
                judged: 80,
            },
            20,
            TEN_SECONDS,
        )
        .unwrap();
        assert_eq!(
            (found.intended, found.per_second, found.ratio),
            (100, 6.0, 0.6)
        );
    }

    #[test]
    fn the_result_says_who_counted_the_tokens() {
        let from = |counted_by_usage, counted_by_events| {
            let llm = LlmStats {
                counted_by_usage,
                counted_by_events,
                output_tokens: 50,
                ..LlmStats::default()
            };
            let result = StreamResult::of(
                &StreamStats {
                    llm: Some(Box::new(llm)),
                    ..StreamStats::default()
                },
                TEN_SECONDS,
            );
            assert_eq!(
                (result.first, result.gap),
                (None, None),
                "these are TTFT and ITL then"
            );
            result.llm.unwrap()
        };
        assert_eq!(
            [from(3, 0), from(0, 3), from(1, 2)].map(|llm| llm.tokens_from),
            [TokensFrom::Usage, TokensFrom::Events, TokensFrom::Both]
        );
        assert_eq!(from(1, 0).output_tokens_per_second, 5.0);
    }

    #[test]
    fn a_stream_of_events_has_a_first_and_gaps() {
        let mut stats = StreamStats {
            messages_received: 30,
            ..StreamStats::default()
        };
        stats.first.record(7);
        let result = StreamResult::of(&stats, TEN_SECONDS);
        assert_eq!(
            (
                result.received_per_second,
                result.first.unwrap().max,
                result.gap.unwrap().max
            ),
            (3.0, 7, 0)
        );
        assert_eq!(result.llm, None);
    }
}
