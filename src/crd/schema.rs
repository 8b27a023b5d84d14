//! The custom resource definition: what the derive yields, made fit for API servers, `kubectl` and
//! GitOps tools.
//!
//! Descriptions come from the doc comments of [`super::spec`] and [`super::status`]. A doc comment
//! says neither what the values of an enum mean, which their own doc comments do, nor a scalar's
//! default, which the schema holds: both are added here, since `kubectl explain` shows only the
//! description.

use std::sync::LazyLock;

use kube::CustomResourceExt;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use super::policy::{StarlingPolicy, StarlingPolicySpec};
use super::spec::{LoadTest, LoadTestSpec};
use super::status::LoadTestStatus;
use crate::plan::duration;
use crate::plan::threshold::Metric;

/// Largest length, in characters, of a string whose field sets none.
const MAX_STRING: u64 = 1024;

/// Pattern of the name of a LoadTest, after which Services are named.
const TEST_NAME: &str = "^[a-z]([-a-z0-9]*[a-z0-9])?$";
const PERCENT: &str = r"^(100|[0-9]{1,2}(\.[0-9]{1,4})?)%$";
const QUANTITY: &str = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$";
/// Pattern of a method of HTTP.
pub(crate) const METHOD: &str = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$";

/// Pattern of the path of a file or folder.
const FILE_PATH: &str = "^/?[^/]+(/[^/]+)*$";

/// Pattern of the name of an HTTP header.
pub(in crate::crd) const HEADER_NAME: &str = "^[-!#$%&'*+.^_`|~0-9A-Za-z]{1,128}$";
/// Pattern of the name of a Kubernetes object.
pub(in crate::crd) const OBJECT_NAME: &str = "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$";
/// Pattern of a key of a Secret or ConfigMap.
pub(in crate::crd) const OBJECT_KEY: &str = "^[-._a-zA-Z0-9]+$";

/// Description of the whole resource.
const DESCRIPTION: &str = "A load test: what to send, how hard, and what counts as passing. \
    Its merged results and its verdict are in the status.";

/// Description of a whole policy.
const POLICY_DESCRIPTION: &str = "A policy of the cluster: what the LoadTests of the namespaces \
    that it selects may reach, and how large they may be.";

/// Place of the steps of tasks, as a JSON pointer into the schema of the spec.
const TASK_STEPS: &str =
    "/properties/scenarios/items/properties/tasks/items/properties/steps/items";

/// Places of lists of steps other than the tasks', as JSON pointers into the schema of the spec.
const OTHER_STEPS: [&str; 7] = [
    "/properties/steps/items",
    "/properties/scenarios/items/properties/steps/items",
    "/properties/setup/items",
    "/properties/teardown/items",
    "/properties/scenarios/items/properties/onStart/items",
    "/properties/scenarios/items/properties/onStop/items",
    "/properties/scenarios/items/properties/blocks/items/properties/steps/items",
];

static DEFINITION: LazyLock<Value> = LazyLock::new(define);

/// Returns the definition as it is installed: as JSON, since the typed form writes every bound as a
/// float, which GitOps tools would report as a permanent difference.
pub fn definition() -> &'static Value {
    &DEFINITION
}

/// Returns the schema of the field `spec`.
pub fn spec_schema() -> &'static Value {
    &DEFINITION["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
}

fn define() -> Value {
    let mut crd = unsorted();
    crd.sort_all_objects();
    crd
}

