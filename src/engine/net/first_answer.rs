//! The first of several addresses that accepts a connection, as RFC 8305 (Happy Eyeballs) has it.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;

/// Time for which an address may keep a connection waiting before the next one is tried beside it.
const NEXT_AFTER: Duration = Duration::from_millis(250);

/// Connects to the addresses in their order, to the next as soon as one fails or has not answered
/// for 250 ms, and returns the first connection with its address.
///
/// # Errors
///
/// No address accepts a connection: the first of them with its error; `None` without any address.
pub(super) async fn first_answer<T, C>(
    mut addresses: impl Iterator<Item = SocketAddr>,
    connect: impl Fn(SocketAddr) -> C,
) -> Result<(T, SocketAddr), Option<(SocketAddr, io::Error)>>
where
    C: Future<Output = io::Result<T>>,
{
    let attempt = |address| {
        let connecting = connect(address);
        async move { (address, connecting.await) }
    };
    let mut under_way = FuturesUnordered::new();
    let mut first_error = None;
    loop {
        let next = addresses.next();
        let is_last = next.is_none();
        under_way.extend(next.map(&attempt));
        let wait = async {
            match is_last {
                true => std::future::pending().await,
                false => tokio::time::sleep(NEXT_AFTER).await,
            }
        };
        tokio::select! {
            biased;
            ended = under_way.next() => match ended {
                Some((address, Ok(connection))) => return Ok((connection, address)),
                Some((address, Err(error))) => first_error = first_error.or(Some((address, error))),
                None => return Err(first_error),
            },
            () = wait => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// Ways in which an address may behave, by its port.
    const REFUSES: u16 = 1;
    const SILENT: u16 = 2;
    const ANSWERS: u16 = 3;
    /// Answers once an address that refuses was tried.
    const SLOW: u16 = 4;

    async fn connected(ports: &[u16]) -> (Result<u16, Option<u16>>, Vec<u16>) {
        let tried = RefCell::new(Vec::new());
        let addresses = ports
            .iter()
            .map(|port| SocketAddr::from(([127, 0, 0, 1], *port)));
        let tried = &tried;
        let outcome = first_answer(addresses, |address| {
            let port = address.port();
            tried.borrow_mut().push(port);
            async move {
                match port {
                    REFUSES => Err(io::ErrorKind::ConnectionRefused.into()),
                    SILENT => std::future::pending().await,
                    SLOW => {
                        while !tried.borrow().contains(&REFUSES) {
                            tokio::time::sleep(NEXT_AFTER / 10).await;
                        }
                        Ok(port)
                    }
                    _ => Ok(port),
                }
            }
        });
        let outcome = outcome.await;
        let outcome = outcome
            .map(|(port, address)| {
                assert_eq!(port, address.port());
                port
            })
            .map_err(|error| error.map(|(address, _)| address.port()));
        (outcome, tried.take())
    }

    #[tokio::test]
    async fn the_next_address_is_tried_at_once_after_a_refusal_and_soon_in_silence() {
        assert_eq!(
            connected(&[REFUSES, REFUSES, ANSWERS, SILENT]).await,
            (Ok(ANSWERS), vec![REFUSES, REFUSES, ANSWERS])
        );
        let began = tokio::time::Instant::now();
        assert_eq!(connected(&[SILENT, ANSWERS]).await.0, Ok(ANSWERS));
        assert!(began.elapsed() >= NEXT_AFTER);
    }

    #[tokio::test]
    async fn a_slow_address_may_still_be_the_first_to_answer() {
        assert_eq!(
            connected(&[SLOW, SILENT, REFUSES]).await,
            (Ok(SLOW), vec![SLOW, SILENT, REFUSES])
        );
    }

    #[tokio::test]
    async fn without_any_that_answers_the_first_error_is_told() {
        assert_eq!(connected(&[REFUSES]).await.0, Err(Some(REFUSES)));
        assert_eq!(connected(&[]).await.0, Err(None));
    }
}
