//! HTTP of a master: the operator's calls and the read API for people.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use subtle::ConstantTimeEq;

use super::Shared;
use super::access::{Session, is_of_this_origin};
use crate::runtime::door;
use crate::wire::control::{
    self, Acknowledge, ChangeLoad, Grant, Progress, Scale, Stop, StopByHand,
};

/// Most bytes of a call's body: a stop with its message takes some 2 KiB.
const MAX_CALL: usize = 16 * 1024;

/// A bearer token, which lets its holder in.
#[derive(Clone)]
pub struct Token(Arc<str>);

impl Token {
    /// Reads a token from the text of its file; white space around it is no part of it.
    pub fn new(text: &str) -> Self {
        Self(text.trim().into())
    }

    /// Compares the token that `authorization`, a whole header, carries with this one. Takes as
    /// long whichever byte differs; only the length shows.
    pub fn admits(&self, authorization: Option<&[u8]>) -> bool {
        let Some(presented) = authorization.and_then(|header| header.strip_prefix(b"Bearer "))
        else {
            return false;
        };
        self.is_bytes(presented)
    }

    /// Compares `presented` with this token, as [`admits`](Self::admits) does.
    pub fn is(&self, presented: &str) -> bool {
        self.is_bytes(presented.as_bytes())
    }

    fn is_bytes(&self, presented: &[u8]) -> bool {
        let expected = self.0.as_bytes();
        // an empty token would let everyone in
        !expected.is_empty() && bool::from(expected.ct_eq(presented))
    }

    /// Cookie that stands for this token in a browser.
    pub fn session(&self) -> Session {
        Session::of(&self.0)
    }

    /// Tells whether a request shows this token, as a bearer or by its cookie.
    pub fn is_shown_by(&self, headers: &HeaderMap) -> bool {
        let authorization = headers.get(header::AUTHORIZATION);
        self.admits(authorization.map(|value| value.as_bytes()))
            || (!self.0.is_empty() && self.session().is_in(headers))
    }
}

/// Kind of a token: whom it lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// The operator, which alone may change anything.
    Operator,
    /// People, who may read progress and result; those who may control the run may, too.
    Reader,
    /// People who may change the load and stop the run.
    Controller,
}

impl Holder {
    fn refusal(self) -> &'static str {
        match self {
            Holder::Operator => "the operator's token is needed",
            Holder::Reader => "the read token is needed",
            Holder::Controller => "the control token is needed",
        }
    }
}

/// Routes for the operator. Each names the kind of token that it asks for: a worker's is none of
/// them.
pub fn control(master: Shared, token: Token) -> Router {
    let tokens: Arc<[Token]> = Arc::new([token]);
    let only = |route: MethodRouter<Shared>| for_holder(route, Holder::Operator, &tokens);
    Router::new()
        .route(control::PROGRESS, only(get(progress)))
        .route(control::RESULT, only(get(result)))
        .route(control::GRANT, only(post(grant)))
        .route(control::STOP, only(post(stop)))
        .route(control::SCALE, only(post(scale)))
        .route(control::ACKNOWLEDGE, only(post(acknowledge)))
        .with_state(master)
}

/// Routes for people: with either token they may read progress and result, with that for control
/// change the load and stop the run. Nobody may without such a token.
pub fn people(master: Shared, read: Token, control: Option<Token>) -> Router {
    let controllers: Arc<[Token]> = control.iter().cloned().collect();
    let readers: Arc<[Token]> = std::iter::once(read).chain(control).collect();
    let reading = |route: MethodRouter<Shared>| for_holder(route, Holder::Reader, &readers);
    let controlling =
        |route: MethodRouter<Shared>| for_holder(route, Holder::Controller, &controllers);
    Router::new()
        .route(control::PROGRESS, reading(get(progress)))
        .route(control::RESULT, reading(get(result)))
        .route(control::LOAD, controlling(post(change_load)))
        .route(control::STOP, controlling(post(stop_by_hand)))
        .with_state(master)
}

/// Opens a route to whoever shows a token of `holder`; looked at before the request's body.
pub(super) fn for_holder<S: Clone + Send + Sync + 'static>(
    route: MethodRouter<S>,
    holder: Holder,
    tokens: &Arc<[Token]>,
) -> MethodRouter<S> {
    let asked = (holder, tokens.clone());
    route
        .layer::<_, Infallible>(DefaultBodyLimit::max(MAX_CALL))
        .layer(middleware::from_fn_with_state(asked, check_token))
}

