//! Targets: address, headers, credentials and TLS.

use std::collections::BTreeMap;

use url::Url;

use super::Context;
use crate::crd::spec::*;
use crate::plan::*;

impl Context<'_> {
    /// Checks `spec.target`; `None` if its URL has a mistake.
    pub(super) fn target(&mut self, target: &TargetSpec) -> Option<Target> {
        self.target_at("spec.target", None, target)
    }

    /// Checks `spec.targets`, in the order of their names.
    pub(super) fn targets(&mut self, targets: &BTreeMap<String, TargetSpec>) -> Vec<Target> {
        let checked = targets.iter().filter_map(|(name, target)| {
            let path = format!("spec.targets.{name}");
            self.problems.take(&path, check_target_name(name))?;
            self.target_at(&path, Some(name), target)
        });
        checked.collect()
    }

    fn target_at(
        &mut self,
        path: &str,
        name: Option<&String>,
        target: &TargetSpec,
    ) -> Option<Target> {
        let TargetSpec {
            url,
            headers,
            auth,
            tls,
            proxy,
            unix_socket,
            ready_when,
        } = target;
        let url = self
            .problems
            .take(&format!("{path}.url"), check_url(url, path));
        let headers = self.headers(&format!("{path}.headers"), headers);
        let auth = auth.as_ref().and_then(|auth| self.auth(path, auth));
        let tls = self.tls(&format!("{path}.tls"), tls.as_ref());
        let unix_socket = unix_socket
            .as_ref()
            .and_then(|socket| self.unix_socket(path, socket, proxy.is_some()));
        let proxy = proxy.as_ref().and_then(|proxy| self.proxy(path, proxy));
        let ready_when = ready_when
            .as_ref()
            .map(|ready| self.ready_when(&format!("{path}.readyWhen"), ready));
        Some(Target {
            name: name.cloned(),
            url: url?,
            headers,
            auth,
            tls,
            proxy,
            unix_socket,
            ready_when,
        })
    }

    fn ready_when(&mut self, path: &str, ready: &ReadyWhenSpec) -> ReadyWhen {
        let ReadyWhenSpec {
            http,
            status,
            timeout,
        } = ready;
        let is_plain = http.bytes().all(|byte| byte.is_ascii_graphic()) && !http.contains("{{");
        if !http.starts_with('/') || !is_plain {
            self.problems.add(
                format!("{path}.http"),
                "must be a path that begins with /, without a template",
            );
        }
        if status.is_empty() || status.iter().any(|status| !(100..600).contains(status)) {
            self.problems.add(
                format!("{path}.status"),
                "must be status codes, at least one",
            );
        }
        let timeout = self
            .problems
            .positive_duration(&format!("{path}.timeout"), timeout);
        ReadyWhen {
            path: http.clone(),
            status: status.clone(),
            timeout,
        }
    }

    fn tls(&mut self, path: &str, tls: Option<&TlsSpec>) -> Tls {
        let Some(TlsSpec {
            ca_from,
            cert_from,
            key_from,
            server_name,
            insecure_skip_verify,
        }) = tls
        else {
            return Tls::default();
        };
        let field = |name: &str| format!("{path}.{name}");
        let ca = ca_from.as_ref().and_then(|from| {
            self.problems
                .take(&field("caFrom"), file_reference(from, &field("caFrom")))
        });
        let client = match (cert_from, key_from) {
            (Some(cert), Some(key)) => self
                .problems
                .take(&field("certFrom"), file_reference(cert, &field("certFrom")))
                .map(|certificate| ClientCertificate {
                    certificate,
                    key: secret_reference(key, &field("keyFrom")),
                }),
            (None, None) => None,
            _ => {
                self.problems.add(path, "certFrom and keyFrom go together");
                None
            }
        };
        Tls {
            ca,
            client,
            server_name: server_name.clone(),
            insecure_skip_verify: *insecure_skip_verify,
        }
    }
}

fn check_target_name(name: &str) -> Result<(), String> {
    let begins = name.starts_with(|c: char| c.is_ascii_lowercase()) && name.len() <= 63;
    if begins
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    {
        Ok(())
    } else {
        Err("a target's name begins with a lower case letter and holds only those, digits and dashes, at most 63".into())
    }
}

