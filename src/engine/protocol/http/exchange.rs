//! One HTTP request of a step, with its cookies, redirects and retries.

use std::borrow::Cow;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use url::Url;

use crate::engine::answer::Facts;
use crate::engine::answer::capture::{Capture, Wanted, header_texts, headers};
use crate::engine::attempt::Attempt;
use crate::engine::attempt::failure::Failure;
use crate::engine::attempt::sample::StreamSample;
use crate::engine::auth::{Credentials, NoCredentials};
use crate::engine::message::{self, Redirect, host};
use crate::engine::protocol::channel::Channel;
use crate::engine::protocol::exchange::{
    Due, Exchange, Place, Protocol, Scratch, SendContext, Statuses, Unsent,
};
use crate::engine::protocol::http::authorized::AuthorizedRequest;
use crate::engine::protocol::http::cookies::{Asked, Jar};
use crate::engine::protocol::http::events::streaming::Streaming;
use crate::engine::protocol::http::request::Request;
use crate::engine::protocol::http::sender::{Message, Sender};
use crate::engine::protocol::received::Received;
use crate::engine::protocol::transport::{Transport, backoff};
use crate::engine::record::refusal;
use crate::plan::template::Scope;
use crate::plan::{HttpStream, Retry, RetryOn};
use crate::stats::ErrorClass;

/// Call of a step over HTTP.
pub(crate) struct HttpCall {
    /// Request of the step, compiled.
    pub(crate) request: Request,
    /// Most redirects that are followed.
    pub(crate) follow_redirects: u32,
    /// Failures after which the request is retried, and how often.
    pub(crate) retry: Option<Retry>,
    /// Settings of the answer as a stream of events; `None` if it is not a stream.
    pub(crate) stream: Option<HttpStream>,
}

/// One request of a call.
pub(crate) struct HttpExchange<'a> {
    call: &'a HttpCall,
    place: Place,
    /// Message as rendered, without credentials that are refreshed.
    bare: &'a [u8],
    authorized: Authorized<'a>,
    /// Buffer for a message with cookies.
    changed: &'a mut Vec<u8>,
    /// Reader of the answer while it comes; boxed, so that users without streams stay small.
    stream: Option<Box<Streaming<'a>>>,
    /// Route of the latest message.
    route: usize,
}

/// Message with its credentials.
enum Authorized<'a> {
    /// Message that already has its credentials, or needs none.
    Bare,
    /// Message written for this request, because both it and its credentials differ each time.
    New(&'a [u8]),
    /// Message that is kept until the credentials change, because nothing else in it differs.
    Kept(Rc<AuthorizedRequest>),
}

impl Protocol for HttpCall {
    type Exchange<'a> = HttpExchange<'a>;

    fn begin<'a>(
        &'a self,
        place: Place,
        transport: &Transport,
        scope: &mut impl Scope,
        scratch: &'a mut Scratch,
    ) -> Result<HttpExchange<'a>, Unsent> {
        let Scratch {
            request,
            authorized,
            changed,
            ..
        } = scratch;
        let bare = self.request.render(scope, request)?;
        let authorized = self.authorize(place, transport, bare, authorized)?;
        let stream = self.stream.as_ref();
        Ok(HttpExchange {
            call: self,
            place,
            bare,
            authorized,
            changed,
            stream: stream.map(|stream| Box::new(Streaming::new(stream, place.step, place.part))),
            route: place.route,
        })
    }
}

impl HttpCall {
    /// Adds credentials that are refreshed during the load.
    fn authorize<'a>(
        &self,
        place: Place,
        transport: &Transport,
        bare: &[u8],
        out: &'a mut Vec<u8>,
    ) -> Result<Authorized<'a>, NoCredentials> {
        let credentials = if self.request.wants_credentials {
            transport.targets.refreshed(place.route)
        } else {
            None
        };
        match credentials {
            None => Ok(Authorized::Bare),
            Some(credentials) if self.request.http2().is_some() => transport
                .authorized
                .get(place.step, bare, credentials)
                .map(Authorized::Kept),
            Some(credentials) => {
                credentials.add_to(bare, out)?;
                Ok(Authorized::New(out))
            }
        }
    }
}

