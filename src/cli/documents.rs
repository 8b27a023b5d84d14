//! Documents of YAML files: checked LoadTests, the objects they refer to, and every mistake with
//! its file, document, field path and line.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde_json::Value;

use super::files::read_text;
use super::objects::Objects;
use super::strict;
use super::yaml::{self, Node};
use crate::crd::{Checked, LoadTestSpec};
use crate::plan::{Problem, template};
use crate::report::text::clean;

/// Beginning of the `apiVersion` of the program's own resources.
const GROUP: &str = "starling.dev/";

/// Largest number of mistakes shown of one document; the rest is only counted.
const MAX_SHOWN: usize = 50;

/// LoadTest without mistakes, as far as files show them.
#[derive(Debug, Clone)]
pub struct Document {
    /// Place of the document among the files.
    pub place: Place,
    /// Name of the test, from `metadata.name`.
    pub name: String,
    /// Namespace of the test, if it names one.
    pub namespace: Option<String>,
    /// Spec as read, before any change by flags.
    pub spec: LoadTestSpec,
    /// Plan and warnings of the spec.
    pub checked: Checked,
    /// Document as written, for the lines of mistakes found later.
    source: Node,
}

/// Place of a document: its file, and its number in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Path of the file as given; `-` is standard input.
    pub file: String,
    /// Number of the document in the file, from 1; empty documents are not counted.
    pub number: usize,
    /// Value of `metadata.name`, if there is one.
    pub name: Option<String>,
}

/// One mistake and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Document with the mistake; `None` if the whole file has it.
    pub place: Option<Place>,
    /// Path of the file as given.
    pub file: String,
    /// Line of the field, from 1, as far as it is known.
    pub line: Option<u64>,
    /// Field path, empty for a whole document, and message.
    pub problem: Problem,
}

/// Content of a set of files.
#[derive(Debug, Default)]
pub struct Documents {
    /// LoadTests without mistakes, in the order of the files.
    pub tests: Vec<Document>,
    /// Values of Secrets and ConfigMaps among the files.
    pub objects: Objects,
    /// Mistakes, in the order of the files.
    pub findings: Vec<Finding>,
    /// Notes about documents and data that were skipped.
    pub notes: Vec<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: document {}", self.file, self.number)?;
        self.name
            .as_ref()
            .map_or(Ok(()), |name| write!(f, " ({name})"))
    }
}

impl Place {
    /// Returns the folder at which the relative paths of the document begin.
    pub fn folder(&self) -> &Path {
        match Path::new(&self.file).parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}: ")?,
            None => write!(f, "{}: ", self.file)?,
        }
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        let Problem { path, message } = &self.problem;
        if path.is_empty() {
            f.write_str(message)
        } else {
            write!(f, "{path}: {message}")
        }
    }
}

impl Finding {
    /// Returns the finding for a mistake that was found after the document was read.
    pub fn of(document: &Document, problem: Problem) -> Self {
        let place = document.place.clone();
        let line = document.source.line_of(&problem.path);
        Finding {
            file: place.file.clone(),
            place: Some(place),
            line: Some(line),
            problem,
        }
    }
}

impl Documents {
    /// Reads all of `files`; `-` is standard input. Files without a single LoadTest are a mistake.
    pub fn read(files: &[String]) -> Self {
        let mut documents = Documents::default();
        for file in files {
            match read_text(file) {
                Ok(text) => documents.add(file, &text),
                Err(message) => documents.refuse(file, None, message),
            }
        }
        if documents.tests.is_empty() && documents.findings.is_empty() {
            documents.refuse(&files.join(", "), None, "holds no LoadTest".into());
        }
        documents
    }

    /// Prints the notes and every mistake to standard error.
    pub fn print_findings(&self) {
        self.notes
            .iter()
            .for_each(|note| super::note(&format!("note: {}", clean(note))));
        self.findings
            .iter()
            .for_each(|finding| super::note(&clean(&finding.to_string())));
    }

    /// Adds the documents of one file with this content.
    pub fn add(&mut self, file: &str, text: &str) {
        let nodes = match yaml::read(text) {
            Ok(nodes) => nodes,
            Err(error) => return self.refuse(file, Some(error.line), error.message),
        };
        for (i, node) in nodes.iter().enumerate() {
            self.add_node(file, i + 1, node);
        }
    }

