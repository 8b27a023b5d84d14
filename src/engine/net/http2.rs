//! A connection of HTTP/2, and the exchange of one request for one answer on a stream of it.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use bytes::Bytes;
use h2::client::{Builder, Connection, ResponseFuture, SendRequest};
use h2::{PingPong, Reason, RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

use crate::engine::attempt::Attempt;
use crate::engine::attempt::failure::Failure;
use crate::engine::net::keep_alive;
use crate::engine::net::reader::StreamReader;
use crate::engine::net::stream::Stream;
use crate::plan::HeadLimits;
use crate::plan::grpc::{Grpc, KeepAlive};

/// Most bytes that a target may send ahead of what was read, on one stream and on the connection.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;

/// Connection that several users may share.
pub(crate) struct Session {
    sender: RefCell<SendRequest<Bytes>>,
    until: Option<Instant>,
    /// Number of requests that the connection has carried.
    served: Cell<u32>,
    /// Number of open streams.
    streams: Cell<usize>,
    /// True once an answer came on the connection.
    answered: Cell<bool>,
    ended: Rc<Cell<bool>>,
    /// Signal that a stream ended.
    freed: Rc<Notify>,
}

impl Session {
    /// Opens a session on `stream`. The connection is driven by a task that ends when the last user
    /// of the session drops it.
    pub(crate) async fn open(
        stream: Stream,
        until: Option<Instant>,
        freed: Rc<Notify>,
        channels: Option<&Grpc>,
        limits: HeadLimits,
    ) -> Result<Self, Failure> {
        let reads = Rc::new(Cell::new(0));
        let opened = Builder::new()
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(list_size(limits))
            .handshake(AlertStream {
                stream,
                failed: None,
                reads: reads.clone(),
            })
            .await;
        let (sender, mut connection) = opened.map_err(|error| failure(error, Progress::Unsent))?;
        let pings = match channels {
            None => None,
            Some(channels) => await_http2(&mut connection, channels).await?,
        };
        let ended = Rc::new(Cell::new(false));
        let signals = (ended.clone(), freed.clone());
        tokio::task::spawn_local(async move {
            // each stream says for itself why it failed
            match pings {
                None => drop(connection.await),
                Some((pings, keep_alive)) => {
                    keep_alive::drive(connection, pings, &keep_alive, &reads).await
                }
            }
            signals.0.set(true);
            signals.1.notify_waiters();
        });
        Ok(Self {
            sender: RefCell::new(sender),
            until,
            served: Cell::new(0),
            streams: Cell::new(0),
            answered: Cell::new(false),
            ended,
            freed,
        })
    }

    /// Returns whether the connection may carry further requests: by its age, the number of
    /// requests, and whether it is known to have ended.
    pub(crate) fn may_serve(&self, now: Instant, most: Option<u32>) -> bool {
        !self.ended.get()
            && self.until.is_none_or(|until| now < until)
            && most.is_none_or(|most| self.served.get() < most)
    }

    /// Returns the number of open streams.
    pub(crate) fn streams(&self) -> usize {
        self.streams.get()
    }

    /// Returns whether the target takes one more stream now.
    pub(crate) fn has_room(&self, most: usize) -> bool {
        self.streams.get() < self.sender.borrow().current_max_send_streams().min(most)
    }

    /// Begins to send a request; `None` if the connection has ended and nothing was sent.
    pub(crate) fn begin(self: &Rc<Self>, head: http::Request<()>, body: Bytes) -> Option<Exchange> {
        let Begun {
            answer,
            mut sending,
            guard,
        } = self.start(head, body.is_empty())?;
        // what flow control holds back is sent by and by, and kept without a copy until then
        if !body.is_empty() && sending.send_data(body, true).is_err() {
            self.ended.set(true);
            return None;
        }
        Some(Exchange {
            guard,
            receiving: Receiving::Head(answer),
        })
    }

    /// Opens a stream and sends a head; `None` if the connection has ended and nothing was sent.
    pub(crate) fn start(self: &Rc<Self>, head: http::Request<()>, is_all: bool) -> Option<Begun> {
        let mut sender = self.sender.borrow_mut();
        if sender
            .poll_ready(&mut Context::from_waker(Waker::noop()))
            .is_pending()
        {
            // it waits for the stream it began last; another one does not, and costs more than to
            // ask
            let another = sender.clone();
            *sender = another;
        }
        let Ok((answer, sending)) = sender.send_request(head, is_all) else {
            self.ended.set(true);
            return None;
        };
        self.streams.set(self.streams.get() + 1);
        self.served.set(self.served.get() + 1);
        Some(Begun {
            answer,
            sending,
            guard: StreamGuard(self.clone()),
        })
    }
}

/// Returns the size of a head up to which h2 reads it. That is as HTTP/2 counts, and generous, so
/// that the reader of the answer finds out which limit is exceeded.
fn list_size(limits: HeadLimits) -> u32 {
    let HeadLimits { bytes, fields } = limits;
    // RFC 9113, 6.5.2: each field counts 32 bytes more
    bytes * 2 + fields * 36
}

/// Waits until the target has shown that it speaks HTTP/2. Returns the pings and settings that keep
/// the connection alive afterwards, if the plan asks for that.
async fn await_http2(
    connection: &mut Connection<AlertStream, Bytes>,
    channels: &Grpc,
) -> Result<Option<(PingPong, KeepAlive)>, Failure> {
    let first_ping = keep_alive::first_ping(connection);
    let pong = match &channels.keep_alive {
        None => first_ping.await,
        // a target that is silent from the beginning is found dead as soon as one that falls
        // silent
        Some(KeepAlive { timeout, .. }) => tokio::time::timeout(*timeout, first_ping)
            .await
            .map_err(|_| {
                Failure::NoCallsOverHttp2("it did not answer within grpc.keepAlive.timeout".into())
            })?,
    };
    let pings = pong.map_err(|error| match error.is_io() {
        true => failure(error, Progress::Unsent),
        // the target has not shown yet that it speaks HTTP/2
        false => Failure::NoCallsOverHttp2(error.to_string()),
    })?;
    Ok(pings.zip(channels.keep_alive.clone()))
}

/// Stream whose head was sent.
pub(crate) struct Begun {
    /// Future of the head of the answer.
    pub(crate) answer: ResponseFuture,
    /// Sender of the body. Dropping it, and the answer, before their end resets the stream.
    pub(crate) sending: SendStream<Bytes>,
    /// Guard of the stream's place on the connection.
    pub(crate) guard: StreamGuard,
}

/// Guard of one of a connection's streams. When it is dropped, another stream may take its place.
pub(crate) struct StreamGuard(Rc<Session>);

impl StreamGuard {
    /// Records that an answer has begun to come.
    pub(crate) fn answered(&self) {
        self.0.answered.set(true);
    }

    /// Classifies an error of the stream; `answered` is whether its own answer had begun to come.
    pub(crate) fn failure(&self, error: h2::Error, answered: bool) -> Failure {
        let progress = match (answered, self.0.answered.get()) {
            (true, _) => Progress::Answered,
            (false, true) => Progress::Later,
            (false, false) => Progress::First,
        };
        failure(error, progress)
    }
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get() - 1);
        self.0.freed.notify_one();
    }
}

