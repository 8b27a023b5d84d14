//! Targets: address, headers, credentials and TLS.

use std::collections::BTreeMap;

use url::Url;

use super::Context;
use crate::crd::spec::*;
use crate::plan::host_address::{self, HostAddress};
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
            resolve,
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
        let (url, zone) = url?;
        let mut target = Target {
            name: name.cloned(),
            url,
            headers,
            auth,
            tls,
            proxy,
            unix_socket,
            ready_when,
            resolve: BTreeMap::new(),
        };
        if let Some(zone) = zone
            && let Some(url::Host::Ipv6(ip)) = target.url.host()
        {
            let ip = ip.into();
            let zone = Some(zone);
            let endpoint = host_address::endpoint_of(&target.url);
            let address = vec![HostAddress { ip, zone }];
            target
                .resolve
                .extend(endpoint.map(|endpoint| (endpoint, address)));
        }
        self.resolve(&format!("{path}.resolve"), resolve, &mut target);
        Some(target)
    }

    /// Checks the addresses that the test gives to hosts of `target`, and adds them to it.
    fn resolve(&mut self, path: &str, given: &BTreeMap<String, String>, target: &mut Target) {
        let proxy = target.proxy.iter().map(|proxy| &proxy.url);
        let token = match &target.auth {
            Some(Auth::OAuth2(oauth2)) => Some(&oauth2.token_url),
            _ => None,
        };
        let urls = [&target.url].into_iter().chain(proxy).chain(token);
        let used: Vec<String> = urls.filter_map(host_address::endpoint_of).collect();
        for (endpoint, addresses) in given {
            let path = format!("{path}.{endpoint}");
            let known = host_address::endpoint(endpoint).and_then(|endpoint| {
                let is_used = used.contains(&endpoint);
                is_used.then_some(endpoint).ok_or_else(|| {
                    format!(
                        "no connection of the target goes there, but to {}",
                        used.join(", ")
                    )
                })
            });
            let addresses = addresses
                .split(',')
                .map(|address| HostAddress::parse(address.trim()));
            let checked =
                known.and_then(|endpoint| Ok((endpoint, addresses.collect::<Result<_, _>>()?)));
            target.resolve.extend(self.problems.take(&path, checked));
        }
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
            pkcs12_from,
            passphrase_from,
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
        let passphrase = passphrase_from
            .as_ref()
            .map(|from| secret_reference(from, &field("passphraseFrom")));
        let client = match (cert_from, key_from, pkcs12_from) {
            (Some(cert), Some(key), None) => self
                .problems
                .take(&field("certFrom"), file_reference(cert, &field("certFrom")))
                .map(|certificate| ClientCertificate {
                    certificate,
                    key: Some(secret_reference(key, &field("keyFrom"))),
                    passphrase,
                }),
            (None, None, Some(file)) => Some(ClientCertificate {
                certificate: secret_reference(file, &field("pkcs12From")),
                key: None,
                passphrase,
            }),
            (None, None, None) if passphrase.is_some() => {
                let why = "is for keyFrom or pkcs12From, of which there is none";
                self.problems.add(field("passphraseFrom"), why);
                None
            }
            (None, None, None) => None,
            (_, _, Some(_)) => {
                let why = "holds certificate and key; certFrom and keyFrom do not go with it";
                self.problems.add(field("pkcs12From"), why);
                None
            }
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

/// Reads the URL of the target at `path`, and the zone of its address if it has one.
fn check_url(text: &str, path: &str) -> Result<(Url, Option<String>), String> {
    if text.contains("{{") {
        return Err("templates do not work in the target's URL; use a step's path".into());
    }
    // what clients of gRPC write means the same connections
    let http = [("grpc://", "http://"), ("grpcs://", "https://")]
        .into_iter()
        .find_map(|(grpc, http)| Some(format!("{http}{}", text.strip_prefix(grpc)?)));
    let (bare, zone) = HostAddress::split_url(http.as_deref().unwrap_or(text))?;
    let url = Url::parse(&bare).map_err(|e| format!("{text:?} is not a URL: {e}"))?;
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
        _ => Ok((url, zone)),
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
    fn a_test_gives_addresses_to_its_own_hosts_only() {
        let with = |resolve: Value| {
            let proxy = json!({"url": "http://proxy:3128"});
            let model =
                json!({"url": "https://API.example.com/v1", "proxy": proxy, "resolve": resolve});
            checked(json!({"model": model}), "model")
        };
        let plan = with(json!({
            "api.example.com:443": "10.0.0.7, fe80::1%eth0", "proxy:3128": "[::1]",
        }));
        let plan = plan.unwrap();
        let target = &plan.targets[0];
        let shown: Vec<_> = target
            .resolved(&target.url)
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(shown, ["10.0.0.7", "fe80::1%eth0"]);
        assert_eq!(target.resolve.len(), 2);
        for (endpoint, addresses) in [
            ("api.example.com:80", "10.0.0.7"),
            ("other:443", "10.0.0.7"),
            ("api.example.com", "10.0.0.7"),
            ("api.example.com:443", "localhost"),
            ("api.example.com:443", "10.0.0.7,"),
        ] {
            let path = format!("spec.targets.model.resolve.{endpoint}");
            assert_eq!(
                with(json!({endpoint: addresses})).unwrap_err(),
                [path],
                "{addresses}"
            );
        }
    }

    #[test]
    fn a_zone_of_an_address_is_no_part_of_its_url() {
        for url in [
            "http://[fe80::1%eth0]:8080/x",
            "http://[fe80::1%25eth0]:8080/x",
        ] {
            let plan = checked(json!({"model": {"url": url}}), "model").unwrap();
            let target = &plan.targets[0];
            assert_eq!(target.url.as_str(), "http://[fe80::1]:8080/x");
            assert_eq!(
                target.resolved(&target.url).unwrap()[0].to_string(),
                "fe80::1%eth0"
            );
        }
        let refused = checked(json!({"model": {"url": "http://[fe80::1%]/"}}), "model");
        assert_eq!(refused.unwrap_err()[0], "spec.targets.model.url");
    }

    #[test]
    fn a_client_has_its_key_beside_the_certificate_or_in_the_same_file() {
        let from = || json!({"secretKeyRef": {"name": "c", "key": "k"}});
        let with = |names: &[&str]| {
            let fields = names.iter().map(|name| ((*name).to_owned(), from()));
            let tls: serde_json::Map<_, _> = fields.collect();
            checked(json!({"model": {"url": "https://t", "tls": tls}}), "model")
        };
        for names in [
            &["certFrom", "keyFrom"][..],
            &["certFrom", "keyFrom", "passphraseFrom"],
            &["pkcs12From"],
            &["pkcs12From", "passphraseFrom"],
        ] {
            let fields: Vec<_> = with(names)
                .unwrap()
                .references()
                .iter()
                .map(|one| one.field.clone())
                .collect();
            let wanted: Vec<_> = names
                .iter()
                .map(|name| format!("spec.targets.model.tls.{name}"))
                .collect();
            assert_eq!(fields, wanted);
        }
        for (names, field) in [
            (&["passphraseFrom"][..], ".passphraseFrom"),
            (&["certFrom", "pkcs12From"], ".pkcs12From"),
            (&["keyFrom", "passphraseFrom"], ""),
        ] {
            let path = format!("spec.targets.model.tls{field}");
            assert_eq!(with(names).unwrap_err(), [path], "{names:?}");
        }
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
