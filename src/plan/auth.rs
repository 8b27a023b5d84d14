//! Credentials of a target, as references: their values are read, or tokens fetched, where the load
//! is made.

use serde::{Deserialize, Serialize};
use url::Url;

use super::Reference;

/// Credentials sent with every request to a target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Auth {
    /// `Authorization: Bearer <token>`
    Bearer {
        /// The token.
        token: Reference,
    },
    /// `Authorization: Basic <base64 of username:password>`
    Basic {
        /// The user name.
        username: Reference,
        /// The password.
        password: Reference,
    },
    /// A header of any name.
    Header {
        /// Name of the header.
        name: String,
        /// Value of the header.
        value: Reference,
    },
    /// A bearer token from the client credentials grant.
    #[serde(rename = "oauth2")]
    OAuth2(Box<OAuth2>),
    /// A bearer token from Google's metadata service.
    Google(Google),
    /// A signature of each request, AWS Signature Version 4.
    AwsSigV4(Box<AwsSigV4>),
}

/// Client credentials grant of OAuth 2.0 (RFC 6749, section 4.4).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OAuth2 {
    /// Token endpoint: `http` or `https`, with a host.
    pub token_url: Url,
    /// Identifier of the client, sent as `client_id`.
    pub client_id: String,
    /// Secret of the client.
    pub client_secret: Reference,
    /// Scopes asked for, joined by spaces; none are sent if empty.
    pub scopes: Vec<String>,
    /// Parameter `audience` of the token request; not sent if `None`.
    pub audience: Option<String>,
    /// Place of the client's identifier and secret.
    pub client_authentication: ClientAuthentication,
}

/// Place of the client's credentials in a token request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientAuthentication {
    /// `Authorization: Basic`
    Basic,
    /// `client_id` and `client_secret` in the body.
    Body,
}

/// Kind of token asked of Google's metadata service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Google {
    /// Identity token, for services that check the caller themselves; without an audience it is
    /// made out for the target's origin.
    IdToken {
        /// Audience that the token is made out for; `None`: the origin of the target.
        audience: Option<String>,
    },
    /// Access token, for Google's own APIs; without scopes it has those of the identity.
    AccessToken {
        /// Scopes asked for; if empty, those of the identity.
        scopes: Vec<String>,
    },
}

/// Keys and scope of AWS Signature Version 4.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AwsSigV4 {
    /// AWS region, such as `eu-central-1`.
    pub region: String,
    /// Name of the AWS service in the signature's scope, such as `execute-api`.
    pub service: String,
    /// Access key id.
    pub access_key_id: Reference,
    /// Secret access key that signs.
    pub secret_access_key: Reference,
    /// Token of temporary credentials, sent as `x-amz-security-token`.
    pub session_token: Option<Reference>,
}

impl Auth {
    /// Every key that the credentials need, in the order of the file.
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
