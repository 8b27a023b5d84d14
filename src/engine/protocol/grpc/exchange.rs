//! One request of a step over gRPC, from sending it to the end of its answer, with retries.

use std::borrow::Cow;
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
use crate::engine::attempt::Attempt;
use crate::engine::attempt::failure::Failure;
use crate::engine::attempt::sample::{Part, StreamSample};
use crate::engine::net::http2::Begun;
use crate::engine::protocol::channel::Channel;
use crate::engine::protocol::closing::Closing;
use crate::engine::protocol::exchange::{
    Due, Exchange, Place, Protocol, Scratch, SendContext, Statuses, Unsent,
};
use crate::engine::protocol::grpc::call::GrpcCall;
use crate::engine::protocol::grpc::fault::code_of_http;
use crate::engine::protocol::grpc::head::Rendered;
use crate::engine::protocol::grpc::incoming::{Incoming, Reading};
use crate::engine::protocol::grpc::reply::{Expected, Reply};
use crate::engine::protocol::grpc::sent::Sent;
use crate::engine::protocol::transport::{Transport, Tries, backoff};
use crate::plan::grpc::{Code, GrpcRetry, SendAfter};
use crate::plan::template::Scope;
use crate::stats::ErrorClass;

/// Most due messages that are sent before other tasks get a turn.
const BATCH: u32 = 64;

/// Approximate size in bytes of a frame that joins messages due at the same time, since servers
/// take many small frames for a flood.
const FRAME: usize = 16 * 1024;

/// One request of a call.
pub(crate) struct GrpcExchange<'a> {
    call: &'a GrpcCall,
    route: usize,
    /// Buffer for messages that differ.
    scratch: &'a mut Vec<u8>,
    progress: Progress,
    /// True if the last message of the answer is read by rules.
    wants_body: bool,
}

impl Protocol for GrpcCall {
    type Exchange<'a> = GrpcExchange<'a>;

    fn begin<'a>(
        &'a self,
        place: Place,
        _transport: &Transport,
        _scope: &mut impl Scope,
        scratch: &'a mut Scratch,
    ) -> Result<GrpcExchange<'a>, Unsent> {
        Ok(GrpcExchange {
            call: self,
            route: place.route,
            scratch: &mut scratch.message,
            progress: Progress::new(place, self),
            wants_body: false,
        })
    }
}

impl Exchange for GrpcExchange<'_> {
    async fn send<S: Scope>(
        &mut self,
        context: &mut SendContext<'_, S>,
        attempt: &Attempt<'_>,
    ) -> Result<(), Failure> {
        self.wants_body = context.wanted.body;
        let mut calling = Calling {
            call: self.call,
            route: self.route,
            channel: &mut context.channels[self.route],
            transport: context.transport,
            scope: &mut *context.scope,
            scratch: self.scratch,
            attempt,
            wanted: context.wanted,
            progress: &self.progress,
            closing: context.closing,
        };
        calling.run().await
    }

    fn conclude(
        &mut self,
        outcome: Result<(), Failure>,
        channel: &mut Channel,
        _attempt: &Attempt<'_>,
        due: Due,
    ) -> Result<(), Failure> {
        let reply = channel.reply.as_deref();
        if let Some(why) = deadline_exceeded(&outcome, reply, due.is_over) {
            channel.reply.get_or_insert_default().exceed_deadline(&why);
            // what came until then is read as far as it can be
            let _ = self.call.look_into(channel, self.wants_body);
            return Ok(());
        }
        outcome?;
        let is_ok = channel.reply.as_ref().is_some_and(|reply| reply.is_ok());
        match self.call.look_into(channel, self.wants_body) {
            // the status says more than a message that cannot be read
            Err(_) if !is_ok => Ok(()),
            outcome => Ok(outcome?),
        }
    }

    fn route(&self) -> usize {
        self.route
    }

    fn part(&self, part: Part, failed: bool) -> Part {
        self.call.part(part, failed)
    }

    fn stream(&self, intended: Instant) -> Option<StreamSample> {
        self.progress.sample(intended)
    }

    fn is_cut_short(&self) -> bool {
        self.progress.is_short.get()
    }

    fn keep_sent(&mut self, most: usize) {
        self.progress.sent.get_or_init(|| Box::new(Sent::new(most)));
    }

    fn message(&self) -> &[u8] {
        self.call.line()
    }

    fn logged(&self) -> (Cow<'_, [u8]>, Option<u64>) {
        match self.progress.sent() {
            None => (Cow::Borrowed(self.call.line()), None),
            Some(sent) => {
                let (shown, size) = sent.shown(self.call);
                (Cow::Owned(shown), Some(size))
            }
        }
    }

    fn statuses(channel: &Channel) -> Statuses {
        Statuses {
            http: 0,
            grpc: code(channel).map(|code| code.0),
        }
    }

    fn refusal(channel: &Channel) -> Option<ErrorClass> {
        code(channel).and_then(|code| ErrorClass::of_grpc(code.0))
    }

    fn status_line(channel: &Channel) -> String {
        let reply = channel.reply.as_deref();
        reply.map_or_else(String::new, Reply::status_line)
    }

    fn reason(channel: &Channel, redact: impl Fn(&[u8]) -> String) -> Option<String> {
        let message = channel.reply.as_ref()?.message()?;
        Some(redact(message.as_bytes()))
    }
}

