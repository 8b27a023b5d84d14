//! Status codes of gRPC.

use serde::{Deserialize, Serialize};

/// A status code; one that has no name yet is kept as it comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Code(pub u8);

/// Names by number, as `google/rpc/code.proto` writes them.
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
    /// The call succeeded.
    pub const OK: Self = Self(0);
    /// The caller gave the call up.
    pub const CANCELLED: Self = Self(1);
    /// An error that the server could not classify.
    pub const UNKNOWN: Self = Self(2);
    /// The call took longer than its deadline.
    pub const DEADLINE_EXCEEDED: Self = Self(4);
    /// A resource does not exist.
    pub const NOT_FOUND: Self = Self(5);
    /// The caller may not do this.
    pub const PERMISSION_DENIED: Self = Self(7);
    /// A quota or limit is used up.
    pub const RESOURCE_EXHAUSTED: Self = Self(8);
    /// The server has no such method.
    pub const UNIMPLEMENTED: Self = Self(12);
    /// The server broke an invariant of its own.
    pub const INTERNAL: Self = Self(13);
    /// The server cannot answer now; a retry may succeed.
    pub const UNAVAILABLE: Self = Self(14);
    /// The caller has no valid credentials.
    pub const UNAUTHENTICATED: Self = Self(16);

    /// Parses a number from 0 to 16, or a name in upper case. The error is a sentence for the
    /// test's author.
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

    /// Number of the code and its name, as in `14 UNAVAILABLE`; the number alone if it has none.
    pub fn numbered(self) -> String {
        match self.name() {
            Some(name) => format!("{} {name}", self.0),
            None => self.0.to_string(),
        }
    }

    /// Name of the code; `None` for one that is not known.
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
        assert_eq!(
            (Code::UNAVAILABLE.numbered(), Code(77).numbered()),
            ("14 UNAVAILABLE".to_owned(), "77".to_owned())
        );
    }
}
