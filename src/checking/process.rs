//! The start of a check, and what its end says about the spec.

use std::io::{self, BufRead, BufReader, PipeReader, Read, Seek, SeekFrom, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use super::{ADDRESS_SPACE, CPU_SECONDS, FIELD, MAX_MESSAGE, OUTCOME, Outcome, PATIENCE};
use crate::plan::{Problem, budget};

/// Most bytes that a check says in all, the paths of fields included.
const MAX_OUTPUT: u64 = 64 << 20;

/// Most lines that a check says: a field has one.
const MAX_LINES: usize = 200_000;

/// Program that checks specs: its hidden command is `check-spec`.
#[derive(Debug, Clone)]
pub struct Process {
    program: PathBuf,
}

/// Reason why there is no outcome. It says nothing about the spec.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The process that checks cannot be started.
    #[error("cannot start the process that checks the spec: {0}")]
    Start(#[source] io::Error),
    /// The process was killed from outside.
    #[error("the process that checks the spec was killed")]
    Killed,
    /// The process took too long on a machine that gave it no CPU.
    #[error(
        "the process that checks the spec had no outcome after {} s",
        PATIENCE.as_secs()
    )]
    TooSlow,
}

/// Check under way. It ends when this is dropped.
pub struct Running {
    child: Child,
    began: Instant,
    said: Receiver<Said>,
}

/// Words of a check.
#[derive(Debug, Default)]
struct Said {
    /// Path of the field that was checked last.
    field: String,
    /// Outcome as JSON, empty if there was none.
    outcome: Vec<u8>,
    /// True if the check said more than it may.
    too_much: bool,
    /// Last line of other text, such as a message of the allocator.
    last_words: String,
}

impl Process {
    /// Returns the program that runs now, also after its file was replaced.
    pub fn of_this_program() -> Self {
        let running = match cfg!(target_os = "linux") {
            true => Ok(PathBuf::from("/proc/self/exe")),
            false => std::env::current_exe(),
        };
        // a program without a name cannot be started, which the start then says
        Self::new(running.unwrap_or_default())
    }

    /// Returns the program at a path.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
        }
    }

    /// Starts a check of `request`, made by [`super::request`].
    ///
    /// # Errors
    ///
    /// The process or the thread that listens to it cannot be started.
    pub fn begin(&self, request: Vec<u8>) -> Result<Running, CheckError> {
        let (output, words) = io::pipe().map_err(CheckError::Start)?;
        let errors = words.try_clone().map_err(CheckError::Start)?;
        let mut command = Command::new(&self.program);
        command
            .arg("check-spec")
            .env_clear()
            // reserved by the GiB otherwise, which counts as address space
            .env("MIMALLOC_ARENA_RESERVE", "4MiB")
            .stdin(Stdio::piped())
            .stdout(words)
            .stderr(errors);
        limit(&mut command);
        let mut child = command.spawn().map_err(CheckError::Start)?;
        // it holds the other end of the pipe, which must not stay open here
        drop(command);
        let input = child.stdin.take();
        let (send, said) = sync_channel(1);
        let running = Running {
            child,
            began: Instant::now(),
            said,
        };
        std::thread::Builder::new()
            .name("check".into())
            .spawn(move || converse(input, &request, output, &send))
            .map_err(CheckError::Start)?;
        Ok(running)
    }
}