fn unsorted() -> Value {
    let mut crd = serde_json::to_value(LoadTest::crd()).expect("a CRD is JSON");
    let root = root_schema(&mut crd);
    root["description"] = DESCRIPTION.into();
    finish(root);
    let fields = &mut root["properties"];
    explain(&mut fields["spec"], &plain_schema::<LoadTestSpec>());
    explain(&mut fields["status"], &plain_schema::<LoadTestStatus>());
    describe_metrics(&mut fields["spec"]);
    refer_to_tasks(&mut fields["spec"]);
    // until the operator has seen a resource it must not look ready to kstatus
    root["properties"]["status"]["default"] = json!({"observedGeneration": -1});
    root["properties"]["metadata"] =
        json!({"type": "object", "properties": {"name": {"type": "string", "maxLength": 40}}});
    root["x-kubernetes-validations"] = json!([{
        "rule": format!("self.metadata.name.matches('{TEST_NAME}')"),
        "message": "metadata.name must begin with a letter and hold only lower case letters, \
            digits and dashes: Services are named after it",
    }]);
    crd
}

/// Makes the definition of policies.
pub(in crate::crd) fn define_policy() -> Value {
    let mut crd = serde_json::to_value(StarlingPolicy::crd()).expect("a CRD is JSON");
    let root = root_schema(&mut crd);
    root["description"] = POLICY_DESCRIPTION.into();
    finish(root);
    allow_unknown(root);
    explain(
        &mut root["properties"]["spec"],
        &plain_schema::<StarlingPolicySpec>(),
    );
    crd.sort_all_objects();
    crd
}

/// Takes back that unknown fields are refused: a definition says so by being structural.
fn allow_unknown(schema: &mut Value) {
    if let Some(fields) = schema.as_object_mut()
        && fields.get("additionalProperties") == Some(&Value::Bool(false))
    {
        fields.remove("additionalProperties");
    }
    each_child(schema, &mut allow_unknown);
}

/// Drops the descriptions of all steps but those of tasks. A definition has no references, and with
/// eight copies of them it would be too large for a client-side apply.
fn refer_to_tasks(spec: &mut Value) {
    for place in OTHER_STEPS {
        let step = spec.pointer_mut(place).expect("the schema has it");
        drop_descriptions(step);
        step["description"] = "Its fields are described at scenarios.tasks.steps.".into();
    }
}

/// Adds the table of metrics to the description of the field that names one.
fn describe_metrics(spec: &mut Value) {
    let metric = spec
        .pointer_mut("/properties/thresholds/items/properties/metric/description")
        .expect("the schema has it");
    let mut text = metric.as_str().unwrap_or_default().to_owned();
    for metric in Metric::all() {
        text += &format!(
            "\n- `{}` (`{}`): {}",
            metric.name(),
            metric.aggregates().join("`, `"),
            metric.meaning()
        );
    }
    *metric = text.into();
}

fn drop_descriptions(schema: &mut Value) {
    schema
        .as_object_mut()
        .map(|fields| fields.remove("description"));
    each_child(schema, &mut drop_descriptions);
}

/// Returns the schema of a whole LoadTest as plain JSON Schema that refuses unknown fields, against
/// which `starling validate` checks a file.
pub fn strict_schema() -> Value {
    let mut crd = definition().clone();
    let root = root_schema(&mut crd);
    root["properties"]["apiVersion"] = json!({"const": "starling.dev/v1alpha1"});
    root["properties"]["kind"] = json!({"const": "LoadTest"});
    root["properties"]["status"] = json!({});
    root["properties"]["metadata"] = json!({"type": "object", "required": ["name"],
        "properties": {"name": {"type": "string", "maxLength": 40, "pattern": TEST_NAME}}});
    root["required"] = json!(["apiVersion", "kind", "metadata", "spec"]);
    let mut spec = root["properties"]["spec"].take();
    refuse_unknown(&mut spec);
    root["properties"]["spec"] = spec;
    root["additionalProperties"] = false.into();
    root.take()
}

