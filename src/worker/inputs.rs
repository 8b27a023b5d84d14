//! Inputs of a worker: the values of the test's references.

use std::io::ErrorKind;
use std::path::PathBuf;

use crate::plan::{Inputs, Plan};
use crate::wire::layout;

/// Source of the values that a test refers to.
#[derive(Debug, Clone)]
pub enum InputSource {
    /// Folder into which the kubelet mounts Secrets and ConfigMaps.
    Folder(PathBuf),
    /// Values that the command line has read.
    Values(Inputs),
}

impl InputSource {
    /// Reads all that is there now; what is missing shows when the share is prepared.
    pub fn read(&self, plan: &Plan) -> Inputs {
        let folder = match self {
            InputSource::Values(inputs) => return inputs.clone(),
            InputSource::Folder(folder) => folder,
        };
        let mut inputs = Inputs::default();
        inputs.set_folder(folder.join(layout::FILES));
        for reference in plan.references() {
            match std::fs::read(folder.join(layout::input_path(reference))) {
                Ok(value) => inputs.insert(reference.kind, &reference.name, &reference.key, value),
                Err(e) if e.kind() == ErrorKind::NotFound => tracing::debug!("{reference}: {e}"),
                // the master is told that the value is missing, so the log must say what is wrong
                Err(e) => tracing::warn!("{reference}: {e}"),
            }
        }
        inputs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Kind, Reference};

    #[test]
    fn values_lie_where_the_operator_mounts_them() {
        let spec = serde_json::json!({
            "target": {"url": "https://t", "auth": {"bearer": {"tokenFrom": {"secretKeyRef": {"name": "databricks", "key": "pat"}}}}},
            "scenarios": [{"name": "s", "tasks": [{"name": "t", "steps": [{"http": {"path": "/"}}]}]}],
            "load": {"closed": {"users": 1, "duration": "1s"}},
        });
        let plan = crate::crd::check(&serde_json::from_value(spec).unwrap())
            .unwrap()
            .plan;
        let folder = tempfile::tempdir().unwrap();
        let source = InputSource::Folder(folder.path().to_owned());
        let wanted = Reference {
            kind: Kind::Secret,
            name: "databricks".into(),
            key: "pat".into(),
            field: String::new(),
        };
        assert_eq!(source.read(&plan).get(&wanted), None);

        std::fs::create_dir_all(folder.path().join("secret/databricks")).unwrap();
        std::fs::write(folder.path().join("secret/databricks/pat"), "dapi").unwrap();
        assert_eq!(source.read(&plan).get(&wanted), Some(&b"dapi"[..]));
    }
}