    /// Adds a document, or all items of one that is a list, as `kubectl get -o yaml` writes it.
    fn add_node(&mut self, file: &str, number: usize, node: &Node) {
        let name = node
            .get("metadata")
            .and_then(|metadata| metadata.get("name"))
            .and_then(Node::as_str);
        let place = Place {
            file: file.to_owned(),
            number,
            name: name.map(str::to_owned),
        };
        if !is_list(node) {
            return self.document(place, node);
        }
        match node.get("items").and_then(Node::items) {
            Some(items) => items
                .iter()
                .for_each(|item| self.add_node(file, number, item)),
            None => {
                let why = "must be a list of documents";
                self.report(&place, node, vec![Problem::new("items", why)]);
            }
        }
    }

    fn refuse(&mut self, file: &str, line: Option<u64>, message: String) {
        self.findings.push(Finding {
            place: None,
            file: file.to_owned(),
            line,
            problem: Problem::new("", message),
        });
    }

    fn document(&mut self, place: Place, node: &Node) {
        let api_version = node
            .get("apiVersion")
            .and_then(Node::as_str)
            .unwrap_or_default();
        let problems = match (api_version, node.get("kind").and_then(Node::as_str)) {
            (_, Some("LoadTest")) => match check(node) {
                Ok((spec, checked)) => {
                    let namespace = node
                        .get("metadata")
                        .and_then(|metadata| metadata.get("namespace"))
                        .and_then(Node::as_str);
                    let name = place.name.clone().unwrap_or_default();
                    let namespace = namespace.map(str::to_owned);
                    return self.tests.push(Document {
                        place,
                        name,
                        namespace,
                        spec,
                        checked,
                        source: node.clone(),
                    });
                }
                Err(problems) => problems,
            },
            (group, kind) if group.starts_with(GROUP) => {
                vec![Problem::new(
                    "kind",
                    format!("{:?} is not LoadTest", kind.unwrap_or_default()),
                )]
            }
            ("v1", Some(kind @ ("Secret" | "ConfigMap"))) => self.objects.add(kind, node),
            (_, Some(kind)) => {
                self.notes.push(format!("{place}: {kind} is left alone"));
                return;
            }
            (_, None) => vec![Problem::new(
                "kind",
                "is missing; apiVersion: starling.dev/v1alpha1, kind: LoadTest makes a test",
            )],
        };
        self.report(&place, node, problems);
    }

    fn report(&mut self, place: &Place, node: &Node, mut problems: Vec<Problem>) {
        let hidden = problems.len().saturating_sub(MAX_SHOWN);
        problems.truncate(MAX_SHOWN);
        for problem in &mut problems {
            (problem.path, problem.message) = node.deepen(&problem.path, &problem.message);
        }
        problems.sort_by_key(|problem| node.line_of(&problem.path));
        let finding = |problem: Problem| Finding {
            place: Some(place.clone()),
            file: place.file.clone(),
            line: Some(node.line_of(&problem.path)),
            problem,
        };
        self.findings.extend(problems.into_iter().map(finding));
        if hidden > 0 {
            let problem = Problem::new("", format!("and {hidden} more"));
            self.findings.push(Finding {
                place: Some(place.clone()),
                file: place.file.clone(),
                line: None,
                problem,
            });
        }
    }
}

/// Returns whether a document holds others.
fn is_list(node: &Node) -> bool {
    let text = |field| node.get(field).and_then(Node::as_str).unwrap_or_default();
    match text("kind") {
        "List" | "SecretList" | "ConfigMapList" => text("apiVersion") == "v1",
        "LoadTestList" => text("apiVersion").starts_with(GROUP),
        _ => false,
    }
}

