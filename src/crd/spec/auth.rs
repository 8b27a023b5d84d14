//! Credentials of a target.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SecretSource;

/// Exactly one of `bearer`, `basic`, `header`, `oauth2`, `google` and `awsSigV4`. A step that sets
/// the header by itself is not given it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct AuthSpec {
    /// `Authorization: Bearer <token>`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bearer: Option<BearerSpec>,
    /// `Authorization: Basic <username and password>`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basic: Option<BasicSpec>,
    /// A header of any name, such as `X-Api-Key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<HeaderAuthSpec>,
    /// A bearer token by OAuth 2.0 client credentials. It is got before the load and renewed
    /// before it expires, beside the load: neither is counted, nor in a latency. While there
    /// is none that is valid, requests fail with class `auth` and are not sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oauth2: Option<OAuth2Spec>,
    /// A bearer token of Google's metadata service, for the identity that the worker's Pod or
    /// machine has (Workload Identity); renewed as that of `oauth2` is. Steps never reach that
    /// service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub google: Option<GoogleSpec>,
    /// Signs each request with AWS Signature Version 4.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aws_sig_v4: Option<AwsSigV4Spec>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BearerSpec {
    /// Where the token is.
    pub token_from: SecretSource,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BasicSpec {
    /// Where the user name is.
    pub username_from: SecretSource,
    /// Where the password is.
    pub password_from: SecretSource,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeaderAuthSpec {
    /// The header's name.
    #[schemars(extend("pattern" = crate::crd::schema::HEADER_NAME))]
    pub name: String,
    /// Where the header's value is.
    pub value_from: SecretSource,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OAuth2Spec {
    /// Where tokens are given out, such as `https://adb-1.azuredatabricks.net/oidc/v1/token`. `target.tls.caFrom` is trusted there too.
    #[schemars(length(max = 2048), extend("pattern" = "^https?://[^@#{}\\s]+$"))]
    pub token_url: String,
    /// Who asks.
    #[schemars(length(min = 1, max = 512))]
    pub client_id: String,
    /// Where the client's secret is.
    pub client_secret_from: SecretSource,
    /// What the token is for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub scopes: Vec<String>,
    /// Sent as `audience`, which some servers want.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// How the client shows who it is. `Basic`: by the header `Authorization`. `Body`: by
    /// `client_id` and `client_secret` in the form.
    #[serde(default)]
    pub client_authentication: ClientAuthenticationSpec,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ClientAuthenticationSpec {
    #[default]
    Basic,
    Body,
}

/// Either `idToken` or `accessToken`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct GoogleSpec {
    /// A token that says who calls, as Cloud Run and services behind Identity-Aware Proxy want it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id_token: Option<IdTokenSpec>,
    /// A token for Google's APIs, such as Vertex AI.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_token: Option<AccessTokenSpec>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IdTokenSpec {
    /// Whom the token is for; the origin of the target's URL if unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub audience: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccessTokenSpec {
    /// What the token is for; those of the identity if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub scopes: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AwsSigV4Spec {
    /// Such as `eu-west-1`.
    #[schemars(length(min = 1, max = 64), extend("pattern" = "^[-a-z0-9]+$"))]
    pub region: String,
    /// Such as `sagemaker`, `bedrock` or `execute-api`.
    #[schemars(length(min = 1, max = 64), extend("pattern" = "^[-a-z0-9]+$"))]
    pub service: String,
    /// Where the id of the access key is.
    pub access_key_id_from: SecretSource,
    /// Where the secret access key is. It is never sent.
    pub secret_access_key_from: SecretSource,
    /// Where the token of temporary keys is. They are not renewed: they must outlive the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_token_from: Option<SecretSource>,
}
