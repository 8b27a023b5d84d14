//! How a request gets to its target and the answer back: what one user sends by, and what a request
//! under way is known by.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use futures::future::poll_fn;

use crate::engine::answer::capture::Wanted;
use crate::engine::load::shard::Shard;
use crate::engine::net::connection::{Connection, Failure};
use crate::engine::net::http2::Session;
use crate::engine::net::pool::{Carrier, living};
use crate::engine::net::route::Opened;
use crate::engine::protocol::http::events::streaming::Streaming;
use crate::engine::protocol::http::request::http2::Form;
use crate::engine::protocol::http::response::Response;
use crate::engine::record::recorder::Part;
use crate::plan::Connections;

/// Connections that may turn out to have ended, one after the other, before a request can be sent
/// at all.
const MOST_GONE: u32 = 3;

/// A request as it is sent.
#[derive(Clone, Copy)]
pub(crate) struct Outgoing<'a> {
    /// The whole message, head and body, as HTTP/1.1 writes it.
    pub(crate) bytes: &'a [u8],
    /// Answers to HEAD have no body whatever their headers say.
    pub(crate) is_head: bool,
    /// Where its HTTP/2 form is kept, if it never differs.
    pub(crate) http2: Option<&'a OnceLock<Form>>,
}

/// What one user or slot reaches one target by.
pub(crate) struct Link {
    /// Place among [`Prepared::routes`](crate::engine::prepare::Prepared).
    route: usize,
    /// Where among the pool's shared connections it sent last.
    place: usize,
    /// The user's own connection.
    kept: Option<Carrier>,
    /// The request as the way to the target wants it, where that differs.
    amended: Vec<u8>,
    /// The latest answer, as much of it as came.
    pub(crate) response: Response,
}

impl Link {
    pub(crate) fn new(route: usize) -> Self {
        Self {
            route,
            place: 0,
            kept: None,
            amended: Vec::new(),
            response: Response::default(),
        }
    }

    /// Sends `request` on an open connection, or on a new one where none still lives, and reads the
    /// answer to its end. A stream that the target refused is counted and tried once more: it
    /// promises not to have looked at it.
    pub(crate) async fn exchange(
        &mut self,
        request: Outgoing<'_>,
        wanted: Wanted,
        flight: &Flight<'_>,
    ) -> Result<(), Failure> {
        let mut tries = Tries::default();
        loop {
            let outcome = self.attempt(request, wanted, flight).await;
            if !tries.go_on(&outcome, flight) {
                return outcome;
            }
        }
    }

    /// A connection that has room for one more call.
    pub(crate) async fn session(&mut self, flight: &Flight<'_>) -> Result<Rc<Session>, Failure> {
        match self.carrier(flight).await? {
            Carrier::Http2(session) => {
                self.keep(&session, flight);
                Ok(session)
            }
            Carrier::Http1(_) => Err(Failure::NotHttp2),
        }
    }

    fn keep(&mut self, session: &Rc<Session>, flight: &Flight<'_>) {
        if flight.shard.prepared.routes[self.route].http.connections == Connections::PerUser {
            self.kept = Some(Carrier::Http2(session.clone()));
        }
    }

    async fn attempt(
        &mut self,
        request: Outgoing<'_>,
        wanted: Wanted,
        flight: &Flight<'_>,
    ) -> Result<(), Failure> {
        self.response.begin(request.is_head, wanted);
        match self.carrier(flight).await? {
            Carrier::Http1(connection) => self.over_http1(connection, request, flight).await,
            Carrier::Http2(session) => self.over_http2(session, request, flight).await,
        }
    }

    /// What the next request is sent on.
    async fn carrier(&mut self, flight: &Flight<'_>) -> Result<Carrier, Failure> {
        let (pool, route) = (
            &flight.shard.pools[self.route],
            &flight.shard.prepared.routes[self.route],
        );
        let kept = match self.kept.take() {
            Some(Carrier::Http1(connection)) => {
                living(connection, route, flight).await.map(Carrier::Http1)
            }
            Some(Carrier::Http2(session)) => session
                .may_serve(flight.began.get(), route.http.connection_max_requests)
                .then_some(Carrier::Http2(session)),
            None => None,
        };
        match kept {
            Some(carrier) => Ok(carrier),
            None => pool.carrier(&mut self.place, route, flight).await,
        }
    }

