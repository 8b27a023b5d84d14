//! What each caller gets on the port for people.

use std::time::Instant;

use axum::body::to_bytes;
use futures::StreamExt;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::view::tests::run_file;
use super::*;
use crate::master::{Coordinator, Memory};

const HERE: Site = Site {
    hosts: Hosts::Loopback,
    is_secure: false,
    ends_with_run: false,
};

/// A page whose tokens are `look` and `act`.
struct Served {
    feed: Arc<Feed>,
    router: Router,
}

impl Served {
    fn new() -> Self {
        let file = run_file(json!({
            "target": {"url": "http://t"},
            "scenarios": [{"name": "s", "tasks": [{"name": "t", "steps": [{"http": {"path": "/"}}]}]}],
            "load": {"closed": {"users": 1, "duration": "10s"}},
        }));
        let coordinator = Coordinator::new(file, Memory::none(), Instant::now()).unwrap();
        let master = Shared::new(coordinator);
        let feed = Feed::new(master.clone(), CancellationToken::new());
        let keys = Keys {
            read: Token::new("look"),
            control: Some(Token::new("act")),
        };
        let router = router(master, feed.clone(), keys, HERE);
        Self { feed, router }
    }

    async fn ask(&self, request: http::request::Builder, body: String) -> Response {
        let request = request
            .header(header::HOST, "localhost:8080")
            .body(Body::from(body))
            .unwrap();
        self.router.clone().oneshot(request).await.unwrap()
    }

    async fn get(&self, path: &str, header: Option<(&str, &str)>) -> Response {
        let mut request = Request::builder().uri(path);
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        self.ask(request, String::new()).await
    }

    /// Logs in, and gives back the answer.
    async fn log_in(&self, token: &str, header: Option<(&str, &str)>) -> Response {
        let mut request = Request::post(LOGIN).header(header::CONTENT_TYPE, "application/json");
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        self.ask(request, json!({"token": token}).to_string()).await
    }
}

async fn read(response: Response) -> Value {
    let body = to_bytes(response.into_body(), 1024 * 1024).await.unwrap();
    serde_json::from_slice(&body).unwrap()
}

/// The cookie that an answer sets, as a browser sends it back.
fn cookie(response: &Response) -> String {
    let set = response.headers()[header::SET_COOKIE].to_str().unwrap();
    set.split(';').next().unwrap().to_owned()
}

#[tokio::test]
async fn only_the_files_are_for_everybody() {
    let served = Served::new();
    assert_eq!(served.get("/", None).await.status(), StatusCode::OK);
    for path in [
        STATE,
        &format!("{STREAM}?after=1"),
        "/api/v1/progress",
        "/api/v1/result",
    ] {
        let status = served.get(path, None).await.status();
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{path}");
        let wrong = Some(("cookie", "starling-x=look"));
        let status = served.get(path, wrong).await.status();
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{path}");
        let bearer = Some(("authorization", "Bearer look"));
        assert_eq!(
            served.get(path, bearer).await.status(),
            StatusCode::OK,
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_login_gives_a_cookie_that_opens_what_its_token_does() {
    let served = Served::new();
    for (token, may_control) in [("look", false), ("act", true)] {
        let response = served.log_in(token, None).await;
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
        let cookie = cookie(&response);
        let state = read(served.get(STATE, Some(("cookie", &cookie))).await).await;
        assert_eq!(state["mayControl"], may_control);
        assert_eq!(state["frame"]["progress"]["state"], "Waiting");
        let progress = served
            .get("/api/v1/progress", Some(("cookie", &cookie)))
            .await;
        assert_eq!(progress.status(), StatusCode::OK);
    }
    for token in ["", "loo", "lookk", "Bearer look"] {
        let response = served.log_in(token, None).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{token}");
        assert!(!response.headers().contains_key(header::SET_COOKIE));
    }
}

#[tokio::test]
async fn another_site_logs_nobody_in() {
    let served = Served::new();
    for foreign in [
        ("origin", "https://evil.example"),
        ("sec-fetch-site", "cross-site"),
    ] {
        let response = served.log_in("look", Some(foreign)).await;
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
    }
    let request = Request::builder()
        .uri("/")
        .header(header::HOST, "evil.example");
    let request = request.body(Body::empty()).unwrap();
    let response = served.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::MISDIRECTED_REQUEST);
}

#[tokio::test]
async fn every_answer_says_what_a_page_may_do() {
    let served = Served::new();
    for path in ["/", "/app.js", "/nothing", STATE] {
        let response = served.get(path, None).await;
        let policy = response.headers()[header::CONTENT_SECURITY_POLICY].to_str();
        assert!(policy.unwrap().starts_with("default-src 'none'"), "{path}");
    }
    let state = served
        .get(STATE, Some(("authorization", "Bearer look")))
        .await;
    assert_eq!(state.headers()[header::CACHE_CONTROL], "no-store");
}

#[tokio::test]
async fn there_is_no_file_of_the_result_before_the_end() {
    let served = Served::new();
    let bearer = Some(("authorization", "Bearer look"));
    for (header, status) in [
        (None, StatusCode::UNAUTHORIZED),
        (bearer, StatusCode::NOT_FOUND),
    ] {
        let response = served.get("/api/v1/ui/files/html", header).await;
        assert_eq!(response.status(), status);
    }
    let state = read(served.get(STATE, bearer).await).await;
    let listed = state["downloads"].as_array().unwrap();
    assert_eq!((listed.len(), &listed[1]["file"]), (7, &json!("r-1.html")));
}

#[tokio::test]
async fn the_stream_goes_on_where_the_state_ends_and_where_it_was_cut() {
    let served = Served::new();
    let bearer = Some(("authorization", "Bearer look"));
    let state = read(served.get(STATE, bearer).await).await;
    let id = state["frame"]["id"].as_u64().unwrap();
    let next = async |last: Option<u64>| {
        let mut request = Request::builder()
            .uri(format!("{STREAM}?after={id}"))
            .header("authorization", "Bearer look");
        if let Some(last) = last {
            request = request.header("last-event-id", last.to_string());
        }
        let response = served.ask(request, String::new()).await;
        assert_eq!(
            response.headers()[header::CONTENT_TYPE],
            "text/event-stream"
        );
        let mut events = response.into_body().into_data_stream();
        assert_eq!(events.next().await.unwrap().unwrap(), "retry: 1000\n\n");
        let event = events.next().await.unwrap().unwrap();
        String::from_utf8(event.to_vec()).unwrap()
    };
    // the first frame is made at once
    let first = tokio::select! {
        first = next(None) => first,
        () = served.feed.run() => unreachable!("the feed goes on"),
    };
    let begin = format!("id: {}\ndata: {{", id + 1);
    assert!(
        first.starts_with(&begin) && first.ends_with("}\n\n"),
        "{first}"
    );
    assert_eq!(next(None).await, first);
    assert_eq!(next(Some(id)).await, first);
    for lost in [0, id - 1, id + 2] {
        assert_eq!(
            next(Some(lost)).await,
            "event: reset\ndata: {}\n\n",
            "{lost}"
        );
    }
}
