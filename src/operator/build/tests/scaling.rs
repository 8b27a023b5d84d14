//! Objects of a run whose number of workers may change.

use super::*;

fn find(objects: &[(Child, Value)], child: Child) -> &Value {
    let found = objects.iter().find(|(one, _)| *one == child);
    &found.unwrap().1
}

#[test]
fn a_run_has_tokens_for_all_the_workers_that_it_can_ever_have() {
    let count = |run: RunStatus| {
        let objects = fleet_of(&fixture::test(), run, &settings());
        let secret = find(&objects, Child::Channel);
        let files = secret["stringData"].as_object().unwrap();
        let bytes: usize = files
            .iter()
            .map(|(name, text)| name.len() + text.as_str().unwrap().len())
            .sum();
        assert!(bytes < 200_000, "{bytes} of the 1 MiB of a Secret");
        files
            .keys()
            .filter(|name| name.starts_with("worker-"))
            .count()
    };
    let elastic = RunStatus {
        most_workers: Some(3),
        ..run()
    };
    assert_eq!(count(elastic.clone()), 2000);
    let with_external = RunStatus {
        external: 1,
        ..elastic
    };
    assert_eq!(count(with_external), 3);
    assert_eq!(count(run()), 3, "as the release before made it");
}

#[test]
fn job_and_budget_have_the_present_number_and_the_plan_that_of_the_beginning() {
    let scaled = RunStatus {
        most_workers: Some(5),
        scaled_to: Some(5),
        ..run()
    };
    let objects = fleet_of(&fixture::test(), scaled, &settings());
    let job = &find(&objects, Child::Workers)["spec"];
    assert_eq!(
        (&job["completions"], &job["parallelism"]),
        (&json!(5), &json!(5))
    );
    let budget = &find(&objects, Child::Budget)["spec"];
    assert_eq!(budget["minAvailable"], 6);
    let plan = find(&objects, Child::Plan)["data"]["run.json"]
        .as_str()
        .unwrap();
    let file: RunFile = serde_json::from_str(plan).unwrap();
    assert_eq!(
        file.workers, 3,
        "it is immutable, and its hash is in the status"
    );
}
