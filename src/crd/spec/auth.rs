//! The credentials of a target.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SecretSource;

/// Credentials of a target: exactly one of `bearer`, `basic`, `header`, `oauth2`, `google` and
/// `awsSigV4`. A step that sets the same header itself keeps its own value.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct AuthSpec {
    /// Fixed token: `Authorization: Bearer <token>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bearer: Option<BearerSpec>,
    /// User name and password: `Authorization: Basic <username:password in base64>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basic: Option<BasicSpec>,
    /// Fixed value of a header of any name, such as `X-Api-Key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<HeaderAuthSpec>,
    /// Bearer token by OAuth 2.0 client credentials. Workers get it before the load and renew it
    /// before it expires, beside the load: token requests are in no count and no latency. While
    /// there is no valid token, requests fail with class `auth` and are not sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oauth2: Option<OAuth2Spec>,
    /// Bearer token of Google's metadata service, for the identity of the worker's Pod or machine
    /// (Workload Identity); renewed like that of `oauth2`. Steps themselves cannot reach the
    /// metadata service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub google: Option<GoogleSpec>,
    /// AWS Signature Version 4 on each request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aws_sig_v4: Option<AwsSigV4Spec>,
}

/// Bearer token of a Secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BearerSpec {
    /// Secret key that holds the token.
    pub token_from: SecretSource,
}

/// User name and password of a Secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BasicSpec {
    /// Secret key that holds the user name.
    pub username_from: SecretSource,
    /// Secret key that holds the password.
    pub password_from: SecretSource,
}

/// Header whose value is a credential.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeaderAuthSpec {
    /// Name of the header.
    #[schemars(extend("pattern" = crate::crd::schema::HEADER_NAME))]
    pub name: String,
    /// Secret key that holds the header's value.
    pub value_from: SecretSource,
}

/// OAuth 2.0 client credentials grant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OAuth2Spec {
    /// URL of the token endpoint, such as `https://adb-1.azuredatabricks.net/oidc/v1/token`. The
    /// certificates of `target.tls.caFrom` are trusted there, too.
    #[schemars(length(max = 2048), extend("pattern" = "^https?://[^@#{}\\s]+$"))]
    pub token_url: String,
    /// Client id, as it is; no template.
    #[schemars(length(min = 1, max = 512))]
    pub client_id: String,
    /// Secret key that holds the client's secret.
    pub client_secret_from: SecretSource,
    /// Scopes of the token to ask for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub scopes: Vec<String>,
    /// Parameter `audience` of the token request, which some servers require. If unset, it is not
    /// sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// Place of the client's id and secret in the token request.
    #[serde(default)]
    pub client_authentication: ClientAuthenticationSpec,
}

/// Place of a client's id and secret in an OAuth 2.0 token request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ClientAuthenticationSpec {
    /// Header `Authorization`.
    #[default]
    Basic,
    /// Form fields `client_id` and `client_secret`.
    Body,
}

/// Token of Google's metadata service: either `idToken` or `accessToken`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct GoogleSpec {
    /// Identity token, as Cloud Run and services behind Identity-Aware Proxy ask for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id_token: Option<IdTokenSpec>,
    /// Access token for Google's APIs, such as Vertex AI.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_token: Option<AccessTokenSpec>,
}

/// Identity token of Google's metadata service.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IdTokenSpec {
    /// Audience of the token. If unset, the origin of the target's URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub audience: Option<String>,
}

/// Access token of Google's metadata service.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccessTokenSpec {
    /// Scopes of the token. If empty, those of the identity.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub scopes: Vec<String>,
}

/// Keys and scope of AWS Signature Version 4.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AwsSigV4Spec {
    /// Region in the scope of the signature, such as `eu-west-1`.
    #[schemars(length(min = 1, max = 64), extend("pattern" = "^[-a-z0-9]+$"))]
    pub region: String,
    /// Service in the scope of the signature, such as `sagemaker`, `bedrock` or `execute-api`.
    #[schemars(length(min = 1, max = 64), extend("pattern" = "^[-a-z0-9]+$"))]
    pub service: String,
    /// Secret key that holds the id of the access key.
    pub access_key_id_from: SecretSource,
    /// Secret key that holds the secret access key, which is never sent.
    pub secret_access_key_from: SecretSource,
    /// Secret key that holds the session token of temporary keys. Temporary keys are not renewed
    /// and must outlive the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_token_from: Option<SecretSource>,
}
