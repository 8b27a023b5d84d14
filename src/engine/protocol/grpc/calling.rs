//! One call on its way: sent, answered to its end, and tried once more where its stream was
//! refused.

use std::cell::{Cell, OnceCell};
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use futures::future::poll_fn;
use h2::SendStream;
use tokio::time::Sleep;

use crate::engine::answer::capture::Wanted;
use crate::engine::net::connection::Failure;
use crate::engine::net::http2::Begun;
use crate::engine::prepare::program::PreparedCall;
use crate::engine::protocol::closing::Closing;
use crate::engine::protocol::grpc::GrpcCall;
use crate::engine::protocol::grpc::head::Rendered;
use crate::engine::protocol::grpc::incoming::Incoming;
use crate::engine::protocol::grpc::kept::Kept;
use crate::engine::protocol::grpc::reply::{Expected, Reply};
use crate::engine::protocol::transport::{Flight, Link, Tries};
use crate::engine::record::recorder::{Part, StreamSample};
use crate::engine::user::frame::Frame;
use crate::plan::grpc::{Code, GrpcRetry};
use crate::stats::ErrorClass;

/// Messages that are sent before others get a turn, when many are due at once.
const BATCH: u32 = 64;

/// Those that are due at once go in frames of about so many bytes: many small frames are what a
/// server takes for a flood.
const FRAME: usize = 16 * 1024;

/// What goes on until the status has come.
pub(crate) struct Calling<'a> {
    pub(crate) call: &'a GrpcCall,
    pub(crate) link: &'a mut Link,
    pub(crate) frame: &'a mut Frame,
    /// Where messages that differ are put together.
    pub(crate) scratch: &'a mut Vec<u8>,
    pub(crate) flight: &'a Flight<'a>,
    pub(crate) wanted: Wanted,
    pub(crate) tally: &'a Tally,
    /// What ends streams with the load; `None` where none is to be ended.
    pub(crate) closing: Option<&'a Closing>,
}

/// What is known of a call's messages while it goes on.
pub(crate) struct Tally {
    step: u16,
    part: Part,
    /// It is a stream: its messages are statistics of their own.
    streams: bool,
    first: Cell<Option<Instant>>,
    last: Cell<Option<Instant>>,
    is_short: Cell<bool>,
    /// What is sent, where that is to be shown.
    kept: OnceCell<Box<Kept>>,
}

