//! Clients of this program, which record nothing: what the h2 crate costs with hardly anything
//! around it, and a client that tonic made.

use std::error::Error;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes};
use h2::client::SendRequest;
use http::{HeaderMap, Request};
use prost::Message;
use starling::demo::wire::PredictionRequest;
use starling::demo::wire::text_categorization_client::TextCategorizationClient;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tonic::transport::Channel;

/// The argument that makes this program a client.
pub const LOAD: &str = "--load";

/// The kinds: GET by the h2 crate, gRPC by the h2 crate, gRPC by tonic.
pub const GET: &str = "get";
pub const CALL: &str = "call";
pub const TONIC: &str = "tonic";

/// Of all clients of HTTP/2, ours and the peers'.
pub const CONNECTIONS: u32 = 4;
pub const STREAMS: u32 = 16;

/// The method called over gRPC, and the text in its message.
pub const METHOD: &str = "categorization.TextCategorization/GetPrediction";
pub const TEXT: &str = "markets fell today.";

type Failed = Box<dyn Error + Send + Sync>;

/// Sends requests for so long; one that fails ends it.
pub fn load(kind: &str, address: SocketAddr, time: Duration) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let end = Instant::now() + time;
        let mut users = JoinSet::new();
        for _ in 0..CONNECTIONS {
            if kind == TONIC {
                let client = TextCategorizationClient::connect(format!("http://{address}")).await?;
                (0..STREAMS).for_each(|_| drop(users.spawn(predict_until(end, client.clone()))));
                continue;
            }
            let (head, body) = if kind == CALL {
                call(address)?
            } else {
                get(address)?
            };
            let sender = connect(address).await?;
            (0..STREAMS).for_each(|_| {
                drop(users.spawn(send_until(end, sender.clone(), head.clone(), body.clone())))
            });
        }
        while let Some(user) = users.join_next().await {
            user??;
        }
        Ok(())
    })
}

fn get(address: SocketAddr) -> Result<(Request<()>, Bytes), Failed> {
    Ok((
        Request::get(format!("http://{address}/"))
            .header("user-agent", "bare")
            .body(())?,
        Bytes::new(),
    ))
}

fn call(address: SocketAddr) -> Result<(Request<()>, Bytes), Failed> {
    let head = Request::post(format!("http://{address}/{METHOD}")).header("user-agent", "bare");
    Ok((
        head.header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())?,
        frame(),
    ))
}

/// The message as gRPC frames it: not compressed, its length, itself.
pub fn frame() -> Bytes {
    let message = PredictionRequest {
        text: TEXT.to_owned(),
    }
    .encode_to_vec();
    let mut frame = vec![0];
    frame.put_u32(message.len() as u32);
    frame.extend(message);
    frame.into()
}

async fn connect(address: SocketAddr) -> Result<SendRequest<Bytes>, Failed> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = h2::client::handshake(stream).await?;
    // each request says for itself why it failed
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

async fn send_until(
    end: Instant,
    mut sender: SendRequest<Bytes>,
    head: Request<()>,
    body: Bytes,
) -> Result<(), Failed> {
    while Instant::now() < end {
        let trailers = send(&mut sender, &head, &body).await?;
        if trailers.is_some_and(|trailers| {
            trailers
                .get("grpc-status")
                .is_none_or(|status| status != "0")
        }) {
            return Err("a call failed".into());
        }
    }
    Ok(())
}

/// The trailers of the answer.
async fn send(
    sender: &mut SendRequest<Bytes>,
    head: &Request<()>,
    body: &Bytes,
) -> Result<Option<HeaderMap>, Failed> {
    let (answer, mut stream) = sender.send_request(head.clone(), body.is_empty())?;
    if !body.is_empty() {
        stream.send_data(body.clone(), true)?;
    }
    let answer = answer.await?;
    if !answer.status().is_success() {
        return Err(answer.status().to_string().into());
    }
    let mut body = answer.into_body();
    while let Some(data) = body.data().await {
        let length = data?.len();
        // fails only when the stream has ended
        let _ = body.flow_control().release_capacity(length);
    }
    Ok(body.trailers().await?)
}

async fn predict_until(
    end: Instant,
    mut client: TextCategorizationClient<Channel>,
) -> Result<(), Failed> {
    while Instant::now() < end {
        client
            .get_prediction(PredictionRequest {
                text: TEXT.to_owned(),
            })
            .await?;
    }
    Ok(())
}
