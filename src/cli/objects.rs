//! Values of references without a cluster: from Secrets and ConfigMaps among the given files, from
//! flags, and from the environment.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::files::read_file;
use super::yaml::Node;
use crate::plan::{Inputs, Kind, Plan, Problem, Reference};

/// Values of Secrets and ConfigMaps by kind, name and key.
#[derive(Default)]
pub struct Objects(BTreeMap<(Kind, String, String), Value>);

struct Value {
    bytes: Vec<u8>,
    /// Namespace of the object; `None`: the one that the test is in.
    namespace: Option<String>,
}

/// Value of a reference on the command line: `NAME/KEY=FILE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFile {
    /// Name of the Secret or ConfigMap.
    pub name: String,
    /// Key in the object.
    pub key: String,
    /// File that holds the value.
    pub file: PathBuf,
}

impl FromStr for KeyFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "write NAME/KEY=FILE".to_owned();
        let (object, file) = text.split_once('=').ok_or_else(wrong)?;
        let (name, key) = object.split_once('/').ok_or_else(wrong)?;
        if [name, key, file].contains(&"") {
            return Err(wrong());
        }
        Ok(KeyFile {
            name: name.to_owned(),
            key: key.to_owned(),
            file: file.into(),
        })
    }
}

impl std::fmt::Debug for Objects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Objects({} values)", self.0.len())
    }
}

impl Objects {
    /// Adds the values of a Secret or ConfigMap and returns its mistakes. `stringData` overrides
    /// `data`, as in a cluster.
    pub fn add(&mut self, kind: &str, node: &Node) -> Vec<Problem> {
        let metadata = |field: &str| {
            node.get("metadata")
                .and_then(|metadata| metadata.get(field))
                .and_then(Node::as_str)
        };
        let Some(name) = metadata("name") else {
            return vec![Problem::new("metadata.name", "is missing")];
        };
        let namespace = metadata("namespace");
        let (kind, sections): (_, &[(&str, bool)]) = match kind {
            "Secret" => (Kind::Secret, &[("data", true), ("stringData", false)]),
            _ => (Kind::ConfigMap, &[("binaryData", true), ("data", false)]),
        };
        let mut problems = Vec::new();
        for (section, is_base64) in sections {
            for (key, value) in node.get(section).into_iter().flat_map(Node::fields) {
                let path = format!("{section}.{key}");
                let bytes = match value.as_str() {
                    None => Err("must be text; quote it".to_owned()),
                    // YAML may break long lines
                    Some(text) if *is_base64 => {
                        let packed: String =
                            text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
                        STANDARD
                            .decode(packed)
                            .map_err(|_| "is not base64".to_owned())
                    }
                    Some(text) => Ok(text.as_bytes().to_owned()),
                };
                match bytes {
                    Ok(bytes) => {
                        let value = Value {
                            bytes,
                            namespace: namespace.map(str::to_owned),
                        };
                        self.0
                            .insert((kind, name.to_owned(), key.to_owned()), value);
                    }
                    Err(message) => problems.push(Problem::new(path, message)),
                }
            }
        }
        problems
    }

    /// Returns the value of `reference` for a test in `namespace`. Where either the test or the
    /// object names no namespace, they fit.
    pub fn get(&self, reference: &Reference, namespace: Option<&str>) -> Option<&[u8]> {
        let value = self.0.get(&(
            reference.kind,
            reference.name.clone(),
            reference.key.clone(),
        ))?;
        let fits = value.namespace.is_none()
            || namespace.is_none()
            || value.namespace.as_deref() == namespace;
        fits.then_some(value.bytes.as_slice())
    }
}

/// Sources of the values of references, in the order in which they are asked: flags, the given
/// files, the environment.
pub struct Sources<'a> {
    /// Values of `--secret`.
    pub secrets: &'a [KeyFile],
    /// Values of `--config-map`.
    pub config_maps: &'a [KeyFile],
    /// Values of objects among the files.
    pub objects: &'a Objects,
    /// Lookup of an environment variable by name.
    pub environment: &'a dyn Fn(&str) -> Option<OsString>,
}

impl Sources<'_> {
    /// Returns the value of each reference of `plan`.
    ///
    /// # Errors
    ///
    /// Each missing value, with the ways to give it.
    pub fn resolve(&self, plan: &Plan, namespace: Option<&str>) -> Result<Inputs, Vec<Problem>> {
        let mut inputs = Inputs::default();
        let mut problems = Vec::new();
        for reference in plan.references() {
            match self.value(reference, namespace) {
                Ok(value) => inputs.insert(reference.kind, &reference.name, &reference.key, value),
                Err(message) => problems.push(Problem::new(&reference.field, message)),
            }
        }
        if problems.is_empty() {
            Ok(inputs)
        } else {
            Err(problems)
        }
    }

    fn value(&self, reference: &Reference, namespace: Option<&str>) -> Result<Vec<u8>, String> {
        let Reference {
            kind,
            name,
            key,
            field: _,
        } = reference;
        let (flags, flag) = match kind {
            Kind::Secret => (self.secrets, "--secret"),
            Kind::ConfigMap => (self.config_maps, "--config-map"),
        };
        if let Some(key_file) = flags
            .iter()
            .find(|flag| flag.name == *name && flag.key == *key)
        {
            return read_key_file(flag, &key_file.file);
        }
        if let Some(bytes) = self.objects.get(reference, namespace) {
            return Ok(bytes.to_owned());
        }
        let variable = variable_name(reference);
        if let Some(value) = (self.environment)(&variable) {
            return Ok(value.into_encoded_bytes());
        }
        Err(format!(
            "{kind} {name:?} has no key {key:?} here; give it by {flag} {name}/{key}=FILE, by ${variable}, or as a {kind} in the file"
        ))
    }
}

