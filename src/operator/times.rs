//! Times as they stand in a LoadTest: the only place where the operator reads or writes one.
//!
//! A time that cannot be read is an error, never a default: a deadline taken for 0 would stop a
//! run whose status another version wrote or a person edited.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::plan::duration;

/// A field of a LoadTest that holds no time, where one was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot read {field}: {why}")]
pub struct TimeError {
    field: &'static str,
    why: String,
}

/// Reads an instant in RFC 3339; `field` is its path in the LoadTest, for the error.
pub fn read_instant(field: &'static str, text: &str) -> Result<Timestamp, TimeError> {
    text.parse().map_err(|error| TimeError {
        field,
        why: format!("{text:?} is not a time: {error}"),
    })
}

/// Reads a duration such as `10m`; `field` is its path in the LoadTest, for the error.
pub fn read_duration(field: &'static str, text: &str) -> Result<Duration, TimeError> {
    duration::parse(text).map_err(|why| TimeError { field, why })
}

/// Writes an instant as RFC 3339 in whole seconds.
pub fn write_instant(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second())
        .unwrap_or(at)
        .to_string()
}

/// Returns the instant that lies `duration` after `at`, or the last one there is.
pub fn after(at: Timestamp, duration: Duration) -> Timestamp {
    SignedDuration::try_from(duration)
        .ok()
        .and_then(|duration| at.checked_add(duration).ok())
        .unwrap_or(Timestamp::MAX)
}

/// Returns the time from `now` to `then`, zero when `then` is past.
pub fn until(now: Timestamp, then: Timestamp) -> Duration {
    Duration::try_from(then.duration_since(now)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_time_is_an_error_that_names_field_and_text() {
        for text in ["", "yesterday", "0"] {
            let instant = read_instant("status.run.startBy", text).unwrap_err();
            let duration = read_duration("status.run.deadline", text).unwrap_err();
            for (error, field) in [
                (instant, "status.run.startBy"),
                (duration, "status.run.deadline"),
            ] {
                let error = error.to_string();
                assert!(
                    error.contains(field) && error.contains(&format!("{text:?}")),
                    "{error}"
                );
            }
        }
    }

    #[test]
    fn what_is_written_reads_back_in_whole_seconds() {
        let at: Timestamp = "2026-11-22T01:00:00.9Z".parse().unwrap();
        assert_eq!(write_instant(at), "2026-11-22T01:00:00Z");
        let read = read_instant("status.run.createdAt", &write_instant(at)).unwrap();
        assert_eq!(read.as_second(), at.as_second());
    }

    #[test]
    fn no_sum_of_times_overflows() {
        assert_eq!(
            after(Timestamp::MAX, Duration::from_secs(1)),
            Timestamp::MAX
        );
        assert_eq!(after(Timestamp::UNIX_EPOCH, Duration::MAX), Timestamp::MAX);
        assert_eq!(until(Timestamp::MAX, Timestamp::UNIX_EPOCH), Duration::ZERO);
    }
}
