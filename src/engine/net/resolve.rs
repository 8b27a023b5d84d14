//! Addresses of a target: looked up before they are needed, kept as long as the DNS records say and
//! beyond while name servers do not answer, and used in turn.

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use hickory_resolver::Resolver;
use hickory_resolver::config::{LookupIpStrategy, ResolverConfig, ResolverOpts};
use hickory_resolver::lookup_ip::LookupIp;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::Name;
use tokio::task::AbortHandle;
use url::Url;

use crate::engine::attempt::failure::Failure;
use crate::engine::net::interface;
use crate::plan::AddressRules;
use crate::plan::host_address::HostAddress;
use crate::plan::policy::NotAllowed;

/// Longest time that one question to a name server may take before the next is asked.
const ATTEMPT: Duration = Duration::from_secs(1);
/// Least number of further questions after one without an answer.
const ATTEMPTS: usize = 3;
/// Time for which the addresses of the other kind are awaited, as RFC 8305 has it.
const OTHER_KIND: Duration = Duration::from_millis(50);
/// Part of the life of an address after which it is looked up again.
const AHEAD: f64 = 0.8;
/// Time after its end for which an address is used while no name server answers.
const STALE: Duration = Duration::from_secs(300);
/// Time between two look-ups of a name that has no address or a short-lived one, and after a failed
/// look-up.
const RETRY: Duration = Duration::from_secs(1);
/// Shortest time between two look-ups of a name that many connections ask for.
const LEAST: Duration = Duration::from_millis(100);

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
    /// Name of which no name server could tell the address, with the resolver's message: an address
    /// from before may still be right.
    #[error("{0}")]
    Unanswered(String),
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
            Unresolved::Dns(why) | Unresolved::Unanswered(why) => Failure::Dns(why),
            Unresolved::NotAllowed(why) => Failure::NotAllowed(why),
        }
    }
}

/// Addresses of a host, shared by all shards of a worker.
pub(crate) struct Addresses {
    name: HostName,
    port: u16,
    rules: AddressRules,
    /// Verdict on the host as the URL has it, and on its address if it is one.
    host: Result<(), NotAllowed>,
    cache: RwLock<Cached>,
    /// Lock that is held during a look-up for which requests wait, so that many users who find no
    /// address ask only once.
    asking: tokio::sync::Mutex<()>,
    /// True while a look-up goes on beside the load.
    refreshing: AtomicBool,
    /// Number of failed look-ups that no request waited for and that have not been reported yet,
    /// and the reason of the last one.
    failed: Mutex<Option<(u64, String)>>,
}

enum HostName {
    /// Addresses that the URL or the test gives; never empty.
    Known(Arc<[SocketAddr]>),
    Domain {
        domain: String,
        names: Box<NameServers>,
    },
}

#[derive(Clone)]
struct Cached {
    /// Known addresses; empty if there are none.
    addresses: Arc<[SocketAddr]>,
    /// Time from which they are looked up again.
    refresh: Instant,
    /// Time until which they are used.
    end: Instant,
}

/// Task that keeps addresses fresh until this handle is dropped.
pub(crate) struct Freshness(AbortHandle);

impl Drop for Freshness {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Cached {
    fn nothing() -> Self {
        let now = Instant::now();
        Self {
            addresses: Arc::new([]),
            refresh: now,
            end: now,
        }
    }
}

impl Addresses {
    /// Prepares to look up the host of `url`, or to use the addresses that the test gives it.
    /// Returns `None` if there is no host in the URL.
    ///
    /// # Errors
    ///
    /// There is no interface of the name that an address has, with a message that says so.
    pub(crate) fn of(
        url: &Url,
        given: Option<&[HostAddress]>,
        reach: Reach<'_>,
    ) -> Result<Option<Arc<Self>>, String> {
        let Some((host, port)) = url.host().zip(url.port_or_known_default()) else {
            return Ok(None);
        };
        let given = given.unwrap_or_default().iter();
        let given = given.map(|address| interface::socket_address(address, port));
        let given = given.collect::<Result<Vec<_>, _>>()?;
        Ok(Some(Self::new(&host, port, given, reach)))
    }

