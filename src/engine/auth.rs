//! Credentials for a target's requests: a fixed header, a token that is renewed, or a signature of
//! each request.

mod fetch;
mod google;
mod oauth2;
mod sigv4;
mod token;

use std::sync::Arc;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

pub(crate) use token::{Renewal, Token};

use crate::engine::inputs::text;
use crate::engine::message;
use crate::engine::message::is_token;
use crate::engine::net::resolve::Reach;
use crate::engine::world::World;
use crate::plan::{AddressRules, Auth, Inputs, Problem, Target};
use fetch::Fetcher;
use sigv4::Signer;

/// Credentials of one target.
pub(crate) enum Credentials {
    /// Header `name` with the same `value` for the whole run. The value appears in no message.
    Fixed { name: String, value: Vec<u8> },
    /// Credentials that change during the load.
    Refreshed(RefreshedCredentials),
}

/// Credentials that change during the load: with each request, or when a token is renewed.
pub(crate) enum RefreshedCredentials {
    /// Bearer token that is renewed.
    Token(Arc<Token>),
    /// Signature over each request.
    Signature(Box<Signer>),
}

/// Reason why there are no credentials for a request.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NoCredentials(pub(crate) String);

impl Credentials {
    /// Prepares the credentials of `target`; `None` if it has none. A token is fetched only by
    /// [`Token::begin`].
    pub(crate) fn new(
        target: &Target,
        inputs: &Inputs,
        world: &World,
        rules: &AddressRules,
    ) -> Result<Option<Self>, Problem> {
        let fixed = |name: &str, value: String| {
            Ok(Some(Self::Fixed {
                name: name.to_owned(),
                value: value.into_bytes(),
            }))
        };
        let renewed = |fetcher: Fetcher| {
            Ok(Some(Self::Refreshed(RefreshedCredentials::Token(
                Arc::new(Token::new(fetcher)),
            ))))
        };
        match &target.auth {
            None => Ok(None),
            Some(Auth::Bearer { token }) => {
                fixed("Authorization", format!("Bearer {}", text(token, inputs)?))
            }
            Some(Auth::Basic { username, password }) => {
                let pair = format!("{}:{}", text(username, inputs)?, text(password, inputs)?);
                fixed("Authorization", format!("Basic {}", STANDARD.encode(pair)))
            }
            Some(Auth::Header { name, .. }) if !is_token(name) => Err(Problem::new(
                format!("{}.auth.header.name", target.field()),
                "this is not the name of a header",
            )),
            Some(Auth::Header { name, value }) => fixed(name, text(value, inputs)?.to_owned()),
            Some(Auth::OAuth2(oauth2)) => {
                let names = &world.names;
                let reach = Reach { names, rules };
                renewed(oauth2::fetcher(oauth2, target, inputs, reach)?)
            }
            Some(Auth::Google(google)) => renewed(google::fetcher(
                google,
                target,
                world.metadata_host.as_deref(),
            )?),
            Some(Auth::AwsSigV4(keys)) => Ok(Some(Self::Refreshed(
                RefreshedCredentials::Signature(Box::new(Signer::new(keys, inputs)?)),
            ))),
        }
    }

    /// Returns the name of the header that holds the credentials, or most of them.
    pub(crate) fn header_name(&self) -> &str {
        match self {
            Self::Fixed { name, .. } => name,
            Self::Refreshed(_) => "Authorization",
        }
    }

    /// Returns whether `name` is the header that holds the credentials, in any case.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        self.header_name().eq_ignore_ascii_case(name)
    }

    /// Returns the credentials if they change during the load.
    pub(crate) fn refreshed(&self) -> Option<&RefreshedCredentials> {
        match self {
            Self::Fixed { .. } => None,
            Self::Refreshed(credentials) => Some(credentials),
        }
    }
}

impl RefreshedCredentials {
    /// Returns the token if the credentials are one.
    pub(crate) fn token(&self) -> Option<&Arc<Token>> {
        match self {
            Self::Token(token) => Some(token),
            Self::Signature(_) => None,
        }
    }

    /// Returns a number that changes whenever the credentials of a message would.
    pub(crate) fn version(&self) -> u64 {
        match self {
            Self::Token(token) => token.version(),
            Self::Signature(_) => unix_seconds(SystemTime::now()),
        }
    }

    /// Writes `message` with the current credentials to `out`. Fails if there is no valid token.
    pub(crate) fn add_to(&self, message: &[u8], out: &mut Vec<u8>) -> Result<(), NoCredentials> {
        match self {
            Self::Token(token) => {
                let value = token.header().map_err(NoCredentials)?;
                message::with_header(message, "Authorization", value.as_bytes(), out);
            }
            Self::Signature(signer) => signer.sign(message, unix_seconds(SystemTime::now()), out),
        }
        Ok(())
    }
}

fn unix_seconds(now: SystemTime) -> u64 {
    now.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Kind, Reference, Tls};

    #[test]
    fn credentials_are_never_shown() {
        let reference = |key: &str| Reference {
            kind: Kind::Secret,
            name: "s".into(),
            key: key.into(),
            field: "spec.target.auth".into(),
        };
        let mut inputs = Inputs::default();
        inputs.insert(Kind::Secret, "s", "bad", b"canary\r\nX: y".to_vec());
        inputs.insert(Kind::Secret, "s", "good", b"canary\n".to_vec());
        let url = url::Url::parse("http://t").unwrap();
        let credentials = |auth: Auth| {
            let target = Target {
                name: None,
                url: url.clone(),
                headers: vec![],
                auth: Some(auth),
                tls: Tls::default(),
                proxy: None,
                unix_socket: None,
                ready_when: None,
                resolve: Default::default(),
            };
            Credentials::new(
                &target,
                &inputs,
                &World::of_process(),
                &AddressRules::default(),
            )
        };
        let problem = credentials(Auth::Bearer {
            token: reference("bad"),
        })
        .err()
        .unwrap();
        assert!(!problem.to_string().contains("canary"));
        let basic = credentials(Auth::Basic {
            username: reference("good"),
            password: reference("good"),
        });
        let Ok(Some(Credentials::Fixed { value, .. })) = basic else {
            panic!("it stays the same")
        };
        assert_eq!(value, b"Basic Y2FuYXJ5OmNhbmFyeQ==");
    }
}
