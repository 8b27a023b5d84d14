//! How requests get to a target: the way there, a shard's connections on it, and what a request under way is known by.

use std::cell::Cell;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures::future::poll_fn;

use super::connection::{Connection, Failure};
use super::resolve::Addresses;
use super::response::Response;
use super::shard::Shard;
use super::tls::Tls;
use crate::plan::{Inputs, Problem, Target};

/// The way to a target: made ready before load, shared by all shards.
pub(super) struct Route {
    pub(super) addresses: Addresses,
    pub(super) tls: Option<Tls>,
}

impl Route {
    pub(super) fn new(target: &Target, inputs: &Inputs) -> Result<Self, Problem> {
        let tls = if target.url.scheme() == "https" { Some(Tls::new(target, inputs)?) } else { None };
        match target.url.host().zip(target.url.port_or_known_default()) {
            Some((host, port)) => Ok(Self { addresses: Addresses::new(&host, port), tls }),
            None => Err(Problem::new("spec.target.url", "there is no host in it")),
        }
    }
}

/// A shard's part of a route.
#[derive(Default)]
pub(super) struct Pool {
    /// The next connection goes to this address.
    turn: Cell<usize>,
}

impl Pool {
    /// Shards that begin at different addresses reach all of them sooner.
    pub(super) fn new(shard: u32) -> Self {
        Self { turn: Cell::new(shard as usize) }
    }

    async fn connect(&self, route: &Route, flight: &Flight<'_>) -> Result<Connection, Failure> {
        let begun = Instant::now();
        let addresses = route.addresses.get().await.map_err(Failure::Dns)?;
        let resolved = Instant::now();
        flight.update(|phases| phases.dns = Some(resolved.saturating_duration_since(begun)));
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        let connection = Connection::open(addresses[turn % addresses.len()], route.tls.as_ref(), resolved, flight).await?;
        flight.shard.recorder.borrow_mut().connected();
        Ok(connection)
    }
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
    /// The latest answer, as much of it as came.
    pub(super) response: Response,
}

impl Link {
    pub(super) fn new(route: usize) -> Self {
        Self { route, connection: None, response: Response::default() }
    }

    /// Sends `request` on an open connection, or on a new one where none still lives, and reads the answer to its end. A connection
    /// that cannot carry another request is closed; so is one whose exchange is dropped.
    pub(super) async fn exchange(&mut self, request: Outgoing<'_>, flight: &Flight<'_>) -> Result<(), Failure> {
        let shard = flight.shard;
        self.response.begin(request.is_head);
        let mut connection = match self.living().await {
            Some(connection) => connection,
            None => {
                let connection = shard.pools[self.route].connect(&shard.prepared.routes[self.route], flight).await?;
                flight.began.set(Instant::now());
                connection
            }
        };
        connection.begin();
        let response = &mut self.response;
        poll_fn(|cx| connection.poll_exchange(cx, request.bytes, response, flight, &mut shard.buffer.borrow_mut())).await?;
        if connection.served(request.bytes) && self.response.keep_alive {
            self.connection = Some(connection);
        }
        Ok(())
    }

    /// The connection of the request before, unless it has ended since.
    async fn living(&mut self) -> Option<Connection> {
        let mut connection = self.connection.take()?;
        let ended = poll_fn(|cx| Poll::Ready(connection.has_ended(cx))).await;
        (!ended).then_some(connection)
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
