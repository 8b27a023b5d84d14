//! A run whose load a person changes through the API server, as docs/manual-control.md says.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::samples::{brief, closed, report, with};
use crate::stage::{Stage, condition, is, play, run_id, seconds, sent, status};

/// `kubectl port-forward` to a master's port for people.
struct Forward {
    kubectl: Child,
    port: u16,
    /// Read no further, but open: kubectl ends when it cannot write.
    _words: BufReader<ChildStdout>,
}

impl Drop for Forward {
    fn drop(&mut self) {
        let _ = self.kubectl.kill();
        let _ = self.kubectl.wait();
    }
}

impl Forward {
    fn to(stage: &Stage, run: &str) -> Self {
        let master = format!("deploy/{run}-master");
        let mut kubectl = Command::new("kubectl")
            .args(["--namespace", &stage.namespace])
            .args(["port-forward", &master, ":8080"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut words = BufReader::new(kubectl.stdout.take().unwrap());
        words.read_line(&mut line).unwrap();
        // Forwarding from 127.0.0.1:40123 -> 8080
        let port = line
            .split(' ')
            .find_map(|word| word.strip_prefix("127.0.0.1:")?.parse().ok());
        Self {
            kubectl,
            port: port.unwrap_or_else(|| panic!("{line:?}")),
            _words: words,
        }
    }

    async fn post(&self, token: &str, path: &str, body: &Value) -> (u16, Value) {
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        let client = reqwest::Client::builder().timeout(seconds(20)).build();
        let request = client.unwrap().post(url).bearer_auth(token);
        let answer = request.json(body).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or_default())
    }
}

#[test]
fn a_person_changes_the_load_of_a_run_and_its_status_says_so() {
    play("by-hand", async |stage| {
        stage.open(&[]).await;
        let more = json!({"spec": {
            "load": closed(4, 60),
            "thresholds": [{"metric": "failures", "expr": "rate < 50%"}],
            "workers": {"replicas": 2},
        }});
        stage.apply(&with(brief("by-hand", 60), more));
        let begun = stage.loaded("by-hand").await;
        let run = run_id(&begun);
        let secret = |key: &str| {
            let key = format!("jsonpath={{.data.{key}\\.token}}");
            let channel = format!("{run}-channel");
            let encoded = stage.kubectl(&["get", "secret", &channel, "-o", &key]);
            let decoded = data_encoding::BASE64.decode(encoded.trim().as_bytes());
            String::from_utf8(decoded.unwrap()).unwrap()
        };
        let forward = Forward::to(stage, &run);
        let order = json!({"run": run, "users": 12, "by": "ada"});
        let (refused, _) = forward.post(&secret("read"), "/api/v1/load", &order).await;
        assert_eq!(refused, 401);
        let (changed, progress) = forward
            .post(&secret("control"), "/api/v1/load", &order)
            .await;
        assert_eq!(changed, 200);
        assert_eq!(progress["load"][0]["planned"], 4.0);
        stage
            .until("by-hand", "has 12 users", seconds(60), |test| {
                status(test)
                    .progress
                    .is_some_and(|progress| progress.users == 12)
            })
            .await;
        let ended = stage.finished("by-hand").await;
        assert!(is(&ended, "Succeeded"), "{:?}", ended.status);
        let (passed, message) = condition(&ended, "Passed");
        assert_eq!(passed, "True/ManualChanges", "{message}");
        assert!(message.contains("changed by hand"), "{message}");
        let result = report(stage, &ended).await;
        assert_eq!(result.manual_changes[0].level, Some(12.0));
        assert_eq!(result.manual_changes[0].by, "ada");
        assert_eq!(sent(&result), stage.count().await);
    });
}
