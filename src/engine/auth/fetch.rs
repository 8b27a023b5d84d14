//! Fetches one token from a token endpoint and reads it out of the answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use url::Url;

use crate::engine::net::resolve::{Addresses, Unresolved};
use crate::engine::record::redactor::Redactor;

/// Longest time that one call to the token endpoint may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Largest answer accepted from the token endpoint, in bytes; a longer one is an error.
const MAX_ANSWER: usize = 64 * 1024;
/// Most characters of a refusal's text that an error message quotes.
const MAX_SHOWN: usize = 200;

/// Request for a token: the endpoint, what to send to it, and how to read its answer.
pub(super) struct Fetcher {
    /// Address of the token endpoint.
    pub(super) url: Url,
    /// Fields of the form to send by POST; `None` sends a GET.
    pub(super) form: Option<Vec<(&'static str, String)>>,
    /// Name and password for HTTP basic authentication.
    pub(super) basic: Option<(String, String)>,
    /// Further headers of the request.
    pub(super) headers: Vec<(&'static str, &'static str)>,
    /// Header and value that a genuine answer carries; an answer without it is refused.
    pub(super) proof: Option<(&'static str, &'static str)>,
    /// Form in which the answer holds the token.
    pub(super) answer: AnswerForm,
    /// TLS settings for the call.
    pub(super) tls: rustls::ClientConfig,
    /// Addresses of the endpoint's host; `None` for the metadata service, whose address is used as
    /// it is.
    pub(super) addresses: Option<Arc<Addresses>>,
    /// Secrets that no error message may show.
    pub(super) secrets: Vec<String>,
}

/// Form in which an answer holds its token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AnswerForm {
    /// JSON object with `access_token` and `expires_in` (RFC 6749, section 5.1).
    Json,
    /// JSON Web Token as the whole body; its claims say when it expires.
    Jwt,
}

/// Token that an endpoint gave out, and its lifetime.
#[derive(PartialEq, Eq)]
pub(super) struct Fetched {
    /// Text of the token, fit for a header.
    pub(super) token: String,
    /// Lifetime counted from `asked`; `None` if the endpoint does not say.
    pub(super) lifetime: Option<Duration>,
    /// Time just before the request was sent.
    pub(super) asked: Instant,
}

impl Fetcher {
    /// Asks for a token once. Errors name the endpoint, and secrets are redacted from them.
    pub(super) async fn fetch(&self) -> Result<Fetched, String> {
        let whom = self.url.origin().ascii_serialization();
        let outcome = self.ask().await.map_err(|why| self.redacted(&why));
        outcome.map_err(|why| format!("{whom}: {why}"))
    }

    async fn ask(&self) -> Result<Fetched, String> {
        let asked = Instant::now();
        let client = self.client().await?;
        let method = if self.form.is_some() {
            Method::POST
        } else {
            Method::GET
        };
        let mut request = client.request(method, self.url.clone());
        for (name, value) in &self.headers {
            request = request.header(*name, *value);
        }
        if let Some((name, password)) = &self.basic {
            request = request.basic_auth(name, Some(password));
        }
        if let Some(form) = &self.form {
            let body = url::form_urlencoded::Serializer::new(String::new())
                .extend_pairs(form)
                .finish();
            request = request
                .header("Content-Type", "application/x-www-form-urlencoded")
                .body(body);
        }
        let mut response = request.send().await.map_err(|e| chain(&e.without_url()))?;
        let status = response.status();
        if let Some((name, value)) = self.proof.filter(|(name, value)| {
            response
                .headers()
                .get(*name)
                .is_none_or(|found| found != value)
        }) {
            return Err(format!(
                "whoever answers there is not the metadata service: {name}: {value} is missing"
            ));
        }
        let mut body = Vec::new();
        while let Some(piece) = response
            .chunk()
            .await
            .map_err(|e| chain(&e.without_url()))?
        {
            body.extend_from_slice(&piece);
            if body.len() > MAX_ANSWER {
                return Err(format!("its answer is longer than {MAX_ANSWER} bytes"));
            }
        }
        read(self.answer, status, &body, asked)
    }

    /// Returns why the endpoint may not be reached; `None` if it may, or its name does not resolve.
    pub(super) async fn refusal(&self) -> Option<String> {
        match self.addresses.as_ref()?.get().await {
            Err(Unresolved::NotAllowed(why)) => Some(why),
            Ok(_) | Err(Unresolved::Dns(_) | Unresolved::Unanswered(_)) => None,
        }
    }

    /// Builds a client for one call. Each call asks for the addresses again, since they may have
    /// changed.
    async fn client(&self) -> Result<reqwest::Client, String> {
        let mut builder = reqwest::Client::builder()
            .use_preconfigured_tls(self.tls.clone())
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(TIMEOUT);
        if let (Some(addresses), Some(host)) = (&self.addresses, self.url.host()) {
            // our own look-up refuses what is never to be reached
            let addresses = addresses.get().await.map_err(|why| why.to_string())?;
            builder = builder.resolve_to_addrs(&host.to_string(), &addresses);
        }
        builder.build().map_err(|e| chain(&e))
    }

