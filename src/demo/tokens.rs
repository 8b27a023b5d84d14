//! Bearer tokens: those that a model accepts, and the endpoint that gives them to clients for a
//! while (OAuth 2.0 client credentials).

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use serde_json::{Value, json};
use url::form_urlencoded;

use super::options::{Client, Options};

/// Bearer tokens that are accepted and issued.
pub(super) struct Tokens {
    /// Token that is accepted beside those that were issued; `None` accepts any.
    accepted: Option<String>,
    client: Option<Client>,
    lifetime: Duration,
    /// Beginning of the tokens of this process; their time of expiry follows, in milliseconds since
    /// the start.
    prefix: String,
}

/// Reason why the token of a request is not accepted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// No bearer token.
    Missing,
    /// A token that was not issued here and is not the accepted one.
    Unknown,
    /// A token that was issued here and has expired.
    Expired,
}

/// Reason why no token is given, as RFC 6749, 5.2, has it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Denied {
    /// Code, such as `invalid_client`.
    pub(super) error: &'static str,
    /// Sentence for people.
    pub(super) description: &'static str,
}

impl Tokens {
    /// Creates tokens as the options ask; those of another process are unknown here.
    pub(super) fn new(options: &Options) -> Tokens {
        Tokens {
            accepted: options.token.as_ref().map(|token| token.0.clone()),
            client: options.client.clone(),
            lifetime: options.token_lifetime,
            prefix: format!("issued-{:016x}-", rand::random::<u64>()),
        }
    }

    /// Tells whether a token is asked for by models whose protocol does not need one.
    pub(super) fn is_asked_for(&self) -> bool {
        self.accepted.is_some()
    }

    /// Checks the token in the headers of a request that came `now` after the start.
    ///
    /// # Errors
    /// Fails with the reason why the token is not accepted.
    pub(super) fn check(&self, headers: &HeaderMap, now: Duration) -> Result<(), Unfit> {
        let token = credentials(headers, "bearer").ok_or(Unfit::Missing)?;
        if let Some(until) = token.strip_prefix(&self.prefix) {
            let until = until.parse().map_err(|_| Unfit::Unknown)?;
            return if now < Duration::from_millis(until) {
                Ok(())
            } else {
                Err(Unfit::Expired)
            };
        }
        match &self.accepted {
            Some(accepted) if accepted != token => Err(Unfit::Unknown),
            _ => Ok(()),
        }
    }

    /// Answers a request for a token that came `now` after the start.
    ///
    /// # Errors
    /// Fails with the reason why no token is given.
    pub(super) fn issue(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        now: Duration,
    ) -> Result<Value, Denied> {
        let form: HashMap<Cow<'_, str>, Cow<'_, str>> = form_urlencoded::parse(body).collect();
        if form.get("grant_type").map(AsRef::as_ref) != Some("client_credentials") {
            return Err(Denied {
                error: "unsupported_grant_type",
                description: "grant_type is not client_credentials",
            });
        }
        let basic = credentials(headers, "basic").and_then(decode_basic);
        let posted = || {
            Some((
                form.get("client_id")?.to_string(),
                form.get("client_secret")?.to_string(),
            ))
        };
        let nobody = Denied {
            error: "invalid_client",
            description: "no client id and secret, in the header or in the form",
        };
        let (id, secret) = basic.or_else(posted).ok_or(nobody)?;
        if self
            .client
            .as_ref()
            .is_some_and(|client| (&client.id, &client.secret) != (&id, &secret))
        {
            return Err(Denied {
                error: "invalid_client",
                description: "Client authentication failed",
            });
        }
        let until = (now + self.lifetime).as_millis();
        let scope = form.get("scope").map_or("all-apis", AsRef::as_ref);
        Ok(json!({
            "access_token": format!("{}{until}", self.prefix),
            "token_type": "Bearer",
            "expires_in": self.lifetime.as_secs(),
            "scope": scope,
        }))
    }
}

