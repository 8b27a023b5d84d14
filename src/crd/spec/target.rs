//! Targets: address, credentials, TLS.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AuthSpec, ProxySpec};

/// A system under test: address, headers, credentials and TLS.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetSpec {
    /// Address: `http://` or `https://` (`grpc://` and `grpcs://` mean the same), a host, and
    /// optionally a port and a path that is put before every step's path. Templates, credentials, a
    /// query and a fragment are refused. An address that is link-local has its interface as zone:
    /// `http://[fe80::1%25eth0]:8080`.
    #[schemars(
        length(max = 2048),
        extend(
            "pattern" = "^(https?|grpcs?)://[^@?#{}\\s]+$",
            "x-kubernetes-validations" = [
                {
                    "rule": "isURL(self) && url(self).getHostname() != ''",
                    "message": "must be a URL with a host, such as http://categorizer.ml.svc:8000"
                }
            ]
        )
    )]
    pub url: String,
    /// Headers of every request to this target; values are templates. A step's header of the same
    /// name replaces it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "crate::crd::schema::headers")]
    pub headers: BTreeMap<String, String>,
    /// Credentials of every request to this target. If unset, none are sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<AuthSpec>,
    /// TLS settings of an `https://` target: trusted certificates, client certificate, server name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSpec>,
    /// HTTP proxy in front of the target: asked for a tunnel (CONNECT) to an `https://` target, and
    /// for whole URLs of an `http://` one. The proxy resolves the target's name. Excludes
    /// `unixSocket`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<ProxySpec>,
    /// Absolute path of a Unix socket on the worker's machine to connect to instead of the URL's
    /// host, such as that of a sidecar container. Excludes `proxy`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 107))]
    pub unix_socket: Option<String>,
    /// IP addresses by host and port, such as `api.example.com:443: 10.0.0.7`, several with commas
    /// between them: connections to the URL, its proxy or its token endpoint go there instead of to
    /// what name servers say. `Host` and TLS still have the name. A link-local address has its
    /// interface as zone: `fe80::1%eth0`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub resolve: BTreeMap<String, String>,
    /// Readiness of the target, awaited before the start, as for an endpoint that is scaled to
    /// zero. If unset, the target is taken to be ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_when: Option<ReadyWhenSpec>,
}

/// A GET that one worker sends every second, when all workers are ready and before any load, until
/// the answer has one of the statuses. Its requests are in no count; an event says how many there
/// were.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReadyWhenSpec {
    /// Path of the GET, beginning with `/` and appended to the path of the target's URL; no
    /// template. The target's headers and credentials are sent.
    #[schemars(length(max = 2048), extend("pattern" = "^/"))]
    pub http: String,
    /// Status codes that mean ready.
    #[serde(default = "ok")]
    #[schemars(
        length(min = 1, max = 16),
        inner(range(min = 100, max = 599)),
        extend("x-kubernetes-list-type" = "atomic")
    )]
    pub status: Vec<u16>,
    /// Longest wait for the target; then the run ends `Errored`, reason `TargetNotReady`, and its
    /// message holds the last answer.
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
    /// Name and key of the Secret.
    pub secret_key_ref: KeyRef,
}

/// A key of a Secret or of a ConfigMap in the LoadTest's namespace: exactly one of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct FileSource {
    /// Name and key of a Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeyRef>,
    /// Name and key of a ConfigMap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<KeyRef>,
}

/// Name and key of a Secret or ConfigMap.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KeyRef {
    /// Name of the Secret or ConfigMap.
    #[schemars(length(max = 253), extend("pattern" = crate::crd::schema::OBJECT_NAME))]
    pub name: String,
    /// Key within the Secret or ConfigMap.
    #[schemars(length(max = 253), extend("pattern" = crate::crd::schema::OBJECT_KEY))]
    pub key: String,
}

/// TLS settings of a target behind `https://`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TlsSpec {
    /// PEM certificates to trust instead of the system's: those of authorities, and those of targets
    /// themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_from: Option<FileSource>,
    /// PEM certificate chain presented to the target (mutual TLS); needs `keyFrom`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_from: Option<FileSource>,
    /// PEM private key of `certFrom`: RSA of at least 2048 bits, P-256, P-384, P-521 or Ed25519. One
    /// that is encrypted (PKCS#8) needs `passphraseFrom`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_from: Option<SecretSource>,
    /// PKCS#12 file with a certificate chain and its private key, in place of `certFrom` and
    /// `keyFrom`. One that is encrypted needs `passphraseFrom`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pkcs12_from: Option<SecretSource>,
    /// Passphrase of the key in `keyFrom` or of the file in `pkcs12From`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passphrase_from: Option<SecretSource>,
    /// Server name to ask for and to verify, instead of the URL's host.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub server_name: Option<String>,
    /// Accepts any certificate of the target, also one that is expired, for another name, of version 1
    /// or with a weak key. Nothing then proves who answers.
    #[serde(default)]
    pub insecure_skip_verify: bool,
}
