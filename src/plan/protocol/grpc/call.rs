//! Compiled calls: a step's method looked up in the descriptors, its messages compiled.

use super::descriptors::{CallKind, Descriptors, Rpc};
use super::encoder::MessageEncoder;
use super::{GrpcStep, Messages, SendAfter};
use crate::plan::symbols::each_step;
use crate::plan::template::Need;
use crate::plan::{Action, Declared, JsonTemplate, Names, Plan, Problem, Protocol, RequestStep};

/// Every mistake in a plan's calls that descriptors reveal, before anything else is known: the
/// values of Secrets, rows of feeders.
pub fn check(plan: &Plan, descriptors: &Descriptors) -> Vec<Problem> {
    // mistakes in variables were reported when the plan was made
    let mut names = plan.variables.resolve(None).unwrap_or_default().names;
    for (slot, feeder) in (plan.feeder_slots()..).zip(&plan.feeders) {
        names.declare(&feeder.name, Declared::Row(slot));
    }
    let mut problems = Vec::new();
    each_step(plan, names, |step, path, names| {
        if let Action::Request(request) = &step.action
            && let Protocol::Grpc(grpc) = &request.call
        {
            match CompiledCall::compile(grpc, descriptors, names, &format!("{path}.grpc")) {
                Ok(call) => problems.extend(check_limits(request, call.rpc.kind, path)),
                Err(wrong) => problems.extend(wrong),
            }
        }
    });
    problems
}

/// Mistake in the limits of a step that calls a method of this kind, if there is one: a unary call
/// has no time to the first message.
pub fn check_limits(step: &RequestStep, kind: CallKind, path: &str) -> Option<Problem> {
    let limits_first = step.goodput.is_some_and(|goodput| goodput.first.is_some());
    let is_unary = !kind.client_streams() && !kind.server_streams();
    (limits_first && is_unary).then(|| {
        Problem::new(
            format!("{path}.goodput.firstMessage"),
            "is measured only of streams, and this method takes one message and answers with one",
        )
    })
}

/// A call, ready to be sent.
#[derive(Debug, Clone)]
pub struct CompiledCall {
    /// Method, with the types of its messages.
    pub rpc: Rpc,
    /// Encoders of the messages, sent in this order; never empty.
    pub messages: Vec<MessageEncoder>,
    /// Number of times that all of them are sent.
    pub times: u32,
}

impl CompiledCall {
    /// Compiles a step; `path` is that of its `grpc` field, for problems.
    pub fn compile(
        step: &GrpcStep,
        descriptors: &Descriptors,
        names: &Names,
        path: &str,
    ) -> Result<Self, Vec<Problem>> {
        let GrpcStep {
            method,
            message,
            stream,
            retry,
            is_health_check: _,
            metadata: _,
            gzip: _,
            max_message_size: _,
        } = step;
        let rpc = descriptors
            .rpc(method)
            .map_err(|why| vec![Problem::new(format!("{path}.method"), why)])?;
        let mut problems = Vec::new();
        if stream.is_some() && !rpc.kind.client_streams() {
            problems.push(Problem::new(
                format!("{path}.stream"),
                format!("{method} takes one message, not a stream of them"),
            ));
        }
        let waits = stream
            .as_ref()
            .is_some_and(|stream| stream.send_after == SendAfter::Reply);
        if waits && !rpc.kind.server_streams() {
            problems.push(Problem::new(
                format!("{path}.stream.sendAfter"),
                format!("{method} answers once, at the end, so there is no reply to wait for"),
            ));
        }
        if retry.is_some() && rpc.kind.client_streams() {
            problems.push(Problem::new(
                format!("{path}.retry"),
                format!("{method} takes a stream of messages, which is not sent twice"),
            ));
        }
        let mut compiled = |template: Option<&JsonTemplate>, path: String| match template {
            Some(template) => MessageEncoder::compile(template, &rpc.input, names, &path)
                .map_err(|wrong| problems.extend(wrong))
                .ok(),
            None => Some(MessageEncoder::empty()),
        };
        let (list, times) = match stream.as_ref().map(|stream| &stream.messages) {
            Some(Messages::List(list)) => (Some(list), 1),
            Some(Messages::Times(times)) => (None, *times),
            None => (None, 1),
        };
        let messages = match list {
            Some(list) => {
                let list = list.iter().enumerate();
                list.filter_map(|(i, template)| {
                    compiled(Some(template), format!("{path}.stream.messages[{i}]"))
                })
                .collect()
            }
            None => Vec::from_iter(compiled(message.as_ref(), format!("{path}.message"))),
        };
        if problems.is_empty() {
            Ok(Self {
                rpc,
                messages,
                times,
            })
        } else {
            Err(problems)
        }
    }

    /// Rows of feeders to take before anything is sent, each once.
    pub fn needs(&self) -> Vec<Need> {
        let mut needs: Vec<Need> = Vec::new();
        for need in self.messages.iter().flat_map(MessageEncoder::needs) {
            if !needs.contains(need) {
                needs.push(*need);
            }
        }
        needs
    }
}
