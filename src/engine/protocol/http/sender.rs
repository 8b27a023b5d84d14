//! One HTTP message and its answer, on a kept or new connection.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::OnceLock;

use http::HeaderMap;

use crate::engine::answer::capture::Wanted;
use crate::engine::attempt::failure::Failure;
use crate::engine::attempt::{Attempt, Events};
use crate::engine::net::connection::Connection;
use crate::engine::net::http1;
use crate::engine::net::http2;
use crate::engine::net::reader::{ByteReader, StreamReader};
use crate::engine::protocol::channel::Channel;
use crate::engine::protocol::http::events::streaming::Streaming;
use crate::engine::protocol::http::request::http2::Form;
use crate::engine::protocol::http::response::{Ended, Malformed, Response};
use crate::engine::protocol::received::Received;
use crate::engine::protocol::transport::{Transport, Tries};
use crate::plan::HeadLimits;
use crate::stats::ErrorClass;

/// Request to send.
#[derive(Clone, Copy)]
pub(crate) struct Message<'a> {
    /// Whole message, head and body, as HTTP/1.1 writes it.
    pub(crate) bytes: &'a [u8],
    /// True if the method is HEAD: such answers have no body, whatever their headers say.
    pub(crate) is_head: bool,
    /// Cell for the HTTP/2 form, if the message never differs.
    pub(crate) http2: Option<&'a OnceLock<Form>>,
}

/// Sender of the messages of one request.
#[derive(Clone, Copy)]
pub(crate) struct Sender<'a> {
    /// Connections of the thread.
    pub(crate) transport: &'a Transport,
    /// Request under way, with its clock marks.
    pub(crate) attempt: &'a Attempt<'a>,
    /// Parts of an answer to keep.
    pub(crate) wanted: Wanted,
    /// Reader of the answer while it comes, if it is a stream.
    pub(crate) stream: Option<&'a Streaming<'a>>,
}

impl Sender<'_> {
    /// Sends `message` on an open connection, or on a new one if none is usable, and reads the
    /// answer to its end. Two kinds of messages are counted and sent once more: one whose stream
    /// the target refused, since it did not process it, and one that met the end of an idle
    /// connection, if it may be done twice (RFC 9110, 9.2.2).
    pub(crate) async fn exchange(
        &self,
        route: usize,
        channel: &mut Channel,
        message: Message<'_>,
    ) -> Result<(), Failure> {
        let mut tries = Tries::default();
        loop {
            let is_fresh = tries.has_met_end();
            let outcome = self.try_once(route, channel, message, is_fresh).await;
            let is_worth_it = tries.one_more(&outcome, self.attempt)
                || is_idempotent(message.bytes) && tries.after_end(&outcome, self.attempt);
            if !is_worth_it {
                let route = &self.transport.targets.routes[route];
                route.with_cause(outcome, self.attempt)?;
                return route.passed_proxy(channel.answer.status);
            }
            self.reset_stream();
        }
    }

    /// Forgets what was read of a stream, because another answer follows.
    pub(crate) fn reset_stream(&self) {
        if let Some(stream) = self.stream {
            stream.reset();
        }
    }

    async fn try_once(
        &self,
        route: usize,
        channel: &mut Channel,
        message: Message<'_>,
        is_fresh: bool,
    ) -> Result<(), Failure> {
        let limits = self.transport.targets.routes[route].http.answer_head;
        channel.response.begin(message.is_head, limits);
        channel.answer.begin(self.wanted);
        let connecting = channel.connector.connection(
            &self.transport.targets.routes[route],
            &self.transport.pools[route],
            self.attempt,
            is_fresh,
        );
        match connecting.await? {
            Connection::Http1(session) => self.over_http1(session, route, channel, message).await,
            Connection::Http2(session) => self.over_http2(session, route, channel, message).await,
        }
    }

    /// Exchanges a message over HTTP/1.1. The connection is closed if it cannot carry another
    /// request or the exchange is dropped.
    async fn over_http1(
        &self,
        mut session: http1::Session,
        route: usize,
        channel: &mut Channel,
        message: Message<'_>,
    ) -> Result<(), Failure> {
        let Transport {
            targets,
            pools,
            buffer,
            ..
        } = self.transport;
        let (pool, route) = (&pools[route], &targets.routes[route]);
        let Channel {
            connector,
            answer,
            response,
            amended,
            ..
        } = channel;
        let bytes = match &route.amendment {
            None => message.bytes,
            Some(amendment) => {
                amendment.apply(message.bytes, amended);
                amended
            }
        };
        session.begin();
        let mut reading = self.reading(response, answer, route.http.answer_head);
        poll_fn(|cx| {
            let buffer = &mut buffer.borrow_mut();
            session.poll_exchange(cx, bytes, &mut reading, self.attempt, buffer)
        })
        .await?;
        if session.served(bytes) && response.keep_alive {
            session.rest(response.idle_timeout);
            connector.keep_http1(session, route, pool);
        }
        Ok(())
    }

    /// Exchanges a message over HTTP/2. The connection is kept after a failed stream, unless the
    /// connection itself failed.
    async fn over_http2(
        &self,
        session: Rc<http2::Session>,
        route: usize,
        channel: &mut Channel,
        message: Message<'_>,
    ) -> Result<(), Failure> {
        let route = &self.transport.targets.routes[route];
        channel.connector.keep_http2(&session, route);
        let made;
        let form = match message.http2.map(|cell| (cell, cell.get())) {
            Some((_, Some(form))) => form,
            Some((cell, None)) => {
                let form = Form::of(message.bytes, route.scheme()).map_err(Failure::Unfit)?;
                cell.get_or_init(|| form)
            }
            None => {
                made = Form::of(message.bytes, route.scheme()).map_err(Failure::Unfit)?;
                &made
            }
        };
        let mut exchange = session
            .begin(form.head(), form.body())
            .ok_or(Failure::Gone)?;
        self.attempt.wrote(message.bytes.len());
        let limits = route.http.answer_head;
        let mut reading = self.reading(&mut channel.response, &mut channel.answer, limits);
        poll_fn(|cx| exchange.poll(cx, &mut reading, self.attempt)).await
    }

    fn reading<'b>(
        &'b self,
        response: &'b mut Response,
        answer: &'b mut Received,
        limits: HeadLimits,
    ) -> Reading<'b> {
        Reading {
            response,
            answer,
            limits,
            stream: self.stream,
            events: self.attempt.events,
        }
    }
}

