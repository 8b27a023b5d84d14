//! Statistics of a shard: which second, part and count a sample goes to.

use super::*;
use crate::stats::{Counters, Goodput};

fn sample(ended: Instant) -> Sample<'static> {
    let latency = Duration::from_micros(5);
    Sample {
        step: 0,
        part: Part::Measured,
        ended,
        latency,
        service_time: latency,
        phases: Phases {
            wait: Some(latency),
            ..Phases::default()
        },
        status: 200,
        grpc_status: None,
        failure: None,
        retry_after: None,
        sent: true,
        sent_bytes: 1,
        received_bytes: 2,
        checks_passed: 2,
        checks_failed: 1,
        stream: None,
        good: None,
    }
}

#[test]
fn warm_up_and_control_are_counted_and_leave_no_sample() {
    let (queue, _deltas) = mpsc::channel(8);
    let now = Instant::now();
    let mut recorder = Recorder::new(0, 1, 0, now + Duration::from_secs(1), None, queue);
    for part in [Part::Warmup, Part::Control] {
        recorder.iteration_started(now, Some(Duration::from_millis(1)), part);
        recorder.record(
            Sample {
                part,
                ..sample(now)
            },
            String::new,
        );
        let failure = Some(ErrorClass::Connect);
        recorder.record(
            Sample {
                part,
                failure,
                sent: false,
                status: 0,
                ..sample(now)
            },
            || "refused".into(),
        );
        recorder.iteration_finished(Iteration {
            task: 0,
            part,
            duration: Duration::from_millis(1),
            failed: false,
        });
        recorder.dropped(1, Dropped::NoRow, part);
        recorder.trend(0, Some(5), part);
    }
    let snapshot = recorder.finish(now).snapshot;
    let counters = Counters {
        warmup: 1,
        warmup_failures: 1,
        control: 1,
        control_failures: 1,
        ..Counters::default()
    };
    let errors = snapshot.errors.clone();
    assert_eq!(
        errors.total(),
        1,
        "why a control request failed is told, the warm-up is left out"
    );
    assert_eq!(
        snapshot,
        Snapshot {
            counters,
            errors,
            ..Snapshot::default()
        }
    );
    assert_eq!(snapshot.received_by_target(), 2);
}

#[test]
fn a_measured_request_shows_its_parts_checks_and_attempts() {
    let (queue, _deltas) = mpsc::channel(8);
    let now = Instant::now();
    let mut recorder = Recorder::new(0, 1, 0, now + Duration::from_secs(1), None, queue);
    recorder.retried();
    recorder.redirected();
    recorder.record(sample(now), String::new);
    recorder.trend(3, Some(70), Part::Measured);
    recorder.trend(3, None, Part::Measured);
    for failed in [false, true] {
        recorder.iteration_finished(Iteration {
            task: 2,
            part: Part::Measured,
            duration: Duration::from_millis(1),
            failed,
        });
    }
    let snapshot = recorder.finish(now).snapshot;
    let step = &snapshot.steps[&0];
    assert_eq!((step.checks_passed, step.checks_failed), (2, 1));
    assert_eq!(
        (
            step.phases.of(Phase::Wait).max(),
            step.phases.of(Phase::Dns).count()
        ),
        (5, 0)
    );
    assert_eq!(
        (
            snapshot.tasks[&2].finished,
            snapshot.tasks[&2].failed,
            snapshot.tasks[&2].duration.count()
        ),
        (2, 1, 1)
    );
    assert_eq!(
        (
            snapshot.trends[&3].values.max(),
            snapshot.trends[&3].missing
        ),
        (70, 1)
    );
    assert_eq!(
        snapshot.received_by_target(),
        3,
        "a retry and a hop each reach the target"
    );
}

#[test]
fn a_sample_belongs_to_the_second_in_which_it_ended() {
    let (queue, mut deltas) = mpsc::channel(8);
    let zero = Instant::now();
    let at = |seconds: f64| zero + Duration::from_secs_f64(seconds);
    let mut recorder = Recorder::new(0, 1, 0, at(1.0), None, queue);
    for ended in [0.1, 0.999, 1.0, 3.5] {
        recorder.record(sample(at(ended)), String::new);
    }
    let last = recorder.finish(at(3.6));
    let mut seen = Vec::new();
    while let Ok(delta) = deltas.try_recv() {
        seen.push((delta.second, delta.snapshot.requests()));
    }
    assert_eq!(seen, [(0, 2), (1, 1), (2, 0)]);
    assert_eq!((last.second, last.snapshot.requests()), (3, 1));
}

