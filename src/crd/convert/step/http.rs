//! HTTP requests of steps: method, path, headers, body.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::Value;

use crate::crd::convert::feeder::check_data;
use crate::crd::convert::stream::asking;
use crate::crd::convert::{Context, free_value_size};
use crate::crd::spec::*;
use crate::plan::template::Place;
use crate::plan::*;

impl Context<'_> {
    /// Checks the request at `path`. Returns it with the name that it has unless its step gives it
    /// one; `None` if the path or the stream has a mistake.
    pub(super) fn http_call(
        &mut self,
        path: &str,
        http: &HttpStepSpec,
    ) -> Option<(String, Protocol)> {
        let HttpStepSpec {
            method,
            path: http_path,
            query,
            query_items,
            headers,
            json,
            body,
            body_from,
            form,
            form_items,
            multipart,
            follow_redirects,
            retry,
            stream,
        } = http;
        if let Err(why) = check_method(method) {
            self.problems.add(format!("{path}.method"), why);
        }
        let headers = self.headers(&format!("{path}.headers"), headers);
        let mut fields = self.fields(&format!("{path}.query"), query);
        fields.extend(self.items(&format!("{path}.queryItems"), query_items));
        let json = &*asking(json, stream.as_ref());
        let sent_json = self.as_sent(json.as_ref());
        let body = self.body(
            path,
            Bodies {
                json,
                body,
                body_from,
                form,
                form_items,
                multipart,
            },
        );
        let stream = match stream {
            Some(stream) => Some(self.http_stream(path, method, sent_json.as_deref(), stream)?),
            None => None,
        };
        let retry = retry.as_ref().map(|retry| self.http_retry(path, retry));
        let template = self.path(&format!("{path}.path"), http_path)?;
        let request = HttpRequest {
            method: method.clone(),
            path: template,
            query: fields,
            headers,
            body,
        };
        let call = HttpStep {
            request,
            follow_redirects: follow_redirects.unwrap_or(self.follow_redirects),
            retry,
            stream,
        };
        Some((default_name(method, http_path), Protocol::Http(call)))
    }

    fn http_retry(&mut self, path: &str, retry: &RetrySpec) -> Retry {
        let RetrySpec { max, on, backoff } = retry;
        Retry {
            max: *max,
            on: on.clone(),
            backoff: self
                .problems
                .duration(&format!("{path}.retry.backoff"), backoff),
        }
    }

    fn path(&mut self, field: &str, source: &str) -> Option<Template> {
        if !source.starts_with('/') {
            self.problems.add(field, "must begin with /");
        }
        self.template(field, source, Place::Path)
    }

    /// Checks the fields of a query or form, whose values are templates.
    fn fields(&mut self, path: &str, fields: &BTreeMap<String, String>) -> Vec<Field> {
        let checked = fields.iter().filter_map(|(name, value)| {
            let value = self.template(&format!("{path}.{name}"), value, Place::Form)?;
            Some(Field {
                name: name.clone(),
                value,
            })
        });
        checked.collect()
    }

    /// Checks the items of a query or form, whose values are templates.
    fn items(&mut self, path: &str, items: &[ItemSpec]) -> Vec<Field> {
        let checked = items.iter().enumerate().filter_map(|(nth, item)| {
            let ItemSpec { name, value } = item;
            let value = self.template(&format!("{path}[{nth}].value"), value, Place::Form)?;
            Some(Field {
                name: name.clone(),
                value,
            })
        });
        checked.collect()
    }

    fn form(
        &mut self,
        path: &str,
        form: Option<&BTreeMap<String, String>>,
        items: Option<&[ItemSpec]>,
    ) -> Body {
        let fields = form.map(|form| self.fields(&format!("{path}.form"), form));
        let mut fields = fields.unwrap_or_default();
        fields.extend(self.items(&format!("{path}.formItems"), items.unwrap_or_default()));
        Body::Form(fields)
    }

    /// Returns the value of a JSON body, be it written as text; `None` if there is none or the text
    /// is not JSON.
    fn as_sent<'a>(&self, json: Option<&'a Value>) -> Option<Cow<'a, Value>> {
        match json? {
            Value::String(text) => JsonText::new(text, self.delimiters)
                .ok()
                .map(|text| Cow::Owned(text.skeleton())),
            value => Some(Cow::Borrowed(value)),
        }
    }

    /// Checks a JSON body: text holds JSON as it is sent, anything else is a value.
    fn json_body(&mut self, path: &str, json: &Value) -> Option<Body> {
        let Value::String(text) = json else {
            if let Some(field) = ordered_rows(json) {
                self.problems.warn(
                    path,
                    &format!("the keys of the rows in {field} are sorted, and a model without a signature takes columns by position; `json: |` holds JSON whose order stays"),
                );
            }
            return self.json(path, json).map(Body::Json);
        };
        budget::at(path);
        if serde_json::from_str(text)
            .is_ok_and(|value: Value| !value.is_array() && !value.is_object())
        {
            self.problems.warn(
                path,
                "text is sent as the JSON that it holds; a JSON string has quotes inside: '\"text\"'",
            );
        }
        let checked = free_value_size(json)
            .and_then(|()| JsonText::new(text, self.delimiters))
            .and_then(|json| json.compile(&self.names).map(|_| json));
        self.problems.take(path, checked).map(Body::JsonText)
    }

    fn body(&mut self, path: &str, bodies: Bodies<'_>) -> Option<Body> {
        let Bodies {
            json,
            body,
            body_from,
            form,
            form_items,
            multipart,
        } = bodies;
        let has_form = (form.is_some() || form_items.is_some()).then_some(());
        match (json, body, body_from, has_form, multipart) {
            (None, None, None, None, None) => None,
            (Some(json), None, None, None, None) => self.json_body(&format!("{path}.json"), json),
            (None, Some(text), None, None, None) => self
                .template(&format!("{path}.body"), text, Place::Text)
                .map(Body::Text),
            (None, None, Some(from), None, None) => {
                let field = format!("{path}.bodyFrom");
                check_data(&field, from, self.problems).map(Body::File)
            }
            (None, None, None, Some(()), None) => {
                Some(self.form(path, form.as_ref(), form_items.as_deref()))
            }
            (None, None, None, None, Some(parts)) => {
                let parts = parts
                    .iter()
                    .enumerate()
                    .filter_map(|(i, part)| self.part(&format!("{path}.multipart[{i}]"), part));
                Some(Body::Multipart(parts.collect()))
            }
            _ => {
                self.problems.add(
                    path,
                    "json, body, bodyFrom, form (and formItems) and multipart exclude each other",
                );
                None
            }
        }
    }

    fn part(&mut self, path: &str, part: &PartSpec) -> Option<Part> {
        let PartSpec {
            name,
            value,
            value_from,
            file_name,
            content_type,
        } = part;
        let content = match (value, value_from) {
            (Some(text), None) => {
                PartContent::Text(self.template(&format!("{path}.value"), text, Place::Text)?)
            }
            (None, Some(from)) => {
                let field = format!("{path}.valueFrom");
                PartContent::File(check_data(&field, from, self.problems)?)
            }
            _ => {
                self.problems.add(path, "either value or valueFrom");
                return None;
            }
        };
        Some(Part {
            name: name.clone(),
            content,
            file_name: file_name.clone(),
            content_type: content_type.clone(),
        })
    }
}

