//! Credentials of a target; their values are read, or got, where the load is made.

use serde::{Deserialize, Serialize};
use url::Url;

use super::Reference;

/// Sent with every request to a target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Auth {
    /// `Authorization: Bearer <token>`
    Bearer { token: Reference },
    /// `Authorization: Basic <base64 of username:password>`
    Basic {
        username: Reference,
        password: Reference,
    },
    /// A header of any name.
    Header { name: String, value: Reference },
    /// A bearer token by the client credentials grant.
    #[serde(rename = "oauth2")]
    OAuth2(Box<OAuth2>),
    /// A bearer token of Google's metadata service.
    Google(Google),
    /// A signature of each request.
    AwsSigV4(Box<AwsSigV4>),
}

/// RFC 6749, 4.4.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OAuth2 {
    /// `http` or `https`, with a host.
    pub token_url: Url,
    pub client_id: String,
    pub client_secret: Reference,
    pub scopes: Vec<String>,
    pub audience: Option<String>,
    pub client_authentication: ClientAuthentication,
}

/// How the client shows who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientAuthentication {
    /// `Authorization: Basic`
    Basic,
    /// `client_id` and `client_secret` in the body.
    Body,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Google {
    /// For services that check the caller themselves; without an audience it is for the target's
    /// origin.
    IdToken { audience: Option<String> },
    /// For Google's APIs; without scopes those of the identity.
    AccessToken { scopes: Vec<String> },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AwsSigV4 {
    pub region: String,
    pub service: String,
    pub access_key_id: Reference,
    pub secret_access_key: Reference,
    pub session_token: Option<Reference>,
}

impl Auth {
    /// Every key it needs, in the order of the file.
    pub fn references(&self) -> Vec<&Reference> {
        match self {
            Self::Bearer { token } => vec![token],
            Self::Basic { username, password } => vec![username, password],
            Self::Header { name: _, value } => vec![value],
            Self::OAuth2(oauth2) => vec![&oauth2.client_secret],
            Self::Google(_) => vec![],
            Self::AwsSigV4(keys) => {
                let AwsSigV4 {
                    region: _,
                    service: _,
                    access_key_id,
                    secret_access_key,
                    session_token,
                } = &**keys;
                [access_key_id, secret_access_key]
                    .into_iter()
                    .chain(session_token)
                    .collect()
            }
        }
    }
}
