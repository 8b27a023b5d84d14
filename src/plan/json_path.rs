//! JSONPath (RFC 9535): finds values in the JSON of an answer.
//!
//! The grammar and all general paths are `serde_json_path`'s. Paths of names and indices only,
//! nearly all that are written, are walked here: that takes no list of nodes.

mod cost;

use std::sync::OnceLock;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::budget;
use cost::{Cost, MAX_STEPS};

/// Longest expression, in bytes.
pub const MAX_JSON_PATH: usize = 512;

/// Bytes that a parsed path takes for each byte of its source, at most.
const PER_BYTE: usize = 64;

/// A parsed path; in JSON it is its source text.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JsonPath {
    source: String,
    query: Query,
}

#[derive(Debug, Clone)]
enum Query {
    /// Leads to one node at most, so it is walked without building a list of nodes.
    Singular(Vec<Segment>),
    /// Any other, with its steps. The path itself is not there in a plan that is only passed on,
    /// see [`budget::as_text`].
    General(OnceLock<serde_json_path::JsonPath>, Cost),
}

/// Search that is not begun, since it might take more steps than a search may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the path may take more than {MAX_STEPS} steps in an answer of this size")]
pub struct TooManySteps;

#[derive(Debug, Clone, PartialEq)]
enum Segment {
    Name(String),
    /// Negative: from the end.
    Index(i64),
}

impl JsonPath {
    /// Parses a path. The error is a sentence for the test's author.
    pub fn parse(source: &str) -> Result<Self, String> {
        if source.len() > MAX_JSON_PATH {
            return Err(format!("a JSONPath is at most {MAX_JSON_PATH} bytes long"));
        }
        budget::compile(PER_BYTE * source.len())?;
        let cost = Cost::of(source)?;
        let general = serde_json_path::JsonPath::parse(source)
            .map_err(|e| format!("{source:?} is not a JSONPath (RFC 9535): {e}"))?;
        let general = || Query::General(general.into(), cost);
        let query = singular(source).map_or_else(general, Query::Singular);
        Ok(Self {
            source: source.to_owned(),
            query,
        })
    }

    /// Takes a path that has been parsed before as text.
    fn as_text(source: String) -> Result<Self, String> {
        let cost = Cost::of(&source)?;
        let general = || Query::General(OnceLock::new(), cost);
        let query = singular(&source).map_or_else(general, Query::Singular);
        Ok(Self { source, query })
    }

    /// Finds all nodes by a path that is not singular.
    fn search<'v>(
        &self,
        path: &OnceLock<serde_json_path::JsonPath>,
        cost: &Cost,
        root: &'v Value,
    ) -> Result<serde_json_path::NodeList<'v>, TooManySteps> {
        if cost.steps(root) > MAX_STEPS {
            return Err(TooManySteps);
        }
        let path = path.get_or_init(|| {
            serde_json_path::JsonPath::parse(&self.source)
                .expect("a path is taken as text only once it has been parsed")
        });
        Ok(path.query(root))
    }

    /// The path as it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The first node, in the order of the document. Fails where the search might take too many
    /// steps.
    pub fn first<'v>(&self, root: &'v Value) -> Result<Option<&'v Value>, TooManySteps> {
        match &self.query {
            Query::Singular(segments) => Ok(walk(segments, root)),
            Query::General(path, cost) => Ok(self.search(path, cost, root)?.first()),
        }
    }

    /// All nodes, in the order of the document. Fails where the search might take too many steps.
    pub fn all<'v>(&self, root: &'v Value) -> Result<Vec<&'v Value>, TooManySteps> {
        match &self.query {
            Query::Singular(segments) => Ok(walk(segments, root).into_iter().collect()),
            Query::General(path, cost) => Ok(self.search(path, cost, root)?.all()),
        }
    }
}

impl PartialEq for JsonPath {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl TryFrom<String> for JsonPath {
    type Error = String;

    fn try_from(source: String) -> Result<Self, String> {
        if budget::is_as_text() && source.len() <= MAX_JSON_PATH {
            return Self::as_text(source);
        }
        Self::parse(&source)
    }
}

impl From<JsonPath> for String {
    fn from(path: JsonPath) -> String {
        path.source
    }
}

fn walk<'v>(segments: &[Segment], root: &'v Value) -> Option<&'v Value> {
    segments
        .iter()
        .try_fold(root, |node, segment| match (segment, node) {
            (Segment::Name(name), Value::Object(fields)) => fields.get(name),
            (Segment::Index(index), Value::Array(items)) => {
                let from_end = || {
                    items
                        .len()
                        .checked_sub(usize::try_from(index.unsigned_abs()).ok()?)
                };
                items.get(usize::try_from(*index).ok().or_else(from_end)?)
            }
            _ => None,
        })
}

