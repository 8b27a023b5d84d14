//! YAML text read into JSON values that know their lines: as `kubectl` reads it, but refused where
//! that would surprise.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::Spanned;

/// Largest file, in bytes: as large as a Secret or ConfigMap of a cluster may be.
pub const MAX_FILE: u64 = 1024 * 1024;

/// Largest number of values in a file, with what aliases add: enough for any real file, and no
/// bomb.
const MAX_NODES: usize = 100_000;
const MAX_DEPTH: usize = 64;
const TOO_MUCH: &str =
    "too much: at most 100,000 values, nested at most 64 deep, are read from a file";
const STACK: usize = 16 * 1024 * 1024;

/// Mistake in YAML text.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct YamlError {
    /// Line of the mistake, from 1.
    pub line: u64,
    /// Description of the mistake.
    pub message: String,
}

/// Value with the line on which it begins; the value of a field has the line of the field's name.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Line of the value, from 1.
    pub line: u64,
    content: Content,
}

#[derive(Debug, Clone, PartialEq)]
enum Content {
    Scalar(Value),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

/// Reads the documents of `text` that are not empty.
///
/// # Errors
///
/// The first mistake, with its line.
pub fn read(text: &str) -> Result<Vec<Node>, YamlError> {
    on_a_large_stack(|| parse(text)).map_err(|YamlError { line, message }| YamlError {
        line,
        message: hint(text, line, &message).unwrap_or(message),
    })
}

fn parse(text: &str) -> Result<Vec<Node>, YamlError> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: MAX_NODES,
            max_depth: MAX_DEPTH,
        },
        with_snippet: false,
        legacy_octal_numbers: true,
    };
    serde_saphyr::from_multiple_with_options(text, options).map_err(|error| {
        let line = error.location().map_or(1, |location| location.line());
        let message = error.without_snippet().to_string();
        // the line is a field of the error
        let message = message
            .rsplit_once(" at line ")
            .map_or(message.as_str(), |(message, _)| message);
        YamlError {
            line,
            message: in_our_words(message),
        }
    })
}

/// Rewords a message of the parser for people who do not program.
fn in_our_words(message: &str) -> String {
    if message.contains("budget breached") {
        return TOO_MUCH.into();
    }
    if let Some(key) = message.strip_prefix("duplicate mapping key: ") {
        return format!(
            "{}: is there twice",
            key.split(", set ").next().unwrap_or(key)
        );
    }
    let advice = [
        ("tabs disallowed", "indent with spaces"),
        (
            "multiline quoted scalar",
            "a quote is not closed, on this line or one before it",
        ),
        (
            "trailing content after",
            "put a text that holds quotes into the other kind of quotes",
        ),
        (
            "did not find expected",
            "fields of one map stand in one column, entries of a list in another",
        ),
    ];
    let advice = advice.iter().find(|(part, _)| message.contains(part));
    advice.map_or_else(
        || message.to_owned(),
        |(_, advice)| format!("{message}; {advice}"),
    )
}

/// The parser recurses, by some 40 KB a level without optimisation, which a thread's usual stack
/// may not hold.
fn on_a_large_stack<T: Send>(
    work: impl FnOnce() -> Result<T, YamlError> + Send,
) -> Result<T, YamlError> {
    std::thread::scope(|scope| {
        match std::thread::Builder::new()
            .stack_size(STACK)
            .spawn_scoped(scope, work)
        {
            Ok(thread) => thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            Err(error) => Err(YamlError {
                line: 1,
                message: format!("no thread to read it on: {error}"),
            }),
        }
    })
}

/// Hint at an unquoted `{{ x }}`, which YAML reads as a map.
const UNQUOTED: &str = "YAML takes an unquoted {{ ... }} for a map; quote it, as in \"{{ name }}\"";

fn hint(text: &str, line: u64, message: &str) -> Option<String> {
    let nth = usize::try_from(line).ok()?.checked_sub(1)?;
    let said = || match field_at(text, nth) {
        path if path.is_empty() => UNQUOTED.to_owned(),
        path => format!("{path}: {UNQUOTED}"),
    };
    if message.contains(UNQUOTED) {
        return Some(said());
    }
    let source = text.lines().nth(nth)?;
    let before = &source[..source.find("{{")?];
    let value_begins =
        before.trim_end().ends_with([':', '-', ',', '[', '{']) || before.contains('{');
    (value_begins && before.matches(['"', '\'']).count() % 2 == 0).then(said)
}

