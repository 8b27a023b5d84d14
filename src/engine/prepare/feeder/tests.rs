//! Rows as users get them, for each strategy, scope and end.

use proptest::prelude::*;
use serde_json::json;

use crate::engine::prepare::feeder::*;
use crate::plan::feeder::{Source, Strategy};

/// A dealer of one feeder with rows `{"n": 0}` and on.
fn dealer(
    rows: u32,
    strategy: Strategy,
    scope: FeederScope,
    on_exhausted: OnExhausted,
    share: Share,
) -> Dealer {
    let source = Source::Inline {
        rows: (0..rows).map(|n| json!({"n": n})).collect(),
    };
    let rows = Rows::parse(&source, &[]).unwrap();
    let feeder = Feeder {
        name: "f".into(),
        source,
        strategy,
        scope,
        on_exhausted,
    };
    Dealer::new(SLOT, [Feed { feeder, rows }].into(), share, 7, 10)
}

fn local(rows: u32, strategy: Strategy, scope: FeederScope, on_exhausted: OnExhausted) -> Dealer {
    dealer(rows, strategy, scope, on_exhausted, Share::WHOLE)
}

/// Variables have those before it.
const SLOT: Slot = 3;
const ROW: Need = Need {
    slot: SLOT,
    take: None,
};

fn number(value: &Value) -> u64 {
    value["n"].as_u64().unwrap()
}

/// The row of a new iteration.
fn next(dealer: &Dealer, hand: &mut Hand) -> Result<u64, NoRow> {
    hand.begin();
    hand.take(dealer, ROW)?;
    Ok(number(hand.row(dealer, SLOT).unwrap()))
}

fn some(dealer: &Dealer, hand: &mut Hand, count: usize) -> Vec<u64> {
    (0..count).map(|_| next(dealer, hand).unwrap()).collect()
}

const STOP_USER: Result<u64, NoRow> = Err(NoRow::Exhausted(OnExhausted::StopUser));

#[test]
fn an_iteration_keeps_its_row_to_its_end() {
    let dealer = local(
        5,
        Strategy::Circular,
        FeederScope::Worker,
        OnExhausted::Recycle,
    );
    let mut hand = dealer.hand(0);
    assert_eq!(
        hand.row(&dealer, SLOT),
        None,
        "nothing is taken before it is needed"
    );
    for _ in 0..3 {
        hand.take(&dealer, ROW).unwrap();
        assert_eq!(hand.row(&dealer, SLOT), Some(&json!({"n": 0})));
    }
    assert_eq!(some(&dealer, &mut hand, 5), [1, 2, 3, 4, 0]);
}

#[test]
fn a_batch_is_of_further_rows_and_kept_too() {
    let dealer = local(
        5,
        Strategy::Circular,
        FeederScope::Worker,
        OnExhausted::Recycle,
    );
    let mut hand = dealer.hand(0);
    let batch = Need {
        slot: SLOT,
        take: Some(3),
    };
    for need in [ROW, batch, batch] {
        hand.take(&dealer, need).unwrap();
    }
    assert_eq!(
        hand.batch(SLOT, 3),
        Some(&json!([{"n": 1}, {"n": 2}, {"n": 3}]))
    );
    assert_eq!(hand.batch(SLOT, 2), None);
    assert_eq!(next(&dealer, &mut hand), Ok(4));
    assert_eq!(hand.batch(SLOT, 3), None);
}

#[test]
fn a_queue_that_is_through_stops_users_and_tears_no_batch() {
    let dealer = local(
        5,
        Strategy::Queue,
        FeederScope::Worker,
        OnExhausted::StopUser,
    );
    let mut hand = dealer.hand(0);
    assert_eq!(some(&dealer, &mut hand, 3), [0, 1, 2]);
    assert_eq!(
        hand.take(
            &dealer,
            Need {
                slot: SLOT,
                take: Some(3)
            }
        ),
        Err(NoRow::Exhausted(OnExhausted::StopUser))
    );
    assert_eq!(next(&dealer, &mut hand), STOP_USER);
    assert_eq!(hand.row(&dealer, SLOT), None);
}

#[tokio::test]
async fn the_end_of_the_run_is_said_to_whoever_must_know() {
    let dealer = local(
        1,
        Strategy::Shuffle,
        FeederScope::Worker,
        OnExhausted::StopRun,
    );
    let mut hand = dealer.hand(0);
    assert_eq!(next(&dealer, &mut hand), Ok(0));
    assert_eq!(
        next(&dealer, &mut hand),
        Err(NoRow::Exhausted(OnExhausted::StopRun))
    );
    assert_eq!(dealer.supply().demand().await, Demand::UsedUp { feeder: 0 });
}

