//! Amounts of CPU and memory as Kubernetes writes them, as far as they must be compared.

/// Suffixes of quantities, and what they multiply by.
const SUFFIXES: [(&str, f64); 15] = [
    ("Ki", 1024.0),
    ("Mi", 1_048_576.0),
    ("Gi", 1_073_741_824.0),
    ("Ti", 1_099_511_627_776.0),
    ("Pi", 1_125_899_906_842_624.0),
    ("Ei", 1_152_921_504_606_846_976.0),
    ("n", 1e-9),
    ("u", 1e-6),
    ("m", 1e-3),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
    ("P", 1e15),
    ("E", 1e18),
];

/// Returns the smaller of two quantities; `usual` where `limit` cannot be read, which the API
/// server then refuses.
pub(super) fn smaller<'a>(limit: &'a str, usual: &'a str) -> &'a str {
    match (amount(limit), amount(usual)) {
        (Some(limited), Some(wanted)) if limited < wanted => limit,
        _ => usual,
    }
}

/// Reads a quantity; `None` if it is none.
fn amount(text: &str) -> Option<f64> {
    let of = |number: &str| {
        number
            .parse::<f64>()
            .ok()
            .filter(|amount| amount.is_finite())
    };
    // a number with an exponent ends in a digit
    let suffix = SUFFIXES.iter().find(|(suffix, _)| text.ends_with(suffix));
    match suffix {
        Some((suffix, factor)) => Some(of(text.strip_suffix(suffix)?)? * factor),
        None => of(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smaller_of_two_quantities_is_found_whatever_their_units() {
        for (limit, usual, expected) in [
            ("500m", "100m", "100m"),
            ("50m", "100m", "50m"),
            ("0.05", "100m", "0.05"),
            ("2", "100m", "100m"),
            ("64Mi", "128Mi", "64Mi"),
            ("100M", "128Mi", "100M"),
            ("1Gi", "128Mi", "128Mi"),
            ("1e9", "128Mi", "128Mi"),
            ("1e3", "128Mi", "1e3"),
            ("100000k", "128Mi", "100000k"),
            ("much", "128Mi", "128Mi"),
        ] {
            assert_eq!(smaller(limit, usual), expected, "{limit}");
        }
    }
}
