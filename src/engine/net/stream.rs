//! Stream of bytes to a target, plain or within TLS.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

/// Socket of a connection.
pub(crate) enum Socket {
    /// TCP connection.
    Tcp(TcpStream),
    /// Connection to a Unix socket.
    Unix(UnixStream),
}

/// Connection to a target.
pub(crate) enum Stream {
    /// Bytes sent as they are.
    Plain(Socket),
    /// Bytes sent within TLS.
    Tls(Box<TlsStream<Socket>>),
}

/// Implements the reading and writing traits by passing each call on to the variant.
macro_rules! hand_on {
    ($type:ident, $first:ident, $second:ident) => {
        impl AsyncRead for $type {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffer: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    Self::$first(stream) => Pin::new(stream).poll_read(cx, buffer),
                    Self::$second(stream) => Pin::new(stream).poll_read(cx, buffer),
                }
            }
        }

        impl AsyncWrite for $type {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() {
                    Self::$first(stream) => Pin::new(stream).poll_write(cx, bytes),
                    Self::$second(stream) => Pin::new(stream).poll_write(cx, bytes),
                }
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                parts: &[io::IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() {
                    Self::$first(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
                    Self::$second(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
                }
            }

            fn is_write_vectored(&self) -> bool {
                match self {
                    Self::$first(stream) => stream.is_write_vectored(),
                    Self::$second(stream) => stream.is_write_vectored(),
                }
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    Self::$first(stream) => Pin::new(stream).poll_flush(cx),
                    Self::$second(stream) => Pin::new(stream).poll_flush(cx),
                }
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    Self::$first(stream) => Pin::new(stream).poll_shutdown(cx),
                    Self::$second(stream) => Pin::new(stream).poll_shutdown(cx),
                }
            }
        }
    };
}

hand_on!(Socket, Tcp, Unix);
hand_on!(Stream, Plain, Tls);

impl Stream {
    /// Returns whether the connection uses TLS.
    pub(crate) fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Returns whether TLS negotiated HTTP/2.
    pub(crate) fn chose_http2(&self) -> bool {
        matches!(self, Self::Tls(stream) if stream.get_ref().1.alpn_protocol() == Some(b"h2"))
    }

    /// Returns the socket if bytes may be dropped in the kernel.
    #[cfg(target_os = "linux")]
    pub(crate) fn as_plain_tcp(&mut self) -> Option<&mut TcpStream> {
        match self {
            Self::Plain(Socket::Tcp(stream)) => Some(stream),
            _ => None,
        }
    }
}
