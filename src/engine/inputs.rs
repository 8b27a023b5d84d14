//! Content of the keys and files that a test names, read where the load is made.

use std::borrow::Cow;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::plan::feeder::{Data, MAX_DATA, RowsError};
use crate::plan::{Inputs, Problem, Reference};

/// Returns the bytes of a key or file of a test.
pub fn content<'a>(data: &Data, inputs: &'a Inputs) -> Result<Cow<'a, [u8]>, String> {
    match data {
        Data::Reference(reference) => inputs
            .get(reference)
            .map(Cow::Borrowed)
            .ok_or_else(|| format!("{reference} is not there")),
        Data::File(path) => read_data(inputs, &folder(inputs)?.join(path), MAX_DATA)
            .map(Cow::Owned)
            .map_err(|e| unreadable(path, &e)),
    }
}

/// Returns the folder that file paths are relative to.
pub(crate) fn folder(inputs: &Inputs) -> Result<&Path, String> {
    inputs
        .folder()
        .ok_or_else(|| "there is no folder with files here".to_owned())
}

/// Formats an error that says why a file cannot be read.
pub(crate) fn unreadable(path: &str, error: &io::Error) -> String {
    format!(
        "cannot read {path:?}: {error}; in a cluster the first part of a path is the name of a volume of spec.workers.volumes"
    )
}

/// Returns the path that `path` leads to, links followed; an error unless that is a file or folder
/// that lies below `root`.
pub fn below(root: &Path, path: &Path) -> io::Result<PathBuf> {
    let (root, found) = (root.canonicalize()?, path.canonicalize()?);
    let kind = fs::metadata(&found)?.file_type();
    let why_not = if !found.starts_with(&root) {
        "it leads out of the folder of files"
    } else if !kind.is_file() && !kind.is_dir() {
        "it is neither a file nor a folder"
    } else {
        return Ok(found);
    };
    Err(io::Error::new(io::ErrorKind::PermissionDenied, why_not))
}

/// Returns the path to open for `path`: where files are confined to their folder, one that lies
/// below it.
pub(crate) fn permitted(inputs: &Inputs, path: &Path) -> io::Result<PathBuf> {
    match inputs.confined_to() {
        Some(root) => below(root, path),
        None => Ok(path.to_owned()),
    }
}

/// Reads a file of at most `most` bytes of data.
pub(crate) fn read_data(inputs: &Inputs, path: &Path, most: usize) -> io::Result<Vec<u8>> {
    read_file(inputs, path, most)?
        .map_err(|length| io::Error::other(RowsError::TooLarge(length as u64).to_string()))
}

/// Reads a file of at most `most` bytes. For a longer one it returns how many bytes were read.
pub(crate) fn read_file(
    inputs: &Inputs,
    path: &Path,
    most: usize,
) -> io::Result<Result<Vec<u8>, usize>> {
    let mut data = Vec::new();
    fs::File::open(permitted(inputs, path)?)?
        .take(most as u64 + 1)
        .read_to_end(&mut data)?;
    Ok(if data.len() > most {
        Err(data.len())
    } else {
        Ok(data)
    })
}

/// Returns the text of a reference that is a credential or a part of one, fit for a header. An empty
/// one is refused: its variable was not set when the Secret was made. No error message holds a part
/// of it.
pub(crate) fn text<'a>(reference: &Reference, inputs: &'a Inputs) -> Result<&'a str, Problem> {
    let problem = |what: &str| Problem::new(reference.field.clone(), format!("{reference} {what}"));
    let value = inputs
        .text(reference)
        .ok_or_else(|| problem("is missing"))?
        .map_err(|_| problem("is not UTF-8 text"))?;
    // some programs begin text with a byte order mark
    let value = value.strip_prefix('\u{feff}').unwrap_or(value);
    if value.trim().is_empty() {
        return Err(problem("is empty"));
    }
    if value.bytes().any(|b| b < 0x20 && b != b'\t' || b == 0x7f) {
        return Err(problem("holds a control character, which a header cannot"));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_outside_of_the_folder_is_opened_by_any_path() {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("files");
        fs::create_dir_all(root.join("a")).unwrap();
        fs::create_dir(outer.path().join("files-too")).unwrap();
        for place in ["secret", "files/a/mine", "files-too/x"] {
            fs::write(outer.path().join(place), "x").unwrap();
        }
        let link = |to: &Path, name: &str| std::os::unix::fs::symlink(to, root.join(name)).unwrap();
        link(&outer.path().join("secret"), "to-file");
        link(outer.path(), "to-folder");
        link(&root.join("a/mine"), "within");
        link(&root.join("nowhere"), "broken");
        for good in [
            "a/mine",
            "a",
            "within",
            "a/../a/mine",
            "to-folder/files/a/mine",
        ] {
            assert!(below(&root, &root.join(good)).is_ok(), "{good}");
        }
        let absolute = outer.path().join("secret");
        for bad in [
            "../secret",
            "a/../../secret",
            "to-file",
            "to-folder/secret",
            "to-folder",
            "../files-too/x",
            "broken",
            "missing",
            absolute.to_str().unwrap(),
            "/etc/passwd",
        ] {
            assert!(below(&root, &root.join(bad)).is_err(), "{bad}");
        }
        let pipe = root.join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        assert!(below(&root, &pipe).is_err());
    }

    #[test]
    fn inputs_that_are_confined_read_below_their_folder_only() {
        let outer = tempfile::tempdir().unwrap();
        fs::create_dir(outer.path().join("files")).unwrap();
        fs::write(outer.path().join("secret"), "x").unwrap();
        let mut inputs = Inputs::default();
        inputs.set_folder(outer.path().join("files"));
        let outside = Data::File("../secret".into());
        assert!(content(&outside, &inputs).is_ok());
        inputs.confine();
        let error = content(&outside, &inputs).unwrap_err();
        assert!(error.contains("leads out of the folder"), "{error}");
    }
}
