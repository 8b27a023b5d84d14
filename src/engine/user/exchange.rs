//! One request of a user, with its cookies, redirects and retries: carried out, judged and recorded
//! as one sample.

use std::borrow::Cow;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use crate::engine::answer::capture::{Capture, Wanted, header_texts, headers};
use crate::engine::answer::{Facts, Judged};
use crate::engine::auth::{Credentials, Dressed, Living, NoCredentials};
use crate::engine::load::shard::Shard;
use crate::engine::message::{self, Redirect};
use crate::engine::net::connection::Failure;
use crate::engine::prepare::program::{HttpCall, PreparedCall, PreparedStep};
use crate::engine::protocol::closing::Closing;
use crate::engine::protocol::grpc::{Calling, Tally};
use crate::engine::protocol::http::coding::decode;
use crate::engine::protocol::http::cookies::Jar;
use crate::engine::protocol::http::events::streaming::Streaming;
use crate::engine::protocol::http::request::{self, http2::Form};
use crate::engine::protocol::http::response::Response;
use crate::engine::protocol::transport::{Flight, Link, Outgoing};
use crate::engine::record::recorder::{Part, Sample, StreamSample};
use crate::engine::record::redactor::Redactor;
use crate::engine::record::refusal;
use crate::engine::record::sampling::Seen;
use crate::engine::user::deadline::Deadline;
use crate::engine::user::frame::Frame;
use crate::plan::{Goodput, Retry, RetryOn};
use crate::stats::ErrorClass;

/// Characters of what a check says where the answer is told with it.
const MAX_WHY: usize = 120;

/// Buffers of one user; empty for one whose requests never differ.
#[derive(Default)]
pub(crate) struct Scratch {
    request: request::Scratch,
    /// It with credentials, where both differ.
    dressed: Vec<u8>,
    /// A message with cookies, or one that follows a redirect.
    changed: Vec<u8>,
    /// A message of gRPC.
    message: Vec<u8>,
}

pub(crate) struct Exchange<'a> {
    pub(crate) shard: &'a Shard,
    pub(crate) number: u16,
    pub(crate) links: &'a mut [Link],
    pub(crate) frame: &'a mut Frame,
    pub(crate) jar: &'a mut Jar,
    pub(crate) scratch: &'a mut Scratch,
    pub(crate) part: Part,
    /// Ends streams; `None` where the end of the load is none of theirs.
    pub(crate) closing: Option<&'a Closing>,
    /// The latest answer, for the conditions that look at it.
    pub(crate) answered: &'a mut Option<Answered>,
}

/// Where an answer lies.
#[derive(Clone, Copy)]
pub(crate) struct Answered {
    route: usize,
    latency: Duration,
    /// It came to its end.
    whole: bool,
}

impl Answered {
    /// What conditions read; `None` where no whole answer came.
    pub(crate) fn facts<'a>(&self, links: &'a [Link], body: &'a mut Vec<u8>) -> Option<Facts<'a>> {
        self.whole
            .then(|| answer(&links[self.route].response, self.latency, body))
    }
}

/// What goes on until the last byte has come.
struct Sending<'a> {
    shard: &'a Shard,
    /// Of the step.
    home: usize,
    call: &'a HttpCall,
    links: &'a mut [Link],
    jar: &'a mut Jar,
    /// As it was rendered, without credentials that change.
    bare: &'a [u8],
    /// With them.
    message: &'a [u8],
    http2: Option<&'a OnceLock<Form>>,
    frame: &'a mut Frame,
    /// A redirect led to another origin, so that the rest is the target's matter and no longer the
    /// step's.
    is_astray: bool,
    changed: &'a mut Vec<u8>,
    flight: &'a Flight<'a>,
    /// The route of the latest message.
    route: &'a Cell<usize>,
    wanted: Wanted,
}

