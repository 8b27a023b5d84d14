//! References to keys of Secrets and ConfigMaps, and the values found for them where the load is
//! made.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    Secret,
    ConfigMap,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Kind::Secret => "Secret",
            Kind::ConfigMap => "ConfigMap",
        })
    }
}

/// One key of one object in the LoadTest's own namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Reference {
    pub kind: Kind,
    pub name: String,
    pub key: String,
    /// Where the test names it, such as `spec.target.auth.bearer.tokenFrom`; for messages.
    pub field: String,
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} {:?} key {:?} ({})",
            self.kind, self.name, self.key, self.field
        )
    }
}

/// The values of a plan's references, and where its files are. Secret: neither shown nor
/// serialised.
#[derive(Clone, Default)]
pub struct Inputs {
    values: HashMap<(Kind, String, String), Vec<u8>>,
    folder: Option<PathBuf>,
}

impl Inputs {
    pub fn insert(
        &mut self,
        kind: Kind,
        name: impl Into<String>,
        key: impl Into<String>,
        value: Vec<u8>,
    ) {
        self.values.insert((kind, name.into(), key.into()), value);
    }

    /// Where the relative paths of the test begin.
    pub fn set_folder(&mut self, folder: impl Into<PathBuf>) {
        self.folder = Some(folder.into());
    }

    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    pub fn get(&self, reference: &Reference) -> Option<&[u8]> {
        self.values
            .get(&(
                reference.kind,
                reference.name.clone(),
                reference.key.clone(),
            ))
            .map(Vec::as_slice)
    }

    /// The value as text without the line break that `echo` and editors leave at the end.
    pub fn text(&self, reference: &Reference) -> Option<Result<&str, std::str::Utf8Error>> {
        self.get(reference)
            .map(|bytes| std::str::from_utf8(bytes).map(|text| text.trim_end_matches(['\n', '\r'])))
    }
}

impl std::fmt::Debug for Inputs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Inputs({} values)", self.values.len())
    }
}
