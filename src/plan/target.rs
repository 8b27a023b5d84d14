//! Where requests go: address, credentials, TLS.

use serde::{Deserialize, Serialize};
use url::Url;

use super::{Proxy, Reference, Template};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// `http` or `https`, with a host, without user information, query or fragment. Its path is put before every step's path.
    pub url: Url,
    /// Sent with every request; a step's header of the same name replaces it.
    pub headers: Vec<Header>,
    pub auth: Option<Auth>,
    pub tls: Tls,
    pub proxy: Option<Proxy>,
    /// Path of a socket on the worker to connect to instead of the URL's host.
    pub unix_socket: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    pub name: String,
    pub value: Template,
}

/// Credentials sent with every request; their values are read where the load is made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Auth {
    /// `Authorization: Bearer <token>`
    Bearer { token: Reference },
    /// `Authorization: Basic <base64 of username:password>`
    Basic { username: Reference, password: Reference },
    /// A header of any name.
    Header { name: String, value: Reference },
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