impl Exchange<'_> {
    /// When it ended, and the class of its failure.
    pub(crate) async fn carry_out(
        self,
        deadline: &mut Deadline,
        intended: Instant,
        now: Instant,
    ) -> (Instant, Option<ErrorClass>) {
        let Self {
            shard,
            number,
            links,
            frame,
            jar,
            scratch,
            part,
            answered,
            closing,
        } = self;
        let step: &PreparedStep = &shard.prepared.steps[usize::from(number)];
        let Scratch {
            request,
            dressed,
            changed,
            message: encoded,
        } = scratch;
        let streaming = streaming(&step.call, number, part);
        let flight = Flight::new(shard, now).streamed(streaming.as_deref());
        let (route, until) = (Cell::new(step.route), intended + step.timeout);
        let tally = Tally::new(number, part, &step.call);
        let (kept, sampler, wanted);
        let (in_time, message) = match &step.call {
            PreparedCall::Http(call) => {
                let bare = match call.request.render(frame, request) {
                    Ok(message) => message,
                    Err(why) => {
                        return unrendered(
                            shard,
                            number,
                            part,
                            intended,
                            (ErrorClass::Template, &why),
                        );
                    }
                };
                let (message, http2) = match dress(shard, number, step.route, call, bare, dressed) {
                    Ok(Dress::None) => (bare, call.request.http2()),
                    Ok(Dress::New) => (dressed.as_slice(), None),
                    Ok(Dress::Kept(same)) => {
                        kept = same;
                        (kept.bytes.as_slice(), Some(&kept.http2))
                    }
                    Err(why) => {
                        return unrendered(shard, number, part, intended, (ErrorClass::Auth, &why));
                    }
                };
                flight.limit(step.goodput.map(|_| (number, part)));
                sampler = shard.sampler.as_ref().filter(|sampler| sampler.draw());
                let cookies = shard.prepared.plan.http.cookies;
                wanted = Wanted {
                    cookies,
                    redirects: call.follow_redirects > 0,
                    ..step.wanted(sampler.is_some() || shard.tells_answers)
                };
                let (home, route, flight, links, frame, is_astray) =
                    (step.route, &route, &flight, &mut *links, &mut *frame, false);
                let sending = Sending {
                    shard,
                    home,
                    call,
                    links,
                    jar,
                    bare,
                    message,
                    http2,
                    frame,
                    is_astray,
                    changed,
                    flight,
                    route,
                    wanted,
                };
                let in_time = match &streaming {
                    None => deadline.bound(until, sending.run()).await,
                    Some(streaming) => {
                        Box::pin(deadline.bound(until, streaming.watch(sending.run()))).await
                    }
                };
                (in_time, message)
            }
            PreparedCall::Grpc(call) => {
                flight.limit(step.goodput.map(|_| (number, part)));
                sampler = shard.sampler.as_ref().filter(|sampler| sampler.draw());
                wanted = step.wanted(sampler.is_some() || shard.tells_answers);
                sampler
                    .iter()
                    .for_each(|sampler| tally.keep(sampler.reach()));
                let (link, frame, scratch) = (&mut links[step.route], &mut *frame, encoded);
                let calling = Calling {
                    call,
                    link,
                    frame,
                    scratch,
                    flight: &flight,
                    wanted,
                    tally: &tally,
                    closing,
                };
                (deadline.bound(until, calling.run()).await, call.line())
            }
        };
        let now = Instant::now();
        let response = &mut links[route.get()].response;
        let outcome = match (in_time, &step.call) {
            (Some(Ok(())), PreparedCall::Grpc(call)) => {
                call.look_into(response, wanted.body).map_err(Failure::Grpc)
            }
            (in_time, _) => in_time.unwrap_or_else(|| Err(flight.timed_out())),
        };
        let (outcome, ended) = match &streaming {
            None => (outcome, now),
            Some(streaming) => (
                streaming.conclude(outcome, response, &shard.recorder),
                streaming.ended(now),
            ),
        };
        let latency = ended.saturating_duration_since(intended);
        let stream = streaming.as_ref().map_or_else(
            || tally.sample(intended),
            |streaming| Some(streaming.sample(intended)),
        );
        let refusal = refusal_at(ended, until, response);
        let judged = if outcome.is_ok() {
            judge(step, response, latency, frame, refusal)
        } else {
            Judged::default()
        };
        let judged = if tally.is_short() {
            Judged::default()
        } else {
            judged
        };
        let class = class(step, &outcome, &judged, refusal);
        let totals = flight.finish(ended, response.received);
        let sample = Sample {
            step: number,
            part: step.call.part(part, class.is_some()),
            ended,
            latency,
            service_time: ended.saturating_duration_since(totals.began),
            phases: totals.phases,
            status: outcome
                .as_ref()
                .map_or_else(Failure::status, |()| response.http_status()),
            grpc_status: response.grpc_status().filter(|_| outcome.is_ok()),
            failure: class,
            retry_after: response
                .retry_after
                .filter(|_| class.is_some())
                .and_then(|after| after.wait(SystemTime::now())),
            sent: flight.written.get() > 0,
            sent_bytes: totals.sent_bytes,
            received_bytes: totals.received_bytes,
            checks_passed: judged.checks_passed,
            checks_failed: judged.checks_failed,
            stream: stream.as_ref(),
            good: step
                .goodput
                .map(|limits| class.is_none() && is_good(&limits, latency, stream.as_ref())),
        };
        let why = judged.failure.map(|(_, why)| why);
        let description = |why| {
            describe(
                &outcome,
                why,
                response,
                (&shard.prepared.redactor, message, shard.tells_answers),
            )
        };
        if let Some(sampler) = sampler {
            let mut decoded = Vec::new();
            let answer = outcome
                .is_ok()
                .then(|| answer(response, latency, &mut decoded));
            let sent = shown(&step.call, &tally, message);
            sampler.take(seen(
                &sample,
                frame,
                class.map(|class| (class, description(why.clone()))),
                &sent,
                answer,
            ));
        }
        let mut recorder = shard.recorder.borrow_mut();
        recorder.record(sample, || description(why));
        judged
            .recorded
            .into_iter()
            .for_each(|(trend, value)| recorder.trend(trend, value, part));
        drop(recorder);
        if !shard.prepared.looks_back {
            response.let_go();
        }
        *answered = Some(Answered {
            route: route.get(),
            latency,
            whole: outcome.is_ok(),
        });
        (now, class)
    }
}