    fn redacted(&self, text: &str) -> String {
        Redactor::default().with(&self.secrets).message(text)
    }
}

/// Formats an error with all its sources, since reqwest gives the reason only there.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Refused {
    error: String,
    error_description: Option<String>,
}

#[derive(Deserialize)]
struct Claims {
    exp: u64,
    iat: Option<u64>,
}

fn read(
    form: AnswerForm,
    status: StatusCode,
    body: &[u8],
    asked: Instant,
) -> Result<Fetched, String> {
    if status != StatusCode::OK {
        return Err(refusal(status, body));
    }
    let (token, lifetime) = match form {
        AnswerForm::Json => {
            let Granted {
                access_token,
                expires_in,
            } = serde_json::from_slice(body)
                .map_err(|e| format!("its answer is not one with an access_token: {e}"))?;
            // some write the number as text
            let seconds = expires_in
                .and_then(|value| value.as_u64().or_else(|| value.as_str()?.parse().ok()));
            (access_token, seconds.map(Duration::from_secs))
        }
        AnswerForm::Jwt => {
            let token = std::str::from_utf8(body)
                .unwrap_or_default()
                .trim()
                .to_owned();
            let claims = claims(&token).ok_or("its answer is not a JWT")?;
            let now = crate::engine::auth::unix_seconds(std::time::SystemTime::now());
            // by the giver's clock where it tells it
            (
                token,
                Some(Duration::from_secs(
                    claims.exp.saturating_sub(claims.iat.unwrap_or(now)),
                )),
            )
        }
    };
    let fits_a_header = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    if !fits_a_header {
        return Err("its token is empty or holds what a header cannot".into());
    }
    if lifetime == Some(Duration::ZERO) {
        return Err("its token has expired already".into());
    }
    Ok(Fetched {
        token,
        lifetime,
        asked,
    })
}

fn claims(token: &str) -> Option<Claims> {
    let payload = token.split('.').nth(1)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

fn refusal(status: StatusCode, body: &[u8]) -> String {
    let said = match serde_json::from_slice::<Refused>(body) {
        Ok(Refused {
            error,
            error_description: Some(description),
        }) => format!("{error}: {description}"),
        Ok(Refused {
            error,
            error_description: None,
        }) => error,
        Err(_) => String::from_utf8_lossy(body)
            .lines()
            .find(|line| !line.trim().is_empty())
            .unwrap_or_default()
            .trim()
            .to_owned(),
    };
    let said: String = said.chars().take(MAX_SHOWN).collect();
    if said.is_empty() {
        format!("it answered {status}")
    } else {
        format!("it answered {status}: {said}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(status: u16, body: &str) -> Result<(String, Option<u64>), String> {
        told(AnswerForm::Json, status, body)
    }

    fn told(form: AnswerForm, status: u16, body: &str) -> Result<(String, Option<u64>), String> {
        let read = read(
            form,
            StatusCode::from_u16(status).unwrap(),
            body.as_bytes(),
            Instant::now(),
        );
        read.map(|fetched| {
            (
                fetched.token,
                fetched.lifetime.map(|lifetime| lifetime.as_secs()),
            )
        })
    }

    #[test]
    fn a_refusal_says_why() {
        assert_eq!(
            json(
                401,
                r#"{"error": "invalid_client", "error_description": "no such client"}"#
            )
            .unwrap_err(),
            "it answered 401 Unauthorized: invalid_client: no such client"
        );
        assert_eq!(
            json(502, "\n<html>bad gateway\n</html>").unwrap_err(),
            "it answered 502 Bad Gateway: <html>bad gateway"
        );
        assert!(json(200, "<html>").unwrap_err().contains("access_token"));
        for token in ["", "a b", "a\\nb"] {
            assert!(
                json(200, &format!(r#"{{"access_token": "{token}"}}"#)).is_err(),
                "{token:?}"
            );
        }
        assert!(
            json(200, r#"{"access_token": "t", "expires_in": 0}"#)
                .unwrap_err()
                .contains("expired")
        );
    }

    #[test]
    fn a_tokens_life_is_a_number_however_it_is_written() {
        assert_eq!(
            json(200, r#"{"access_token": "t", "expires_in": 60}"#).unwrap(),
            ("t".into(), Some(60))
        );
        assert_eq!(
            json(200, r#"{"access_token": "t", "expires_in": "60"}"#).unwrap(),
            ("t".into(), Some(60))
        );
        assert_eq!(
            json(200, r#"{"access_token": "t"}"#).unwrap(),
            ("t".into(), None)
        );
    }

    #[test]
    fn a_jwt_says_itself_how_long_it_lives() {
        let jwt = format!(
            "x.{}.y",
            URL_SAFE_NO_PAD.encode(r#"{"iat": 100, "exp": 3700}"#)
        );
        assert_eq!(told(AnswerForm::Jwt, 200, &jwt).unwrap(), (jwt, Some(3600)));
        assert!(told(AnswerForm::Jwt, 200, "no jwt").is_err());
    }
}