    /// Prepares to look up `host`, unless `given` holds its addresses.
    fn new(
        host: &url::Host<&str>,
        port: u16,
        given: Vec<SocketAddr>,
        reach: Reach<'_>,
    ) -> Arc<Self> {
        let Reach { names, rules } = reach;
        let known = |ip: IpAddr| HostName::Known(Arc::new([SocketAddr::new(ip, port)]));
        let name = match host {
            _ if !given.is_empty() => HostName::Known(given.clone().into()),
            url::Host::Ipv4(ip) => known(IpAddr::V4(*ip)),
            url::Host::Ipv6(ip) => known(IpAddr::V6(*ip)),
            url::Host::Domain(domain) => HostName::Domain {
                domain: (*domain).to_owned(),
                names: Box::new(names.clone()),
            },
        };
        let mut allowed = given.iter().map(|address| address.ip());
        let verdict = rules
            .check_host(host, port)
            .and_then(|()| allowed.try_for_each(|ip| rules.check_address(ip)));
        Arc::new(Self {
            name,
            port,
            rules: rules.clone(),
            host: verdict,
            cache: RwLock::new(Cached::nothing()),
            asking: tokio::sync::Mutex::new(()),
            refreshing: AtomicBool::new(false),
            failed: Mutex::default(),
        })
    }

    /// Returns the addresses. Known ones are returned at once, and looked up again beside that when
    /// it is time; only without any does the caller wait. They are never empty and never include
    /// one that no step may reach: a name with such an address has none.
    pub(crate) async fn get(self: &Arc<Self>) -> Result<Arc<[SocketAddr]>, Unresolved> {
        self.host.clone()?;
        if let HostName::Known(addresses) = &self.name {
            return Ok(addresses.clone());
        }
        if let Some(addresses) = self.known() {
            return Ok(addresses);
        }
        let _asking = self.asking.lock().await;
        if let Some(addresses) = self.known() {
            return Ok(addresses);
        }
        let found = self.look_up().await?;
        self.store(found.clone());
        Ok(found.addresses)
    }

    /// Returns the address to give to a proxy in the host's place; `None` if no rule speaks of
    /// addresses, and the proxy finds them by itself. `turn` counts connections, so that addresses
    /// are used in turn.
    pub(crate) async fn for_proxy(
        self: &Arc<Self>,
        turn: u64,
    ) -> Result<Option<SocketAddr>, Unresolved> {
        self.host.clone()?;
        if !self.rules.name_networks() {
            return Ok(None);
        }
        let addresses = self.get().await?;
        Ok(in_turn(&addresses, turn).next())
    }

    /// Returns the number of addresses from the last look-up that are used in turn.
    pub(crate) fn count(&self) -> usize {
        match &self.name {
            HostName::Known(addresses) => first_kind(addresses),
            HostName::Domain { .. } => first_kind(&self.cached().addresses),
        }
    }

    /// Starts a task that looks the name up again ahead of time, so that no request waits for it.
    pub(crate) fn keep_fresh(self: &Arc<Self>) -> Freshness {
        let addresses = self.clone();
        let task = tokio::spawn(async move {
            if matches!(addresses.name, HostName::Known(_)) {
                return;
            }
            loop {
                let Cached { refresh, .. } = addresses.cached();
                let next = refresh.max(Instant::now() + RETRY);
                tokio::time::sleep_until(next.into()).await;
                addresses.refresh().await;
            }
        });
        Freshness(task.abort_handle())
    }

    /// Returns the number of failed look-ups that no request waited for since the last call, and
    /// the reason of the last one.
    pub(crate) fn take_failures(&self) -> Option<(u64, String)> {
        self.failed().take()
    }

    /// Returns the addresses that are known, and starts to look them up again if it is time.
    fn known(self: &Arc<Self>) -> Option<Arc<[SocketAddr]>> {
        let Cached {
            addresses,
            refresh,
            end,
        } = self.cached();
        let now = Instant::now();
        if addresses.is_empty() || now >= end {
            return None;
        }
        if now >= refresh {
            self.refresh_beside();
        }
        Some(addresses)
    }

    /// Starts a look-up beside the load, unless one goes on.
    fn refresh_beside(self: &Arc<Self>) {
        if self.refreshing.load(Ordering::Relaxed) {
            return;
        }
        let addresses = self.clone();
        // it ends with the thread that started it: then another starts the next
        tokio::spawn(async move { addresses.refresh().await });
    }

    /// Looks the name up again, unless that goes on already. Without an answer the known addresses
    /// stay in use, and the failure is kept to be reported.
    async fn refresh(&self) {
        let Some(_turn) = Turn::take(&self.refreshing) else {
            return;
        };
        match self.look_up().await {
            Ok(found) => self.store(found),
            Err(Unresolved::Dns(_) | Unresolved::NotAllowed(_)) => self.store(Cached::nothing()),
            Err(Unresolved::Unanswered(why)) => {
                let mut cached = self.cached();
                cached.refresh = Instant::now() + RETRY;
                let is_known = !cached.addresses.is_empty();
                self.store(cached);
                if is_known {
                    self.failed_beside(&why);
                }
            }
        }
    }

    fn failed_beside(&self, why: &str) {
        tracing::warn!("a known address stays in use: {why}");
        let mut failed = self.failed();
        let before = failed.take().map_or(0, |(count, _)| count);
        *failed = Some((before + 1, format!("{why}; the known address stays in use")));
    }

