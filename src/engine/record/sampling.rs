//! Requests that are chosen at random and written down, each as one line of JSON: what was sent,
//! and what came back.
//!
//! A shard only copies the first bytes of each; a thread of its own takes the secrets out and
//! writes. Without `spec.samples`, or without a [`SampleLog`], no request is looked at.

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
use crate::engine::record::redactor::Redactor;
use crate::plan::grpc::Code;
use crate::plan::{Plan, RequestLog, StepPlace};
use crate::stats::ErrorClass;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{RngCore, SeedableRng};

/// Requests on their way to the thread that writes; when it falls behind, further ones are left
/// out.
const QUEUED: usize = 64;

/// Tokens that become known only later are at most so long in each form.
const LONGEST_TOKEN: usize = 16 * 1024;

/// Mixed into a shard's seed, so that what else is random in it is the same whether requests are
/// sampled or not.
const STREAM: u64 = 0x5a4d_504c_4553_0001;

/// Writes samples until it is closed.
pub struct SampleLog {
    queue: SyncSender<Message>,
    writer: JoinHandle<()>,
    written: Arc<Written>,
}

/// Sink for the log entries of one run.
#[derive(Clone)]
pub struct SampleSink {
    queue: SyncSender<Message>,
    written: Arc<Written>,
    run: Arc<str>,
}

/// Count of requests that were written down, and of chosen ones that were not: `maxBytes` was
/// reached, or the disk was too slow.
#[derive(Debug, Default)]
pub struct Written {
    lines: AtomicU64,
    left_out: AtomicU64,
}

enum Message {
    Sample(Arc<Sampling>, Box<Taken>),
    End,
}

/// State that the shards of a worker share.
pub(crate) struct Sampling {
    settings: RequestLog,
    redactor: Arc<Redactor>,
    /// Bytes of a body that must be at hand for none of a secret to be shown.
    reach: usize,
    /// Names by place in [`Plan::steps`]: scenario, task and step.
    names: Vec<[String; 3]>,
    /// Bytes that may still be written.
    left: AtomicU64,
    sink: SampleSink,
}

/// Chooses a shard's requests.
pub(crate) struct Sampler {
    sampling: Arc<Sampling>,
    worker: u32,
    random: RefCell<Xoshiro256PlusPlus>,
    /// A request is chosen when 64 random bits are not above this.
    most: u64,
}

/// A request that is over, as the shard sees it.
pub(crate) struct Seen<'a> {
    /// Number of the step.
    pub(crate) step: u16,
    /// Number of the user.
    pub(crate) user: u64,
    /// Number of its iteration.
    pub(crate) iteration: u64,
    /// Part of the run.
    pub(crate) part: Part,
    /// Time of its end.
    pub(crate) ended: Instant,
    /// Time from its intended start to its end.
    pub(crate) latency: Duration,
    /// Time from its first byte to its end.
    pub(crate) service_time: Duration,
    /// Class and words of its failure.
    pub(crate) failure: Option<(ErrorClass, String)>,
    /// The message as it was rendered, head and body.
    pub(crate) sent: &'a [u8],
    /// Bytes of its body, where not all of it is in `sent`, or not as it was.
    pub(crate) sent_size: Option<u64>,
    /// `None` where no whole answer came.
    pub(crate) answer: Option<Facts<'a>>,
}

/// A copy of what may be shown of a request, secrets included.
struct Taken {
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
}

/// The head of a message and the beginning of its body.
struct Copied {
    head: Vec<u8>,
    body: Vec<u8>,
    body_bytes: u64,
}

impl SampleLog {
    /// Writes to `out`, which is flushed after each line.
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

    /// Makes a sink for the log entries of `run`.
    pub fn sink(&self, run: &str) -> SampleSink {
        SampleSink {
            queue: self.queue.clone(),
            written: self.written.clone(),
            run: run.into(),
        }
    }

