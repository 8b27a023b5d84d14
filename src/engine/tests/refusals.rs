//! What is said of answers that refuse: the reason by name, in the target's words, without a
//! secret.

use crate::engine::tests::server::{Peer, scripted};
use crate::engine::tests::*;
use crate::plan::{Auth, Kind, Reference};

/// One sample of a run against a target that answers so, with a token that is a secret.
async fn sample(status: &str, body: String) -> String {
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let url = scripted(move |mut peer: Peer| {
        let answer = answer.clone();
        async move {
            while peer.request().await {
                peer.send(&answer).await;
            }
        }
    });
    let mut plan = plan(&url.await, users(1, 40));
    let token = Reference {
        kind: Kind::Secret,
        name: "s".into(),
        key: "token".into(),
        field: "spec.target.auth".into(),
    };
    plan.target.auth = Some(Auth::Bearer { token });
    let mut inputs = Inputs::default();
    inputs.insert(Kind::Secret, "s", "token", b"canary-token\n".to_vec());
    let prepared = Arc::new(prepare(Arc::new(plan), &inputs).await.unwrap());
    let snapshot = sum(&deltas(&mut prepared.start(whole(1), Instant::now())).await);
    assert!(snapshot.failures() > 0 && snapshot.failures() == snapshot.requests());
    let (_, entry) = snapshot.errors.iter().next().unwrap();
    entry.message.clone()
}

#[tokio::test]
async fn a_refusal_is_named_and_told_in_the_targets_words() {
    let body = r#"{"error_code": "403", "message": "Source IP address: 127.0.0.1 is blocked by Databricks IP ACL"}"#;
    assert_eq!(
        sample("403 Forbidden", body.into()).await,
        "403 Forbidden: an IP access list of the target refuses this address: Source IP address: 127.0.0.1 is blocked by Databricks IP ACL"
    );
    assert_eq!(
        sample("500 Oops", "went wrong\nat line 3".into()).await,
        "500 Internal Server Error: went wrong"
    );
}

#[tokio::test]
async fn a_target_that_repeats_the_token_does_not_make_us_show_it() {
    let sample = sample("401 Unauthorized", "Invalid token canary-token".into()).await;
    assert_eq!(
        sample,
        "401 Unauthorized: the token is not valid: Invalid token ***"
    );
}

#[tokio::test]
async fn of_a_long_refusal_only_the_begin_is_kept() {
    let sample = sample("404 Not Found", format!("{}\n", "x".repeat(300_000))).await;
    assert_eq!(sample, format!("404 Not Found: {}", "x".repeat(160)));
}
