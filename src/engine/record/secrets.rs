//! Set of secrets, and the places of a text that hold one of them or a part of one.
//!
//! Every part of eight bytes of a secret is kept as a number. A text is read once: each eight
//! bytes of it that are among these numbers are marked, and marks that touch are one. This finds
//! exactly the parts of eight or more bytes, whatever their length and place, for one look-up a
//! byte.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::NO_PAD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Shortest secret that is removed, in bytes. Shorter ones occur in any text, and removing them
/// would show where.
pub(crate) const SHORTEST: usize = 4;

/// Shortest part of a secret that is removed, in bytes; a shorter secret is removed whole.
pub(crate) const PART: usize = 8;

/// Longest secret of which the parts are known, in bytes; of a longer one the beginning is.
const LONGEST: usize = 64 * 1024;

/// Most parts that are kept: 64 MiB of them, of about 1.6 MB of secrets. If there are more, no
/// text is shown at all.
const MAX_PARTS: usize = 8 * 1024 * 1024;

/// All but the unreserved characters of RFC 3986, as templates write a path.
const NOT_UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Secrets, in each form in which a text may hold them.
#[derive(Clone, Default)]
pub(crate) struct Secrets {
    /// Parts of [`PART`] bytes.
    parts: Numbers,
    /// Forms that are shorter than a part, packed.
    short: Numbers,
    /// First bytes of each form, from [`SHORTEST`] up to one less than a part, packed.
    beginnings: Numbers,
    /// True if there were more parts than are kept.
    is_full: bool,
}

type Numbers = HashSet<u64, BuildHasherDefault<Mixer>>;

/// Hasher of one number, which spreads its bits by a multiplication.
#[derive(Default)]
struct Mixer(u64);

impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        // the finalizer of splitmix64
        let mixed = (self.0 ^ number).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        self.0 = (mixed ^ (mixed >> 32)).wrapping_mul(0x94d0_49bb_1331_11eb);
        self.0 ^= self.0 >> 29;
    }
}

impl Secrets {
    /// Adds a secret in all its forms. One shorter than [`SHORTEST`] is ignored.
    pub(crate) fn add(&mut self, secret: &[u8]) {
        if secret.len() < SHORTEST {
            return;
        }
        for form in forms(&secret[..secret.len().min(LONGEST)]) {
            self.add_form(&form);
        }
    }

    /// Makes every text be replaced as a whole, since not all secrets are known.
    pub(crate) fn fill(&mut self) {
        self.is_full = true;
    }

    fn add_form(&mut self, form: &[u8]) {
        if self.parts.len() + form.len() > MAX_PARTS {
            self.fill();
            return;
        }
        self.parts.extend(form.windows(PART).map(packed));
        if form.len() < PART {
            self.short.insert(packed(form));
        }
        let beginnings = (SHORTEST..PART.min(form.len())).map(|length| packed(&form[..length]));
        self.beginnings.extend(beginnings);
    }

    /// Returns the length of what begins `bytes` and is a secret or a part of one; 0 if nothing is.
    fn length_at(&self, bytes: &[u8]) -> usize {
        if self.is_full {
            return bytes.len();
        }
        match bytes.first_chunk::<PART>() {
            Some(part) if self.parts.contains(&packed(part)) => PART,
            _ if self.short.is_empty() => 0,
            _ => longest(&self.short, |length| bytes.get(..length)),
        }
    }

    /// Returns the length of the beginning of a secret that ends `bytes`, if it is shorter than a
    /// part; 0 if there is none.
    pub(crate) fn begun_at_end(&self, bytes: &[u8]) -> usize {
        longest(&self.beginnings, |length| {
            bytes.get(bytes.len().checked_sub(length)?..)
        })
    }
}

/// Lists the ranges of `bytes` that hold secrets of any of `sets`, in order, none touching another.
/// Each ends at the end of a character where `bytes` are text.
pub(crate) fn places(sets: &[&Secrets], bytes: &[u8]) -> Vec<Range<usize>> {
    let mut places: Vec<Range<usize>> = Vec::new();
    for start in 0..bytes.len() {
        let lengths = sets.iter().map(|set| set.length_at(&bytes[start..]));
        let length = lengths.max().unwrap_or(0);
        if length == 0 {
            continue;
        }
        let end = start + length;
        match places.last_mut() {
            Some(last) if start <= last.end => last.end = last.end.max(end),
            _ => places.push(start..end),
        }
        if end == bytes.len() {
            break;
        }
    }
    for place in &mut places {
        while place.start > 0 && is_continuation(bytes[place.start]) {
            place.start -= 1;
        }
        while bytes.get(place.end).copied().is_some_and(is_continuation) {
            place.end += 1;
        }
    }
    places
}

/// Returns whether a byte continues a character of UTF-8.
fn is_continuation(byte: u8) -> bool {
    byte & 0b1100_0000 == 0b1000_0000
}