impl Authorized<'_> {
    /// Returns the first message of a request.
    fn message<'b>(&'b self, call: &'b HttpCall, bare: &'b [u8]) -> Message<'b> {
        let (bytes, http2) = match self {
            Self::Bare => (bare, call.request.http2()),
            Self::New(bytes) => (*bytes, None),
            Self::Kept(request) => (request.bytes.as_slice(), Some(&request.http2)),
        };
        Message {
            bytes,
            is_head: call.request.is_head,
            http2,
        }
    }
}

impl Exchange for HttpExchange<'_> {
    async fn send<S: Scope>(
        &mut self,
        context: &mut SendContext<'_, S>,
        attempt: &Attempt<'_>,
    ) -> Result<(), Failure> {
        let Self {
            call,
            place,
            bare,
            authorized,
            changed,
            stream,
            route,
        } = self;
        let stream = stream.as_deref();
        let Wanted { head, body, .. } = context.wanted;
        let wanted = Wanted {
            // the head says how the events of a stream are encoded
            head: head || stream.is_some(),
            body,
            cookies: context.transport.targets.routes[place.route].http.cookies,
            redirects: call.follow_redirects > 0,
            stream: stream.is_some(),
        };
        if let Some(stream) = stream.filter(|_| body) {
            stream.assemble();
        }
        let mut sending = Sending {
            sender: Sender {
                transport: context.transport,
                attempt,
                wanted,
                stream,
            },
            channels: &mut *context.channels,
            scope: &mut *context.scope,
            jar: &mut *context.jar,
            home: place.route,
            call,
            bare,
            message: authorized.message(call, bare),
            changed,
            route,
            has_left_origin: false,
        };
        match stream {
            None => sending.run().await,
            // rare, and kept out of the size of every user
            Some(stream) => Box::pin(stream.watch(sending.run())).await,
        }
    }

    fn conclude(
        &mut self,
        outcome: Result<(), Failure>,
        channel: &mut Channel,
        attempt: &Attempt<'_>,
        due: Due,
    ) -> Result<(), Failure> {
        match &self.stream {
            None => outcome,
            Some(stream) => {
                stream.conclude(outcome, &mut channel.answer, attempt.events, due.until)
            }
        }
    }

    fn ended(&self, now: Instant) -> Instant {
        self.stream.as_ref().map_or(now, |stream| stream.ended(now))
    }

    fn route(&self) -> usize {
        self.route
    }

    fn stream(&self, intended: Instant) -> Option<StreamSample> {
        self.stream.as_ref().map(|stream| stream.sample(intended))
    }

    /// Does nothing, since the message lives as long as the exchange.
    fn keep_sent(&mut self, _most: usize) {}

    fn message(&self) -> &[u8] {
        self.authorized.message(self.call, self.bare).bytes
    }

    fn statuses(channel: &Channel) -> Statuses {
        Statuses {
            http: channel.answer.status,
            grpc: None,
        }
    }

    fn refusal(channel: &Channel) -> Option<ErrorClass> {
        let status = channel.answer.status;
        (status >= 400).then(|| ErrorClass::of_status(status))
    }

    fn status_line(channel: &Channel) -> String {
        let status = channel.answer.status;
        let reason = ::http::StatusCode::from_u16(status)
            .ok()
            .and_then(|code| code.canonical_reason())
            .unwrap_or("unknown status");
        match &channel.answer.retry_after {
            Some(after) => format!("{status} {reason}, Retry-After: {after}"),
            None => format!("{status} {reason}"),
        }
    }

    fn reason(channel: &Channel, redact: impl Fn(&[u8]) -> String) -> Option<String> {
        let mut decoded = Vec::new();
        let Facts { head, body, .. } = channel.facts(Duration::ZERO, &mut decoded);
        refusal::reason(channel.answer.status, head, body, redact)
    }
}

/// Request that is being sent, until the last byte of its answer.
struct Sending<'a, S> {
    sender: Sender<'a>,
    channels: &'a mut [Channel],
    scope: &'a mut S,
    jar: &'a mut Jar,
    /// Route of the step.
    home: usize,
    call: &'a HttpCall,
    /// First message as rendered, without credentials that are refreshed.
    bare: &'a [u8],
    message: Message<'a>,
    changed: &'a mut Vec<u8>,
    /// Route of the latest message.
    route: &'a mut usize,
    /// True once a redirect led to another origin: the messages after it get the credentials of
    /// their target, even if the step sets its own.
    has_left_origin: bool,
}