/// Holds the command's process to the limits of a check, from its first instruction on: the
/// allocator reserves address space before `main`.
#[allow(unsafe_code, reason = "setrlimit between fork and exec")]
fn limit(command: &mut Command) {
    let set = |resource, most: u64, hard: u64| {
        let limit = libc::rlimit {
            rlim_cur: most as libc::rlim_t,
            rlim_max: hard as libc::rlim_t,
        };
        // SAFETY: the struct lives through the call
        match unsafe { libc::setrlimit(resource, &limit) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    let code = code_of(Path::new(command.get_program())).unwrap_or(0);
    let space = ADDRESS_SPACE + code.saturating_sub(USUAL_CODE);
    let limits = move || {
        // the first signal of the two says that it was the CPU
        set(libc::RLIMIT_CPU, CPU_SECONDS, CPU_SECONDS + 1)?;
        set(libc::RLIMIT_CORE, 0, 0)?;
        if cfg!(target_os = "linux") {
            set(libc::RLIMIT_AS, space, space)?;
        }
        Ok(())
    };
    // SAFETY: setrlimit may be called between fork and exec, and nothing else is
    unsafe { command.pre_exec(limits) };
}

/// Code that an optimised program has at most, in bytes, and which the limit of memory includes.
const USUAL_CODE: u64 = 32 << 20;

/// Returns how many bytes of code a program has, as its ELF file says: one that is not optimised has
/// three times as much, which is no memory of the check. `None` for a file of another form.
fn code_of(program: &Path) -> Option<u64> {
    let mut file = std::fs::File::open(program).ok()?;
    let mut head = [0; 64];
    file.read_exact(&mut head).ok()?;
    // a file of 64 bits whose numbers begin with their lowest byte
    if !head.starts_with(&[0x7f, b'E', b'L', b'F', 2, 1]) {
        return None;
    }
    let number = |bytes: &[u8]| {
        bytes
            .iter()
            .rev()
            .fold(0, |n, byte| n << 8 | u64::from(*byte))
    };
    let (size, count) = (
        number(&head[54..56]) as usize,
        number(&head[56..58]) as usize,
    );
    let mut table = vec![0; size * count];
    file.seek(SeekFrom::Start(number(&head[32..40]))).ok()?;
    file.read_exact(&mut table).ok()?;
    let (loaded, executable) = (1, 1);
    let code = table
        .chunks_exact(size.max(56))
        .filter(|part| number(&part[..4]) == loaded && number(&part[4..8]) & executable != 0)
        .map(|part| number(&part[40..48]));
    Some(code.sum())
}

/// Hands the request over and listens until the process ends. The input is closed after that: its
/// end would end the process.
fn converse(
    mut input: Option<std::process::ChildStdin>,
    request: &[u8],
    output: PipeReader,
    said: &SyncSender<Said>,
) {
    if let Some(input) = &mut input {
        let length = (request.len() as u64).to_le_bytes();
        // a process that does not read has ended, and its end says why
        let _ = input
            .write_all(&length)
            .and_then(|()| input.write_all(request));
    }
    // nobody waits any more if it cannot be sent
    let _ = said.send(listen(output));
    drop(input);
}

/// Listens to a check to its end. What is too much is not kept.
fn listen(output: impl Read) -> Said {
    let mut said = Said::default();
    let mut output = BufReader::new(output.take(MAX_OUTPUT));
    let mut line = Vec::new();
    for _ in 0..MAX_LINES {
        line.clear();
        let read = output
            .by_ref()
            .take(MAX_MESSAGE + 1)
            .read_until(b'\n', &mut line);
        if !matches!(read, Ok(1..)) {
            said.too_much |= output.get_ref().limit() == 0;
            return said;
        }
        match line.split_first() {
            _ if line.len() as u64 > MAX_MESSAGE => {
                said.too_much = true;
                return said;
            }
            Some((&FIELD, path)) => said.field = text(path),
            Some((&OUTCOME, outcome)) => said.outcome = outcome.to_vec(),
            _ if !line.trim_ascii().is_empty() => said.last_words = text(&line),
            _ => {}
        }
    }
    said.too_much = true;
    said
}

/// Returns a line as text, cut to what a message may show.
fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line.trim_ascii_end())
        .chars()
        .take(300)
        .collect()
}

impl Running {
    /// Waits for the outcome.
    ///
    /// # Errors
    ///
    /// The process was killed or took too long, neither of which its limits did.
    pub fn outcome(mut self) -> Result<Outcome, CheckError> {
        loop {
            if let Some(outcome) = self.poll(PATIENCE) {
                return outcome;
            }
        }
    }

    /// Waits for the outcome for at most `time`; `None` if there is none yet. It has an outcome
    /// once.
    pub fn poll(&mut self, time: Duration) -> Option<Result<Outcome, CheckError>> {
        let left = PATIENCE.saturating_sub(self.began.elapsed());
        match self.said.recv_timeout(time.min(left)) {
            Ok(said) => Some(self.ended(said)),
            // its thread ended without a word
            Err(RecvTimeoutError::Disconnected) => Some(Err(CheckError::Killed)),
            Err(RecvTimeoutError::Timeout) if left <= time => Some(Err(CheckError::TooSlow)),
            Err(RecvTimeoutError::Timeout) => None,
        }
    }

    /// Time since the process was started.
    pub fn age(&self) -> Duration {
        self.began.elapsed()
    }

