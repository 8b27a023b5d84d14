//! Demands of a test on the cluster, and policies that they are held against.

use std::collections::BTreeSet;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Host;
use wildmatch::WildMatch;

use super::rules::{AddressRule, AddressRules};
use crate::plan::manual::Control;
use crate::plan::{Problem, duration};

/// Policy of a cluster, as far as tests are judged by it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Policy {
    /// Addresses that may be reached; holds the policy's name.
    pub addresses: AddressRule,
    /// Most load of one run.
    pub limits: Limits,
    /// Settings of Pods.
    pub pods: PodRules,
    /// Ways to reach an address past the names and addresses that the policy judges.
    pub permissions: BTreeSet<Permission>,
}

/// Most load of one run; `None`: no limit.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Limits {
    /// Most iterations per second of open load, or requests per second of closed load.
    pub rate: Option<f64>,
    /// Most users, or iterations in flight, at once.
    pub users: Option<u64>,
    /// Longest planned time of the load, or else the run's deadline.
    pub duration: Option<Duration>,
    /// Most worker Pods.
    pub workers: Option<u32>,
}

/// Names that the Pods of a run may have in their settings, as patterns in which `*` stands for any
/// characters; `None`: any name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PodRules {
    /// Names of ServiceAccounts.
    pub service_accounts: Option<Vec<String>>,
    /// Images of sidecars and clients.
    pub images: Option<Vec<String>>,
    /// Names of priority classes.
    pub priority_classes: Option<Vec<String>>,
    /// Keys of labels.
    pub labels: Option<Vec<String>>,
    /// Keys of annotations.
    pub annotations: Option<Vec<String>>,
}

/// Way to reach an address past the names and addresses that a policy judges.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum Permission {
    /// Addresses that a test gives to names itself.
    Resolve,
    /// Entries of the Pods' hosts file.
    HostAliases,
    /// Name servers and search domains of the Pods.
    DnsConfig,
    /// Sockets of the worker's machine (`unixSocket`).
    UnixSocket,
    /// Proxies in front of targets (`proxy`).
    Proxy,
}

/// Demand of a test: a field, and what it asks of the cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct Demand {
    /// Path of the field.
    pub field: String,
    /// Thing and amount that the field asks for.
    pub wanted: Wanted,
}

/// Thing and amount that a field of a test asks of the cluster.
#[derive(Debug, Clone, PartialEq)]
pub enum Wanted {
    /// Connections to a host and port.
    Endpoint(Host<String>, u16),
    /// Iterations or requests per second; `None`: as many as come about.
    Rate(Option<f64>),
    /// Users at once.
    Users(u64),
    /// Time that the load takes at most.
    Duration(Duration),
    /// Worker Pods.
    Workers(u32),
    /// ServiceAccount of a Pod.
    ServiceAccount(String),
    /// Image of a sidecar or client.
    Image(String),
    /// Priority class of a Pod.
    PriorityClass(String),
    /// Key of a label of a Pod.
    Label(String),
    /// Key of an annotation of a Pod.
    Annotation(String),
    /// A way past names and addresses.
    Permission(Permission),
}

/// Holds every demand against every policy, each of which has to allow it. Returns what is refused,
/// with the field and the policy's name; nothing if there is no policy.
pub fn judge(policies: &[Policy], demands: &[Demand]) -> Vec<Problem> {
    let refused = policies.iter().flat_map(|policy| {
        demands.iter().filter_map(move |demand| {
            let message = policy.refusal(&demand.wanted)?;
            Some(Problem::new(&demand.field, message))
        })
    });
    refused.collect()
}

impl Policy {
    /// Returns the rules for addresses of all `policies`, to be enforced where connections are made.
    pub fn address_rules(policies: &[Policy]) -> AddressRules {
        let rules = policies.iter().map(|policy| policy.addresses.clone());
        AddressRules(rules.collect())
    }