impl<S: Scope> Sending<'_, S> {
    async fn run(&mut self) -> Result<(), Failure> {
        if self.call.retry.is_none() && self.call.follow_redirects == 0 {
            return self.send(self.home, self.message).await;
        }
        // rare, and kept out of the size of every user
        Box::pin(self.retry()).await
    }

    /// Sends a message with the user's cookies, and stores those of the answer.
    async fn send(&mut self, route: usize, mut message: Message<'_>) -> Result<(), Failure> {
        let Self {
            sender,
            channels,
            jar,
            changed,
            ..
        } = self;
        let url = &sender.transport.targets.routes[route].url;
        let bare = message.bytes;
        if !jar.is_empty()
            && let Some(cookies) = jar.header(
                &Asked::new(bare, url),
                message::values(bare, "cookie"),
                SystemTime::now(),
            )
        {
            message::with_cookies(bare, &cookies, changed);
            message = Message {
                bytes: changed,
                http2: None,
                ..message
            };
        }
        *self.route = route;
        let channel = &mut channels[route];
        let outcome = sender.exchange(route, channel, message).await;
        let Capture {
            wanted,
            sets_cookies,
            head,
            ..
        } = &channel.answer.capture;
        if wanted.cookies && *sets_cookies {
            jar.take(head, &Asked::new(bare, url), SystemTime::now());
        }
        outcome
    }

    /// Repeats the request as the step's retry settings allow.
    async fn retry(&mut self) -> Result<(), Failure> {
        let mut tries = 0;
        loop {
            let outcome = self.follow().await;
            let answer = &self.channels[*self.route].answer;
            let Some(retry) = &self.call.retry else {
                return outcome;
            };
            if tries == retry.max || !is_worth_another(retry, &outcome, answer.status) {
                return outcome;
            }
            self.sender.attempt.retry(answer.bytes);
            self.sender.reset_stream();
            tokio::time::sleep(backoff(retry.backoff, tries)).await;
            tries += 1;
        }
    }

    /// Sends the message and follows redirects.
    async fn follow(&mut self) -> Result<(), Failure> {
        self.send(self.home, self.message).await?;
        let mut before = Cow::Borrowed(self.bare);
        self.has_left_origin = false;
        for _ in 0..self.call.follow_redirects {
            let Some(location) = self.location() else {
                return Ok(());
            };
            before = Cow::Owned(self.hop(&before, &location).await?);
        }
        if self.call.follow_redirects > 0 && self.location().is_some() {
            Err(Failure::TooManyRedirects)
        } else {
            Ok(())
        }
    }

    /// Returns the URL that the latest answer redirects to, if it does.
    fn location(&self) -> Option<String> {
        let Received {
            status, capture, ..
        } = &self.channels[*self.route].answer;
        let redirects = matches!(status, 301 | 302 | 303 | 307 | 308);
        redirects
            .then(|| {
                header_texts(&capture.head, "location")
                    .next()
                    .map(str::to_owned)
            })
            .flatten()
    }

    /// Sends the request that follows a redirect of `before`, and returns it without credentials
    /// that are refreshed.
    async fn hop(&mut self, before: &[u8], location: &str) -> Result<Vec<u8>, Failure> {
        let Hop {
            to,
            same_origin,
            path,
            host,
        } = self.destination(before, location)?;
        let targets = &self.sender.transport.targets;
        let Received { status, bytes, .. } = self.channels[*self.route].answer;
        if self.sender.attempt.next_message(bytes) {
            self.sender.attempt.events.redirected();
        }
        self.sender.reset_stream();
        let mut next = Vec::new();
        let redirect = Redirect {
            status,
            path: &path,
            host: &host,
            same_origin,
        };
        let is_head = message::redirected(before, redirect, &mut next);
        if !same_origin {
            self.has_left_origin = true;
            next = self.for_target(to, next)?;
        }
        let credentials = targets
            .refreshed(to)
            .filter(|_| self.has_left_origin || self.call.request.wants_credentials);
        let mut authorized = Vec::new();
        if let Some(credentials) = credentials {
            credentials
                .add_to(&next, &mut authorized)
                .map_err(|why| Failure::NoCredentials(why.to_string()))?;
        }
        let message = Message {
            bytes: if credentials.is_some() {
                &authorized
            } else {
                &next
            },
            is_head,
            http2: None,
        };
        self.send(to, message).await?;
        Ok(next)
    }

    /// Finds the target to which a redirect of `before` leads. Fails for a host that the test does
    /// not name, since neither load nor credentials may go elsewhere.
    fn destination(&self, before: &[u8], location: &str) -> Result<Hop, Failure> {
        let routes = &self.sender.transport.targets.routes;
        let from = *self.route;
        let astray = |_| Failure::Redirect(location.chars().take(128).collect());
        let here = routes[from]
            .url
            .join(message::path(before))
            .map_err(astray)?;
        let path = |to: &Url| to[url::Position::BeforePath..url::Position::AfterQuery].to_owned();
        // what the target knows of its own name is the `Host` that was sent
        if let Some(sent) = message::header(before, "host")
            && let Some(known) = under(&here, sent)
            && let Ok(there) = known.join(location)
            && there.origin() == known.origin()
        {
            return Ok(Hop {
                to: from,
                same_origin: true,
                path: path(&there),
                host: String::from_utf8_lossy(sent).into_owned(),
            });
        }
        let there = here.join(location).map_err(astray)?;
        let same_origin = there.origin() == here.origin();
        let to = if same_origin {
            Some(from)
        } else {
            routes
                .iter()
                .position(|route| route.url.origin() == there.origin())
        };
        let to = to.ok_or_else(|| Failure::Redirect(there.origin().ascii_serialization()))?;
        Ok(Hop {
            to,
            same_origin,
            path: path(&there),
            host: host(&routes[to].url),
        })
    }

    /// Returns `message` with the headers that its new target adds to each request, unless it
    /// already has them.
    fn for_target(&mut self, to: usize, message: Vec<u8>) -> Result<Vec<u8>, Failure> {
        let targets = &self.sender.transport.targets;
        let mut lines = Vec::new();
        if let Some(Some(Credentials::Fixed { name, value })) = targets.credentials.get(to) {
            for part in [name.as_bytes(), b": ", value, b"\r\n"] {
                lines.extend_from_slice(part);
            }
        }
        let (head, _) = message::split(&message);
        for (name, value) in &targets.headers[to].headers {
            let is_there =
                headers(head).any(|(found, _)| found.eq_ignore_ascii_case(name.as_bytes()));
            if !is_there {
                lines.extend_from_slice(name.as_bytes());
                lines.extend_from_slice(b": ");
                value
                    .render(self.scope, &mut lines)
                    .map_err(|why| Failure::Unfit(why.to_string()))?;
                lines.extend_from_slice(b"\r\n");
            }
        }
        let mut changed = Vec::new();
        message::with_lines(&message, &lines, &mut changed);
        Ok(changed)
    }
}

