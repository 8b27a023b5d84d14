//! Call of a step over gRPC, compiled before load: its head and messages, with templates for what
//! differs.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::engine::attempt::failure::Failure;
use crate::engine::attempt::sample::Part;
use crate::engine::auth::Credentials;
use crate::engine::protocol::channel::Channel;
use crate::engine::protocol::grpc::fault::Fault;
use crate::engine::protocol::grpc::frames;
use crate::engine::protocol::grpc::head::{CallOptions, Head};
use crate::engine::protocol::grpc::late_types::LateTypes;
use crate::plan::grpc::{
    CallKind, CompiledCall, Decoded, Descriptors, GrpcRetry, GrpcStep, HEALTH, MessageDescriptor,
    MessageEncoder, Numbers, SendAfter,
};
use crate::plan::template::{Need, Scope};
use crate::plan::{Names, Problem, Target};

/// Call of a step, compiled.
pub(crate) struct GrpcCall {
    /// Head of each request.
    pub(super) head: Head,
    /// Request line to show in logs and failures.
    line: Vec<u8>,
    /// Messages to send in turn; at least one.
    messages: Vec<Message>,
    /// Number of messages to send; 0 for a stream without any.
    pub(super) times: u32,
    /// Time between two messages.
    pub(super) interval: Duration,
    /// True if the client ends its half of the stream with the last message.
    pub(super) half_close: bool,
    /// Event after which the next message is sent.
    pub(super) send_after: SendAfter,
    kind: CallKind,
    /// Type of the messages sent.
    pub(super) input: MessageDescriptor,
    output: MessageDescriptor,
    /// Types that are asked for during the load; `None` if none is.
    late_types: Option<Arc<LateTypes>>,
    /// Largest message of the answer, in bytes.
    pub(super) most: u32,
    gzip: bool,
    /// True if the call is a health check and no check of the step judges the result.
    pub(super) judges_health: bool,
    /// True if the call is a health check, of which only failures count among the requests.
    is_health_check: bool,
    /// Statuses after which the call is retried, and how often.
    pub(super) retry: Option<GrpcRetry>,
    /// Time that iterations have to finish after the end of the load.
    pub(super) stop_timeout: Duration,
}

enum Message {
    /// Message with its prefix, always the same.
    Static(Bytes),
    Dynamic(MessageEncoder),
}

/// Parts of a plan, besides the step, that a call is compiled from.
pub(crate) struct CallContext<'a> {
    /// Target of the call.
    pub(crate) target: &'a Target,
    /// Credentials of the target.
    pub(crate) credentials: Option<&'a Credentials>,
    /// Descriptors of services and messages.
    pub(crate) descriptors: &'a Descriptors,
    /// Types that are asked for during the load; `None` if none is.
    pub(crate) late_types: Option<&'a Arc<LateTypes>>,
    /// Names that templates may use.
    pub(crate) names: &'a Names,
    /// Timeout of the step.
    pub(crate) timeout: Duration,
    /// Time that iterations have to finish after the end of the load.
    pub(crate) stop_timeout: Duration,
    /// True if the step has checks of its own.
    pub(crate) is_checked: bool,
}

impl GrpcCall {
    /// Compiles the call of a step. `path` is its field path, for problems.
    pub(crate) fn compile(
        step: &GrpcStep,
        context: &CallContext<'_>,
        path: &str,
    ) -> Result<Self, Vec<Problem>> {
        let (head, call) = compile_parts(step, context, path)?;
        let GrpcStep {
            method,
            is_health_check,
            message: _,
            metadata: _,
            stream,
            gzip,
            max_message_size,
            retry,
        } = step;
        let CompiledCall {
            rpc,
            messages,
            times,
        } = call;
        let messages = Message::all(messages, *gzip).ok_or_else(|| {
            let why = "is longer than a message can be, 4 GiB";
            vec![Problem::new(format!("{path}.message"), why)]
        })?;
        let stream = stream.as_ref();
        let is_check = method.service == HEALTH && method.name == "Check";
        Ok(Self {
            head,
            line: format!("POST {} HTTP/2\r\n\r\n", method.path()).into_bytes(),
            times: times.saturating_mul(messages.len() as u32),
            messages,
            interval: stream.map(|stream| stream.interval).unwrap_or_default(),
            half_close: stream.is_none_or(|stream| stream.half_close),
            send_after: stream.map(|stream| stream.send_after).unwrap_or_default(),
            kind: rpc.kind,
            input: rpc.input,
            output: rpc.output,
            late_types: context.late_types.cloned(),
            most: *max_message_size,
            gzip: *gzip,
            judges_health: is_check && !context.is_checked,
            is_health_check: *is_health_check,
            retry: retry.clone(),
            stop_timeout: context.stop_timeout,
        })
    }

    /// Returns the feeder rows that must be taken before rendering.
    pub(crate) fn needs(&self) -> Vec<Need> {
        let of_messages = self.messages.iter().flat_map(|message| match message {
            Message::Static(_) => &[],
            Message::Dynamic(encoder) => encoder.needs(),
        });
        let mut needs: Vec<Need> = Vec::new();
        for need in self.head.needs().chain(of_messages.copied()) {
            if !needs.contains(&need) {
                needs.push(need);
            }
        }
        needs
    }

