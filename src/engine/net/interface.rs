//! Interfaces of this machine, which lead to addresses that are link-local.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use crate::plan::host_address::HostAddress;

/// Returns the address to connect to at `port`.
///
/// # Errors
///
/// This machine has no interface of the address's zone, with a message that says so.
pub(super) fn socket_address(address: &HostAddress, port: u16) -> Result<SocketAddr, String> {
    let HostAddress { ip, zone } = address;
    match (ip, zone) {
        (IpAddr::V6(ip), Some(zone)) => {
            let number = number_of(zone)
                .ok_or_else(|| format!("this machine has no interface {zone:?} for {address}"))?;
            Ok(SocketAddrV6::new(*ip, port, 0, number).into())
        }
        (ip, _) => Ok(SocketAddr::new(*ip, port)),
    }
}

/// Returns the number of an interface by its name, or by itself.
#[allow(unsafe_code, reason = "if_nametoindex")]
fn number_of(zone: &str) -> Option<u32> {
    if let Ok(number) = zone.parse() {
        return Some(number);
    }
    let name = std::ffi::CString::new(zone).ok()?;
    // SAFETY: the name is a string that ends with zero and lives until the call returns
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => None,
        number => Some(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_an_interface_by_name_or_number() {
        let of = |text: &str| socket_address(&HostAddress::parse(text).unwrap(), 80);
        let number = match of("fe80::1%lo").unwrap() {
            SocketAddr::V6(address) => address.scope_id(),
            other => panic!("{other}"),
        };
        assert!(number > 0);
        let by_number = of(&format!("fe80::1%{number}")).unwrap();
        assert_eq!(by_number, of("fe80::1%lo").unwrap());
        let error = of("fe80::1%nowhere").unwrap_err();
        assert!(error.contains("no interface \"nowhere\""), "{error}");
        assert_eq!(of("10.0.0.1").unwrap().to_string(), "10.0.0.1:80");
    }
}
