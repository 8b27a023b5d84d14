//! The connection that one user or slot keeps to one target.

use std::rc::Rc;

use crate::engine::attempt::Attempt;
use crate::engine::attempt::failure::Failure;
use crate::engine::net::connection::Connection;
use crate::engine::net::http1;
use crate::engine::net::http2;
use crate::engine::net::pool::{Pool, if_usable};
use crate::engine::net::route::Route;
use crate::plan::Connections;

/// Finder of a connection for each of a user's requests to one target: the kept one, a shared one,
/// or a new one.
#[derive(Default)]
pub(crate) struct Connector {
    /// Position, among the pool's shared connections, of the one used last.
    place: usize,
    /// Connection that the user keeps.
    kept: Option<Connection>,
}

impl Connector {
    /// Returns a connection that can carry one more request. With `is_fresh`, one of HTTP/1.1 is
    /// opened for it, since idle ones may end at any time.
    pub(crate) async fn connection(
        &mut self,
        route: &Route,
        pool: &Pool,
        attempt: &Attempt<'_>,
        is_fresh: bool,
    ) -> Result<Connection, Failure> {
        let kept = match self.kept.take() {
            Some(Connection::Http1(_)) if is_fresh => None,
            Some(Connection::Http1(session)) => if_usable(session, route, attempt)
                .await
                .map(Connection::Http1),
            Some(Connection::Http2(session)) => session
                .may_serve(attempt.began.get(), route.http.connection_max_requests)
                .then_some(Connection::Http2(session)),
            None => None,
        };
        match kept {
            Some(connection) => Ok(connection),
            None => {
                let place = &mut self.place;
                pool.connection(place, route, attempt, is_fresh).await
            }
        }
    }

    /// Returns an HTTP/2 session with room for one more stream, and keeps it if users have
    /// connections of their own.
    pub(crate) async fn http2(
        &mut self,
        route: &Route,
        pool: &Pool,
        attempt: &Attempt<'_>,
    ) -> Result<Rc<http2::Session>, Failure> {
        match self.connection(route, pool, attempt, false).await? {
            Connection::Http2(session) => {
                self.keep_http2(&session, route);
                Ok(session)
            }
            Connection::Http1(_) => Err(Failure::NotHttp2),
        }
    }

    /// Takes back a connection that can carry a further request.
    pub(crate) fn keep_http1(&mut self, session: http1::Session, route: &Route, pool: &Pool) {
        match route.http.connections {
            Connections::PerUser => self.kept = Some(Connection::Http1(session)),
            Connections::Pooled => pool.put_back(session),
            Connections::PerRequest => {}
        }
    }

    /// Keeps a session if users have connections of their own.
    pub(crate) fn keep_http2(&mut self, session: &Rc<http2::Session>, route: &Route) {
        if route.http.connections == Connections::PerUser {
            self.kept = Some(Connection::Http2(session.clone()));
        }
    }
}