/// Returns whether the call failed since its deadline passed, whoever found that out first: this
/// client's clock, or the server, which then ends the stream or says so by whatever status. The
/// result is the reason in words.
fn deadline_exceeded(
    outcome: &Result<(), Failure>,
    reply: Option<&Reply>,
    is_due: bool,
) -> Option<String> {
    match outcome {
        Err(failure @ (Failure::Timeout | Failure::TimeoutBeforeSent)) => Some(failure.to_string()),
        Err(Failure::StreamReset(reason)) if is_due => Some(format!(
            "the target reset the stream at the deadline: {reason}"
        )),
        Ok(()) if is_due => {
            let code = reply.and_then(Reply::code)?;
            (code != Code::OK && code != Code::DEADLINE_EXCEEDED).then(|| {
                match reply.and_then(Reply::message) {
                    Some(words) => format!("at the deadline the target said {code}: {words}"),
                    None => format!("at the deadline the target said {code}"),
                }
            })
        }
        Ok(()) | Err(_) => None,
    }
}

fn code(channel: &Channel) -> Option<Code> {
    channel.reply.as_ref()?.code()
}

/// Call that is being sent, until its status has come.
struct Calling<'a, S> {
    call: &'a GrpcCall,
    route: usize,
    channel: &'a mut Channel,
    transport: &'a Transport,
    scope: &'a mut S,
    scratch: &'a mut Vec<u8>,
    attempt: &'a Attempt<'a>,
    wanted: Wanted,
    progress: &'a Progress,
    /// End of the load, which ends streams; `None` if it does not.
    closing: Option<&'a Closing>,
}

/// Message counts and times of a call that is being sent.
struct Progress {
    step: u16,
    part: Part,
    /// True for a stream, whose messages are measured separately.
    streams: bool,
    first: Cell<Option<Instant>>,
    last: Cell<Option<Instant>>,
    /// Number of messages that came.
    received: Cell<u32>,
    /// True once the call was ended before all messages were sent.
    is_short: Cell<bool>,
    /// Copy of the sent messages, if they are to be shown.
    sent: OnceCell<Box<Sent>>,
}

