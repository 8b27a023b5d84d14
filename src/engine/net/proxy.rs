//! HTTP proxy between the engine and a target: a tunnel for TLS and HTTP/2, whole URLs for plain
//! HTTP/1.1.

use std::io;
use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::engine::attempt::failure::Failure;
use crate::engine::inputs::text;
use crate::engine::net::route::Amendment;
use crate::plan::{self, Inputs, Problem, Target, Version};

/// Longest head of the proxy's answer, in bytes.
const MAX_HEAD: usize = 8 * 1024;

/// Proxy of a target.
pub(crate) struct Proxy {
    /// True if the proxy opens a tunnel rather than forwarding each request.
    pub(crate) tunnels: bool,
    /// Host and port of the target.
    authority: String,
    /// Header line with the proxy's credentials; empty without any.
    authorization: Vec<u8>,
}

impl Proxy {
    /// Prepares the proxy of `target`, which is asked for a tunnel if `tunnels` or if the target's
    /// protocol needs one. Every reference of it must have a value.
    pub(crate) fn new(
        proxy: &plan::Proxy,
        target: &Target,
        version: Version,
        tunnels: bool,
        inputs: &Inputs,
    ) -> Result<Self, Problem> {
        let mut authorization = Vec::new();
        if let Some(plan::Basic { username, password }) = &proxy.basic {
            let pair = STANDARD.encode(format!(
                "{}:{}",
                text(username, inputs)?,
                text(password, inputs)?
            ));
            authorization = format!("Proxy-Authorization: Basic {pair}\r\n").into_bytes();
        }
        let host = target.url.host_str().unwrap_or_default();
        let port = target.url.port_or_known_default().unwrap_or_default();
        let tunnels = tunnels || target.url.scheme() == "https" || version == Version::Http2;
        Ok(Self {
            tunnels,
            authority: format!("{host}:{port}"),
            authorization,
        })
    }

    /// Adds the proxy's changes to each request to `amendment`.
    pub(crate) fn amend(&self, amendment: &mut Amendment) {
        amendment.origin = format!("http://{}", self.authority).into_bytes();
        amendment.lines.extend_from_slice(&self.authorization);
    }

    /// Asks the proxy, over a new connection, for a tunnel to `address`; if `None`, to the target's
    /// name.
    pub(crate) async fn tunnel(
        &self,
        tcp: &mut TcpStream,
        address: Option<SocketAddr>,
    ) -> Result<(), Failure> {
        let to = address.map_or_else(|| self.authority.clone(), |address| address.to_string());
        let mut request = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n").into_bytes();
        request.extend_from_slice(&self.authorization);
        request.extend_from_slice(b"\r\n");
        let broke = |error: io::Error| Failure::Proxy(format!("the connection broke: {error}"));
        tcp.write_all(&request).await.map_err(broke)?;
        let head = read_head(tcp).await.map_err(broke)?;
        let mut answer = httparse::Response::new(&mut []);
        // of a head with headers only the first line is read, which is complete
        let _ = answer.parse(&head);
        match answer.code {
            Some(200..300) => Ok(()),
            Some(code) => Err(Failure::Proxy(format!("it answered {code} to CONNECT"))),
            None => Err(Failure::Proxy("its answer to CONNECT is not HTTP".into())),
        }
    }
}

/// Reads to the end of the head and no further, since the bytes after it come from the target.
async fn read_head(tcp: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut piece = [0; 1024];
    loop {
        let ahead = tcp.peek(&mut piece).await?;
        if ahead == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let before = head.len();
        head.extend_from_slice(&piece[..ahead]);
        let end = head
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .map(|at| at + 4);
        head.truncate(end.unwrap_or(head.len()));
        let taken = head.len() - before;
        tcp.read_exact(&mut piece[..taken]).await?;
        match end {
            Some(_) => return Ok(head),
            None if head.len() > MAX_HEAD => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "its answer to CONNECT has no end",
                ));
            }
            None => {}
        }
    }
}
