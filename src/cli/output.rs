//! Words of the commands on standard output and standard error. Neither needs to be there: a reader
//! may go away, a disk may be full.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;

use super::exit::Exit;

/// Writes `text` to standard output. A reader that has gone away is no error: nobody reads the
/// rest, and the exit code still says what happened.
///
/// # Errors
///
/// The text cannot be written for another reason, such as a full disk.
pub fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.or_else(|error| match is_without_reader(&error) {
        true => Ok(()),
        false => Err(error),
    })
}

/// Writes `text` to standard output, and says on standard error why it cannot be written.
pub fn print(text: &str) -> Exit {
    match write(text) {
        Ok(()) => Exit::Passed,
        Err(error) => {
            note(&format!("error: cannot write to standard output: {error}"));
            Exit::Failed
        }
    }
}

/// Writes `text` and the end of a line to standard error. Without a standard error there is nobody
/// to tell.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Returns whether nobody is left to read what is written: the pipe is closed, or the terminal is
/// gone.
fn is_without_reader(error: &io::Error) -> bool {
    error.kind() == ErrorKind::BrokenPipe
        || (error.raw_os_error() == Some(libc::EIO) && is_device())
}

/// Returns whether standard output is a device, as a terminal is.
fn is_device() -> bool {
    let file = io::stdout().as_fd().try_clone_to_owned().map(File::from);
    file.and_then(|file| file.metadata())
        .is_ok_and(|metadata| metadata.file_type().is_char_device())
}
