//! AWS Signature Version 4: a request is signed with keys that are never sent.
//!
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>
//!
//! Signing is written here, on `hmac`, `sha2` and `percent-encoding`, because the crates for it
//! cost more than they save. `aws-sigv4` 1.6.4 brings ten crates that nothing else needs, the
//! runtime of Amazon's SDK among them; `reqsign-aws-v4` 3.3.1 brings fourteen, with parsers of INI
//! and XML; `aws-sign-v4` 0.3.0 brings `chrono` and second versions of `sha2` and `digest`. Each
//! takes a request as typed parts, while the engine has it as the bytes that will be sent. The
//! tests hold this file to the signatures that Amazon publishes.

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, percent_encode};
use sha2::{Digest, Sha256};

use crate::engine::answer::capture::headers;
use crate::engine::inputs::text;
use crate::engine::message;
use crate::plan::{AwsSigV4, Inputs, Problem};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// Headers that proxies may change, and those that [`Signer::sign`] writes itself.
const UNSIGNED: [&str; 15] = [
    "accept",
    "accept-encoding",
    "authorization",
    "connection",
    "content-length",
    "cookie",
    "expect",
    "keep-alive",
    "proxy-authorization",
    "te",
    "transfer-encoding",
    "user-agent",
    "x-amz-content-sha256",
    "x-amz-date",
    "x-amz-security-token",
];

/// All but the unreserved characters of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Keys of an AWS account and the service that they sign requests for.
pub(crate) struct Signer {
    region: String,
    service: String,
    key_id: String,
    secret: String,
    session_token: Option<String>,
}

/// Parts of one request that its signature covers.
struct Signed {
    /// Header names in lower case and canonical values, sorted.
    headers: Vec<(String, String)>,
    /// SHA-256 of the body, in hexadecimal.
    body_hash: String,
    /// Time of signing, such as `20150830T123600Z`.
    time: String,
}

impl Signed {
    fn day(&self) -> &str {
        &self.time[..8]
    }

    /// Returns the names of the headers, separated by semicolons.
    fn names(&self) -> String {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        names.join(";")
    }
}

impl Signer {
    /// Takes the keys from `inputs`.
    ///
    /// # Errors
    ///
    /// A key that is not among the inputs or is no text, with its field path.
    pub(super) fn new(keys: &AwsSigV4, inputs: &Inputs) -> Result<Self, Problem> {
        let AwsSigV4 {
            region,
            service,
            access_key_id,
            secret_access_key,
            session_token,
        } = keys;
        let session_token = session_token
            .as_ref()
            .map(|token| text(token, inputs))
            .transpose()?;
        Ok(Self {
            region: region.clone(),
            service: service.clone(),
            key_id: text(access_key_id, inputs)?.to_owned(),
            secret: text(secret_access_key, inputs)?.to_owned(),
            session_token: session_token.map(str::to_owned),
        })
    }

    /// Writes `message`, a whole request without a signature, to `out` with its signature.
    pub(super) fn sign(&self, message: &[u8], unix_seconds: u64, out: &mut Vec<u8>) {
        let signed = self.signed(message, timestamp(unix_seconds));
        let scope = format!(
            "{}/{}/{}/aws4_request",
            signed.day(),
            self.region,
            self.service
        );
        let request = self.canonical_request(message, &signed);
        let to_sign = format!(
            "{ALGORITHM}\n{}\n{scope}\n{}",
            signed.time,
            hex(&Sha256::digest(request))
        );
        let signature = hex(&hmac(&self.signing_key(signed.day()), &to_sign));

        let mut lines = format!(
            "Authorization: {ALGORITHM} Credential={}/{scope}, SignedHeaders={}, \
             Signature={signature}\r\nX-Amz-Date: {}\r\n",
            self.key_id,
            signed.names(),
            signed.time
        );
        if let Some(token) = &self.session_token {
            let _ = write!(lines, "X-Amz-Security-Token: {token}\r\n"); // into a String
        }
        if self.is_s3() {
            let _ = write!(lines, "X-Amz-Content-Sha256: {}\r\n", signed.body_hash);
        }
        message::with_lines(message, lines.as_bytes(), out);
    }

    /// Returns whether the service is S3, which has the hash of the body among the headers and
    /// takes paths as they are.
    fn is_s3(&self) -> bool {
        self.service == "s3"
    }

    /// Chooses the headers of `message` that are signed, and adds those that signing adds.
    fn signed(&self, message: &[u8], time: String) -> Signed {
        let (head, body) = message::split(message);
        let body_hash = hex(&Sha256::digest(body));
        let mut signed: Vec<(String, String)> = headers(head).map(canonical_header).collect();
        signed.retain(|(name, _)| !UNSIGNED.contains(&name.as_str()));
        signed.push(("x-amz-date".into(), time.clone()));
        if let Some(token) = &self.session_token {
            signed.push(("x-amz-security-token".into(), token.clone()));
        }
        if self.is_s3() {
            signed.push(("x-amz-content-sha256".into(), body_hash.clone()));
        }
        signed.sort();
        Signed {
            headers: signed,
            body_hash,
            time,
        }
    }

    /// Builds the canonical request, from which both sides compute the signature.
    fn canonical_request(&self, message: &[u8], signed: &Signed) -> String {
        let method = message.split(|byte| *byte == b' ').next();
        let method = std::str::from_utf8(method.unwrap_or_default()).unwrap_or_default();
        let target = message::path(message);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let path = if self.is_s3() {
            path.to_owned()
        } else {
            canonical_path(path)
        };
        let mut request = format!("{method}\n{path}\n{}\n", canonical_query(query));
        for (name, value) in &signed.headers {
            let _ = writeln!(request, "{name}:{value}"); // into a String
        }
        let _ = write!(request, "\n{}\n{}", signed.names(), signed.body_hash);
        request
    }

