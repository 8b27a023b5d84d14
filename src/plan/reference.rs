//! References to keys of Secrets and ConfigMaps, and the values found for them where the load is
//! made.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Kind of object that a reference points to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// A Secret: its values are never shown.
    Secret,
    /// A ConfigMap.
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

/// One key of one Secret or ConfigMap in the LoadTest's own namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Reference {
    /// Kind of the object.
    pub kind: Kind,
    /// Name of the object.
    pub name: String,
    /// Key in the object's data.
    pub key: String,
    /// Field of the test that has the reference, such as `spec.target.auth.bearer.tokenFrom`; for
    /// messages.
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

/// The values of a plan's references, and the folder of its files. They are secret: neither shown
/// nor serialised.
#[derive(Clone, Default)]
pub struct Inputs {
    values: HashMap<(Kind, String, String), Vec<u8>>,
    folder: Option<PathBuf>,
    is_confined: bool,
}

impl Inputs {
    /// Adds the value of a key.
    pub fn insert(
        &mut self,
        kind: Kind,
        name: impl Into<String>,
        key: impl Into<String>,
        value: Vec<u8>,
    ) {
        self.values.insert((kind, name.into(), key.into()), value);
    }

    /// Sets the folder that relative paths of the test start from.
    pub fn set_folder(&mut self, folder: impl Into<PathBuf>) {
        self.folder = Some(folder.into());
    }

    /// Folder that relative paths of the test start from, if there is one.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// Has files read only below the folder, wherever the paths of the test lead.
    pub fn confine(&mut self) {
        self.is_confined = true;
    }

    /// Folder below which all files must lie; `None` if they may lie anywhere.
    pub fn confined_to(&self) -> Option<&Path> {
        self.folder().filter(|_| self.is_confined)
    }

    /// Bytes of a reference; `None` if they are missing.
    pub fn get(&self, reference: &Reference) -> Option<&[u8]> {
        self.values
            .get(&(
                reference.kind,
                reference.name.clone(),
                reference.key.clone(),
            ))
            .map(Vec::as_slice)
    }

    /// Text of a reference without the line break that `echo` and editors leave at the end; `None`
    /// if it is missing, an error if it is not UTF-8.
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
