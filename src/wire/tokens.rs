//! Tokens of workers: each worker has one of its own, which lets it in as the worker of its index
//! and as nobody else. The master holds one key and computes them all.

use data_encoding::BASE64URL_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// Bytes of the proof in a token: 128 bits of HMAC-SHA256, so that the tokens of 2,000 workers
/// take about 100 KB of the 1 MiB that a Secret may have.
const PROOF: usize = 16;

/// Key that the tokens of all workers of one run are computed with.
#[derive(Clone, PartialEq, Eq)]
pub struct WorkerKey([u8; 32]);

impl std::fmt::Debug for WorkerKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WorkerKey(..)")
    }
}

impl WorkerKey {
    /// Takes 32 secret bytes as a key.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads a key from the text of its file; `None` for a text that is none. White space around it
    /// is no part of it.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = BASE64URL_NOPAD.decode(text.trim().as_bytes()).ok()?;
        bytes.try_into().ok().map(Self)
    }

    /// Writes the key as the text of its file.
    pub fn text(&self) -> String {
        BASE64URL_NOPAD.encode(&self.0)
    }

    /// Computes the token of the worker with this index: `INDEX.PROOF`.
    pub fn token(&self, index: u32) -> String {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(b"worker\0");
        mac.update(&index.to_be_bytes());
        let proof = mac.finalize().into_bytes();
        format!("{index}.{}", BASE64URL_NOPAD.encode(&proof[..PROOF]))
    }

    /// Returns the index of the worker that a token lets in; `None` for a token of no worker of
    /// this run. Takes as long whichever character differs.
    pub fn admits(&self, token: &[u8]) -> Option<u32> {
        let text = std::str::from_utf8(token).ok()?;
        let index = index_of(text)?;
        bool::from(self.token(index).as_bytes().ct_eq(token)).then_some(index)
    }
}

/// Token by which a worker joins a run from elsewhere, as a line of a token file: `RUN/INDEX.PROOF`.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// Id of the run.
    pub run: String,
    /// Index of the worker that the token lets in.
    pub index: u32,
    /// Token that the worker shows to the master.
    pub token: String,
}

impl std::fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "JoinToken({}, worker {})", self.run, self.index)
    }
}

impl std::fmt::Display for JoinToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.run, self.token)
    }
}

impl JoinToken {
    /// Reads a line of a token file; `None` for one that is no token.
    pub fn parse(line: &str) -> Option<Self> {
        let (run, token) = line.trim().split_once('/')?;
        let is_id = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if run.is_empty() || !run.chars().all(is_id) {
            return None;
        }
        Some(Self {
            run: run.to_owned(),
            index: index_of(token)?,
            token: token.to_owned(),
        })
    }

    /// Reads a token file: a token a line, all of one run; empty lines and those that begin with
    /// `#` are left out. `None` for a file without a token, with another line or with two runs.
    pub fn parse_file(text: &str) -> Option<Vec<Self>> {
        let lines = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        let tokens: Vec<Self> = lines.map(Self::parse).collect::<Option<_>>()?;
        let first = tokens.first()?;
        let is_one_run = tokens.iter().all(|token| token.run == first.run);
        is_one_run.then_some(tokens)
    }
}

/// Returns the index that a token speaks of, whether it is genuine or not; `None` for a token
/// without one, as workers of older releases had.
pub fn index_of(token: &str) -> Option<u32> {
    token.split_once('.')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_lets_in_its_index_and_no_other() {
        let key = WorkerKey::new([7; 32]);
        let token = key.token(3);
        assert_eq!(key.admits(token.as_bytes()), Some(3));
        let other = token.replacen("3.", "4.", 1);
        assert_eq!(key.admits(other.as_bytes()), None);
        // the same number, written otherwise
        for written in [
            format!("0{token}"),
            format!("+{token}"),
            format!(" {token}"),
        ] {
            assert_eq!(key.admits(written.as_bytes()), None, "{written}");
        }
        assert_eq!(WorkerKey::new([8; 32]).admits(token.as_bytes()), None);
        for none in ["", ".", "3", "3.", "\u{fc}.x"] {
            assert_eq!(key.admits(none.as_bytes()), None, "{none}");
        }
    }

    #[test]
    fn a_token_file_holds_tokens_of_one_run_and_nothing_else() {
        let key = WorkerKey::new([7; 32]);
        let of = |run: &str, index: u32| JoinToken {
            run: run.to_owned(),
            index,
            token: key.token(index),
        };
        let text = format!("# of two workers\n\n{}\n {} \n", of("r-1", 4), of("r-1", 5));
        assert_eq!(
            JoinToken::parse_file(&text),
            Some(vec![of("r-1", 4), of("r-1", 5)])
        );
        let two_runs = format!("{}\n{}", of("r-1", 4), of("r-2", 5));
        let no_index = "r-1/token".to_owned();
        let no_id = format!("../{}", key.token(1));
        for bad in [two_runs, no_index, no_id, String::new(), "# none\n".into()] {
            assert_eq!(JoinToken::parse_file(&bad), None, "{bad}");
        }
        assert!(!format!("{:?}", of("r-1", 4)).contains(&key.token(4)));
    }

    #[test]
    fn a_key_reads_back_and_is_not_shown() {
        let key = WorkerKey::new([7; 32]);
        assert_eq!(
            WorkerKey::parse(&format!("{}\n", key.text())),
            Some(key.clone())
        );
        assert_eq!(WorkerKey::parse("c2hvcnQ"), None);
        assert_eq!(format!("{key:?}"), "WorkerKey(..)");
    }
}
