//! The target: its address, headers, credentials and TLS.

use url::Url;

use super::Context;
use crate::crd::spec::*;
use crate::plan::*;

impl Context<'_> {
    pub(super) fn target(&mut self, target: &TargetSpec) -> Option<Target> {
        let TargetSpec { url, headers, auth, tls, proxy, unix_socket } = target;
        let url = self.problems.take("spec.target.url", check_url(url));
        let headers = self.headers("spec.target.headers", headers);
        let auth = auth.as_ref().and_then(|auth| self.problems.take("spec.target.auth", check_auth(auth)));
        let tls = self.tls(tls.as_ref());
        let unix_socket = unix_socket.as_ref().and_then(|socket| self.unix_socket("spec.target", socket, proxy.is_some()));
        let proxy = proxy.as_ref().and_then(|proxy| self.proxy("spec.target", proxy));
        Some(Target { url: url?, headers, auth, tls, proxy, unix_socket })
    }

    fn tls(&mut self, tls: Option<&TlsSpec>) -> Tls {
        let Some(TlsSpec { ca_from, cert_from, key_from, server_name, insecure_skip_verify }) = tls else { return Tls::default() };
        let ca =
            ca_from.as_ref().and_then(|from| self.problems.take("spec.target.tls.caFrom", file_reference(from, "spec.target.tls.caFrom")));
        let client = match (cert_from, key_from) {
            (Some(cert), Some(key)) => self
                .problems
                .take("spec.target.tls.certFrom", file_reference(cert, "spec.target.tls.certFrom"))
                .map(|certificate| ClientCertificate { certificate, key: secret_reference(key, "spec.target.tls.keyFrom") }),
            (None, None) => None,
            _ => {
                self.problems.add("spec.target.tls", "certFrom and keyFrom go together");
                None
            }
        };
        Tls { ca, client, server_name: server_name.clone(), insecure_skip_verify: *insecure_skip_verify }
    }
}

fn check_url(text: &str) -> Result<Url, String> {
    if text.contains("{{") {
        return Err("templates do not work in the target's URL; use a step's path".into());
    }
    let url = Url::parse(text).map_err(|e| format!("{text:?} is not a URL: {e}"))?;
    match url {
        _ if !["http", "https"].contains(&url.scheme()) => Err(format!("{text:?} does not begin with http:// or https://")),
        _ if url.host_str().is_none_or(str::is_empty) => Err(format!("{text:?} has no host")),
        _ if !url.username().is_empty() || url.password().is_some() => {
            Err("credentials do not belong into the URL; use spec.target.auth".into())
        }
        _ if url.query().is_some() || url.fragment().is_some() => Err("a query or fragment belongs to a step's path".into()),
        _ => Ok(url),
    }
}

fn check_auth(auth: &AuthSpec) -> Result<Auth, String> {
    let AuthSpec { bearer, basic, header } = auth;
    let field = |name: &str| format!("spec.target.auth.{name}");
    match (bearer, basic, header) {
        (Some(bearer), None, None) => Ok(Auth::Bearer { token: secret_reference(&bearer.token_from, &field("bearer.tokenFrom")) }),
        (None, Some(basic), None) => Ok(Auth::Basic {
            username: secret_reference(&basic.username_from, &field("basic.usernameFrom")),
            password: secret_reference(&basic.password_from, &field("basic.passwordFrom")),
        }),
        (None, None, Some(header)) => match http::HeaderName::try_from(header.name.as_str()) {
            Ok(_) => {
                Ok(Auth::Header { name: header.name.clone(), value: secret_reference(&header.value_from, &field("header.valueFrom")) })
            }
            Err(_) => Err(format!("header.name {:?} is not a header's name", header.name)),
        },
        _ => Err("exactly one of bearer, basic and header".into()),
    }
}

pub(super) fn secret_reference(source: &SecretSource, field: &str) -> Reference {
    reference(Kind::Secret, &source.secret_key_ref, field)
}

pub(super) fn file_reference(source: &FileSource, field: &str) -> Result<Reference, String> {
    match (&source.secret_key_ref, &source.config_map_key_ref) {
        (Some(key), None) => Ok(reference(Kind::Secret, key, field)),
        (None, Some(key)) => Ok(reference(Kind::ConfigMap, key, field)),
        _ => Err("exactly one of secretKeyRef and configMapKeyRef".into()),
    }
}

fn reference(kind: Kind, key: &KeyRef, field: &str) -> Reference {
    Reference { kind, name: key.name.clone(), key: key.key.clone(), field: field.to_owned() }
}
