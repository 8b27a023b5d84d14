//! Connections of a shard to one target: which one a request gets, when a new one is opened, and
//! how old they grow.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures::future::poll_fn;
use tokio::sync::Notify;

use crate::engine::attempt::Attempt;
use crate::engine::attempt::failure::Failure;
use crate::engine::net::connection::Connection;
use crate::engine::net::http1;
use crate::engine::net::http2::Session;
use crate::engine::net::route::Route;
use crate::plan::Connections;
use crate::plan::share::Slice;

/// Connections of a thread to one target.
pub(crate) struct Pool {
    /// Number of connections opened so far, by which addresses take turns.
    turn: Cell<u64>,
    /// Idle HTTP/1.1 connections; used only if users share connections.
    idle: RefCell<Vec<http1::Session>>,
    /// Places of open HTTP/2 connections; used only if users share connections.
    places: RefCell<Vec<Rc<Place>>>,
    /// Most places. Places are added as they are needed.
    most: usize,
    /// Position of the place whose turn is next.
    next: Cell<usize>,
    /// True once the target turned out not to speak HTTP/2.
    is_http1: Cell<bool>,
    /// Signal that a stream of an HTTP/2 connection ended.
    freed: Rc<Notify>,
}

/// Place of a shared HTTP/2 connection.
#[derive(Default)]
struct Place {
    session: RefCell<Option<Rc<Session>>>,
    /// Lock that is held while a connection is opened, so that many waiting users open only one.
    opening: tokio::sync::Mutex<()>,
}

/// Room of a place for one more request.
enum Found {
    Room(Rc<Session>),
    Full,
    Nothing,
}

impl Pool {
    /// Creates the pool of the thread that carries out `slice`, with no connection in it.
    pub(crate) fn new(slice: Slice, route: &Route) -> Self {
        let most = route
            .channels
            .as_ref()
            .map_or(route.http.http2_connections, |channels| {
                channels.max_channels
            });
        let (shards, shard) = (slice.shards, slice.shard);
        let most = (most / shards + u32::from(shard < most % shards)).max(1) as usize;
        let places = if route.channels.is_some() { 1 } else { most };
        Self {
            // shards that begin at different addresses reach all of them sooner
            turn: Cell::new(slice.number(0)),
            idle: RefCell::default(),
            places: RefCell::new((0..places).map(|_| Rc::default()).collect()),
            most,
            next: Cell::new(0),
            is_http1: Cell::new(false),
            freed: Rc::default(),
        }
    }

    /// Returns a shared or new connection for the next request; with `is_fresh` none that is idle.
    /// `place` is the position of the shared connection used last, and is updated.
    pub(crate) async fn connection(
        &self,
        place: &mut usize,
        route: &Route,
        attempt: &Attempt<'_>,
        is_fresh: bool,
    ) -> Result<Connection, Failure> {
        if route.http.connections != Connections::Pooled {
            return self.connect(route, attempt).await;
        }
        while route.may_be_http2() && !self.is_http1.get() {
            if let Some(connection) = self.shared(place, route, attempt).await? {
                return Ok(connection);
            }
        }
        loop {
            // the one used last is the freshest
            let idle = match is_fresh {
                true => None,
                false => self.idle.borrow_mut().pop(),
            };
            let Some(connection) = idle else {
                return self.connect(route, attempt).await;
            };
            if let Some(connection) = if_usable(connection, route, attempt).await {
                return Ok(Connection::Http1(connection));
            }
        }
    }

    /// Takes back a connection that can carry another request, if users share connections.
    pub(crate) fn put_back(&self, connection: http1::Session) {
        self.idle.borrow_mut().push(connection);
    }

    /// Opens a connection. The future is boxed to keep it, which is rare, out of the size of every
    /// user.
    async fn connect(&self, route: &Route, attempt: &Attempt<'_>) -> Result<Connection, Failure> {
        Box::pin(self.open(route, attempt)).await
    }

    async fn open(&self, route: &Route, attempt: &Attempt<'_>) -> Result<Connection, Failure> {
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        let (stream, opened) = route.open(turn).await?;
        attempt.opened(opened);
        self.reach(route.addresses());
        let now = Instant::now();
        attempt.began.set(now);
        let until = age(route.http.connection_max_age, turn).map(|age| now + age);
        if route.is_http2(&stream)? {
            let (freed, channels) = (self.freed.clone(), route.channels.as_ref());
            let limits = route.http.answer_head;
            let session = Session::open(stream, until, freed, channels, limits).await?;
            attempt.began.set(Instant::now());
            Ok(Connection::Http2(Rc::new(session)))
        } else {
            Ok(Connection::Http1(http1::Session::new(stream, until)))
        }
    }

