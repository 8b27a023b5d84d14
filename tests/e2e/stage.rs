//! The stage of a test: namespaces of its own with an operator and a demo service, and what
//! people do and see there.
//!
//! Who operates what: the suite installs the chart once, as release `starling` in
//! `starling-system`, for the CRD and people's roles; that operator watches its own namespace only.
//! Each test then installs, without a cluster-scoped object, an operator of its own that
//! watches the test's namespaces, so that it may be killed, doubled or upgraded and its logs speak
//! of one test. Tests of the cluster-wide installation run alone ([`play_alone`]) and leave the
//! suite's release as they found it.

mod commands;
mod evidence;
mod operator;
mod view;

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::FutureExt;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use starling::crd::LoadTest;

pub use commands::{Said, helm, run};
use evidence::Evidence;
pub use operator::{CRD, Operator, SYSTEM, helm_upgrade, narrow_suite};
pub use view::{condition, is, is_finished, phase, run_id, sent, status};

/// No test takes longer, unless it says so.
const LONGEST: Duration = Duration::from_secs(300);
/// Between two looks at something awaited.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Held shared by every test, and wholly by one that changes the cluster-wide installation.
static CLUSTER: RwLock<()> = RwLock::new(());
/// What the suite installed, or why it could not.
static SUITE: OnceLock<Result<(), String>> = OnceLock::new();
/// How many namespaces this process made: none has the same name twice.
static NAMESPACES: Mutex<u32> = Mutex::new(0);

/// One namespace, its client, and what is remembered of it.
pub struct Stage {
    pub namespace: String,
    pub client: Client,
    evidence: Evidence,
}

/// Runs a test on a stage of its own.
pub fn play(name: &str, test: impl AsyncFnOnce(&Stage)) {
    play_within(name, LONGEST, test);
}

/// The same for one that takes longer than any other.
pub fn play_within(name: &str, limit: Duration, test: impl AsyncFnOnce(&Stage)) {
    let _shared = CLUSTER.read().unwrap_or_else(PoisonError::into_inner);
    perform(name, limit, test);
}

/// Runs a test while no other runs.
pub fn play_alone(name: &str, test: impl AsyncFnOnce(&Stage)) {
    let _alone = CLUSTER.write().unwrap_or_else(PoisonError::into_inner);
    perform(name, LONGEST, test);
}

fn perform(name: &str, limit: Duration, test: impl AsyncFnOnce(&Stage)) {
    if let Err(error) = SUITE.get_or_init(operator::install_suite) {
        panic!("the suite could not be installed: {error}");
    }
    // commands block the test's own thread; logs are followed on the others
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let stage = Stage::build(name).await;
        let played =
            tokio::time::timeout(limit, AssertUnwindSafe(test(&stage)).catch_unwind()).await;
        let outcome =
            played.unwrap_or_else(|_| Err(Box::new(format!("{name} took longer than {limit:?}"))));
        if outcome.is_err() {
            eprintln!(
                "what was seen of {name} is in {}",
                stage.evidence.keep(name).display()
            );
        }
        stage.evidence.strike();
        if let Err(panic) = outcome {
            resume_unwind(panic);
        }
    });
}

/// The repository, where chart, samples and fixtures are.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// `STARLING_TEST_IMAGE`, as repository and tag.
pub fn image() -> (String, String) {
    let image = required("STARLING_TEST_IMAGE");
    let (repository, tag) = image
        .rsplit_once(':')
        .unwrap_or_else(|| panic!("STARLING_TEST_IMAGE={image} has no tag"));
    (repository.to_owned(), tag.to_owned())
}

pub fn kubeconfig() -> PathBuf {
    required("STARLING_TEST_KUBECONFIG").into()
}

fn required(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} is not set: run `make test`, or set STARLING_TEST_KUBECONFIG and STARLING_TEST_IMAGE for a cluster of yours")
    })
}

