//! Settings of HTTP requests, proxies and Unix sockets.

use std::net::IpAddr;

use url::Url;

use super::Context;
use super::target::secret_reference;
use crate::crd::spec::*;
use crate::plan::*;

impl Context<'_> {
    /// Checks `spec.http`, apart from `timeout` and `followRedirects`, which are part of each step
    /// in a plan.
    pub(super) fn http(&mut self, http: &HttpSpec) -> Http {
        let HttpSpec {
            timeout: _,
            version,
            connections,
            connection_max_age,
            connection_max_requests,
            source_addresses,
            http2,
            follow_redirects: _,
            cookies,
            max_header_bytes,
            max_header_fields,
        } = http;
        let mut sources: Vec<IpAddr> = Vec::new();
        for (i, source) in source_addresses.iter().enumerate() {
            let path = format!("spec.http.sourceAddresses[{i}]");
            let address = source
                .parse::<IpAddr>()
                .map_err(|_| format!("{source:?} is not an IP address"));
            sources.extend(self.problems.take(&path, address));
        }
        if *connection_max_requests == Some(0) {
            self.problems
                .add("spec.http.connectionMaxRequests", "must be at least 1");
        }
        if http2.connections == 0 {
            self.problems
                .add("spec.http.http2.connections", "must be at least 1");
        }
        Http {
            version: match version {
                VersionSpec::Auto => Version::Auto,
                VersionSpec::Http1 => Version::Http1,
                VersionSpec::Http2 => Version::Http2,
            },
            connections: match connections {
                ConnectionsSpec::PerUser => Connections::PerUser,
                ConnectionsSpec::Pooled => Connections::Pooled,
                ConnectionsSpec::PerRequest => Connections::PerRequest,
            },
            connection_max_age: self
                .problems
                .duration("spec.http.connectionMaxAge", connection_max_age),
            connection_max_requests: *connection_max_requests,
            source_addresses: sources,
            http2_connections: http2.connections,
            cookies: *cookies,
            answer_head: self.answer_head(*max_header_bytes, *max_header_fields),
        }
    }

    fn answer_head(&mut self, bytes: Option<u32>, fields: Option<u32>) -> HeadLimits {
        let usual = HeadLimits::default();
        let limits = HeadLimits {
            bytes: bytes.unwrap_or(usual.bytes),
            fields: fields.unwrap_or(usual.fields),
        };
        if !(1024..=1 << 20).contains(&limits.bytes) {
            self.problems
                .add("spec.http.maxHeaderBytes", "must be from 1024 to 1048576");
        }
        if !(1..=1 << 16).contains(&limits.fields) {
            self.problems
                .add("spec.http.maxHeaderFields", "must be from 1 to 65536");
        }
        limits
    }

    /// Checks the proxy of the target at `path`.
    pub(super) fn proxy(&mut self, path: &str, proxy: &ProxySpec) -> Option<Proxy> {
        let ProxySpec { url, basic } = proxy;
        let url = self
            .problems
            .take(&format!("{path}.proxy.url"), check_proxy_url(url))?;
        let field = |name: &str| format!("{path}.proxy.basic.{name}");
        let basic = basic.as_ref().map(
            |BasicSpec {
                 username_from,
                 password_from,
             }| Basic {
                username: secret_reference(username_from, &field("usernameFrom")),
                password: secret_reference(password_from, &field("passwordFrom")),
            },
        );
        Some(Proxy { url, basic })
    }

    /// Checks the Unix socket of the target at `path`; `proxy` says that the target has a proxy,
    /// too, which is a mistake.
    pub(super) fn unix_socket(&mut self, path: &str, socket: &str, proxy: bool) -> Option<String> {
        let field = format!("{path}.unixSocket");
        if !socket.starts_with('/') {
            self.problems.add(&field, "must be an absolute path");
        }
        if proxy {
            self.problems.add(&field, "there is no proxy to a socket");
        }
        Some(socket.to_owned())
    }
}