impl Calling<'_> {
    pub(crate) async fn run(mut self) -> Result<(), Failure> {
        let call = self.call;
        let head = call.head.render(self.frame)?;
        if call.client_streams() {
            // rare, and kept out of the size of every user
            return Box::pin(self.stream(&head)).await;
        }
        let message = call.message(0, self.frame, self.scratch)?;
        match &call.retry {
            None => self.attempt(&head, &message).await,
            Some(retry) => Box::pin(self.persist(retry, head, &message)).await,
        }
    }

    /// Tries again while the step says so, and no message came.
    async fn persist(
        &mut self,
        retry: &GrpcRetry,
        mut head: Rendered<'_>,
        message: &Bytes,
    ) -> Result<(), Failure> {
        let mut tries = 0;
        loop {
            let outcome = self.attempt(&head, message).await;
            let reply = self.link.response.reply.as_deref();
            let may_go_on = tries < retry.max && reply.is_none_or(|reply| reply.count() == 0);
            if !may_go_on
                || !status_of(&outcome, reply).is_some_and(|code| retry.on.contains(&code))
            {
                return outcome;
            }
            self.flight
                .retry_after(self.link.response.received, retry.backoff, tries)
                .await;
            // the token may be another one by now
            head.show_token()?;
            tries += 1;
        }
    }

    /// Sends it once, unless its stream is refused or its connection turns out to have ended.
    async fn attempt(&mut self, head: &Rendered<'_>, message: &Bytes) -> Result<(), Failure> {
        let mut tries = Tries::default();
        loop {
            let outcome = self.send_whole(head, message).await;
            if !tries.go_on(&outcome, self.flight) {
                return outcome;
            }
        }
    }

    /// A call with one message.
    async fn send_whole(&mut self, head: &Rendered<'_>, message: &Bytes) -> Result<(), Failure> {
        let Begun {
            answer,
            mut sending,
            seat,
        } = self.begin(head).await?;
        self.tally
            .kept()
            .into_iter()
            .for_each(|kept| kept.keep(message));
        // what flow control holds back is sent by and by, and kept without a copy until then; an
        // error shows in the answer
        let _ = sending.send_data(message.clone(), true);
        self.flight.written.set(head.size + message.len());
        let Self {
            link,
            flight,
            tally,
            ..
        } = self;
        let mut incoming = Incoming::new(answer, seat);
        poll_fn(|cx| {
            incoming.poll(cx, &mut link.response, flight, |whole| {
                tally.received(whole, flight)
            })
        })
        .await
    }

    /// A call whose messages are sent one after the other.
    async fn stream(&mut self, head: &Rendered<'_>) -> Result<(), Failure> {
        let mut tries = Tries::default();
        loop {
            let outcome = self.send_in_turn(head).await;
            if !tries.go_on(&outcome, self.flight) {
                return outcome;
            }
        }
    }

    async fn send_in_turn(&mut self, head: &Rendered<'_>) -> Result<(), Failure> {
        let Begun {
            answer,
            sending,
            seat,
        } = self.begin(head).await?;
        self.flight.written.set(head.size);
        let mut incoming = Incoming::new(answer, seat);
        let ends = self.call.half_close;
        let mut outgoing = Outgoing {
            sending,
            begun: Instant::now(),
            sent: 0,
            sleep: None,
            ends,
            closed: false,
        };
        let Self {
            call,
            link,
            frame,
            scratch,
            flight,
            tally,
            closing,
            ..
        } = self;
        let mut over = pin!(async {
            match closing {
                Some(closing) => closing.wait().await,
                None => std::future::pending().await,
            }
        });
        let mut is_over = false;
        poll_fn(|cx| {
            if !outgoing.closed {
                let message = |nth| {
                    let message = call.message(nth, &mut **frame, scratch)?;
                    tally
                        .kept()
                        .into_iter()
                        .for_each(|kept| kept.keep(&message));
                    Ok(message)
                };
                outgoing.poll(cx, call, flight, tally, message)?;
            }
            // a stream that begins after the end says something all the same
            if !outgoing.closed
                && !is_over
                && outgoing.sent > 0
                && over.as_mut().poll(cx).is_ready()
            {
                is_over = true;
                outgoing.end(call, flight, tally);
            }
            incoming.poll(cx, &mut link.response, flight, |whole| {
                tally.received(whole, flight)
            })
        })
        .await
    }

    async fn begin(&mut self, head: &Rendered<'_>) -> Result<Begun, Failure> {
        let expected = Expected {
            streams: self.call.server_streams(),
            most: self.call.most,
            message: self.wanted.body || self.call.judges_health,
            trailers: self.wanted.head,
        };
        self.link.response.begin_call(self.wanted, expected);
        self.tally
            .kept()
            .into_iter()
            .for_each(|kept| kept.begin(head));
        let session = self.link.session(self.flight).await?;
        session.start(head.request(), false).ok_or(Failure::Gone)
    }
}

/// The status that a call came to, also where its target sent none: what clients of gRPC make of
/// that.
fn status_of(outcome: &Result<(), Failure>, reply: Option<&Reply>) -> Option<Code> {
    let failure = match outcome {
        Ok(()) => return reply.and_then(Reply::code),
        Err(Failure::Grpc(fault)) => return fault.code(),
        Err(failure) => failure,
    };
    let is_of_connection = matches!(
        failure.class(),
        ErrorClass::Dns
            | ErrorClass::Connect
            | ErrorClass::Tls
            | ErrorClass::Reset
            | ErrorClass::StaleConnection
    );
    is_of_connection.then_some(Code::UNAVAILABLE)
}

/// Our half of a stream.
struct Outgoing {
    sending: SendStream<Bytes>,
    begun: Instant,
    sent: u32,
    sleep: Option<Pin<Box<Sleep>>>,
    /// It ends with the last message.
    ends: bool,
    /// Nothing more is sent.
    closed: bool,
}

