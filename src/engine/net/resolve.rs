//! Addresses of a target: looked up when needed, kept as long as the DNS records say, and used in
//! turn.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, RwLock};
use std::time::Instant;

use hickory_resolver::Resolver;
use hickory_resolver::config::{LookupIpStrategy, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;

use crate::engine::attempt::failure::Failure;
use crate::plan::AddressRules;
use crate::plan::policy::NotAllowed;

/// Name servers and the settings for asking them.
#[derive(Clone)]
pub(crate) struct NameServers {
    /// Servers to ask.
    pub(crate) config: ResolverConfig,
    /// Timeouts and number of tries.
    pub(crate) options: ResolverOpts,
}

/// Name servers, and rules for the addresses that they may lead to.
#[derive(Clone, Copy)]
pub(crate) struct Reach<'a> {
    /// Name servers to ask.
    pub(crate) names: &'a NameServers,
    /// Rules of the plan.
    pub(crate) rules: &'a AddressRules,
}

/// Reason why there is no address to connect to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unresolved {
    /// Name without an address, with the resolver's message.
    #[error("{0}")]
    Dns(String),
    /// Host or address that no step may reach.
    #[error("{0}")]
    NotAllowed(String),
}

impl From<NotAllowed> for Unresolved {
    fn from(refused: NotAllowed) -> Self {
        Self::NotAllowed(refused.0)
    }
}

impl From<Unresolved> for Failure {
    fn from(unresolved: Unresolved) -> Self {
        match unresolved {
            Unresolved::Dns(why) => Failure::Dns(why),
            Unresolved::NotAllowed(why) => Failure::NotAllowed(why),
        }
    }
}

/// Addresses of a host, shared by all shards of a worker.
pub(crate) struct Addresses {
    name: Name,
    port: u16,
    rules: AddressRules,
    /// Verdict on the host as the URL has it, and on its address if it is one.
    host: Result<(), NotAllowed>,
    cache: RwLock<Cached>,
    /// Lock that is held during a lookup, so that many users who find the cache stale ask only
    /// once.
    asking: tokio::sync::Mutex<()>,
}

enum Name {
    Address(IpAddr),
    Domain {
        domain: String,
        names: Box<NameServers>,
    },
}

#[derive(Clone)]
struct Cached {
    addresses: Arc<[SocketAddr]>,
    until: Option<Instant>,
}

impl Addresses {
    /// Prepares to look up `host`.
    pub(crate) fn new(host: &url::Host<&str>, port: u16, reach: Reach<'_>) -> Self {
        let Reach { names, rules } = reach;
        let name = match host {
            url::Host::Ipv4(ip) => Name::Address(IpAddr::V4(*ip)),
            url::Host::Ipv6(ip) => Name::Address(IpAddr::V6(*ip)),
            url::Host::Domain(domain) => Name::Domain {
                domain: (*domain).to_owned(),
                names: Box::new(names.clone()),
            },
        };
        let none = Cached {
            addresses: Arc::new([]),
            until: None,
        };
        Self {
            name,
            port,
            rules: rules.clone(),
            host: rules.check_host(host, port),
            cache: RwLock::new(none),
            asking: tokio::sync::Mutex::new(()),
        }
    }

    /// Returns the addresses, looked up again if they are stale. They are never empty and never
    /// include one that no step may reach: a name with such an address has none.
    pub(crate) async fn get(&self) -> Result<Arc<[SocketAddr]>, Unresolved> {
        self.host.clone()?;
        let (domain, names) = match &self.name {
            Name::Address(ip) => return Ok(Arc::new([SocketAddr::new(*ip, self.port)])),
            Name::Domain { domain, names } => (domain, names),
        };
        if let Some(addresses) = self.cached() {
            return Ok(addresses);
        }
        let _asking = self.asking.lock().await;
        if let Some(addresses) = self.cached() {
            return Ok(addresses);
        }
        let found = lookup(domain, self.port, names)
            .await
            .map_err(Unresolved::Dns)?;
        for address in found.addresses.iter() {
            self.rules.check_address(address.ip()).map_err(|refused| {
                Unresolved::NotAllowed(format!("{domain} resolves to {}: {refused}", address.ip()))
            })?;
        }
        *self
            .cache
            .write()
            .unwrap_or_else(|poisoned| poisoned.into_inner()) = found.clone();
        Ok(found.addresses)
    }

    /// Returns the address to give to a proxy in the host's place; `None` if no rule speaks of
    /// addresses, and the proxy finds them by itself. `turn` counts connections, so that addresses
    /// are used in turn.
    pub(crate) async fn for_proxy(&self, turn: u64) -> Result<Option<SocketAddr>, Unresolved> {
        self.host.clone()?;
        if !self.rules.name_networks() {
            return Ok(None);
        }
        let addresses = self.get().await?;
        Ok(Some(addresses[(turn % addresses.len() as u64) as usize]))
    }

    /// Returns the number of addresses from the last lookup.
    pub(crate) fn count(&self) -> usize {
        match &self.name {
            Name::Address(_) => 1,
            Name::Domain { .. } => self
                .cache
                .read()
                .unwrap_or_else(|poisoned| poisoned.into_inner())
                .addresses
                .len(),
        }
    }

