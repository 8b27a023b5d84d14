//! The status codes of gRPC.

use serde::{Deserialize, Serialize};

/// A status code; those that have no name yet are kept as they come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Code(pub u8);

/// By number, as `google/rpc/code.proto` writes them.
const NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

impl Code {
    pub const OK: Self = Self(0);
    pub const CANCELLED: Self = Self(1);
    pub const UNKNOWN: Self = Self(2);
    pub const DEADLINE_EXCEEDED: Self = Self(4);
    pub const NOT_FOUND: Self = Self(5);
    pub const PERMISSION_DENIED: Self = Self(7);
    pub const RESOURCE_EXHAUSTED: Self = Self(8);
    pub const UNIMPLEMENTED: Self = Self(12);
    pub const INTERNAL: Self = Self(13);
    pub const UNAVAILABLE: Self = Self(14);
    pub const UNAUTHENTICATED: Self = Self(16);

    /// A number, or a name in upper case.
    pub fn parse(text: &str) -> Result<Self, String> {
        let number = text
            .bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| text.parse::<u8>().ok())
            .flatten();
        let number = number.filter(|number| usize::from(*number) < NAMES.len());
        let named = NAMES
            .iter()
            .position(|name| *name == text)
            .map(|number| number as u8);
        number.or(named).map(Self).ok_or_else(|| {
            format!(
                "{text:?} is not a gRPC status; write a number from 0 to 16 or a name: {}",
                NAMES.join(", ")
            )
        })
    }

    pub fn name(self) -> Option<&'static str> {
        NAMES.get(usize::from(self.0)).copied()
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_status_is_refused() {
        for text in [
            "",
            "17",
            "-1",
            "ok",
            "NOT FOUND",
            "+0",
            "200",
            "256",
            "NotFound",
        ] {
            assert!(Code::parse(text).is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn names_and_numbers_are_the_same_codes() {
        for (number, name) in NAMES.iter().enumerate() {
            assert_eq!(Code::parse(name), Code::parse(&number.to_string()));
            assert_eq!(Code::parse(name).unwrap().to_string(), *name);
        }
        assert_eq!(
            (Code::parse("UNAVAILABLE"), Code(99).to_string()),
            (Ok(Code::UNAVAILABLE), "99".to_owned())
        );
    }
}
