//! OAuth 2.0 client credentials (RFC 6749, 4.4): a name and a secret for a token.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::engine::auth::fetch::{AnswerForm, Fetcher};
use crate::engine::inputs::text;
use crate::engine::net::resolve::{Addresses, Reach};
use crate::engine::net::tls;
use crate::plan::{ClientAuthentication, Inputs, OAuth2, Problem, Target};

/// Builds the client-credentials request. Fails with the field of the plan that cannot be used.
pub(super) fn fetcher(
    oauth2: &OAuth2,
    target: &Target,
    inputs: &Inputs,
    reach: Reach<'_>,
) -> Result<Fetcher, Problem> {
    let OAuth2 {
        token_url,
        client_id,
        client_secret,
        scopes,
        audience,
        client_authentication,
    } = oauth2;
    let secret = text(client_secret, inputs)?;
    let mut form = vec![("grant_type", "client_credentials".to_owned())];
    if !scopes.is_empty() {
        form.push(("scope", scopes.join(" ")));
    }
    form.extend(
        audience
            .iter()
            .map(|audience| ("audience", audience.clone())),
    );
    let basic = match client_authentication {
        // RFC 6749, 2.3.1: both are encoded as in a form
        ClientAuthentication::Basic => Some((encoded(client_id), encoded(secret))),
        ClientAuthentication::Body => {
            form.extend([
                ("client_id", client_id.clone()),
                ("client_secret", secret.to_owned()),
            ]);
            None
        }
    };
    let addresses = Addresses::of(token_url, target.resolved(token_url), reach)
        .map_err(|why| Problem::new(format!("{}.auth.oauth2.tokenUrl", target.field()), why))?;
    Ok(Fetcher {
        url: token_url.clone(),
        form: Some(form),
        basic,
        headers: vec![("Accept", "application/json")],
        proof: None,
        answer: AnswerForm::Json,
        tls: if token_url.scheme() == "https" {
            tls::beside(target, inputs)?
        } else {
            tls::trusting_nobody()
        },
        addresses,
        secrets: vec![secret.to_owned()],
    })
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}