    async fn look_up(&self) -> Result<Cached, Unresolved> {
        let HostName::Domain { domain, names } = &self.name else {
            return Ok(self.cached());
        };
        let mut found = look_up(domain, self.port, names).await?;
        let is_allowed = |address: &SocketAddr| self.rules.check_address(address.ip());
        for address in &found.addresses[..first_kind(&found.addresses)] {
            is_allowed(address).map_err(|refused| {
                Unresolved::NotAllowed(format!("{domain} resolves to {}: {refused}", address.ip()))
            })?;
        }
        // the others are only tried in place of these
        if !found
            .addresses
            .iter()
            .all(|address| is_allowed(address).is_ok())
        {
            let allowed = found.addresses.iter().copied();
            found.addresses = allowed
                .filter(|address| is_allowed(address).is_ok())
                .collect();
        }
        Ok(found)
    }

    fn cached(&self) -> Cached {
        self.cache
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn store(&self, cached: Cached) {
        *self.cache.write().unwrap_or_else(PoisonError::into_inner) = cached;
    }

    fn failed(&self) -> std::sync::MutexGuard<'_, Option<(u64, String)>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the number of addresses of the same kind at the beginning.
fn first_kind(addresses: &[SocketAddr]) -> usize {
    let is_four = addresses.first().is_some_and(SocketAddr::is_ipv4);
    let same = addresses
        .iter()
        .take_while(|address| address.is_ipv4() == is_four);
    same.count()
}

/// Returns the addresses in the order in which a connection tries them: those of the first kind
/// from the one whose turn it is on, and between them those of the other kind.
pub(super) fn in_turn(addresses: &[SocketAddr], turn: u64) -> impl Iterator<Item = SocketAddr> {
    let (first, other) = addresses.split_at(first_kind(addresses));
    let nth = move |of: &[SocketAddr], i: usize| {
        let place = (turn as usize).wrapping_add(i) % of.len().max(1);
        of.get(place).copied().filter(|_| i < of.len())
    };
    (0..first.len().max(other.len()))
        .flat_map(move |i| [nth(first, i), nth(other, i)].into_iter().flatten())
}

/// Turn of the one that looks a name up beside the load; given back when it is dropped, be it
/// because its thread ended.
struct Turn<'a>(&'a AtomicBool);

impl<'a> Turn<'a> {
    fn take(refreshing: &'a AtomicBool) -> Option<Self> {
        (!refreshing.swap(true, Ordering::AcqRel)).then_some(Self(refreshing))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// Looks up the addresses of both kinds at once. Those of the first kind that has any are used, and
/// IPv4 comes first; those of the other kind are tried where they do not answer. Once the addresses
/// of one kind are known, the answer about the other is awaited for [`OTHER_KIND`] only: it may have
/// been lost.
async fn look_up(domain: &str, port: u16, names: &NameServers) -> Result<Cached, Unresolved> {
    let begun = Instant::now();
    let mut four = pin!(ask(domain, names, LookupIpStrategy::Ipv4Only));
    let mut six = pin!(ask(domain, names, LookupIpStrategy::Ipv6Only));
    let (four, six) = tokio::select! {
        found = &mut four => match found {
            Ok(found) => (Ok(found), tokio::time::timeout(OTHER_KIND, six).await.ok()),
            Err(why) => (Err(why), Some(six.await)),
        },
        found = &mut six => match found {
            Ok(found) => match tokio::time::timeout(OTHER_KIND, &mut four).await {
                Ok(four) => (four, Some(Ok(found))),
                Err(_) => return cached(begun, domain, port, [Some(found), None]),
            },
            Err(why) => (four.await, Some(Err(why))),
        },
    };
    match (four, six) {
        (Ok(four), six) => cached(begun, domain, port, [Some(four), six.and_then(Result::ok)]),
        (Err(_), Some(Ok(six))) => cached(begun, domain, port, [Some(six), None]),
        // a name server that did not answer the one question may know an address
        (Err(first), Some(Err(second))) => Err(worse(first, second)),
        (Err(first), None) => Err(first),
    }
}

/// Puts the addresses of a name together; those of the second look-up are tried after the others.
fn cached(
    begun: Instant,
    domain: &str,
    port: u16,
    found: [Option<LookupIp>; 2],
) -> Result<Cached, Unresolved> {
    let found = || found.iter().flatten();
    let addresses: Arc<[SocketAddr]> = found()
        .flat_map(LookupIp::iter)
        .map(|ip| SocketAddr::new(ip, port))
        .collect();
    let until = found().map(LookupIp::valid_until).min();
    let Some(until) = until.filter(|_| !addresses.is_empty()) else {
        return Err(Unresolved::Dns(cannot(domain, &"the name has no address")));
    };
    let life = until.saturating_duration_since(begun);
    Ok(Cached {
        addresses,
        refresh: begun + life.mul_f64(AHEAD).max(LEAST),
        end: until + STALE,
    })
}

/// Asks for the addresses of one kind. A new resolver is used each time, since its connections
/// belong to one runtime and every shard has its own.
async fn ask(
    domain: &str,
    names: &NameServers,
    strategy: LookupIpStrategy,
) -> Result<LookupIp, Unresolved> {
    let NameServers {
        config,
        mut options,
    } = names.clone();
    options.ip_strategy = strategy;
    let nothing = |why: &dyn std::fmt::Display| Unresolved::Dns(cannot(domain, why));
    let resolver = Resolver::builder_with_config(config, TokioRuntimeProvider::default())
        .with_options(options)
        .build()
        .map_err(|e| nothing(&e))?;
    // a URL has its host in ASCII already, and DNS allows every character of it, `_` too
    let name = Name::from_str_relaxed(domain).map_err(|e| nothing(&e))?;
    resolver.lookup_ip(name).await.map_err(|error| match error {
        NetError::Dns(DnsError::NoRecordsFound(_)) => nothing(&error),
        _ => Unresolved::Unanswered(cannot(domain, &error)),
    })
}

fn cannot(domain: &str, why: &dyn std::fmt::Display) -> String {
    format!("cannot resolve {domain}: {why}")
}

/// Returns of two failures the one that leaves more open.
fn worse(first: Unresolved, second: Unresolved) -> Unresolved {
    match (&first, &second) {
        (Unresolved::Dns(_), Unresolved::Unanswered(_)) => second,
        _ => first,
    }
}

/// Looks up the addresses of a host with the name servers of the system, once: IPv4 ones, or IPv6
/// ones if there are no others. An address is no look-up. Questions are asked again as those about
/// targets are, after a second without an answer.
pub async fn look_up_host(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    if let Ok(ip) = host.trim_matches(['[', ']']).parse() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let found = look_up(host, port, &NameServers::of_system()).await;
    found
        .map(|found| found.addresses[..first_kind(&found.addresses)].to_vec())
        .map_err(|why| why.to_string())
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
        options.timeout = options.timeout.min(ATTEMPT);
        options.attempts = options.attempts.max(ATTEMPTS);
        Self { config, options }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(host: url::Host<&str>, rules: &AddressRules) -> Arc<Addresses> {
        let names = &NameServers::of_system();
        Addresses::new(&host, 80, vec![], Reach { names, rules })
    }

    /// Rules of one policy that allows this network only.
    fn network(cidr: &str) -> AddressRules {
        let rules = format!(r#"[{{"policy": "p", "cidrs": ["{cidr}"]}}]"#);
        serde_json::from_str(&rules).unwrap()
    }

    #[tokio::test]
    async fn an_address_is_used_until_five_minutes_after_its_end_and_no_longer() {
        let addresses = addresses(
            url::Host::Domain("starling.invalid"),
            &AddressRules::default(),
        );
        let known: Arc<[SocketAddr]> = Arc::new(["127.0.0.1:80".parse().unwrap()]);
        let now = Instant::now();
        let stored = |end: Instant| Cached {
            addresses: known.clone(),
            refresh: now,
            end,
        };
        addresses.store(stored(now + STALE));
        assert_eq!(addresses.known(), Some(known.clone()));
        addresses.store(stored(now));
        assert_eq!(addresses.known(), None);
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

    #[test]
    fn addresses_of_one_kind_take_turns_and_the_others_stand_in() {
        let addresses: Vec<SocketAddr> = ["1.1.1.1:1", "2.2.2.2:1", "3.3.3.3:1", "[::1]:1"]
            .iter()
            .map(|address| address.parse().unwrap())
            .collect();
        let tried = |turn| {
            let tried = in_turn(&addresses, turn);
            let ips: Vec<String> = tried.map(|address| address.ip().to_string()).collect();
            ips.join(" ")
        };
        assert_eq!(tried(0), "1.1.1.1 ::1 2.2.2.2 3.3.3.3");
        assert_eq!(tried(4), "2.2.2.2 ::1 3.3.3.3 1.1.1.1");
        assert_eq!(first_kind(&addresses), 3);
        assert_eq!(in_turn(&addresses[3..], 7).count(), 1);
        assert_eq!(in_turn(&[], 0).count(), 0);
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
        // the addresses of the other family stand in, and take no turns
        let known = addresses.known().unwrap();
        let of_four = known.iter().filter(|address| address.is_ipv4()).count();
        assert_eq!(addresses.count(), of_four);
        assert!(of_four > 0, "{known:?}");
    }
}