    /// Returns the bounds of changes of load by hand: those of the test, and the lowest limits of all
    /// `policies`.
    pub fn control(policies: &[Policy], of_test: Control) -> Control {
        let limits = || policies.iter().map(|policy| &policy.limits);
        Control {
            max_rate: limits().filter_map(|limits| limits.rate).reduce(f64::min),
            max_users: limits().filter_map(|limits| limits.users).min(),
            ..of_test
        }
    }

    /// Describes why the policy does not allow what is wanted; `None` if it does.
    fn refusal(&self, wanted: &Wanted) -> Option<String> {
        let Limits {
            rate,
            users,
            duration: longest,
            workers,
        } = &self.limits;
        let pods = &self.pods;
        match wanted {
            Wanted::Endpoint(host, port) => {
                let host = match host {
                    Host::Domain(name) => Host::Domain(name.as_str()),
                    Host::Ipv4(ip) => Host::Ipv4(*ip),
                    Host::Ipv6(ip) => Host::Ipv6(*ip),
                };
                let rules = AddressRules(vec![self.addresses.clone()]);
                let refused = rules.check_host(&host, *port).err()?;
                Some(refused.to_string())
            }
            Wanted::Rate(None) => rate.map(|most| {
                self.says(&format!(
                    "allows at most {most}/s, and this load has no bound: set its throttle"
                ))
            }),
            Wanted::Rate(Some(asked)) => self.at_most(*asked, *rate, "/s"),
            Wanted::Users(asked) => self.at_most(*asked, *users, " users at once"),
            Wanted::Workers(asked) => self.at_most(*asked, *workers, " workers"),
            Wanted::Duration(asked) => {
                let most = longest.filter(|most| asked > most)?;
                let (most, asked) = (duration::format(most), duration::format(*asked));
                Some(self.says(&format!("allows at most {most}, not {asked}")))
            }
            Wanted::ServiceAccount(name) => {
                self.named(name, &pods.service_accounts, "ServiceAccount")
            }
            Wanted::Image(name) => self.named(name, &pods.images, "image"),
            Wanted::PriorityClass(name) => {
                self.named(name, &pods.priority_classes, "priority class")
            }
            Wanted::Label(key) => self.named(key, &pods.labels, "label"),
            Wanted::Annotation(key) => self.named(key, &pods.annotations, "annotation"),
            Wanted::Permission(permission) => {
                let is_given = self.permissions.contains(permission);
                (!is_given).then(|| self.says(&format!("does not allow {permission:?}")))
            }
        }
    }

    fn at_most<T: PartialOrd + std::fmt::Display + Copy>(
        &self,
        asked: T,
        most: Option<T>,
        unit: &str,
    ) -> Option<String> {
        let most = most.filter(|most| asked > *most)?;
        Some(self.says(&format!("allows at most {most}{unit}, not {asked}")))
    }

    fn named(&self, name: &str, allowed: &Option<Vec<String>>, kind: &str) -> Option<String> {
        let fits = |pattern: &String| WildMatch::new(pattern).matches(name);
        let is_allowed = |names: &Vec<String>| names.iter().any(fits);
        (!allowed.as_ref().is_none_or(is_allowed))
            .then(|| self.says(&format!("does not allow the {kind} {name:?}")))
    }

