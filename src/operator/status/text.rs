//! Numbers as people read them, each with its unit.

/// At most `most` bytes, cut between characters, the cut shown.
pub fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let mut end = most - '…'.len_utf8();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}

/// Three significant digits: `850us`, `14ms`, `1.25s`.
pub fn micros(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros}us"),
        1_000..1_000_000 => format!("{}ms", three_digits(micros as f64 / 1e3)),
        _ => format!("{}s", three_digits(micros as f64 / 1e6)),
    }
}

/// A share from 0 to 1 as percent.
pub fn share(share: f64) -> String {
    let percent = share * 100.0;
    if percent == 0.0 || percent == 100.0 { format!("{percent:.0}%") } else { format!("{percent:.2}%") }
}

/// Whole from a hundred on, with up to two places below.
pub fn number(number: f64) -> String {
    if number >= 100.0 { format!("{number:.0}") } else { trimmed(format!("{number:.2}")) }
}

fn three_digits(number: f64) -> String {
    let places = match number {
        n if n < 10.0 => 2,
        n if n < 100.0 => 1,
        _ => 0,
    };
    trimmed(format!("{number:.places$}"))
}

fn trimmed(text: String) -> String {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_never_splits_a_character_and_never_passes_the_bound() {
        for most in 3..12 {
            assert!(cut("äöüäöüäöü", most).len() <= most);
        }
        assert_eq!(cut("short", 5), "short");
    }

    #[test]
    fn times_and_shares_read_well() {
        assert_eq!([0, 850, 14_000, 14_250, 1_250_000, 61_000_000].map(micros), ["0us", "850us", "14ms", "14.2ms", "1.25s", "61s"]);
        assert_eq!([0.0, 0.0002, 1.0, 0.5].map(share), ["0%", "0.02%", "100%", "50.00%"]);
        assert_eq!([0.0, 18240.4, 12.5, 0.333].map(number), ["0", "18240", "12.5", "0.33"]);
    }
}