/// What an answer that ended then is by its status.
fn refusal_at(ended: Instant, until: Instant, response: &Response) -> Option<ErrorClass> {
    match response.refusal() {
        // a server that keeps the deadline may tell of it by other words
        Some(ErrorClass::Grpc) if ended >= until => Some(ErrorClass::Timeout),
        refusal => refusal,
    }
}

/// The class of a request's failure; `refusal` is what its answer is by its status.
fn class(
    step: &PreparedStep,
    outcome: &Result<(), Failure>,
    judged: &Judged,
    refusal: Option<ErrorClass>,
) -> Option<ErrorClass> {
    match (outcome, &judged.failure) {
        (Err(failure), _) => Some(failure.class()),
        (Ok(()), Some((class, _))) => Some(*class),
        (Ok(()), None) => refusal.filter(|_| !step.rules.has_status_check()),
    }
}

impl Sending<'_> {
    async fn run(mut self) -> Result<(), Failure> {
        if self.call.retry.is_none() && self.call.follow_redirects == 0 {
            return self.send_first().await;
        }
        Box::pin(self.persist()).await
    }

    async fn send_first(&mut self) -> Result<(), Failure> {
        let message = Outgoing {
            bytes: self.message,
            is_head: self.call.request.is_head,
            http2: self.http2,
        };
        self.send(self.home, message).await
    }

    /// Sends a message with the user's cookies, and keeps those of the answer.
    async fn send(&mut self, route: usize, mut message: Outgoing<'_>) -> Result<(), Failure> {
        let Self {
            links,
            jar,
            changed,
            ..
        } = self;
        let url = &self.shard.prepared.routes[route].url;
        let path = message::path(message.bytes);
        if !jar.is_empty()
            && let Ok(here) = url.join(path)
            && let Some(cookies) = jar.header(&here)
        {
            message::with_header(message.bytes, "Cookie", cookies.as_bytes(), changed);
            message = Outgoing {
                bytes: changed,
                http2: None,
                ..message
            };
        }
        self.route.set(route);
        let link = &mut links[route];
        let outcome = link.exchange(message, self.wanted, self.flight).await;
        let Capture {
            wanted,
            sets_cookies,
            head,
            ..
        } = &link.response.capture;
        if wanted.cookies
            && *sets_cookies
            && let Ok(here) = url.join(path)
        {
            jar.take(head, &here);
        }
        outcome
    }

    /// Tries again while the step says so.
    async fn persist(mut self) -> Result<(), Failure> {
        let mut tries = 0;
        loop {
            let outcome = self.follow().await;
            let response = &self.links[self.route.get()].response;
            let Some(retry) = &self.call.retry else {
                return outcome;
            };
            if tries == retry.max || !is_worth_another(retry, &outcome, response.status) {
                return outcome;
            }
            self.flight
                .retry_after(response.received, retry.backoff, tries)
                .await;
            tries += 1;
        }
    }

    /// Sends the message and follows redirects.
    async fn follow(&mut self) -> Result<(), Failure> {
        self.send_first().await?;
        let mut before = Cow::Borrowed(self.bare);
        self.is_astray = false;
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

    /// Where the latest answer redirects to, if it does.
    fn location(&self) -> Option<String> {
        let Response {
            status, capture, ..
        } = &self.links[self.route.get()].response;
        let redirects = matches!(status, 301 | 302 | 303 | 307 | 308);
        redirects
            .then(|| {
                header_texts(&capture.head, "location")
                    .next()
                    .map(str::to_owned)
            })
            .flatten()
    }

    /// Sends what a redirect of `before` asks for; that message, without credentials that change.
    async fn hop(&mut self, before: &[u8], location: &str) -> Result<Vec<u8>, Failure> {
        let routes = &self.shard.prepared.routes;
        let from = self.route.get();
        let Response {
            status, received, ..
        } = self.links[from].response;
        let astray = |_| Failure::Redirect(location.chars().take(128).collect());
        let here = routes[from]
            .url
            .join(message::path(before))
            .map_err(astray)?;
        let there = here.join(location).map_err(astray)?;
        let same_origin = there.origin() == here.origin();
        // never to a host that the test does not name: neither load nor credentials may end up
        // elsewhere
        let to = if same_origin {
            Some(from)
        } else {
            routes
                .iter()
                .position(|route| route.url.origin() == there.origin())
        };
        let to = to.ok_or_else(|| Failure::Redirect(there.origin().ascii_serialization()))?;
        if self.flight.again(received) {
            self.shard.recorder.borrow_mut().redirected();
        }
        let path = &there[url::Position::BeforePath..url::Position::AfterQuery];
        let mut next = Vec::new();
        let redirect = Redirect {
            status,
            path,
            host: &request::host(&routes[to].url),
            same_origin,
        };
        let is_head = message::redirected(before, redirect, &mut next);
        if !same_origin {
            self.is_astray = true;
            next = self.arriving(to, next)?;
        }
        let living = routes[to]
            .living()
            .filter(|_| self.is_astray || self.call.request.wants_credentials);
        let mut dressed = Vec::new();
        if let Some(living) = living {
            living
                .put_into(&next, &mut dressed)
                .map_err(|why| Failure::NoCredentials(why.to_string()))?;
        }
        let bytes = if living.is_some() { &dressed } else { &next };
        self.send(
            to,
            Outgoing {
                bytes,
                is_head,
                http2: None,
            },
        )
        .await?;
        Ok(next)
    }

    /// `message` with what its new target says to each request, unless it says that already.
    fn arriving(&mut self, to: usize, message: Vec<u8>) -> Result<Vec<u8>, Failure> {
        let prepared = &self.shard.prepared;
        let mut lines = Vec::new();
        if let Some(Credentials::Fixed { name, value }) = &prepared.routes[to].credentials {
            for part in [name.as_bytes(), b": ", value, b"\r\n"] {
                lines.extend_from_slice(part);
            }
        }
        let (head, _) = message::split(&message);
        for (name, value) in &prepared.arrivals[to].headers {
            let is_there =
                headers(head).any(|(found, _)| found.eq_ignore_ascii_case(name.as_bytes()));
            if !is_there {
                lines.extend_from_slice(name.as_bytes());
                lines.extend_from_slice(b": ");
                value
                    .render(self.frame, &mut lines)
                    .map_err(|why| Failure::Unfit(why.to_string()))?;
                lines.extend_from_slice(b"\r\n");
            }
        }
        let mut arriving = Vec::new();
        message::with_lines(&message, &lines, &mut arriving);
        Ok(arriving)
    }
}