    fn says(&self, what: &str) -> String {
        format!("StarlingPolicy {:?} {what}", self.addresses.policy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::ManualControl;

    fn refused(policy: Policy, wanted: Wanted) -> Option<String> {
        let demand = Demand {
            field: "spec.f".into(),
            wanted,
        };
        let problems = judge(&[Policy::default(), policy], &[demand]);
        let mut all = problems.into_iter().map(|problem| {
            assert_eq!(problem.path, "spec.f");
            problem.message
        });
        all.next()
    }

    #[test]
    fn limits_hold_what_is_above_them_and_load_without_a_bound() {
        let limits = Limits {
            rate: Some(100.0),
            users: Some(10),
            duration: Some(Duration::from_secs(60)),
            workers: Some(2),
        };
        let policy = || Policy {
            limits: limits.clone(),
            ..Policy::default()
        };
        let fits = [
            Wanted::Rate(Some(100.0)),
            Wanted::Users(10),
            Wanted::Duration(Duration::from_secs(60)),
            Wanted::Workers(2),
        ];
        for wanted in fits {
            assert_eq!(refused(policy(), wanted), None);
        }
        for (wanted, words) in [
            (Wanted::Rate(Some(100.5)), "at most 100/s, not 100.5"),
            (Wanted::Rate(Some(f64::INFINITY)), "at most 100/s"),
            (Wanted::Rate(None), "set its throttle"),
            (Wanted::Users(11), "at most 10 users at once, not 11"),
            (
                Wanted::Duration(Duration::from_secs(61)),
                "at most 1m, not 1m1s",
            ),
            (Wanted::Workers(3), "at most 2 workers, not 3"),
        ] {
            let message = refused(policy(), wanted).unwrap();
            assert!(message.contains(words), "{message}");
        }
        assert_eq!(refused(Policy::default(), Wanted::Rate(None)), None);
    }

    #[test]
    fn changes_by_hand_have_the_lowest_limits_of_all_policies() {
        let policy = |rate: Option<f64>, users: Option<u64>| Policy {
            limits: Limits {
                rate,
                users,
                ..Limits::default()
            },
            ..Policy::default()
        };
        let of_test = Control {
            allowed: ManualControl::StopOnly,
            ..Control::default()
        };
        assert_eq!(Policy::control(&[], of_test), of_test);
        let both = [policy(Some(70.0), None), policy(Some(90.0), Some(5))];
        let control = Policy::control(&both, of_test);
        assert_eq!((control.max_rate, control.max_users), (Some(70.0), Some(5)));
        assert_eq!(control.allowed, ManualControl::StopOnly);
    }

    #[test]
    fn names_in_pods_are_those_of_the_lists() {
        let list = |name: &str| Some(vec![name.to_owned()]);
        let policy = || Policy {
            pods: PodRules {
                service_accounts: Some(vec![]),
                images: list("registry.example/*"),
                priority_classes: list("low"),
                labels: list("team.example/*"),
                annotations: list("*"),
            },
            ..Policy::default()
        };
        for (wanted, is_refused) in [
            (Wanted::ServiceAccount("default".into()), true),
            (Wanted::Image("registry.example/a:1".into()), false),
            (
                Wanted::Image("evil.example/registry.example/a".into()),
                true,
            ),
            (Wanted::PriorityClass("low".into()), false),
            (Wanted::PriorityClass("lower".into()), true),
            (Wanted::Label("team.example/name".into()), false),
            (Wanted::Label("sidecar.istio.io/inject".into()), true),
            (Wanted::Annotation("any".into()), false),
        ] {
            let message = refused(policy(), wanted.clone());
            assert_eq!(message.is_some(), is_refused, "{wanted:?}: {message:?}");
        }
    }

    #[test]
    fn ways_past_names_need_permission_under_any_policy() {
        use Permission::*;
        for permission in [Resolve, HostAliases, DnsConfig, UnixSocket, Proxy] {
            let wanted = Wanted::Permission(permission);
            let message = refused(Policy::default(), wanted.clone()).unwrap();
            assert!(message.contains(&format!("{permission:?}")), "{message}");
            let given = || Policy {
                permissions: [permission].into(),
                ..Policy::default()
            };
            assert_eq!(given().refusal(&wanted), None);
            let demand = Demand {
                field: String::new(),
                wanted,
            };
            assert!(judge(&[], std::slice::from_ref(&demand)).is_empty());
            assert!(judge(&[given()], std::slice::from_ref(&demand)).is_empty());
            assert_eq!(judge(&[given(), Policy::default()], &[demand]).len(), 1);
        }
    }
}
