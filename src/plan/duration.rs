//! Durations as people write them: `500ms`, `30s`, `5m`, `1h30m`, `1.5h`, `1d`.
//!
//! `jiff` writes them. Reading is done here, since the resource's schema promises exactly
//! [`PATTERN`]: `jiff` and `humantime` both accept more (spaces, weeks, long names of units), and
//! `jiff` refuses units in any other order than from large to small.

use std::time::Duration;

use jiff::fmt::friendly::{Designator, Spacing, SpanPrinter};

/// Units, largest first, with their length in microseconds.
const UNITS: [(&str, u64); 6] = [
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];

/// Writes `1h30m`: short units, nothing between them, microseconds as `us`.
const PRINTER: SpanPrinter = SpanPrinter::new()
    .designator(Designator::HumanTime)
    .spacing(Spacing::None);

/// Pattern that the resource's schema holds durations to; [`parse`] accepts exactly what it
/// matches, up to overflow.
pub const PATTERN: &str = r"^([0-9]{1,9}(\.[0-9]{1,9})?(d|h|m|s|ms|us))+$";

/// Reads a duration: one or more numbers of at most 9 digits before and 9 after a point, each with a
/// unit of `d`, `h`, `m`, `s`, `ms` or `us`; to the microsecond. The error is a sentence for the
/// test's author.
pub fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || {
        format!(
            "{text:?} is not a duration; write numbers with a unit, such as 500ms, 30s, 5m, 1h30m, 1.5h or 1d"
        )
    };
    let mut rest = text;
    let mut micros: u64 = 0;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let is_number = |c: char| c.is_ascii_digit() || c == '.';
        let digits = rest.find(|c| !is_number(c)).ok_or_else(wrong)?;
        let letters = rest[digits..]
            .find(is_number)
            .map_or(rest.len(), |at| digits + at);
        let unit = UNITS
            .iter()
            .find(|(name, _)| *name == &rest[digits..letters])
            .ok_or_else(wrong)?
            .1;
        let part = part(&rest[..digits], unit).ok_or_else(wrong)?;
        micros = part
            .and_then(|part| micros.checked_add(part))
            .ok_or_else(|| format!("{text:?} is too long a time"))?;
        rest = &rest[letters..];
    }
    Ok(Duration::from_micros(micros))
}

/// Returns a number of units in microseconds, or `Some(None)` if that is too many; `None` if it is
/// not a number.
fn part(number: &str, unit: u64) -> Option<Option<u64>> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let is_short = |digits: &str| (1..=9).contains(&digits.len()) && !digits.contains('.');
    if !is_short(whole) || !is_short(fraction) {
        return None;
    }
    let scale = 10u128.pow(fraction.len() as u32);
    let count: u128 = whole.parse::<u128>().ok()? * scale + fraction.parse::<u128>().ok()?;
    // to the nearest microsecond
    let micros = (count * u128::from(unit) + scale / 2) / scale;
    Some(u64::try_from(micros).ok())
}

/// Writes a duration so that [`parse`] reads the same back, to the microsecond.
pub fn format(duration: Duration) -> String {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    PRINTER.unsigned_duration_to_string(&Duration::from_micros(micros))
}

/// Serialisation of a duration as whole microseconds.
pub mod micros {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes whole microseconds; anything smaller is cut off.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
    }

    /// Reads whole microseconds.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_micros)
    }
}

/// Serialisation of an optional duration as whole microseconds, or null.
pub mod optional_micros {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// Writes whole microseconds, or null.
    pub fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        duration
            .map(|duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
            .serialize(serializer)
    }

    /// Reads whole microseconds, or null.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(deserializer)?.map(Duration::from_micros))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "5",
            "s",
            "5 s",
            "-5s",
            "1.s",
            ".5s",
            "1.5.5s",
            "1.1234567890s",
            "1,5s",
            "5w",
            "5sm",
            "1234567890s",
            "s5",
            "5µs",
        ] {
            assert!(parse(text).is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn parts_add_up() {
        assert_eq!(parse("1h30m").unwrap(), Duration::from_secs(5400));
        assert_eq!(parse("500ms").unwrap(), Duration::from_millis(500));
        assert_eq!(parse("1s1us").unwrap(), Duration::from_micros(1_000_001));
        assert_eq!(parse("1d12h").unwrap(), Duration::from_secs(36 * 3600));
    }

    #[test]
    fn parts_may_be_fractions() {
        for (text, micros) in [
            ("1.5h", 5_400_000_000),
            ("0.25s", 250_000),
            ("0.1us", 0),
            ("0.5us", 1),
            ("1.5m0.5s", 90_500_000),
            ("999999999.999999999s", 1_000_000_000_000_000),
            ("0.1d", 8_640_000_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_micros(micros)), "{text}");
        }
        assert!(parse("999999999d").unwrap_err().contains("too long"));
    }

    #[test]
    fn units_are_written_from_large_to_small_and_left_out_at_zero() {
        for (micros, text) in [
            (0, "0s"),
            (1, "1us"),
            (90_000_000, "1m30s"),
            (3_600_000_000, "1h"),
            (93_784_005_006, "26h3m4s5ms6us"),
            (u64::MAX, "5124095576h1m49s551ms615us"),
        ] {
            assert_eq!(format(Duration::from_micros(micros)), text);
        }
        assert_eq!(format(Duration::from_nanos(1_999)), "1us");
        assert_eq!(
            format(Duration::MAX),
            format(Duration::from_micros(u64::MAX))
        );
    }

    #[test]
    fn what_is_written_reads_back() {
        for micros in [0, 1, 999, 1_000, 61_000_001, 86_400_000_000] {
            let duration = Duration::from_micros(micros);
            assert_eq!(parse(&format(duration)).unwrap(), duration);
        }
    }
}