/// The segments of a path of names and indices only. `source` is a valid path; what is rarely
/// written, such as an escape within a quoted name, is left to the general way.
fn singular(source: &str) -> Option<Vec<Segment>> {
    let mut rest = source.strip_prefix('$')?;
    let mut segments = Vec::new();
    while !rest.is_empty() {
        let segment;
        if let Some(name) = rest.strip_prefix('.') {
            let end = name.find(['.', '[']).unwrap_or(name.len());
            let plain = end > 0
                && name[..end]
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || c == '_' || !c.is_ascii());
            segment = plain.then(|| Segment::Name(name[..end].to_owned()))?;
            rest = &name[end..];
        } else {
            let inner = rest.strip_prefix('[')?;
            let quote = inner.chars().next().filter(|c| matches!(c, '\'' | '"'));
            let end = match quote {
                Some(quote) => inner[1..].find(quote)? + 2,
                None => inner.find(']')?,
            };
            segment = match quote {
                Some(_) if inner[1..end - 1].contains('\\') => return None,
                Some(_) => Segment::Name(inner[1..end - 1].to_owned()),
                None => Segment::Index(inner[..end].parse().ok()?),
            };
            rest = inner[end..].strip_prefix(']')?;
        }
        segments.push(segment);
    }
    Some(segments)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn is_singular(source: &str) -> bool {
        matches!(JsonPath::parse(source).unwrap().query, Query::Singular(_))
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for source in [
            "",
            "a",
            ".a",
            "$.",
            "$[",
            "$['a",
            "$[01]",
            "$.a b",
            " $",
            "$ ",
            "$[?@.a ==]",
            "$[?nope(@)]",
            "$.1a",
            "$..",
            "$[-0]",
        ] {
            assert!(JsonPath::parse(source).is_err(), "{source:?} was accepted");
        }
        assert!(JsonPath::parse(&format!("$.{}", "a".repeat(MAX_JSON_PATH))).is_err());
    }

    #[test]
    fn nothing_is_found_where_the_kinds_do_not_fit() {
        let value = json!({"a": [1, 2], "0": "zero", "t": "text"});
        for source in [
            "$[0]",
            "$.a.x",
            "$.a[2]",
            "$.a[-3]",
            "$.t[0]",
            "$.t.x",
            "$.b",
            "$.a['0']",
            "$.a[9007199254740991]",
        ] {
            assert_eq!(
                JsonPath::parse(source).unwrap().first(&value),
                Ok(None),
                "{source}"
            );
        }
    }

    #[test]
    fn the_examples_of_the_rfc_find_what_it_says() {
        let store = json!({"store": {"book": [
            {"category": "reference", "author": "Nigel Rees", "title": "Sayings of the Century", "price": 8.95},
            {"category": "fiction", "author": "Evelyn Waugh", "title": "Sword of Honour", "price": 12.99},
            {"category": "fiction", "author": "Herman Melville", "title": "Moby Dick", "isbn": "0-553-21311-3", "price": 8.99},
            {"category": "fiction", "author": "J. R. R. Tolkien", "title": "The Lord of the Rings", "isbn": "0-395-19395-8", "price": 22.99}
        ], "bicycle": {"color": "red", "price": 399}}});
        let find = |source: &str| {
            JsonPath::parse(source)
                .unwrap()
                .all(&store)
                .unwrap()
                .into_iter()
                .cloned()
                .collect::<Vec<_>>()
        };
        assert_eq!(find("$.store.book[*].author").len(), 4);
        assert_eq!(find("$..author").len(), 4);
        assert_eq!(find("$.store.*").len(), 2);
        assert_eq!(find("$.store..price").len(), 5);
        assert_eq!(find("$..book[2].author"), [json!("Herman Melville")]);
        assert_eq!(find("$..book[2].publisher"), [] as [Value; 0]);
        assert_eq!(find("$..book[-1].title"), [json!("The Lord of the Rings")]);
        assert_eq!(find("$..book[:2].price"), [json!(8.95), json!(12.99)]);
        assert_eq!(find("$..book[0,1].price"), find("$..book[:2].price"));
        assert_eq!(find("$..book[?@.isbn].price"), [json!(8.99), json!(22.99)]);
        assert_eq!(
            find("$..book[?@.price<10].price"),
            [json!(8.95), json!(8.99)]
        );
        assert_eq!(
            find("$.store.book[-1]['title']"),
            [json!("The Lord of the Rings")]
        );
    }

    #[test]
    fn paths_to_one_node_take_the_quick_way() {
        for source in [
            "$",
            "$.a",
            "$.a.b[0]",
            "$['a b'][\"c\"]",
            "$[-1]",
            "$.ünïcode",
            "$['a]b']",
            "$['a.b']",
        ] {
            assert!(is_singular(source), "{source}");
        }
        for source in [
            "$.*",
            "$..a",
            "$[0,1]",
            "$[0:2]",
            "$[?@.a]",
            "$['a\\'b']",
            "$[ 0 ]",
            "$['a','b']",
        ] {
            assert!(!is_singular(source), "{source}");
        }
    }

    #[test]
    fn a_path_is_its_source_in_json() {
        let path = JsonPath::parse("$.a[?@.b == 'c']").unwrap();
        let json = serde_json::to_value(&path).unwrap();
        assert_eq!(json, "$.a[?@.b == 'c']");
        assert_eq!(serde_json::from_value::<JsonPath>(json).unwrap(), path);
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[ab]{0,2}".prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 40, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[abü ]", inner, 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    fn paths() -> impl Strategy<Value = String> {
        let segment = prop_oneof![
            "[abü]".prop_map(|name| format!(".{name}")),
            "[abü ]".prop_map(|name| format!("['{name}']")),
            "[abü ]".prop_map(|name| format!("[\"{name}\"]")),
            (-4i64..4).prop_map(|index| format!("[{index}]")),
        ];
        prop::collection::vec(segment, 0..5).prop_map(|segments| format!("${}", segments.concat()))
    }

    proptest! {
        #[test]
        fn the_quick_way_finds_what_the_general_one_finds(value in values(), source in paths()) {
            let path = JsonPath::parse(&source).unwrap();
            prop_assert!(is_singular(&source));
            prop_assert_eq!(path.all(&value).unwrap(), serde_json_path::JsonPath::parse(&source).unwrap().query(&value).all());
        }

        #[test]
        fn arbitrary_text_never_panics(source in ".{0,40}") {
            let _outcome = JsonPath::parse(&source);
            let _outcome = JsonPath::parse(&format!("$[{source}]"));
        }
    }
}
