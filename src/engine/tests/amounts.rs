//! Loads that end by themselves, loads with a cap, loads before and beside others: each exactly as
//! much as was asked for.

use crate::engine::tests::server::Server;
use crate::engine::tests::*;
use crate::plan::{Capacity, Iterations, Level, Levels, LoadChange, ThinkTime};

const MINUTE: Duration = Duration::from_secs(60);

fn iterations(count: u64, users: u32, per_user: bool) -> Load {
    Load::Iterations(Iterations {
        count,
        users,
        per_user,
        max_duration: None,
        retry_pause: Duration::from_secs(1),
    })
}

/// Everything that a fleet of so many workers and shards each did, and the longest of their loads.
async fn fleet(plan: Plan, workers: u32, shards: u32, done: u64) -> (Snapshot, Duration) {
    let prepared = prepared(plan).await;
    let start = Instant::now();
    let running: Vec<_> = (0..workers)
        .map(|worker| {
            prepared.clone().start(
                Assignment {
                    share: Share { worker, workers },
                    shards,
                    seed: 1,
                    done,
                    found: Default::default(),
                    changes: vec![],
                },
                start,
            )
        })
        .collect();
    let (mut all, mut longest) = (Snapshot::default(), Duration::ZERO);
    for mut running in running {
        let deltas = deltas(&mut running).await;
        longest = longest.max(
            deltas
                .last()
                .and_then(|delta| delta.length)
                .unwrap_or_default(),
        );
        all.merge(&sum(&deltas));
    }
    (all, longest)
}

#[tokio::test]
async fn iterations_are_carried_out_exactly_whoever_shares_them() {
    for (count, users, per_user, workers, shards) in [
        (1000, 8, false, 1, 2),
        (101, 3, false, 4, 2),
        (7, 20, false, 2, 3),
        (5, 7, true, 3, 2),
        (1, 1, true, 2, 2),
    ] {
        let server = Server::start();
        let wanted = if per_user {
            count * u64::from(users)
        } else {
            count
        };
        let (all, length) = fleet(
            plan(&server.url, iterations(count, users, per_user)),
            workers,
            shards,
            0,
        )
        .await;
        assert_eq!(
            (all.counters.finished, all.requests(), server.received()),
            (wanted, wanted, wanted),
            "{count} by {users}"
        );
        assert!(
            length > Duration::ZERO && length < Duration::from_secs(5),
            "{length:?}"
        );
    }
}

#[tokio::test]
async fn a_replacement_carries_out_the_rest() {
    let server = Server::start();
    let (all, _) = fleet(plan(&server.url, iterations(100, 4, false)), 1, 2, 60).await;
    assert_eq!((all.counters.finished, server.received()), (40, 40));
}

#[tokio::test]
async fn users_that_think_after_the_last_iteration_do_not_hold_up_the_end() {
    let server = Server::start();
    let mut plan = plan(&server.url, iterations(3, 3, false));
    plan.scenarios[0].think_time = Some(ThinkTime::constant(MINUTE));
    let (all, length) = fleet(plan, 1, 1, 0).await;
    assert_eq!(all.counters.finished, 3);
    assert!(length < Duration::from_secs(2), "{length:?}");
}

#[tokio::test]
async fn what_is_not_begun_in_time_is_dropped_and_counted() {
    let server = Server::start();
    let mut load = Iterations {
        count: 100,
        users: 2,
        per_user: false,
        max_duration: Some(Duration::from_millis(300)),
        retry_pause: Duration::from_secs(1),
    };
    let mut slow = plan(&server.url, Load::Iterations(load.clone()));
    slow.scenarios[0].tasks[0].steps = vec![step("get", "/slow/200")];
    let (all, length) = fleet(slow, 1, 1, 0).await;
    assert_eq!(
        (
            all.counters.finished,
            all.counters.dropped,
            server.received()
        ),
        (4, 96, 4)
    );
    assert_eq!(length, Duration::from_millis(300));
    load.max_duration = Some(MINUTE);
    let (all, length) = fleet(plan(&server.url, Load::Iterations(load)), 1, 1, 0).await;
    assert_eq!(all.counters.dropped, 0);
    assert!(length < Duration::from_secs(5));
}

#[tokio::test]
async fn a_throttle_holds_over_the_fleet_and_leaves_waiting_out_of_latency() {
    let server = Server::start();
    let mut plan = plan(&server.url, users(20, 900));
    plan.populations[0].throttle = Some(100.0);
    let (all, _) = fleet(plan, 3, 2, 0).await;
    assert!(
        (75..=91).contains(&all.requests()),
        "{} requests in 0.9 s at 100/s",
        all.requests()
    );
    assert_eq!(all.requests(), server.received());
    assert!(all.steps[&0].latency.percentile(50.0) < 50_000);
}