    /// Waits until all is written that was handed over.
    pub fn close(self) -> Arc<Written> {
        let Self {
            queue,
            writer,
            written,
        } = self;
        // either may have ended by itself: a panic there was printed, and load is not to suffer
        // from it
        let _ = queue.send(Message::End);
        let _ = writer.join();
        written
    }
}

impl Written {
    /// Returns how many requests were written down.
    pub fn lines(&self) -> u64 {
        self.lines.load(Ordering::Relaxed)
    }

    /// Returns how many chosen requests were not.
    pub fn left_out(&self) -> u64 {
        self.left_out.load(Ordering::Relaxed)
    }
}

fn write_all(messages: &Receiver<Message>, out: &mut impl Write) {
    while let Ok(Message::Sample(sampling, taken)) = messages.recv() {
        let line = sampling.line(&taken);
        let fits = sampling
            .left
            .load(Ordering::Relaxed)
            .checked_sub(line.len() as u64);
        let written = fits.is_some() && out.write_all(&line).and_then(|()| out.flush()).is_ok();
        // what cannot be written now will not be later
        sampling
            .left
            .store(fits.filter(|_| written).unwrap_or(0), Ordering::Relaxed);
        let count = if written {
            &sampling.sink.written.lines
        } else {
            &sampling.sink.written.left_out
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

impl Sampling {
    /// `None` where the plan asks for no samples.
    pub(crate) fn new(plan: &Plan, redactor: Arc<Redactor>, sink: SampleSink) -> Option<Arc<Self>> {
        let settings = plan.request_log?;
        let name = |place: StepPlace<'_>| {
            [place.scenario, place.task, &place.step.name].map(str::to_owned)
        };
        Some(Arc::new(Self {
            settings,
            reach: settings.max_body_bytes as usize + redactor.longest().max(LONGEST_TOKEN),
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

/// The head of an answer, with its trailers, unless these are all that there is.
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
    /// Bytes of a body that are looked at, so that none of a secret is shown.
    pub(crate) fn reach(&self) -> usize {
        self.sampling.reach
    }

    /// Makes the sampler of a shard.
    pub(crate) fn new(sampling: Arc<Sampling>, worker: u32, seed: u64) -> Self {
        // from 0 to 1; what is beyond 64 bits is cut to them
        let most = (sampling.settings.rate * 2f64.powi(64)) as u64;
        Self {
            sampling,
            worker,
            random: RefCell::new(Xoshiro256PlusPlus::seed_from_u64(seed ^ STREAM)),
            most,
        }
    }

    /// Draws whether the next request is written down.
    pub(crate) fn draw(&self) -> bool {
        let is_chosen = self.random.borrow_mut().next_u64() <= self.most;
        if is_chosen && self.sampling.left.load(Ordering::Relaxed) == 0 {
            self.sampling
                .sink
                .written
                .left_out
                .fetch_add(1, Ordering::Relaxed);
            return false;
        }
        is_chosen
    }

    /// Hands a request over to be written down.
    pub(crate) fn take(&self, seen: Seen<'_>) {
        let Seen {
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
        } = seen;
        let (head, body) = message::split(sent);
        let taken = Taken {
            at: SystemTime::now() - ended.elapsed() - latency,
            worker: self.worker,
            step,
            user,
            iteration,
            part,
            latency,
            service_time,
            failure,
            sent: self
                .sampling
                .copied(head, body, sent_size.unwrap_or(body.len() as u64)),
            status: answer.as_ref().map_or(0, |answer| answer.status),
            grpc_status: answer.as_ref().and_then(|answer| answer.grpc_status),
            received: answer.map(|answer| {
                self.sampling
                    .copied(&whole_head(&answer), answer.body, answer.size)
            }),
        };
        // load is never held up for it
        if self
            .sampling
            .sink
            .queue
            .try_send(Message::Sample(self.sampling.clone(), Box::new(taken)))
            .is_err()
        {
            self.sampling
                .sink
                .written
                .left_out
                .fetch_add(1, Ordering::Relaxed);
        }
    }
}
