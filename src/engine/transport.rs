//! How requests get to a target: a shard's connections, what one user sends by, and what a request under way is known by.

use std::cell::{Cell, RefCell};
use std::task::Poll;
use std::time::{Duration, Instant};

use futures::future::poll_fn;

use super::connection::{Connection, Failure};
use super::response::Response;
use super::route::Route;
use super::shard::Shard;
use crate::plan::share::Slice;
use crate::plan::{Connections, Http};

/// A shard's connections to one target.
pub(super) struct Pool {
    /// Counts connections, so that they take turns.
    turn: Cell<u64>,
    /// Open ones that nobody uses; only where users share them.
    idle: RefCell<Vec<Connection>>,
}

impl Pool {
    /// Shards that begin at different addresses reach all of them sooner.
    pub(super) fn new(slice: Slice) -> Self {
        Self { turn: Cell::new(slice.number(0)), idle: RefCell::default() }
    }

    async fn connect(&self, route: &Route, flight: &Flight<'_>) -> Result<Connection, Failure> {
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        let stream = route.open(turn, flight).await?;
        flight.shard.recorder.borrow_mut().connected();
        let now = Instant::now();
        flight.began.set(now);
        Ok(Connection::new(stream, spread(route.http.connection_max_age, turn).map(|age| now + age)))
    }
}

/// The age of the `turn`th connection: within a fifth of `age`, and those opened at once reach theirs evenly over that time.
/// The multiplier is the golden ratio's, which spreads any number of them.
fn spread(age: Duration, turn: u64) -> Option<Duration> {
    let part = turn.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 11;
    let factor = 0.8 + 0.4 * part as f64 / (1u64 << 53) as f64;
    (!age.is_zero()).then(|| age.mul_f64(factor))
}

/// A request as it is sent.
#[derive(Clone, Copy)]
pub(super) struct Outgoing<'a> {
    /// The whole message, head and body, as HTTP/1.1 writes it.
    pub(super) bytes: &'a [u8],
    /// Answers to HEAD have no body whatever their headers say.
    pub(super) is_head: bool,
}

/// What one user or slot reaches one target by.
pub(super) struct Link {
    /// Place among [`Prepared::routes`](super::prepare::Prepared).
    route: usize,
    connection: Option<Connection>,
    /// The request as the way to the target wants it, where that differs.
    amended: Vec<u8>,
    /// The latest answer, as much of it as came.
    pub(super) response: Response,
}

impl Link {
    pub(super) fn new(route: usize) -> Self {
        Self { route, connection: None, amended: Vec::new(), response: Response::default() }
    }

    /// Sends `request` on an open connection, or on a new one where none still lives, and reads the answer to its end. A connection
    /// that cannot carry another request is closed; so is one whose exchange is dropped.
    pub(super) async fn exchange(&mut self, request: Outgoing<'_>, flight: &Flight<'_>) -> Result<(), Failure> {
        let shard = flight.shard;
        let (pool, route) = (&shard.pools[self.route], &shard.prepared.routes[self.route]);
        self.response.begin(request.is_head);
        let mut connection = match self.living(pool, &route.http, flight.began.get()).await {
            Some(connection) => connection,
            None => pool.connect(route, flight).await?,
        };
        let Self { response, amended, .. } = self;
        let bytes = match &route.amendment {
            None => request.bytes,
            Some(amendment) => {
                amendment.apply(request.bytes, amended);
                amended
            }
        };
        connection.begin();
        poll_fn(|cx| connection.poll_exchange(cx, bytes, response, flight, &mut shard.buffer.borrow_mut())).await?;
        if connection.served(bytes) && response.keep_alive {
            match route.http.connections {
                Connections::PerUser => self.connection = Some(connection),
                Connections::Pooled => pool.idle.borrow_mut().push(connection),
                Connections::PerRequest => {}
            }
        }
        Ok(())
    }

    /// An open connection that may carry a request and has not ended since the one before.
    async fn living(&mut self, pool: &Pool, http: &Http, now: Instant) -> Option<Connection> {
        loop {
            let kept = self.connection.take();
            // the one used last is the freshest
            let mut connection = kept.or_else(|| pool.idle.borrow_mut().pop())?;
            if connection.may_serve(now, http.connection_max_requests) && !poll_fn(|cx| Poll::Ready(connection.has_ended(cx))).await {
                return Some(connection);
            }
        }
    }
}

/// A request under way. Dropped before it is done (the run was cut), it counts as interrupted if a byte of it was written.
pub(super) struct Flight<'a> {
    shard: &'a Shard,
    /// First byte written, as near as matters: set when the request is about to be.
    pub(super) began: Cell<Instant>,
    pub(super) written: Cell<usize>,
    /// When the first byte of the answer came; not read from the clock where the last one came with it.
    answered: Cell<Option<Instant>>,
    phases: Cell<Phases>,
    done: Cell<bool>,
}

/// Where a request's time went. What did not happen for it is not there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Phases {
    /// Looking up the target's name, or finding it known; only of a request that had to connect, as are the next two.
    pub(super) dns: Option<Duration>,
    pub(super) connect: Option<Duration>,
    pub(super) tls: Option<Duration>,
    /// From the first byte written to the first byte of the answer.
    pub(super) wait: Option<Duration>,
    /// From there to the last byte.
    pub(super) download: Option<Duration>,
}

impl<'a> Flight<'a> {
    /// `now` counts as the first byte written where a connection is open already.
    pub(super) fn new(shard: &'a Shard, now: Instant) -> Self {
        Self {
            shard,
            began: Cell::new(now),
            written: Cell::new(0),
            answered: Cell::new(None),
            phases: Cell::default(),
            done: Cell::new(false),
        }
    }

    /// It came to an end at `ended`, by itself or by a timeout, and will be recorded as such.
    pub(super) fn finish(&self, ended: Instant, received: u64) -> Phases {
        self.done.set(true);
        let mut phases = self.phases.get();
        if received > 0 {
            let answered = self.answered.get().unwrap_or(ended);
            phases.wait = Some(answered.saturating_duration_since(self.began.get()));
            phases.download = Some(ended.saturating_duration_since(answered));
        }
        phases
    }

    /// A part of the answer came, and it is not the last one.
    pub(super) fn goes_on(&self) {
        if self.answered.get().is_none() {
            self.answered.set(Some(Instant::now()));
        }
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut Phases)) {
        let mut phases = self.phases.get();
        change(&mut phases);
        self.phases.set(phases);
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        if !self.done.get() && self.written.get() > 0 {
            self.shard.recorder.borrow_mut().interrupted();
        }
    }
}
