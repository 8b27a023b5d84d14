//! The compose file: only fields of the Compose Specification, each of its type, and commands that
//! do what they should. There is no container engine here: the commands are run as processes, with
//! the names and paths that the containers would have put in place.
//!
//! The specification's JSON Schema is not vendored; what is checked here is stricter for the fields
//! that the file uses, and any other field is refused.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::program::{Ended, PATIENCE, command};
use crate::stage::free_port;

/// Folder of the compose file.
fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/compose")
}

fn file() -> Value {
    let text = std::fs::read_to_string(folder().join("compose.yaml")).expect("it is there");
    serde_saphyr::from_str(&text).expect("YAML")
}

/// Puts the default in the place of each variable: `${NAME:-default}`.
fn interpolated(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (variable, behind) = after.split_once('}').expect("a variable ends");
        let (name, default) = variable.split_once(":-").expect("a variable has a default");
        assert!(
            name.chars().all(|c| c.is_ascii_uppercase() || c == '_'),
            "{name}"
        );
        out.push_str(before);
        out.push_str(default);
        rest = behind;
    }
    out + rest
}

fn texts(value: &Value) -> Vec<String> {
    let items = value.as_array().expect("a list");
    let texts = items.iter().map(|item| match item {
        Value::String(text) => interpolated(text),
        // YAML takes a bare port for a number, and Compose takes it, too
        Value::Number(number) => number.to_string(),
        other => panic!("{other} is no text"),
    });
    texts.collect()
}

fn fields(value: &Value) -> BTreeMap<&str, &Value> {
    let fields = value.as_object().expect("a mapping");
    fields
        .iter()
        .map(|(name, value)| (name.as_str(), value))
        .collect()
}

/// Checks a mount: `SOURCE:/TARGET[:ro]`, where a source is a volume or a path that begins with a
/// dot.
fn check_mount(mount: &str, volumes: &BTreeMap<&str, &Value>) {
    let parts: Vec<&str> = mount.split(':').collect();
    let (source, target) = match parts[..] {
        [source, target] | [source, target, "ro"] => (source, target),
        _ => panic!("{mount} is no mount"),
    };
    assert!(target.starts_with('/'), "{mount}");
    match source.strip_prefix("./") {
        Some(path) => assert!(folder().join(path).exists(), "{mount}"),
        None => assert!(volumes.contains_key(source), "{mount}"),
    }
}

fn check_service(name: &str, service: &Value, file: &Value) {
    let volumes = fields(&file["volumes"]);
    let services = fields(&file["services"]);
    for (field, value) in fields(service) {
        match field {
            "image" => assert!(!interpolated(value.as_str().expect("a text")).is_empty()),
            "command" | "security_opt" => assert!(!texts(value).is_empty()),
            "cap_drop" => assert_eq!(texts(value), ["ALL"]),
            "read_only" => assert_eq!(value, true),
            "volumes" => texts(value)
                .iter()
                .for_each(|mount| check_mount(mount, &volumes)),
            "ports" => texts(value).iter().for_each(|port| {
                let ports = port.split(':').map(str::parse::<u16>);
                assert_eq!(ports.filter(Result::is_ok).count(), 2, "{port}");
            }),
            "environment" => fields(value).into_values().for_each(|value| {
                interpolated(value.as_str().expect("a text"));
            }),
            "depends_on" => texts(value)
                .iter()
                .for_each(|other| assert!(services.contains_key(other.as_str()), "{other}")),
            "deploy" => {
                assert_eq!(fields(value).keys().collect::<Vec<_>>(), [&"replicas"]);
                let replicas = interpolated(value["replicas"].as_str().expect("a text"));
                assert!(replicas.parse::<u32>().is_ok_and(|count| count > 0));
            }
            "restart" => assert_eq!(value, "on-failure"),
            "stop_grace_period" => {
                let seconds = value.as_str().and_then(|text| text.strip_suffix('s'));
                assert!(seconds.is_some_and(|seconds| seconds.parse::<u32>().is_ok()));
            }
            other => panic!("{name} has a field {other:?} that nobody has checked"),
        }
    }
}

#[test]
fn the_compose_file_has_only_fields_of_the_specification_and_refers_to_what_is_there() {
    let file = file();
    for (field, value) in fields(&file) {
        match field {
            "name" => assert_eq!(value, "starling"),
            "services" => {
                let names: Vec<_> = fields(value).into_keys().collect();
                assert_eq!(names, ["controller", "demo-service", "worker"]);
            }
            "volumes" => {
                let names: Vec<_> = fields(value).into_keys().collect();
                assert_eq!(names, ["channel"]);
            }
            other => panic!("the file has a field {other:?} that nobody has checked"),
        }
    }
    for (name, service) in fields(&file["services"]) {
        check_service(name, service, &file);
    }
}

/// The command of a service with these replacements, as a process.
fn process(service: &str, replacements: &[(&str, &str)]) -> std::process::Command {
    let arguments = texts(&file()["services"][service]["command"]);
    let arguments: Vec<String> = arguments
        .iter()
        .map(|argument| {
            replacements
                .iter()
                .fold(argument.clone(), |text, (from, to)| text.replace(from, to))
        })
        .collect();
    command(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

/// A process that ends with the test.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_commands_of_the_compose_file_carry_out_its_test() {
    let folder = folder();
    let scratch = tempfile::tempdir().expect("a folder");
    let path = |name: &str| {
        let path = scratch.path().join(name);
        path.to_str().expect("UTF-8").to_owned()
    };
    let demo = format!("127.0.0.22:{}", free_port());
    let controller = format!("127.0.0.21:{}", free_port());
    let text = std::fs::read_to_string(folder.join("test.yaml")).expect("it is there");
    assert!(text.contains("http://demo-service:8000"));
    let text = text
        .replace("demo-service:8000", &demo)
        .replace("duration: 20s", "duration: 2s");
    std::fs::write(path("test.yaml"), text).expect("written");

    let spawn = |mut command: std::process::Command| Running(command.spawn().expect("it starts"));
    let _demo = spawn(process("demo-service", &[("0.0.0.0:8000", &demo)]));
    let files = folder.join("files");
    let replacements = [
        ("/channel", path("channel")),
        ("/files", files.to_str().expect("UTF-8").to_owned()),
        ("controller:8443", controller.clone()),
        ("0.0.0.0:8443", controller),
        ("/tests/test.yaml", path("test.yaml")),
    ];
    let replacements = replacements
        .each_ref()
        .map(|(from, to)| (*from, to.as_str()));
    // as compose may start them: the workers first
    let workers = [(), ()].map(|()| {
        let mut worker = process("worker", &replacements);
        // a variable that is empty is one that is not set
        spawn_quietly(worker.env("STARLING_REGION", ""))
    });
    let output = process("controller", &replacements)
        .output()
        .expect("it starts");
    let ended = Ended::of(output).with_code(0);
    assert!(ended.stdout.contains("PASSED  compose"), "{}", ended.stdout);
    for mut worker in workers {
        let begun = std::time::Instant::now();
        let status = loop {
            if let Some(status) = worker.0.try_wait().expect("known") {
                break status;
            }
            assert!(begun.elapsed() < PATIENCE, "a worker does not end");
            std::thread::sleep(std::time::Duration::from_millis(20));
        };
        assert_eq!(status.code(), Some(0));
    }
}

fn spawn_quietly(command: &mut std::process::Command) -> Running {
    let quiet = || std::process::Stdio::null();
    let child = command.stdout(quiet()).stderr(quiet()).spawn();
    Running(child.expect("it starts"))
}
