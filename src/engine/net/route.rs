//! Route to a target: its addresses, a proxy if there is one, and TLS.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use http::uri::Scheme;
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use url::Url;

use crate::engine::attempt::failure::Failure;
use crate::engine::attempt::{Attempt, Opened};
use crate::engine::net::first_answer::first_answer;
use crate::engine::net::proxy::Proxy;
use crate::engine::net::resolve::{Addresses, Freshness, Reach, Unresolved, in_turn};
use crate::engine::net::stream::{Socket, Stream};
use crate::engine::net::tls::Tls;
use crate::plan::grpc::{Channels, Grpc};
use crate::plan::{Connections, Http, Inputs, Problem, Target, Version};

static HTTP: Scheme = Scheme::HTTP;
static HTTPS: Scheme = Scheme::HTTPS;

/// Status by which a proxy, and nobody else, asks for credentials.
const PROXY_AUTHENTICATION_REQUIRED: u16 = 407;

/// Route to a target, prepared before load and shared by all shards.
pub(crate) struct Route {
    /// URL of the target; its path precedes every step's path.
    pub(crate) url: Url,
    /// Settings of HTTP, including those of connections.
    pub(crate) http: Http,
    place: Place,
    /// Addresses of the target itself, if connections are made to a proxy.
    behind_proxy: Option<Arc<Addresses>>,
    proxy: Option<Proxy>,
    tls: Option<Tls>,
    /// Settings of channels, if the route carries calls over gRPC.
    pub(crate) channels: Option<Grpc>,
    /// Changes to the head of each HTTP/1.1 request on this route, if there are any.
    pub(crate) amendment: Option<Amendment>,
}

/// Address to connect to.
enum Place {
    /// Addresses of the target or of its proxy.
    Network(Arc<Addresses>),
    Unix(String),
}

impl Route {
    /// Creates a route for calls over gRPC to `target`, by HTTP/2 whatever `http` says. Each call
    /// has its own credentials.
    pub(crate) fn for_calls(
        target: &Target,
        http: &Http,
        grpc: &Grpc,
        inputs: &Inputs,
        reach: Reach<'_>,
    ) -> Result<Self, Problem> {
        let connections = match grpc.channels {
            Channels::PerWorker => Connections::Pooled,
            Channels::PerUser => Connections::PerUser,
        };
        let http = Http {
            version: Version::Http2,
            connections,
            connection_max_requests: None,
            ..http.clone()
        };
        Ok(Self {
            channels: Some(grpc.clone()),
            ..Self::new(target, &http, inputs, reach)?
        })
    }

    /// Prepares the route to `target`. Every reference of it must have a value.
    pub(crate) fn new(
        target: &Target,
        http: &Http,
        inputs: &Inputs,
        reach: Reach<'_>,
    ) -> Result<Self, Problem> {
        let tls = if target.url.scheme() == "https" {
            Some(Tls::new(target, http.version, inputs)?)
        } else {
            None
        };
        let proxy = target
            .proxy
            .as_ref()
            .map(|proxy| {
                // only of a tunnel is it certain what the proxy connects to
                let tunnels = reach.rules.name_networks();
                Proxy::new(proxy, target, http.version, tunnels, inputs)
            })
            .transpose()?;
        let place = Place::of(target, reach)?;
        let behind_proxy = match &proxy {
            Some(_) => Some(addresses_of(&target.url, target, reach)?),
            None => None,
        };
        check_sources(&http.source_addresses)?;
        let amendment = Amendment::of(http, proxy.as_ref());
        Ok(Self {
            url: target.url.clone(),
            http: http.clone(),
            place,
            behind_proxy,
            proxy,
            tls,
            channels: None,
            amendment,
        })
    }