/// Returns the schema of a file with LoadTests for editors: [`strict_schema`] for LoadTests, and
/// anything for documents of other kinds.
pub fn editor_schema() -> Value {
    let mut test = strict_schema();
    let spec = &mut test["properties"]["spec"];
    // all steps are alike, and those of tasks have descriptions
    let step = spec.pointer(TASK_STEPS).cloned();
    for place in [TASK_STEPS].into_iter().chain(OTHER_STEPS) {
        let found = spec.pointer_mut(place).expect("the schema has it");
        *found = json!({"$ref": "#/definitions/step"});
    }
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Starling LoadTest, starling.dev/v1alpha1",
        "definitions": {"step": step},
        "if": {"properties": {"kind": {"const": "LoadTest"}}, "required": ["kind"]},
        "then": test,
        "else": {"type": "object", "required": ["apiVersion", "kind"]},
    })
}

fn root_schema(crd: &mut Value) -> &mut Value {
    &mut crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
}

fn refuse_unknown(schema: &mut Value) {
    if schema.get("properties").is_some() {
        schema["additionalProperties"] = false.into();
    }
    each_child(schema, &mut refuse_unknown);
}

/// Bounds every string, drops what an API server would warn of, writes whole numbers as whole
/// numbers, and sets each paragraph of a description on one line.
fn finish(schema: &mut Value) {
    let Some(fields) = schema.as_object_mut() else {
        return;
    };
    if let Some(Value::String(description)) = fields.get_mut("description") {
        *description = unwrapped(description);
    }
    fields.remove("nullable");
    if fields
        .get("format")
        .is_some_and(|format| format.as_str().is_some_and(|f| f.starts_with("uint")))
    {
        let wide = fields["format"] == "uint64";
        fields.insert("format".into(), if wide { "int64" } else { "int32" }.into());
    }
    for bound in ["minimum", "maximum"] {
        if let Some(number) = fields
            .get(bound)
            .and_then(Value::as_f64)
            .filter(|n| n.fract() == 0.0)
        {
            fields.insert(bound.into(), (number as i64).into());
        }
    }
    let is_string = fields.get("type").is_some_and(|kind| kind == "string");
    if is_string
        && !fields.contains_key("enum")
        && !fields.contains_key("maxLength")
        && !fields.contains_key("format")
    {
        fields.insert("maxLength".into(), MAX_STRING.into());
    }
    each_child(schema, &mut finish);
}

/// A doc comment with each paragraph and each list item on one line, so that the width at which the
/// source is wrapped never changes the definition.
fn unwrapped(doc: &str) -> String {
    let mut text = String::new();
    for line in doc.lines().map(str::trim) {
        let is_list_item = line.starts_with("- ");
        match text.chars().last() {
            Some('\n') if line.is_empty() => {}
            Some(_) if line.is_empty() => text.push_str("\n\n"),
            Some('\n') | None => {}
            Some(_) if is_list_item => text.push('\n'),
            Some(_) => text.push(' '),
        }
        text.push_str(line);
    }
    text.truncate(text.trim_end().len());
    text
}

/// Returns the schema of `T` before kube makes it structural, in which an enum still lists its
/// values with their descriptions. All types are inlined, as in the definition.
fn plain_schema<T: JsonSchema>() -> Value {
    SchemaSettings::draft2020_12()
        .with(|settings| settings.inline_subschemas = true)
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value()
}

/// Adds to the description of each field the meaning of its values, if it is an enum, and its
/// default, if that is a scalar. `plain` is the [`plain_schema`] of the same type.
fn explain(schema: &mut Value, plain: &Value) {
    let plain = required_form(plain);
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        for (name, field) in properties {
            let plain = &plain["properties"][name];
            let added = meanings(plain) + &default_in_words(&field["default"]);
            if let Some(Value::String(description)) = field.get_mut("description") {
                description.push_str(&added);
            }
            explain(field, plain);
        }
    }
    for key in ["items", "additionalProperties"] {
        if let Some(child) = schema.get_mut(key).filter(|child| child.is_object()) {
            explain(child, &plain[key]);
        }
    }
}

/// Returns the schema of an optional field's value, without the alternative `null`.
fn required_form(plain: &Value) -> &Value {
    let mut alternatives = plain["anyOf"].as_array().into_iter().flatten();
    alternatives
        .find(|alternative| alternative["type"] != "null")
        .unwrap_or(plain)
}

