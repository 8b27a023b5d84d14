//! Where requests go: address, credentials, TLS.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AuthSpec, ProxySpec};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetSpec {
    /// `http://` or `https://` with a host, optionally a port and a path that is put before every step's path.
    #[schemars(length(max = 2048), extend("pattern" = "^https?://[^@?#{}\\s]+$",
        "x-kubernetes-validations" = [{"rule": "isURL(self) && url(self).getHostname() != ''", "message": "must be a URL with a host, such as http://categorizer.ml.svc:8000"}]))]
    pub url: String,
    /// Headers of every request; values are templates.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub headers: BTreeMap<String, String>,
    /// Credentials of every request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<AuthSpec>,
    /// How a target behind `https://` is trusted, and what it is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSpec>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<ProxySpec>,
    /// Path of a Unix socket on the worker's machine to connect to instead of the URL's host, such
    /// as that of a container beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 107))]
    pub unix_socket: Option<String>,
    /// Waited for before the start, as for an endpoint that is scaled to zero.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_when: Option<ReadyWhenSpec>,
}

/// A GET that one worker sends every second, when all are ready and before any load, until it is
/// answered as it should be. Its requests are in no count; an event tells how many there were. A
/// target that is not ready in time ends the run `Errored`, reason `TargetNotReady`, with the last
/// answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReadyWhenSpec {
    /// The path, put behind that of the target's URL; no template. The target's headers and
    /// credentials are sent.
    #[schemars(length(max = 2048), extend("pattern" = "^/"))]
    pub http: String,
    /// Status codes that mean ready.
    #[serde(default = "ok")]
    #[schemars(length(min = 1, max = 16), inner(range(min = 100, max = 599)), extend("x-kubernetes-list-type" = "atomic"))]
    pub status: Vec<u16>,
    /// So long it may take.
    #[serde(default = "five_minutes")]
    #[schemars(schema_with = "crate::crd::schema::duration")]
    pub timeout: String,
}

fn ok() -> Vec<u16> {
    vec![200]
}

fn five_minutes() -> String {
    "5m".into()
}

/// A key of a Secret in the LoadTest's namespace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretSource {
    /// A key of a Secret.
    pub secret_key_ref: KeyRef,
}

/// A key of a Secret or of a ConfigMap in the LoadTest's namespace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct FileSource {
    /// A key of a Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeyRef>,
    /// A key of a ConfigMap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<KeyRef>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KeyRef {
    /// Name of the Secret or ConfigMap.
    #[schemars(length(max = 253), extend("pattern" = crate::crd::schema::OBJECT_NAME))]
    pub name: String,
    /// The key in it.
    #[schemars(length(max = 253), extend("pattern" = crate::crd::schema::OBJECT_KEY))]
    pub key: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TlsSpec {
    /// PEM certificates to trust instead of the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_from: Option<FileSource>,
    /// PEM certificate chain shown to the target; needs `keyFrom`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_from: Option<FileSource>,
    /// PEM key of `certFrom`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_from: Option<SecretSource>,
    /// The name to ask for and to check, instead of the URL's host.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub server_name: Option<String>,
    /// Accept any certificate.
    #[serde(default)]
    pub insecure_skip_verify: bool,
}