    /// The connection is closed if it cannot carry another request, or the exchange is dropped.
    async fn over_http1(
        &mut self,
        mut connection: Connection,
        request: Outgoing<'_>,
        flight: &Flight<'_>,
    ) -> Result<(), Failure> {
        let shard = flight.shard;
        let (pool, route) = (&shard.pools[self.route], &shard.prepared.routes[self.route]);
        let Self {
            response, amended, ..
        } = self;
        let bytes = match &route.amendment {
            None => request.bytes,
            Some(amendment) => {
                amendment.apply(request.bytes, amended);
                amended
            }
        };
        connection.begin();
        poll_fn(|cx| {
            connection.poll_exchange(cx, bytes, response, flight, &mut shard.buffer.borrow_mut())
        })
        .await?;
        if connection.served(bytes) && response.keep_alive {
            match route.http.connections {
                Connections::PerUser => self.kept = Some(Carrier::Http1(connection)),
                Connections::Pooled => pool.put_back(connection),
                Connections::PerRequest => {}
            }
        }
        Ok(())
    }

    /// The connection outlives a failed stream, unless it is what failed.
    async fn over_http2(
        &mut self,
        session: Rc<Session>,
        request: Outgoing<'_>,
        flight: &Flight<'_>,
    ) -> Result<(), Failure> {
        let route = &flight.shard.prepared.routes[self.route];
        self.keep(&session, flight);
        let made;
        let form = match request.http2.map(|cell| (cell, cell.get())) {
            Some((_, Some(form))) => form,
            Some((cell, None)) => {
                let form = Form::of(request.bytes, route.scheme()).map_err(Failure::Unfit)?;
                cell.get_or_init(|| form)
            }
            None => {
                made = Form::of(request.bytes, route.scheme()).map_err(Failure::Unfit)?;
                &made
            }
        };
        let mut exchange = session.begin(form).ok_or(Failure::Gone)?;
        flight.written.set(request.bytes.len());
        poll_fn(|cx| exchange.poll(cx, &mut self.response, flight)).await
    }
}

/// How often a request was tried.
#[derive(Default)]
pub(crate) struct Tries {
    refused: bool,
    gone: u32,
}

impl Tries {
    /// Whether to try once more: a stream that the target refused, which is counted, or a
    /// connection on which nothing was sent.
    pub(crate) fn go_on(&mut self, outcome: &Result<(), Failure>, flight: &Flight<'_>) -> bool {
        match outcome {
            Err(Failure::Refused(_)) if !self.refused => {
                self.refused = true;
                // no answer came of it
                flight.retry(0);
                true
            }
            Err(Failure::Gone) if self.gone < MOST_GONE => {
                self.gone += 1;
                true
            }
            _ => false,
        }
    }
}

/// A request under way. Dropped before it is done (the run was cut), it counts as interrupted if a
/// byte of it was written.
pub(crate) struct Flight<'a> {
    pub(crate) shard: &'a Shard,
    /// First byte written, as near as matters: set when the request is about to be.
    pub(crate) began: Cell<Instant>,
    pub(crate) written: Cell<usize>,
    /// When the first byte of the answer came; not read from the clock where the last one came
    /// with it.
    answered: Cell<Option<Instant>>,
    phases: Cell<Phases>,
    done: Cell<bool>,
    /// Reads the answer while it comes.
    stream: Option<&'a Streaming<'a>>,
    /// The step whose limits it is held against.
    limited: Cell<Option<(u16, Part)>>,
    /// Of messages before this one: tries that failed, hops of a redirect.
    before: Cell<Before>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Before {
    began: Option<Instant>,
    sent_bytes: u64,
    received_bytes: u64,
}

/// What a request came to, with the messages before its last.
pub(crate) struct Totals {
    /// The first byte of all.
    pub(crate) began: Instant,
    /// Of the last message.
    pub(crate) phases: Phases,
    pub(crate) sent_bytes: u64,
    pub(crate) received_bytes: u64,
}

