//! Texts held to the bounds that the schema and the API server set.

/// Returns `text` in at most `most` bytes, at least 3. What is longer is cut between characters and
/// ends in an ellipsis.
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
}
