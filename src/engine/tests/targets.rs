//! A flow over several targets: each request goes where its step says, with what belongs to that
//! target and nothing else.

use serde_json::{Value, json};

use crate::crd::{LoadTestSpec, check};
use crate::engine::tests::language::Target;
use crate::engine::tests::*;
use crate::plan::Kind;

/// One user who does `steps` once; `wine` has credentials and headers of its own.
async fn once(main: &Target, wine: &Target, steps: Value) -> Snapshot {
    let from = |key: &str| json!({"secretKeyRef": {"name": "tokens", "key": key}});
    let spec = json!({
        "target": {"url": main.url, "headers": {"X-Key": "main"}, "auth": {"bearer": {"tokenFrom": from("main")}}},
        "targets": {"wine": {
            "url": format!("{}/base", wine.url), "headers": {"X-Wine": "{{ colour }}"}, "auth": {"bearer": {"tokenFrom": from("wine")}},
        }},
        "variables": {"colour": "red"},
        "scenarios": [{"name": "s", "thinkTime": {"min": "10s", "max": "10s"}, "tasks": [{"name": "t", "steps": steps}]}],
        "load": {"closed": {"users": 1, "duration": "700ms"}},
    });
    let spec: LoadTestSpec = serde_json::from_value(spec).unwrap();
    let mut inputs = Inputs::default();
    for name in ["main", "wine"] {
        inputs.insert(Kind::Secret, "tokens", name, format!("{name}-token").into());
    }
    let prepared = Arc::new(
        prepare(Arc::new(check(&spec).unwrap().plan), &inputs)
            .await
            .unwrap(),
    );
    let snapshot = sum(&deltas(&mut prepared.start(whole(1), Instant::now())).await);
    let received = main.lines().len() + wine.lines().len();
    assert_eq!(
        snapshot.received_by_target(),
        received as u64,
        "what was sent is what is counted"
    );
    snapshot
}

fn at_wine(path: &str) -> Value {
    json!({"name": format!("wine {path}"), "target": "wine", "http": {"path": path, "followRedirects": 3}})
}

fn at_main(path: &str) -> Value {
    json!({"http": {"path": path, "followRedirects": 3}})
}

/// What credentials and headers the last request had: of the main target, of the other.
fn shown(target: &Target) -> [Option<String>; 3] {
    ["authorization", "x-key", "x-wine"].map(|name| {
        target
            .last()
            .headers
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
    })
}

fn of_main() -> [Option<String>; 3] {
    [Some("Bearer main-token".into()), Some("main".into()), None]
}

fn of_wine() -> [Option<String>; 3] {
    [Some("Bearer wine-token".into()), None, Some("red".into())]
}

fn away(to: &Target) -> String {
    format!("/away/{}", to.url.trim_start_matches("http://"))
}

#[tokio::test]
async fn a_redirect_to_a_stranger_is_followed_nowhere() {
    let (main, wine, stranger) = (Target::start(), Target::start(), Target::start());
    let snapshot = once(&main, &wine, json!([at_main(&away(&stranger))])).await;
    assert_eq!(
        (classes(&snapshot), stranger.lines().len()),
        (vec![(ErrorClass::Redirect, 1)], 0)
    );
}

#[tokio::test]
async fn each_target_gets_its_own_requests_headers_and_credentials() {
    let (main, wine) = (Target::start(), Target::start());
    let snapshot = once(
        &main,
        &wine,
        json!([at_main("/a"), at_wine("/b"), at_main("/c"), at_wine("/d")]),
    )
    .await;
    assert_eq!(
        (snapshot.requests(), snapshot.failures()),
        (4, 0),
        "{:?}",
        snapshot.errors
    );
    assert_eq!(main.lines(), ["GET /a", "GET /c"]);
    assert_eq!(wine.lines(), ["GET /base/b", "GET /base/d"]);
    assert_eq!((shown(&main), shown(&wine)), (of_main(), of_wine()));
}

#[tokio::test]
async fn a_redirect_to_another_target_is_followed_with_that_targets_credentials() {
    let (main, wine) = (Target::start(), Target::start());
    let snapshot = once(&main, &wine, json!([at_main(&away(&wine))])).await;
    assert_eq!(
        (
            snapshot.requests(),
            snapshot.failures(),
            snapshot.counters.redirect_hops
        ),
        (1, 0, 1),
        "{:?}",
        snapshot.errors
    );
    assert_eq!(
        (main.lines().len(), wine.lines()),
        (1, vec!["GET /".to_owned()])
    );
    assert_eq!(shown(&wine), of_wine());
    assert_eq!(
        wine.last().headers["host"],
        wine.url.trim_start_matches("http://")
    );
}

#[tokio::test]
async fn what_a_step_says_by_itself_does_not_follow_to_another_target() {
    let (main, wine) = (Target::start(), Target::start());
    let mut step = at_main(&away(&wine));
    step["http"]["headers"] =
        json!({"Authorization": "Bearer of-the-step", "X-Wine": "white", "Accept": "text/plain"});
    once(&main, &wine, json!([step])).await;
    assert_eq!(shown(&main)[0].as_deref(), Some("Bearer of-the-step"));
    assert_eq!(shown(&wine), of_wine());
    assert_eq!(
        wine.last().headers["accept"],
        "text/plain",
        "which is no secret"
    );
}

#[tokio::test]
async fn cookies_stay_with_the_host_that_set_them() {
    // another name for the same machine
    let (main, mut wine) = (Target::start(), Target::start());
    wine.url = wine.url.replace("127.0.0.1", "localhost");
    once(
        &main,
        &wine,
        json!([at_main("/cookie/a"), at_wine("/b"), at_main("/c")]),
    )
    .await;
    assert_eq!(
        (wine.last().cookie.as_str(), main.last().cookie.as_str()),
        ("", "a=1")
    );
}

#[tokio::test]
async fn cookies_of_a_user_and_of_a_step_are_one_field() {
    let (main, wine) = (Target::start(), Target::start());
    let mut own = at_main("/b");
    own["http"]["headers"] = json!({"Cookie": "theme=dark"});
    let mut moved = at_main("/to/d");
    moved["http"]["headers"] = json!({"Cookie": "theme=dark", "Host": "shop.test"});
    once(&main, &wine, json!([at_main("/cookie/a"), own, moved])).await;
    assert_eq!(
        main.shown("cookie"),
        ["theme=dark; a=1", "theme=dark", "theme=dark"],
        "those of the user are for the host that was sent"
    );
    assert_eq!(main.last().headers["host"], "shop.test");
}

#[tokio::test]
async fn a_target_without_an_address_is_named_before_the_load() {
    let mut plan = plan("http://127.0.0.1:1", users(1, 100));
    let mut other = plan.target.clone();
    other.name = Some("wine".into());
    other.url = Url::parse("http://wine.invalid").unwrap();
    plan.targets = vec![other];
    let error = prepare(Arc::new(plan), &Inputs::default())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("spec.targets.wine.url: ") && error.contains("wine.invalid"),
        "{error}"
    );
}
