//! Failures by class, step and status, with one message each, in a table that cannot grow without
//! bound.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::codec::{Reader, Writer};
use super::{Histogram, StatsError};

/// Most keys of a table; failures of further keys are counted together.
pub const MAX_KEYS: usize = 64;

/// Longest message, in characters; the rest is cut.
pub const MAX_MESSAGE: usize = 256;

/// Class of a failure. The names are part of the API.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum ErrorClass {
    /// The target's name has no address.
    Dns,
    /// No connection came about: refused, unreachable.
    Connect,
    /// The worker's machine has no port, file or memory left for a connection.
    Exhausted,
    /// The handshake failed, or the certificate is not trusted.
    Tls,
    /// The step's timeout passed before the last byte, or the target's gRPC status says so:
    /// DEADLINE_EXCEEDED.
    Timeout,
    /// The connection broke within a response, or while the request was written.
    Reset,
    /// A kept-alive connection ended after the request was written and before any answer.
    StaleConnection,
    /// The answer is not HTTP or not gRPC, or not as long as it says.
    Protocol,
    /// Status 400 or above, other than 429 and 503.
    Status,
    /// Status 429; of gRPC, RESOURCE_EXHAUSTED.
    Throttled,
    /// Status 503; of gRPC, UNAVAILABLE.
    Unavailable,
    /// A template could not be rendered.
    Template,
    /// The answer came, and a check of it failed.
    Check,
    /// The answer came, without the value to be extracted.
    Extract,
    /// The request was redirected too often, or to where no target is.
    Redirect,
    /// A condition or list (`if`, `until`, `forEach`) could not be evaluated, or `until` never
    /// became true: an iteration failed, and no request.
    Condition,
    /// A token could not be renewed, or there is none that is valid.
    Auth,
    /// A status of gRPC other than OK and those that have classes of their own.
    Grpc,
    /// The answer is a stream that ended before its last event, holds an event without end, or
    /// reports an error itself.
    Stream,
    /// The target's host or address is not allowed by a policy, or serves credentials of the
    /// machine: no connection was made.
    Policy,
    /// An expression over the answer (CEL or JSONPath) takes more steps than one may.
    Expression,
}

impl ErrorClass {
    /// Every class; the position in the list is its number in the encoding.
    pub const ALL: [Self; 21] = [
        Self::Dns,
        Self::Connect,
        Self::Exhausted,
        Self::Tls,
        Self::Timeout,
        Self::Reset,
        Self::StaleConnection,
        Self::Protocol,
        Self::Status,
        Self::Throttled,
        Self::Unavailable,
        Self::Template,
        Self::Check,
        Self::Extract,
        Self::Redirect,
        Self::Condition,
        Self::Auth,
        Self::Grpc,
        Self::Stream,
        Self::Policy,
        Self::Expression,
    ];

    /// Name in results and metrics, in camelCase.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Exhausted => "exhausted",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Reset => "reset",
            Self::StaleConnection => "staleConnection",
            Self::Protocol => "protocol",
            Self::Status => "status",
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
            Self::Template => "template",
            Self::Check => "check",
            Self::Extract => "extract",
            Self::Redirect => "redirect",
            Self::Condition => "condition",
            Self::Auth => "auth",
            Self::Grpc => "grpc",
            Self::Stream => "stream",
            Self::Policy => "policy",
            Self::Expression => "expression",
        }
    }

    /// Class of an HTTP status code of 400 and above.
    pub fn of_status(status: u16) -> Self {
        match status {
            429 => Self::Throttled,
            503 => Self::Unavailable,
            _ => Self::Status,
        }
    }

    /// Class of a gRPC status code; `None` for OK.
    pub fn of_grpc(code: u8) -> Option<Self> {
        match code {
            0 => None,
            4 => Some(Self::Timeout),
            8 => Some(Self::Throttled),
            14 => Some(Self::Unavailable),
            _ => Some(Self::Grpc),
        }
    }
}