/// A message's credentials.
enum Dress {
    /// They are in it already, or there are none.
    None,
    /// Both differ each time; it was written anew.
    New,
    /// Only they change.
    Kept(Rc<Dressed>),
}

/// Puts in credentials that change while the load goes on.
fn dress(
    shard: &Shard,
    number: u16,
    route: usize,
    call: &HttpCall,
    bare: &[u8],
    out: &mut Vec<u8>,
) -> Result<Dress, NoCredentials> {
    let living: Option<&Living> = if call.request.wants_credentials {
        shard.prepared.routes[route].living()
    } else {
        None
    };
    match living {
        None => Ok(Dress::None),
        Some(living) if call.request.http2().is_some() => {
            shard.wardrobe.dress(number, bare, living).map(Dress::Kept)
        }
        Some(living) => living.put_into(bare, out).map(|()| Dress::New),
    }
}

/// Holds an answer against what the step asks for, and takes out of it what the step wants.
fn judge(
    step: &PreparedStep,
    response: &Response,
    latency: Duration,
    frame: &mut Frame,
    refusal: Option<ErrorClass>,
) -> Judged {
    if step.rules.is_empty() || refusal.is_some() && !step.rules.has_status_check() {
        return Judged::default();
    }
    let mut decoded = Vec::new();
    step.rules
        .judge(&answer(response, latency, &mut decoded), frame)
}