    /// Returns the scheme of the target's URL.
    pub(crate) fn scheme(&self) -> &'static Scheme {
        if self.tls.is_some() { &HTTPS } else { &HTTP }
    }

    /// Returns how many addresses the target is known to have.
    pub(crate) fn addresses(&self) -> usize {
        match &self.place {
            Place::Network(addresses) => addresses.count(),
            Place::Unix(_) => 1,
        }
    }

    /// Returns the most streams per connection, if the target takes as many.
    pub(crate) fn streams(&self) -> usize {
        self.channels.as_ref().map_or(usize::MAX, |channels| {
            channels.max_streams_per_channel as usize
        })
    }

    /// Returns whether a connection may turn out to speak HTTP/2.
    pub(crate) fn may_be_http2(&self) -> bool {
        match self.http.version {
            Version::Auto => self.tls.is_some(),
            Version::Http1 => false,
            Version::Http2 => true,
        }
    }

    /// Returns whether the connection speaks HTTP/2. Fails if the plan requires HTTP/2 and the
    /// target did not choose it.
    pub(crate) fn is_http2(&self, stream: &Stream) -> Result<bool, Failure> {
        match self.http.version {
            Version::Http2 if self.tls.is_some() && !stream.chose_http2() => {
                Err(match &self.channels {
                    None => Failure::NotHttp2,
                    Some(_) => Failure::NoCallsOverHttp2(
                        "it did not choose it in the TLS handshake".into(),
                    ),
                })
            }
            Version::Http2 => Ok(true),
            Version::Auto | Version::Http1 => Ok(stream.chose_http2()),
        }
    }

    /// Fails if the host has no address or may not be reached; behind a proxy, both it and the
    /// target.
    pub(crate) async fn resolve(&self) -> Result<(), Unresolved> {
        self.beyond_proxy(0).await?;
        match &self.place {
            Place::Network(addresses) => addresses.get().await.map(drop),
            Place::Unix(_) => Ok(()),
        }
    }

    /// Starts a task that looks the host up again ahead of time; `None` if there is nothing to look
    /// up.
    pub(crate) fn keep_fresh(&self) -> Option<Freshness> {
        match &self.place {
            Place::Network(addresses) => Some(addresses.keep_fresh()),
            Place::Unix(_) => None,
        }
    }

    /// Returns the number of failed look-ups that no request waited for since the last call, and
    /// the reason of the last one.
    pub(crate) fn take_failures(&self) -> Option<(u64, String)> {
        match &self.place {
            Place::Network(addresses) => addresses.take_failures(),
            Place::Unix(_) => None,
        }
    }

    /// Returns the address of the target to give to the proxy, if there is one and its name will
    /// not do. Fails if the target may not be reached.
    async fn beyond_proxy(&self, turn: u64) -> Result<Option<SocketAddr>, Unresolved> {
        match &self.behind_proxy {
            Some(target) => target.for_proxy(turn).await,
            None => Ok(None),
        }
    }

    /// Opens a connection. `turn` counts connections, so that addresses and source addresses are
    /// used in turn.
    pub(crate) async fn open(&self, turn: u64) -> Result<(Stream, Opened), Failure> {
        let begun = Instant::now();
        let mut opened = Opened::default();
        let (socket, to) = match &self.place {
            Place::Unix(path) => {
                let socket =
                    UnixStream::connect(path)
                        .await
                        .map_err(|source| Failure::Connect {
                            to: path.clone(),
                            source,
                        })?;
                (Socket::Unix(socket), path.clone())
            }
            Place::Network(addresses) => {
                let target = self.beyond_proxy(turn).await?;
                let addresses = addresses.get().await?;
                opened.dns = Some(begun.elapsed());
                let (tcp, address) = self.connect(&addresses, target, turn).await?;
                (Socket::Tcp(tcp), address.to_string())
            }
        };
        let connected = Instant::now();
        opened.connect = connected
            .saturating_duration_since(begun)
            .saturating_sub(opened.dns.unwrap_or_default());
        let Some(tls) = &self.tls else {
            return Ok((Stream::Plain(socket), opened));
        };
        let stream = tls
            .connector
            .connect(tls.name.clone(), socket)
            .await
            .map_err(|source| Failure::Handshake { to, source })?;
        opened.tls = Some(connected.elapsed());
        Ok((Stream::Tls(Box::new(stream)), opened))
    }

    /// Fails if an answer with this status is not the target's but its proxy's.
    pub(crate) fn passed_proxy(&self, status: u16) -> Result<(), Failure> {
        match &self.proxy {
            Some(proxy) if status == PROXY_AUTHENTICATION_REQUIRED && !proxy.tunnels => {
                Err(Failure::Proxy(format!("it answered {status}")))
            }
            _ => Ok(()),
        }
    }

    /// Names the cause of a failure that shows in several ways: a target that does not like the
    /// client certificate sends an alert, or closes the connection, or its alert is lost with it.
    pub(crate) fn with_cause(
        &self,
        outcome: Result<(), Failure>,
        attempt: &Attempt<'_>,
    ) -> Result<(), Failure> {
        let Some(asking) = self.tls.as_ref().and_then(|tls| tls.asking.get()) else {
            return outcome;
        };
        match outcome {
            Ok(()) => {
                asking.accept();
                Ok(())
            }
            Err(Failure::Unanswered | Failure::Broken(_) | Failure::Gone)
                if attempt.is_first_on_connection() && !asking.has_accepted() =>
            {
                Err(Failure::Uncertified)
            }
            failed => failed,
        }
    }

    /// Connects to one of `addresses`, which are the target's or its proxy's. A tunnel leads to
    /// `target`, or else to the target's name.
    async fn connect(
        &self,
        addresses: &[SocketAddr],
        target: Option<SocketAddr>,
        turn: u64,
    ) -> Result<(TcpStream, SocketAddr), Failure> {
        let sources = self.http.source_addresses.as_slice();
        let connect = move |address| async move {
            match sources {
                [] => TcpStream::connect(address).await,
                sources => connect_from(sources, address, turn).await,
            }
        };
        let failed = |address: SocketAddr, source| Failure::Connect {
            to: address.to_string(),
            source,
        };
        let (mut tcp, address) = match addresses {
            [only] => (
                connect(*only).await.map_err(|why| failed(*only, why))?,
                *only,
            ),
            _ => first_answer(in_turn(addresses, turn), connect)
                .await
                .map_err(|failure| match failure {
                    Some((address, why)) => failed(address, why),
                    None => Failure::Dns("the name has no address".into()),
                })?,
        };
        // only a hint; a connection without it works
        let _ = tcp.set_nodelay(true);
        if let Some(proxy) = self.proxy.as_ref().filter(|proxy| proxy.tunnels) {
            proxy.tunnel(&mut tcp, target).await?;
        }
        Ok((tcp, address))
    }
}

