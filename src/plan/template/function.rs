//! Functions of templates that compute one value from others. Those that generate values are
//! [`super::value_source::ValueSource`]'s own.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Number, Value};
use sha2::{Digest, Sha256};

use super::compiled::MAX_RENDERED;
use super::escape::escape;
use super::{Place, RenderError};

/// A function of templates; arguments come in the order of its signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// Base64 with padding.
    Base64,
    /// Base64 with the URL-safe alphabet, without padding.
    Base64Url,
    /// Text from base64 in either alphabet, with or without padding.
    Base64Decode,
    /// SHA-256 digest in hexadecimal, or in base64.
    Sha256,
    /// HMAC-SHA-256 in hexadecimal, or in base64.
    HmacSha256,
    /// JSON text of a value.
    JsonEncode,
    /// Value from JSON text.
    JsonDecode,
    /// Percent-encoding of all but unreserved characters.
    UrlEncode,
    /// A number as a float.
    Float,
    /// A number cut to an integer.
    Int,
    /// A value as text.
    String,
    /// Lower case.
    Lower,
    /// Upper case.
    Upper,
    /// Characters of a text, items of a list, or fields of an object.
    Length,
    /// A list with more items.
    Append,
    /// Sum.
    Add,
    /// Difference.
    Sub,
    /// Product.
    Mul,
    /// Remainder, never negative for a positive divisor.
    Mod,
}

/// Every function: its signature, its number of arguments, and which [`Function`] it is if its
/// value depends on the arguments alone.
const TABLE: [(&str, RangeInclusive<usize>, Option<Function>); 27] = [
    ("uuid()", 0..=0, None),
    ("randInt(min, max)", 2..=2, None),
    ("randFloat(min, max[, digits])", 2..=3, None),
    ("randString(length[, alphabet])", 1..=2, None),
    ("pick(a, b, ...)", 1..=usize::MAX, None),
    ("now([format])", 0..=1, None),
    ("seq()", 0..=0, None),
    ("raw(x)", 1..=1, None),
    ("base64(text)", 1..=1, Some(Function::Base64)),
    ("base64Url(text)", 1..=1, Some(Function::Base64Url)),
    ("base64Decode(text)", 1..=1, Some(Function::Base64Decode)),
    ("sha256(text[, \"base64\"])", 1..=2, Some(Function::Sha256)),
    (
        "hmacSha256(key, text[, \"base64\"])",
        2..=3,
        Some(Function::HmacSha256),
    ),
    ("jsonEncode(x)", 1..=1, Some(Function::JsonEncode)),
    ("jsonDecode(text)", 1..=1, Some(Function::JsonDecode)),
    ("urlEncode(text)", 1..=1, Some(Function::UrlEncode)),
    ("float(x)", 1..=1, Some(Function::Float)),
    ("int(x)", 1..=1, Some(Function::Int)),
    ("string(x)", 1..=1, Some(Function::String)),
    ("lower(text)", 1..=1, Some(Function::Lower)),
    ("upper(text)", 1..=1, Some(Function::Upper)),
    ("length(x)", 1..=1, Some(Function::Length)),
    (
        "append(list, x, ...)",
        2..=usize::MAX,
        Some(Function::Append),
    ),
    ("add(a, b)", 2..=2, Some(Function::Add)),
    ("sub(a, b)", 2..=2, Some(Function::Sub)),
    ("mul(a, b)", 2..=2, Some(Function::Mul)),
    ("mod(a, b)", 2..=2, Some(Function::Mod)),
];

/// Finds a function that takes so many arguments; `None` stands for one that is not in
/// [`Function`]. The error is a sentence for the test's author.
pub fn find(name: &str, arguments: usize) -> Result<Option<Function>, String> {
    let Some((signature, arity, function)) = TABLE
        .iter()
        .find(|(signature, ..)| name_of(signature) == name)
    else {
        let known: Vec<&str> = TABLE
            .iter()
            .map(|(signature, ..)| name_of(signature))
            .collect();
        return Err(format!(
            "there is no function {name:?}; there are {}",
            known.join(", ")
        ));
    };
    if arity.contains(&arguments) {
        Ok(*function)
    } else {
        Err(format!("{signature} does not take {arguments} arguments"))
    }
}

/// Signature of every function.
#[cfg(test)]
pub fn signatures() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|(signature, ..)| *signature)
}

fn name_of(signature: &str) -> &str {
    signature.split('(').next().unwrap_or_default()
}