/// `decoded` takes the body where it came compressed.
fn answer<'a>(response: &'a Response, latency: Duration, decoded: &'a mut Vec<u8>) -> Facts<'a> {
    let Capture {
        head,
        body,
        truncated,
        size,
        ..
    } = &response.capture;
    let coding = header_texts(head, "content-encoding").next();
    let (body, truncated) = match coding.map(|coding| decode(coding, body, decoded)) {
        Some(whole) => (decoded.as_slice(), *truncated || !whole),
        None => (body.as_slice(), *truncated),
    };
    let mut facts = Facts {
        status: response.status,
        head,
        body,
        truncated,
        size: *size,
        latency,
        events: response.events,
        ..Facts::default()
    };
    if let Some(reply) = &response.reply {
        reply.add_to(&mut facts);
    }
    facts
}

/// What is written down of a request.
fn seen<'a>(
    sample: &Sample<'_>,
    frame: &Frame,
    failure: Option<(ErrorClass, String)>,
    (sent, size): &'a (Cow<'_, [u8]>, Option<u64>),
    answer: Option<Facts<'a>>,
) -> Seen<'a> {
    let Sample {
        step,
        part,
        ended,
        latency,
        service_time,
        ..
    } = *sample;
    let (user, iteration) = (frame.user, frame.iteration);
    Seen {
        step,
        user,
        iteration,
        part,
        ended,
        latency,
        service_time,
        failure,
        sent,
        sent_size: *size,
        answer,
    }
}

