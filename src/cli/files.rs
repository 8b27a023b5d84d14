//! Reading of files and standard input, with a bound.

use std::io::Read;
use std::path::Path;

use super::yaml;

/// Reads a file, or standard input if `file` is `-`, as text.
///
/// # Errors
///
/// A sentence without the file's name: no such file, too large, or not UTF-8.
pub fn read_text(file: &str) -> Result<String, String> {
    let bytes = if file == "-" {
        read_bounded(std::io::stdin().lock())
    } else {
        read_file(Path::new(file))
    }?;
    String::from_utf8(bytes).map_err(|_| "is not UTF-8 text".into())
}

/// Reads the bytes of a file of at most [`yaml::MAX_FILE`], which is as large as a Secret may be.
///
/// # Errors
///
/// A sentence without the file's name.
pub fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let file = std::fs::File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    read_bounded(file)
}

fn read_bounded(source: impl Read) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    source
        .take(yaml::MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() as u64 > yaml::MAX_FILE {
        return Err("is larger than 1 MiB, which is all that a file may be".into());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_a_megabyte_is_refused() {
        let long = "x".repeat(yaml::MAX_FILE as usize + 1);
        assert!(read_bounded(long.as_bytes()).unwrap_err().contains("1 MiB"));
        assert!(read_bounded(&long.as_bytes()[1..]).is_ok());
    }
}
