//! The reference of every field of a resource as Markdown, from the schema's own descriptions; and
//! which example shows which field.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::policy::StarlingPolicySpec;
use super::spec::LoadTestSpec;
use crate::plan::duration;
use crate::plan::threshold::Metric;

const INTRODUCTION: &str = "# The fields of a LoadTest

<!-- Written by `make generate` from the schema and from docs/examples; change those. -->

A LoadTest is a Kubernetes resource, and a file that `starling run` carries out without a cluster:

```yaml
apiVersion: starling.dev/v1alpha1
kind: LoadTest
metadata:
  name: quickstart     # at most 40 lower case letters, digits and dashes, beginning with a letter
spec: {}               # all that follows
```

`starling validate FILE` tells what is wrong with a file. A duration is written as whole numbers with a unit (`us`, `ms`, `s`, `m`,
`h`): `250ms`, `1h30m`. In the paths below `[]` is any entry of a list and `NAME` any name in a map.
";

const POLICY_INTRODUCTION: &str = "# The fields of a StarlingPolicy

<!-- Written by `make generate` from the schema; change that. -->

A StarlingPolicy says what the LoadTests of the namespaces that it selects may reach, and how large they may be.
[policy.md](policy.md) says how policies are judged; `manifests/policies` has examples. A duration is written as whole
numbers with a unit (`us`, `ms`, `s`, `m`, `h`). In the paths below `[]` is any entry of a list.
";

/// Path of the section that is followed by the table of metrics.
const THRESHOLDS: &str = "spec.thresholds[]";

/// An example of the reference: a file with one LoadTest.
#[derive(Debug, Clone)]
pub struct Example {
    /// Name of the file: the path of the section that it belongs to, without `spec.` and `[]`, and
    /// if that has several examples a dash and a word that sets this one apart, such as
    /// `load.open-poisson`.
    pub name: String,
    /// Text of the file.
    pub text: String,
    /// Value of the field `spec`.
    pub spec: Value,
}

/// The page of the reference, with what it lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Text of the page.
    pub markdown: String,
    /// Fields that no example uses.
    pub without_example: Vec<String>,
    /// Examples whose names lead to no section.
    pub misplaced: Vec<String>,
}

/// Writes the page with `examples`, which are sorted by name.
pub fn page(examples: &[Example]) -> Page {
    write(&schema::<LoadTestSpec>(), "spec", INTRODUCTION, examples)
}

/// Writes the page of the fields of a StarlingPolicy.
pub fn policy_page() -> String {
    write(
        &schema::<StarlingPolicySpec>(),
        "spec",
        POLICY_INTRODUCTION,
        &[],
    )
    .markdown
}

/// Writes a page of the fields of a type that is read as JSON, below the path `root`.
pub fn page_of<T: JsonSchema>(root: &str, introduction: &str) -> String {
    let schema = schema_of::<T>("");
    write(&schema, root, introduction, &[]).markdown
}

/// Returns the JSON Schema of a type that is read as JSON.
pub fn schema_of<T: JsonSchema>(title: &str) -> Value {
    let mut schema = schema::<T>();
    schema["title"] = title.into();
    plain_descriptions(&mut schema);
    schema.sort_all_objects();
    schema
}

/// Rewrites descriptions for readers of JSON: without links into the code, and with JSON's word for
/// what is not there.
fn plain_descriptions(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if let Some(Value::String(text)) = fields.get_mut("description") {
                *text = text
                    .replace("`None`", "`null`")
                    .replace("[`", "`")
                    .replace("`]", "`");
            }
            fields.values_mut().for_each(plain_descriptions);
        }
        Value::Array(items) => items.iter_mut().for_each(plain_descriptions),
        _ => {}
    }
}

/// Schema of a type with its descriptions as they stand in the code.
fn schema<T: JsonSchema>() -> Value {
    let mut schema = SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value();
    schema.sort_all_objects();
    schema
}

fn write(schema: &Value, root: &str, introduction: &str, examples: &[Example]) -> Page {
    let mut reference = Reference {
        root: schema,
        sections: vec![],
        paths: BTreeMap::new(),
    };
    reference.add_section(root.into(), schema);
    let uses: Vec<(&Example, BTreeSet<String>)> = examples
        .iter()
        .map(|example| {
            let mut used = BTreeSet::new();
            reference.note_uses(root, schema, &example.spec, &mut used);
            (example, used)
        })
        .collect();
    reference.page(introduction, &uses)
}

/// Fields that hold the steps of a test in its long form.
const LONG_FORM: [&str; 2] = ["scenarios", "tasks"];

