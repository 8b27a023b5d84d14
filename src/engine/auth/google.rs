//! Tokens of Google's metadata service, which knows who this Pod or machine is (Workload Identity).
//! The only call to it there is.

use url::Url;

use crate::engine::auth::fetch::{AnswerForm, Fetcher};
use crate::engine::net::tls;
use crate::engine::world::METADATA_HOST;
use crate::plan::{Google, Problem, Target};

/// Where the service is, unless the environment says otherwise, as it does to Google's own
/// libraries.
const METADATA_ADDRESS: &str = "169.254.169.254";

/// Both ways: who asks cannot have been sent by a page, and who answers is no other service.
const FLAVOR: (&str, &str) = ("Metadata-Flavor", "Google");

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
        names: None,
        secrets: vec![],
    })
}
