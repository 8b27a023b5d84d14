//! Addresses that a test gives to hosts itself, in place of what name servers say.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use url::{Host, Url};

/// IP address, with the interface that leads to it if it is link-local.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostAddress {
    /// Address without its zone.
    pub ip: IpAddr,
    /// Zone of an IPv6 address (RFC 4007): the name or number of an interface.
    pub zone: Option<String>,
}

impl TryFrom<String> for HostAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<HostAddress> for String {
    fn from(address: HostAddress) -> Self {
        address.to_string()
    }
}

impl fmt::Display for HostAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.ip)?;
        match &self.zone {
            Some(zone) => write!(f, "%{zone}"),
            None => Ok(()),
        }
    }
}

impl HostAddress {
    /// Reads an address such as `10.0.0.7`, `2001:db8::1`, `[::1]` or `fe80::1%eth0`.
    ///
    /// # Errors
    ///
    /// `text` is no address, with a message that says so.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not an IP address");
        let bare = text
            .strip_prefix('[')
            .map_or(Some(text), |rest| rest.strip_suffix(']'))
            .ok_or_else(wrong)?;
        let (ip, zone) = match bare.split_once('%') {
            Some((ip, zone)) => (ip, Some(check_zone(zone)?)),
            None => (bare, None),
        };
        let ip: IpAddr = ip.parse().map_err(|_| wrong())?;
        if zone.is_some() && ip.is_ipv4() {
            return Err(format!("{text:?} has a zone, which only IPv6 has"));
        }
        Ok(Self { ip, zone })
    }

    /// Takes the zone out of the host of a URL, since no URL may have one: `[fe80::1%eth0]`, also
    /// with the `%25` of RFC 6874. Returns the URL without it, and the zone if there was one.
    ///
    /// # Errors
    ///
    /// The zone is not one, with a message that says so.
    pub fn split_url(url: &str) -> Result<(String, Option<String>), String> {
        let bracket = url.find("://[").and_then(|start| {
            let end = start + url[start..].find(']')?;
            let percent = start + url[start..end].find('%')?;
            Some((percent, end))
        });
        let Some((percent, end)) = bracket else {
            return Ok((url.to_owned(), None));
        };
        let zone = &url[percent + 1..end];
        let zone = zone
            .strip_prefix("25")
            .filter(|zone| !zone.is_empty())
            .unwrap_or(zone);
        let without = format!("{}{}", &url[..percent], &url[end..]);
        Ok((without, Some(check_zone(zone)?)))
    }
}

fn check_zone(zone: &str) -> Result<String, String> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~@:".contains(&byte);
    // the longest name of an interface on Linux has 15 bytes
    if zone.is_empty() || zone.len() > 63 || !zone.bytes().all(is_name) {
        return Err(format!("{zone:?} is not a zone, such as eth0"));
    }
    Ok(zone.to_owned())
}

/// Returns `host:port` in the one form in which URLs and tests are compared.
///
/// # Errors
///
/// `text` is not a host and a port, with a message that says so.
pub fn endpoint(text: &str) -> Result<String, String> {
    let wrong = || format!("{text:?} is not a host and a port, such as api.example.com:443");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let host = Host::parse(host).map_err(|_| wrong())?;
    let port: u16 = port.parse().map_err(|_| wrong())?;
    Ok(format!("{host}:{port}"))
}

/// Returns the host and port that connections for `url` go to, in the form of [`endpoint`].
pub fn endpoint_of(url: &Url) -> Option<String> {
    Some(format!(
        "{}:{}",
        url.host_str()?,
        url.port_or_known_default()?
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "localhost",
            "1.2.3",
            "10.0.0.1%eth0",
            "[::1",
            "::1]",
            "fe80::1%",
            "fe80::1%a b",
            "1.2.3.4:80",
        ] {
            assert!(HostAddress::parse(text).is_err(), "{text}");
        }
        for text in [
            "",
            "host",
            "host:",
            "host:http",
            "host:65536",
            ":80",
            "a b:80",
        ] {
            assert!(endpoint(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_address_reads_back() {
        for (text, shown) in [
            ("10.0.0.7", "10.0.0.7"),
            ("[2001:DB8::1]", "2001:db8::1"),
            ("fe80::1%eth0", "fe80::1%eth0"),
        ] {
            let address = HostAddress::parse(text).unwrap();
            assert_eq!(address.to_string(), shown);
            assert_eq!(HostAddress::parse(shown), Ok(address));
        }
    }

    #[test]
    fn a_zone_is_taken_out_of_a_url() {
        for (url, without, zone) in [
            (
                "http://[fe80::1%eth0]:80/a%20b",
                "http://[fe80::1]:80/a%20b",
                Some("eth0"),
            ),
            ("https://[fe80::1%25en1]", "https://[fe80::1]", Some("en1")),
            ("http://[fe80::1%2]/", "http://[fe80::1]/", Some("2")),
            ("http://[::1]/%5B%5D", "http://[::1]/%5B%5D", None),
            ("http://host/[%a]", "http://host/[%a]", None),
        ] {
            let wanted = (without.to_owned(), zone.map(str::to_owned));
            assert_eq!(HostAddress::split_url(url), Ok(wanted), "{url}");
        }
        assert!(HostAddress::split_url("http://[fe80::1%a b]/").is_err());
    }

    #[test]
    fn endpoints_are_compared_in_one_form() {
        let url = Url::parse("https://API.example.com/x").unwrap();
        assert_eq!(endpoint_of(&url).as_deref(), Some("api.example.com:443"));
        assert_eq!(
            endpoint("Api.Example.com:443").as_deref(),
            Ok("api.example.com:443")
        );
        let six = Url::parse("http://[0:0::1]:8080").unwrap();
        assert_eq!(endpoint_of(&six), endpoint("[::1]:8080").ok());
        assert_eq!(endpoint("my_service:80").as_deref(), Ok("my_service:80"));
    }
}