#[tokio::test]
async fn few_users_reach_a_throttle_that_many_shards_share() {
    let server = Server::start();
    let mut plan = plan(&server.url, iterations(40, 1, false));
    plan.populations[0].throttle = Some(200.0);
    let (all, length) = fleet(plan, 4, 2, 0).await;
    assert_eq!(all.requests(), 40);
    assert!(
        (Duration::from_millis(190)..Duration::from_millis(400)).contains(&length),
        "{length:?}"
    );
}

#[tokio::test]
async fn a_warm_up_is_counted_and_else_in_no_result() {
    for load in [users(4, 300), rate(100, 300, 32), iterations(50, 4, false)] {
        let server = Server::start();
        let open = load.is_open();
        let counted = matches!(load, Load::Iterations(_));
        let mut plan = plan(&server.url, load);
        plan.scenarios[0].tasks[0].steps = vec![step("get", "/slow/10")];
        (plan.warmup, plan.populations[0].warmup_target) =
            (Duration::from_millis(300), if open { 50.0 } else { 2.0 });
        let (all, _) = fleet(plan, 2, 1, 0).await;
        let Counters {
            iterations,
            warmup,
            interrupted,
            dropped,
            ..
        } = all.counters;
        assert_eq!(all.requests() + warmup + interrupted, server.received());
        assert_eq!((dropped, iterations), (0, all.steps[&0].latency.count()));
        match (open, counted) {
            (true, _) => assert_eq!((warmup, iterations, all.lag.count()), (15, 30, 30)),
            (_, true) => assert_eq!(iterations, 50),
            _ => assert!(warmup > 10 && iterations > 40, "{warmup} {iterations}"),
        }
    }
}

#[tokio::test]
async fn populations_go_on_side_by_side_each_at_its_time() {
    let server = Server::start();
    let mut plan = plan(&server.url, rate(100, 800, 32));
    let mut later = plan.scenarios[0].clone();
    (later.name, later.think_time) = ("later".into(), Some(ThinkTime::constant(MINUTE)));
    plan.scenarios.push(later.clone());
    (later.name, later.think_time) = ("counted".into(), None);
    plan.scenarios.push(later);
    let at = |scenario, millis, load| Population {
        scenarios: vec![scenario],
        start_after: Duration::from_millis(millis),
        ..Population::only(1, load)
    };
    plan.populations = vec![
        at(0, 0, rate(100, 500, 32)),
        at(1, 400, users(6, 300)),
        at(2, 100, iterations(25, 2, false)),
    ];
    let (all, length) = fleet(plan, 2, 2, 0).await;
    let requests = |place: u16| all.steps[&place].requests;
    assert_eq!([0, 1, 2].map(requests), [50, 6, 25]);
    assert_eq!(all.received_by_target(), server.received());
    assert_eq!(length, Duration::from_millis(700));
}

#[tokio::test]
async fn levels_announced_on_the_way_are_followed_by_the_fleet_as_one() {
    let server = Server::start();
    let second = Duration::from_secs(1);
    let capacity = Capacity {
        start: 1.0,
        max: 1000.0,
        step: 0.5,
        hold: second,
        settle: Duration::ZERO,
        precision: 0.1,
        max_in_flight: 96,
        at_least: None,
    };
    let prepared = prepared(plan(&server.url, Load::Capacity(capacity))).await;
    let start = Instant::now();
    let mut workers: Vec<_> = (0..3)
        .map(|worker| {
            prepared.clone().start(
                Assignment {
                    share: Share { worker, workers: 3 },
                    shards: 2,
                    seed: 1,
                    done: 0,
                    found: Default::default(),
                    changes: vec![],
                },
                start,
            )
        })
        .collect();
    let level = |millis, rate| Level {
        at: Duration::from_millis(millis),
        rate,
    };
    let mut levels = Levels {
        levels: vec![level(0, 100.0)],
        end: None,
    };
    workers
        .iter()
        .for_each(|running| running.follow(levels.clone()));
    tokio::time::sleep(Duration::from_millis(250)).await;
    levels.levels.push(level(500, 202.0));
    workers
        .iter()
        .for_each(|running| running.follow(levels.clone()));
    levels.end = Some(Duration::from_millis(1_000));
    tokio::time::sleep(Duration::from_millis(100)).await;
    workers
        .iter()
        .for_each(|running| running.follow(levels.clone()));
    let mut all = Snapshot::default();
    for running in &mut workers {
        let deltas = deltas(running).await;
        assert_eq!(deltas.last().unwrap().length, Some(second));
        all.merge(&sum(&deltas));
    }
    assert_eq!(
        (
            all.counters.iterations,
            all.counters.dropped,
            server.received()
        ),
        (151, 0, 151)
    );
}