/// Stream whose failed write reports what the target sent before it closed the connection. A
/// target that refuses a client certificate sends a TLS alert and closes; h2 gives up at the first
/// write that fails, and would not read the alert.
struct AlertStream {
    stream: Stream,
    /// Error of a failed write, kept until it is known what the target sent before.
    failed: Option<io::Error>,
    /// Counter that changes whenever bytes came.
    reads: Rc<Cell<u64>>,
}

impl AlertStream {
    fn write<T>(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut Stream>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let failed = match self.failed.take() {
            Some(error) => error,
            None => match write(Pin::new(&mut self.stream), cx) {
                Poll::Ready(Err(error)) if self.stream.is_tls() => error,
                outcome => return outcome,
            },
        };
        // the other side has left, so that there is an end to be read
        match Pin::new(&mut self.stream).poll_read(cx, &mut ReadBuf::new(&mut [0])) {
            Poll::Ready(Err(said)) if said.kind() == io::ErrorKind::InvalidData => {
                Poll::Ready(Err(said))
            }
            Poll::Ready(_) => Poll::Ready(Err(failed)),
            Poll::Pending => {
                self.failed = Some(failed);
                Poll::Pending
            }
        }
    }
}

impl AsyncRead for AlertStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.reads
            .set(self.reads.get() + u64::from(read.is_ready()));
        read
    }
}

