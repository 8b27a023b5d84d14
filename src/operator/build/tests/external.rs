//! Objects of a run of which some workers are elsewhere.

use super::*;

/// The fixture's test, two of whose workers are elsewhere.
fn with_external(service: &str) -> Vec<(Child, Value)> {
    let mut test = fixture::test();
    test.spec.workers.external =
        serde_json::from_value(json!({"replicas": 2, "service": service})).unwrap();
    let run = RunStatus {
        workers: 5,
        external: 2,
        ..run()
    };
    fleet_of(&test, run, &settings())
}

fn find(objects: &[(Child, Value)], child: Child) -> &Value {
    let found = objects.iter().find(|(one, _)| *one == child);
    &found.unwrap().1
}

#[test]
fn a_service_of_the_wanted_kind_opens_the_port_for_workers_and_no_other() {
    for kind in ["NodePort", "LoadBalancer"] {
        let objects = with_external(kind);
        let service = find(&objects, Child::External);
        assert_typed::<Service>(service);
        assert_eq!(service["spec"]["type"], kind);
        let ports = service["spec"]["ports"].as_array().unwrap();
        assert_eq!(ports.len(), 1);
        assert_eq!(ports[0]["port"], 8443);
        let pods = &service["spec"]["selector"];
        assert_eq!(pods["app.kubernetes.io/component"], "master");
        let policy = &find(&objects, Child::Policy)["spec"]["ingress"];
        let open: Vec<&Value> = policy
            .as_array()
            .unwrap()
            .iter()
            .filter(|rule| rule["from"].is_null())
            .collect();
        assert_eq!(open.len(), 1);
        assert_eq!(open[0]["ports"], json!([{"protocol": "TCP", "port": 8443}]));
    }
}

#[test]
fn a_run_without_workers_elsewhere_opens_nothing() {
    let objects = fleet(&fixture::test());
    assert!(objects.iter().all(|(child, _)| *child != Child::External));
    let policy = objects.iter().find(|(child, _)| *child == Child::Policy);
    let ingress = &policy.unwrap().1["spec"]["ingress"];
    assert!(
        ingress
            .as_array()
            .unwrap()
            .iter()
            .all(|rule| !rule["from"].is_null())
    );
}

#[test]
fn the_job_has_the_workers_of_the_cluster_and_the_plan_all_of_them() {
    let objects = with_external("NodePort");
    let job = &find(&objects, Child::Workers)["spec"];
    assert_eq!(
        (&job["completions"], &job["parallelism"]),
        (&json!(3), &json!(3))
    );
    let plan = find(&objects, Child::Plan)["data"]["run.json"]
        .as_str()
        .unwrap();
    let plan: Value = serde_json::from_str(plan).unwrap();
    assert_eq!(plan["workers"], 5);
    let channel = &find(&objects, Child::Channel)["stringData"];
    for index in 0..5 {
        assert!(channel[format!("worker-{index}")].is_string(), "{index}");
    }
    assert!(channel["worker-5"].is_null());
}
