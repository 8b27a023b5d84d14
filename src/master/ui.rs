//! The page of a run: its files, the login, the state, and the stream of what changes.
//!
//! The files need no login, since they say nothing of the run. Everything else asks for a token, as
//! `api` does.

mod assets;
pub mod contract;
mod downloads;
mod feed;
mod view;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Json, Router};
use serde::Deserialize;

use super::Shared;
use super::access::is_of_this_origin;
use super::api::{self, Holder, Token, for_holder};
use crate::runtime::door;

pub use super::access::Hosts;
pub use feed::Feed;
use view::Viewer;

/// Path that takes a [`Login`] by POST and answers with a cookie.
const LOGIN: &str = "/api/v1/ui/login";
/// Path that answers the whole state to GET.
const STATE: &str = "/api/v1/ui/state";
/// Path that answers the stream of frames to GET.
const STREAM: &str = "/api/v1/ui/stream";
/// Path that answers a form of the result to GET, or 404 while it is not final.
const FILES: &str = "/api/v1/ui/files/{form}";

/// Policy of the page: nothing runs but its own files, and no request goes elsewhere.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// Place of a server of the page.
#[derive(Debug, Clone, Copy)]
pub struct Site {
    /// Hosts by which it may be asked.
    pub hosts: Hosts,
    /// True if it is served over TLS.
    pub is_secure: bool,
    /// True if it ends soon after the run.
    pub ends_with_run: bool,
}

/// Tokens that let people in.
#[derive(Clone)]
pub struct Keys {
    /// Token of those who may look.
    pub read: Token,
    /// Token of those who may also stop the run and change its load; `None`: nobody may.
    pub control: Option<Token>,
}

impl Keys {
    /// Finds the token that somebody typed.
    fn find(&self, token: &str) -> Option<&Token> {
        let mut known = std::iter::once(&self.read).chain(&self.control);
        known.find(|known| known.is(token))
    }
}

/// All that the handlers share.
#[derive(Clone)]
struct Ui {
    master: Shared,
    feed: Arc<Feed>,
    keys: Keys,
    site: Site,
}

/// Routes for people: the page with what it asks for, and those of [`api::people`].
pub fn router(master: Shared, feed: Arc<Feed>, keys: Keys, site: Site) -> Router {
    let people = api::people(master.clone(), keys.read.clone(), keys.control.clone());
    let readers: Arc<[Token]> = std::iter::once(keys.read.clone())
        .chain(keys.control.clone())
        .collect();
    let reading = |route: MethodRouter<Ui>| for_holder(route, Holder::Reader, &readers);
    let ui = Ui {
        master,
        feed,
        keys,
        site,
    };
    Router::new()
        .route("/", get(index))
        .route("/{file}", get(file))
        .route(LOGIN, post(log_in))
        .route(STATE, reading(get(state)))
        .route(STREAM, reading(get(stream)))
        .route(FILES, reading(get(result_as)))
        .with_state(ui)
        .merge(people)
        .layer(middleware::from_fn_with_state(site, guard))
}

/// Refuses requests by a foreign name, and says to the browser what the page may do.
async fn guard(State(site): State<Site>, request: Request, next: Next) -> Response {
    if !site.hosts.admits(request.headers()) {
        return (StatusCode::MISDIRECTED_REQUEST, "ask for localhost").into_response();
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let no_store = HeaderValue::from_static("no-store");
    headers.entry(header::CACHE_CONTROL).or_insert(no_store);
    response
}

async fn index(request: Request) -> Response {
    greet(&request);
    assets::answer("", request.headers())
}

async fn file(Path(name): Path<String>, request: Request) -> Response {
    greet(&request);
    assets::answer(&name, request.headers())
}

/// Lets a connection stay that has asked for a file, which needs no token.
fn greet(request: &Request) {
    if let Some(visitor) = door::visitor_of(request.extensions()) {
        visitor.greet();
    }
}

/// Token of somebody who wants to see the run.
#[derive(Deserialize)]
struct Login {
    token: String,
}

async fn log_in(
    State(ui): State<Ui>,
    headers: HeaderMap,
    Json(Login { token }): Json<Login>,
) -> Response {
    if !is_of_this_origin(&headers) {
        return (StatusCode::FORBIDDEN, "this is no page of the server").into_response();
    }
    match ui.keys.find(&token) {
        Some(token) => {
            let cookie = token.session().set_cookie(ui.site.is_secure);
            (StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response()
        }
        None => (StatusCode::UNAUTHORIZED, "this is no token of the run").into_response(),
    }
}

async fn state(State(ui): State<Ui>, headers: HeaderMap) -> Response {
    let may_control = ui.keys.control.as_ref();
    let viewer = Viewer {
        may_control: may_control.is_some_and(|token| token.is_shown_by(&headers)),
        ends_with_run: ui.site.ends_with_run,
    };
    Json(ui.feed.state(viewer)).into_response()
}

async fn result_as(State(ui): State<Ui>, Path(form): Path<String>) -> Response {
    let result = ui.master.with(|coordinator| coordinator.result().cloned());
    match result.and_then(|result| downloads::answer(&form, &result)) {
        Some(Ok(file)) => file,
        Some(Err(error)) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        None => (StatusCode::NOT_FOUND, "there is no such file yet").into_response(),
    }
}

/// Frame after which a stream goes on.
#[derive(Deserialize)]
struct After {
    after: u64,
}

async fn stream(
    State(ui): State<Ui>,
    Query(After { after }): Query<After>,
    headers: HeaderMap,
) -> Response {
    // a browser that connects again has the address of the first time, and says what came last
    let last = headers.get("last-event-id");
    let last = last.and_then(|value| value.to_str().ok()?.parse().ok());
    match ui.feed.stream(last.unwrap_or(after)) {
        Some(events) => {
            let kind = [(header::CONTENT_TYPE, "text/event-stream")];
            // proxies that gather answers would hold the events back
            let at_once = [("x-accel-buffering", "no")];
            (kind, at_once, Body::from_stream(events)).into_response()
        }
        None => (StatusCode::SERVICE_UNAVAILABLE, "too many watch the run").into_response(),
    }
}

#[cfg(test)]
mod tests;
