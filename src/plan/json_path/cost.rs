//! Steps that a path may take over a document, worked out before it is searched: the library has
//! no bound, and descendants of descendants of descendants are as many as one likes.
//!
//! A step is a node that is visited. The bound follows from the path alone and from the number of
//! nodes of the document and their depth. It holds for every document of that size, so it may
//! refuse a search that would have been short, but only in a document of thousands of nodes.

use serde_json::Value;

/// Most steps of a search. A step takes some 20 ns.
pub const MAX_STEPS: u64 = 5_000_000;

/// Most filters and parentheses within each other: the library's parser and its search recurse.
const MAX_DEPTH: usize = 8;

/// Most characters of the regular expressions of `match` and `search` in a path, which the library
/// compiles for each node that it looks at.
const MAX_PATTERN: usize = 64;

/// Sizes of such an expression when compiled, in bytes, each with the steps that it counts for at
/// each node. A larger one is refused.
const PATTERNS: [(usize, u64); 3] = [(4 << 10, 1_000), (16 << 10, 4_000), (48 << 10, 12_000)];

/// Shape of a query, as far as its steps depend on it.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Cost {
    segments: Vec<Segment>,
}

#[derive(Debug, Clone, PartialEq)]
struct Segment {
    /// True for `..`: all nodes below are visited.
    is_descendant: bool,
    /// True if it may select more than one child by a selector.
    is_wide: bool,
    /// Number of selectors in its brackets.
    selectors: u64,
    /// Queries within its filters, each with `true` if it begins at the root.
    inner: Vec<(bool, Cost)>,
    /// Steps of the regular expressions within its filters.
    patterns: u64,
}

/// Size of a document.
#[derive(Debug, Clone, Copy)]
struct Size {
    nodes: u64,
    depth: u64,
}

impl Cost {
    /// Reads the shape of a path, before the library parses it. What is no path has any shape.
    ///
    /// # Errors
    ///
    /// A sentence for the test's author: what no search may hold.
    pub(super) fn of(source: &str) -> Result<Self, String> {
        let mut reader = Reader {
            rest: source.strip_prefix('$').unwrap_or(source),
        };
        reader.query(0)
    }

    /// Most steps of a search of `document`.
    pub(super) fn steps(&self, document: &Value) -> u64 {
        let (nodes, depth) = measure(document);
        self.most(Size { nodes, depth }).max(nodes)
    }

    fn most(&self, size: Size) -> u64 {
        let Size { nodes, depth } = size;
        // nodes in the list are at most `copies` of each of `distinct` ones
        let (mut copies, mut distinct, mut steps) = (1_u64, 1_u64, 0_u64);
        for segment in &self.segments {
            if segment.is_descendant {
                // a node is reached once from each that is above it
                if distinct > 1 {
                    copies = copies.saturating_mul(depth);
                }
                distinct = nodes;
            }
            let visited = match segment.is_wide {
                true => nodes,
                false => distinct,
            };
            let visits = copies
                .saturating_mul(visited)
                .saturating_mul(segment.selectors);
            let inner = segment
                .inner
                .iter()
                .map(|(is_of_root, cost)| match is_of_root {
                    true => cost.most(size),
                    // all that is below all nodes: each node once for each that is above it
                    false => cost.most(Size {
                        nodes: depth,
                        depth,
                    }),
                });
            let at_each = inner.fold(1_u64, u64::saturating_add);
            let at_each = at_each.saturating_add(segment.patterns);
            steps = steps.saturating_add(visits.saturating_mul(at_each));
            copies = copies.saturating_mul(segment.selectors);
            if segment.is_wide {
                distinct = nodes;
            }
        }
        steps
    }
}