/// Describes the values of an enum; empty for anything else.
fn meanings(plain: &Value) -> String {
    let values = required_form(plain)["oneOf"].as_array();
    let described = values.into_iter().flatten().filter_map(|value| {
        let (name, meaning) = (value["const"].as_str()?, value["description"].as_str()?);
        Some(format!(" `{name}`: {}", unwrapped(meaning)))
    });
    described.collect()
}

fn default_in_words(default: &Value) -> String {
    match default {
        Value::String(text) if !text.is_empty() => format!(" Default `{text}`."),
        Value::Bool(_) | Value::Number(_) => format!(" Default `{default}`."),
        _ => String::new(),
    }
}

fn each_child(schema: &mut Value, visit: &mut dyn FnMut(&mut Value)) {
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(&mut *visit);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(child) = schema.get_mut(key).filter(|child| child.is_object()) {
            visit(child);
        }
    }
}

/// Describes a pattern of the schema: the words after "must" in a message. `None` for a pattern
/// that has none, as that of durations, which say themselves what is wrong.
pub fn pattern_in_words(pattern: &str) -> Option<&'static str> {
    Some(match pattern {
        r"^(https?|grpcs?)://[^@?#{}\s]+$" => {
            "be a URL that begins with http://, https://, grpc:// or grpcs:// in lower case, without a user name, query or fragment"
        }
        r"^https?://[^@#{}\s]+$" => {
            "be a URL that begins with http:// or https:// in lower case, without a user name or fragment"
        }
        r"^http://[^@?#/{}\s]+/?$" => {
            "be a URL such as http://proxy:3128, without a user name or path"
        }
        "^/" => "begin with /",
        "^[A-Za-z_][A-Za-z0-9_]*$" => {
            "begin with a letter or underscore and hold only letters, digits and underscores"
        }
        "^[A-Za-z][A-Za-z0-9_]*$" => {
            "begin with a letter and hold only letters, digits and underscores"
        }
        "^[A-Za-z_][A-Za-z0-9_.]*/[A-Za-z_][A-Za-z0-9_]*$" => {
            "be the full name of a method, such as package.Service/Method"
        }
        "^[!-~ ]+$" => "hold only printable characters of ASCII",
        r#"^[^"\r\n]+$"# => "hold no quotes and no line breaks",
        "^[^/]+(/[^/]+)*$" => "be a path without / at its ends and without //",
        r"^[!#-&(-/:-@\[-^`{-~]+$" => {
            "hold only marks of ASCII: no letters, digits, quotes, underscores and spaces"
        }
        expr if expr.starts_with(r"^(p\(") => {
            "be an aggregate, a comparison and a bound, such as p(95) < 200ms"
        }
        "^[-a-z0-9]+$" => "hold only lower case letters, digits and dashes",
        "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$" => {
            "hold only lower case letters, digits and dashes, with a letter or digit at its ends"
        }
        TEST_NAME => {
            "begin with a lower case letter and hold only lower case letters, digits and dashes"
        }
        PERCENT => "be a share, such as 1% or 0.5%",
        QUANTITY => "be a quantity, such as 500m, 2 or 512Mi",
        HEADER_NAME => "be a header's name",
        METHOD => "be a method, such as GET or PROPFIND",
        FILE_PATH => "be the path of a file or folder, without // and without / at its end",
        OBJECT_NAME => {
            "be the name of a Kubernetes object: lower case letters, digits, dashes and dots"
        }
        OBJECT_KEY => {
            "be a key of a Secret or ConfigMap: letters, digits, dashes, underscores and dots"
        }
        _ => return None,
    })
}

/// Schema of headers by name.
pub(crate) fn headers(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 32,
        "additionalProperties": {"type": "string", "maxLength": 16384},
    })
}

/// Schema of a duration such as `1m30s`.
pub(in crate::crd) fn duration(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "maxLength": 32, "pattern": duration::PATTERN})
}