/// One object of the schema. One that stands at several places has one section, at the first.
struct Section {
    path: String,
    description: String,
    fields: Vec<Field>,
    also_at: Vec<String>,
}

struct Field {
    name: String,
    path: String,
    required: bool,
    kind: String,
    /// Path of the section with this field's own fields.
    section: Option<String>,
    meaning: String,
}

struct Reference<'a> {
    root: &'a Value,
    sections: Vec<Section>,
    /// Path of the section of each type, by the type's name in the schema.
    paths: BTreeMap<String, String>,
}

/// A schema without what stands between a field and its type.
struct Resolved<'a> {
    schema: &'a Value,
    type_name: Option<&'a str>,
    description: Option<&'a str>,
}

impl<'a> Reference<'a> {
    fn resolve(&self, mut schema: &'a Value) -> Resolved<'a> {
        let mut type_name = None;
        let mut description = None;
        loop {
            description = description.or(schema["description"].as_str());
            let alternatives = schema["anyOf"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|one| one["type"] != "null");
            let next = match schema["$ref"]
                .as_str()
                .and_then(|reference| reference.strip_prefix("#/$defs/"))
            {
                Some(name) => {
                    type_name = Some(name);
                    self.root["$defs"].get(name)
                }
                None => alternatives
                    .chain(schema["allOf"].as_array().into_iter().flatten())
                    .next(),
            };
            match next {
                Some(next) => schema = next,
                None => {
                    return Resolved {
                        schema,
                        type_name,
                        description,
                    };
                }
            }
        }
    }

    /// The object that a field holds, be it in a list or a map, and its path.
    fn object_in(
        &self,
        path: &str,
        schema: &'a Value,
    ) -> Option<(String, &'a Value, Option<&'a str>)> {
        let Resolved {
            schema, type_name, ..
        } = self.resolve(schema);
        if schema["properties"].is_object() {
            return Some((path.to_owned(), schema, type_name));
        }
        if schema["items"].is_object() {
            return self.object_in(&format!("{path}[]"), &schema["items"]);
        }
        schema["additionalProperties"]
            .is_object()
            .then(|| self.object_in(&format!("{path}.NAME"), &schema["additionalProperties"]))?
    }

    fn add_section(&mut self, path: String, schema: &'a Value) {
        let index = self.sections.len();
        let description = schema["description"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        self.sections.push(Section {
            path: path.clone(),
            description,
            fields: vec![],
            also_at: vec![],
        });
        let is_required = |name: &str| {
            schema["required"]
                .as_array()
                .is_some_and(|required| required.iter().any(|other| *other == name))
        };
        // what must be there comes first, and what is used at several places has its section where
        // it must be, or in the long form of a test
        let mut properties: Vec<_> = fields_of(schema)
            .map(|(name, property)| (!is_required(name), name, property))
            .collect();
        properties.sort_by_key(|(is_optional, name, _)| {
            (*is_optional && !LONG_FORM.contains(&name.as_str()), *name)
        });
        for (is_optional, name, property) in properties {
            let path = format!("{path}.{name}");
            let kind = self.kind(property) + &default_of(property);
            let meaning = self.meaning(property);
            let section = self
                .object_in(&path, property)
                .map(|(path, object, type_name)| self.section_of(path, object, type_name));
            let field = Field {
                name: name.clone(),
                path,
                required: !is_optional,
                kind,
                section,
                meaning,
            };
            self.sections[index].fields.push(field);
        }
    }

    /// The path of the section of the object at `path`, which is added if its type has none yet.
    fn section_of(&mut self, path: String, object: &'a Value, type_name: Option<&str>) -> String {
        if let Some(known) = type_name
            .and_then(|type_name| self.paths.get(type_name))
            .cloned()
        {
            let section = self
                .sections
                .iter_mut()
                .find(|section| section.path == known);
            section
                .into_iter()
                .for_each(|section| section.also_at.push(path.clone()));
            return known;
        }
        self.paths
            .extend(type_name.map(|type_name| (type_name.to_owned(), path.clone())));
        self.add_section(path.clone(), object);
        path
    }

    /// Names the type of a field in words, with its bounds.
    fn kind(&self, schema: &'a Value) -> String {
        let Resolved { schema, .. } = self.resolve(schema);
        if let Some(values) = values(schema) {
            let values: Vec<_> = values.iter().map(|(value, _)| value.as_str()).collect();
            return values.join(", ");
        }
        match schema["pattern"].as_str() {
            Some(duration::PATTERN) => return "duration".into(),
            Some(pattern) if pattern.ends_with("%$") => return "share, such as `1%`".into(),
            _ => {}
        }
        if schema["properties"].is_object() {
            return "map".into();
        }
        let between = |low: &str, high: &str| range(&schema[low], &schema[high]);
        if schema["items"].is_object() {
            let bounds = between("minItems", "maxItems");
            return format!("list{bounds} of {}", plural(&self.kind(&schema["items"])));
        }
        let named = &schema["additionalProperties"];
        if named.is_object() {
            let bounds = between("minProperties", "maxProperties");
            return format!("map{bounds} from names to {}", plural(&self.kind(named)));
        }
        scalar(schema)
    }

    fn meaning(&self, property: &'a Value) -> String {
        let Resolved {
            schema,
            description,
            ..
        } = self.resolve(property);
        let mut meaning = description.unwrap_or_default().to_owned();
        for (value, said) in values(schema).into_iter().flatten() {
            if let Some(said) = said {
                // writing to a String cannot fail
                let _ = write!(meaning, " {value}: {}.", said.trim_end_matches('.'));
            }
        }
        meaning
    }

    /// Adds to `used` each field that `value` sets, by the path it has on the page.
    fn note_uses(&self, path: &str, schema: &'a Value, value: &Value, used: &mut BTreeSet<String>) {
        let Resolved {
            schema, type_name, ..
        } = self.resolve(schema);
        let path = type_name
            .and_then(|type_name| self.paths.get(type_name))
            .map_or(path, String::as_str);
        for (name, property) in fields_of(schema) {
            if let Some(value) = value.get(name) {
                let path = format!("{path}.{name}");
                self.note_uses(&path, property, value, used);
                used.insert(path);
            }
        }
        for item in value
            .as_array()
            .into_iter()
            .flatten()
            .filter(|_| schema["items"].is_object())
        {
            self.note_uses(&format!("{path}[]"), &schema["items"], item, used);
        }
        for item in value
            .as_object()
            .into_iter()
            .flatten()
            .filter(|_| schema["additionalProperties"].is_object())
        {
            self.note_uses(
                &format!("{path}.NAME"),
                &schema["additionalProperties"],
                item.1,
                used,
            );
        }
    }

    fn page(&self, introduction: &str, uses: &[(&Example, BTreeSet<String>)]) -> Page {
        let mut markdown = introduction.to_owned();
        let mut without_example = Vec::new();
        for section in &self.sections {
            let own: Vec<_> = uses
                .iter()
                .filter(|(example, _)| section.holds(example))
                .collect();
            section.write_head(&mut markdown);
            for field in &section.fields {
                let shown_here = own.iter().any(|(_, used)| used.contains(&field.path));
                let elsewhere = uses
                    .iter()
                    .find(|(_, used)| used.contains(&field.path))
                    .map(|(example, _)| *example);
                if elsewhere.is_none() {
                    without_example.push(field.path.clone());
                }
                field.write_row(
                    &mut markdown,
                    elsewhere.filter(|_| !shown_here && field.section.is_none()),
                );
            }
            if section.path == THRESHOLDS {
                write_metrics(&mut markdown);
            }
            own.iter()
                .for_each(|(example, _)| example.write(&mut markdown));
        }
        let is_misplaced =
            |example: &&Example| !self.sections.iter().any(|section| section.holds(example));
        let misplaced = uses
            .iter()
            .map(|(example, _)| *example)
            .filter(is_misplaced)
            .map(|example| example.name.clone())
            .collect();
        Page {
            markdown,
            without_example,
            misplaced,
        }
    }
}

impl Section {
    /// Returns whether an example is named after this section, or after a field that has none of
    /// its own.
    fn holds(&self, example: &Example) -> bool {
        let named = |path: &str| {
            let place = path.trim_start_matches("spec.").replace("[]", "");
            example.name.split('-').next() == Some(&place)
        };
        named(&self.path)
            || self.also_at.iter().any(|path| named(path))
            || self
                .fields
                .iter()
                .any(|field| field.section.is_none() && named(&field.path))
    }

    fn write_head(&self, page: &mut String) {
        let Section {
            path,
            description,
            fields: _,
            also_at,
        } = self;
        // parts of the spec are chapters, what they hold are their sections
        let level = if path.matches('.').count() <= 1 {
            "##"
        } else {
            "###"
        };
        page.push_str(&format!("\n{level} `{path}`\n\n"));
        if !description.is_empty() {
            page.push_str(&format!("{}\n\n", one_line(description)));
        }
        if !also_at.is_empty() {
            let places: Vec<_> = also_at.iter().map(|path| format!("`{path}`")).collect();
            page.push_str(&format!("The same at {}.\n\n", places.join(", ")));
        }
        page.push_str("| field | type | meaning |\n|---|---|---|\n");
    }
}

impl Field {
    fn write_row(&self, page: &mut String, example: Option<&Example>) {
        let Field {
            name,
            path: _,
            required,
            kind,
            section,
            meaning,
        } = self;
        let name = section.as_ref().map_or_else(
            || format!("`{name}`"),
            |section| format!("[`{name}`](#{})", slug(section)),
        );
        let needed = if *required { ", **required**" } else { "" };
        let example = example.map_or(String::new(), |example| {
            format!(" [Example](examples/{}.yaml)", example.name)
        });
        page.push_str(&format!(
            "| {name} | {} | {} |\n",
            cell(&format!("{kind}{needed}")),
            cell(&format!("{meaning}{example}"))
        ));
    }
}

impl Example {
    /// The comment at the top of the file, then its `spec`.
    fn write(&self, page: &mut String) {
        let comment: Vec<_> = self
            .text
            .lines()
            .map_while(|line| line.strip_prefix('#'))
            .map(str::trim)
            .collect();
        let spec = self
            .text
            .find("\nspec:")
            .map_or(self.text.as_str(), |at| &self.text[at + 1..]);
        let said = comment.join(" ");
        page.push_str(&format!(
            "\n{said} ([whole file](examples/{}.yaml))\n\n```yaml\n{}\n```\n",
            self.name,
            spec.trim_end()
        ));
    }
}

/// Writes the table of the metrics that a threshold can name.
fn write_metrics(page: &mut String) {
    page.push_str("\n| metric | aggregates | meaning |\n|---|---|---|\n");
    for metric in Metric::all() {
        page.push_str(&format!(
            "| `{}` | `{}` | {} |\n",
            metric.name(),
            metric.aggregates().join("`, `"),
            cell(&metric.meaning()),
        ));
    }
}

fn fields_of(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema["properties"].as_object().into_iter().flatten()
}

/// The values that a schema allows, if it lists them, each with what is said of it.
fn values(schema: &Value) -> Option<Vec<(String, Option<&str>)>> {
    let quoted = |value: &Value| {
        format!(
            "`{}`",
            value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned)
        )
    };
    if let Some(list) = schema["enum"].as_array() {
        return Some(
            list.iter()
                .filter(|value| !value.is_null())
                .map(|value| (quoted(value), None))
                .collect(),
        );
    }
    if !schema["const"].is_null() {
        return Some(vec![(
            quoted(&schema["const"]),
            schema["description"].as_str(),
        )]);
    }
    schema["oneOf"]
        .as_array()?
        .iter()
        .map(values)
        .collect::<Option<Vec<_>>>()
        .map(|lists| lists.concat())
}

/// Names the type of a value that holds no others.
fn scalar(schema: &Value) -> String {
    let is = |name: &str| match &schema["type"] {
        Value::Array(kinds) => kinds.iter().any(|kind| kind == name),
        kind => kind == name,
    };
    if is("string") {
        match schema["maxLength"].as_u64() {
            Some(most) => format!("text, at most {most} characters"),
            None => "text".into(),
        }
    } else if is("integer") || is("number") {
        let whole = if is("integer") { "whole " } else { "" };
        let range = range(&schema["minimum"], &schema["maximum"]);
        format!("{whole}number{range}")
    } else if is("boolean") {
        "`true` or `false`".into()
    } else {
        "any value".into()
    }
}

fn range(low: &Value, high: &Value) -> String {
    match (low.as_f64(), high.as_f64()) {
        (Some(low), Some(high)) => format!(" ({low} to {high})"),
        (Some(low), None) => format!(" (from {low})"),
        (None, Some(high)) => format!(" (at most {high})"),
        (None, None) => String::new(),
    }
}

fn plural(kind: &str) -> String {
    match kind.strip_prefix("map") {
        Some(rest) => format!("maps{rest}"),
        None if kind.starts_with("text") => format!("texts{}", &kind["text".len()..]),
        None => kind.to_owned(),
    }
}

fn default_of(property: &Value) -> String {
    match &property["default"] {
        Value::String(text) if text.is_empty() => String::new(),
        Value::String(text) => format!(", default `{text}`"),
        value @ (Value::Bool(_) | Value::Number(_)) => format!(", default `{value}`"),
        _ => String::new(),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Text in a cell of a table.
fn cell(text: &str) -> String {
    one_line(text).replace('|', "\\|")
}

/// The anchor that a heading with `path` gets.
fn slug(path: &str) -> String {
    path.chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '_')
        .map(|c| c.to_ascii_lowercase())
        .collect()
}
