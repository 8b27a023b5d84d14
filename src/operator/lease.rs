//! Leases of installations: an installation of the operator holds one in each namespace where it
//! carries on a run, so that another one that watches the namespace can tell when it is gone.
//!
//! Whether a Lease has expired is told by the time for which this process has seen it unchanged,
//! never by comparing clocks of two machines.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, DeleteParams, ObjectMeta, PostParams, Preconditions};
use kube::{Client, ResourceExt};

use super::api::{ApiError, call, kube_call};

/// Shortest and longest time that a Lease of another installation is taken to be good for, whatever
/// it says: anybody may write one.
const BOUNDS: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(3600));

/// Time for which a Lease is held after the last pass that wanted it, while no run is in progress.
const IDLE: Duration = Duration::from_secs(60);

/// Time for which a Lease that is not there, or that by the clocks of both machines has expired,
/// has to stand still before people are told.
const TELL: Duration = Duration::from_secs(30);

/// Returns the name of an installation's Lease.
pub fn name(installation: &str) -> String {
    format!("starling-installation-{installation}")
}

/// Leases that this process holds for its installation.
pub struct Leases {
    client: Client,
    installation: String,
    holder: String,
    duration: Duration,
    held: Mutex<BTreeMap<String, Held>>,
}

/// Lease in one namespace.
#[derive(Debug, Clone)]
struct Held {
    uid: String,
    renewed: Instant,
    /// Last time that a run in the namespace was in progress or about to begin.
    wanted: Instant,
}

impl Leases {
    /// Creates the holder for `installation`, whose operator is in `namespace`. Nothing is held yet.
    pub fn new(client: Client, installation: &str, namespace: &str, duration: Duration) -> Self {
        Self {
            client,
            installation: installation.to_owned(),
            holder: format!("operator in namespace {namespace}"),
            duration,
            held: Mutex::default(),
        }
    }

    /// Time between two renewals: a third of the duration.
    pub fn renew_every(&self) -> Duration {
        self.duration / 3
    }

    /// Holds the Lease in `namespace` for a run that is to begin, and returns its name; `None`
    /// where the operator has no right to Leases, as after an upgrade without the chart's roles.
    pub async fn hold(&self, namespace: &str) -> Result<Option<String>, ApiError> {
        if let Some(held) = self.lock().get_mut(namespace) {
            held.wanted = Instant::now();
            if held.renewed.elapsed() < self.renew_every() {
                return Ok(Some(name(&self.installation)));
            }
        }
        match self.renew(namespace).await {
            Ok(()) => Ok(Some(name(&self.installation))),
            Err(ApiError::Kube { source, .. }) if is_forbidden(&source) => {
                tracing::warn!(
                    namespace,
                    error = %source,
                    "no Lease says that this installation is there; its runs are never taken over"
                );
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Renews the Leases of the namespaces in `active`, where runs of the installation are in
    /// progress, and lets go of those that nothing needs any more.
    pub async fn keep(&self, active: &BTreeSet<String>) {
        let now = Instant::now();
        let mut due: BTreeSet<String> = active.clone();
        let mut idle = Vec::new();
        for (namespace, held) in self.lock().iter_mut() {
            if active.contains(namespace) {
                held.wanted = now;
            } else if now.duration_since(held.wanted) > IDLE {
                idle.push((namespace.clone(), held.uid.clone()));
                continue;
            }
            match now.duration_since(held.renewed) < self.renew_every() / 2 {
                true => due.remove(namespace),
                false => due.insert(namespace.clone()),
            };
        }
        for namespace in due {
            if let Err(error) = self.renew(&namespace).await {
                tracing::warn!(namespace, %error, "a Lease cannot be renewed");
            }
        }
        for (namespace, uid) in idle {
            self.let_go(&namespace, &uid).await;
        }
    }

    /// Writes the Lease anew. A conflict means that another operator of the same installation has
    /// just done so.
    async fn renew(&self, namespace: &str) -> Result<(), ApiError> {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), namespace);
        let name = name(&self.installation);
        let found = kube_call("read Lease", &name, leases.get_opt(&name)).await?;
        let began = Instant::now();
        let params = PostParams::default();
        let (what, written) = match found {
            None => {
                let lease = self.lease(None);
                (
                    "create Lease",
                    call("create Lease", &name, leases.create(&params, &lease)).await?,
                )
            }
            Some(found) => {
                let lease = self.lease(Some(found));
                let write = leases.replace(&name, &params, &lease);
                ("renew Lease", call("renew Lease", &name, write).await?)
            }
        };
        let uid = match written {
            Ok(lease) => lease.uid().unwrap_or_default(),
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => {
                String::new()
            }
            Err(source) => {
                return Err(ApiError::Kube {
                    what,
                    name,
                    source: Box::new(source),
                });
            }
        };
        let mut held = self.lock();
        let entry = held.entry(namespace.to_owned()).or_insert(Held {
            uid: String::new(),
            renewed: began,
            wanted: began,
        });
        entry.renewed = began;
        if !uid.is_empty() {
            entry.uid = uid;
        }
        Ok(())
    }

    fn lease(&self, found: Option<Lease>) -> Lease {
        let now = Some(MicroTime(Timestamp::now()));
        let before = found
            .as_ref()
            .and_then(|lease| lease.spec.clone())
            .unwrap_or_default();
        let labels = [
            ("app.kubernetes.io/name", "starling"),
            ("app.kubernetes.io/part-of", "starling"),
        ];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
        Lease {
            metadata: ObjectMeta {
                name: Some(name(&self.installation)),
                labels: Some(labels.into()),
                resource_version: found.and_then(|lease| lease.metadata.resource_version),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.holder.clone()),
                lease_duration_seconds: i32::try_from(self.duration.as_secs()).ok(),
                acquire_time: before.acquire_time.or_else(|| now.clone()),
                renew_time: now,
                ..LeaseSpec::default()
            }),
        }
    }

    /// Deletes a Lease that no run needs. One that someone else made anew is left alone.
    async fn let_go(&self, namespace: &str, uid: &str) {
        self.lock().remove(namespace);
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), namespace);
        let name = name(&self.installation);
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: Some(uid.to_owned()),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        if let Err(error) = kube_call("delete Lease", &name, leases.delete(&name, &params)).await {
            // it expires, and says nothing to anybody but an installation that asks for it
            tracing::debug!(namespace, %error, "a Lease that nothing needs stays");
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_forbidden())
}