    /// Derives the key of one day, region and service.
    fn signing_key(&self, day: &str) -> Vec<u8> {
        [day, &self.region, &self.service, "aws4_request"]
            .iter()
            .fold(format!("AWS4{}", self.secret).into_bytes(), |key, part| {
                hmac(&key, part)
            })
    }
}

/// Formats a time as in signatures, such as `20150830T123600Z`.
fn timestamp(unix_seconds: u64) -> String {
    let time = jiff::Timestamp::from_second(unix_seconds as i64).unwrap_or_default();
    time.strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// Returns the name in lower case, and the value with single spaces between its words.
fn canonical_header((name, value): (&[u8], &[u8])) -> (String, String) {
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    let value = String::from_utf8_lossy(value);
    (
        name,
        value.split_ascii_whitespace().collect::<Vec<_>>().join(" "),
    )
}

/// Removes `.` and `..` from a path, and encodes it once more than it is sent.
fn canonical_path(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    let mut canonical = String::new();
    for segment in &segments {
        let _ = write!(
            canonical,
            "/{}",
            percent_encode(segment.as_bytes(), RESERVED)
        ); // into a String
    }
    if canonical.is_empty() || path.ends_with('/') || path.ends_with("/.") || path.ends_with("/..")
    {
        canonical.push('/');
    }
    canonical
}

/// Sorts the parameters of a query and encodes them in one way, however they are sent.
fn canonical_query(query: &str) -> String {
    let encode = |text: &str| {
        percent_encode(
            &percent_decode(text.as_bytes()).collect::<Vec<_>>(),
            RESERVED,
        )
        .to_string()
    };
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let mut pairs: Vec<(String, String)> = pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (encode(name), encode(value))
        })
        .collect();
    pairs.sort();
    pairs
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect::<Vec<_>>()
        .join("&")
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2015-08-30T12:36:00Z and 2013-05-24T00:00:00Z, the times of the published examples.
    const OF_THE_SUITE: u64 = 1_440_938_160;
    const OF_S3: u64 = 1_369_353_600;

    fn signer(service: &str, session_token: Option<&str>) -> Signer {
        Signer {
            region: "us-east-1".into(),
            service: service.into(),
            key_id: "AKIDEXAMPLE".into(),
            secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
            session_token: session_token.map(str::to_owned),
        }
    }

    fn signed(signer: &Signer, at: u64, message: &str) -> String {
        let mut out = Vec::new();
        signer.sign(message.as_bytes(), at, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn signature(message: &str) -> String {
        let signed = signed(&signer("service", None), OF_THE_SUITE, message);
        signed
            .split("Signature=")
            .nth(1)
            .unwrap()
            .split("\r\n")
            .next()
            .unwrap()
            .to_owned()
    }

    #[test]
    fn signatures_are_those_of_the_published_suite() {
        let vanilla = |method: &str, path: &str| {
            signature(&format!(
                "{method} {path} HTTP/1.1\r\nHost: example.amazonaws.com\r\n\r\n"
            ))
        };
        assert_eq!(
            vanilla("GET", "/"),
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
        );
        assert_eq!(
            vanilla("GET", "/example/.."),
            vanilla("GET", "/"),
            "get-relative"
        );
        assert_eq!(
            vanilla("GET", "/?Param2=value2&Param1=value1"),
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"
        );
        assert_eq!(
            vanilla("POST", "/"),
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"
        );
        let form = "POST / HTTP/1.1\r\nHost: example.amazonaws.com\r\nUser-Agent: x\r\nContent-Type: application/x-www-form-urlencoded\r\n\
                    Content-Length: 13\r\n\r\nParam1=value1";
        assert_eq!(
            signature(form),
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"
        );
    }

    #[test]
    fn a_session_token_is_sent_and_signed() {
        let token = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==";
        let post = "POST / HTTP/1.1\r\nHost: example.amazonaws.com\r\n\r\n";
        let signed = signed(&signer("service", Some(token)), OF_THE_SUITE, post);
        assert!(
            signed.contains(
                "Signature=85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead\r\n"
            ),
            "{signed}"
        );
        assert!(signed.contains(&format!("\r\nX-Amz-Security-Token: {token}\r\n")));
        assert!(!signed.contains("wJalr"), "the secret is never sent");
    }

    #[test]
    fn the_body_of_a_request_to_s3_is_among_its_headers() {
        let keys = Signer {
            key_id: "AKIAIOSFODNN7EXAMPLE".into(),
            secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
            ..signer("s3", None)
        };
        let get = "GET /test.txt HTTP/1.1\r\nHost: examplebucket.s3.amazonaws.com\r\nRange: bytes=0-9\r\n\r\n";
        let signed = signed(&keys, OF_S3, get);
        let expected = "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";
        assert!(signed.contains(expected), "{signed}");
    }

    #[test]
    fn what_is_encoded_is_signed_as_encoded_twice_in_paths_and_once_in_queries() {
        assert_eq!(canonical_path("/%E1%88%B4"), "/%25E1%2588%25B4", "get-utf8");
        assert_eq!(canonical_path("/a//b/./c/"), "/a/b/c/");
        assert_eq!(canonical_path(""), "/");
        assert_eq!(canonical_query("b=%20x&a&c=%7e"), "a=&b=%20x&c=~");
    }
}
