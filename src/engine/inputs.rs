//! Content of the keys and files that a test names, read where the load is made.

use std::borrow::Cow;
use std::fs;
use std::io::{self, Read};
use std::path::Path;

use crate::plan::feeder::{Data, MAX_DATA, RowsError};
use crate::plan::{Inputs, Problem, Reference};

/// Returns the bytes of a key or file of a test.
pub fn content<'a>(data: &Data, inputs: &'a Inputs) -> Result<Cow<'a, [u8]>, String> {
    match data {
        Data::Reference(reference) => inputs
            .get(reference)
            .map(Cow::Borrowed)
            .ok_or_else(|| format!("{reference} is not there")),
        Data::File(path) => read_data(&folder(inputs)?.join(path), MAX_DATA)
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

/// Reads a file of at most `most` bytes of data.
pub(crate) fn read_data(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    read_file(path, most)?
        .map_err(|length| io::Error::other(RowsError::TooLarge(length as u64).to_string()))
}

/// Reads a file of at most `most` bytes. For a longer one it returns how many bytes were read.
pub(crate) fn read_file(path: &Path, most: usize) -> io::Result<Result<Vec<u8>, usize>> {
    let mut data = Vec::new();
    fs::File::open(path)?
        .take(most as u64 + 1)
        .read_to_end(&mut data)?;
    Ok(if data.len() > most {
        Err(data.len())
    } else {
        Ok(data)
    })
}

/// Returns the text of a reference, fit for a header. No error message holds a part of it.
pub(crate) fn text<'a>(reference: &Reference, inputs: &'a Inputs) -> Result<&'a str, Problem> {
    let problem = |what: &str| Problem::new(reference.field.clone(), format!("{reference} {what}"));
    let value = inputs
        .text(reference)
        .ok_or_else(|| problem("is missing"))?
        .map_err(|_| problem("is not UTF-8 text"))?;
    if value.bytes().any(|b| b < 0x20 && b != b'\t' || b == 0x7f) {
        return Err(problem("holds a control character, which a header cannot"));
    }
    Ok(value)
}
