//! Pollers and clients against masters that speak TLS on real sockets: good ones, liars, and those
//! that say nothing.

mod hostile;
pub mod peers;

use tokio::sync::mpsc;

use super::*;
use crate::operator::channel::Channel;
use crate::operator::queue::Guarded;
use crate::wire::control::{GrantAction, MasterState};
use kube::runtime::reflector::ObjectRef;
use peers::{RUN, Script, channel, master, progress, silent};

/// Nothing here takes longer on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(60);

struct Stage {
    masters: Masters,
    metrics: Metrics,
    woken: mpsc::Receiver<ObjectRef<Guarded>>,
    channel: Channel,
}

impl Stage {
    fn new() -> Self {
        let (queues, metrics) = (Arc::new(Queues::default()), Metrics::default());
        let (_, woken) = queues.open(None);
        Self {
            masters: Masters::new(metrics.clone(), queues),
            metrics,
            woken,
            channel: channel(),
        }
    }

    fn look(&self, name: &str, wanted: Wanted) -> Known {
        let credentials = Credentials {
            ca: self.channel.ca.clone(),
            token: self.channel.operator_token.clone(),
        };
        self.masters
            .look("team-a", name, wanted, || Ok(credentials))
    }

    /// Looks whenever the poller asks for it, until what is known is as wanted.
    async fn until(&mut self, name: &str, wanted: &Wanted, is: impl Fn(&Known) -> bool) -> Known {
        let looking = async {
            loop {
                let known = self.look(name, wanted.clone());
                if is(&known) {
                    return known;
                }
                let woken = self.woken.recv().await.unwrap();
                assert_eq!(woken.namespace.as_deref(), Some("team-a"));
            }
        };
        tokio::time::timeout(PATIENCE, looking).await.unwrap()
    }
}

fn wanted(addresses: &[SocketAddr]) -> Wanted {
    Wanted {
        run: RUN.into(),
        addresses: addresses.to_vec(),
        is_ready: true,
        trusted: None,
        wants_result: false,
        workers: 0,
    }
}

