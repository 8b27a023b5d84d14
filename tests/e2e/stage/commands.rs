//! Programs that people type: `kubectl` and `helm`, against the cluster under test.

use std::io::Write;
use std::process::{Command, Stdio};

/// What a program said, both streams after each other.
#[derive(Debug)]
pub struct Said {
    pub ok: bool,
    pub text: String,
}

/// Runs a program to its end with this input, in the repository.
pub fn run(program: &str, args: &[&str], stdin: Option<&str>) -> Said {
    let mut child = Command::new(program)
        .args(args)
        .current_dir(super::root())
        .env("KUBECONFIG", super::kubeconfig())
        .stdin(if stdin.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot run {program}: {error}"));
    if let (Some(text), Some(mut pipe)) = (stdin, child.stdin.take()) {
        // one that refuses early reads nothing; its words say why
        let _ = pipe.write_all(text.as_bytes());
    }
    let output = child
        .wait_with_output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    Said {
        ok: output.status.success(),
        text,
    }
}

pub fn helm(args: &[&str]) -> Said {
    run("helm", args, None)
}