/// The ways to write a body.
struct Bodies<'a> {
    json: &'a Option<Value>,
    body: &'a Option<String>,
    body_from: &'a Option<DataSpec>,
    form: &'a Option<BTreeMap<String, String>>,
    form_items: &'a Option<Vec<ItemSpec>>,
    multipart: &'a Option<Vec<PartSpec>>,
}

/// Checks that a method is a token (RFC 9110, 9.1) and can be sent to a target.
fn check_method(method: &str) -> Result<(), String> {
    const USUAL: [&str; 8] = [
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE",
    ];
    let upper = method.to_ascii_uppercase();
    if http::Method::try_from(method).is_err() {
        Err(format!("{method:?} is not a method"))
    } else if upper == "CONNECT" {
        Err("CONNECT asks a proxy for a tunnel; target.proxy does that".into())
    } else if upper != method && USUAL.contains(&upper.as_str()) {
        Err(format!("is {upper}; the case of a method matters"))
    } else {
        Ok(())
    }
}

/// Returns the method and the path, cut to the length of a name.
fn default_name(method: &str, path: &str) -> String {
    format!("{method} {path}").chars().take(128).collect()
}

/// Returns the field of a request to a model whose rows have more than one column by name, in an
/// order that may matter; `None` if there is none.
fn ordered_rows(json: &Value) -> Option<&'static str> {
    let columns = |row: &Value| row.as_object().map_or(0, serde_json::Map::len);
    let rows = |field: &str| {
        let items = json[field].as_array();
        items.is_some_and(|items| items.iter().any(|row| columns(row) > 1))
    };
    ["dataframe_records", "instances"]
        .into_iter()
        .find(|field| rows(field))
        .or_else(|| (columns(&json["inputs"]) > 1).then_some("inputs"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::crd::convert::{Checked, check};

    const FIELD: &str = "spec.scenarios[0].tasks[0].steps[0].http.json";

    fn checked(http: &Value) -> Result<Checked, Vec<String>> {
        let mut http = http.clone();
        http["method"] = json!("POST");
        http["path"] = json!("/");
        let spec = json!({
            "target": {"url": "http://t"},
            "variables": {"n": 7},
            "scenarios": [{"name": "s", "tasks": [{"name": "t", "steps": [{"http": http}]}]}],
            "load": {"closed": {"users": 1, "duration": "1m"}},
        });
        check(&serde_json::from_value(spec).unwrap())
            .map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    /// What is said of the body, wrong or warned of, after its field path.
    fn said(http: Value) -> Vec<String> {
        let all = match checked(&http) {
            Ok(checked) => checked.warnings,
            Err(problems) => problems,
        };
        all.iter()
            .filter_map(|said| said.strip_prefix(FIELD))
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn a_method_is_any_token_but_that_for_tunnels() {
        for method in ["GET", "PROPFIND", "QUERY", "M-SEARCH", "purge", "X!"] {
            assert_eq!(check_method(method), Ok(()), "{method}");
        }
        for method in [
            "", "get", "Post", "CONNECT", "connect", "A B", "GET\r\n", "é",
        ] {
            assert!(check_method(method).is_err(), "{method:?}");
        }
    }

    #[test]
    fn items_follow_the_fields_and_keep_their_order() {
        let item = |name: &str, value: &str| json!({"name": name, "value": value});
        let http = json!({
            "query": {"z": "1"}, "queryItems": [item("b", "{{ n }}"), item("a", "2"), item("b", "3")],
            "form": {"y": "1"}, "formItems": [item("x", "1"), item("x", "2")],
        });
        let plan = checked(&http).unwrap().plan;
        let Protocol::Http(HttpStep { request, .. }) = &plan.steps().next().unwrap().step.call
        else {
            panic!("it is HTTP")
        };
        let names = |fields: &[Field]| {
            let all = fields
                .iter()
                .map(|field| format!("{}={}", field.name, field.value.source()));
            all.collect::<Vec<_>>().join("&")
        };
        assert_eq!(names(&request.query), "z=1&b={{ n }}&a=2&b=3");
        let Some(Body::Form(form)) = &request.body else {
            panic!("{:?}", request.body)
        };
        assert_eq!(names(form), "y=1&x=1&x=2");
        let wrong = json!({"queryItems": [item("a", "{{ nobody }}")], "formItems": [item("a", "1")], "body": "x"});
        let told = checked(&wrong).unwrap_err().join("\n");
        assert!(
            told.contains("queryItems[0].value") && told.contains("exclude each other"),
            "{told}"
        );
    }

    #[test]
    fn text_is_json_as_it_is_sent() {
        let text = "{\"z\": 1.0, \"a\": {{ n }}}";
        let plan = checked(&json!({"json": text})).unwrap().plan;
        let call = &plan.steps().next().unwrap().step.call;
        let Protocol::Http(HttpStep { request, .. }) = call else {
            panic!("{call:?}")
        };
        let wanted = JsonText::new(text, &Delimiters::default()).unwrap();
        assert_eq!(request.body, Some(Body::JsonText(wanted)));
        assert!(said(json!({"json": text})).is_empty());
        assert!(said(json!({"json": "{{ n }}"})).is_empty());
    }

    #[test]
    fn text_that_is_not_json_is_refused_and_a_scalar_is_warned_of() {
        for (text, wanted) in [
            ("hello", ": is text that is not JSON (expected value"),
            ("{\"a\": {{ nobody }}}", ": \"nobody\" is not declared"),
            ("5", ": text is sent as the JSON that it holds"),
            ("\"text\"", ": text is sent as the JSON that it holds"),
        ] {
            let said = said(json!({"json": text}));
            assert!(
                said.len() == 1 && said[0].starts_with(wanted),
                "{text}: {said:?}"
            );
        }
    }

    #[test]
    fn rows_whose_columns_would_be_sorted_are_warned_of() {
        for (json, field) in [
            (
                json!({"dataframe_records": [{"z": 1, "a": 2}]}),
                "dataframe_records",
            ),
            (json!({"instances": [[1], {"z": 1, "a": 2}]}), "instances"),
            (json!({"inputs": {"z": [1], "a": [2]}}), "inputs"),
        ] {
            let warned = said(json!({"json": json}));
            assert!(
                warned.len() == 1 && warned[0].contains(&format!("rows in {field} are sorted")),
                "{warned:?}"
            );
            assert!(said(json!({"json": json.to_string()})).is_empty());
        }
        for json in [
            json!({"dataframe_records": [{"z": 1}]}),
            json!({"inputs": [[1, 2]]}),
            json!({"dataframe_split": {"columns": ["z", "a"], "data": [[1, 2]]}}),
        ] {
            assert!(said(json!({"json": json})).is_empty());
        }
    }

    #[test]
    fn text_must_ask_for_the_stream_that_a_preset_reads() {
        let asked = |text: &str| said(json!({"json": text, "stream": {"preset": "OpenAI"}}));
        for (text, wanted) in [
            (
                "{\"stream\": false}",
                "asks for no stream, by stream: false",
            ),
            ("{\"model\": \"m\"}", "add \"stream\": true"),
            ("{\"stream\": true}", "asks for no usage"),
        ] {
            let said = asked(text);
            assert!(
                said.len() == 1 && said[0].contains(wanted),
                "{text}: {said:?}"
            );
        }
        let whole = "{\"stream\": true, \"stream_options\": {\"include_usage\": true}}";
        assert!(asked(whole).is_empty());
        assert!(asked("{{ n }}").is_empty());
    }
}