impl Function {
    fn name(self) -> &'static str {
        let entry = TABLE.iter().find(|(.., function)| *function == Some(self));
        entry.map_or("function", |(signature, ..)| name_of(signature))
    }

    /// Computes the value. Fails on an argument that does not fit; the message does not show it.
    pub fn apply(self, arguments: &[&Value]) -> Result<Value, RenderError> {
        let value = self.value_of(arguments).map_err(|why| RenderError::Call {
            function: self.name().to_owned(),
            why,
        })?;
        match &value {
            Value::String(text) if text.len() > MAX_RENDERED => Err(RenderError::TooLarge),
            _ => Ok(value),
        }
    }

    fn value_of(self, arguments: &[&Value]) -> Result<Value, String> {
        // `find` checked the number of arguments
        let first = arguments.first().copied().unwrap_or(&Value::Null);
        let second = arguments.get(1).copied().unwrap_or(&Value::Null);
        Ok(match self {
            Function::Base64 => STANDARD.encode(text(first).as_bytes()).into(),
            Function::Base64Url => URL_SAFE_NO_PAD.encode(text(first).as_bytes()).into(),
            Function::Base64Decode => base64_decode(&text(first))?.into(),
            Function::Sha256 => {
                digest(&Sha256::digest(text(first).as_bytes()), arguments.get(1))?.into()
            }
            Function::HmacSha256 => {
                let mut mac = Hmac::<Sha256>::new_from_slice(text(first).as_bytes())
                    .map_err(|e| e.to_string())?;
                mac.update(text(second).as_bytes());
                digest(&mac.finalize().into_bytes(), arguments.get(2))?.into()
            }
            Function::JsonEncode => first.to_string().into(),
            Function::JsonDecode => {
                serde_json::from_str(&text(first)).map_err(|_| "the text is not JSON".to_owned())?
            }
            Function::UrlEncode => url_encode(&text(first)).into(),
            Function::Float => Value::Number(
                float(first)
                    .and_then(Number::from_f64)
                    .ok_or("this is no number")?,
            ),
            Function::Int => int(first)?.into(),
            Function::String => text(first).into(),
            Function::Lower => text(first).to_lowercase().into(),
            Function::Upper => text(first).to_uppercase().into(),
            Function::Length => length(first)?.into(),
            Function::Append => append(first, arguments.get(1..).unwrap_or_default())?,
            Function::Add | Function::Sub | Function::Mul | Function::Mod => {
                self.arithmetic(first, second)?
            }
        })
    }

    /// Computes with whole numbers where both are whole, else with floats.
    fn arithmetic(self, a: &Value, b: &Value) -> Result<Value, String> {
        if let (Ok(a), Ok(b)) = (whole(a), whole(b)) {
            let result = match self {
                Function::Add => a.checked_add(b),
                Function::Sub => a.checked_sub(b),
                Function::Mul => a.checked_mul(b),
                _ => a.checked_rem_euclid(b),
            };
            return result
                .map(Value::from)
                .ok_or_else(|| "the result is no signed 64-bit integer".into());
        }
        let (Some(a), Some(b)) = (float(a), float(b)) else {
            return Err("an argument is no number".into());
        };
        let result = match self {
            Function::Add => a + b,
            Function::Sub => a - b,
            Function::Mul => a * b,
            _ => a.rem_euclid(b),
        };
        Number::from_f64(result)
            .map(Value::Number)
            .ok_or_else(|| "the result is no number".into())
    }
}

/// Text as it is, anything else as JSON.
pub fn text(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => Cow::Borrowed(text),
        other => Cow::Owned(other.to_string()),
    }
}

/// Whole number, as such or in text, as feeders and answers often have it; decimals are cut off.
pub fn int(value: &Value) -> Result<i64, String> {
    let cut = |float: f64| (float.abs() < i64::MAX as f64).then_some(float as i64);
    whole(value)
        .ok()
        .or_else(|| float(value).and_then(cut))
        .ok_or_else(|| "this is no whole number of 64 bits".into())
}

fn whole(value: &Value) -> Result<i64, ()> {
    match value {
        Value::Number(number) => number.as_i64().ok_or(()),
        Value::String(text) => text.trim().parse().map_err(|_| ()),
        _ => Err(()),
    }
}

/// Finite number, as such or in text.
pub fn float(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
    .filter(|float: &f64| float.is_finite())
}

fn length(value: &Value) -> Result<u64, String> {
    match value {
        Value::String(text) => Ok(text.chars().count() as u64),
        Value::Array(items) => Ok(items.len() as u64),
        Value::Object(fields) => Ok(fields.len() as u64),
        _ => Err("only text, a list and a map have a length".into()),
    }
}

/// Largest list that `append` makes, in bytes of JSON: as much as is kept of an answer, since each
/// user keeps one.
const MAX_LIST: usize = 1 << 20;

fn append(list: &Value, more: &[&Value]) -> Result<Value, String> {
    let Value::Array(items) = list else {
        return Err("the first argument is no list".into());
    };
    let items = items.iter().chain(more.iter().copied());
    let list: Value = items.cloned().collect();
    match serde_json::to_writer(Room(MAX_LIST), &list) {
        Ok(()) => Ok(list),
        Err(_) => Err(format!("the list is longer than {} MiB", MAX_LIST >> 20)),
    }
}