/// Another installation, as far as its Lease tells of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Renews its Lease, or has not been watched for long enough to know better.
    Alive,
    /// Has not renewed its Lease in time; the Lease has not expired.
    Silent,
    /// Let its Lease expire.
    Gone,
    /// Holds no Lease that could be looked at: an older release, or one without the right to it.
    Unknown,
}

/// Last state of another installation's Lease that this process has seen.
#[derive(Debug, Clone)]
pub struct Sighting {
    /// resourceVersion of the Lease; `None` while there is none.
    version: Option<String>,
    duration: Duration,
    since: Instant,
    /// True while there is no Lease, or one that has expired if the clocks of both machines agree.
    /// Decides only what people are told.
    is_stale: bool,
}

impl Sighting {
    /// Looks at the Lease with this name. `last` is what was seen before.
    pub async fn look(
        client: &Client,
        namespace: &str,
        name: &str,
        last: Option<Sighting>,
    ) -> Result<Sighting, ApiError> {
        let leases: Api<Lease> = Api::namespaced(client.clone(), namespace);
        let lease = kube_call("read Lease", name, leases.get_opt(name)).await?;
        let (now, wall) = (Instant::now(), Timestamp::now());
        Ok(Self::next(lease.as_ref(), last, now, wall))
    }

    fn next(
        lease: Option<&Lease>,
        last: Option<Sighting>,
        now: Instant,
        wall: Timestamp,
    ) -> Sighting {
        let version = lease.and_then(|lease| lease.metadata.resource_version.clone());
        let seconds = lease
            .and_then(|lease| lease.spec.as_ref()?.lease_duration_seconds)
            .and_then(|seconds| u64::try_from(seconds).ok())
            .map(Duration::from_secs);
        // a Lease that is deleted was good for as long as it said before
        let duration = seconds
            .or(last.as_ref().map(|last| last.duration))
            .unwrap_or(BOUNDS.1)
            .clamp(BOUNDS.0, BOUNDS.1);
        let since = match last {
            Some(last) if last.version == version => last.since,
            _ => now,
        };
        let renewed = lease.and_then(|lease| lease.spec.as_ref()?.renew_time.as_ref());
        let age = renewed.and_then(|at| Duration::try_from(wall.duration_since(at.0)).ok());
        Sighting {
            version,
            duration,
            since,
            is_stale: lease.is_none() || age.is_some_and(|age| age > duration),
        }
    }

