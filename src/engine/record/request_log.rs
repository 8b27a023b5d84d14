//! Request log: requests chosen at random and written as one line of JSON each, with what was sent
//! and received.
//!
//! A shard only copies the first bytes of each; a separate thread removes the secrets and writes.
//! Without `spec.samples`, or without a [`RequestLogWriter`], no request is copied.

mod line;

use std::borrow::Cow;
use std::cell::RefCell;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use crate::engine::answer::Facts;
use crate::engine::answer::capture::header_texts;
use crate::engine::attempt::sample::Part;
use crate::engine::message;
use crate::engine::record::redactor::{REACH, Redactor};
use crate::plan::grpc::Code;
use crate::plan::{Plan, RequestLog, StepPlace};
use crate::stats::ErrorClass;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

/// Most requests that wait for the writing thread; if it falls behind, further ones are left out.
const QUEUED: usize = 64;

/// Longest wait for the writing thread at the end of the program.
const CLOSE_WITHIN: Duration = Duration::from_secs(3);

/// Number mixed into a shard's seed, so that its other random numbers do not depend on whether
/// requests are logged.
const STREAM: u64 = 0x5a4d_504c_4553_0001;

/// Writer of request log entries, until it is closed.
pub struct RequestLogWriter {
    queue: SyncSender<Message>,
    writer: JoinHandle<()>,
    written: Arc<RequestLogCounts>,
}

/// Sink for the log entries of one run.
#[derive(Clone)]
pub struct RequestLogSink {
    queue: SyncSender<Message>,
    written: Arc<RequestLogCounts>,
    run: Arc<str>,
}

/// Counts of requests that were written and of chosen ones that were left out because `maxBytes`
/// was reached or the disk was too slow.
#[derive(Debug, Default)]
pub struct RequestLogCounts {
    lines: AtomicU64,
    left_out: AtomicU64,
}

enum Message {
    Entry(Arc<RunLog>, Box<Entry>),
    End,
}

/// State that the shards of a worker share.
pub(crate) struct RunLog {
    settings: RequestLog,
    redactor: Arc<Redactor>,
    /// Bytes of a body that must be read so that no part of a secret is shown.
    reach: usize,
    /// Names by place in [`Plan::steps`]: scenario, task and step.
    names: Vec<[String; 3]>,
    /// Bytes that may still be written.
    left: AtomicU64,
    sink: RequestLogSink,
}

/// Sampler that chooses a shard's requests for the log.
pub(crate) struct Sampler {
    log: Arc<RunLog>,
    worker: u32,
    random: RefCell<Xoshiro256PlusPlus>,
    /// Largest value of 64 random bits for which a request is chosen.
    most: u64,
}

/// Finished request, as the shard sees it.
pub(crate) struct FinishedRequest<'a> {
    /// Number of the step.
    pub(crate) step: u16,
    /// Number of the user.
    pub(crate) user: u64,
    /// Number of the user's iteration.
    pub(crate) iteration: u64,
    /// Part of the run.
    pub(crate) part: Part,
    /// Time when the request ended.
    pub(crate) ended: Instant,
    /// Time from the intended start of the request to its end.
    pub(crate) latency: Duration,
    /// Time from the first byte sent to the end.
    pub(crate) service_time: Duration,
    /// Class and message of a failure; `None` after success.
    pub(crate) failure: Option<(ErrorClass, String)>,
    /// Message as rendered, head and body.
    pub(crate) sent: &'a [u8],
    /// Size of the request's body in bytes, if `sent` does not hold the body itself.
    pub(crate) sent_size: Option<u64>,
    /// Facts of the answer; `None` without a whole answer.
    pub(crate) answer: Option<Facts<'a>>,
    /// Secrets that the user extracted.
    pub(crate) secrets: Vec<String>,
}

/// Copy of the parts of a request that may be shown, secrets included.
struct Entry {
    at: SystemTime,
    worker: u32,
    step: u16,
    user: u64,
    iteration: u64,
    part: Part,
    latency: Duration,
    service_time: Duration,
    failure: Option<(ErrorClass, String)>,
    sent: Copied,
    status: u16,
    /// Status of a call over gRPC.
    grpc_status: Option<Code>,
    received: Option<Copied>,
    /// Secrets that the user extracted.
    secrets: Vec<String>,
}

/// Head of a message and the beginning of its body.
struct Copied {
    head: Vec<u8>,
    body: Vec<u8>,
    body_bytes: u64,
}

impl RequestLogWriter {
    /// Starts a thread that writes entries to `out`, which is flushed after each line.
    pub fn to(mut out: impl Write + Send + 'static) -> std::io::Result<Self> {
        let (queue, messages) = sync_channel(QUEUED);
        let writer = std::thread::Builder::new()
            .name("samples".into())
            .spawn(move || write_all(&messages, &mut out))?;
        Ok(Self {
            queue,
            writer,
            written: Arc::default(),
        })
    }

    /// Creates a sink for the log entries of `run`.
    pub fn sink(&self, run: &str) -> RequestLogSink {
        RequestLogSink {
            queue: self.queue.clone(),
            written: self.written.clone(),
            run: run.into(),
        }
    }