    fn cached(&self) -> Option<Arc<[SocketAddr]>> {
        let cache = self
            .cache
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        cache
            .until
            .is_some_and(|until| Instant::now() < until)
            .then(|| cache.addresses.clone())
    }
}

/// Looks up a name. A new resolver is used each time, since its connections belong to one runtime
/// and every shard has its own.
async fn lookup(domain: &str, port: u16, names: &NameServers) -> Result<Cached, String> {
    let NameServers { config, options } = names.clone();
    let failed = |why: &dyn std::fmt::Display| format!("cannot resolve {domain}: {why}");
    let builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default())
        .with_options(options);
    let resolver = builder.build().map_err(|e| failed(&e))?;
    let found = resolver.lookup_ip(domain).await.map_err(|e| failed(&e))?;
    let addresses: Arc<[SocketAddr]> = found.iter().map(|ip| SocketAddr::new(ip, port)).collect();
    if addresses.is_empty() {
        return Err(failed(&"the name has no address"));
    }
    Ok(Cached {
        addresses,
        until: Some(found.valid_until()),
    })
}

impl NameServers {
    /// Reads the name servers of the system. Without any, names in the hosts file can still be
    /// found.
    pub(crate) fn of_system() -> Self {
        let none = || {
            (
                ResolverConfig::from_parts(None, vec![], vec![]),
                ResolverOpts::default(),
            )
        };
        let (config, mut options) =
            hickory_resolver::system_conf::read_system_conf().unwrap_or_else(|_| none());
        // half of the connections would fail where there is no route for one of the two kinds
        options.ip_strategy = LookupIpStrategy::Ipv4thenIpv6;
        Self { config, options }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(host: url::Host<&str>, rules: &AddressRules) -> Addresses {
        let names = &NameServers::of_system();
        Addresses::new(&host, 80, Reach { names, rules })
    }

    /// Rules of one policy that allows this network only.
    fn network(cidr: &str) -> AddressRules {
        let rules = format!(r#"[{{"policy": "p", "cidrs": ["{cidr}"]}}]"#);
        serde_json::from_str(&rules).unwrap()
    }

    #[tokio::test]
    async fn a_name_that_cannot_exist_is_an_error() {
        let unknown = addresses(
            url::Host::Domain("starling.invalid"),
            &AddressRules::default(),
        );
        let Err(Unresolved::Dns(why)) = unknown.get().await else {
            panic!("there is no such name")
        };
        assert!(why.contains("starling.invalid"), "{why}");
    }

    #[tokio::test]
    async fn where_a_cloud_serves_credentials_no_request_goes() {
        for host in [
            "169.254.169.254",
            "169.254.170.2",
            "100.100.100.200",
            "[fd00:ec2::254]",
            "[fd20:ce::254]",
            "[::ffff:169.254.169.254]",
        ] {
            let url = url::Url::parse(&format!("http://{host}/")).unwrap();
            let refused = addresses(url.host().unwrap(), &AddressRules::default());
            let Err(Unresolved::NotAllowed(why)) = refused.get().await else {
                panic!("{host} is allowed")
            };
            assert!(why.contains("never a target"), "{host}: {why}");
        }
    }

    #[tokio::test]
    async fn a_name_is_refused_by_what_it_resolves_to() {
        let local = |rules: &AddressRules| addresses(url::Host::Domain("localhost"), rules);
        assert!(local(&network("127.0.0.0/8")).get().await.is_ok());
        let elsewhere = network("10.0.0.0/8");
        for outcome in [
            local(&elsewhere).get().await.map(drop),
            local(&elsewhere).for_proxy(0).await.map(drop),
        ] {
            let Err(Unresolved::NotAllowed(why)) = outcome else {
                panic!("it is allowed")
            };
            assert!(why.contains("localhost resolves to 127.0.0.1"), "{why}");
            assert!(why.contains("StarlingPolicy \"p\""), "{why}");
        }
    }

    #[tokio::test]
    async fn a_proxy_is_given_an_address_only_where_rules_speak_of_addresses() {
        let local = |rules: &AddressRules| addresses(url::Host::Domain("localhost"), rules);
        let free = local(&AddressRules::default()).for_proxy(0).await;
        assert_eq!(free, Ok(None));
        let checked = local(&network("127.0.0.0/8")).for_proxy(7).await;
        assert_eq!(checked, Ok(Some("127.0.0.1:80".parse().unwrap())));
    }

    #[tokio::test]
    async fn an_address_needs_no_lookup() {
        let addresses = addresses(
            url::Host::Ipv4([127, 0, 0, 1].into()),
            &AddressRules::default(),
        );
        assert_eq!(
            *addresses.get().await.unwrap(),
            ["127.0.0.1:80".parse().unwrap()]
        );
    }

    #[tokio::test]
    async fn localhost_is_found_without_a_name_server() {
        let addresses = addresses(url::Host::Domain("localhost"), &AddressRules::default());
        assert!(
            addresses
                .get()
                .await
                .unwrap()
                .iter()
                .all(|address| address.ip().is_loopback())
        );
        assert!(addresses.cached().is_some());
    }
}
