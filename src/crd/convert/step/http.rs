//! HTTP requests of steps: method, path, headers, body.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::crd::convert::Context;
use crate::crd::convert::feeder::check_data;
use crate::crd::convert::stream::asking;
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
            headers,
            json,
            body,
            body_from,
            form,
            multipart,
            follow_redirects,
            retry,
            stream,
        } = http;
        if http::Method::try_from(method.as_str()).is_err()
            || method.to_ascii_uppercase() != *method
        {
            self.problems.add(
                format!("{path}.method"),
                format!("{method:?} is not a method"),
            );
        }
        let headers = self.headers(&format!("{path}.headers"), headers);
        let query = self.fields(&format!("{path}.query"), query);
        let json = &*asking(json, stream.as_ref());
        let body = self.body(
            path,
            Bodies {
                json,
                body,
                body_from,
                form,
                multipart,
            },
        );
        let stream = match stream {
            Some(stream) => Some(self.http_stream(path, method, json.as_ref(), stream)?),
            None => None,
        };
        let retry = retry.as_ref().map(|retry| self.http_retry(path, retry));
        let template = self.path(&format!("{path}.path"), http_path)?;
        let request = HttpRequest {
            method: method.clone(),
            path: template,
            query,
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

    fn body(&mut self, path: &str, bodies: Bodies<'_>) -> Option<Body> {
        let Bodies {
            json,
            body,
            body_from,
            form,
            multipart,
        } = bodies;
        match (json, body, body_from, form, multipart) {
            (None, None, None, None, None) => None,
            (Some(json), None, None, None, None) => {
                self.json(&format!("{path}.json"), json).map(Body::Json)
            }
            (None, Some(text), None, None, None) => self
                .template(&format!("{path}.body"), text, Place::Text)
                .map(Body::Text),
            (None, None, Some(from), None, None) => {
                let field = format!("{path}.bodyFrom");
                check_data(&field, from, self.problems).map(Body::File)
            }
            (None, None, None, Some(form), None) => {
                Some(Body::Form(self.fields(&format!("{path}.form"), form)))
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
                    "json, body, bodyFrom, form and multipart exclude each other",
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
    multipart: &'a Option<Vec<PartSpec>>,
}

/// Returns the method and the path, cut to the length of a name.
fn default_name(method: &str, path: &str) -> String {
    format!("{method} {path}").chars().take(128).collect()
}
