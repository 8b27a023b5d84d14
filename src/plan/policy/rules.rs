//! Rules for the addresses that a run may reach: hosts as they are written, addresses that names
//! resolve to, and ports.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use url::Host;
use wildmatch::WildMatch;

use super::address::{Cidr, canonical, is_metadata};

/// Names of the metadata service, of which a proxy finds the address itself.
const METADATA_NAMES: [&str; 2] = ["metadata.google.internal", "metadata.goog"];

/// Address that a test may not reach, with the reason in plain words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotAllowed(pub String);

/// Rules of every policy that was in force when a run began; each of them has to allow an address.
/// Addresses where cloud platforms serve credentials are refused without any.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressRules(pub Vec<AddressRule>);

/// Rules of one policy. A list that is `None` allows everything, an empty one nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressRule {
    /// Name of the policy, for messages.
    pub policy: String,
    /// Hosts as a URL has them: names, or addresses in their usual form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosts: Option<Vec<HostPattern>>,
    /// Networks that hold the addresses connected to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cidrs: Option<Vec<Cidr>>,
    /// Ports connected to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<Vec<PortRange>>,
}

impl AddressRules {
    /// Returns whether there is no rule of any policy.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether rules speak of the addresses that names resolve to.
    pub fn name_networks(&self) -> bool {
        self.0.iter().any(|rule| rule.cidrs.is_some())
    }

    /// Judges a host and port as a URL has them. What a name resolves to is for
    /// [`Self::check_address`].
    ///
    /// # Errors
    ///
    /// A host or port that a policy does not allow, and addresses and names where cloud platforms
    /// serve credentials.
    pub fn check_host(&self, host: &Host<&str>, port: u16) -> Result<(), NotAllowed> {
        let text = match address_of(host) {
            Some(ip) => {
                self.check_address(ip)?;
                canonical(ip).to_string()
            }
            None => host_text(host),
        };
        if METADATA_NAMES.contains(&text.as_str()) {
            return Err(NotAllowed(format!(
                "{text} serves credentials of the machine, and is never a target"
            )));
        }
        self.0
            .iter()
            .try_for_each(|rule| rule.check_host(&text, port))
    }

    /// Judges an address that is about to be connected to.
    ///
    /// # Errors
    ///
    /// An address that a policy does not allow, and addresses where cloud platforms serve
    /// credentials.
    pub fn check_address(&self, ip: IpAddr) -> Result<(), NotAllowed> {
        if is_metadata(ip) {
            return Err(NotAllowed(format!(
                "{ip} serves credentials of the machine, and is never a target"
            )));
        }
        let ip = canonical(ip);
        self.0.iter().try_for_each(|rule| rule.check_address(ip))
    }
}

impl AddressRule {
    fn check_host(&self, host: &str, port: u16) -> Result<(), NotAllowed> {
        let refused = |what: &str| {
            let policy = &self.policy;
            NotAllowed(format!("StarlingPolicy {policy:?} does not allow {what}"))
        };
        let is_named = |hosts: &Vec<HostPattern>| hosts.iter().any(|pattern| pattern.matches(host));
        if !self.hosts.as_ref().is_none_or(is_named) {
            return Err(refused(&format!("the host {host}")));
        }
        let is_in = |ports: &Vec<PortRange>| ports.iter().any(|range| range.contains(port));
        if !self.ports.as_ref().is_none_or(is_in) {
            return Err(refused(&format!("port {port} (of {host})")));
        }
        Ok(())
    }

    /// Judges an address in its canonical form.
    fn check_address(&self, ip: IpAddr) -> Result<(), NotAllowed> {
        let is_in = |cidrs: &Vec<Cidr>| cidrs.iter().any(|cidr| cidr.contains(ip));
        if self.cidrs.as_ref().is_none_or(is_in) {
            return Ok(());
        }
        Err(NotAllowed(format!(
            "StarlingPolicy {:?} does not allow the address {ip}",
            self.policy
        )))
    }
}