/// Where a request's time went. What did not happen for it is not there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Phases {
    /// Looking up the target's name, or finding it known; only of a request that had to connect,
    /// as are the next two.
    pub(crate) dns: Option<Duration>,
    pub(crate) connect: Option<Duration>,
    pub(crate) tls: Option<Duration>,
    /// From the first byte written to the first byte of the answer.
    pub(crate) wait: Option<Duration>,
    /// From there to the last byte.
    pub(crate) download: Option<Duration>,
}

impl<'a> Flight<'a> {
    /// `now` counts as the first byte written where a connection is open already.
    pub(crate) fn new(shard: &'a Shard, now: Instant) -> Self {
        Self {
            shard,
            began: Cell::new(now),
            written: Cell::new(0),
            answered: Cell::new(None),
            phases: Cell::default(),
            done: Cell::new(false),
            stream: None,
            limited: Cell::new(None),
            before: Cell::default(),
        }
    }

    /// The answer is a stream, if there is one to read it.
    pub(crate) fn streamed(mut self, stream: Option<&'a Streaming<'a>>) -> Self {
        self.stream = stream;
        self
    }

    /// Cut, it counts as missed in the goodput of this step.
    pub(crate) fn limit(&self, step: Option<(u16, Part)>) {
        self.limited.set(step);
    }

    /// A part of the answer came.
    pub(crate) fn read_stream(&self, response: &mut Response) -> Result<(), Failure> {
        match self.stream {
            Some(stream) => stream.read(response, &self.shard.recorder),
            None => Ok(()),
        }
    }

    /// The message is done with, its answer was `received` bytes long, and another follows for the
    /// same request. Whether any byte of it was written.
    pub(crate) fn again(&self, received: u64) -> bool {
        let written = self.written.take();
        let mut before = self.before.get();
        if written > 0 {
            before.began = before.began.or(Some(self.began.get()));
            before.sent_bytes += written as u64;
            before.received_bytes += received;
        }
        self.before.set(before);
        self.began.set(Instant::now());
        self.answered.set(None);
        self.phases.take();
        if let Some(stream) = self.stream {
            stream.reset();
        }
        written > 0
    }

    /// Likewise, with the same message, which counts as a retry if any byte of it was written.
    pub(crate) fn retry(&self, received: u64) {
        if self.again(received) {
            self.shard.recorder.borrow_mut().retried();
        }
    }

    /// Likewise, after a pause that doubles with each of the `tries` made again before.
    pub(crate) async fn retry_after(&self, received: u64, backoff: Duration, tries: u32) {
        self.retry(received);
        tokio::time::sleep(backoff.saturating_mul(1 << tries.min(16))).await;
    }

    /// What it means that its time is over.
    pub(crate) fn timed_out(&self) -> Failure {
        if self.written.get() > 0 {
            Failure::Timeout
        } else {
            Failure::TimeoutBeforeSent
        }
    }

    /// It came to an end at `ended`, by itself or by a timeout, and will be recorded as such.
    pub(crate) fn finish(&self, ended: Instant, received: u64) -> Totals {
        self.done.set(true);
        let mut phases = self.phases.get();
        if received > 0 {
            let answered = self.answered.get();
            phases.wait = Some(
                answered
                    .unwrap_or(ended)
                    .saturating_duration_since(self.began.get()),
            );
            phases.download = Some(answered.map_or(Duration::ZERO, |answered| {
                ended.saturating_duration_since(answered)
            }));
        }
        let Before {
            began,
            sent_bytes,
            received_bytes,
        } = self.before.get();
        Totals {
            began: began.unwrap_or(self.began.get()),
            phases,
            sent_bytes: sent_bytes + self.written.get() as u64,
            received_bytes: received_bytes + received,
        }
    }

    /// A part of the answer came, and it is not the last one.
    pub(crate) fn goes_on(&self) {
        if self.answered.get().is_none() {
            self.answered.set(Some(Instant::now()));
        }
    }

    /// A connection was opened for it.
    pub(crate) fn opened(&self, Opened { dns, connect, tls }: Opened) {
        self.phases.set(Phases {
            dns,
            connect: Some(connect),
            tls,
            ..self.phases.get()
        });
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        if self.done.get() {
            return;
        }
        let mut recorder = self.shard.recorder.borrow_mut();
        if self.written.get() > 0 {
            recorder.interrupted();
        }
        if let Some((step, part)) = self.limited.get() {
            recorder.missed(step, part);
        }
    }
}
