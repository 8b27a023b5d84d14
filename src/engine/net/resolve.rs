//! Addresses of a target: looked up when needed, kept as long as the DNS records say, and used in
//! turn.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, RwLock};
use std::time::Instant;

use hickory_resolver::Resolver;
use hickory_resolver::config::{LookupIpStrategy, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;

/// Name servers and the settings for asking them.
#[derive(Clone)]
pub(crate) struct NameServers {
    /// Servers to ask.
    pub(crate) config: ResolverConfig,
    /// Timeouts and number of tries.
    pub(crate) options: ResolverOpts,
}

/// Addresses of a host, shared by all shards of a worker.
pub(crate) struct Addresses {
    name: Name,
    port: u16,
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
    pub(crate) fn new(host: &url::Host<&str>, port: u16, names: &NameServers) -> Self {
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
            cache: RwLock::new(none),
            asking: tokio::sync::Mutex::new(()),
        }
    }

    /// Returns the addresses, looked up again if they are stale. They are never empty and never
    /// include one that no step may reach.
    pub(crate) async fn get(&self) -> Result<Arc<[SocketAddr]>, String> {
        let (domain, names) = match &self.name {
            Name::Address(ip) => {
                permit(*ip)?;
                return Ok(Arc::new([SocketAddr::new(*ip, self.port)]));
            }
            Name::Domain { domain, names } => (domain, names),
        };
        if let Some(addresses) = self.cached() {
            return Ok(addresses);
        }
        let _asking = self.asking.lock().await;
        if let Some(addresses) = self.cached() {
            return Ok(addresses);
        }
        let found = lookup(domain, self.port, names).await?;
        *self
            .cache
            .write()
            .unwrap_or_else(|poisoned| poisoned.into_inner()) = found.clone();
        Ok(found.addresses)
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
    addresses
        .iter()
        .try_for_each(|address| permit(address.ip()))
        .map_err(|why| failed(&why))?;
    Ok(Cached {
        addresses,
        until: Some(found.valid_until()),
    })
}

/// Refuses addresses at which cloud platforms serve credentials of the machine, and all IPv4
/// link-local ones, since they are never a target.
fn permit(ip: IpAddr) -> Result<(), String> {
    const OF_AWS: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    const OF_GOOGLE: Ipv6Addr = Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254);
    const OF_ALIBABA: [u8; 4] = [100, 100, 100, 200];
    let is_refused = match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_link_local() || ip.octets() == OF_ALIBABA,
        IpAddr::V6(ip) => ip == OF_AWS || ip == OF_GOOGLE,
    };
    if is_refused {
        Err(format!(
            "{ip} serves credentials of the machine, and is never a target"
        ))
    } else {
        Ok(())
    }
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

    fn addresses(host: url::Host<&str>) -> Addresses {
        Addresses::new(&host, 80, &NameServers::of_system())
    }

    #[tokio::test]
    async fn a_name_that_cannot_exist_is_an_error() {
        let addresses = addresses(url::Host::Domain("starling.invalid"));
        let error = addresses.get().await.unwrap_err();
        assert!(error.contains("starling.invalid"));
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
            let error = addresses(url.host().unwrap()).get().await.unwrap_err();
            assert!(error.contains("never a target"), "{host}");
        }
        assert!(
            permit([192, 168, 1, 1].into()).is_ok() && permit(Ipv6Addr::LOCALHOST.into()).is_ok()
        );
    }

    #[tokio::test]
    async fn an_address_needs_no_lookup() {
        let addresses = addresses(url::Host::Ipv4([127, 0, 0, 1].into()));
        assert_eq!(
            *addresses.get().await.unwrap(),
            ["127.0.0.1:80".parse().unwrap()]
        );
    }

    #[tokio::test]
    async fn localhost_is_found_without_a_name_server() {
        let addresses = addresses(url::Host::Domain("localhost"));
        let found = addresses.get().await.unwrap();
        assert!(found.iter().all(|address| address.ip().is_loopback()));
        assert!(addresses.cached().is_some());
    }
}
