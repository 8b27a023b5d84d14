//! The whole result as JSON in a file, which is there whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::stats::RunResult;

/// Failure to write a result to a file.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the result to {}: {source}", path.display())]
pub struct WriteError {
    path: PathBuf,
    source: io::Error,
}

/// Writes one result as an object, several as a list. The file is there whole or not at all, unless
/// it is a device or a pipe.
pub fn write(path: &Path, results: &[RunResult]) -> Result<(), WriteError> {
    replace(path, |out| match results {
        [one] => serde_json::to_writer_pretty(out, one),
        all => serde_json::to_writer_pretty(out, all),
    })
}

/// Finds out, before a run, whether [`write()`] will be able to.
pub fn check(path: &Path) -> Result<(), WriteError> {
    let outcome = if is_special(path) {
        File::options().write(true).open(path).map(drop)
    } else {
        draft(path).and_then(|draft| {
            File::create(&draft)
                .map(drop)
                .and_then(|()| fs::remove_file(&draft))
        })
    };
    outcome.map_err(|source| WriteError {
        path: path.to_owned(),
        source,
    })
}

fn replace(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<File>) -> serde_json::Result<()>,
) -> Result<(), WriteError> {
    let save = |to: &Path| -> io::Result<()> {
        let mut out = BufWriter::new(File::create(to)?);
        fill(&mut out)?;
        out.write_all(b"\n")?;
        out.flush()
    };
    let outcome = if is_special(path) {
        save(path)
    } else {
        draft(path).and_then(|draft| {
            save(&draft)
                .and_then(|()| fs::rename(&draft, path))
                .inspect_err(|_| {
                    // a draft that stays does no harm, and the first error is the one to report
                    let _ = fs::remove_file(&draft);
                })
        })
    };
    outcome.map_err(|source| WriteError {
        path: path.to_owned(),
        source,
    })
}

/// Tells devices and pipes from files: they are written to, since putting a file in their place
/// would harm others.
fn is_special(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
}

/// Path of a draft beside the file, since a file can only be moved within its file system.
fn draft(path: &Path) -> io::Result<PathBuf> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it names no file"))?;
    if path.is_dir() {
        return Err(io::Error::new(
            io::ErrorKind::IsADirectory,
            "it is a folder",
        ));
    }
    let mut draft = std::ffi::OsString::from(".");
    draft.push(name);
    draft.push(format!(".{}.part", std::process::id()));
    Ok(path.with_file_name(draft))
}

#[cfg(test)]
mod tests {
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
    fn a_failed_write_leaves_the_old_file_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("result.json");
        fs::write(&path, "old").unwrap();
        let failed = replace(&path, |_| {
            Err(serde_json::Error::io(io::Error::other("no space")))
        });
        assert!(failed.unwrap_err().to_string().contains("result.json"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
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
