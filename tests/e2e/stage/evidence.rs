//! What is remembered of a test: every Pod it had and all they logged, so that a failure can be
//! understood after all is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use futures::AsyncReadExt;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, ListParams, LogParams};

use super::{LOOK_EVERY, commands::run};

/// Of one log so much is kept: a runaway one must not fill the memory.
const MAX_LOG: usize = 4 * 1024 * 1024;

#[derive(Clone)]
pub struct Evidence {
    client: Client,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    namespaces: Vec<String>,
    /// Namespace and UID of Pods that belong to runs.
    run_pods: BTreeSet<(String, String)>,
    /// By namespace, Pod, container and restart.
    logs: BTreeMap<String, String>,
}

impl Evidence {
    pub fn new(client: Client) -> Evidence {
        Evidence {
            client,
            seen: Arc::default(),
        }
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers the Pods of a namespace from now on, until the test's runtime ends.
    pub fn watch(&self, namespace: &str) {
        self.seen().namespaces.push(namespace.to_owned());
        let (evidence, namespace) = (self.clone(), namespace.to_owned());
        tokio::spawn(async move {
            let pods: Api<Pod> = Api::namespaced(evidence.client.clone(), &namespace);
            loop {
                // the API server may be away, or the namespace; the next look tells
                if let Ok(list) = pods.list(&ListParams::default()).await {
                    list.items
                        .iter()
                        .for_each(|pod| evidence.note(&namespace, pod));
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        });
    }

    /// Follows each container of the Pod that runs or ran, each time it was started.
    fn note(&self, namespace: &str, pod: &Pod) {
        let (Some(name), Some(uid)) = (&pod.metadata.name, &pod.metadata.uid) else {
            return;
        };
        if pod
            .metadata
            .labels
            .as_ref()
            .is_some_and(|labels| labels.contains_key("starling.dev/run"))
        {
            self.seen()
                .run_pods
                .insert((namespace.to_owned(), uid.clone()));
        }
        let statuses = pod
            .status
            .as_ref()
            .and_then(|status| status.container_statuses.as_deref())
            .unwrap_or_default();
        for status in statuses {
            let begun = status
                .state
                .as_ref()
                .is_some_and(|state| state.running.is_some() || state.terminated.is_some());
            let key = format!(
                "{namespace}/{name}/{} #{}",
                status.name, status.restart_count
            );
            if begun && !self.seen().logs.contains_key(&key) {
                self.seen().logs.insert(key.clone(), String::new());
                tokio::spawn(self.clone().follow(
                    namespace.to_owned(),
                    name.clone(),
                    status.name.clone(),
                    key,
                ));
            }
        }
    }

    async fn follow(self, namespace: String, pod: String, container: String, key: String) {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &namespace);
        let params = LogParams {
            follow: true,
            container: Some(container),
            ..LogParams::default()
        };
        let mut stream = match pods.log_stream(&pod, &params).await {
            Ok(stream) => Box::pin(stream),
            Err(error) => {
                self.seen().logs.insert(key, format!("no log: {error}\n"));
                return;
            }
        };
        let mut buffer = [0; 8192];
        while let Ok(length @ 1..) = stream.read(&mut buffer).await {
            let mut seen = self.seen();
            let log = seen.logs.entry(key.clone()).or_default();
            if log.len() < MAX_LOG {
                log.push_str(&String::from_utf8_lossy(&buffer[..length]));
            }
        }
    }

    pub fn run_pods(&self, namespace: &str) -> usize {
        self.seen()
            .run_pods
            .iter()
            .filter(|(of, _)| of == namespace)
            .count()
    }

    pub fn logs(&self) -> Vec<(String, String)> {
        self.seen()
            .logs
            .iter()
            .map(|(key, log)| (key.clone(), log.clone()))
            .collect()
    }

    /// Writes down all there is to see; gives the file.
    pub fn keep(&self, name: &str) -> PathBuf {
        let mut text = String::new();
        let namespaces = self.seen().namespaces.clone();
        for namespace in &namespaces {
            for what in [
                &["get", "loadtests", "-o", "yaml"][..],
                &[
                    "get",
                    "pods,jobs,deployments,services,configmaps,secrets",
                    "-o",
                    "wide",
                ],
                &["describe", "pods"],
                &["get", "events", "--sort-by=.lastTimestamp"],
            ] {
                let said = run(
                    "kubectl",
                    &[&["--namespace", namespace], what].concat(),
                    None,
                );
                let _ = writeln!(
                    text,
                    "==== {namespace}: kubectl {}\n{}",
                    what.join(" "),
                    said.text
                ); // a String takes anything
            }
        }
        for (key, log) in self.logs() {
            let _ = writeln!(text, "==== log of {key}\n{log}");
        }
        let folder =
            std::env::var_os("STARLING_TEST_LOGS").map_or_else(std::env::temp_dir, PathBuf::from);
        let file = folder.join(format!("{name}.txt"));
        if let Err(error) =
            std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&file, &text))
        {
            eprintln!("cannot write {}: {error}\n{text}", file.display());
        }
        file
    }

    /// Removes the test's namespaces; the cluster does it while other tests run.
    pub fn strike(&self) {
        let namespaces = self.seen().namespaces.clone();
        let names: Vec<&str> = namespaces.iter().map(String::as_str).collect();
        run(
            "kubectl",
            &[
                &["delete", "namespace", "--wait=false", "--ignore-not-found"],
                &names[..],
            ]
            .concat(),
            None,
        );
    }
}
