//! The operator is killed right after each write of a run's life, and started again: one run, one
//! result, no load but its own.

use serde_json::json;

use crate::samples::{brief, report, with};
use crate::stage::{Operator, Stage, eventually, is, play, seconds, sent, status};

/// Makes a test of each write.
macro_rules! killed_after {
    ($($name:ident $write:literal)*) => {$(
        #[test]
        fn $name() {
            play(concat!("killed-", stringify!($name)), async |stage| one_run_one_result(stage, $write).await);
        }
    )*};
}

killed_after! {
    w1 "W1" w2 "W2" w3 "W3" w4 "W4" w5 "W5" w6 "W6" w7 "W7" w8 "W8" w9 "W9" w10 "W10" w11 "W11" w12 "W12" w13 "W13"
}

async fn one_run_one_result(stage: &Stage, write: &str) {
    stage.deploy_service(&[]);
    let hook = [
        "extraEnv[0].name=STARLING_KILL_AFTER".to_owned(),
        format!("extraEnv[0].value={write}"),
    ];
    let operator = Operator::install(stage, &[&hook[0], &hook[1]]);
    stage.service_ready();
    // gone with their run, so that W13 comes at once
    stage.apply(&with(
        brief("killed", 6),
        json!({"spec": {"run": {"ttlAfterFinished": "0s"}}}),
    ));
    was_killed(stage, &operator, write).await;
    operator.upgrade(&[]);

    let test = stage.finished("killed").await;
    assert!(is(&test, "Succeeded"), "{:?}", test.status);
    let seen = status(&test);
    assert_eq!((seen.runs, seen.history.len()), (1, 1));
    eventually(
        "all but the report is gone",
        seconds(60),
        async || match stage.children().as_slice() {
            [report] if report.contains("-report-") => Ok(()),
            children => Err(format!("{children:?}")),
        },
    )
    .await;
    assert_eq!(
        sent(&report(stage, &test).await),
        stage.stands_still("the run is over").await
    );
    assert_eq!(status(&stage.test("killed").await).runs, 1);
}

/// The hook worked: the operator's container ended as SIGKILL ends one.
async fn was_killed(stage: &Stage, operator: &Operator, write: &str) {
    eventually(
        &format!("the operator dies after {write}"),
        seconds(90),
        async || {
            let pods = stage.pods(&operator.selector()).await;
            let statuses = pods
                .iter()
                .filter_map(|pod| pod.status.as_ref())
                .flat_map(|status| status.container_statuses.iter().flatten());
            let states = statuses
                .flat_map(|container| [container.state.as_ref(), container.last_state.as_ref()]);
            let codes: Vec<i32> = states
                .flatten()
                .filter_map(|state| state.terminated.as_ref())
                .map(|ended| ended.exit_code)
                .collect();
            if codes.contains(&137) {
                Ok(())
            } else {
                Err(format!("exit codes {codes:?}"))
            }
        },
    )
    .await;
}
