//! Last words of a container: why it ended, where Kubernetes shows it to people and the operator.

use std::io::Write;

/// File that the kubelet reads when a container has ended, up to 4 KiB of it.
const TERMINATION_LOG: &str = "/dev/termination-log";

/// Longest text in bytes; what is longer is cut.
const MAX: usize = 1024;

/// Leaves `text` as the message of the container's end. Outside a container nothing happens: there
/// is no such file.
pub fn leave(text: &str) {
    leave_in(TERMINATION_LOG.as_ref(), text);
}

fn leave_in(path: &std::path::Path, text: &str) {
    let mut end = text.len().min(MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let file = std::fs::OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(path);
    let written = file.and_then(|mut file| file.write_all(&text.as_bytes()[..end]));
    if let Err(error) = written {
        // the log has the same text
        tracing::debug!("no message of the end in {}: {error}", path.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_cut_and_no_file_is_made_for_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        leave_in(&path, "nobody listens");
        assert!(!path.exists());
        std::fs::write(&path, "before").unwrap();
        leave_in(&path, &"ä".repeat(MAX));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "ä".repeat(MAX / 2));
    }
}