/// Returns the address that a host is, if it is one and no name.
fn address_of(host: &Host<&str>) -> Option<IpAddr> {
    match host {
        Host::Ipv4(ip) => Some(IpAddr::V4(*ip)),
        Host::Ipv6(ip) => Some(IpAddr::V6(*ip)),
        Host::Domain(_) => None,
    }
}

/// Returns a name in lower case and without the dot that may end it.
fn host_text(host: &Host<&str>) -> String {
    let text = host.to_string().to_ascii_lowercase();
    text.strip_suffix('.').unwrap_or(&text).to_owned()
}

/// Pattern of hosts: a name or an address in which each `*` stands for any characters, dots too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPattern(String);

impl HostPattern {
    fn matches(&self, host: &str) -> bool {
        WildMatch::new(&self.0).matches(host)
    }
}

impl TryFrom<String> for HostPattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let is_fit = |b: u8| b.is_ascii_alphanumeric() || b"*-_.:".contains(&b);
        if text.is_empty() || !text.bytes().all(is_fit) {
            return Err(format!(
                "{text:?} is not a host, such as *.ml.svc.cluster.local or 10.0.0.7: no scheme, no \
                 port, no brackets, and other alphabets as xn--"
            ));
        }
        // an address is matched in its one usual form
        let usual = text.parse::<IpAddr>().map(|ip| canonical(ip).to_string());
        let text = usual.unwrap_or_else(|_| text.to_ascii_lowercase());
        Ok(Self(text.strip_suffix('.').unwrap_or(&text).to_owned()))
    }
}

impl From<HostPattern> for String {
    fn from(pattern: HostPattern) -> Self {
        pattern.0
    }
}

/// Range of ports, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

impl TryFrom<String> for PortRange {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (first, last) = text.split_once('-').unwrap_or((&text, &text));
        let port = |digits: &str| {
            let all = digits.bytes().all(|b| b.is_ascii_digit());
            digits.parse::<u16>().ok().filter(|port| all && *port > 0)
        };
        match (port(first), port(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self { first, last }),
            _ => Err(format!(
                "{text:?} is not a port or a range such as 8000-8999"
            )),
        }
    }
}