/// Schema of an optional duration: the same, since an absent field needs no type of its own.
pub(in crate::crd) fn optional_duration(generator: &mut SchemaGenerator) -> Schema {
    duration(generator)
}

/// Schema of a name in results: 1 to 63 characters.
pub(in crate::crd) fn name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "minLength": 1, "maxLength": 63})
}

/// Schema of a share such as `1%` or `0.5%`.
pub(in crate::crd) fn percent(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "maxLength": 16, "pattern": PERCENT})
}

/// Schema of a Kubernetes quantity such as `500m` or `2Gi`.
pub(in crate::crd) fn quantity(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "maxLength": 32, "pattern": QUANTITY})
}

/// Schema of the name of a metric that every test has.
pub(in crate::crd) fn metric(_: &mut SchemaGenerator) -> Schema {
    let names: Vec<_> = Metric::all().map(Metric::name).collect();
    json_schema!({"type": "string", "enum": names})
}

/// Schema of an [`Outcome`](crate::plan::threshold::Outcome).
pub(in crate::crd) fn outcome(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": ["Success", "Failure", "Any"]})
}

/// Schema of a list of status codes: numbers, or texts such as `2xx`.
pub(in crate::crd) fn status_codes(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array", "minItems": 1, "maxItems": 16, "x-kubernetes-list-type": "atomic",
        "items": {
            "x-kubernetes-int-or-string": true,
            "anyOf": [{"type": "integer"}, {"type": "string"}]
        }
    })
}

/// Schema of the [`Unit`](crate::plan::Unit) of a record.
pub(in crate::crd) fn unit(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": ["none", "s", "ms", "us", "bytes"]})
}

/// Schema of a list of any JSON values.
pub(in crate::crd) fn free_list(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array", "minItems": 1, "maxItems": 64, "x-kubernetes-list-type": "atomic",
        "items": {"x-kubernetes-preserve-unknown-fields": true}
    })
}

/// Schema of [`OnSaturation`](crate::plan::OnSaturation).
pub(in crate::crd) fn on_saturation(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": ["Warn", "Fail"]})
}

/// Schema of any JSON value; the conversion to a plan bounds its size.
pub(in crate::crd) fn free_value(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"x-kubernetes-preserve-unknown-fields": true})
}

/// Schema of a list of any objects; the conversion to a plan bounds their size.
pub(in crate::crd) fn free_objects(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array", "minItems": 1, "maxItems": 1000, "x-kubernetes-list-type": "atomic",
        "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}
    })
}

/// Schema of the path of a file or folder; the conversion tells which of them a cluster refuses.
pub(in crate::crd) fn file_path(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "maxLength": 512, "pattern": FILE_PATH})
}

/// Schema of a relative path; the conversion to a plan refuses `.` and `..` in it.
pub(in crate::crd) fn relative_path(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "maxLength": 512, "pattern": "^[^/]+(/[^/]+)*$"})
}