impl<S: Scope> Calling<'_, S> {
    async fn run(&mut self) -> Result<(), Failure> {
        let call = self.call;
        let head = call.head.render(self.scope)?;
        if call.client_streams() {
            // rare, and kept out of the size of every user
            return Box::pin(self.stream(&head)).await;
        }
        let message = call.message(0, self.scope, self.scratch)?;
        match &call.retry {
            None => self.try_whole(&head, &message).await,
            Some(retry) => Box::pin(self.retry(retry, head, &message)).await,
        }
    }

    /// Repeats the call as the step's retry settings allow, unless a message came.
    async fn retry(
        &mut self,
        retry: &GrpcRetry,
        mut head: Rendered<'_>,
        message: &Bytes,
    ) -> Result<(), Failure> {
        let mut tries = 0;
        loop {
            let outcome = self.try_whole(&head, message).await;
            let reply = self.channel.reply.as_deref();
            let may_go_on = tries < retry.max && reply.is_none_or(|reply| reply.count() == 0);
            if !may_go_on
                || !status_of(&outcome, reply).is_some_and(|code| retry.on.contains(&code))
            {
                return outcome;
            }
            self.attempt.retry(self.channel.answer.bytes);
            tokio::time::sleep(backoff(retry.backoff, tries)).await;
            // the token may be another one by now
            head.show_token()?;
            tries += 1;
        }
    }

    /// Sends the call once, and again if its stream was refused or its connection had ended.
    async fn try_whole(&mut self, head: &Rendered<'_>, message: &Bytes) -> Result<(), Failure> {
        let mut tries = Tries::default();
        loop {
            let outcome = self.send_whole(head, message).await;
            if !tries.one_more(&outcome, self.attempt) {
                return self.with_cause(outcome);
            }
        }
    }

    /// Sends a call with one message.
    async fn send_whole(&mut self, head: &Rendered<'_>, message: &Bytes) -> Result<(), Failure> {
        let Begun {
            answer,
            mut sending,
            guard,
        } = self.begin(head).await?;
        if let Some(sent) = self.progress.sent() {
            sent.keep(message);
        }
        // what flow control holds back is sent by and by, and kept without a copy until then; an
        // error shows in the answer
        let _ = sending.send_data(message.clone(), true);
        self.attempt.wrote(head.size + message.len());
        let Self {
            channel,
            attempt,
            progress,
            ..
        } = self;
        let mut incoming = Incoming::new(answer, guard);
        let mut reading = Reading::of(channel);
        poll_fn(|cx| {
            incoming.poll(cx, &mut reading, attempt, |whole| {
                progress.count_received(whole, attempt)
            })
        })
        .await
    }

    /// Sends a call whose messages are sent one after another.
    async fn stream(&mut self, head: &Rendered<'_>) -> Result<(), Failure> {
        let mut tries = Tries::default();
        loop {
            let outcome = self.send_in_turn(head).await;
            if !tries.one_more(&outcome, self.attempt) {
                return self.with_cause(outcome);
            }
        }
    }

    async fn send_in_turn(&mut self, head: &Rendered<'_>) -> Result<(), Failure> {
        let Begun {
            answer,
            sending,
            guard,
        } = self.begin(head).await?;
        self.attempt.wrote(head.size);
        let mut incoming = Incoming::new(answer, guard);
        let mut outgoing = Outgoing::new(sending, self.call.half_close);
        let Self {
            call,
            channel,
            scope,
            scratch,
            attempt,
            progress,
            closing,
            ..
        } = self;
        let mut reading = Reading::of(channel);
        let mut over = pin!(end_of_load(*closing));
        let mut is_over = false;
        poll_fn(|cx| {
            if !outgoing.closed {
                let message = |nth| {
                    let message = call.message(nth, &mut **scope, scratch)?;
                    if let Some(sent) = progress.sent() {
                        sent.keep(&message);
                    }
                    Ok(message)
                };
                outgoing.poll(cx, call, attempt, progress, message)?;
            }
            // a stream that begins after the end says something all the same
            let has_begun = outgoing.sent > 0 || call.times == 0;
            if !outgoing.closed && !is_over && has_begun && over.as_mut().poll(cx).is_ready() {
                is_over = true;
                outgoing.end(call, progress);
            }
            let replies = progress.received.get();
            let polled = incoming.poll(cx, &mut reading, attempt, |whole| {
                progress.count_received(whole, attempt)
            });
            // a message that waited for its reply may go now
            if !outgoing.closed && progress.received.get() > replies {
                cx.waker().wake_by_ref();
            }
            polled
        })
        .await
    }

    fn with_cause(&self, outcome: Result<(), Failure>) -> Result<(), Failure> {
        let route = &self.transport.targets.routes[self.route];
        route.with_cause(outcome, self.attempt)
    }

    async fn begin(&mut self, head: &Rendered<'_>) -> Result<Begun, Failure> {
        let expected = Expected {
            streams: self.call.server_streams(),
            most: self.call.most,
            message: self.wanted.body || self.call.judges_health,
            trailers: self.wanted.head,
        };
        Reading::begin(self.channel, self.wanted, expected);
        if let Some(sent) = self.progress.sent() {
            sent.begin(head);
        }
        let route = &self.transport.targets.routes[self.route];
        let pool = &self.transport.pools[self.route];
        let connecting = self.channel.connector.http2(route, pool, self.attempt);
        let session = connecting.await?;
        session.start(head.request(), false).ok_or(Failure::Gone)
    }
}

/// Waits for the end of the load if that ends streams; otherwise forever.
async fn end_of_load(closing: Option<&Closing>) {
    match closing {
        Some(closing) => closing.wait().await,
        None => std::future::pending().await,
    }
}

