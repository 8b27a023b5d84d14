//! Inputs of a worker: the values of the test's references.

use std::io::ErrorKind;
use std::path::PathBuf;

use crate::engine::below;
use crate::plan::{Inputs, Plan};
use crate::wire::layout;

/// Source of the values that a test refers to.
#[derive(Debug, Clone)]
pub enum InputSource {
    /// Folder into which the kubelet mounts Secrets and ConfigMaps.
    Folder(PathBuf),
    /// Folder of a worker that joined from elsewhere, laid out alike: nothing outside of it is
    /// read, whatever the test and the links in it say. `None`: nothing at all is read.
    Confined(Option<PathBuf>),
    /// Values that the command line has read.
    Values(Inputs),
}

impl InputSource {
    /// Reads all that is there now; what is missing shows when the share is prepared.
    pub fn read(&self, plan: &Plan) -> Inputs {
        let mut inputs = Inputs::default();
        let (folder, is_confined) = match self {
            InputSource::Values(inputs) => return inputs.clone(),
            InputSource::Folder(folder) => (folder, false),
            InputSource::Confined(Some(folder)) => (folder, true),
            InputSource::Confined(None) => return inputs,
        };
        inputs.set_folder(folder.join(layout::FILES));
        // also where a volume is mounted there: its links lead to no other file of the Pod
        inputs.confine();
        for reference in plan.references() {
            let path = folder.join(layout::input_path(reference));
            let path = match is_confined {
                true => below(folder, &path),
                false => Ok(path),
            };
            match path.and_then(std::fs::read) {
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
        let confined = InputSource::Confined(Some(folder.path().to_owned()));
        assert_eq!(confined.read(&plan).get(&wanted), Some(&b"dapi"[..]));

        // a link that leads out gives nothing
        let outside = tempfile::NamedTempFile::new().unwrap();
        std::fs::remove_file(folder.path().join("secret/databricks/pat")).unwrap();
        let link = folder.path().join("secret/databricks/pat");
        std::os::unix::fs::symlink(outside.path(), link).unwrap();
        assert!(source.read(&plan).get(&wanted).is_some());
        assert_eq!(confined.read(&plan).get(&wanted), None);
        assert_eq!(InputSource::Confined(None).read(&plan).get(&wanted), None);
    }
}