/// Workers under load, each with two threads.
async fn workers(plan: Plan, count: u32, start: Instant) -> Vec<Running> {
    let prepared = prepared(plan).await;
    let assignment = |worker| Assignment {
        share: Share {
            worker,
            workers: count,
        },
        ..whole(2)
    };
    (0..count)
        .map(|worker| prepared.clone().start(assignment(worker), start))
        .collect()
}

fn changed(millis: u64, level: Option<f64>) -> LoadChange {
    LoadChange {
        at: Duration::from_millis(millis),
        population: 0,
        level,
    }
}

#[tokio::test]
async fn a_rate_changed_by_hand_is_followed_by_the_fleet_as_one() {
    let server = Server::start();
    let load = Load::Open {
        profile: Profile::ramp_and_hold(100.0, Duration::ZERO, Duration::from_millis(2_000)),
        arrival: Arrival::Constant,
        max_in_flight: 200,
        max_dropped: 0.0,
    };
    let mut running = workers(plan(&server.url, load), 3, Instant::now()).await;
    let mut changes = vec![changed(500, Some(300.0))];
    tokio::time::sleep(Duration::from_millis(250)).await;
    running
        .iter()
        .for_each(|one| one.change_load(changes.clone()));
    tokio::time::sleep(Duration::from_millis(500)).await;
    changes.extend([changed(1_000, Some(0.0)), changed(1_500, None)]);
    // one of them hears of it twice, as after a lost connection
    running
        .iter()
        .for_each(|one| one.change_load(changes.clone()));
    running[0].change_load(changes.clone());
    let mut all = Snapshot::default();
    for one in &mut running {
        all.merge(&sum(&deltas(one).await));
    }
    // 0.5 s at 100/s, 0.5 s at 300/s, nothing for 0.5 s, and 0.5 s at 100/s
    assert_eq!((all.counters.iterations, server.received()), (250, 250));
    // what was to be offered follows, too, but for what each thread rounds
    let offered = all.counters.arrival_micros as f64 / 1e6;
    assert!((offered - 250.0).abs() < 0.01, "{offered}");
}

#[tokio::test]
async fn a_worker_that_joins_after_a_change_has_the_arrivals_that_are_its_own() {
    let server = Server::start();
    let load = Load::Open {
        profile: Profile::ramp_and_hold(100.0, Duration::ZERO, Duration::from_millis(3_000)),
        arrival: Arrival::Constant,
        max_in_flight: 200,
        max_dropped: 0.0,
    };
    let prepared = prepared(plan(&server.url, load)).await;
    let assignment = Assignment {
        changes: vec![changed(500, Some(300.0))],
        ..whole(2)
    };
    // 2 s are over: they were another's
    let start = Instant::now() - Duration::from_millis(2_000);
    let mut late = prepared.start(assignment, start);
    let all = sum(&deltas(&mut late).await);
    let iterations = all.counters.iterations as f64;
    assert!((iterations - 300.0).abs() < 15.0, "{iterations}");
}

#[tokio::test]
async fn users_that_are_added_by_hand_have_numbers_of_their_own() {
    let server = Server::start();
    let closed = |users: f64| Load::Closed {
        profile: Profile::ramp_and_hold(users, Duration::ZERO, Duration::from_millis(1_500)),
        spawn_rate: Some(1_000.0),
        max_missing: 0.0,
        retry_pause: Duration::ZERO,
    };
    let mut plan = plan(&server.url, closed(3.0));
    let step = &mut plan.scenarios[0].tasks[0].steps[0];
    *step = crate::engine::tests::step("get", "/row/{{ user.id }}");
    let second = Population::only(plan.scenarios.len(), closed(2.0));
    let plan = Plan {
        populations: vec![plan.populations[0].clone(), second],
        ..plan
    };
    let mut running = workers(plan, 2, Instant::now()).await;
    let changes = [0, 1].map(|population| LoadChange {
        population,
        ..changed(100, Some(8.0))
    });
    running
        .iter()
        .for_each(|one| one.change_load(changes.to_vec()));
    let mut most = 0;
    for one in &mut running {
        most += sum(&deltas(one).await).concurrency.users.most();
    }
    assert_eq!(most, 16);
    let mut users = server.rows();
    users.dedup();
    assert_eq!(users.len(), 16, "{users:?}");
}