async fn connect_from(sources: &[IpAddr], address: SocketAddr, turn: u64) -> io::Result<TcpStream> {
    let fit = || {
        sources
            .iter()
            .filter(|source| source.is_ipv4() == address.is_ipv4())
    };
    let count = fit().count() as u64;
    let source = turn
        .checked_rem(count)
        .and_then(|nth| fit().nth(nth as usize));
    let Some(source) = source else {
        return Err(io::Error::new(
            io::ErrorKind::AddrNotAvailable,
            "no source address of its kind is given",
        ));
    };
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }?;
    choose_port_late(&socket)?;
    socket.bind(SocketAddr::new(*source, 0))?;
    socket.connect(address).await
}

/// Lets the kernel choose the port once the target is known, so that a port can be used for several
/// targets at once. Otherwise each source address has only 28,000 in all.
#[allow(unsafe_code, reason = "an option of sockets that tokio does not know")]
#[cfg(target_os = "linux")]
fn choose_port_late(socket: &TcpSocket) -> io::Result<()> {
    use std::os::fd::AsRawFd;

    let on: libc::c_int = 1;
    // SAFETY: the option takes an int, and gets one with its size
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(not(target_os = "linux"))]
fn choose_port_late(_: &TcpSocket) -> io::Result<()> {
    Ok(())
}

/// Returns the addresses of the host of `url`, which is the target's or its proxy's.
fn addresses_of(url: &Url, target: &Target, reach: Reach<'_>) -> Result<Arc<Addresses>, Problem> {
    let problem = |why: String| Problem::new(format!("{}.url", target.field()), why);
    Addresses::of(url, target.resolved(url), reach)
        .map_err(problem)?
        .ok_or_else(|| problem("there is no host in it".into()))
}

/// Fails if this machine does not have one of the addresses that connections are to come from.
fn check_sources(sources: &[IpAddr]) -> Result<(), Problem> {
    for source in sources {
        std::net::UdpSocket::bind(SocketAddr::new(*source, 0)).map_err(|e| {
            Problem::new(
                "spec.http.sourceAddresses",
                format!("{source} cannot be used on this machine: {e}"),
            )
        })?;
    }
    Ok(())
}

impl Place {
    /// Returns the address to connect to for `target`: its socket, its proxy's, or its own.
    fn of(target: &Target, reach: Reach<'_>) -> Result<Self, Problem> {
        if let Some(path) = &target.unix_socket {
            return Ok(Self::Unix(path.clone()));
        }
        let proxy = target.proxy.as_ref().map(|proxy| &proxy.url);
        addresses_of(proxy.unwrap_or(&target.url), target, reach).map(Self::Network)
    }
}

/// Changes that a route makes to the head of each request, which is compiled without knowing the
/// route.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Amendment {
    /// Origin to put before the path, since a proxy takes the whole URL; empty without a proxy.
    pub(crate) origin: Vec<u8>,
    /// Header lines, each with its line break.
    pub(crate) lines: Vec<u8>,
}

impl Amendment {
    /// Returns the changes to each request; `None` if there are none.
    fn of(http: &Http, proxy: Option<&Proxy>) -> Option<Self> {
        let mut amendment = Self::default();
        if let Some(proxy) = proxy.filter(|proxy| !proxy.tunnels) {
            proxy.amend(&mut amendment);
        }
        if http.connections == Connections::PerRequest {
            // the side that closes first holds the port for a minute; targets have more to spare
            amendment.lines.extend_from_slice(b"Connection: close\r\n");
        }
        (amendment != Self::default()).then_some(amendment)
    }

    /// Writes `request` with the changes to `out`.
    pub(crate) fn apply(&self, request: &[u8], out: &mut Vec<u8>) {
        let path = request
            .iter()
            .position(|byte| *byte == b' ')
            .map_or(0, |space| space + 1);
        let headers = request
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(request.len(), |end| end + 1);
        out.clear();
        for part in [
            &request[..path],
            &self.origin,
            &request[path..headers],
            &self.lines,
            &request[headers..],
        ] {
            out.extend_from_slice(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_amended_in_its_head_only() {
        let amendment = Amendment {
            origin: b"http://t:1".to_vec(),
            lines: b"Connection: close\r\n".to_vec(),
        };
        let mut out = b"left over".to_vec();
        amendment.apply(b"POST /a b HTTP/1.1\r\nHost: t\r\n\r\nbody / \n", &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "POST http://t:1/a b HTTP/1.1\r\nConnection: close\r\nHost: t\r\n\r\nbody / \n"
        );
    }
}
