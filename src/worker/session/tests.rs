//! Sessions with a master of which the tests say what it sends.

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_stream::wrappers::ReceiverStream;

use super::*;

/// Nothing here takes as long.
const PATIENCE: Duration = Duration::from_secs(60);

/// A master's end of a session, and the worker at the other.
struct Session {
    to_worker: mpsc::Sender<FromMaster>,
    from_worker: mpsc::Receiver<FromWorker>,
    folder: tempfile::TempDir,
}

impl Session {
    /// Begins the session of a worker whose inputs lie in a folder of its own.
    fn begin(auth: Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (to_worker, inbound) = mpsc::channel(64);
        let (outbound, from_worker) = mpsc::channel(64);
        let inputs = InputSource::Folder(folder.path().to_owned());
        let mut worker = Worker::new(Identity::new("r", 0, 1), inputs, PATIENCE);
        tokio::spawn(async move { worker.serve(ReceiverStream::new(inbound), outbound).await });
        to_worker
            .try_send(FromMaster {
                message: Some(from_master::Message::Welcome(fleet::Welcome {
                    run_file: run_file(auth),
                    ..fleet::Welcome::default()
                })),
                heard_micros: 1,
            })
            .unwrap();
        Self {
            to_worker,
            from_worker,
            folder,
        }
    }

    /// Waits for a message for which `wanted` gives something, and pings all the time.
    async fn until<T>(&mut self, what: &str, wanted: impl Fn(&Message) -> Option<T>) -> T {
        let talk = async {
            let mut ping = tokio::time::interval(Duration::from_millis(20));
            loop {
                tokio::select! {
                    _ = ping.tick() => {
                        let message = Some(from_master::Message::Ping(fleet::Ping::default()));
                        let ping = FromMaster { message, heard_micros: 1 };
                        self.to_worker.send(ping).await.unwrap();
                    }
                    said = self.from_worker.recv() => {
                        let said = said.expect("the worker stays").message.unwrap();
                        if let Some(found) = wanted(&said) {
                            return found;
                        }
                    }
                }
            }
        };
        match tokio::time::timeout(PATIENCE, talk).await {
            Ok(found) => found,
            Err(_) => panic!("the worker never said {what}"),
        }
    }
}

fn run_file(auth: Value) -> String {
    let spec = json!({
        "target": {"url": "http://127.0.0.1:9", "auth": auth},
        "scenarios": [{"name": "s", "tasks": [{"name": "t", "steps": [{"http": {"path": "/"}}]}]}],
        "load": {"closed": {"users": 1, "duration": "1s"}},
    });
    let plan = crate::crd::check(&serde_json::from_value(spec).unwrap())
        .unwrap()
        .plan;
    let file = RunFile {
        run: "r".into(),
        name: "r".into(),
        namespace: None,
        digest: String::new(),
        workers: 1,
        grace: PATIENCE,
        on_loss: Default::default(),
        overrides: vec![],
        warnings: vec![],
        plan,
    };
    serde_json::to_string(&file).unwrap()
}

fn put_secret(folder: &std::path::Path) {
    let secret = folder.join("secret/databricks");
    std::fs::create_dir_all(&secret).unwrap();
    std::fs::write(secret.join("pat"), "dapi").unwrap();
}

/// Before, each ping cancelled the pause before the next try: 18 tries in 93 s came to nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_share_is_prepared_however_often_the_master_speaks() {
    let token = json!({"secretKeyRef": {"name": "databricks", "key": "pat"}});
    let mut session = Session::begin(json!({"bearer": {"tokenFrom": token}}));
    let missing = session
        .until("that the Secret is missing", |said| match said {
            Message::NotReady(not_ready) => Some(not_ready.problems[0].object.clone()),
            _ => None,
        })
        .await;
    assert!(missing.contains("databricks"), "{missing}");
    put_secret(session.folder.path());
    session
        .until("that it is ready", |said| {
            matches!(said, Message::Ready(_)).then_some(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_is_answered_while_a_share_is_prepared() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/token", silent.local_addr().unwrap());
    let secret = json!({"secretKeyRef": {"name": "databricks", "key": "pat"}});
    let auth = json!({"tokenUrl": url, "clientId": "c", "clientSecretFrom": secret});
    let mut session = Session::begin(json!({"oauth2": auth}));
    put_secret(session.folder.path());
    // the token is asked for, and nobody gives one
    let _asked = tokio::time::timeout(PATIENCE, silent.accept())
        .await
        .unwrap();
    let is_first_a_pong = session
        .until("anything after its hello", |said| match said {
            Message::Hello(_) => None,
            // the Secret may have come too late for the first try
            Message::NotReady(not_ready) if not_ready.problems[0].kind == "MissingReference" => {
                None
            }
            said => Some(matches!(said, Message::Pong(_))),
        })
        .await;
    assert!(is_first_a_pong, "the ping waited for the preparation");
}
