//! Streams on the terminal: their events or tokens, and how many requests were good ones.

use super::clean;
use super::page::{Page, end_of};
use super::table::NAME;
use crate::stats::format;
use crate::stats::result::{
    GoodputResult, LlmResult, StepResult, StreamResult, TokenRate, TokensFrom,
};

impl Page {
    /// Adds times and counts of each step whose answers are streams.
    pub(super) fn streams(&mut self, steps: &[StepResult]) {
        let streams: Vec<_> = steps
            .iter()
            .filter_map(|step| Some((step, step.stream.as_ref()?)))
            .collect();
        if streams.is_empty() {
            return;
        }
        self.times_columns("STREAMS");
        for (step, stream) in &streams {
            if streams.len() > 1 {
                let name = end_of(&clean(&step.step), NAME);
                self.line(&format!("  {name}"));
            }
            self.stream(stream);
            if let Some(goodput) = step.goodput.as_ref().filter(|_| streams.len() > 1) {
                self.entry("goodput", &good(goodput));
            }
        }
    }

    fn stream(&mut self, stream: &StreamResult) {
        let StreamResult {
            messages_sent,
            messages_received,
            received_per_second,
            first,
            gap,
            llm,
        } = stream;
        first.iter().for_each(|times| self.times("first", times));
        gap.iter().for_each(|times| self.times("gap", times));
        let sent = if *messages_sent > 0 {
            format!("{} sent, ", format::count(*messages_sent))
        } else {
            String::new()
        };
        let received = format!(
            "{} received ({}/s)",
            format::count(*messages_received),
            format::rate(*received_per_second)
        );
        match llm {
            None => self.entry("messages", &format!("{sent}{received}")),
            Some(llm) => self.llm(llm),
        }
    }

    fn llm(&mut self, llm: &LlmResult) {
        let LlmResult {
            ttft,
            first_answer,
            itl,
            tpot,
            answer_rate,
            input_tokens,
            output_tokens,
            reasoning_tokens,
            input_tokens_per_second,
            output_tokens_per_second,
            tokens_from,
        } = llm;
        self.times("TTFT", ttft);
        first_answer
            .iter()
            .for_each(|times| self.times("- answer", times));
        self.times("ITL", itl);
        self.times("TPOT", tpot);
        if *output_tokens == 0 {
            self.entry("tokens out", "none: no answer came to its end");
            return;
        }
        let from = counted(*tokens_from);
        let reasoning = if *reasoning_tokens > 0 {
            format!(", {} of them reasoning", format::count(*reasoning_tokens))
        } else {
            String::new()
        };
        let (output, rate) = (
            format::count(*output_tokens),
            format::rate(*output_tokens_per_second),
        );
        self.entry(
            "tokens out",
            &format!("{output} ({rate}/s){reasoning}; {from}"),
        );
        if *input_tokens > 0 {
            self.entry(
                "tokens in",
                &format!(
                    "{} ({}/s)",
                    format::count(*input_tokens),
                    format::rate(*input_tokens_per_second)
                ),
            );
        }
        let TokenRate {
            mean: _,
            p5,
            p50,
            p95,
        } = answer_rate;
        let [p5, p50, p95] = [p5, p50, p95].map(|rate| format::rate(*rate));
        self.entry(
            "an answer",
            &format!("{p50} tokens/s at the median, {p5} to {p95} for 90% of all"),
        );
    }
}

/// Says who counted the tokens.
fn counted(from: TokensFrom) -> &'static str {
    match from {
        TokensFrom::Usage => "counted by the target",
        TokensFrom::Events => "counted by events: the target sent no usage",
        TokensFrom::Both => "counted by events where the target sent no usage",
    }
}

/// Writes `9.3/s within all limits, 93% of the 1,000 intended`.
pub(super) fn good(goodput: &GoodputResult) -> String {
    let GoodputResult {
        good: _,
        intended,
        per_second,
        ratio,
    } = goodput;
    format!(
        "{}/s within all limits, {} of the {} intended",
        format::rate(*per_second),
        format::percent(*ratio),
        format::count(*intended)
    )
}

#[cfg(test)]
mod tests {
    use super::super::tests::{LATENCY, result};
    use super::super::{Style, WIDTH, render};
    use super::*;

    fn of(stream: StreamResult) -> String {
        let mut result = result();
        result.steps[0].stream = Some(stream);
        result.totals.goodput = Some(GoodputResult {
            good: 93,
            intended: 1_000,
            per_second: 9.3,
            ratio: 0.093,
        });
        let text = render(&result, Style::Plain);
        assert!(
            text.lines().all(|line| line.chars().count() <= WIDTH),
            "{text}"
        );
        text
    }

    #[test]
    fn events_have_a_first_and_gaps() {
        let stream = StreamResult {
            messages_received: 1_234,
            received_per_second: 123.4,
            first: Some(LATENCY),
            gap: Some(LATENCY),
            ..Default::default()
        };
        let text = of(stream);
        assert!(
            text.contains("\n  first ")
                && text.contains("\n  gap ")
                && text.contains("  messages    1,234 received (123.4/s)\n"),
            "{text}"
        );
        assert!(
            text.contains("  goodput     9.3/s within all limits, 9.3% of the 1,000 intended\n"),
            "{text}"
        );
    }

    #[test]
    fn a_language_model_without_a_success_has_the_names_of_its_field_and_no_tokens() {
        let text = of(StreamResult {
            llm: Some(LlmResult::default()),
            ..StreamResult::default()
        });
        let (_, streams) = text.split_once("STREAMS").unwrap();
        let lines: Vec<&str> = streams.lines().skip(1).take(4).collect();
        for (line, begin) in lines[..3].iter().zip(["TTFT", "ITL", "TPOT"]) {
            let mut cells = line.split_whitespace();
            assert_eq!(cells.next(), Some(begin), "{text}");
            assert!(cells.all(|cell| cell == "-"), "{text}");
        }
        assert_eq!(lines[3], "  tokens out  none: no answer came to its end");
        assert!(
            !streams.contains("first") && !streams.contains("an answer"),
            "{text}"
        );
    }

    #[test]
    fn a_language_model_has_the_names_of_its_field() {
        let llm = LlmResult {
            ttft: LATENCY,
            output_tokens: 50_000,
            reasoning_tokens: 7,
            output_tokens_per_second: 5_000.0,
            answer_rate: TokenRate {
                mean: 41.0,
                p5: 20.0,
                p50: 40.0,
                p95: 60.0,
            },
            tokens_from: TokensFrom::Events,
            ..LlmResult::default()
        };
        let text = of(StreamResult {
            llm: Some(llm),
            ..StreamResult::default()
        });
        for line in [
            "\n  TTFT ",
            "\n  ITL ",
            "\n  TPOT ",
            "  tokens out  50,000 (5000/s), 7 of them reasoning; counted by events: the target sent no usage\n",
            "  an answer   40 tokens/s at the median, 20 to 60 for 90% of all\n",
        ] {
            assert!(text.contains(line), "{line:?} in {text}");
        }
        assert!(
            !text.contains("tokens in") && !text.contains("- answer"),
            "{text}"
        );
    }
}