impl std::fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Key by which failures are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ErrorKey {
    /// Class of the failure.
    pub class: ErrorClass,
    /// Position among the plan's request steps, or, behind them, among its steps with a condition,
    /// a repetition or a list.
    pub step: u16,
    /// Status that was answered, of HTTP or of gRPC; `None` without an answer.
    pub status: Option<u16>,
}

/// Failures of one key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErrorEntry {
    /// Number of failures.
    pub count: u64,
    /// Message of one of the failures: at most [`MAX_MESSAGE`] characters, none of them a control
    /// character.
    pub message: String,
    /// Waits that answers asked for by `Retry-After`, in milliseconds, where any did.
    pub retry_after: Histogram,
}

/// Failures by key. Merging is commutative and associative: of more than [`MAX_KEYS`] keys those
/// that sort first stay, with exact counts, and of two messages the one that sorts first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErrorTable {
    entries: BTreeMap<ErrorKey, ErrorEntry>,
    other: u64,
}

impl ErrorTable {
    /// Counts one failure; `message` is only called when the key is new.
    pub fn record(&mut self, key: ErrorKey, message: impl FnOnce() -> String) {
        match self.entries.get_mut(&key) {
            Some(entry) => entry.count += 1,
            None => self.insert(
                key,
                ErrorEntry {
                    count: 1,
                    message: clean(&message()),
                    retry_after: Histogram::new(),
                },
            ),
        }
    }

    /// Adds the wait that the answer of a failure asked for, directly after the failure was
    /// recorded.
    pub fn asked_to_wait(&mut self, key: ErrorKey, wait: Duration) {
        // failures beyond MAX_KEYS have no entry
        if let Some(entry) = self.entries.get_mut(&key) {
            entry
                .retry_after
                .record(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        }
    }

    /// Adds the failures of another table.
    pub fn merge(&mut self, other: &ErrorTable) {
        self.other += other.other;
        for (key, theirs) in &other.entries {
            match self.entries.get_mut(key) {
                None => self.insert(*key, theirs.clone()),
                Some(ours) => {
                    ours.count += theirs.count;
                    ours.retry_after.merge(&theirs.retry_after);
                    if theirs.message < ours.message {
                        ours.message.clone_from(&theirs.message);
                    }
                }
            }
        }
    }

    /// All entries, sorted by key.
    pub fn iter(&self) -> impl Iterator<Item = (&ErrorKey, &ErrorEntry)> {
        self.entries.iter()
    }

    /// Number of failures that found no place in the table.
    pub fn other(&self) -> u64 {
        self.other
    }

    /// Number of all failures.
    pub fn total(&self) -> u64 {
        self.other + self.entries.values().map(|entry| entry.count).sum::<u64>()
    }

    /// Tells whether there was no failure.
    pub fn is_empty(&self) -> bool {
        self.total() == 0
    }

    fn insert(&mut self, key: ErrorKey, entry: ErrorEntry) {
        self.entries.insert(key, entry);
        if self.entries.len() > MAX_KEYS
            && let Some((_, last)) = self.entries.pop_last()
        {
            self.other += last.count;
        }
    }

    /// Appends the whole table.
    pub(super) fn write(&self, out: &mut Writer) {
        out.number(self.other);
        out.number(self.entries.len() as u64);
        for (
            ErrorKey {
                class,
                step,
                status,
            },
            ErrorEntry {
                count,
                message,
                retry_after,
            },
        ) in &self.entries
        {
            // the class as its position in ALL; 0 for no status, since no answer has status 0
            for number in [
                *class as u64,
                u64::from(*step),
                u64::from(status.unwrap_or(0)),
                *count,
            ] {
                out.number(number);
            }
            out.piece(message.as_bytes());
            out.piece(&retry_after.encode());
        }
    }

    /// Replaces each message by what `reword` makes of it.
    pub fn reword(&mut self, mut reword: impl FnMut(String) -> String) {
        for entry in self.entries.values_mut() {
            entry.message = reword(std::mem::take(&mut entry.message));
        }
    }

    /// Reads what [`write`](Self::write) wrote. Any bytes are safe: at most [`MAX_KEYS`] entries
    /// are read.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, StatsError> {
        let mut table = Self {
            other: reader.number()?,
            ..Self::default()
        };
        let count: usize = reader.small()?;
        if count > MAX_KEYS {
            return Err(StatsError::Malformed("there are too many kinds of errors"));
        }
        for _ in 0..count {
            let class: usize = reader.small()?;
            let class = *ErrorClass::ALL
                .get(class)
                .ok_or(StatsError::Malformed("an error class is unknown"))?;
            let key = ErrorKey {
                class,
                step: reader.small()?,
                status: Some(reader.small()?).filter(|status| *status != 0),
            };
            let entry = ErrorEntry {
                count: reader.number()?,
                message: clean(&String::from_utf8_lossy(reader.piece()?)),
                retry_after: Histogram::decode(reader.piece()?)?,
            };
            if table.entries.insert(key, entry).is_some() {
                return Err(StatsError::Malformed("an error is there twice"));
            }
        }
        Ok(table)
    }
}

