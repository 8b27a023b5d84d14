//! The table of metrics that thresholds judge: all that is known of a metric is in its row.
//!
//! The resource's schema, the reference, validation and the judge read the table. A new metric is a
//! row here and an arm of the match in `src/master/reading.rs`, which says how its samples are
//! summed; the compiler asks for the arm. Then the generated files are written anew.

use serde::{Deserialize, Serialize};

use super::{Aggregate, Quantity};
use crate::plan::{RequestStep, StreamKind};

/// Writes the enum and the list of its variants from the rows of the table. The doc comment of a
/// row is the metric's description in the reference and in the resource's schema.
macro_rules! table {
    ($($(#[doc = $doc:literal])+ $metric:ident $name:literal = $row:expr;)+) => {
        /// Something that thresholds judge.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        pub enum Metric {
            $($(#[doc = $doc])+ #[serde(rename = $name)] $metric,)+
        }

        impl Metric {
            const TABLE: &[Self] = &[$(Self::$metric),+];

            /// The name that thresholds and results use.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$metric => $name,)+
                }
            }

            /// Doc comment of the row.
            fn description(self) -> &'static str {
                match self {
                    $(Self::$metric => concat!($($doc),+).trim_ascii(),)+
                }
            }

            const fn row(self) -> Row {
                match self {
                    $(Self::$metric => $row,)+
                }
            }
        }
    };
}

table! {
    /// Time from the intended start of a request to its last byte.
    Latency "latency" = TIMES.by(KeptBy::Outcome).of_successes();
    /// Time from the first byte sent of a successful request to its last byte.
    ServiceTime "serviceTime" = TIMES.of_successes();
    /// Time of a whole task, from its intended start to the end of its last step, if no step
    /// failed.
    Iteration "iteration" = TIMES.by(KeptBy::Task);
    /// Time of the name look-up of a successful request.
    Dns "dns" = TIMES;
    /// Time to connect of a successful request.
    Connect "connect" = TIMES;
    /// Time of the TLS handshake of a successful request.
    Tls "tls" = TIMES;
    /// Time from the first byte sent to the first byte received of a successful request.
    Wait "wait" = TIMES;
    /// Time from the first byte received to the last of a successful request.
    Download "download" = TIMES;
    /// Failed requests, as a number or as a share of all.
    Failures "failures" = SHARES;
    /// Checks that passed, as a share of all.
    Checks "checks" = SHARE;
    /// Arrivals that found no free slot, as a number or as a share of all.
    Dropped "dropped" = SHARES.by(KeptBy::Nothing).needs_open(OpenLoad::Always);
    /// Iterations started, each second (`rate >= 500/s`) or as a share of those that open load
    /// asks for (`rate >= 99%`).
    Achieved "achieved" = SHARE.by(KeptBy::Nothing).needs_open(OpenLoad::ForShare);
    /// Requests in flight, sent and not answered, at once: over time on average (`avg < 50`) or at
    /// most (`max <= 200`).
    InFlight "inFlight" = LEVEL.by(KeptBy::Nothing);
    /// Requests that ended.
    Requests "requests" = COUNTS;
    /// Iterations that ended.
    Iterations "iterations" = COUNTS.by(KeptBy::Task);
    /// Time from the intended start of a request to its first event.
    FirstEvent "firstEvent" = TIMES.of(Needs::Streams(EVENTS)).of_successes();
    /// Time from the intended start of a call to its first message.
    FirstMessage "firstMessage" = TIMES.of(Needs::Streams(MESSAGES)).of_successes();
    /// Time between two events or messages.
    Gap "gap" = TIMES.of(Needs::Streams(EVENTS_AND_MESSAGES));
    /// Time from the intended start of a request to its first event with content.
    Ttft "ttft" = TIMES.of(Needs::Streams(COMPLETIONS)).of_successes();
    /// Time between two events with content.
    Itl "itl" = TIMES.of(Needs::Streams(COMPLETIONS));
    /// Time per output token after the first, one value for each answer.
    Tpot "tpot" = TIMES.of(Needs::Streams(COMPLETIONS)).of_successes();
    /// Output tokens received.
    OutputTokens "outputTokens" = COUNTS.of(Needs::Streams(COMPLETIONS));
    /// Requests within all limits of their step.
    Goodput "goodput" = COUNTS.of(Needs::Goodput);
    /// Requests within all limits of their step, as a share of all that were intended; a dropped
    /// arrival counts as one request.
    GoodputRatio "goodputRatio" = SHARE.of(Needs::Goodput);
    /// Numbers that the test's records of one name found in answers. A threshold names the record
    /// instead of this metric.
    Record "record" = TIMES.by(KeptBy::Nothing);
}

/// Row of the table, without the name.
#[derive(Debug, Clone, Copy)]
struct Row {
    /// Aggregates that mean something, as thresholds write them.
    aggregates: &'static [&'static str],
    /// Requests of which the metric is measured.
    needs: Needs,
    /// Parts of a test by which samples are told apart.
    kept_by: KeptBy,
    /// Load that the metric needs.
    open: OpenLoad,
    /// True if the metric is a time of successful requests, which says nothing of the others.
    of_successes: bool,
    /// True if the metric is a number of things that are there at once.
    is_level: bool,
}

const TIMES: Row = row(&["p(99)", "avg", "min", "med", "max"]);
const SHARES: Row = row(&["rate", "count", "perSecond"]);
const SHARE: Row = row(&["rate"]);
const LEVEL: Row = Row {
    is_level: true,
    ..row(&["avg", "max"])
};
const COUNTS: Row = row(&["count", "perSecond"]);