/// Returns the status of a call. If the target sent none, it is the one that gRPC clients report
/// instead.
fn status_of(outcome: &Result<(), Failure>, reply: Option<&Reply>) -> Option<Code> {
    let failure = match outcome {
        Ok(()) => return reply.and_then(Reply::code),
        Err(Failure::Malformed { status, .. }) => {
            return (*status > 0).then(|| code_of_http(*status));
        }
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

/// Client's half of a stream.
struct Outgoing {
    sending: SendStream<Bytes>,
    begun: Instant,
    sent: u32,
    sleep: Option<Pin<Box<Sleep>>>,
    /// True if the client ends its half with the last message.
    ends: bool,
    /// True if nothing more is sent.
    closed: bool,
}

impl Outgoing {
    /// Begins the client's half, which `ends` with its last message or else with the call.
    fn new(sending: SendStream<Bytes>, ends: bool) -> Self {
        Self {
            sending,
            begun: Instant::now(),
            sent: 0,
            sleep: None,
            ends,
            closed: false,
        }
    }

    /// Sends the messages that are due. Fails only if a message cannot be built; other failures
    /// show in the answer.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        call: &GrpcCall,
        attempt: &Attempt<'_>,
        progress: &Progress,
        mut message: impl FnMut(u32) -> Result<Bytes, Failure>,
    ) -> Result<(), Failure> {
        if call.times == 0 && self.ends {
            self.close();
        }
        let waits = call.send_after == SendAfter::Reply;
        let most = self.sent.saturating_add(BATCH).min(call.times);
        while self.sent < most {
            // the answer wakes it
            if waits && progress.received.get() < self.sent {
                return Ok(());
            }
            if self.poll_due(cx, call).is_pending()
                || self.poll_room(cx).is_pending()
                || self.closed
            {
                return Ok(());
            }
            let before = self.sent;
            let mut frame = message(self.sent)?;
            self.sent += 1;
            let may_join = call.interval.is_zero() && !waits;
            if may_join && self.sent < most && frame.len() < FRAME {
                let mut joined = frame.to_vec();
                while self.sent < most && joined.len() < FRAME {
                    joined.extend_from_slice(&message(self.sent)?);
                    self.sent += 1;
                }
                frame = joined.into();
            }
            attempt.wrote(attempt.written() + frame.len());
            progress.count_sent(self.sent - before, attempt);
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

    /// Handles the end of the load: the remaining messages are still sent if all of them fit within
    /// the stop timeout; otherwise the stream is closed at once.
    fn end(&mut self, call: &GrpcCall, progress: &Progress) {
        self.ends = true;
        let left = call.times - self.sent;
        // how long replies take is the target's affair
        let fits = call.send_after == SendAfter::Message
            && call.interval.saturating_mul(left) < call.stop_timeout;
        if left == 0 || !fits {
            progress.is_short.set(left > 0);
            self.close();
        }
    }

    /// Waits until the next message is due.
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

    /// Waits until flow control lets more be sent. At most one message is buffered ahead of it,
    /// since a target may read slowly.
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

    /// Ends the client's half of the stream.
    fn close(&mut self) {
        self.closed = true;
        // fails only when the stream has ended, which the answer shows
        let _ = self.sending.send_data(Bytes::new(), true);
    }
}

impl Progress {
    fn new(place: Place, call: &GrpcCall) -> Self {
        Self {
            step: place.step,
            part: place.part,
            streams: call.client_streams() || call.server_streams(),
            first: Cell::new(None),
            last: Cell::new(None),
            received: Cell::new(0),
            is_short: Cell::new(false),
            sent: OnceCell::new(),
        }
    }

    fn sent(&self) -> Option<&Sent> {
        self.sent.get().map(|sent| &**sent)
    }

    /// Returns the measurements of a stream that came to its end; `intended` is its intended start.
    fn sample(&self, intended: Instant) -> Option<StreamSample> {
        let first = self
            .first
            .get()
            .map(|first| first.saturating_duration_since(intended));
        self.streams.then_some(StreamSample { first, llm: None })
    }

    /// Counts messages that were sent.
    fn count_sent(&self, count: u32, attempt: &Attempt<'_>) {
        if self.streams {
            let now = Instant::now();
            attempt
                .events
                .messages_sent(self.step, self.part, now, count);
        }
    }

    /// Counts messages that came together.
    fn count_received(&self, count: u32, attempt: &Attempt<'_>) {
        if !self.streams {
            return;
        }
        self.received.set(self.received.get().saturating_add(count));
        let now = Instant::now();
        if self.first.get().is_none() {
            self.first.set(Some(now));
        }
        for _ in 0..count {
            let gap = self
                .last
                .replace(Some(now))
                .map(|last| now.saturating_duration_since(last));
            attempt
                .events
                .message_received(self.step, self.part, now, gap);
        }
    }
}