/// Checks a document against the schema and the rules of the conversion, and returns the mistakes
/// of both.
fn check(node: &Node) -> Result<(LoadTestSpec, Checked), Vec<Problem>> {
    let mut json = node.to_json();
    let mut problems = strict::problems(&json);
    let mut spec = json.get_mut("spec").map(Value::take).unwrap_or_default();
    // a number that does not fit is reported with its path below
    let _ = template::canonicalise(&mut spec);
    let spec = match serde_json::from_value::<LoadTestSpec>(spec) {
        Ok(spec) => spec,
        Err(_) if !problems.is_empty() => return Err(problems),
        Err(error) => return Err(vec![Problem::new("spec", error.to_string())]),
    };
    match super::check_spec(&spec, &BTreeMap::new()) {
        Ok(checked) if problems.is_empty() => Ok((spec, checked)),
        Ok(_) => Err(problems),
        Err(found) => {
            // where both speak of one field, the rules' sentence is the better one
            problems.retain(|problem| {
                !found.iter().any(|better| better.path == problem.path)
                    || strict::names_a_field(problem)
            });
            problems.extend(found);
            Err(problems)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "
apiVersion: starling.dev/v1alpha1
kind: LoadTest
metadata: {name: good}
spec:
  target: {url: http://127.0.0.1:1}
  scenarios:
  - name: s
    tasks:
    - name: t
      steps:
      - http: {path: /}
  load:
    closed: {users: 1, duration: 1s}
";

    fn read(text: &str) -> Documents {
        let mut documents = Documents::default();
        documents.add("f.yaml", text);
        documents
    }

    #[test]
    fn a_list_holds_documents() {
        let indented = |text: &str| text.trim().replace('\n', "\n  ");
        let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {k: v}";
        let inner = format!("apiVersion: v1\nkind: List\nitems:\n- {}", indented(secret));
        let list = format!(
            "apiVersion: v1\nkind: List\nmetadata: {{resourceVersion: ''}}\nitems:\n- {}\n- {}\n",
            indented(GOOD),
            indented(&inner)
        );
        let documents = read(&list);
        assert!(documents.findings.is_empty(), "{:?}", documents.findings);
        assert_eq!(documents.tests[0].name, "good");
        assert_eq!(documents.tests.len(), 1);
        let wrong = read(&list.replace("users: 1", "users: -1")).findings;
        assert!(
            wrong[0]
                .to_string()
                .starts_with("f.yaml: document 1 (good): line 1"),
            "{wrong:?}"
        );
        let empty = read("apiVersion: v1\nkind: List\nitems: {}\n").findings;
        assert!(
            empty[0].to_string().contains("items: must be a list"),
            "{empty:?}"
        );
    }

    fn findings(from: &str, to: &str) -> Vec<String> {
        assert!(GOOD.contains(from), "{from}");
        read(&GOOD.replace(from, to))
            .findings
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[track_caller]
    fn refuses(from: &str, to: &str, wanted: &[&str]) {
        let found = findings(from, to);
        assert!(
            found.len() == wanted.len()
                && found
                    .iter()
                    .zip(wanted)
                    .all(|(found, wanted)| found.contains(wanted)),
            "{found:#?}"
        );
    }

    #[test]
    fn unknown_fields_are_named_with_their_line() {
        refuses(
            "users: 1",
            "user: 1, users: 1",
            &[
                "f.yaml: document 1 (good): line 14: spec.load.closed.user: no such field; did you mean users?",
            ],
        );
        refuses(
            "spec:",
            "sepc: 1\nspec:",
            &["sepc: no such field; did you mean spec?"],
        );
        refuses(
            "{path: /}",
            "{path: /, bodi: x}",
            &["spec.scenarios[0].tasks[0].steps[0].http.bodi: no such field"],
        );
    }

    #[test]
    fn wrong_types_say_what_is_wanted() {
        refuses(
            "users: 1",
            "users: many",
            &["spec.load.closed.users: must be a whole number, not \"many\""],
        );
        refuses(
            "{url: http://127.0.0.1:1}",
            "[]",
            &["spec.target: must be a map, not a list"],
        );
    }

    #[test]
    fn what_is_written_unquoted_or_without_a_unit_is_told_how_to_write() {
        refuses(
            "duration: 1s",
            "duration: 5",
            &["line 14: spec.load.closed.duration: must be a duration with a unit, such as 5s"],
        );
        let step = "spec.scenarios[0].tasks[0].steps[0].http";
        refuses(
            "{path: /}",
            "{path: /, headers: {X-A: 1}}",
            &[&format!(
                "line 12: {step}.headers.X-A: must be text, not 1; quote it"
            )],
        );
        refuses(
            "name: good",
            "name: Good",
            &["metadata.name: \"Good\" must begin with a lower case letter"],
        );
    }

    #[test]
    fn a_mistake_inside_a_free_value_has_its_own_path_and_line() {
        let step = "spec.scenarios[0].tasks[0].steps[0].http";
        let json = "{path: /, method: POST, json: {list: [1,\n          {a: '{{ nobody }}'}]}}";
        refuses(
            "{path: /}",
            json,
            &[&format!(
                "line 13: {step}.json.list[1].a: \"nobody\" is not declared"
            )],
        );
    }

    #[test]
    fn what_an_anchor_or_a_merge_brings_in_is_told_where_it_is_used() {
        let merged = "<<: {usrs: 1}\n      users: 1\n      duration: 1s\n";
        refuses(
            "{users: 1, duration: 1s}\n",
            &format!("\n      {merged}"),
            &["spec.load.closed.usrs: no such field; did you mean users?"],
        );
        let anchored = "closed: {users: &many many, duration: *many}";
        refuses(
            "closed: {users: 1, duration: 1s}",
            anchored,
            &[
                "line 14: spec.load.closed.users: must be a whole number",
                "line 14: spec.load.closed.duration: \"many\" is not a duration",
            ],
        );
    }

    #[test]
    fn each_field_gets_one_sentence_and_the_better_one() {
        refuses(
            "users: 1",
            "users: 0",
            &[
                "spec.load: no load",
                "spec.load.closed.users: must be at least 1",
            ],
        );
        refuses(
            "http://127.0.0.1:1",
            "ftp://x",
            &[
                "spec.target.url: \"ftp://x\" does not begin with http:// or https://, nor with grpc:// or grpcs://",
            ],
        );
        refuses(
            "duration: 1s",
            "duration: 1 s",
            &["spec.load.closed.duration: \"1 s\" is not a duration"],
        );
        refuses(
            "    closed:",
            "    open: {rate: 1, duration: 1s, maxInFlight: 1}\n    closed:",
            &["spec.load: exactly one of closed, open"],
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        refuses(
            "  target: {url: http://127.0.0.1:1}\n",
            "",
            &["spec.target: is missing"],
        );
        refuses("kind: LoadTest\n", "", &["kind: \"\" is not LoadTest"]);
        refuses(
            "kind: LoadTest\n",
            "kind: Loadtest\n",
            &["kind: \"Loadtest\" is not LoadTest"],
        );
        refuses(
            "v1alpha1",
            "v2",
            &["apiVersion: must be \"starling.dev/v1alpha1\""],
        );
        refuses("name: good", "name: Good!", &["metadata.name"]);
    }

    #[test]
    fn everything_wrong_is_listed_at_once() {
        let text = GOOD
            .replace("users: 1", "users: 0, extra: 1")
            .replace("http://", "gopher://")
            .replace("{path: /}", "{path: x, method: FE TCH}");
        let found = read(&text).findings;
        let paths: Vec<_> = found
            .iter()
            .map(|finding| finding.problem.path.as_str())
            .collect();
        for path in [
            "spec.load.closed.extra",
            "spec.load.closed.users",
            "spec.target.url",
        ] {
            assert!(paths.contains(&path), "{paths:?}");
        }
        assert!(
            paths.iter().any(|path| path.ends_with("http.path"))
                && paths.iter().any(|path| path.ends_with("http.method")),
            "{paths:?}"
        );
    }

    #[test]
    fn a_template_that_names_nothing_is_refused() {
        refuses("{path: /}", "{path: '/{{ nobody }}'}", &["http.path: "]);
        refuses(
            "{path: /}",
            "{path: {{ nobody }}}",
            &["YAML takes an unquoted"],
        );
    }

    #[test]
    fn the_list_of_mistakes_is_bounded() {
        let many: String = (0..500).map(|i| format!("x{i}: 1, ")).collect();
        let found = findings("users: 1", &format!("{many}users: 1"));
        assert_eq!(found.len(), MAX_SHOWN + 1);
        assert!(found[MAX_SHOWN].contains("and 450 more"));
    }

    #[test]
    fn other_kinds_are_left_alone_and_said_so() {
        let documents = read(&format!(
            "{GOOD}---\napiVersion: v1\nkind: Service\nmetadata: {{name: x}}\n"
        ));
        assert_eq!((documents.tests.len(), documents.findings.len()), (1, 0));
        assert_eq!(
            documents.notes,
            ["f.yaml: document 2 (x): Service is left alone"]
        );
    }

    #[test]
    fn whole_floats_become_integers_as_on_an_api_server() {
        let documents = read(&GOOD.replace(
            "{path: /}",
            "{path: /, method: POST, json: {a: 1.0, b: 1e3}}",
        ));
        let json = documents.tests[0].spec.scenarios[0].tasks[0].steps[0]
            .http
            .clone()
            .unwrap()
            .json
            .unwrap();
        assert_eq!(json.to_string(), r#"{"a":1,"b":1000}"#);
    }

    #[test]
    fn a_spec_of_almost_a_megabyte_is_refused_quickly() {
        let begun = std::time::Instant::now();
        let text = GOOD.replace(
            "{path: /}",
            &format!(
                "{{path: /, method: POST, json: [{}]}}",
                "1234567,".repeat(120_000)
            ),
        );
        assert!(!read(&text).findings.is_empty());
        assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
    }
}
