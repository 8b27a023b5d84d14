//! Targets: address, credentials, TLS and readiness of the systems under test.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use url::Url;

use super::host_address::{HostAddress, endpoint_of};
use super::{Auth, Basic, Proxy, Reference, Template, duration};

/// A system that requests are sent to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// Name that steps refer to; `None` for the default target.
    #[serde(default)]
    pub name: Option<String>,
    /// Base URL: `http` or `https`, with a host, without user information, query or fragment. Its
    /// path is put before every step's path.
    pub url: Url,
    /// Headers sent with every request; a step's header of the same name replaces one.
    pub headers: Vec<Header>,
    /// Credentials sent with every request; `None`: none.
    pub auth: Option<Auth>,
    /// Settings of TLS, used if the URL is `https`.
    pub tls: Tls,
    /// HTTP proxy; `None`: connections go to the target directly.
    pub proxy: Option<Proxy>,
    /// Path of a socket on the worker to connect to instead of the URL's host.
    pub unix_socket: Option<String>,
    /// Readiness check before the start; `None`: the target is not waited for.
    #[serde(default)]
    pub ready_when: Option<ReadyWhen>,
    /// Addresses of hosts, by host and port as [`endpoint`](super::host_address::endpoint) writes
    /// them, in place of what name servers say.
    #[serde(default)]
    pub resolve: BTreeMap<String, Vec<HostAddress>>,
}

/// A GET that shows whether a target is ready.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReadyWhen {
    /// Path appended to that of the target.
    pub path: String,
    /// Status codes of a target that is ready.
    pub status: Vec<u16>,
    /// Longest time that the target is waited for.
    #[serde(with = "duration::micros")]
    pub timeout: Duration,
}

impl Target {
    /// Addresses that the test gives to the host of `url`; `None` if it gives none.
    pub fn resolved(&self, url: &Url) -> Option<&[HostAddress]> {
        let addresses = self.resolve.get(&endpoint_of(url)?)?;
        Some(addresses)
    }

    /// Field of the test that describes the target, for messages.
    pub fn field(&self) -> String {
        match &self.name {
            None => "spec.target".to_owned(),
            Some(name) => format!("spec.targets.{name}"),
        }
    }

    /// Every Secret or ConfigMap key that the target needs, in the order of the file.
    pub fn references(&self) -> Vec<&Reference> {
        let Target {
            name: _,
            url: _,
            headers: _,
            auth,
            tls,
            proxy,
            unix_socket: _,
            ready_when: _,
            resolve: _,
        } = self;
        let Tls {
            ca,
            client,
            server_name: _,
            insecure_skip_verify: _,
        } = tls;
        let mut all: Vec<_> = auth.iter().flat_map(Auth::references).chain(ca).collect();
        if let Some(ClientCertificate {
            certificate,
            key,
            passphrase,
        }) = client
        {
            all.push(certificate);
            all.extend(key.iter().chain(passphrase));
        }
        if let Some(Proxy {
            url: _,
            basic: Some(Basic { username, password }),
        }) = proxy
        {
            all.extend([username, password]);
        }
        all
    }
}

/// A header, with a value that is a template.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// Name of the header.
    pub name: String,
    /// Value, rendered for each request.
    pub value: Template,
}

/// Settings of TLS towards a target.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// PEM certificates trusted instead of the system's.
    pub ca: Option<Reference>,
    /// Certificate chain and key shown to the target.
    pub client: Option<ClientCertificate>,
    /// Name asked for and checked instead of the URL's host.
    pub server_name: Option<String>,
    /// True if any certificate is accepted.
    pub insecure_skip_verify: bool,
}

/// Certificate by which a worker identifies itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClientCertificate {
    /// PEM certificate chain; without `key`, a PKCS#12 file that holds the key as well.
    pub certificate: Reference,
    /// PEM private key; `None`: in the file of the certificate.
    pub key: Option<Reference>,
    /// Passphrase of the key or the file; `None`: none.
    #[serde(default)]
    pub passphrase: Option<Reference>,
}
