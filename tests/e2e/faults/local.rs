//! An operator as a process of this machine, beside the cluster: it calls the API server through a
//! proxy, and the masters by the addresses of their Pods.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::proxy::Proxy;
use crate::stage::{Stage, image, kubeconfig};

pub struct LocalOperator {
    folder: TempDir,
    program: PathBuf,
    /// Image of the Pods that it makes.
    image: String,
    namespace: String,
    child: Child,
}

/// The program that the image was made of; `None` on a cluster that is not the suite's own, whose
/// Pods may be out of reach from here.
pub fn program() -> Option<PathBuf> {
    let is_ours = kubeconfig().parent()?.join("pid/apiserver").exists();
    let program = PathBuf::from(std::env::var_os("STARLING_TEST_PROGRAM")?);
    (is_ours && program.exists()).then_some(program)
}

impl LocalOperator {
    /// Starts an operator of this program for the namespace of the stage.
    pub fn start(stage: &Stage, program: &Path, proxy: &Proxy) -> Self {
        let (repository, tag) = image();
        Self::start_with(stage, program, &format!("{repository}:{tag}"), proxy)
    }

    /// The same, whose Pods are of another image than the suite's.
    pub fn start_with(stage: &Stage, program: &Path, image: &str, proxy: &Proxy) -> Self {
        let folder = TempDir::new().expect("a folder");
        let config = format!(
            "{{apiVersion: v1, kind: Config, current-context: x, contexts: [{{name: x, context: \
             {{cluster: x, user: x, namespace: {}}}}}], users: [{{name: x, user: {{}}}}], \
             clusters: [{{name: x, cluster: {{server: {:?}}}}}]}}",
            stage.namespace, proxy.url
        );
        std::fs::write(folder.path().join("kubeconfig"), config).expect("a kubeconfig");
        let child = spawn(folder.path(), program, image, &stage.namespace);
        Self {
            folder,
            program: program.to_owned(),
            image: image.to_owned(),
            namespace: stage.namespace.clone(),
            child,
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether the process has ended.
    pub fn is_dead(&mut self) -> bool {
        self.child.try_wait().expect("a child of ours").is_some()
    }

    /// Ends the process as SIGKILL does, and starts another.
    pub fn restart(&mut self) {
        self.kill();
        self.child = spawn(
            self.folder.path(),
            &self.program,
            &self.image,
            &self.namespace,
        );
    }

    /// Starts another program in its place, whose Pods are of the suite's image.
    pub fn upgrade(&mut self, program: &Path) {
        let (repository, tag) = image();
        self.program = program.to_owned();
        self.image = format!("{repository}:{tag}");
        self.restart();
    }

    /// Ends the process as SIGKILL does.
    pub fn kill(&mut self) {
        // one that was killed before is only waited for
        let _ = self.child.kill();
        self.child.wait().expect("a child of ours");
    }

    /// What all its processes wrote.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Resident memory in KiB.
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("the process is there");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next());
        number
            .and_then(|number| number.parse().ok())
            .expect("VmRSS")
    }
}

impl Drop for LocalOperator {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            println!("log of the operator:\n{}", self.log());
        }
    }
}

fn spawn(folder: &Path, program: &Path, image: &str, namespace: &str) -> Child {
    let log = File::options()
        .create(true)
        .append(true)
        .open(folder.join("log"))
        .expect("a log");
    Command::new(program)
        .args(["operator", "--listen=127.0.0.1:0", "--policies=Off"])
        .arg(format!("--image={image}"))
        .arg(format!("--watch-namespaces={namespace}"))
        .arg(format!("--namespace={namespace}"))
        .env("KUBECONFIG", folder.join("kubeconfig"))
        .env("RUST_LOG", "info,starling=debug")
        .env_remove("STARLING_KILL_AFTER")
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a handle"))
        .stderr(log)
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", program.display()))
}