/// Requirement of a metric: what a step must have for it to be measured of the requests.
#[derive(Debug, Clone, Copy)]
enum Needs {
    /// Nothing: the metric is measured of all requests.
    Nothing,
    /// A stream of one of these kinds.
    Streams(&'static [StreamKind]),
    /// Limits that make a request a good one.
    Goodput,
}

const EVENTS: &[StreamKind] = &[StreamKind::Events];
const MESSAGES: &[StreamKind] = &[StreamKind::Messages];
const EVENTS_AND_MESSAGES: &[StreamKind] = &[StreamKind::Messages, StreamKind::Events];
const COMPLETIONS: &[StreamKind] = &[StreamKind::Completion];

/// Parts of a test by which the samples of a metric are told apart; each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum KeptBy {
    /// None: there is one sum for the whole run.
    Nothing,
    /// Scenario and task.
    Task,
    /// Step and tags.
    Step,
    /// Outcome of the request.
    Outcome,
}

/// Need of a metric for open load, which alone asks for a number of iterations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OpenLoad {
    /// The metric is measured under every load.
    Never,
    /// The metric exists only under open load.
    Always,
    /// The rate is one per second under every load; a share of what is asked for needs open load.
    ForShare,
}

const fn row(aggregates: &'static [&'static str]) -> Row {
    Row {
        aggregates,
        needs: Needs::Nothing,
        kept_by: KeptBy::Step,
        open: OpenLoad::Never,
        of_successes: false,
        is_level: false,
    }
}

impl Row {
    const fn of(self, needs: Needs) -> Self {
        Self { needs, ..self }
    }

    const fn by(self, kept_by: KeptBy) -> Self {
        Self { kept_by, ..self }
    }

    const fn needs_open(self, open: OpenLoad) -> Self {
        Self { open, ..self }
    }

    const fn of_successes(self) -> Self {
        Self {
            of_successes: true,
            ..self
        }
    }
}

impl Metric {
    /// Lists the metrics that a threshold can name, in the order of the table: all but
    /// [`Metric::Record`].
    pub fn all() -> impl Iterator<Item = Self> + Clone {
        Self::TABLE
            .iter()
            .copied()
            .filter(|metric| *metric != Self::Record)
    }

    /// Meaning of the metric in one or two sentences, the second of which says what a step must
    /// have for it.
    pub fn meaning(self) -> String {
        let description = self.description();
        match self.needs() {
            Some(needs) => format!("{description} Only of steps with {needs}."),
            None => description.to_owned(),
        }
    }

    /// Aggregates that mean something for the metric, as thresholds write them; `p(99)` stands for
    /// every percentile.
    pub fn aggregates(self) -> &'static [&'static str] {
        self.row().aggregates
    }

    /// Returns whether the metric is measured of the step's requests.
    pub fn is_measured_of(self, step: &RequestStep) -> bool {
        match self.row().needs {
            Needs::Nothing => true,
            Needs::Streams(kinds) => step
                .call
                .stream_kind()
                .is_some_and(|kind| kinds.contains(&kind)),
            Needs::Goodput => step.goodput.is_some(),
        }
    }

    /// Fields that a step must have for the metric to be measured of its requests, in words; `None`
    /// if it is measured of all.
    pub fn needs(self) -> Option<String> {
        match self.row().needs {
            Needs::Nothing => None,
            Needs::Streams(kinds) => {
                let fields: Vec<&str> = kinds.iter().map(|kind| kind.field()).collect();
                Some(fields.join(", or "))
            }
            Needs::Goodput => Some("goodput".to_owned()),
        }
    }

    /// Returns whether only open load has what is judged as `quantity`.
    pub fn needs_open_load(self, quantity: Quantity) -> bool {
        match self.row().open {
            OpenLoad::Never => false,
            OpenLoad::Always => true,
            OpenLoad::ForShare => quantity == Quantity::Share,
        }
    }

    /// Returns whether `aggregate` counts something, so that it is judged however small it is.
    pub fn is_count(self, aggregate: Aggregate) -> bool {
        matches!(aggregate, Aggregate::Count | Aggregate::PerSecond)
            || self.row().open == OpenLoad::ForShare
            || self.row().is_level
    }

    /// Tells whether a threshold on the metric says how many requests may fail.
    pub fn counts_failures(self) -> bool {
        matches!(self, Self::Failures | Self::Checks | Self::GoodputRatio)
    }

    /// Returns whether the metric is a time of successful requests, which says nothing of the
    /// others.
    pub fn reads_successes(self) -> bool {
        self.row().of_successes
    }

    /// Parts of a test by which samples of the metric are told apart.
    pub(super) fn kept_by(self) -> KeptBy {
        self.row().kept_by
    }

    /// Quantity of which `bound`, as it is written, is a number.
    pub(super) fn quantity(self, aggregate: Aggregate, bound: &str) -> Quantity {
        match aggregate {
            _ if self.row().is_level => Quantity::Number,
            Aggregate::Count => Quantity::Count,
            Aggregate::PerSecond => Quantity::PerSecond,
            Aggregate::Rate if self.row().open == OpenLoad::ForShare && !bound.ends_with('%') => {
                Quantity::PerSecond
            }
            Aggregate::Rate => Quantity::Share,
            Aggregate::Percentile(_)
            | Aggregate::Avg
            | Aggregate::Min
            | Aggregate::Med
            | Aggregate::Max => Quantity::Time,
        }
    }
}