#[test]
fn a_request_in_flight_over_seconds_is_in_each_of_them() {
    let (queue, mut deltas) = mpsc::channel(8);
    let zero = Instant::now();
    let at = |seconds: f64| zero + Duration::from_secs_f64(seconds);
    let recorder = RefCell::new(Recorder::new(0, 1, 0, at(1.0), None, queue));
    recorder.borrow_mut().measure_at_once(Window {
        from: zero,
        until: None,
    });
    recorder.departed(at(0.25));
    recorder.departed(at(0.5));
    recorder.arrived(at(0.5));
    recorder.arrived(at(2.5));
    recorder.borrow_mut().load_ended(at(2.75));
    let last = recorder.borrow_mut().finish(at(2.9)).snapshot;
    let mut seen = vec![];
    while let Ok(delta) = deltas.try_recv() {
        let level = delta.snapshot.concurrency.in_flight;
        seen.push((level.micros, level.most()));
    }
    assert_eq!(seen, [(750_000, 2), (1_000_000, 1)]);
    let level = last.concurrency.in_flight;
    assert_eq!((level.micros, level.most()), (500_000, 1));
}

#[test]
fn a_reader_far_behind_loses_nothing() {
    let (queue, mut deltas) = mpsc::channel(1);
    let zero = Instant::now();
    let at = |seconds: u64| zero + Duration::from_secs(seconds);
    let mut recorder = Recorder::new(0, 1, 0, at(1), None, queue);
    for second in 0..5 {
        recorder.record(sample(at(second)), String::new);
    }
    let last = recorder.finish(at(5));
    let first = deltas.try_recv().unwrap();
    assert_eq!(first.snapshot.requests() + last.snapshot.requests(), 5);
}

#[test]
fn messages_and_gaps_count_in_the_second_in_which_they_come() {
    let (queue, mut deltas) = mpsc::channel(8);
    let (now, second) = (Instant::now(), Duration::from_secs(1));
    let gap = Some(Duration::from_millis(400));
    let mut recorder = Recorder::new(0, 1, 0, now + second, None, queue);
    recorder.messages_sent(0, Part::Measured, now, 1);
    recorder.message_received(0, Part::Measured, now, None);
    recorder.message_received(0, Part::Measured, now + second * 3 / 2, gap);
    recorder.message_received(0, Part::Warmup, now + second * 3 / 2, gap);
    let tokens = LlmSample {
        output_tokens: 50,
        counted_by_usage: true,
        ..LlmSample::default()
    };
    let stream = StreamSample {
        first: Some(Duration::from_millis(5)),
        llm: Some(tokens),
    };
    let sample = Sample {
        latency: 2 * second,
        stream: Some(&stream),
        good: Some(true),
        ..sample(now + second * 5 / 2)
    };
    recorder.record(sample, String::new);
    recorder.missed(0, Part::Measured);
    let last = recorder.finish(now + second * 5 / 2).snapshot;
    let mut second = || {
        deltas
            .try_recv()
            .unwrap()
            .snapshot
            .steps
            .remove(&0)
            .unwrap()
    };
    let (first, next) = (second(), second());
    let messages = |step: &StepStats| {
        let stream = step.stream.as_ref().unwrap();
        (
            step.requests,
            stream.messages_sent,
            stream.messages_received,
            stream.gap.count(),
            stream.first.count(),
        )
    };
    assert_eq!(
        (messages(&first), messages(&next)),
        ((0, 1, 1, 0, 0), (0, 0, 1, 1, 0))
    );
    let last = &last.steps[&0];
    assert_eq!(messages(last), (1, 0, 0, 0, 1));
    assert_eq!(last.goodput, Goodput { good: 1, judged: 2 });
    let llm = last.stream.as_ref().unwrap().llm.as_ref().unwrap();
    assert_eq!(
        (
            llm.output_tokens,
            llm.counted_by_usage,
            llm.counted_by_events
        ),
        (50, 1, 0)
    );
    assert_eq!(
        llm.token_rate.max(),
        25_000,
        "50 tokens in 2 s, in thousandths"
    );
}