/// The field path of a line, as far as indentation shows it: what cannot be parsed has no other.
fn field_at(text: &str, nth: usize) -> String {
    let lines: Vec<&str> = text.lines().take(nth + 1).collect();
    let begin = lines
        .iter()
        .rposition(|line| line.starts_with("---"))
        .map_or(0, |at| at + 1);
    let mut path = Vec::new();
    // where the entry begins whose parent is looked for, and which item of a list it is if it is
    // one
    let (mut within, mut item) = (usize::MAX, None);
    for line in lines[begin..].iter().rev() {
        for entry in entries(line).into_iter().rev() {
            match (entry, &mut item) {
                ((column, None), Some(before)) if column == within => *before += 1,
                ((column, None), None) if column < within => (within, item) = (column, Some(0)),
                ((column, Some(key)), Some(before)) if column <= within => {
                    path.push(format!("{key}[{before}]"));
                    (within, item) = (column, None);
                }
                ((column, Some(key)), None) if column < within => {
                    path.push(key.to_owned());
                    within = column;
                }
                _ => {}
            }
        }
    }
    path.reverse();
    path.join(".")
}

/// The dashes of a line in block style, and its key, each with the column where it begins.
fn entries(line: &str) -> Vec<(usize, Option<&str>)> {
    let mut entries = Vec::new();
    let mut rest = line.trim_start();
    while rest.starts_with("- ") {
        entries.push((line.len() - rest.len(), None));
        rest = rest[1..].trim_start();
    }
    let key = rest
        .split_once(": ")
        .map(|(key, _)| key)
        .or_else(|| rest.trim_end().strip_suffix(':'));
    let is_key =
        |key: &&str| !key.is_empty() && !key.starts_with(['#', '{', '[', '"', '\'', '&', '*']);
    entries.extend(
        key.filter(is_key)
            .map(|key| (line.len() - rest.len(), Some(key))),
    );
    entries
}

impl Node {
    /// Returns the value as JSON, without the lines.
    pub fn to_json(&self) -> Value {
        match &self.content {
            Content::Scalar(value) => value.clone(),
            Content::List(items) => items.iter().map(Node::to_json).collect(),
            Content::Map(fields) => Value::Object(
                fields
                    .iter()
                    .map(|(key, node)| (key.clone(), node.to_json()))
                    .collect::<Map<_, _>>(),
            ),
        }
    }

