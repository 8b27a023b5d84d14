//! The credentials of a target.

use url::Url;

use super::Context;
use super::target::secret_reference;
use crate::crd::spec::*;
use crate::plan::*;

impl Context<'_> {
    /// Checks the credentials of the target at `path`; `None` if they have a mistake.
    pub(super) fn auth(&mut self, path: &str, auth: &AuthSpec) -> Option<Auth> {
        let path = format!("{path}.auth");
        let AuthSpec {
            bearer,
            basic,
            header,
            oauth2,
            google,
            aws_sig_v4,
        } = auth;
        let reference = |source: &SecretSource, field: &str| {
            secret_reference(source, &format!("{path}.{field}"))
        };
        match (bearer, basic, header, oauth2, google, aws_sig_v4) {
            (Some(bearer), None, None, None, None, None) => Some(Auth::Bearer {
                token: reference(&bearer.token_from, "bearer.tokenFrom"),
            }),
            (None, Some(basic), None, None, None, None) => Some(Auth::Basic {
                username: reference(&basic.username_from, "basic.usernameFrom"),
                password: reference(&basic.password_from, "basic.passwordFrom"),
            }),
            (None, None, Some(header), None, None, None) => {
                if http::HeaderName::try_from(header.name.as_str()).is_err() {
                    self.problems.add(
                        format!("{path}.header.name"),
                        format!("{:?} is not a header's name", header.name),
                    );
                }
                Some(Auth::Header {
                    name: header.name.clone(),
                    value: reference(&header.value_from, "header.valueFrom"),
                })
            }
            (None, None, None, Some(oauth2), None, None) => {
                self.oauth2(&format!("{path}.oauth2"), oauth2)
            }
            (None, None, None, None, Some(google), None) => self
                .problems
                .take(&format!("{path}.google"), check_google(google)),
            (None, None, None, None, None, Some(keys)) => {
                Some(Auth::AwsSigV4(Box::new(aws_sig_v4_of(&path, keys))))
            }
            _ => {
                self.problems.add(
                    path,
                    "exactly one of bearer, basic, header, oauth2, google and awsSigV4",
                );
                None
            }
        }
    }

    fn oauth2(&mut self, path: &str, oauth2: &OAuth2Spec) -> Option<Auth> {
        let OAuth2Spec {
            token_url,
            client_id,
            client_secret_from,
            scopes,
            audience,
            client_authentication,
        } = oauth2;
        let token_url = self
            .problems
            .take(&format!("{path}.tokenUrl"), check_token_url(token_url))?;
        if client_id.is_empty() || client_id.contains("{{") {
            self.problems.add(
                format!("{path}.clientId"),
                "must be the client's id as it is, without a template",
            );
        }
        Some(Auth::OAuth2(Box::new(OAuth2 {
            token_url,
            client_id: client_id.clone(),
            client_secret: secret_reference(
                client_secret_from,
                &format!("{path}.clientSecretFrom"),
            ),
            scopes: scopes.clone(),
            audience: audience.clone(),
            client_authentication: match client_authentication {
                ClientAuthenticationSpec::Basic => ClientAuthentication::Basic,
                ClientAuthenticationSpec::Body => ClientAuthentication::Body,
            },
        })))
    }
}

/// `path` is that of the credentials.
fn aws_sig_v4_of(path: &str, spec: &AwsSigV4Spec) -> AwsSigV4 {
    let AwsSigV4Spec {
        region,
        service,
        access_key_id_from,
        secret_access_key_from,
        session_token_from,
    } = spec;
    let reference = |source: &SecretSource, field: &str| {
        secret_reference(source, &format!("{path}.awsSigV4.{field}"))
    };
    AwsSigV4 {
        region: region.clone(),
        service: service.clone(),
        access_key_id: reference(access_key_id_from, "accessKeyIdFrom"),
        secret_access_key: reference(secret_access_key_from, "secretAccessKeyFrom"),
        session_token: session_token_from
            .as_ref()
            .map(|from| reference(from, "sessionTokenFrom")),
    }
}

