//! Variables in a running load: made once per iteration, read from Secrets, and a failure of their
//! own where they cannot be made.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use serde_json::json;

use crate::engine::PrepareError;
use crate::engine::tests::server::{Server, scripted};
use crate::engine::tests::*;
use crate::plan::{Header, JsonTemplate, Kind, Reference, Variables};

/// The plan with these variables, and `steps` with an `X-Id` of that template.
fn with_id(plan: Plan, variables: serde_json::Value, steps: usize, id: &str) -> Plan {
    let mut plan = plan;
    let values = variables.as_object().unwrap();
    let values = values
        .iter()
        .map(|(name, value)| (name.clone(), JsonTemplate::new(value.clone()).unwrap()))
        .collect();
    plan.variables = Variables {
        values,
        ..Variables::default()
    };
    let header = |id| Header {
        name: "X-Id".into(),
        value: Template::parse(id).unwrap(),
    };
    let mut step = step("get", "/");
    http(&mut step).request.headers.push(header(id));
    plan.scenarios[0].tasks[0].steps = vec![step; steps];
    plan
}

/// A target that notes the `X-Id` of each request.
async fn noting() -> (String, Arc<Mutex<Vec<String>>>) {
    let noted = Arc::new(Mutex::new(Vec::new()));
    let notes = noted.clone();
    let url = scripted(move |mut peer| {
        let notes = notes.clone();
        async move {
            while let Some(head) = peer.head().await {
                let id = head
                    .lines()
                    .find_map(|line| line.strip_prefix("X-Id: "))
                    .unwrap()
                    .to_owned();
                notes.lock().unwrap().push(id);
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    .await;
            }
        }
    })
    .await;
    (url, noted)
}

#[tokio::test]
async fn a_value_that_cannot_be_made_fails_the_step_and_sends_nothing() {
    let server = Server::start();
    // the user's number is whole, its reciprocal is not there
    let plan = with_id(
        plan(&server.url, users(1, 60)),
        json!({"id": "{{ mod(user.id, sub(user.id, user.id)) }}"}),
        1,
        "{{ id }}",
    );
    let snapshot = run(plan, 1).await;
    assert!(snapshot.failures() > 0);
    assert_eq!(snapshot.counters.unsent, snapshot.failures());
    assert_eq!(server.received(), 0);
    let (key, entry) = snapshot.errors.iter().next().unwrap();
    assert_eq!(key.class, ErrorClass::Template);
    assert_eq!(entry.message, "id is not set");
}

#[tokio::test]
async fn a_variable_that_differs_is_one_value_for_the_whole_iteration() {
    let (url, noted) = noting().await;
    let snapshot = run(
        with_id(
            plan(&url, users(1, 100)),
            json!({"id": "{{ uuid() }}"}),
            2,
            "{{ id }}",
        ),
        1,
    )
    .await;
    assert_eq!(snapshot.failures(), 0);
    let mut times: HashMap<String, usize> = HashMap::new();
    noted
        .lock()
        .unwrap()
        .iter()
        .for_each(|id| *times.entry(id.clone()).or_default() += 1);
    assert!(times.len() > 1, "{times:?}");
    assert!(times.values().all(|times| *times == 2), "{times:?}");
}

#[tokio::test]
async fn a_sequence_gives_no_number_twice() {
    let (url, noted) = noting().await;
    run(
        with_id(plan(&url, users(4, 100)), json!({}), 1, "{{ seq() }}"),
        2,
    )
    .await;
    let noted = noted.lock().unwrap();
    let different: std::collections::HashSet<_> = noted.iter().collect();
    assert!(noted.len() > 8);
    assert_eq!(different.len(), noted.len());
}

#[tokio::test]
async fn a_variable_comes_from_a_secret_and_is_shown_nowhere() {
    let (url, noted) = noting().await;
    let mut plan = with_id(
        plan(&url, users(1, 30)),
        json!({"bearer": "Bearer {{ token }}"}),
        1,
        "{{ bearer }}",
    );
    let reference = Reference {
        kind: Kind::Secret,
        name: "s".into(),
        key: "k".into(),
        field: "spec.variablesFrom.token".into(),
    };
    plan.variables
        .from
        .insert("token".into(), reference.clone());

    let error = prepare(Arc::new(plan.clone()), &Inputs::default())
        .await
        .unwrap_err();
    assert!(
        matches!(&error, PrepareError::MissingReferences(all) if all == &[reference]),
        "{error}"
    );

    let inputs = |value: &str| {
        let mut inputs = Inputs::default();
        inputs.insert(Kind::Secret, "s", "k", value.into());
        inputs
    };
    let error = prepare(Arc::new(plan.clone()), &inputs("canary\r\nX: y"))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("CR, LF") && !error.contains("canary"),
        "{error}"
    );

    let prepared = Arc::new(
        prepare(Arc::new(plan.clone()), &inputs("canary\n"))
            .await
            .unwrap(),
    );
    let shown = format!(
        "{prepared:?} {:?} {}",
        prepared.plan,
        serde_json::to_string(&plan).unwrap()
    );
    let snapshot = sum(&deltas(&mut prepared.start(whole(1), Instant::now())).await);
    assert_eq!(snapshot.failures(), 0);
    assert!(!format!("{shown} {snapshot:?}").contains("canary"));
    assert_eq!(noted.lock().unwrap()[0], "Bearer canary");
}