/// Returns the number of nodes of a document and the greatest number of nodes above each other.
fn measure(value: &Value) -> (u64, u64) {
    let add = |(nodes, depth): (u64, u64), item: &Value| {
        let (more, deeper) = measure(item);
        (nodes + more, depth.max(deeper + 1))
    };
    match value {
        Value::Array(items) => items.iter().fold((1, 1), add),
        Value::Object(fields) => fields.values().fold((1, 1), add),
        _ => (1, 1),
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Option<char> {
        let mut characters = self.rest.chars();
        let next = characters.next();
        self.rest = characters.as_str();
        next
    }

    fn take(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Reads the segments after `$` or `@`, up to what is none.
    fn query(&mut self, depth: usize) -> Result<Cost, String> {
        let mut segments = Vec::new();
        loop {
            let before = self.rest;
            self.rest = self.rest.trim_start();
            let is_descendant = self.take("..");
            if !is_descendant && !self.take(".") && !self.rest.starts_with('[') {
                self.rest = before;
                return Ok(Cost { segments });
            }
            let mut segment = Segment {
                is_descendant,
                is_wide: is_descendant,
                selectors: 1,
                inner: Vec::new(),
                patterns: 0,
            };
            if self.take("[") {
                self.selectors(&mut segment, depth)?;
            } else if self.take("*") {
                segment.is_wide = true;
            } else {
                let end = self
                    .rest
                    .find(|c: char| c.is_ascii() && !c.is_ascii_alphanumeric() && c != '_');
                self.rest = &self.rest[end.unwrap_or(self.rest.len())..];
            }
            segments.push(segment);
        }
    }

    /// Reads selectors up to the bracket that closes them.
    fn selectors(&mut self, segment: &mut Segment, depth: usize) -> Result<(), String> {
        loop {
            match self.next() {
                None | Some(']') => return Ok(()),
                Some(',') => segment.selectors += 1,
                Some('*' | ':') => segment.is_wide = true,
                Some('?') => {
                    segment.is_wide = true;
                    self.filter(segment, depth + 1)?;
                }
                Some(quote @ ('"' | '\'')) => {
                    self.text(quote);
                }
                Some(_) => {}
            }
        }
    }

    /// Reads a filter up to the comma or bracket that ends it.
    fn filter(&mut self, segment: &mut Segment, depth: usize) -> Result<(), String> {
        let (mut open, mut pattern_of) = (0_usize, None);
        loop {
            if depth + open > MAX_DEPTH {
                return Err(format!(
                    "filters and parentheses of a JSONPath are nested at most {MAX_DEPTH} deep"
                ));
            }
            let before = self.rest;
            match self.rest.chars().next() {
                None | Some(']') => return Ok(()),
                Some(',') if open == 0 => return Ok(()),
                Some('$' | '@') => {
                    let is_of_root = self.next() == Some('$');
                    let inner = self.query(depth)?;
                    segment.inner.push((is_of_root, inner));
                }
                Some('m' | 's') if self.take("match(") || self.take("search(") => {
                    open += 1;
                    pattern_of = Some(open);
                }
                Some(',') if pattern_of == Some(open) => {
                    self.next();
                    pattern_of = None;
                    segment.patterns += self.pattern()?;
                }
                Some(quote @ ('"' | '\'')) => {
                    self.next();
                    self.text(quote);
                }
                Some(other) => {
                    self.next();
                    open += usize::from(other == '(');
                    open -= usize::from(other == ')' && open > 0);
                }
            }
            debug_assert!(self.rest.len() < before.len(), "it goes on");
        }
    }

    /// Reads the second argument of `match` or `search`, and returns the steps that it counts for.
    fn pattern(&mut self) -> Result<u64, String> {
        self.rest = self.rest.trim_start();
        let quote = self.next().filter(|quote| ['"', '\''].contains(quote));
        let pattern = quote.map(|quote| self.text(quote)).ok_or(
            "the regular expression of match and search must be written out in a JSONPath",
        )?;
        if pattern.len() > MAX_PATTERN {
            return Err(format!(
                "the regular expression of match and search is at most {MAX_PATTERN} bytes long \
                 in a JSONPath"
            ));
        }
        let fits = |size: usize| {
            let compiled = regex::RegexBuilder::new(pattern).size_limit(size).build();
            // whether it is one at all is for the library to say
            !matches!(compiled, Err(regex::Error::CompiledTooBig(_)))
        };
        let steps = PATTERNS.iter().find(|(size, _)| fits(*size));
        let steps = steps.map(|(_, steps)| *steps);
        steps.ok_or_else(|| {
            "the regular expression of match or search is too large for a JSONPath".into()
        })
    }

    /// Reads text up to the quote that closes it, and returns it as it is written.
    fn text(&mut self, quote: char) -> &'a str {
        let text = self.rest;
        loop {
            let left = self.rest.len();
            match self.next() {
                None => return text,
                Some('\\') => {
                    self.next();
                }
                Some(other) if other == quote => return &text[..text.len() - left],
                Some(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn steps(path: &str, document: &Value) -> u64 {
        Cost::of(path).unwrap().steps(document)
    }

    #[test]
    fn what_tests_usually_ask_for_takes_few_steps_in_a_large_answer() {
        let item = json!({"id": 7, "tags": ["a", "b"], "price": {"amount": 1.5}});
        let large = json!({"items": vec![item; 20_000], "wanted": 7});
        for path in [
            "$.items[*].id",
            "$..id",
            "$.items[?@.price.amount < 2].tags[*]",
            "$.items[?@.id == $.wanted]",
            "$..items[0, 1].id",
            "$.items[-10:]",
            "$..price.amount",
            "$.items[?@.tags[?@ == 'a']]",
        ] {
            let steps = steps(path, &large);
            assert!(steps < MAX_STEPS, "{path}: {steps}");
        }
    }

    #[test]
    fn what_multiplies_takes_too_many_steps() {
        let flat = json!({"list": vec![0; 5_000]});
        let mut deep = json!(0);
        for _ in 0..100 {
            deep = json!([deep, 1]);
        }
        let many = vec![deep; 200];
        let deep = json!(many);
        for (path, document) in [
            ("$..*..*..*..*", &deep),
            ("$..[*,*,*]..[*,*,*]..[*,*,*]", &deep),
            ("$[?count($..*) > 1]", &flat),
            ("$.list[?count($.list[?@ == 1]) > 0]", &flat),
            ("$.list[?search(@, 'a')]", &flat),
            (
                "$[0,0,0,0,0,0,0,0][*,*,*,*,*,*][*,*,*,*,*,*][*,*,*,*,*,*]",
                &deep,
            ),
            ("$..['a', \"b\", ?@..c]..[?count(@..*) > 1]..*", &deep),
            ("$ ..* ..* ..* [ ? @ ..* ]", &deep),
        ] {
            let steps = steps(path, document);
            assert!(steps > MAX_STEPS, "{path}: {steps}");
        }
    }

    #[test]
    fn the_bound_is_no_less_than_the_nodes_that_are_found() {
        let document = json!({"a": [{"a": [1, 2, {"a": 3}]}, [4, [5, {"b": [6]}]]], "b": {"a": 7}});
        for path in [
            "$..*",
            "$..*..*",
            "$..*..*..*",
            "$..[*, *]",
            "$..[*, 'a', 0]..[*, *]",
            "$[*, *][*, *][*, *]",
            "$..[?@..a]",
            "$..[?@.a, ?@.b, *]..*",
            "$..a",
            "$['a', 'a'][0, 0, 0]..a",
        ] {
            let found = serde_json_path::JsonPath::parse(path)
                .unwrap()
                .query(&document)
                .len();
            assert!(steps(path, &document) >= found as u64, "{path}: {found}");
        }
    }

    #[test]
    fn what_the_library_would_recurse_or_compile_for_ever_is_refused() {
        for path in [
            format!("$[?{}@{}]", "(".repeat(20), ")".repeat(20)),
            format!("$[?{}@.a{}]", "@[?".repeat(20), "]".repeat(20)),
            "$[?match(@.a, @.b)]".to_owned(),
            "$[?match(@.a, $.b)]".to_owned(),
            "$[?search(@, '(.{100}){100}')]".to_owned(),
            format!("$[?search(@, '{}')]", "a".repeat(MAX_PATTERN + 1)),
        ] {
            assert!(Cost::of(&path).is_err(), "{path}");
        }
        for path in [
            "$[?match(@.a, 'b,.[c')]",
            "$[?search(@['a,b'], \"x\\\"]\")].c",
        ] {
            assert!(Cost::of(path).is_ok(), "{path}");
        }
    }

    #[test]
    fn what_is_no_path_is_read_to_its_end() {
        for path in [
            "",
            "$",
            "$[",
            "$[?",
            "$[?(",
            "$[?@",
            "$['",
            "$..",
            "x",
            "$[?match(",
            "$[?)]",
        ] {
            let _either = Cost::of(path);
        }
    }
}