fn check_google(google: &GoogleSpec) -> Result<Auth, String> {
    let GoogleSpec {
        id_token,
        access_token,
    } = google;
    match (id_token, access_token) {
        (Some(IdTokenSpec { audience }), None) => Ok(Auth::Google(Google::IdToken {
            audience: audience.clone(),
        })),
        (None, Some(AccessTokenSpec { scopes })) => Ok(Auth::Google(Google::AccessToken {
            scopes: scopes.clone(),
        })),
        _ => Err("either idToken or accessToken".into()),
    }
}

fn check_token_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|e| format!("{text:?} is not a URL: {e}"))?;
    match url {
        _ if !["http", "https"].contains(&url.scheme()) => {
            Err(format!("{text:?} does not begin with http:// or https://"))
        }
        _ if url.host_str().is_none_or(str::is_empty) => Err(format!("{text:?} has no host")),
        _ if !url.username().is_empty() || url.password().is_some() => {
            Err("credentials do not belong into the URL".into())
        }
        _ if url.fragment().is_some() => Err("a fragment is never sent".into()),
        _ => Ok(url),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::crd::convert::check;
    use crate::plan::Plan;

    fn checked(auth: Value) -> Result<Plan, Vec<String>> {
        let spec = json!({
            "target": {"url": "https://t", "auth": auth},
            "scenarios": [{"name": "s", "tasks": [{"name": "t", "steps": [{"http": {"path": "/"}}]}]}],
            "load": {"closed": {"users": 1, "duration": "1m"}},
        });
        let checked = check(&serde_json::from_value(spec).unwrap());
        checked
            .map(|checked| checked.plan)
            .map_err(|problems| problems.into_iter().map(|problem| problem.path).collect())
    }

    fn from(key: &str) -> Value {
        json!({"secretKeyRef": {"name": "keys", "key": key}})
    }

    fn oauth2(token_url: &str) -> Value {
        json!({"oauth2": {"tokenUrl": token_url, "clientId": "me", "clientSecretFrom": from("secret"), "scopes": ["all-apis"]}})
    }

    #[test]
    fn a_target_has_one_kind_of_credentials() {
        let mut two = oauth2("https://id/token");
        two["google"] = json!({"accessToken": {}});
        for auth in [json!({}), two] {
            assert_eq!(checked(auth).unwrap_err(), ["spec.target.auth"]);
        }
        let both = json!({"google": {"accessToken": {}, "idToken": {}}});
        assert_eq!(checked(both).unwrap_err(), ["spec.target.auth.google"]);
        for url in [
            "token",
            "ftp://id/token",
            "https://me:secret@id/token",
            "https://id/token#part",
        ] {
            assert_eq!(
                checked(oauth2(url)).unwrap_err(),
                ["spec.target.auth.oauth2.tokenUrl"],
                "{url}"
            );
        }
    }

    #[test]
    fn their_secrets_are_references_with_field_paths() {
        let fields = |auth: Value| {
            let plan = checked(auth).unwrap();
            assert_eq!(
                serde_json::from_str::<Plan>(&serde_json::to_string(&plan).unwrap()).unwrap(),
                plan
            );
            plan.references()
                .iter()
                .map(|reference| reference.field.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            fields(oauth2("https://id/token?tenant=1")),
            ["spec.target.auth.oauth2.clientSecretFrom"]
        );
        assert!(fields(json!({"google": {"idToken": {"audience": "https://a"}}})).is_empty());
        let keys = json!({"region": "eu-west-1", "service": "sagemaker", "accessKeyIdFrom": from("id"), "secretAccessKeyFrom": from("key"),
            "sessionTokenFrom": from("token")});
        assert_eq!(
            fields(json!({"awsSigV4": keys})),
            ["accessKeyIdFrom", "secretAccessKeyFrom", "sessionTokenFrom"]
                .map(|field| format!("spec.target.auth.awsSigV4.{field}"))
        );
    }
}
