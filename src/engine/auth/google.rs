//! Tokens of Google's metadata service, which knows the identity of this Pod or machine (Workload
//! Identity).
//!
//! No other module calls that service.

use url::Url;

use crate::engine::auth::fetch::{AnswerForm, Fetcher};
use crate::engine::net::tls;
use crate::engine::world::METADATA_HOST;
use crate::plan::{Google, Problem, Target};

/// Address of the metadata service, unless the environment names another host as it does for
/// Google's own libraries.
const METADATA_ADDRESS: &str = "169.254.169.254";

/// Header that both sides send: the request proves that no web page caused it, and the answer
/// proves that the metadata service gave it.
const FLAVOR: (&str, &str) = ("Metadata-Flavor", "Google");

/// Builds the request for an identity or access token from the metadata service. Fails if
/// `metadata_host` does not make a valid URL.
pub(super) fn fetcher(
    google: &Google,
    target: &Target,
    metadata_host: Option<&str>,
) -> Result<Fetcher, Problem> {
    let host = metadata_host.unwrap_or(METADATA_ADDRESS);
    let account = format!("http://{host}/computeMetadata/v1/instance/service-accounts/default");
    let (leaf, query, answer) = match google {
        Google::IdToken { audience } => {
            let audience = audience
                .clone()
                .unwrap_or_else(|| target.url.origin().ascii_serialization());
            (
                "identity",
                vec![("audience", audience), ("format", "full".into())],
                AnswerForm::Jwt,
            )
        }
        Google::AccessToken { scopes } if scopes.is_empty() => ("token", vec![], AnswerForm::Json),
        Google::AccessToken { scopes } => (
            "token",
            vec![("scopes", scopes.join(","))],
            AnswerForm::Json,
        ),
    };
    let wrong = |e: url::ParseError| {
        Problem::new(
            format!("{}.auth.google", target.field()),
            format!("{METADATA_HOST} {host:?}: {e}"),
        )
    };
    let mut url = Url::parse(&format!("{account}/{leaf}")).map_err(wrong)?;
    for (name, value) in query {
        url.query_pairs_mut().append_pair(name, &value);
    }
    Ok(Fetcher {
        url,
        form: None,
        basic: None,
        headers: vec![FLAVOR],
        proof: Some(FLAVOR),
        answer,
        // unused: the service speaks no TLS
        tls: tls::trusting_nobody(),
        addresses: None,
        secrets: vec![],
    })
}