/// Returns whether a request may be sent again without being done twice: those of RFC 9110, 9.2.2.
fn is_idempotent(message: &[u8]) -> bool {
    let method = message.split(|byte| *byte == b' ').next();
    matches!(
        method.unwrap_or_default(),
        b"GET" | b"HEAD" | b"OPTIONS" | b"TRACE" | b"PUT" | b"DELETE"
    )
}

/// Answer that is being read.
struct Reading<'a> {
    response: &'a mut Response,
    answer: &'a mut Received,
    /// Largest head over HTTP/2.
    limits: HeadLimits,
    stream: Option<&'a Streaming<'a>>,
    events: &'a dyn Events,
}

impl Reading<'_> {
    fn read_stream(&mut self) -> Result<(), Failure> {
        match self.stream {
            Some(stream) => stream.read(self.answer, self.events),
            None => Ok(()),
        }
    }
}

impl ByteReader for Reading<'_> {
    fn feed(&mut self, bytes: &[u8]) -> Result<bool, Failure> {
        let is_whole = self.response.feed(bytes, self.answer)?;
        self.read_stream()?;
        Ok(is_whole)
    }

    fn end_of_stream(&mut self) -> bool {
        self.response.end_of_stream(self.answer) == Ended::Complete
    }

    fn received(&self) -> u64 {
        self.answer.bytes
    }

    fn droppable(&self) -> u64 {
        self.response.droppable(self.answer)
    }

    fn dropped(&mut self, count: u64) {
        self.response.dropped(count, self.answer);
    }
}

impl StreamReader for Reading<'_> {
    fn take_head(&mut self, status: u16, headers: &HeaderMap) -> Result<(), Failure> {
        if headers.len() > self.limits.fields as usize {
            return Err(Malformed::TooManyFields(self.limits.fields).into());
        }
        self.answer.take_http2_head(status, headers);
        if self.answer.bytes > u64::from(self.limits.bytes) {
            return Err(Malformed::HeadTooLong(self.limits.bytes).into());
        }
        Ok(())
    }

    fn take_data(&mut self, data: &[u8]) -> Result<(), Failure> {
        self.answer.take_http2_data(data);
        self.read_stream()
    }
}

impl From<Malformed> for Failure {
    fn from(why: Malformed) -> Self {
        Self::Malformed {
            why: why.to_string(),
            class: ErrorClass::Protocol,
            status: 0,
        }
    }
}