fn is_up(known: &Known) -> bool {
    matches!(known.view, MasterView::Up(_))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn among_two_hundred_silent_masters_a_good_one_is_heard_while_they_are_still_being_asked() {
    let mut stage = Stage::new();
    let (silent, good) = (silent().await, master(Script::good("one")).await);
    let silent_wanted = wanted(&[silent]);
    for number in 0..200 {
        let known = stage.look(&format!("silent-{number}"), silent_wanted.clone());
        assert_eq!(known.view, MasterView::Unasked, "looking never waits");
    }
    let good = wanted(&[good.address]);
    let known = stage.until("good", &good, is_up).await;
    assert!(known.heard.is_some());
    assert_eq!(stage.masters.count(), 201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_master_is_told_as_such_and_keeps_no_pass_waiting() {
    let mut stage = Stage::new();
    let silent = wanted(&[silent().await]);
    let is_known = |known: &Known| matches!(known.view, MasterView::Unreachable(_));
    let known = stage.until("silent", &silent, is_known).await;
    let MasterView::Unreachable(why) = known.view else {
        unreachable!()
    };
    assert!(
        why.contains("did not take a connection within 3 s"),
        "{why}"
    );
    let text = stage.metrics.text();
    let line = "starling_operator_master_calls_total{call=\"progress\",outcome=\"late\"} 1";
    assert!(text.contains(line), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_with_the_newest_pod_does_not_hide_the_true_master() {
    let mut stage = Stage::new();
    let (stranger, good) = (
        master(Script::stranger()).await,
        master(Script::good("one")).await,
    );
    let both = wanted(&[stranger.address, good.address]);
    let known = stage.until("hidden", &both, is_up).await;
    assert_eq!(known.view, MasterView::Up(progress("one")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_master_that_holds_the_grant_is_followed_though_a_newer_one_is_there() {
    let mut stage = Stage::new();
    let (newer, older) = (
        master(Script::good("two")).await,
        master(Script::good("one")).await,
    );
    let both = Wanted {
        trusted: Some("one".into()),
        ..wanted(&[newer.address, older.address])
    };
    let known = stage.until("doubled", &both, is_up).await;
    assert_eq!(known.view, MasterView::Up(progress("one")));
}

fn grant() -> Grant {
    Grant {
        workers: None,
        run: RUN.into(),
        epoch: 1,
        incarnation: "one".into(),
        action: GrantAction::Start,
        deadline_micros: 0,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_given_twice_is_carried_out_once_and_its_answer_is_what_is_known_then() {
    let mut stage = Stage::new();
    let good = master(Script::good("one")).await;
    let of_good = wanted(&[good.address]);
    stage.until("granted", &of_good, is_up).await;
    for _ in 0..2 {
        let order = Order::Grant(grant());
        stage.masters.order("team-a", "granted", RUN, order);
    }
    let is_started = |known: &Known| match &known.view {
        MasterView::Up(progress) => progress.state == MasterState::Running,
        _ => false,
    };
    stage.until("granted", &of_good, is_started).await;
    assert_eq!(good.count("POST /api/v1/grant"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_for_another_run_is_given_to_nobody() {
    let mut stage = Stage::new();
    let good = master(Script::good("one")).await;
    stage.until("a", &wanted(&[good.address]), is_up).await;
    let (stop, other) = (Order::Acknowledge, "another-run");
    stage.masters.order("team-a", "a", other, stop.clone());
    stage.masters.order("team-a", "b", RUN, stop.clone());
    stage.masters.order("team-a", "a", RUN, stop);
    let of_good = wanted(&[good.address]);
    let known = stage.until("a", &of_good, |known| known.acknowledged.is_some());
    assert_eq!(known.await.acknowledged, Some(true));
    assert_eq!(good.count("POST /api/v1/acknowledge"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledgement_that_fails_is_known_as_such() {
    let mut stage = Stage::new();
    let good = master(Script::refuses_orders("one")).await;
    let of_good = wanted(&[good.address]);
    stage.until("refused", &of_good, is_up).await;
    stage
        .masters
        .order("team-a", "refused", RUN, Order::Acknowledge);
    let known = stage
        .until("refused", &of_good, |known| known.acknowledged.is_some())
        .await;
    assert_eq!(known.acknowledged, Some(false));
    assert!(is_up(&known), "it answers, if only to refuse");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_result_is_fetched_once_it_is_final_and_wanted() {
    let mut stage = Stage::new();
    let good = master(Script::finished("one")).await;
    let of_good = wanted(&[good.address]);
    let known = stage.until("done", &of_good, is_up).await;
    assert!(known.result.is_none());
    let of_good = Wanted {
        wants_result: true,
        ..of_good
    };
    let known = stage
        .until("done", &of_good, |known| known.result.is_some())
        .await;
    assert_eq!(known.result.unwrap().run, RUN);
    let of_good = Wanted {
        wants_result: false,
        ..of_good
    };
    assert!(stage.look("done", of_good).result.is_none(), "it is stored");
    assert_eq!(good.count("GET /api/v1/result"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poller_ends_with_its_run_and_with_its_loadtest() {
    let mut stage = Stage::new();
    let good = master(Script::good("one")).await;
    let first = wanted(&[good.address]);
    stage.until("a", &first, is_up).await;
    let next = Wanted {
        run: "next-run".into(),
        ..first
    };
    assert_eq!(stage.look("a", next).view, MasterView::Unasked);
    assert_eq!(stage.masters.count(), 1);
    stage.masters.forget("team-a", "a");
    assert_eq!(stage.masters.count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_of_a_pod_that_is_gone_is_not_taken_for_that_of_the_next() {
    let mut stage = Stage::new();
    let (first, next) = (master(Script::good("one")).await, silent().await);
    stage.until("a", &wanted(&[first.address]), is_up).await;
    let known = stage.look("a", wanted(&[next]));
    assert_eq!(known.view, MasterView::Unasked);
}

#[tokio::test]
async fn a_run_whose_keys_are_gone_is_told_with_the_reason_and_has_no_poller() {
    let stage = Stage::new();
    let gone = || Err("the install key is gone".to_owned());
    let known = stage.masters.look("team-a", "a", wanted(&[]), gone);
    let gone = MasterView::Unreachable("the install key is gone".into());
    assert_eq!(known.view, gone);
    assert_eq!(stage.masters.count(), 0);
}
