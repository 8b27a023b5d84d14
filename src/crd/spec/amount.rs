//! Amounts of load, which may be fractions.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Amount of load, such as a rate. A whole one is written as an integer, however it was read, so
/// that `800.0` is `800`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Amount(f64);

impl Amount {
    /// Returns the amount as a number.
    pub fn get(self) -> f64 {
        self.0
    }

    /// Returns whether the amount is not a fraction.
    pub fn is_whole(self) -> bool {
        self.0.fract() == 0.0
    }
}

impl From<u32> for Amount {
    fn from(whole: u32) -> Self {
        Self(whole.into())
    }
}

impl FromStr for Amount {
    type Err = String;

    /// Reads the rate of a flag: more than nothing, and at most 10,000,000.
    fn from_str(text: &str) -> Result<Self, String> {
        let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        match text.parse() {
            Ok(amount) if plain && (0.001..=10_000_000.0).contains(&amount) => Ok(Self(amount)),
            _ => Err("must be a number from 0.001 to 10000000".into()),
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.is_whole() && (0.0..=f64::from(u32::MAX)).contains(&self.0) {
            true => serializer.serialize_u32(self.0 as u32),
            false => serializer.serialize_f64(self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        f64::deserialize(deserializer).map(Self)
    }
}

impl JsonSchema for Amount {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Amount".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "number"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_amount_is_an_integer_however_it_was_written() {
        for (text, written) in [
            ("800", "800"),
            ("800.0", "800"),
            ("0.5", "0.5"),
            ("8e2", "800"),
        ] {
            let amount: Amount = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&amount).unwrap(), written);
            assert_eq!(amount.to_string(), written);
        }
        assert!(serde_json::from_str::<Amount>("\"1\"").is_err());
    }

    #[test]
    fn a_flag_takes_a_rate_above_nothing() {
        for text in [
            "", "0", "-1", "0.0001", "inf", "NaN", "1e3", "10000001", "1,5",
        ] {
            assert!(text.parse::<Amount>().is_err(), "{text}");
        }
        assert_eq!("0.5".parse(), Ok(Amount(0.5)));
        assert_eq!("60".parse::<Amount>().unwrap().to_string(), "60");
    }
}