    /// Returns what the sighting means at `now`. Half as long again as the Lease says has to pass,
    /// since the process that renews it may be slow.
    pub fn owner(&self, now: Instant) -> Owner {
        let unchanged = now.saturating_duration_since(self.since);
        if unchanged > self.duration * 3 / 2 {
            Owner::Gone
        } else if unchanged > self.duration * 2 / 3 || self.is_stale && unchanged > TELL {
            Owner::Silent
        } else {
            Owner::Alive
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(version: &str, seconds: i32) -> Lease {
        Lease {
            metadata: ObjectMeta {
                resource_version: Some(version.to_owned()),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                lease_duration_seconds: Some(seconds),
                ..LeaseSpec::default()
            }),
        }
    }

    fn next(lease: Option<&Lease>, last: Option<Sighting>, now: Instant) -> Sighting {
        Sighting::next(lease, last, now, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn people_are_told_early_of_a_lease_that_is_old_by_the_clocks_or_not_there() {
        let began = Instant::now();
        let at = |seconds: u64| began + Duration::from_secs(seconds);
        let wall = |seconds: i64| Timestamp::from_second(seconds).unwrap();
        let mut old = lease("1", 600);
        old.spec.as_mut().unwrap().renew_time = Some(MicroTime(wall(1000)));
        for (lease, wall, told) in [
            (Some(&old), wall(1_500), Owner::Alive),
            (Some(&old), wall(1_601), Owner::Silent),
            // a clock that is behind
            (Some(&old), wall(1), Owner::Alive),
            (None, wall(1), Owner::Silent),
        ] {
            let sighting = Sighting::next(lease, None, began, wall);
            assert_eq!(sighting.owner(at(29)), Owner::Alive);
            assert_eq!(sighting.owner(at(31)), told);
            // what decides is the time that has passed here
            assert_ne!(sighting.owner(at(899)), Owner::Gone);
        }
    }

    #[test]
    fn an_installation_is_gone_once_its_lease_has_stood_still_and_never_before() {
        let began = Instant::now();
        let at = |seconds: u64| began + Duration::from_secs(seconds);
        let first = next(Some(&lease("1", 60)), None, began);
        let owners = [0, 39, 41, 89, 91].map(|seconds| first.owner(at(seconds)));
        use Owner::{Alive, Gone, Silent};
        assert_eq!(owners, [Alive, Alive, Silent, Silent, Gone]);
        let renewed = next(Some(&lease("2", 60)), Some(first.clone()), at(80));
        assert_eq!(renewed.owner(at(91)), Alive);
        let same = next(Some(&lease("1", 60)), Some(first), at(80));
        assert_eq!(same.owner(at(91)), Gone);
    }

    #[test]
    fn a_deleted_lease_is_as_good_for_its_time_as_one_that_is_not_renewed() {
        let began = Instant::now();
        let at = |seconds: u64| began + Duration::from_secs(seconds);
        let first = next(Some(&lease("1", 60)), None, began);
        let deleted = next(None, Some(first), at(10));
        assert_eq!(deleted.owner(at(99)), Owner::Silent);
        assert_eq!(deleted.owner(at(101)), Owner::Gone);
        // one that was never seen may have been good for an hour
        let never = next(None, None, began);
        assert_eq!(never.owner(at(3600)), Owner::Silent);
    }

    #[test]
    fn what_a_lease_says_of_its_time_is_bounded() {
        let began = Instant::now();
        let at = |seconds: u64| began + Duration::from_secs(seconds);
        for seconds in [i32::MIN, -1, 0, 1] {
            let short = next(Some(&lease("1", seconds)), None, began);
            assert_ne!(short.owner(at(14)), Owner::Gone, "{seconds}");
        }
        let long = next(Some(&lease("1", i32::MAX)), None, began);
        assert_eq!(long.owner(at(5401)), Owner::Gone);
    }
}