    /// Returns a shared HTTP/2 connection. `None`, after a wait, tells the caller to try again.
    async fn shared(
        &self,
        place: &mut usize,
        route: &Route,
        attempt: &Attempt<'_>,
    ) -> Result<Option<Connection>, Failure> {
        let freed = self.freed.notified();
        *place = self.choose(*place);
        match self.find(*place, route, attempt) {
            Ok(session) => return Ok(Some(Connection::Http2(session))),
            Err(Some(place)) => return Box::pin(self.fill(&place, route, attempt)).await,
            Err(None) => {}
        }
        freed.await;
        attempt.began.set(Instant::now());
        Ok(None)
    }

    /// Chooses a connection. They take turns, but a user stays on its last one if others send there
    /// and it is no busier than the next.
    ///
    /// Users that were answered at once send at once, and on one connection they share a write.
    fn choose(&self, last: usize) -> usize {
        let next = self.next.get();
        self.next.set(next.wrapping_add(1));
        let places = self.places.borrow();
        let streams = |place: usize| places[place % places.len()].streams();
        let here = streams(last);
        if here > 0 && here <= streams(next) {
            last
        } else {
            next
        }
    }

    /// Finds a connection with room, or else an empty place to open one. A place is added if all
    /// are full and there may be more.
    fn find(
        &self,
        first: usize,
        route: &Route,
        attempt: &Attempt<'_>,
    ) -> Result<Rc<Session>, Option<Rc<Place>>> {
        let mut places = self.places.borrow_mut();
        let (before, from) = places.split_at(first % places.len());
        for place in from.iter().chain(before) {
            match place.find(route, attempt.began.get()) {
                Found::Room(session) => return Ok(session),
                Found::Nothing => return Err(Some(place.clone())),
                Found::Full => {}
            }
        }
        if places.len() == self.most {
            return Err(None);
        }
        places.push(Rc::default());
        Err(places.last().cloned())
    }

    /// Adds places until there is one for each of `addresses`, so that no address is left out.
    fn reach(&self, addresses: usize) {
        let mut places = self.places.borrow_mut();
        let wanted = addresses.min(self.most).max(places.len());
        places.resize_with(wanted, Rc::default);
    }

    async fn fill(
        &self,
        place: &Place,
        route: &Route,
        attempt: &Attempt<'_>,
    ) -> Result<Option<Connection>, Failure> {
        let _opening = place.opening.lock().await;
        attempt.began.set(Instant::now());
        if !matches!(place.find(route, attempt.began.get()), Found::Nothing) || self.is_http1.get()
        {
            // another one was quicker
            return Ok(None);
        }
        let connection = self.connect(route, attempt).await?;
        match &connection {
            Connection::Http1(_) => self.is_http1.set(true),
            Connection::Http2(session) => drop(place.session.borrow_mut().replace(session.clone())),
        }
        Ok(Some(connection))
    }
}

impl Place {
    fn streams(&self) -> usize {
        self.session
            .borrow()
            .as_ref()
            .map_or(0, |session| session.streams())
    }

    fn find(&self, route: &Route, now: Instant) -> Found {
        match self
            .session
            .borrow()
            .as_ref()
            .filter(|session| session.may_serve(now, route.http.connection_max_requests))
        {
            None => Found::Nothing,
            Some(session) if session.has_room(route.streams()) => Found::Room(session.clone()),
            Some(_) => Found::Full,
        }
    }
}

/// Returns the connection if it may carry one more request and has not ended.
pub(crate) async fn if_usable(
    mut connection: http1::Session,
    route: &Route,
    attempt: &Attempt<'_>,
) -> Option<http1::Session> {
    let may_serve = connection.may_serve(attempt.began.get(), route.http.connection_max_requests);
    let lives = may_serve && !poll_fn(|cx| Poll::Ready(connection.has_ended(cx))).await;
    lives.then_some(connection)
}

/// Returns the age that the `turn`th connection may reach: from 0.8 to 1.2 times `age`, evenly
/// spread, so that connections opened at once do not all end at once; `None` without a limit.
///
/// The multiplier is that of the golden ratio, which spreads any number of connections evenly.
fn age(age: Duration, turn: u64) -> Option<Duration> {
    let part = turn.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 11;
    let factor = 0.8 + 0.4 * part as f64 / (1u64 << 53) as f64;
    (!age.is_zero()).then(|| age.mul_f64(factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_lie_evenly_within_a_fifth() {
        let minute = Duration::from_secs(60);
        let mut ages: Vec<_> = (1000..1100)
            .map(|turn| age(minute, turn).unwrap().as_secs_f64())
            .collect();
        ages.sort_by(f64::total_cmp);
        assert!(ages[0] >= 48.0 && ages[99] <= 72.0);
        assert!(ages.windows(2).all(|two| two[1] - two[0] < 1.0), "{ages:?}");
        assert_eq!(age(Duration::ZERO, 7), None);
    }
}