fn read_key_file(flag: &str, file: &Path) -> Result<Vec<u8>, String> {
    read_file(file).map_err(|error| format!("{flag}: {} {error}", file.display()))
}

/// Returns the environment variable for a reference: `STARLING_SECRET_<NAME>_<KEY>`, upper case,
/// with `_` for all that is neither letter nor digit.
fn variable_name(reference: &Reference) -> String {
    let kind = match reference.kind {
        Kind::Secret => "SECRET",
        Kind::ConfigMap => "CONFIG_MAP",
    };
    let text = format!("STARLING_{kind}_{}_{}", reference.name, reference.key);
    text.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_uppercase()
            } else {
                '_'
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::yaml;
    use super::*;

    fn token() -> Reference {
        Reference {
            kind: Kind::Secret,
            name: "data-bricks".into(),
            key: "p.at".into(),
            field: "spec.target.auth.bearer.tokenFrom".into(),
        }
    }

    fn objects(text: &str) -> (Objects, Vec<Problem>) {
        let mut objects = Objects::default();
        let node = &yaml::read(text).unwrap()[0];
        let problems = objects.add(node.get("kind").and_then(Node::as_str).unwrap(), node);
        (objects, problems)
    }

    fn secret(fields: &str) -> Objects {
        objects(&format!(
            "kind: Secret\nmetadata: {{name: data-bricks}}\n{fields}\n"
        ))
        .0
    }

    fn value(sources: &Sources<'_>) -> Result<String, String> {
        sources
            .value(&token(), None)
            .map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn what_is_missing_says_how_to_give_it() {
        let sources = Sources {
            secrets: &[],
            config_maps: &[],
            objects: &Objects::default(),
            environment: &|_| None,
        };
        let message = value(&sources).unwrap_err();
        for part in [
            "Secret \"data-bricks\"",
            "key \"p.at\"",
            "--secret data-bricks/p.at=FILE",
            "$STARLING_SECRET_DATA_BRICKS_P_AT",
        ] {
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn data_that_is_not_base64_is_refused() {
        let (objects, problems) = objects(
            "kind: Secret\nmetadata: {name: s}\ndata: {a: '!', b: MQ==}\nstringData: {c: 1}\n",
        );
        assert_eq!(
            problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [
                "data.a: is not base64",
                "stringData.c: must be text; quote it"
            ]
        );
        assert_eq!(objects.0.len(), 1);
    }

    #[test]
    fn flags_go_before_files_and_files_before_the_environment() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "by flag").unwrap();
        let flags = [KeyFile {
            name: "data-bricks".into(),
            key: "p.at".into(),
            file,
        }];
        let both = secret("data: {p.at: bm90IHRoaXM=}\nstringData: {p.at: by file}");
        let environment = |name: &str| {
            (name == "STARLING_SECRET_DATA_BRICKS_P_AT").then(|| "by environment".into())
        };
        let none = Objects::default();
        let sources = |secrets, objects| Sources {
            secrets,
            config_maps: &[],
            objects,
            environment: &environment,
        };
        assert_eq!(value(&sources(&flags, &both)).unwrap(), "by flag");
        assert_eq!(value(&sources(&[], &both)).unwrap(), "by file");
        assert_eq!(value(&sources(&[], &none)).unwrap(), "by environment");
    }

    #[test]
    fn an_object_of_another_namespace_is_not_the_one_meant() {
        let (objects, _) = objects(
            "kind: Secret\nmetadata: {name: data-bricks, namespace: there}\nstringData: {p.at: x}\n",
        );
        assert!(objects.get(&token(), Some("here")).is_none());
        assert!(
            objects.get(&token(), Some("there")).is_some() && objects.get(&token(), None).is_some()
        );
    }

    #[test]
    fn a_flag_that_does_not_fit_is_refused() {
        for text in ["a", "a/b", "a=b", "/b=c", "a/=c", "a/b="] {
            assert!(text.parse::<KeyFile>().is_err(), "{text}");
        }
        assert_eq!(
            "a/b=c=d".parse(),
            Ok(KeyFile {
                name: "a".into(),
                key: "b".into(),
                file: "c=d".into()
            })
        );
    }
}
