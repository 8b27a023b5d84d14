//! The whole result as JSON in a file.

use std::io::{self, Write};
use std::path::Path;

use super::file::{WriteError, replace};
use crate::stats::RunResult;

/// Writes one result as an object, several as a list.
pub fn write(path: &Path, results: &[RunResult]) -> Result<(), WriteError> {
    replace(path, |out| {
        match results {
            [one] => serde_json::to_writer_pretty(&mut *out, one),
            all => serde_json::to_writer_pretty(&mut *out, all),
        }
        .map_err(io::Error::from)?;
        out.write_all(b"\n")
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::super::file::check;
    use super::super::text::tests::result;
    use super::*;

    #[test]
    fn where_nothing_can_be_written_is_known_beforehand() {
        let folder = tempfile::tempdir().unwrap();
        for path in [
            folder.path().join("missing/result.json"),
            folder.path().to_owned(),
            PathBuf::from("/"),
        ] {
            assert!(check(&path).is_err(), "{path:?}");
            assert!(write(&path, &[result()]).is_err(), "{path:?}");
        }
    }

    #[test]
    fn one_result_is_an_object_and_several_are_a_list() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("result.json");
        check(&path).unwrap();
        write(&path, &[result()]).unwrap();
        let read: RunResult = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(read, result());
        write(&path, &[result(), result()]).unwrap();
        let read: Vec<RunResult> = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(read.len(), 2);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