    /// Waits until all entries handed over are written, and returns the counts. What nobody has
    /// taken within 3 s, as from a pipe that is not read, is left behind.
    pub fn close(self) -> Arc<RequestLogCounts> {
        let Self {
            queue,
            writer,
            written,
        } = self;
        let (done, ended) = sync_channel(1);
        let wait = move || {
            // either may have ended by itself: a panic there was printed, and load is not to
            // suffer from it
            let _ = queue.send(Message::End);
            let _ = writer.join();
            // nobody may be waiting any more
            let _ = done.send(());
        };
        let waiting = std::thread::Builder::new()
            .name("samples-end".into())
            .spawn(wait);
        if waiting.is_ok() {
            // an error means that the time is over
            let _ = ended.recv_timeout(CLOSE_WITHIN);
        }
        written
    }
}

impl RequestLogCounts {
    /// Returns how many requests were written.
    pub fn lines(&self) -> u64 {
        self.lines.load(Ordering::Relaxed)
    }

    /// Returns how many chosen requests were not written.
    pub fn left_out(&self) -> u64 {
        self.left_out.load(Ordering::Relaxed)
    }
}

fn write_all(messages: &Receiver<Message>, out: &mut impl Write) {
    while let Ok(Message::Entry(log, entry)) = messages.recv() {
        let line = log.line(&entry);
        let fits = log
            .left
            .load(Ordering::Relaxed)
            .checked_sub(line.len() as u64);
        let written = fits.is_some() && out.write_all(&line).and_then(|()| out.flush()).is_ok();
        // what cannot be written now will not be later
        log.left
            .store(fits.filter(|_| written).unwrap_or(0), Ordering::Relaxed);
        let count = if written {
            &log.sink.written.lines
        } else {
            &log.sink.written.left_out
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

impl RunLog {
    /// Creates the state of the request log; `None` if the plan asks for none.
    pub(crate) fn new(
        plan: &Plan,
        redactor: Arc<Redactor>,
        sink: RequestLogSink,
    ) -> Option<Arc<Self>> {
        let settings = plan.request_log?;
        let name = |place: StepPlace<'_>| {
            [place.scenario, place.task, &place.step.name].map(str::to_owned)
        };
        Some(Arc::new(Self {
            settings,
            reach: settings.max_body_bytes as usize + REACH,
            redactor,
            names: plan.steps().map(name).collect(),
            left: AtomicU64::new(settings.max_bytes),
            sink,
        }))
    }

    fn copied(&self, head: &[u8], body: &[u8], body_bytes: u64) -> Copied {
        Copied {
            head: head.to_vec(),
            body: body[..body.len().min(self.reach)].to_vec(),
            body_bytes,
        }
    }
}

/// Returns the head of an answer with its trailers, unless these are all that there is.
fn whole_head<'a>(facts: &Facts<'a>) -> Cow<'a, [u8]> {
    let Facts { head, trailers, .. } = *facts;
    match facts.grpc_status {
        Some(_) if header_texts(head, "grpc-status").next().is_none() => {
            [head, trailers].concat().into()
        }
        _ => head.into(),
    }
}

impl Sampler {
    /// Returns how many bytes of a body must be read so that no part of a secret is shown.
    pub(crate) fn reach(&self) -> usize {
        self.log.reach
    }

    /// Creates the sampler of a shard.
    pub(crate) fn new(log: Arc<RunLog>, worker: u32, seed: u64) -> Self {
        // from 0 to 1; what is beyond 64 bits is cut to them
        let most = (log.settings.rate * 2f64.powi(64)) as u64;
        Self {
            log,
            worker,
            random: RefCell::new(Xoshiro256PlusPlus::seed_from_u64(seed ^ STREAM)),
            most,
        }
    }

    /// Draws whether the next request is logged.
    pub(crate) fn draw(&self) -> bool {
        let is_chosen = self.random.borrow_mut().next_u64() <= self.most;
        if is_chosen && self.log.left.load(Ordering::Relaxed) == 0 {
            self.log
                .sink
                .written
                .left_out
                .fetch_add(1, Ordering::Relaxed);
            return false;
        }
        is_chosen
    }

    /// Hands a request over to be written.
    pub(crate) fn take(&self, request: FinishedRequest<'_>) {
        let FinishedRequest {
            step,
            user,
            iteration,
            part,
            ended,
            latency,
            service_time,
            failure,
            sent,
            sent_size,
            answer,
            secrets,
        } = request;
        let (head, body) = message::split(sent);
        let entry = Entry {
            at: SystemTime::now() - ended.elapsed() - latency,
            worker: self.worker,
            step,
            user,
            iteration,
            part,
            latency,
            service_time,
            failure,
            secrets,
            sent: self
                .log
                .copied(head, body, sent_size.unwrap_or(body.len() as u64)),
            status: answer.as_ref().map_or(0, |answer| answer.status),
            grpc_status: answer.as_ref().and_then(|answer| answer.grpc_status),
            received: answer.map(|answer| {
                self.log
                    .copied(&whole_head(&answer), answer.body, answer.size)
            }),
        };
        // load is never held up for it
        if self
            .log
            .sink
            .queue
            .try_send(Message::Entry(self.log.clone(), Box::new(entry)))
            .is_err()
        {
            self.log
                .sink
                .written
                .left_out
                .fetch_add(1, Ordering::Relaxed);
        }
    }
}
