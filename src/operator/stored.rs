//! Report of a run that has ended, as the operator stored it, read by a user with the user's own
//! rights.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams};
use kube::{Client, Config, ResourceExt};

use super::build;
use super::child::{COMPONENT_LABEL, RUN_LABEL, UID_LABEL};
use crate::crd::LoadTest;
use crate::wire::RunResult;

/// Reasons why a stored report cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum StoredError {
    /// Neither a kubeconfig nor the environment of a Pod says how to reach the API server.
    #[error("cannot find out how to reach the API server: {0}")]
    Config(#[from] kube::config::InferConfigError),
    /// The API server did not do what was asked.
    #[error("cannot {what}: {source}")]
    Api {
        /// Call, such as `read LoadTest "a"`.
        what: String,
        /// Answer of the API server, or why there was none.
        source: Box<kube::Error>,
    },
    /// No LoadTest has this name.
    #[error("there is no LoadTest {name:?} in namespace {namespace:?}")]
    NoTest {
        /// Name that was asked for.
        name: String,
        /// Namespace that was looked in.
        namespace: String,
    },
    /// The LoadTest has no run with a stored report, or the report is gone.
    #[error("LoadTest {name:?} has no stored report{of}")]
    NoReport {
        /// Name of the LoadTest.
        name: String,
        /// Run that was asked for, as ` of run "…"`; empty for the last one.
        of: String,
    },
    /// The object is not what the operator stores.
    #[error("ConfigMap {name:?} {why}")]
    Damaged {
        /// Name of the object.
        name: String,
        /// Fault of the object.
        why: String,
    },
}

/// Report that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked<'a> {
    /// Name of the LoadTest.
    pub test: &'a str,
    /// Namespace of the LoadTest; `None`: that of the kubeconfig.
    pub namespace: Option<&'a str>,
    /// Id of the run; `None`: the last run with a report.
    pub run: Option<&'a str>,
}

/// Reads a stored report from the cluster of the kubeconfig, or of the Pod that this runs in.
/// Unpacking it is bounded. Whether the operator wrote it cannot be checked here, since only the
/// operator has the key.
pub async fn stored_report(asked: &Asked<'_>) -> Result<RunResult, StoredError> {
    // fails only when one is set already, which is then the one to use
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = Config::infer().await?;
    let namespace = asked
        .namespace
        .map_or_else(|| config.default_namespace.clone(), str::to_owned);
    let client = Client::try_from(config).map_err(|source| StoredError::Api {
        what: "make a client".into(),
        source: Box::new(source),
    })?;
    let stored = find(&client, &namespace, asked).await?;
    read(&stored)
}

/// Finds the ConfigMap of a report: that of the status, or by the labels of a run.
async fn find(
    client: &Client,
    namespace: &str,
    asked: &Asked<'_>,
) -> Result<ConfigMap, StoredError> {
    let failed = |what: String| {
        move |source| StoredError::Api {
            what,
            source: Box::new(source),
        }
    };
    let Asked {
        test: name, run, ..
    } = *asked;
    let tests: Api<LoadTest> = Api::namespaced(client.clone(), namespace);
    let test = tests
        .get_opt(name)
        .await
        .map_err(failed(format!("read LoadTest {name:?}")))?
        .ok_or_else(|| StoredError::NoTest {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
        })?;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let found = match run {
        None => match stored_by(&test) {
            Some(stored) => maps
                .get_opt(stored)
                .await
                .map_err(failed(format!("read ConfigMap {stored:?}")))?,
            None => None,
        },
        Some(run) => {
            let uid = test.uid().unwrap_or_default();
            let labels = format!("{RUN_LABEL}={run},{UID_LABEL}={uid},{COMPONENT_LABEL}=report");
            let list = maps.list(&ListParams::default().labels(&labels)).await;
            let list = list.map_err(failed(format!("list the reports of run {run:?}")))?;
            list.items.into_iter().next()
        }
    };
    found.ok_or_else(|| StoredError::NoReport {
        name: name.to_owned(),
        of: run.map_or_else(String::new, |run| format!(" of run {run:?}")),
    })
}

/// Returns the name of the object that the status says holds the result.
fn stored_by(test: &LoadTest) -> Option<&str> {
    let reference = test.status.as_ref()?.report_ref.as_ref()?;
    Some(reference.config_map.as_str())
}

/// Unpacks the result that a ConfigMap holds.
fn read(stored: &ConfigMap) -> Result<RunResult, StoredError> {
    let damaged = |why: String| StoredError::Damaged {
        name: stored.name_any(),
        why,
    };
    let packed = stored
        .binary_data
        .as_ref()
        .and_then(|data| data.get(build::REPORT_KEY))
        .ok_or_else(|| damaged("holds no result".into()))?;
    build::read_report(&packed.0).map_err(damaged)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::*;
    use crate::operator::fixture;

    fn holding(key: &str, bytes: Vec<u8>) -> ConfigMap {
        ConfigMap {
            binary_data: Some([(key.to_owned(), ByteString(bytes))].into()),
            ..ConfigMap::default()
        }
    }

    #[test]
    fn what_the_operator_stored_is_read_and_nothing_else_is() {
        let packed = build::write_report(&fixture::result());
        let whole = holding(build::REPORT_KEY, packed.clone());
        assert_eq!(read(&whole).unwrap(), fixture::result());
        for (damaged, why) in [
            (ConfigMap::default(), "holds no result"),
            (holding("other", packed.clone()), "holds no result"),
            (holding(build::REPORT_KEY, b"x".to_vec()), "is not gzip"),
            (
                holding(build::REPORT_KEY, packed[..packed.len() / 2].to_vec()),
                "is not gzip",
            ),
        ] {
            let error = read(&damaged).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