impl Outgoing {
    /// Sends what is due. A message that cannot be made is the only thing that fails here; all else
    /// shows in the answer.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        call: &GrpcCall,
        flight: &Flight<'_>,
        tally: &Tally,
        mut message: impl FnMut(u32) -> Result<Bytes, Failure>,
    ) -> Result<(), Failure> {
        let most = self.sent.saturating_add(BATCH).min(call.times);
        while self.sent < most {
            if self.poll_due(cx, call).is_pending()
                || self.poll_room(cx).is_pending()
                || self.closed
            {
                return Ok(());
            }
            let before = self.sent;
            let mut frame = message(self.sent)?;
            self.sent += 1;
            if call.interval.is_zero() && self.sent < most && frame.len() < FRAME {
                let mut joined = frame.to_vec();
                while self.sent < most && joined.len() < FRAME {
                    joined.extend_from_slice(&message(self.sent)?);
                    self.sent += 1;
                }
                frame = joined.into();
            }
            flight.written.set(flight.written.get() + frame.len());
            tally.sent(self.sent - before, flight);
            self.closed = self.sent == call.times && self.ends;
            if self.sending.send_data(frame, self.closed).is_err() {
                self.closed = true;
            }
        }
        if self.sent < call.times {
            cx.waker().wake_by_ref();
        }
        Ok(())
    }

    /// The load is over. What does not take longer than iterations may take to finish is sent to
    /// its end, all else is left out.
    fn end(&mut self, call: &GrpcCall, flight: &Flight<'_>, tally: &Tally) {
        self.ends = true;
        let left = call.times - self.sent;
        let fits = call.interval.saturating_mul(left) < flight.shard.prepared.plan.stop_timeout;
        if left == 0 || !fits {
            tally.is_short.set(left > 0);
            self.close();
        }
    }

    /// Whether the time of the next message has come.
    fn poll_due(&mut self, cx: &mut Context<'_>, call: &GrpcCall) -> Poll<()> {
        if call.interval.is_zero() || self.sent == 0 {
            return Poll::Ready(());
        }
        let due = self.begun + call.interval.saturating_mul(self.sent);
        if Instant::now() >= due {
            return Poll::Ready(());
        }
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due.into())));
        if sleep.deadline().into_std() != due {
            sleep.as_mut().reset(due.into());
        }
        sleep.as_mut().poll(cx)
    }

    /// Whether flow control lets more be sent. One message is ahead of it at most: a target that
    /// reads slowly is not buried here.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.sending.reserve_capacity(1);
        while self.sending.capacity() == 0 {
            match self.sending.poll_capacity(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(None | Some(Err(_))) => {
                    self.closed = true;
                    break;
                }
            }
        }
        Poll::Ready(())
    }

    /// Says that nothing more follows.
    fn close(&mut self) {
        self.closed = true;
        // fails only when the stream has ended, which the answer shows
        let _ = self.sending.send_data(Bytes::new(), true);
    }
}

impl Tally {
    pub(crate) fn new(step: u16, part: Part, call: &PreparedCall) -> Self {
        let streams = matches!(call, PreparedCall::Grpc(call) if call.client_streams() || call.server_streams());
        Self {
            step,
            part,
            streams,
            first: Cell::new(None),
            last: Cell::new(None),
            is_short: Cell::new(false),
            kept: OnceCell::new(),
        }
    }

    /// So many bytes of what is sent are to be shown.
    pub(crate) fn keep(&self, most: usize) {
        self.kept.get_or_init(|| Box::new(Kept::new(most)));
    }

    pub(crate) fn kept(&self) -> Option<&Kept> {
        self.kept.get().map(|kept| &**kept)
    }

    /// Of a stream that came to its end, and was meant to begin at `intended`.
    pub(crate) fn sample(&self, intended: Instant) -> Option<StreamSample> {
        let first = self
            .first
            .get()
            .map(|first| first.saturating_duration_since(intended));
        self.streams.then_some(StreamSample { first, llm: None })
    }

    /// It was left before all was said, so that no check holds.
    pub(crate) fn is_short(&self) -> bool {
        self.is_short.get()
    }

    fn sent(&self, count: u32, flight: &Flight<'_>) {
        if self.streams {
            let now = Instant::now();
            let mut recorder = flight.shard.recorder.borrow_mut();
            (0..count).for_each(|_| recorder.message_sent(self.step, self.part, now));
        }
    }

    /// So many messages came at once.
    fn received(&self, count: u32, flight: &Flight<'_>) {
        if !self.streams {
            return;
        }
        let now = Instant::now();
        if self.first.get().is_none() {
            self.first.set(Some(now));
        }
        let mut recorder = flight.shard.recorder.borrow_mut();
        for _ in 0..count {
            let gap = self
                .last
                .replace(Some(now))
                .map(|last| now.saturating_duration_since(last));
            recorder.message_received(self.step, self.part, now, gap);
        }
    }
}
