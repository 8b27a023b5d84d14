//! Files that hold a result: there whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Failure to write a result to a file.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the result to {}: {source}", path.display())]
pub struct WriteError {
    path: PathBuf,
    source: io::Error,
}

/// Finds out, before a run, whether [`replace()`] will be able to write a file.
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

/// Writes a file by `fill`. It is there whole or not at all, unless it is a device or a pipe.
pub fn replace(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<(), WriteError> {
    let save = |to: &Path| -> io::Result<()> {
        let mut out = BufWriter::new(File::create(to)?);
        fill(&mut out)?;
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
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("result.json");
        fs::write(&path, "old").unwrap();
        let failed = replace(&path, |_| Err(io::Error::other("no space")));
        assert!(failed.unwrap_err().to_string().contains("result.json"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
