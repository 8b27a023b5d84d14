//! Load that was planned and not offered, as the program tells of it.

use crate::program::{Scratch, Service, starling};

/// A test of the demo service at `url` with this load, whose users pause for ten seconds.
fn test(url: &str, load: &str, run: &str) -> String {
    format!(
        "apiVersion: starling.dev/v1alpha1\nkind: LoadTest\nmetadata: {{name: t}}\nspec:\n  \
         target: {{url: {url:?}}}\n  scenarios:\n  - name: s\n    thinkTime: {{constant: 10s}}\n    \
         tasks: [{{name: t, steps: [{{http: {{path: /healthz}}}}]}}]\n  load: {load}\n  run: {run}\n"
    )
}

#[test]
fn users_that_never_came_are_said_first_with_the_reason() {
    let (scratch, service) = (Scratch::new(), Service::start(&[]));
    let load = "{closed: {users: 400, rampUp: 1s, duration: 1s, spawnRate: 100}}";
    let file = scratch.file(
        "t.yaml",
        &test(
            &service.url,
            load,
            "{onSaturation: Fail, maxFailures: 100%}",
        ),
    );
    let json = scratch.path("result.json");
    let ended = starling(&["run", &file, "--json", &json]);
    // a busy machine may be saturated, and is then said to be
    let first = ended.stdout.lines().take(4).collect::<Vec<_>>().join("\n");
    assert!(
        first.contains("BELOW PROFILE") && first.contains("400 users planned"),
        "{first}"
    );
    let result = scratch.json("result.json");
    assert_eq!(result["load"]["users"]["planned"], 400);
    let most = result["load"]["users"]["most"].as_u64().expect("a number");
    assert!((100..=202).contains(&most), "{most}");
    let causes = result["load"]["shortfalls"].as_array().expect("a list");
    assert!(
        causes.iter().any(|cause| cause["cause"] == "SpawnRate"),
        "{causes:?}"
    );
    let warnings = result["warnings"].to_string();
    assert!(
        warnings.contains("of the planned load was offered"),
        "{warnings}"
    );
    let in_flight = &result["concurrency"]["inFlight"];
    assert!(
        in_flight["mean"].as_f64().expect("a number") < 100.0,
        "{in_flight}"
    );
    assert_eq!(result["concurrency"]["users"]["max"], most);
}