impl From<PortRange> for String {
    fn from(range: PortRange) -> Self {
        match range {
            PortRange { first, last } if first == last => first.to_string(),
            PortRange { first, last } => format!("{first}-{last}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list<T: TryFrom<String, Error = String>>(texts: &[&str]) -> Option<Vec<T>> {
        let parsed = texts
            .iter()
            .map(|text| T::try_from((*text).to_owned()).unwrap());
        Some(parsed.collect())
    }

    fn rules(rule: AddressRule) -> AddressRules {
        AddressRules(vec![AddressRule {
            policy: "p".into(),
            ..rule
        }])
    }

    fn check(rules: &AddressRules, url: &str) -> Result<(), String> {
        let url = url::Url::parse(url).unwrap();
        let (host, port) = (url.host().unwrap(), url.port_or_known_default().unwrap());
        rules.check_host(&host, port).map_err(|refused| refused.0)
    }

    #[test]
    fn without_a_policy_only_metadata_is_refused_however_it_is_written() {
        let none = AddressRules::default();
        for url in [
            "http://0xA9FEA9FE/latest",
            "http://2852039166/",
            "http://0251.0376.0251.0376/",
            "http://0251.254.43518/",
            "http://169.254.169.254:8080/",
            "http://[::ffff:169.254.169.254]/",
            "http://[::ffff:a9fe:a9fe]/",
            "http://[64:ff9b::a9fe:a9fe]/",
            "http://[fd00:ec2::254]/",
            "http://METADATA.google.internal/computeMetadata/v1/",
            "http://metadata.google.internal./",
        ] {
            assert!(
                check(&none, url).unwrap_err().contains("never a target"),
                "{url}"
            );
        }
        for url in [
            "http://127.0.0.1/",
            "http://model/",
            "http://[::1]/",
            "http://metadata/",
        ] {
            assert_eq!(check(&none, url), Ok(()), "{url}");
        }
    }

    #[test]
    fn a_host_is_allowed_by_its_name_and_an_address_only_as_one() {
        let hosts = rules(AddressRule {
            hosts: list(&["*.ml.svc", "Model", "10.0.0.7", "::ffff:10.0.0.8"]),
            ..AddressRule::default()
        });
        for url in [
            "http://a.ml.svc/",
            "http://a.b.ML.svc./",
            "http://model:8000/",
            "http://10.0.0.7/",
            "http://0xA000007/",
            "http://[::ffff:10.0.0.7]/",
            "http://10.0.0.8/",
        ] {
            assert_eq!(check(&hosts, url), Ok(()), "{url}");
        }
        for url in [
            "http://ml.svc/",
            "http://a.ml.svc.evil.example/",
            "http://model.evil.example/",
            "http://10.0.0.77/",
            "http://a.ml.svc@evil.example/",
            "http://evil.example/?.ml.svc",
        ] {
            let why = check(&hosts, url).unwrap_err();
            assert!(
                why.contains("StarlingPolicy \"p\" does not allow the host"),
                "{why}"
            );
        }
    }

    #[test]
    fn an_address_is_judged_by_its_network_in_every_form() {
        let ten = rules(AddressRule {
            cidrs: list(&["10.0.0.0/8", "fd00:1::/32"]),
            ..AddressRule::default()
        });
        for url in [
            "http://10.1.2.3/",
            "http://167772161/",
            "http://[64:ff9b::10.0.0.1]/",
            "http://[fd00:1::5]/",
        ] {
            assert_eq!(check(&ten, url), Ok(()), "{url}");
        }
        for url in [
            "http://11.0.0.1/",
            "http://0x7f.1/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::1]/",
            "http://0/",
        ] {
            let why = check(&ten, url).unwrap_err();
            assert!(why.contains("does not allow the address"), "{url}: {why}");
        }
        assert_eq!(
            check(&ten, "http://a.name.of.any/"),
            Ok(()),
            "judged when it is resolved"
        );
        assert!(ten.check_address([127, 0, 0, 1].into()).is_err());
    }

    #[test]
    fn every_policy_has_to_allow_and_an_empty_list_allows_nothing() {
        let mut both = rules(AddressRule {
            ports: list(&["443", "8000-8999"]),
            ..AddressRule::default()
        });
        assert_eq!(check(&both, "https://a/"), Ok(()));
        assert_eq!(check(&both, "http://a:8999/"), Ok(()));
        assert!(check(&both, "http://a/").unwrap_err().contains("port 80 "));
        both.0.push(AddressRule {
            policy: "second".into(),
            hosts: Some(vec![]),
            ..AddressRule::default()
        });
        assert!(
            check(&both, "https://a/")
                .unwrap_err()
                .contains("\"second\"")
        );
    }

    #[test]
    fn rules_read_back_as_they_were_and_wrong_ones_do_not() {
        let json =
            r#"[{"policy":"p","hosts":["*.svc"],"cidrs":["10.0.0.0/8"],"ports":["80","1-9"]}]"#;
        let read: AddressRules = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), json);
        for wrong in [
            r#"{"hosts":["http://a"]}"#,
            r#"{"hosts":[""]}"#,
            r#"{"hosts":["a:80/"]}"#,
            r#"{"hosts":["[::1]"]}"#,
            r#"{"cidrs":["10.0.0.0/99"]}"#,
            r#"{"ports":["0"]}"#,
            r#"{"ports":["9-1"]}"#,
            r#"{"ports":["+80"]}"#,
            r#"{"ports":["65536"]}"#,
        ] {
            let json = wrong.replacen('{', r#"{"policy":"p","#, 1);
            assert!(
                serde_json::from_str::<AddressRule>(&json).is_err(),
                "{json}"
            );
        }
    }
}