    /// Returns the first line of the call, in the form of an HTTP request line.
    pub(crate) fn line(&self) -> &[u8] {
        &self.line
    }

    /// Returns which sides of the call are streams.
    pub(crate) fn kind(&self) -> CallKind {
        self.kind
    }

    /// Returns the part of the run to which the call belongs if it was made in `part`.
    ///
    /// A passing health check says nothing about the tested work, so it counts as control. A failed
    /// one stands for that work, which is then not done.
    pub(crate) fn part(&self, part: Part, failed: bool) -> Part {
        if self.is_health_check && !failed && part == Part::Measured {
            Part::Control
        } else {
            part
        }
    }

    /// Returns whether the client may send several messages.
    pub(crate) fn client_streams(&self) -> bool {
        self.kind.client_streams()
    }

    /// Returns whether the server may send several messages.
    pub(crate) fn server_streams(&self) -> bool {
        self.kind.server_streams()
    }

    /// Builds message `nth` of the call, with its prefix.
    pub(super) fn message(
        &self,
        nth: u32,
        scope: &mut impl Scope,
        scratch: &mut Vec<u8>,
    ) -> Result<Bytes, Failure> {
        match &self.messages[nth as usize % self.messages.len()] {
            Message::Static(bytes) => Ok(bytes.clone()),
            Message::Dynamic(encoder) => {
                frames::open(scratch);
                encoder
                    .encode(scope, scratch)
                    .map_err(|why| Failure::Unfit(why.to_string()))?;
                frames::close(scratch, self.gzip)
                    .ok_or_else(|| Failure::Unfit("the message is longer than 4 GiB".into()))?;
                Ok(Bytes::copy_from_slice(scratch))
            }
        }
    }

    /// Prepares a whole answer for rules to read: decodes its last message to JSON if `wanted`, also
    /// where the call ended with a status other than OK.
    pub(super) fn look_into(&self, channel: &mut Channel, wanted: bool) -> Result<(), Fault> {
        let Some(reply) = channel
            .reply
            .as_mut()
            .filter(|reply| reply.count() > 0 && (reply.is_ok() || !self.judges_health))
        else {
            return Ok(());
        };
        let mut unpacked = Vec::new();
        if self.judges_health {
            match health(reply.last(&mut unpacked)?) {
                1 => {}
                2 => return Err(Fault::NotServing("NOT_SERVING")),
                3 => return Err(Fault::NotServing("SERVICE_UNKNOWN")),
                _ => return Err(Fault::NotServing("UNKNOWN")),
            }
        }
        if wanted {
            let decoded = Decoded::new(&self.output, reply.last(&mut unpacked)?)
                .map_err(Fault::Undecodable)?;
            let late = |name: &str| self.late_types.as_ref()?.find(name);
            let capture = &mut channel.answer.capture;
            for (numbers, out) in [
                (Numbers::Mapped, &mut capture.body),
                (Numbers::Plain, &mut capture.structured),
            ] {
                out.clear();
                // writing to memory does not fail
                let _ = serde_json::to_writer(out, &decoded.json_with(numbers, &late));
            }
        }
        Ok(())
    }
}

/// Compiles the head and the messages of a call. Returns the problems of both.
fn compile_parts(
    step: &GrpcStep,
    context: &CallContext<'_>,
    path: &str,
) -> Result<(Head, CompiledCall), Vec<Problem>> {
    let options = CallOptions {
        method: &step.method,
        metadata: &step.metadata,
        timeout: context.timeout,
        gzip: step.gzip,
    };
    let CallContext {
        target,
        credentials,
        descriptors,
        names,
        ..
    } = *context;
    let mut problems = Vec::new();
    let head = Head::compile(target, credentials, names, &options, path)
        .map_err(|found| problems.extend(found));
    let call = CompiledCall::compile(step, descriptors, names, path)
        .map_err(|found| problems.extend(found));
    match (head, call) {
        (Ok(head), Ok(call)) => Ok((head, call)),
        _ => Err(problems),
    }
}

impl Message {
    /// Frames messages that are always the same; `None` if one is too long.
    fn all(encoders: Vec<MessageEncoder>, gzip: bool) -> Option<Vec<Self>> {
        let messages = encoders.into_iter();
        messages.map(|encoder| Self::new(encoder, gzip)).collect()
    }

    fn new(encoder: MessageEncoder, gzip: bool) -> Option<Self> {
        let Some(bytes) = encoder.as_static() else {
            return Some(Self::Dynamic(encoder));
        };
        let mut framed = Vec::new();
        frames::open(&mut framed);
        framed.extend_from_slice(bytes);
        frames::close(&mut framed, gzip)?;
        Some(Self::Static(framed.into()))
    }
}

/// Returns the status in a `HealthCheckResponse`, its only field; 0 means unknown.
fn health(message: &[u8]) -> u8 {
    match message {
        [0x08, status] => *status,
        _ => 0,
    }
}
