//! Executor of a step's requests, for any protocol, within the step's time.

use std::pin::pin;
use std::time::Instant;

use crate::engine::answer::Needs;
use crate::engine::answer::capture::Wanted;
use crate::engine::attempt::Attempt;
use crate::engine::attempt::sample::{Part, Sample};
use crate::engine::prepare::program::PreparedStep;
use crate::engine::protocol::Call;
use crate::engine::protocol::channel::Channel;
use crate::engine::protocol::closing::Closing;
use crate::engine::protocol::exchange::{Exchange, Place, Protocol, Scratch, SendContext, Unsent};
use crate::engine::protocol::http::cookies::Jar;
use crate::engine::user::context::Context;
use crate::engine::user::deadline::Deadline;
use crate::engine::user::frame::Frame;
use crate::engine::user::sent::{Answered, Sent, Times};
use crate::stats::ErrorClass;

/// Request of a user that is about to be carried out.
pub(crate) struct Executor<'a> {
    /// State that users of the thread share.
    pub(crate) context: &'a Context,
    /// Number of the step.
    pub(crate) number: u16,
    /// Channels of the user, by route.
    pub(crate) channels: &'a mut [Channel],
    /// Variables of the user.
    pub(crate) frame: &'a mut Frame,
    /// Cookies of the user.
    pub(crate) jar: &'a mut Jar,
    /// Buffers of the user.
    pub(crate) scratch: &'a mut Scratch,
    /// Part of the run.
    pub(crate) part: Part,
    /// End of the load, which ends streams; `None` if it does not.
    pub(crate) closing: Option<&'a Closing>,
    /// Latest answer, for the conditions that read it.
    pub(crate) answered: &'a mut Option<Answered>,
}

impl Executor<'_> {
    /// Carries out the request. Returns when it ended, and the class of its failure.
    pub(crate) async fn carry_out(
        self,
        deadline: &mut Deadline,
        intended: Instant,
        now: Instant,
    ) -> (Instant, Option<ErrorClass>) {
        let context = self.context;
        let step: &PreparedStep = &context.prepared.steps[usize::from(self.number)];
        let until = intended + step.timeout;
        let times = Times {
            intended,
            now,
            until,
        };
        match &step.call {
            Call::Http(call) => self.execute(step, call, deadline, times).await,
            Call::Grpc(call) => self.execute(step, call, deadline, times).await,
        }
    }

    /// Carries out a request of `call`, for any protocol.
    async fn execute<P: Protocol>(
        self,
        step: &PreparedStep,
        call: &P,
        deadline: &mut Deadline,
        times: Times,
    ) -> (Instant, Option<ErrorClass>) {
        let Self {
            context,
            number,
            channels,
            frame,
            jar,
            scratch,
            part,
            closing,
            answered,
        } = self;
        let place = Place {
            step: number,
            part,
            route: step.route,
        };
        let mut exchange = match call.begin(place, &context.transport, frame, scratch) {
            Ok(exchange) => exchange,
            Err(why) => return unsent(context, (number, part), times.intended, &why),
        };
        let attempt = Attempt::new(&context.recorder, times.now);
        attempt.limit(step.goodput.map(|_| (number, part)));
        let sampler = context.sampler.as_ref().filter(|sampler| sampler.draw());
        if let Some(sampler) = sampler {
            exchange.keep_sent(sampler.reach());
        }
        let mut send_context = SendContext {
            transport: &context.transport,
            channels: &mut *channels,
            scope: &mut *frame,
            jar: &mut *jar,
            wanted: wanted(step.needs, sampler.is_some() || context.quotes_answers),
            closing,
        };
        let (in_time, now) = {
            let sending = pin!(exchange.send(&mut send_context, &attempt));
            deadline.bound(times.until, sending).await
        };
        let sent = Sent {
            context,
            step,
            place,
            exchange: &mut exchange,
            attempt: &attempt,
            sampler,
            jar,
            times,
        };
        let (answer, class) = sent.record(in_time, now, channels, frame);
        *answered = Some(answer);
        (after_rules(step.needs, now), class)
    }
}

/// Returns when the user goes on after an answer that ended `ended`: the time that rules took is no
/// latency of the request that follows.
fn after_rules(needs: Needs, ended: Instant) -> Instant {
    match needs.head || needs.body {
        true => Instant::now(),
        false => ended,
    }
}

/// Returns the parts of an answer to keep, for any protocol.
fn wanted(needs: Needs, is_shown: bool) -> Wanted {
    let Needs { head, body } = needs;
    Wanted {
        head: head || is_shown,
        body: body || is_shown,
        ..Wanted::default()
    }
}

/// Records a request that its protocol could not begin, with the class of the reason.
fn unsent(
    context: &Context,
    step: (u16, Part),
    intended: Instant,
    why: &Unsent,
) -> (Instant, Option<ErrorClass>) {
    record_unsent(context, step, intended, why.class(), why)
}

/// Records a request that could not be built. Returns when that was, and the class of the failure.
pub(crate) fn record_unsent(
    context: &Context,
    (number, part): (u16, Part),
    intended: Instant,
    class: ErrorClass,
    why: &dyn std::fmt::Display,
) -> (Instant, Option<ErrorClass>) {
    let ended = Instant::now();
    let good = context.prepared.steps[usize::from(number)]
        .goodput
        .map(|_| false);
    let sample = Sample {
        good,
        ..Sample::unsent(number, part, (intended, ended), class)
    };
    context.recorder.borrow_mut().record(sample, || {
        context.prepared.redactor.message(&why.to_string())
    });
    (ended, Some(class))
}