impl AsyncWrite for AlertStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut()
            .write(cx, |stream, cx| stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut()
            .write(cx, |stream, cx| stream.poll_write_vectored(cx, parts))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().write(cx, |stream, cx| stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// Exchange of one request on a stream. Dropping it before its end resets the stream.
pub(crate) struct Exchange {
    guard: StreamGuard,
    receiving: Receiving,
}

enum Receiving {
    Head(ResponseFuture),
    Body(RecvStream),
}

impl Exchange {
    /// Reads until the answer is complete.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut impl StreamReader,
        attempt: &Attempt<'_>,
    ) -> Poll<Result<(), Failure>> {
        if let Receiving::Head(answer) = &mut self.receiving {
            let (head, body) = ready!(Pin::new(answer).poll(cx))
                .map_err(|error| self.guard.failure(error, false))?
                .into_parts();
            self.guard.answered();
            reader.take_head(head.status.as_u16(), &head.headers)?;
            if body.is_end_stream() {
                return Poll::Ready(Ok(()));
            }
            self.receiving = Receiving::Body(body);
        }
        let Receiving::Body(body) = &mut self.receiving else {
            return Poll::Pending;
        };
        loop {
            match body.poll_data(cx) {
                Poll::Pending => {
                    attempt.answer_continues();
                    return Poll::Pending;
                }
                Poll::Ready(Some(Ok(data))) => {
                    let taken = reader.take_data(&data);
                    // fails only when the stream has ended, which the next look at it shows
                    let _ = body.flow_control().release_capacity(data.len());
                    taken?;
                }
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                // it has answered, and wants no more of the request
                Poll::Ready(Some(Err(error)))
                    if error.is_remote()
                        && error.is_reset()
                        && error.reason() == Some(Reason::NO_ERROR) =>
                {
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Some(Err(error))) => {
                    return Poll::Ready(Err(self.guard.failure(error, true)));
                }
            }
        }
    }
}

/// Progress of a request when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Unsent,
    /// The request was sent on a connection on which no answer had come before.
    First,
    /// The request was sent on a connection that had carried an answer before.
    Later,
    Answered,
}

fn failure(error: h2::Error, progress: Progress) -> Failure {
    let refuses = error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM);
    match error.reason() {
        // a GOAWAY fails only streams that it says were not processed
        Some(reason) if error.is_remote() && refuses => return Failure::Refused(reason),
        Some(reason) if error.is_remote() => return Failure::StreamReset(reason),
        _ => {}
    }
    if error.is_library() && progress != Progress::Answered {
        return Failure::Http2(format!(
            "{error}; or the head of the answer is much longer than http.maxHeaderBytes allows"
        ));
    }
    let text = error.to_string();
    let Some(error) = error.into_io() else {
        return Failure::Http2(text);
    };
    // so h2 says that the connection came to its end
    let is_end = error.kind() == io::ErrorKind::BrokenPipe;
    match progress {
        _ if error.kind() == io::ErrorKind::InvalidData => Failure::Tls(error),
        Progress::Later => Failure::Stale,
        Progress::First if is_end => Failure::Unanswered,
        Progress::Answered if is_end => Failure::Cut,
        _ => Failure::Broken(error),
    }
}