/// Schema of a map from any names to any JSON values.
pub(in crate::crd) fn free_map(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "additionalProperties": {"x-kubernetes-preserve-unknown-fields": true}
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls `check` with the path and the schema of every field.
    fn walk(path: &str, schema: &Value, check: &mut impl FnMut(&str, &Value)) {
        check(path, schema);
        for (name, child) in schema["properties"].as_object().into_iter().flatten() {
            walk(&format!("{path}.{name}"), child, check);
        }
        for key in ["items", "additionalProperties"] {
            if schema[key].is_object() {
                walk(&format!("{path}[]"), &schema[key], check);
            }
        }
    }

    fn root() -> Value {
        root_schema(&mut definition().clone()).take()
    }

    #[test]
    fn every_string_list_and_map_is_bounded() {
        walk(
            "",
            &root(),
            &mut |path, schema| match schema["type"].as_str() {
                Some("string") => {
                    assert!(
                        schema["maxLength"].is_u64()
                            || schema["enum"].is_array()
                            || schema["format"].is_string(),
                        "{path} has no bound"
                    )
                }
                Some("array") => {
                    assert!(schema["maxItems"].is_u64(), "{path} has no bound");
                    assert!(
                        schema["x-kubernetes-list-type"].is_string(),
                        "{path} does not say how lists merge"
                    );
                }
                Some("object") if schema["additionalProperties"].is_object() => {
                    assert!(schema["maxProperties"].is_u64(), "{path} has no bound")
                }
                _ => {}
            },
        );
    }

    #[test]
    fn every_field_of_the_spec_is_described() {
        let mut silent = Vec::new();
        walk("spec", spec_schema(), &mut |path, schema| {
            for (name, field) in schema["properties"].as_object().into_iter().flatten() {
                let is_elsewhere = [
                    "spec.steps[]",
                    "scenarios[].steps[]",
                    "setup[]",
                    "teardown[]",
                    "onStart[]",
                    "onStop[]",
                    "blocks[].steps[]",
                ]
                .iter()
                .any(|steps| path.contains(steps));
                if !is_elsewhere && !field["description"].is_string() {
                    silent.push(format!("{path}.{name}"));
                }
            }
        });
        assert!(
            silent.is_empty(),
            "docs/loadtest.md would say nothing of {silent:#?}"
        );
    }

    #[test]
    fn the_width_of_the_source_does_not_change_a_description() {
        let narrow = "A pause:\n- `min`, the\nshortest\n- `max`\n\n\nIts unit\nis the second.\n";
        let wide = "A pause:\n- `min`, the shortest\n- `max`\n\nIts unit is the second.";
        assert_eq!(unwrapped(narrow), wide);
        assert_eq!(unwrapped(wide), wide);
        assert_eq!(unwrapped(""), "");
        walk("", &root(), &mut |path, schema| {
            let description = schema["description"].as_str().unwrap_or_default();
            assert_eq!(description, unwrapped(description), "{path}");
        });
    }

    #[test]
    fn a_description_says_what_values_mean_and_the_default() {
        let http = &spec_schema()["properties"]["http"]["properties"];
        let of = |field: &str| http[field]["description"].as_str().unwrap();
        assert!(of("version").contains(" `Http1`: HTTP/1.1 only. `Http2`: "));
        assert!(of("version").ends_with(" Default `Auto`."));
        assert!(of("timeout").ends_with(" Default `30s`."));
        assert!(!of("connectionMaxRequests").contains("Default"));
        let feeder = &spec_schema()["properties"]["feeders"]["items"]["properties"];
        let on_exhausted = feeder["onExhausted"]["description"].as_str().unwrap();
        assert!(
            on_exhausted.contains(" `StopRun`: "),
            "of an optional field"
        );
    }

    #[test]
    fn whole_numbers_stay_whole_so_that_gitops_sees_no_difference() {
        walk("", &root(), &mut |path, schema| {
            for bound in ["minimum", "maximum"] {
                assert!(
                    !schema[bound].is_f64(),
                    "{path}.{bound} is {}",
                    schema[bound]
                );
            }
            assert!(schema.get("nullable").is_none(), "{path} is nullable");
        });
    }

    #[test]
    fn optional_fields_are_not_required() {
        let load = &spec_schema()["properties"]["load"]["properties"];
        let step = &spec_schema()["properties"]["scenarios"]["items"]["properties"]["tasks"]["items"]
            ["properties"]["steps"]["items"];
        assert_eq!(load["closed"]["required"], Value::Null);
        assert_eq!(load["open"]["required"], json!(["maxInFlight"]));
        assert_eq!(step["required"], Value::Null);
        assert_eq!(step["properties"]["http"]["required"], json!(["path"]));
    }

    #[test]
    fn it_is_small_enough_for_a_client_side_apply() {
        assert!(serde_json::to_vec(definition()).unwrap().len() < 240 * 1024);
    }
}