/// What was sent in the form of a message of HTTP, and the bytes of its body, where these are not
/// the ones it shows.
fn shown<'a>(
    call: &PreparedCall,
    tally: &Tally,
    message: &'a [u8],
) -> (Cow<'a, [u8]>, Option<u64>) {
    let (PreparedCall::Grpc(call), Some(kept)) = (call, tally.kept()) else {
        return (Cow::Borrowed(message), None);
    };
    let (shown, size) = kept.shown(call);
    (Cow::Owned(shown), Some(size))
}

/// What reads the answer while it comes; boxed, so that users who read no streams stay small.
fn streaming(call: &PreparedCall, number: u16, part: Part) -> Option<Box<Streaming<'_>>> {
    let PreparedCall::Http(HttpCall {
        stream: Some(stream),
        ..
    }) = call
    else {
        return None;
    };
    Some(Box::new(Streaming::new(stream, number, part)))
}

/// Of a request that succeeded.
fn is_good(limits: &Goodput, latency: Duration, stream: Option<&StreamSample>) -> bool {
    let per_token = stream
        .and_then(|stream| stream.llm)
        .and_then(|llm| llm.per_token);
    limits.is_met(latency, stream.and_then(|stream| stream.first), per_token)
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

/// Records a request that could not be put together. Returns when that was, and the class it was
/// told.
pub(crate) fn unrendered(
    shard: &Shard,
    number: u16,
    part: Part,
    intended: Instant,
    (class, why): (ErrorClass, &dyn std::fmt::Display),
) -> (Instant, Option<ErrorClass>) {
    let ended = Instant::now();
    let good = shard.prepared.steps[usize::from(number)]
        .goodput
        .map(|_| false);
    let sample = Sample {
        good,
        ..Sample::unsent(number, part, (intended, ended), class)
    };
    shard
        .recorder
        .borrow_mut()
        .record(sample, || why.to_string());
    (ended, Some(class))
}

/// The sample of a failure of `request`; `judged` is what a check or an extract says of it. An
/// answer that is a failure only by that is told when `tells_answers`.
pub(crate) fn describe(
    outcome: &Result<(), Failure>,
    judged: Option<String>,
    response: &Response,
    (redactor, request, tells_answers): (&Redactor, &[u8], bool),
) -> String {
    if let Err(failure) = outcome {
        return failure.to_string();
    }
    let is_refusal = response.refusal().is_some();
    let line = match judged.map(|why| redactor.message(&why)) {
        Some(why) if is_refusal => why,
        Some(why) if tells_answers => {
            format!("{}; the answer: {}", shortened(why), status_line(response))
        }
        Some(why) => return why,
        None => status_line(response),
    };
    let redact = |text: &[u8]| redactor.text_about(request, text);
    let mut decoded = Vec::new();
    let Facts { head, body, .. } = answer(response, Duration::ZERO, &mut decoded);
    let words = match &response.reply {
        Some(reply) if is_refusal => reply.message().map(|message| redact(message.as_bytes())),
        None if is_refusal => refusal::reason(response.status, head, body, redact),
        Some(_) | None => refusal::first_line(body, redact),
    };
    match words {
        Some(words) => format!("{line}: {words}"),
        None => line,
    }
}

/// Leaves room for the answer beside it.
fn shortened(why: String) -> String {
    match why.char_indices().nth(MAX_WHY) {
        Some((end, _)) => format!("{}…", &why[..end]),
        None => why,
    }
}

fn status_line(response: &Response) -> String {
    if let Some(reply) = &response.reply {
        return reply.status_line();
    }
    let status = response.status;
    let reason = http::StatusCode::from_u16(status)
        .ok()
        .and_then(|code| code.canonical_reason())
        .unwrap_or("unknown status");
    match &response.retry_after {
        Some(after) => format!("{status} {reason}, Retry-After: {after}"),
        None => format!("{status} {reason}"),
    }
}