    fn ended(&mut self, said: Said) -> Result<Outcome, CheckError> {
        if said.too_much {
            return Ok(Err(vec![Problem::new(
                "spec",
                format!("its plan is larger than {} MiB", MAX_MESSAGE >> 20),
            )]));
        }
        let status = self.child.wait().map_err(CheckError::Start)?;
        judge(&status, &said)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // fails only for a process that has ended
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Turns the end of a check into its outcome: one that died of its limits, or of the spec, has
/// found the spec wrong.
fn judge(status: &ExitStatus, said: &Said) -> Result<Outcome, CheckError> {
    if status.success()
        && let Ok(outcome) = budget::as_text(|| serde_json::from_slice(&said.outcome))
    {
        return Ok(outcome);
    }
    let path = match said.field.as_str() {
        "" => "spec",
        field => field,
    };
    let why = match status.signal() {
        Some(libc::SIGXCPU) => {
            format!("checking the spec takes more than {CPU_SECONDS} s of CPU")
        }
        Some(libc::SIGKILL) => return Err(CheckError::Killed),
        Some(libc::SIGABRT) if said.last_words.contains("stack") => {
            "it is nested too deep to be checked".to_owned()
        }
        Some(libc::SIGABRT) => format!(
            "checking the spec takes more than {} MiB of memory",
            ADDRESS_SPACE >> 20
        ),
        Some(signal) => format!("it cannot be checked: the check ended by signal {signal}"),
        None if status.success() => {
            "a value of it is nested too deep for its plan to be read".to_owned()
        }
        None => format!("it cannot be checked: {}", said.last_words),
    };
    Ok(Err(vec![Problem::new(
        path,
        format!("{why}; this is the field that was checked last"),
    )]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Said {
        listen(text.as_bytes())
    }

    fn problem(status: i32, text: &str) -> Problem {
        let outcome = judge(&ExitStatus::from_raw(status), &said(text)).unwrap();
        outcome.unwrap_err().remove(0)
    }

    #[test]
    fn a_check_that_died_of_its_limits_names_the_field_that_it_was_at() {
        let cpu = problem(libc::SIGXCPU, "@spec.a\n@spec.b\n");
        assert_eq!(cpu.path, "spec.b");
        assert!(cpu.message.contains("2 s of CPU"), "{cpu}");
        let memory = problem(
            libc::SIGABRT,
            "@spec.c\nmemory allocation of 99 bytes failed\n",
        );
        assert_eq!(memory.path, "spec.c");
        assert!(memory.message.contains("192 MiB"), "{memory}");
        let deep = problem(
            libc::SIGABRT,
            "\nthread 'x' has overflowed its stack\nfatal runtime error: stack overflow\n",
        );
        assert_eq!(deep.path, "spec");
        assert!(deep.message.contains("nested too deep"), "{deep}");
        assert!(problem(libc::SIGSEGV, "").message.contains("signal 11"));
    }

    #[test]
    fn a_check_that_was_killed_says_nothing_about_the_spec() {
        let outcome = judge(&ExitStatus::from_raw(libc::SIGKILL), &said("@spec.a\n"));
        assert!(matches!(outcome, Err(CheckError::Killed)));
    }

    #[test]
    fn only_a_process_that_ended_well_has_an_outcome() {
        let words = "@spec.a\n={\"Err\":[{\"path\":\"spec.x\",\"message\":\"m\"}]}\n";
        let good = judge(&ExitStatus::from_raw(0), &said(words)).unwrap();
        assert_eq!(good.unwrap_err(), [Problem::new("spec.x", "m")]);
        assert_eq!(problem(libc::SIGSEGV, words).path, "spec.a");
        assert!(problem(1 << 8, "no thread").message.contains("no thread"));
        assert!(
            problem(0, "=half an outc")
                .message
                .contains("nested too deep")
        );
    }

    #[test]
    fn a_check_that_talks_for_ever_is_not_listened_to() {
        struct Endless;
        impl Read for Endless {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                buffer.fill(b'=');
                Ok(buffer.len())
            }
        }
        assert!(listen(Endless).too_much);
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error_and_no_problem_of_the_spec() {
        let begun = Process::new("/nowhere/starling").begin(Vec::new());
        assert!(matches!(begun, Err(CheckError::Start(_))));
    }
}