    /// Returns the value of the field `key` of a map.
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.content {
            Content::Map(fields) => fields
                .iter()
                .find(|(name, _)| name == key)
                .map(|(_, node)| node),
            _ => None,
        }
    }

    /// Returns a text; `None` for any other value.
    pub fn as_str(&self) -> Option<&str> {
        match &self.content {
            Content::Scalar(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// Returns the fields of a map, in the order of the file; none for any other value.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &Node)> {
        let fields = match &self.content {
            Content::Map(fields) => fields.as_slice(),
            _ => &[],
        };
        fields.iter().map(|(key, node)| (key.as_str(), node))
    }

    /// Returns the line of the deepest node to which `path` (`spec.load.stages[0].target`) leads.
    pub fn line_of(&self, path: &str) -> u64 {
        self.step(path)
            .map_or(self.line, |(node, rest)| node.line_of(rest))
    }

    /// Returns the items of a list; `None` for anything else.
    pub fn items(&self) -> Option<&[Node]> {
        match &self.content {
            Content::List(items) => Some(items),
            _ => None,
        }
    }

    /// Returns the node to which the whole of `path` leads.
    fn at(&self, path: &str) -> Option<&Node> {
        if path.is_empty() {
            Some(self)
        } else {
            self.step(path).and_then(|(node, rest)| node.at(rest))
        }
    }

    /// Returns the child with which `path` begins, and the rest of the path.
    fn step<'a>(&self, path: &'a str) -> Option<(&Node, &'a str)> {
        let rest = path.strip_prefix('.').unwrap_or(path);
        match &self.content {
            Content::Scalar(_) => None,
            Content::List(items) => {
                let (index, rest) = rest.strip_prefix('[')?.split_once(']')?;
                Some((items.get(index.parse::<usize>().ok()?)?, rest))
            }
            // a key may itself hold dots, so the longest that fits is meant
            Content::Map(fields) => fields
                .iter()
                .filter_map(|(key, node)| rest.strip_prefix(key.as_str()).map(|rest| (node, rest)))
                .filter(|(_, rest)| rest.is_empty() || rest.starts_with(['.', '[']))
                .min_by_key(|(_, rest)| rest.len()),
        }
    }

    /// Returns `path` and `message` with the names at the beginning of the message
    /// (`list: [0]: a: is wrong`) moved into the path, as far as they lead on from it.
    pub fn deepen(&self, path: &str, message: &str) -> (String, String) {
        let (mut path, mut message) = (path.to_owned(), message);
        let mut node = self.at(&path);
        while let Some(here) = node
            && let Some((name, rest)) = message.split_once(": ")
            && let Some((next, step)) = here.child(name)
        {
            path.push_str(&step);
            (node, message) = (Some(next), rest);
        }
        (path, message.to_owned())
    }

    /// Returns the entry that a message calls `name` or `[3]`, and the part of a path to it.
    fn child(&self, name: &str) -> Option<(&Node, String)> {
        match &self.content {
            Content::Scalar(_) => None,
            Content::Map(_) => Some((self.get(name)?, format!(".{name}"))),
            Content::List(items) => {
                let index = name.strip_prefix('[')?.strip_suffix(']')?;
                Some((items.get(index.parse::<usize>().ok()?)?, name.to_owned()))
            }
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned {
            value,
            referenced,
            defined: _,
        } = Spanned::<Content>::deserialize(deserializer)?;
        Ok(Node {
            line: referenced.line(),
            content: value,
        })
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

fn scalar<E>(value: impl Into<Value>) -> Result<Content, E> {
    Ok(Content::Scalar(value.into()))
}

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that JSON can hold")
    }

    fn visit_unit<E>(self) -> Result<Content, E> {
        scalar(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Content, E> {
        scalar(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Content, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Content, E> {
        scalar(value)
    }

    fn visit_i64<E>(self, value: i64) -> Result<Content, E> {
        scalar(value)
    }

    fn visit_u64<E>(self, value: u64) -> Result<Content, E> {
        scalar(value)
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Content, E> {
        // an integer that fits no 64 bits arrives here, rounded
        if value.fract() == 0.0 && value.abs() >= i64::MAX as f64 {
            return Err(E::custom(format!(
                "{value:e} does not fit a signed 64-bit integer; write it as text"
            )));
        }
        let number = Number::from_f64(value)
            .ok_or_else(|| E::custom(format!("{value} is no number that JSON can hold")))?;
        scalar(number)
    }

    fn visit_str<E>(self, value: &str) -> Result<Content, E> {
        scalar(value)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Content, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Content::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Content, A::Error> {
        let mut map = Vec::new();
        while let Some(Node { line, content }) = entries.next_key()? {
            let key = key_text::<A::Error>(content)?;
            let Node { content, .. } = entries.next_value()?;
            map.push((key, Node { line, content }));
        }
        Ok(Content::Map(map))
    }
}

/// Returns a key as text, which JSON requires. `kubectl` turns numbers into text, too, and `n` into
/// `false`, which nobody means.
fn key_text<E: serde::de::Error>(key: Content) -> Result<String, E> {
    match key {
        Content::Scalar(Value::String(text)) => Ok(text),
        Content::Scalar(value @ (Value::Bool(_) | Value::Null)) => Err(E::custom(format!(
            "a key that YAML takes for {value}; quote it"
        ))),
        Content::Scalar(value) => Ok(value.to_string()),
        Content::Map(_) => Err(E::custom(UNQUOTED)),
        Content::List(_) => Err(E::custom("a list cannot be a key")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn one(text: &str) -> Value {
        read(text).unwrap()[0].to_json()
    }

    fn error(text: &str) -> YamlError {
        read(text).unwrap_err()
    }

    #[test]
    fn an_unquoted_template_is_told_apart_from_a_map() {
        for text in [
            "a: 1\nb: {{ x }}\n",
            "a: 1\nb: {{ x }}/tail\n",
            "a: 1\nb: [{{ x }}]\n",
            "a: 1\nb: {c: {{ x }}}\n",
            "a: 1\nb: {c: d {{ x }}}\n",
        ] {
            let error = error(text);
            assert!(error.message.contains("quote it"), "{text:?}: {error}");
            assert_eq!(error.line, 2, "{text:?}: {error}");
        }
        assert_eq!(
            one("a: \"{{ x }}\"\nb: see {{ y }}\n"),
            json!({"a": "{{ x }}", "b": "see {{ y }}"})
        );
    }

    #[test]
    fn an_unquoted_template_is_told_with_its_field() {
        let text = "---\nspec:\n  # why: not\n  scenarios:\n  - name: a\n  - name: b\n    tasks:\n      - steps:\n        - http:\n            path: /\n        - http:\n            json:\n              x: 1\n              user: {{ user.id }}\n";
        let error = error(text);
        assert_eq!(error.line, 14);
        assert!(
            error
                .message
                .starts_with("spec.scenarios[1].tasks[0].steps[1].http.json.user: YAML takes"),
            "{error}"
        );
        let in_list = read("a:\n  b:\n  - x\n  - {{ y }}\n").unwrap_err();
        assert!(
            in_list.message.starts_with("a.b[1]: YAML takes"),
            "{in_list}"
        );
    }

    #[test]
    fn a_key_given_twice_is_refused() {
        assert_eq!(
            error("a: 1\nb: 2\na: 3\n").to_string(),
            "line 3: a: is there twice"
        );
    }

    #[test]
    fn a_key_that_would_change_its_name_is_refused() {
        for text in ["n: 1", "yes: 1", "true: 1", "null: 1"] {
            assert!(error(text).message.contains("quote it"), "{text}");
        }
        assert_eq!(one("'n': 1"), json!({"n": 1}));
    }

    #[test]
    fn a_bomb_of_aliases_is_refused_quickly() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let before = format!("*a{}", level - 1);
            text.push_str(&format!(
                "a{level}: &a{level} [{}]\n",
                [before.as_str(); 9].join(", ")
            ));
        }
        let begun = std::time::Instant::now();
        assert!(read(&text).is_err());
        assert!(begun.elapsed().as_secs() < 20);
    }

    #[test]
    fn deep_nesting_is_refused() {
        assert!(read(&"[".repeat(100_000)).is_err());
        let nested = |depth| read(&format!("{}1{}", "[".repeat(depth), "]".repeat(depth)));
        assert!(nested(MAX_DEPTH + 5).is_err());
        assert!(nested(MAX_DEPTH - 5).is_ok());
    }

    #[test]
    fn numbers_that_json_or_an_api_server_cannot_hold_are_refused() {
        assert!(
            error("a: 340282366920938463463374607431768211455\n")
                .message
                .contains("64-bit")
        );
        assert!(read("a: .nan\n").is_err());
    }

    #[test]
    fn values_are_those_that_kubectl_would_send() {
        assert_eq!(
            one(
                "a: yes\nb: 'yes'\nc: 1.5\nd: 1e3\ne: ~\nf:\n1: x\ng: 2026-01-01\nh: |\n  two\n  lines\n"
            ),
            json!({"a": true, "b": "yes", "c": 1.5, "d": 1000.0, "e": null, "f": null, "1": "x", "g": "2026-01-01", "h": "two\nlines\n"})
        );
    }

    #[test]
    fn anchors_and_merge_keys_are_followed() {
        assert_eq!(
            one("base: &base {a: 1, b: 2}\nmine:\n  <<: *base\n  b: 3\n")["mine"],
            json!({"a": 1, "b": 3})
        );
    }

    #[test]
    fn what_does_not_parse_is_told_with_its_line_and_what_to_do() {
        for (text, line, advice) in [
            ("a:\n\tb: 1\n", 2, "spaces"),
            ("a: 'open\nb: 1\n", 2, "quote is not closed"),
            ("a:\n - b: 1\n  c: 2\n", 3, "column"),
            ("a: \"b\" c\n", 1, "other kind of quotes"),
            ("a: *nobody\n", 1, "anchor"),
        ] {
            let error = error(text);
            assert!(
                error.line == line && error.message.contains(advice),
                "{text:?}: {error}"
            );
        }
    }

    #[test]
    fn a_field_is_where_its_name_stands_however_its_value_is_written() {
        let document = &read("a:\n  b:\n    c: &c\n      d: 1\n  e: {f: 1,\n    g: [1,\n     2]}\n  h: |\n    x\n  i: *c\n").unwrap()[0];
        for (path, line) in [
            ("a", 1),
            ("a.b", 2),
            ("a.b.c", 3),
            ("a.b.c.d", 4),
            ("a.e.f", 5),
            ("a.e.g", 6),
            ("a.e.g[1]", 7),
            ("a.h", 8),
            ("a.i", 10),
        ] {
            assert_eq!(document.line_of(path), line, "{path}");
        }
    }

    #[test]
    fn names_at_the_front_of_a_message_become_part_of_the_path() {
        let document = &read("json:\n  list:\n  - a: 1\n").unwrap()[0];
        let deeper = |message| document.deepen("json", message);
        assert_eq!(
            deeper("list: [0]: a: is wrong: too"),
            ("json.list[0].a".into(), "is wrong: too".into())
        );
        assert_eq!(
            deeper("list: [7]: a: is wrong"),
            ("json.list".into(), "[7]: a: is wrong".into())
        );
        assert_eq!(
            deeper("nobody: is wrong"),
            ("json".into(), "nobody: is wrong".into())
        );
        assert_eq!(
            document.deepen("missing", "json: is wrong"),
            ("missing".into(), "json: is wrong".into())
        );
    }

    #[test]
    fn every_document_and_every_field_knows_its_line() {
        let documents = read("a: 1\n---\n# nothing\n---\nb:\n- c: 2\n- c.d:\n    e: 3\n").unwrap();
        assert_eq!(documents.len(), 2);
        assert_eq!(documents[1].line_of("b[0].c"), 6);
        assert_eq!(documents[1].line_of("b[1].c.d.e"), 8);
        assert_eq!(documents[1].line_of("b[1].c.d.missing"), 7);
    }
}