/// Destination of a redirect.
struct Hop {
    /// Position of the route.
    to: usize,
    same_origin: bool,
    /// Path and query.
    path: String,
    /// Value of `Host`.
    host: String,
}

/// Returns `url` with the host and port of a `Host` header; `None` if it holds none.
fn under(url: &Url, host: &[u8]) -> Option<Url> {
    let host = std::str::from_utf8(host).ok()?;
    let named = Url::parse(&format!("{}://{host}/", url.scheme())).ok()?;
    let mut url = url.clone();
    url.set_host(named.host_str()).ok()?;
    url.set_port(named.port()).ok()?;
    Some(url)
}

fn is_worth_another(retry: &Retry, outcome: &Result<(), Failure>, status: u16) -> bool {
    let class = outcome.as_ref().err().map(Failure::class);
    retry.on.iter().any(|on| match on {
        RetryOn::Connect => matches!(
            class,
            Some(ErrorClass::Dns | ErrorClass::Connect | ErrorClass::Tls)
        ),
        RetryOn::Reset => matches!(class, Some(ErrorClass::Reset | ErrorClass::StaleConnection)),
        RetryOn::Throttled => class.is_none() && status == 429,
        RetryOn::Unavailable => class.is_none() && status == 503,
        RetryOn::ServerError => class.is_none() && status >= 500,
    })
}
