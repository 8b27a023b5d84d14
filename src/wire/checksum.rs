//! Hashes of the files that a role mounts: the operator writes them into the arguments of the Pod,
//! and the role compares before it believes a file.

use std::str::FromStr;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

/// Returns the SHA-256 of `bytes` in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(bytes))
}

/// Name of a file and the SHA-256 that it must have, written `NAME=HEX`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileHash {
    /// Name of the file, without its folder.
    pub name: String,
    /// SHA-256 of the whole file: 64 lower-case hexadecimal digits.
    pub sha256: String,
}

impl FileHash {
    /// Hashes the content of a file.
    pub fn of(name: &str, content: &[u8]) -> Self {
        Self {
            name: name.to_owned(),
            sha256: sha256(content),
        }
    }
}

impl std::fmt::Display for FileHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}={}", self.name, self.sha256)
    }
}

impl FromStr for FileHash {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((name, hash))
                if !name.is_empty()
                    && hash.len() == 64
                    && hash
                        .bytes()
                        .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) =>
            {
                Ok(Self {
                    name: name.to_owned(),
                    sha256: hash.to_owned(),
                })
            }
            _ => Err(format!("{text:?} is not NAME=HEX with 64 digits")),
        }
    }
}

/// Error of a file that is not the one which the operator wrote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// The content is another.
    #[error(
        "{name} is not what the operator wrote: its SHA-256 is {actual}, \
         the arguments of the Pod ask for {expected}"
    )]
    Content {
        /// Name of the file.
        name: String,
        /// SHA-256 of the file that is there.
        actual: String,
        /// SHA-256 in the arguments.
        expected: String,
    },
    /// The file is not there.
    #[error("{name}, which the operator wrote, is not there")]
    Missing {
        /// Name of the file.
        name: String,
    },
    /// The arguments have hashes, but none of this file.
    #[error("the arguments of the Pod have no hash of {name}")]
    NoHash {
        /// Name of the file.
        name: String,
    },
}

/// Checks a file against the hashes in the arguments. Without any hash, as in the Pods of older
/// releases, every file is taken; with some, a file without a hash is refused.
pub fn check(hashes: &[FileHash], name: &str, content: &[u8]) -> Result<(), Mismatch> {
    if hashes.is_empty() {
        return Ok(());
    }
    let Some(wanted) = hashes.iter().find(|hash| hash.name == name) else {
        return Err(Mismatch::NoHash {
            name: name.to_owned(),
        });
    };
    let actual = sha256(content);
    if actual == wanted.sha256 {
        return Ok(());
    }
    Err(Mismatch::Content {
        name: name.to_owned(),
        actual,
        expected: wanted.sha256.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_taken_only_with_the_content_that_was_hashed() {
        let hashes = [FileHash::of("run.json", b"{}")];
        assert_eq!(check(&hashes, "run.json", b"{}"), Ok(()));
        let refused = check(&hashes, "run.json", b"{ }").unwrap_err().to_string();
        assert!(refused.contains("run.json is not what the operator wrote"));
        assert!(check(&hashes, "ca.crt", b"").is_err(), "it has no hash");
        assert_eq!(check(&[], "run.json", b"anything"), Ok(()));
    }

    #[test]
    fn a_hash_reads_back_and_nothing_else_is_one() {
        let hash = FileHash::of("tls.key", b"key");
        assert_eq!(hash.to_string().parse(), Ok(hash));
        for wrong in [
            "",
            "tls.key",
            "=00",
            "tls.key=00",
            &format!("a={}", "g".repeat(64)),
        ] {
            assert!(wrong.parse::<FileHash>().is_err(), "{wrong}");
        }
    }
}
