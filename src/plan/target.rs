//! Where requests go: address, credentials, TLS.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use url::Url;

use super::{Auth, Basic, Proxy, Reference, Template, duration};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// `None` for the test's own, which steps go to unless they name another.
    #[serde(default)]
    pub name: Option<String>,
    /// `http` or `https`, with a host, without user information, query or fragment. Its path is
    /// put before every step's path.
    pub url: Url,
    /// Sent with every request; a step's header of the same name replaces it.
    pub headers: Vec<Header>,
    pub auth: Option<Auth>,
    pub tls: Tls,
    pub proxy: Option<Proxy>,
    /// Path of a socket on the worker to connect to instead of the URL's host.
    pub unix_socket: Option<String>,
    /// Waited for before the start.
    #[serde(default)]
    pub ready_when: Option<ReadyWhen>,
}

/// A GET that shows whether a target is ready.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReadyWhen {
    /// Put behind that of the target.
    pub path: String,
    /// What is answered then.
    pub status: Vec<u16>,
    #[serde(with = "duration::micros")]
    pub timeout: Duration,
}

impl Target {
    /// Where the test describes it, for messages.
    pub fn field(&self) -> String {
        match &self.name {
            None => "spec.target".to_owned(),
            Some(name) => format!("spec.targets.{name}"),
        }
    }

    /// Every Secret or ConfigMap key it needs, in the order of the file.
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
        } = self;
        let Tls {
            ca,
            client,
            server_name: _,
            insecure_skip_verify: _,
        } = tls;
        let mut all: Vec<_> = auth.iter().flat_map(Auth::references).chain(ca).collect();
        if let Some(ClientCertificate { certificate, key }) = client {
            all.extend([certificate, key]);
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

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    pub name: String,
    pub value: Template,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// PEM certificates trusted instead of the system's.
    pub ca: Option<Reference>,
    /// PEM certificate chain and key shown to the target.
    pub client: Option<ClientCertificate>,
    /// Name asked for and checked instead of the URL's host.
    pub server_name: Option<String>,
    pub insecure_skip_verify: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClientCertificate {
    pub certificate: Reference,
    pub key: Reference,
}