/// Returns the longest length below a part for which `numbers` hold the bytes; 0 if none.
fn longest<'a>(numbers: &Numbers, bytes: impl Fn(usize) -> Option<&'a [u8]>) -> usize {
    let mut lengths = (SHORTEST..PART).rev();
    let found =
        lengths.find(|length| bytes(*length).is_some_and(|bytes| numbers.contains(&packed(bytes))));
    found.unwrap_or(0)
}

/// Returns up to eight bytes as one number. Those of fewer bytes have their length in the highest
/// byte, so that they differ from each other.
fn packed(bytes: &[u8]) -> u64 {
    let number = bytes
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte));
    match bytes.len() {
        PART => number,
        length => number | (length as u64) << 56,
    }
}

/// Returns a secret as it is, and as JSON, URLs, forms and base64 write it.
fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![secret.to_vec()];
    for alphabet in [STANDARD, URL_SAFE] {
        let engine = GeneralPurpose::new(&alphabet, NO_PAD);
        forms.push(engine.encode(secret).into_bytes());
        forms.extend((0..3).map(|before| within_base64(&engine, secret, before)));
    }
    if let Ok(text) = std::str::from_utf8(secret) {
        let json = serde_json::Value::from(text).to_string();
        let in_path = utf8_percent_encode(text, NOT_UNRESERVED).to_string();
        let others = [
            in_path.replace("%20", "+"),
            in_path,
            utf8_percent_encode(text, NON_ALPHANUMERIC).to_string(),
        ];
        forms.extend(
            others
                .into_iter()
                .chain([json[1..json.len() - 1].to_owned()])
                .map(String::into_bytes),
        );
    }
    forms.retain(|form| form.len() >= SHORTEST);
    forms.sort();
    forms.dedup();
    forms
}

/// Returns the characters that `secret` alone decides in the base64 of a text, where `before` is
/// the number of bytes ahead of it, modulo three.
fn within_base64(engine: &GeneralPurpose, secret: &[u8], before: usize) -> Vec<u8> {
    let mut padded = vec![0; before];
    padded.extend_from_slice(secret);
    let encoded = engine.encode(&padded).into_bytes();
    encoded[(before * 8).div_ceil(6)..padded.len() * 8 / 6].to_vec()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(secrets: &[&str], text: &str) -> Vec<String> {
        let mut set = Secrets::default();
        secrets.iter().for_each(|secret| set.add(secret.as_bytes()));
        places(&[&set], text.as_bytes())
            .into_iter()
            .map(|place| text[place].to_owned())
            .collect()
    }

    #[test]
    fn parts_of_eight_bytes_are_found_and_parts_of_seven_are_not() {
        let secret = ["correct-horse-battery"];
        assert_eq!(found(&secret, "a correct- b"), ["correct-"]);
        assert_eq!(
            found(&secret, "-horse-b, then -battery"),
            ["-horse-b", "-battery"]
        );
        assert_eq!(found(&secret, "correct horse-b battery"), [""; 0]);
        assert_eq!(found(&secret, "xcorrect-horse-batteryx"), secret);
    }

    #[test]
    fn a_short_secret_is_found_whole() {
        assert_eq!(found(&["1234567"], "a 1234567, 123456"), ["1234567"]);
        assert_eq!(
            found(&["abcd", "abcdef"], "abcdef abcde"),
            ["abcdef", "abcd"]
        );
        assert_eq!(found(&["abc"], "abc"), [""; 0]);
    }

    #[test]
    fn characters_are_not_torn() {
        let text = "né: çàéèüöäßñ!";
        assert_eq!(found(&["çàéèüöäßñ"], text), ["çàéèüöäßñ"]);
        // the part ends within a character of the text
        assert_eq!(
            found(&["abcdefgh\u{e9}z"], "abcdefg abcdefgh\u{ea}"),
            ["abcdefgh\u{ea}"]
        );
    }

    #[test]
    fn more_secrets_than_can_be_kept_hide_every_text() {
        let mut set = Secrets::default();
        let random = |nth: u64| {
            let mut mixer = Mixer::default();
            (0..8_000u64)
                .flat_map(|i| {
                    mixer.write_u64(nth << 32 | i);
                    mixer.finish().to_be_bytes()
                })
                .collect::<Vec<u8>>()
        };
        for nth in 0..60 {
            set.add(&random(nth));
        }
        assert!(set.is_full && set.parts.len() <= MAX_PARTS);
        assert_eq!(places(&[&set], b"harmless"), vec![0..8]);
    }

    proptest! {
        #[test]
        fn what_is_found_is_each_part_and_nothing_else(
            secret in "[ab]{8,24}", text in "[ab]{0,48}",
        ) {
            let mut set = Secrets::default();
            set.add_form(secret.as_bytes());
            let mut expected = vec![false; text.len()];
            for start in 0..text.len() {
                for end in start + PART..=text.len() {
                    if secret.contains(&text[start..end]) {
                        expected[start..end].fill(true);
                    }
                }
            }
            let mut marked = vec![false; text.len()];
            for place in places(&[&set], text.as_bytes()) {
                marked[place].fill(true);
            }
            prop_assert_eq!(marked, expected);
        }
    }
}