/// One line of bounded length: what a target sends must not move a terminal's cursor.
fn clean(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_whitespace() { ' ' } else { c })
        .filter(|c| !c.is_control())
        .take(MAX_MESSAGE)
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(class: ErrorClass, step: u16) -> ErrorKey {
        ErrorKey {
            class,
            step,
            status: None,
        }
    }

    #[test]
    fn a_message_is_one_bounded_line() {
        let mut table = ErrorTable::default();
        table.record(key(ErrorClass::Protocol, 0), || {
            format!("a\x1b[2Jb\r\nc{}", "x".repeat(1000))
        });
        let (_, entry) = table.iter().next().unwrap();
        assert!(entry.message.starts_with("a[2Jb  c"));
        assert_eq!(entry.message.chars().count(), MAX_MESSAGE);
    }

    #[test]
    fn what_answers_asked_for_stays_with_their_kind_of_failure() {
        let mut table = ErrorTable::default();
        table.asked_to_wait(key(ErrorClass::Throttled, 0), Duration::from_secs(1));
        assert!(table.is_empty(), "a failure of its own it is not");
        for seconds in [0, 30, 86_400] {
            table.record(key(ErrorClass::Throttled, 0), || "429".into());
            table.asked_to_wait(key(ErrorClass::Throttled, 0), Duration::from_secs(seconds));
        }
        let mut twice = table.clone();
        twice.merge(&table);
        let (_, entry) = twice.iter().next().unwrap();
        assert_eq!(
            (entry.retry_after.count(), entry.retry_after.max()),
            (6, 86_400_000)
        );
        assert!(entry.retry_after.percentile(50.0).abs_diff(30_000) <= 30);
    }

    #[test]
    fn names_are_those_of_json() {
        for (i, class) in ErrorClass::ALL.into_iter().enumerate() {
            assert_eq!(serde_json::to_value(class).unwrap(), class.name());
            assert_eq!(class as usize, i);
        }
    }

    proptest! {
        #[test]
        fn any_order_of_merging_gives_the_same(failures in prop::collection::vec((0usize..ErrorClass::ALL.len(), 0u16..20, "[ab]{0,2}"), 0..300), split in any::<u64>()) {
            let mut parts = vec![ErrorTable::default(); 3];
            for (i, (class, step, message)) in failures.iter().enumerate() {
                let part = (split.wrapping_mul(i as u64 + 1) >> 40) as usize % 3;
                parts[part].record(key(ErrorClass::ALL[*class], *step), || message.clone());
            }
            let merged = |order: [usize; 3]| {
                let mut all = ErrorTable::default();
                order.iter().for_each(|i| all.merge(&parts[*i]));
                all
            };
            prop_assert_eq!(merged([0, 1, 2]), merged([2, 0, 1]));
            prop_assert_eq!(merged([0, 1, 2]), merged([1, 2, 0]));
            prop_assert_eq!(merged([0, 1, 2]).total(), failures.len() as u64);
            prop_assert!(merged([0, 1, 2]).iter().count() <= MAX_KEYS);
        }
    }
}