/// Writer that has room for so many more bytes, and keeps none.
struct Room(usize);

impl std::io::Write for Room {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let left = self.0.checked_sub(bytes.len());
        self.0 = left.ok_or(std::io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn digest(bytes: &[u8], encoding: Option<&&Value>) -> Result<String, String> {
    match encoding.map(|encoding| text(encoding)).as_deref() {
        None | Some("hex") => Ok(HEXLOWER.encode(bytes)),
        Some("base64") => Ok(STANDARD.encode(bytes)),
        Some(_) => Err("a digest is written as \"hex\" or \"base64\"".into()),
    }
}

/// Decodes either alphabet, with or without padding.
fn base64_decode(text: &str) -> Result<String, String> {
    let usual: String = text
        .trim()
        .trim_end_matches('=')
        .chars()
        .map(|c| if c == '+' { '-' } else { c })
        .collect();
    let bytes = URL_SAFE_NO_PAD
        .decode(usual.replace('/', "_"))
        .map_err(|_| "the text is not base64")?;
    String::from_utf8(bytes).map_err(|_| "what the base64 stands for is not text".into())
}

fn url_encode(text: &str) -> String {
    let mut out = Vec::new();
    // percent-encoding cannot fail, and yields ASCII
    let _ = escape(text, Place::Path, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_function_has_one_entry() {
        let mut names: Vec<&str> = TABLE
            .iter()
            .map(|(signature, ..)| name_of(signature))
            .collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), TABLE.len());
    }

    #[test]
    fn digests_are_those_of_the_standards() {
        let hmac = Function::HmacSha256
            .apply(&[&json!("Jefe"), &json!("what do ya want for nothing?")])
            .unwrap();
        // RFC 4231, test case 2
        assert_eq!(
            hmac,
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        let sha = Function::Sha256.apply(&[&json!("abc")]).unwrap();
        assert_eq!(
            sha,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        let sha = Function::Sha256
            .apply(&[&json!("abc"), &json!("base64")])
            .unwrap();
        assert_eq!(sha, "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
    }

    #[test]
    fn base64_is_read_in_every_form() {
        for text in ["w7w/Pz4-", "w7w_Pz4+", "w7w/Pz4+"] {
            assert_eq!(
                Function::Base64Decode.apply(&[&json!(text)]).unwrap(),
                "ü??>>",
                "{text}"
            );
        }
        assert_eq!(
            Function::Base64Decode.apply(&[&json!("YQ==")]).unwrap(),
            "a"
        );
        assert!(Function::Base64Decode.apply(&[&json!("*")]).is_err());
    }

    #[test]
    fn a_message_does_not_show_the_value() {
        for function in [
            Function::Int,
            Function::Float,
            Function::JsonDecode,
            Function::Base64Decode,
        ] {
            let error = function
                .apply(&[&json!("canary!")])
                .unwrap_err()
                .to_string();
            assert!(!error.contains("canary"), "{error}");
        }
    }

    #[test]
    fn a_list_grows_up_to_a_limit_of_bytes() {
        let append = |list: &Value, more: &[&Value]| {
            let arguments: Vec<&Value> = [&[list], more].concat();
            Function::Append.apply(&arguments)
        };
        let grown = append(&json!([1]), &[&json!({"b": 1, "a": 2}), &json!([2])]).unwrap();
        assert_eq!(grown.to_string(), r#"[1,{"b":1,"a":2},[2]]"#);
        let error = append(&json!("text"), &[&json!(1)]).unwrap_err();
        assert_eq!(error.to_string(), "append: the first argument is no list");
        let text = |length: usize| json!("x".repeat(length));
        // brackets and quotes count
        assert!(append(&json!([]), &[&text((1 << 20) - 4)]).is_ok());
        let error = append(&json!([]), &[&text((1 << 20) - 3)]).unwrap_err();
        assert_eq!(error.to_string(), "append: the list is longer than 1 MiB");
    }

    #[test]
    fn whole_numbers_stay_whole() {
        assert_eq!(
            Function::Add.apply(&[&json!(1), &json!("2")]).unwrap(),
            json!(3)
        );
        assert_eq!(
            Function::Mod.apply(&[&json!(-1), &json!(3)]).unwrap(),
            json!(2)
        );
        assert_eq!(
            Function::Mul.apply(&[&json!(1.5), &json!(2)]).unwrap(),
            json!(3.0)
        );
        assert!(Function::Mul.apply(&[&json!(i64::MAX), &json!(2)]).is_err());
        assert!(Function::Mod.apply(&[&json!(1), &json!(0)]).is_err());
    }
}
