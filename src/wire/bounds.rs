//! Bounds of foreign JSON, checked before it is parsed: a small text can ask for a thousand times
//! its size in memory, since each `{}` becomes a whole structure.

/// Most that a JSON text may hold.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Bytes of the text.
    pub bytes: usize,
    /// Objects and arrays inside each other.
    pub depth: usize,
    /// Objects.
    pub objects: usize,
    /// Values of all kinds.
    pub values: usize,
}

/// Bounds of a whole result. The result of 200 steps with its series has a tenth of each.
pub const RESULT: Bounds = Bounds {
    bytes: 32 * 1024 * 1024,
    depth: 32,
    objects: 50_000,
    values: 1_000_000,
};

/// Error of a JSON text that passes a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the JSON has more than {most} {what}")]
pub struct Exceeded {
    what: &'static str,
    most: usize,
}

/// Counts what a JSON text holds, without reading any of it into memory. A text that is no JSON may
/// pass; the parser finds out.
pub fn check(json: &[u8], bounds: &Bounds) -> Result<(), Exceeded> {
    let Bounds {
        bytes,
        depth,
        objects,
        values,
    } = *bounds;
    let exceeded = |what, most| Err(Exceeded { what, most });
    if json.len() > bytes {
        return exceeded("bytes", bytes);
    }
    let (mut deep, mut met, mut all) = (0_usize, 0_usize, 1_usize);
    let mut text = json.iter();
    while let Some(byte) = text.next() {
        match byte {
            b'"' => skip_string(&mut text),
            b'{' | b'[' => {
                deep += 1;
                all += 1;
                met += usize::from(*byte == b'{');
            }
            b'}' | b']' => deep = deep.saturating_sub(1),
            b',' => all += 1,
            _ => {}
        }
        if deep > depth {
            return exceeded("values inside each other", depth);
        }
        if met > objects {
            return exceeded("objects", objects);
        }
        if all > values {
            return exceeded("values", values);
        }
    }
    Ok(())
}

/// Moves past the end of a string that has begun.
fn skip_string(text: &mut std::slice::Iter<'_, u8>) {
    while let Some(byte) = text.next() {
        match byte {
            b'"' => return,
            b'\\' => {
                text.next();
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Bounds = Bounds {
        bytes: 1000,
        depth: 3,
        objects: 4,
        values: 10,
    };

    fn outcome(json: &str) -> Result<(), String> {
        check(json.as_bytes(), &SMALL).map_err(|error| error.to_string())
    }

    #[test]
    fn each_bound_is_named_when_it_is_passed() {
        assert_eq!(outcome(r#"{"a": [1, 2, {"b": "c"}]}"#), Ok(()));
        for (json, word) in [
            ("[[[[]]]]".to_owned(), "inside each other"),
            (format!("[{}]", ["{}"; 5].join(",")), "objects"),
            (format!("[{}]", ["1"; 11].join(",")), "values"),
            (" ".repeat(1001), "bytes"),
        ] {
            let refused = outcome(&json).unwrap_err();
            assert!(refused.contains(word), "{json}: {refused}");
        }
    }

    #[test]
    fn what_stands_in_a_string_does_not_count() {
        assert_eq!(outcome(r#"["[[[[[[,,,,,,,,,,,{{{{{{\"{{{{{{"]"#), Ok(()));
        assert_eq!(outcome(r#"["unfinished \"#), Ok(()));
        assert_eq!(outcome("}}}]]]"), Ok(()), "the parser refuses it");
    }
}
