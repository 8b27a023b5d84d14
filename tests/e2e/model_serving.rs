//! gRPC and model serving in the cluster: what descriptors lack, refusals by their name, and the
//! guide.

use serde_json::{Value, json};

use crate::samples::{closed, report, shortened, small, unhurried, with};
use crate::stage::{condition, is, play, root, run, sent};

#[test]
fn a_proto_file_that_lacks_its_import_ends_the_run_before_the_first_call() {
    play("proto", async |stage| {
        stage.open(&[]).await;
        let data = json!({"categorization.proto": "syntax = \"proto3\"; package categorization; import \"missing.proto\";"});
        stage.apply(&json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "categorization-protos"}, "data": data,
        }));
        stage.apply(&with(shortened("grpc-stream.yaml", closed(4, 4)), small()));
        let ended = stage.finished("grpc-stream").await;
        let (passed, message) = condition(&ended, "Finished");
        assert!(
            passed.starts_with("True/") && message.contains("missing.proto"),
            "{passed}: {message}"
        );
        assert_eq!(stage.count().await, 0);
    });
}

#[test]
fn a_workspace_that_refuses_this_network_is_named_as_that() {
    play("refusal", async |stage| {
        stage.open(&["--ip-access-list"]).await;
        stage.kubectl(&[
            "create",
            "secret",
            "generic",
            "databricks",
            "--from-literal=pat=any",
        ]);
        let load = json!({"open": {"rate": 10, "duration": "3s", "maxInFlight": 10}});
        let test = with(shortened("databricks-serving.yaml", load), small());
        stage.apply(&with(
            test,
            json!({"spec": {"target": {"url": "http://sample-service:8000"}}}),
        ));
        let ended = stage.finished("databricks-serving").await;
        assert!(is(&ended, "Failed"), "{:?}", ended.status);
        let whole = report(stage, &ended).await;
        let said = serde_json::to_string(&whole.errors).expect("JSON");
        assert!(
            said.contains("an IP access list of the target refuses this address"),
            "{said}"
        );
        assert_eq!(sent(&whole), stage.count().await);
    });
}

#[test]
fn the_commands_of_the_guide_lead_to_a_verdict() {
    play("guide", async |stage| {
        stage.open(&["--token", "any"]).await;
        let page =
            std::fs::read_to_string(root().join("docs/model-serving.md")).expect("it is there");
        let part = |begin: &str| {
            let found = page
                .split("```")
                .find(|part| part.contains(begin))
                .unwrap_or_else(|| panic!("no part has {begin:?}"));
            found.split_once('\n').expect("a language").1.to_owned()
        };
        let mut latency: Value = serde_saphyr::from_str(&part("# latency.yaml")).expect("YAML");
        let judged: Vec<_> = latency["spec"]["thresholds"]
            .as_array()
            .expect("thresholds")
            .iter()
            .map(|rule| &rule["metric"])
            .collect();
        assert_eq!(judged, ["latency", "failures"]);
        let load = json!({"rate": 20, "duration": "4s", "maxInFlight": 100});
        unhurried(&mut latency);
        let shorter = json!({"spec": {"target": {"url": "http://sample-service:8000"}, "warmup": null, "load": {"open": load}}});
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(
            folder.path().join("latency.yaml"),
            with(with(latency, shorter), small()).to_string(),
        )
        .expect("written");
        std::fs::write(folder.path().join("token.txt"), "any").expect("written");
        let rows: String = part("rows.jsonl <<END")
            .lines()
            .take_while(|line| *line != "END")
            .map(|line| format!("{line}\n"))
            .collect();
        let (namespace, folder) = (&stage.namespace, folder.path().display());
        let begin = format!(
            "cd {folder}\nkubectl() {{ command kubectl --namespace {namespace} \"$@\"; }}\n{rows}END\n"
        );
        let said = run(
            "bash",
            &["-euc", &format!("{begin}{}", part("kubectl create secret"))],
            None,
        );
        assert!(said.ok, "{}", said.text);

        let ended = stage.finished("latency").await;
        assert!(is(&ended, "Succeeded"), "{:?}", ended.status);
        let whole = report(stage, &ended).await;
        assert_eq!((whole.totals.requests, whole.totals.failures), (80, 0));
        assert_eq!(sent(&whole), stage.count().await);
    });
}
