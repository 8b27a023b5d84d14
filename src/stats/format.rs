//! Numbers for people, each with its unit; the same on the terminal, in the status and on the page.
//!
//! Durations of a minute and more are written by `jiff`. The rest is done here: people read three
//! digits that count, without zeros at the end, and no crate writes numbers so. `bytesize` and
//! `humantime` have a fixed number of decimals or none, and the crates that group thousands,
//! `num-format` and `thousands`, have had no release in years.

use std::time::Duration;

use jiff::fmt::friendly::{Designator, Spacing, SpanPrinter};

/// Writes `2m3s`.
const DURATIONS: SpanPrinter = SpanPrinter::new()
    .designator(Designator::Compact)
    .spacing(Spacing::None);

/// A time in microseconds, in three digits that count: `80us`, `14.2ms`, `1.5s`, `2m3s`.
pub fn micros(micros: f64) -> String {
    match micros {
        m if m < 999.5 => format!("{m:.0}us"),
        m if m < 999_500.0 => format!("{}ms", three_digits(m / 1_000.0)),
        m if m < 59_950_000.0 => format!("{}s", three_digits(m / 1_000_000.0)),
        m => DURATIONS.unsigned_duration_to_string(&Duration::from_secs((m / 1e6).round() as u64)),
    }
}

/// A share from 0 to 1 in percent: `0%`, `0.02%`, `61%`. Neither nothing nor everything unless it
/// is: a single failure in a million is `<0.01%`.
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    match percent {
        p if p > 0.0 && p < 0.01 => "<0.01%".into(),
        p if p > 99.99 && p < 100.0 => ">99.99%".into(),
        p => format!("{}%", trimmed(format!("{p:.2}"))),
    }
}

/// A rate per second, without the unit: `18240`, `123.4`, `1.25`.
pub fn rate(per_second: f64) -> String {
    match per_second {
        r if r < 9.995 => trimmed(format!("{r:.2}")),
        r if r < 999.95 => trimmed(format!("{r:.1}")),
        r => format!("{r:.0}"),
    }
}

/// A size in binary units: `512 B`, `1.2 MiB`.
pub fn bytes(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut size = bytes as f64 / 1024.0;
    let mut unit = "KiB";
    for larger in ["MiB", "GiB", "TiB"] {
        if size < 999.5 {
            break;
        }
        size /= 1024.0;
        unit = larger;
    }
    format!("{} {unit}", three_digits(size))
}

/// A number of anything: `0.984`, `41.3`, `5,472`.
pub fn number(number: f64) -> String {
    match number {
        n if n < 0.9995 => trimmed(format!("{n:.3}")),
        n if n < 999.5 => three_digits(n),
        n => count(n.round() as u64),
    }
}

/// A number with its unit, one of `s`, `ms`, `us`, `bytes` and `none`.
pub fn in_unit(value: f64, unit: &str) -> String {
    match unit {
        "s" => micros(value * 1e6),
        "ms" => micros(value * 1e3),
        "us" => micros(value),
        "bytes" => bytes(value.round() as u64),
        _ => number(value),
    }
}

/// A price without its currency: `4.56`, `1234.00`, `0.00312`.
pub fn money(price: f64) -> String {
    match price {
        p if p == 0.0 || p >= 0.995 => format!("{p:.2}"),
        // three significant digits
        p => format!(
            "{p:.*}",
            (2 - p.log10().floor() as i32).clamp(2, 9) as usize
        ),
    }
}

/// A whole number with its thousands grouped: `5,472,000`.
pub fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number below 1000 (give or take the rounding) in three digits that count, without zeros at the
/// end.
fn three_digits(number: f64) -> String {
    match number {
        n if n < 9.995 => trimmed(format!("{n:.2}")),
        n if n < 99.95 => trimmed(format!("{n:.1}")),
        n => format!("{n:.0}"),
    }
}

/// Cuts zeros at the end of the decimals.
fn trimmed(number: String) -> String {
    if number.contains('.') {
        number
            .trim_end_matches('0')
            .trim_end_matches('.')
            .to_owned()
    } else {
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits_and_a_unit() {
        let times = [
            0.0,
            80.4,
            999.4,
            999.6,
            1_000.0,
            14_230.0,
            999_499.0,
            999_999.0,
            1_500_000.0,
            59_940_000.0,
            59_990_000.0,
            123_000_000.0,
        ];
        let texts = [
            "0us", "80us", "999us", "1ms", "1ms", "14.2ms", "999ms", "1s", "1.5s", "59.9s", "1m",
            "2m3s",
        ];
        assert_eq!(times.map(micros), texts);
    }

    #[test]
    fn a_share_is_nothing_or_everything_only_when_it_is() {
        let shares = [0.0, 0.000_001, 0.0002, 0.5, 0.61, 0.1234, 0.999_999, 1.0];
        assert_eq!(
            shares.map(percent),
            [
                "0%", "<0.01%", "0.02%", "50%", "61%", "12.34%", ">99.99%", "100%"
            ]
        );
    }

    #[test]
    fn rates_lose_digits_as_they_grow() {
        assert_eq!(
            [0.0, 1.25, 9.999, 123.44, 999.96, 18_240.4].map(rate),
            ["0", "1.25", "10", "123.4", "1000", "18240"]
        );
    }

    #[test]
    fn sizes_are_in_binary_units() {
        assert_eq!(
            [0, 1023, 1024, 1_258_291, 1_048_575, u64::MAX].map(bytes),
            ["0 B", "1023 B", "1 KiB", "1.2 MiB", "1 MiB", "16777216 TiB"]
        );
    }

    #[test]
    fn a_number_has_three_digits_or_all_before_its_point() {
        assert_eq!(
            [0.0, 0.984, 41.26, 999.6, 5_472.4].map(number),
            ["0", "0.984", "41.3", "1,000", "5,472"]
        );
        assert_eq!(
            ["s", "ms", "us", "bytes", "none"].map(|unit| in_unit(1.5, unit)),
            ["1.5s", "1.5ms", "2us", "2 B", "1.5"]
        );
    }

    #[test]
    fn a_price_has_cents_and_a_small_one_three_digits() {
        assert_eq!(
            [0.0, 4.5555, 1234.0, 0.5, 0.0031234, 1e-12].map(money),
            ["0.00", "4.56", "1234.00", "0.500", "0.00312", "0.000000000"]
        );
    }

    #[test]
    fn counts_are_grouped() {
        assert_eq!(
            [0, 999, 1_000, 5_472_000].map(count),
            ["0", "999", "1,000", "5,472,000"]
        );
    }
}
