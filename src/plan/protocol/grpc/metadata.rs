//! Values of metadata: text, or bytes in base64 where the name says so.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Base64 as gRPC reads it: with or without padding, and whatever the last bits are.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Checks a value of the metadata called `name`: one whose name ends in `-bin` holds bytes in
/// base64, or several such values between commas. The error does not show the value. See
/// <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>.
pub fn check_metadata(name: &str, value: &[u8]) -> Result<(), &'static str> {
    let is_base64 = |part: &[u8]| BASE64.decode(part.trim_ascii()).is_ok();
    if !name.ends_with("-bin") || value.split(|byte| *byte == b',').all(is_base64) {
        Ok(())
    } else {
        Err(
            "what ends in -bin holds bytes, to be written as base64; {{ base64(x) }} makes it of text",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_ends_in_bin_must_be_base64() {
        for (name, value) in [
            ("x-bin", "not base64"),
            ("x-bin", "a"),
            ("x-bin", "aGk=, !"),
            ("x-bin", "a-_b"),
        ] {
            assert!(check_metadata(name, value.as_bytes()).is_err(), "{value}");
        }
        for (name, value) in [
            ("x", "not base64"),
            ("x-binary", "!"),
            ("x-bin", ""),
            ("x-bin", "aGk="),
            ("x-bin", "aGk"),
            // the last bits are not zero
            ("x-bin", "aGl"),
            ("x-bin", "aGk=, AAECAw"),
        ] {
            assert!(check_metadata(name, value.as_bytes()).is_ok(), "{value}");
        }
    }
}