/// Looks until there is something, and says what was seen last if it never comes.
pub async fn eventually<T>(
    what: &str,
    within: Duration,
    mut look: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let deadline = Instant::now() + within;
    loop {
        match look().await {
            Ok(found) => return found,
            Err(seen) if Instant::now() > deadline => {
                panic!("{what}: not within {within:?}; last seen: {seen}")
            }
            Err(_) => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

pub const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

impl Stage {
    async fn build(name: &str) -> Stage {
        let kubeconfig =
            Kubeconfig::read_from(kubeconfig()).expect("STARLING_TEST_KUBECONFIG is a kubeconfig");
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .expect("a kubeconfig with a cluster");
        let client = Client::try_from(config).expect("a client");
        let evidence = Evidence::new(client.clone());
        Stage {
            namespace: new_namespace(name, &evidence),
            client,
            evidence,
        }
    }

    /// Another namespace of the same test.
    pub fn neighbour(&self, name: &str) -> Stage {
        Stage {
            namespace: new_namespace(name, &self.evidence),
            client: self.client.clone(),
            evidence: self.evidence.clone(),
        }
    }

    /// The stage as most tests want it: an operator, and a demo service with these flags.
    pub async fn open(&self, service_flags: &[&str]) -> Operator {
        self.deploy_service(service_flags);
        let operator = Operator::install(self, &[]);
        self.service_ready();
        operator
    }

    /// The demo service of `manifests/samples`, without waiting for it.
    pub fn deploy_service(&self, flags: &[&str]) {
        self.deploy_service_as("sample-service", flags);
    }

    /// The same under another name.
    pub fn deploy_service_as(&self, name: &str, flags: &[&str]) {
        let (repository, tag) = image();
        let labels = json!({"app.kubernetes.io/name": name});
        for mut object in crate::samples::file("sample-service.yaml") {
            object["metadata"] = json!({"name": name, "labels": labels});
            if object["kind"] == "Service" {
                object["spec"]["selector"] = labels.clone();
            } else {
                object["spec"]["selector"]["matchLabels"] = labels.clone();
                object["spec"]["template"]["metadata"]["labels"] = labels.clone();
                let container = &mut object["spec"]["template"]["spec"]["containers"][0];
                container["image"] = format!("{repository}:{tag}").into();
                container["resources"]["requests"]["cpu"] = "10m".into();
                let args = container["args"]
                    .as_array_mut()
                    .expect("the demo service has arguments");
                args.extend(flags.iter().map(|flag| Value::from(*flag)));
            }
            self.apply(&object);
        }
    }

    pub fn service_ready(&self) {
        self.ready("sample-service");
    }

    /// Waits for a service of this name.
    pub fn ready(&self, service: &str) {
        self.kubectl(&[
            "rollout",
            "status",
            &format!("deployment/{service}"),
            "--timeout=2m",
        ]);
    }

    /// What a person would type; it must succeed.
    pub fn kubectl(&self, args: &[&str]) -> String {
        let said = self.try_kubectl(args, None);
        assert!(said.ok, "kubectl {args:?}: {}", said.text);
        said.text
    }

    pub fn try_kubectl(&self, args: &[&str], stdin: Option<&str>) -> Said {
        run(
            "kubectl",
            &[&["--namespace", &self.namespace], args].concat(),
            stdin,
        )
    }

    pub fn apply(&self, object: &Value) {
        let said = self.try_apply(&object.to_string());
        assert!(said.ok, "cannot apply {object:#}: {}", said.text);
    }

    /// `kubectl apply -f -` of YAML or JSON.
    pub fn try_apply(&self, text: &str) -> Said {
        self.try_kubectl(&["apply", "-f", "-"], Some(text))
    }

    /// Changes a LoadTest by a JSON merge patch; gives its generation.
    pub async fn patch(&self, name: &str, patch: Value) -> i64 {
        let patched = self
            .tests()
            .patch(name, &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .expect("the patch is accepted");
        patched.metadata.generation.expect("a generation")
    }

    /// Asks for another run, as a person does.
    pub fn rerun(&self, name: &str, value: &str) {
        self.kubectl(&[
            "annotate",
            "--overwrite",
            "loadtest",
            name,
            &format!("{}={value}", starling::crd::RERUN_ANNOTATION),
        ]);
    }

    pub fn tests(&self) -> Api<LoadTest> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub async fn test(&self, name: &str) -> LoadTest {
        self.tests()
            .get(name)
            .await
            .unwrap_or_else(|error| panic!("cannot read LoadTest {name}: {error}"))
    }

    /// The LoadTest as soon as it is as wanted.
    pub async fn until(
        &self,
        name: &str,
        what: &str,
        within: Duration,
        wanted: impl Fn(&LoadTest) -> bool,
    ) -> LoadTest {
        eventually(&format!("{name} {what}"), within, async || {
            let test = self.test(name).await;
            if wanted(&test) {
                Ok(test)
            } else {
                Err(view::summary(&test))
            }
        })
        .await
    }

    /// The LoadTest once its run has ended and the operator has spoken of its newest generation.
    pub async fn finished(&self, name: &str) -> LoadTest {
        self.until(name, "finishes", seconds(120), is_finished)
            .await
    }

    /// The LoadTest when load exists: requests have arrived.
    pub async fn loaded(&self, name: &str) -> LoadTest {
        self.until(name, "runs", seconds(60), |test| is(test, "Running"))
            .await;
        eventually("requests arrive", seconds(30), async || {
            match self.count().await {
                0 => Err("none".to_owned()),
                count => Ok(count),
            }
        })
        .await;
        self.test(name).await
    }

    /// Requests the demo service has counted.
    pub async fn count(&self) -> u64 {
        self.counts("sample-service").await["total"]
            .as_u64()
            .expect("a total")
    }

    /// All that a service has counted, asked through the API server, which works on any cluster.
    pub async fn counts(&self, service: &str) -> Value {
        let path = format!(
            "/api/v1/namespaces/{}/services/http:{service}:8000/proxy/_count",
            self.namespace
        );
        let text = self.raw(&path).await;
        serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("/_count is not JSON: {error}: {text}"))
    }

    /// GET of a path of the API server.
    pub async fn raw(&self, path: &str) -> String {
        let request = http::Request::get(path)
            .body(Vec::new())
            .expect("a request");
        self.client
            .request_text(request)
            .await
            .unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    /// No request arrives any more. Gives the count.
    pub async fn stands_still(&self, why: &str) -> u64 {
        let before = self.count().await;
        tokio::time::sleep(seconds(3)).await;
        let after = self.count().await;
        assert_eq!(before, after, "load goes on: {why}");
        after
    }

    pub async fn pods(&self, selector: &str) -> Vec<Pod> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        pods.list(&ListParams::default().labels(selector))
            .await
            .expect("Pods can be listed")
            .items
    }

    /// Everything that belongs to runs, as kind/name.
    pub fn children(&self) -> Vec<String> {
        let kinds = "pods,jobs,deployments,replicasets,services,secrets,configmaps,networkpolicies,poddisruptionbudgets";
        let listed = self.kubectl(&["get", kinds, "-l", "starling.dev/run", "-o", "name"]);
        listed.lines().map(str::to_owned).collect()
    }

    /// Every Pod of a run that was ever seen here, by UID.
    pub fn pods_ever(&self) -> usize {
        self.evidence.run_pods(&self.namespace)
    }

    /// Requests that workers have written down (`spec.samples`), once those of the run's last
    /// moment are here, too.
    pub async fn sampled(&self, test: &str) -> Vec<Value> {
        // the log of a Pod that is gone comes to its end a moment later
        tokio::time::sleep(seconds(1)).await;
        let logs = self.logs();
        let of_workers = logs
            .iter()
            .filter(|(of, _)| of.contains(&format!("/{test}-")) && of.contains("-workers-"));
        let lines = of_workers
            .flat_map(|(_, log)| log.lines())
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["sent"].is_object()).collect()
    }

    /// Logs of all Pods of the test so far, those that are gone too.
    pub fn logs(&self) -> Vec<(String, String)> {
        self.evidence.logs()
    }
}

/// Makes a namespace as strict as any.
fn new_namespace(name: &str, evidence: &Evidence) -> String {
    let number = {
        let mut made = NAMESPACES.lock().unwrap_or_else(PoisonError::into_inner);
        *made += 1;
        *made
    };
    // the time tells runs of the suite on one cluster apart
    let second = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let name = format!("e2e-{name}-{:x}{number:x}", second & 0xffff);
    let namespace = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": name, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
    });
    let said = run(
        "kubectl",
        &["apply", "-f", "-"],
        Some(&namespace.to_string()),
    );
    assert!(said.ok, "{}", said.text);
    evidence.watch(&name);
    name
}