#[test]
fn each_user_has_all_rows_for_itself() {
    let dealer = local(4, Strategy::Queue, FeederScope::User, OnExhausted::StopUser);
    for user in 0..3 {
        let mut hand = dealer.hand(user);
        assert_eq!(some(&dealer, &mut hand, 4), [0, 1, 2, 3]);
        assert_eq!(next(&dealer, &mut hand), STOP_USER);
    }
    let dealer = local(
        50,
        Strategy::Shuffle,
        FeederScope::User,
        OnExhausted::Recycle,
    );
    let [first, again, other] = [3, 3, 4].map(|user| some(&dealer, &mut dealer.hand(user), 50));
    assert_eq!(first, again);
    assert_ne!(first, other, "two users have the same random order");
}

#[test]
fn workers_have_random_orders_of_their_own() {
    for strategy in [Strategy::Random, Strategy::Shuffle] {
        let order = |worker| {
            let dealer = dealer(
                50,
                strategy,
                FeederScope::Worker,
                OnExhausted::Recycle,
                Share { worker, workers: 2 },
            );
            some(&dealer, &mut dealer.hand(0), 50)
        };
        assert_eq!(order(0), order(0));
        assert_ne!(order(0), order(1), "{strategy:?}");
    }
}

proptest! {
    #[test]
    fn over_all_users_of_a_worker_each_row_comes_once_a_cycle(
        rows in 1u32..40, shuffle: bool, cycles in 1u64..4, turns in prop::collection::vec((0usize..5, 1u32..4), 200),
    ) {
        let strategy = if shuffle { Strategy::Shuffle } else { Strategy::Circular };
        let dealer = local(rows, strategy, FeederScope::Worker, OnExhausted::Recycle);
        let mut hands: Vec<Hand> = (0..5).map(|user| dealer.hand(user)).collect();
        let mut given = Vec::new();
        for (user, count) in turns.into_iter().cycle() {
            hands[user].begin();
            hands[user].take(&dealer, Need { slot: SLOT, take: Some(count) }).unwrap();
            given.extend(hands[user].batch(SLOT, count).unwrap().as_array().unwrap().iter().map(number));
            if given.len() as u64 >= cycles * u64::from(rows) { break; }
        }
        for cycle in given.chunks_exact(rows as usize) {
            let mut cycle = cycle.to_vec();
            cycle.sort_unstable();
            prop_assert_eq!(cycle, (0..u64::from(rows)).collect::<Vec<_>>());
        }
    }
}

#[test]
fn threads_that_share_a_queue_get_each_row_once() {
    let dealer = local(
        10_000,
        Strategy::Queue,
        FeederScope::Worker,
        OnExhausted::StopUser,
    );
    let take_all = |user| {
        let mut hand = dealer.hand(user);
        std::iter::from_fn(|| next(&dealer, &mut hand).ok()).collect::<Vec<_>>()
    };
    let mut given: Vec<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|user| scope.spawn(move || take_all(user)))
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    });
    given.sort_unstable();
    assert_eq!(given, (0..10_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn users_wait_for_leased_rows_and_for_the_end_of_them() {
    let dealer = local(3, Strategy::Queue, FeederScope::Test, OnExhausted::StopUser);
    let mut hands: Vec<Hand> = (0..3).map(|user| dealer.hand(user)).collect();
    assert_eq!(next(&dealer, &mut hands[0]), Err(NoRow::Later));
    assert_eq!(
        dealer.supply().demand().await,
        Demand::Rows {
            feeder: 0,
            count: 10
        }
    );
    let [a, b, c] = &mut hands[..] else {
        unreachable!()
    };
    let master = async {
        tokio::task::yield_now().await;
        dealer.supply().grant(0, 1..3, false);
        tokio::task::yield_now().await;
        dealer.supply().grant(0, 3..3, true);
    };
    let (a_got, b_got, c_got, ()) = tokio::join!(
        a.wait_for(&dealer, ROW),
        b.wait_for(&dealer, ROW),
        c.wait_for(&dealer, ROW),
        master
    );
    let got = [a_got, b_got, c_got];
    assert_eq!(got.iter().filter(|got| got.is_ok()).count(), 2, "{got:?}");
    assert!(
        got.contains(&Err(NoRow::Exhausted(OnExhausted::StopUser))),
        "{got:?}"
    );
    let mut rows: Vec<u64> = hands
        .iter()
        .filter_map(|hand| hand.row(&dealer, SLOT))
        .map(number)
        .collect();
    rows.sort_unstable();
    assert_eq!(rows, [1, 2]);
}

#[tokio::test]
async fn nobody_waits_past_the_end_of_the_load() {
    let dealer = local(3, Strategy::Queue, FeederScope::Test, OnExhausted::StopUser);
    let mut hand = dealer.hand(0);
    let (waited, ()) = tokio::join!(hand.take_all(&dealer, &[ROW], false), async {
        dealer.supply().wake()
    });
    assert_eq!(waited, Err(NoRow::Later));
    assert_eq!(
        hand.take_all(&dealer, &[ROW], true).await,
        Err(NoRow::Later),
        "who is in a hurry does not wait"
    );
}
