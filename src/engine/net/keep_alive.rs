//! Pings on a connection for calls over gRPC. They show at its start that the target speaks HTTP/2,
//! and later that it is alive when nothing else comes.

use std::cell::Cell;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::Poll;

use bytes::Bytes;
use futures::future::{poll_fn, select};
use h2::client::Connection;
use h2::{Ping, PingPong};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{sleep, timeout};

use crate::plan::grpc::KeepAlive;

/// Waits for the answer to a ping. The target's settings come with it, so that the number of
/// streams is known before the first call.
pub(crate) async fn first_ping<T>(
    connection: &mut Connection<T, Bytes>,
) -> Result<Option<PingPong>, h2::Error>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let Some(mut pings) = connection.ping_pong() else {
        return Ok(None);
    };
    {
        let mut pong = pin!(pings.ping(Ping::opaque()));
        poll_fn(|cx| match Pin::new(&mut *connection).poll(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            // at its end a ping fails
            Poll::Ready(Ok(())) | Poll::Pending => pong.as_mut().poll(cx).map_ok(drop),
        })
        .await?;
    }
    Ok(Some(pings))
}

/// Drives the connection until it ends or is found dead. `reads` changes whenever bytes come on it.
pub(crate) async fn drive<T>(
    connection: Connection<T, Bytes>,
    mut pings: PingPong,
    keep_alive: &KeepAlive,
    reads: &Cell<u64>,
) where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let watching = async {
        loop {
            let before = reads.get();
            sleep(keep_alive.interval).await;
            if reads.get() == before
                && !matches!(
                    timeout(keep_alive.timeout, pings.ping(Ping::opaque())).await,
                    Ok(Ok(_))
                )
            {
                return;
            }
        }
    };
    // each stream says for itself why it failed
    select(pin!(connection), pin!(watching)).await;
}