fn check_proxy_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|e| format!("{text:?} is not a URL: {e}"))?;
    match url {
        _ if url.scheme() != "http" => Err(format!(
            "{text:?} does not begin with http://; proxies that want TLS are not supported"
        )),
        _ if url.host_str().is_none_or(str::is_empty) => Err(format!("{text:?} has no host")),
        _ if !url.username().is_empty() || url.password().is_some() => {
            Err("credentials do not belong into the URL; use basic".into())
        }
        _ if url.path() != "/" || url.query().is_some() => Err("a proxy has no path".into()),
        _ => Ok(url),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::crd::convert::check;

    fn checked(change: impl FnOnce(&mut Value)) -> Result<Plan, Vec<String>> {
        let mut spec = json!({
            "target": {"url": "http://t:8000"},
            "scenarios": [{"name": "s", "tasks": [{"name": "t", "steps": [{"http": {"path": "/"}}]}]}],
            "load": {"closed": {"users": 1, "duration": "1m"}},
        });
        change(&mut spec);
        let checked = check(&serde_json::from_value(spec).unwrap());
        checked
            .map(|checked| checked.plan)
            .map_err(|problems| problems.into_iter().map(|problem| problem.path).collect())
    }

    #[test]
    fn every_mistake_has_its_field_path() {
        assert_eq!(
            checked(
                |s| s["http"] = json!({"connectionMaxAge": "soon", "connectionMaxRequests": 0, "sourceAddresses": ["::1", "eth0"],
                "http2": {"connections": 0}, "maxHeaderBytes": 10, "maxHeaderFields": 0})
            ),
            Err([
                "spec.http.sourceAddresses[1]",
                "spec.http.connectionMaxRequests",
                "spec.http.http2.connections",
                "spec.http.connectionMaxAge",
                "spec.http.maxHeaderBytes",
                "spec.http.maxHeaderFields"
            ]
            .map(String::from)
            .into())
        );
        for url in ["https://p", "http://u:p@p", "http://p/path", "p:3128"] {
            let refused = checked(|s| s["target"]["proxy"] = json!({"url": url}));
            assert_eq!(refused, Err(vec!["spec.target.proxy.url".into()]), "{url}");
        }
        let socket = |value: &str| checked(|s| s["target"]["unixSocket"] = json!(value));
        assert_eq!(socket("run/s"), Err(vec!["spec.target.unixSocket".into()]));
        assert_eq!(
            socket("/run/s").unwrap().target.unix_socket.as_deref(),
            Some("/run/s")
        );
    }

    #[test]
    fn a_proxys_secret_is_among_the_references() {
        let from = |key: &str| json!({"secretKeyRef": {"name": "proxy", "key": key}});
        let basic = json!({"usernameFrom": from("user"), "passwordFrom": from("password")});
        let plan =
            checked(|s| s["target"]["proxy"] = json!({"url": "http://p:3128", "basic": basic}))
                .unwrap();
        let fields: Vec<_> = plan
            .references()
            .iter()
            .map(|reference| reference.field.clone())
            .collect();
        assert_eq!(
            fields,
            [
                "spec.target.proxy.basic.usernameFrom",
                "spec.target.proxy.basic.passwordFrom"
            ]
        );
    }

    #[test]
    fn connections_are_kept_by_their_users_for_five_minutes() {
        assert_eq!(checked(|_| {}).unwrap().http, Http::default());
        let plan = checked(|s| {
            s["http"] =
                json!({"version": "Http2", "connections": "Pooled", "connectionMaxAge": "0s"})
        })
        .unwrap();
        let Http {
            version,
            connections,
            connection_max_age,
            ..
        } = plan.http;
        assert_eq!(
            (version, connections, connection_max_age),
            (
                Version::Http2,
                Connections::Pooled,
                std::time::Duration::ZERO
            )
        );
    }
}
