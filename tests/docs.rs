//! The README: its links lead somewhere, and it names every command.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn every_link_of_the_readme_leads_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).expect("it is there");
    let links: Vec<_> = readme
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter(|link| !link.starts_with("http"))
        .collect();
    assert!(links.len() > 10);
    for link in links {
        assert!(root.join(link).exists(), "{link}");
    }
}

#[test]
fn the_readme_names_every_command() {
    let output = Command::new(env!("CARGO_BIN_EXE_starling"))
        .arg("--help")
        .stdin(Stdio::null())
        .output()
        .expect("starling starts");
    assert!(output.status.success());
    let help = String::from_utf8(output.stdout).expect("UTF-8");
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md"))
        .expect("it is there");
    let commands = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty());
    for command in commands
        .filter_map(|line| line.split_whitespace().next())
        .filter(|command| *command != "help")
    {
        assert!(
            readme.contains(&format!("`starling {command}")),
            "{command}"
        );
    }
}