/// Returns the credentials in the `Authorization` header, if they have the wanted scheme.
fn credentials<'a>(headers: &'a HeaderMap, wanted: &str) -> Option<&'a str> {
    let (scheme, rest) = headers
        .get(AUTHORIZATION)?
        .to_str()
        .ok()?
        .trim()
        .split_once(' ')?;
    scheme.eq_ignore_ascii_case(wanted).then_some(rest.trim())
}

/// Decodes id and secret, which RFC 6749, 2.3.1, has form-encoded before they are joined.
fn decode_basic(text: &str) -> Option<(String, String)> {
    let pair = String::from_utf8(STANDARD.decode(text).ok()?).ok()?;
    let (id, secret) = pair.split_once(':')?;
    let decode = |part: &str| {
        Some(
            percent_encoding::percent_decode_str(part)
                .decode_utf8()
                .ok()?
                .into_owned(),
        )
    };
    Some((decode(id)?, decode(secret)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const FORM: &[u8] = b"grant_type=client_credentials&client_id=robot&client_secret=a%26b";

    fn headers(authorization: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, authorization.parse().unwrap())])
    }

    fn bearer(token: &str) -> HeaderMap {
        headers(&format!("Bearer {token}"))
    }

    fn strict() -> Tokens {
        Tokens::new(&Options {
            token: "static".parse().ok(),
            client: "robot:a&b".parse().ok(),
            ..Options::default()
        })
    }

    #[test]
    fn a_client_that_is_not_known_gets_no_token() {
        let none = HeaderMap::new();
        for (headers, form, error) in [
            (&none, &b""[..], "unsupported_grant_type"),
            (
                &none,
                b"grant_type=password&client_id=robot&client_secret=a%26b",
                "unsupported_grant_type",
            ),
            (&none, b"grant_type=client_credentials", "invalid_client"),
            (
                &none,
                b"grant_type=client_credentials&client_id=robot&client_secret=a",
                "invalid_client",
            ),
            (
                &headers("Basic cm9ib3Q6YQ=="),
                b"grant_type=client_credentials",
                "invalid_client",
            ),
            (
                &headers("Basic %"),
                b"grant_type=client_credentials",
                "invalid_client",
            ),
        ] {
            assert_eq!(
                strict().issue(headers, form, HOUR).unwrap_err().error,
                error,
                "{headers:?}"
            );
        }
    }

    #[test]
    fn a_token_is_good_until_it_expires_and_only_where_it_was_issued() {
        let tokens = strict();
        let issued = tokens.issue(&HeaderMap::new(), FORM, HOUR).unwrap();
        assert_eq!(
            (&issued["token_type"], &issued["expires_in"]),
            (&json!("Bearer"), &json!(3600))
        );
        let token = bearer(issued["access_token"].as_str().unwrap());
        assert_eq!(
            tokens.check(&token, 2 * HOUR - Duration::from_millis(1)),
            Ok(())
        );
        assert_eq!(tokens.check(&token, 2 * HOUR), Err(Unfit::Expired));
        assert_eq!(strict().check(&token, HOUR), Err(Unfit::Unknown));
    }

    #[test]
    fn a_client_may_name_itself_in_the_header() {
        let header = headers(&format!("basic {}", STANDARD.encode("robot:a%26b")));
        assert!(
            strict()
                .issue(&header, b"grant_type=client_credentials", HOUR)
                .is_ok()
        );
    }

    #[test]
    fn without_a_token_of_its_own_the_service_takes_any_but_none() {
        let tokens = Tokens::new(&Options::default());
        assert_eq!(tokens.check(&bearer("any"), HOUR), Ok(()));
        for nothing in [HeaderMap::new(), headers("Basic YTpi"), headers("any")] {
            assert_eq!(tokens.check(&nothing, HOUR), Err(Unfit::Missing));
        }
        assert_eq!(
            (
                strict().check(&bearer("static"), HOUR),
                strict().check(&bearer("any"), HOUR)
            ),
            (Ok(()), Err(Unfit::Unknown))
        );
    }
}