async fn check_token(
    State((holder, tokens)): State<(Holder, Arc<[Token]>)>,
    request: Request,
    next: Next,
) -> Response {
    let headers = request.headers();
    if !tokens.iter().any(|token| token.is_shown_by(headers)) {
        return (
            StatusCode::UNAUTHORIZED,
            [(header::WWW_AUTHENTICATE, "Bearer")],
            holder.refusal(),
        )
            .into_response();
    }
    // a browser sends the cookie whoever has it ask
    if request.method() != Method::GET && !is_of_this_origin(headers) {
        return (StatusCode::FORBIDDEN, "this is no page of the server").into_response();
    }
    if let Some(visitor) = door::visitor_of(request.extensions()) {
        visitor.admit();
    }
    next.run(request).await
}

async fn progress(State(master): State<Shared>) -> Json<Progress> {
    Json(master.with(|coordinator| coordinator.progress(Instant::now())))
}

/// Answers `null` until the result is final.
async fn result(State(master): State<Shared>) -> Response {
    Json(master.with(|coordinator| coordinator.result().cloned())).into_response()
}

async fn grant(State(master): State<Shared>, Json(asked): Json<Grant>) -> Response {
    match master.with(|coordinator| coordinator.grant(&asked, Instant::now())) {
        Ok(()) => progress(State(master)).await.into_response(),
        Err(refusal) => (StatusCode::CONFLICT, refusal.to_string()).into_response(),
    }
}

async fn stop(State(master): State<Shared>, Json(asked): Json<Stop>) -> Response {
    if let Err(refused) = same_run(&master, &asked.run) {
        return refused.into_response();
    }
    master.with(|coordinator| coordinator.stop(asked, Instant::now()));
    progress(State(master)).await.into_response()
}

async fn stop_by_hand(State(master): State<Shared>, Json(asked): Json<StopByHand>) -> Response {
    if let Err(refused) = same_run(&master, &asked.run) {
        return refused.into_response();
    }
    master.with(|coordinator| coordinator.stop_by_hand(&asked, Instant::now()));
    progress(State(master)).await.into_response()
}

async fn change_load(State(master): State<Shared>, Json(asked): Json<ChangeLoad>) -> Response {
    match master.with(|coordinator| coordinator.change_load(&asked, Instant::now())) {
        Ok(()) => progress(State(master)).await.into_response(),
        Err(refusal) => (StatusCode::CONFLICT, refusal.to_string()).into_response(),
    }
}

async fn scale(State(master): State<Shared>, Json(asked): Json<Scale>) -> Response {
    match master.with(|coordinator| coordinator.scale(&asked, Instant::now())) {
        Ok(()) => progress(State(master)).await.into_response(),
        Err(refusal) => (StatusCode::CONFLICT, refusal.to_string()).into_response(),
    }
}

async fn acknowledge(State(master): State<Shared>, Json(asked): Json<Acknowledge>) -> Response {
    if let Err(refused) = same_run(&master, &asked.run) {
        return refused.into_response();
    }
    master.with(|coordinator| coordinator.acknowledge());
    progress(State(master)).await.into_response()
}

fn same_run(master: &Shared, asked: &str) -> Result<(), (StatusCode, String)> {
    let actual = master.with(|coordinator| coordinator.file().run.clone());
    if asked == actual {
        Ok(())
    } else {
        Err((
            StatusCode::CONFLICT,
            format!("this is the master of run {actual}"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_is_let_in() {
        let token = Token::new("s3cret\n");
        for header in [
            None,
            Some(&b"Bearer "[..]),
            Some(b"Bearer s3cre"),
            Some(b"Bearer s3cret2"),
            Some(b"s3cret"),
            Some(b"Basic s3cret"),
        ] {
            assert!(!token.admits(header), "{header:?}");
        }
        assert!(token.admits(Some(b"Bearer s3cret")));
    }

    #[test]
    fn an_empty_token_lets_nobody_in() {
        assert!(!Token::new("\n").admits(Some(b"Bearer ")));
    }
}