/// `path` is that of the target.
fn check_url(text: &str, path: &str) -> Result<Url, String> {
    if text.contains("{{") {
        return Err("templates do not work in the target's URL; use a step's path".into());
    }
    // what clients of gRPC write means the same connections
    let http = [("grpc://", "http://"), ("grpcs://", "https://")]
        .into_iter()
        .find_map(|(grpc, http)| Some(format!("{http}{}", text.strip_prefix(grpc)?)));
    let url = Url::parse(http.as_deref().unwrap_or(text))
        .map_err(|e| format!("{text:?} is not a URL: {e}"))?;
    match url {
        _ if !["http", "https"].contains(&url.scheme()) => Err(format!(
            "{text:?} does not begin with http:// or https://, nor with grpc:// or grpcs://"
        )),
        _ if url.host_str().is_none_or(str::is_empty) => Err(format!("{text:?} has no host")),
        _ if !url.username().is_empty() || url.password().is_some() => Err(format!(
            "credentials do not belong into the URL; use {path}.auth"
        )),
        _ if url.query().is_some() || url.fragment().is_some() => {
            Err("a query or fragment belongs to a step's path".into())
        }
        _ => Ok(url),
    }
}

/// Returns the reference to a key of a Secret; `field` is its path in the spec.
pub(super) fn secret_reference(source: &SecretSource, field: &str) -> Reference {
    reference(Kind::Secret, &source.secret_key_ref, field)
}

/// Returns the reference to a key of a Secret or ConfigMap; `field` is its path in the spec.
///
/// # Errors
///
/// Both or neither of them set.
pub(super) fn file_reference(source: &FileSource, field: &str) -> Result<Reference, String> {
    match (&source.secret_key_ref, &source.config_map_key_ref) {
        (Some(key), None) => Ok(reference(Kind::Secret, key, field)),
        (None, Some(key)) => Ok(reference(Kind::ConfigMap, key, field)),
        _ => Err("exactly one of secretKeyRef and configMapKeyRef".into()),
    }
}

fn reference(kind: Kind, key: &KeyRef, field: &str) -> Reference {
    Reference {
        kind,
        name: key.name.clone(),
        key: key.key.clone(),
        field: field.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::crd::convert::check;
    use crate::plan::Plan;

    fn checked(targets: Value, name: &str) -> Result<Plan, Vec<String>> {
        let step = json!({"target": name, "http": {"path": "/"}});
        let spec = json!({
            "target": {"url": "http://t"}, "targets": targets,
            "scenarios": [{"name": "s", "tasks": [{"name": "t", "steps": [step]}]}],
            "load": {"closed": {"users": 1, "duration": "1m"}},
        });
        let checked = check(&serde_json::from_value(spec).unwrap());
        checked
            .map(|checked| checked.plan)
            .map_err(|problems| problems.into_iter().map(|problem| problem.path).collect())
    }

    #[test]
    fn mistakes_of_a_named_target_have_its_name_in_their_path() {
        let prefix = "spec.targets.model";
        let refused = |model: Value| checked(json!({"model": model}), "model").unwrap_err();
        assert_eq!(
            refused(json!({"url": "http://user:pw@t"}))[0],
            format!("{prefix}.url")
        );
        assert_eq!(
            refused(json!({"url": "http://t", "auth": {}}))[0],
            format!("{prefix}.auth")
        );
        assert_eq!(
            refused(json!({"url": "http://t", "headers": {"X": "{{ nobody }}"}})),
            [format!("{prefix}.headers.X")]
        );
        assert_eq!(
            refused(json!({"url": "http://t", "proxy": {"url": "p"}})),
            [format!("{prefix}.proxy.url")]
        );
        let from = json!({"configMapKeyRef": {"name": "c", "key": "k"}});
        assert_eq!(
            refused(json!({"url": "https://t", "tls": {"certFrom": from}})),
            [format!("{prefix}.tls")]
        );
        let ready = |ready: Value| refused(json!({"url": "http://t", "readyWhen": ready}));
        assert_eq!(
            ready(json!({"http": "/{{ v }}"})),
            [format!("{prefix}.readyWhen.http")]
        );
        assert_eq!(
            ready(json!({"http": "/", "status": [], "timeout": "0s"})),
            ["status", "timeout"].map(|f| format!("{prefix}.readyWhen.{f}"))
        );
        assert_eq!(
            checked(json!({"Model_1": {"url": "http://t"}}), "Model_1").unwrap_err(),
            ["spec.targets.Model_1"]
        );
    }

    #[test]
    fn a_step_goes_only_to_targets_that_are_there() {
        let targets = json!({"b": {"url": "http://b"}, "a": {"url": "http://a"}});
        assert_eq!(
            checked(targets.clone(), "c").unwrap_err(),
            ["spec.scenarios[0].tasks[0].steps[0].target"]
        );
        let plan = checked(targets, "b").unwrap();
        let step = plan.steps().next().unwrap().step;
        assert_eq!(
            plan.all_targets().nth(step.target).unwrap().url.as_str(),
            "http://b/"
        );
    }
}
