//! Masters of a few lines, which answer on a socket of their own as their script says.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::operator::channel::{Channel, InstallKey};
use crate::operator::fixture;
use crate::wire::control::{MasterState, Progress};

pub const RUN: &str = "categorizer-aaaaaa";

/// The channel of [`RUN`].
pub fn channel() -> Channel {
    channel_of(7)
}

fn channel_of(key: u8) -> Channel {
    let now = jiff::Timestamp::now().to_string();
    Channel::derive(&InstallKey([key; 32]), "uid", RUN, &now).unwrap()
}

/// Progress of a master that is ready.
pub fn progress(incarnation: &str) -> Progress {
    Progress {
        incarnation: incarnation.into(),
        ..fixture::progress(RUN, MasterState::Ready)
    }
}

/// What a master answers to each request, by its first line.
pub struct Script {
    channel: Channel,
    answer: Box<dyn Fn(&str) -> Answer + Send + Sync>,
}

/// One answer.
pub enum Answer {
    /// A status and a body.
    Whole(u16, String),
    /// These bytes, then the connection stays open and silent.
    Raw(Vec<u8>),
    /// These bytes, then the piece again and again, with a pause of so many milliseconds.
    Endless(Vec<u8>, Vec<u8>, u64),
}

impl Script {
    /// Answers all requests with `answer`, behind the run's own certificate.
    pub fn new(answer: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Self {
        Self {
            channel: channel(),
            answer: Box::new(answer),
        }
    }

    /// A master that is ready, and runs once it is granted.
    pub fn good(incarnation: &str) -> Self {
        Self::good_of(channel(), RUN, incarnation)
    }

    /// A good master of another run.
    pub fn good_of(channel: Channel, run: &str, incarnation: &str) -> Self {
        let (run, incarnation) = (run.to_owned(), incarnation.to_owned());
        let granted = Mutex::new(false);
        let script = Self::new(move |line| {
            let mut granted = granted.lock().unwrap();
            *granted |= line.contains("/grant");
            let state = match *granted {
                true => MasterState::Running,
                false => MasterState::Ready,
            };
            Answer::json(&Progress {
                run: run.clone(),
                state,
                ..progress(&incarnation)
            })
        });
        Self { channel, ..script }
    }

    /// A master of another authority.
    pub fn stranger() -> Self {
        Self {
            channel: channel_of(8),
            ..Self::good("stranger")
        }
    }

    /// A master that tells its progress and takes no order.
    pub fn refuses_orders(incarnation: &str) -> Self {
        let incarnation = incarnation.to_owned();
        Self::new(move |line| match line.starts_with("GET") {
            true => Answer::json(&progress(&incarnation)),
            false => Answer::Whole(409, "not now".into()),
        })
    }

    /// A master with its final result.
    pub fn finished(incarnation: &str) -> Self {
        let incarnation = incarnation.to_owned();
        Self::new(move |line| match line.contains("/result") {
            true => Answer::json(&fixture::result()),
            false => Answer::json(&Progress {
                state: MasterState::Finished,
                ..progress(&incarnation)
            }),
        })
    }
}

impl Answer {
    pub fn json(value: &impl serde::Serialize) -> Self {
        Answer::Whole(200, serde_json::to_string(value).unwrap())
    }
}

/// A master at work.
pub struct Peer {
    pub address: SocketAddr,
    lines: Arc<Mutex<Vec<String>>>,
    sent: Arc<Mutex<usize>>,
}

impl Peer {
    /// Requests that began with this line.
    pub fn count(&self, line: &str) -> usize {
        let lines = self.lines.lock().unwrap();
        lines.iter().filter(|seen| seen.starts_with(line)).count()
    }

    /// Bytes that an endless answer got rid of.
    pub fn sent(&self) -> usize {
        *self.sent.lock().unwrap()
    }
}

/// A listener that accepts and never says a word.
pub async fn silent() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    hold(listener);
    address
}

/// Accepts all connections of a listener and never says a word.
pub fn hold(listener: TcpListener) {
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
}

/// Starts a master with TLS.
pub async fn master(script: Script) -> Peer {
    master_on(TcpListener::bind("127.0.0.1:0").await.unwrap(), script)
}

/// Starts a master on a listener that is there.
pub fn master_on(listener: TcpListener, script: Script) -> Peer {
    let peer = Peer {
        address: listener.local_addr().unwrap(),
        lines: Arc::default(),
        sent: Arc::default(),
    };
    let acceptor = acceptor(&script.channel);
    let (script, lines, sent) = (Arc::new(script), peer.lines.clone(), peer.sent.clone());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, script) = (acceptor.clone(), script.clone());
            let (lines, sent) = (lines.clone(), sent.clone());
            tokio::spawn(async move {
                serve(stream, acceptor, &script, &lines, &sent).await;
            });
        }
    });
    peer
}

fn acceptor(channel: &Channel) -> TlsAcceptor {
    let certificate = CertificateDer::from_pem_slice(channel.master_cert.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(channel.master_key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

async fn serve(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    script: &Script,
    lines: &Mutex<Vec<String>>,
    sent: &Mutex<usize>,
) {
    let Ok(mut stream) = acceptor.accept(stream).await else {
        return;
    };
    while let Some(line) = request(&mut stream).await {
        lines.lock().unwrap().push(line.clone());
        let answer = (script.answer)(&line);
        if respond(&mut stream, answer, sent).await.is_err() {
            return;
        }
    }
}

/// Reads one request to its end and gives its first line.
async fn request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        let mut piece = [0; 4096];
        match stream.read(&mut piece).await {
            Ok(0) | Err(_) => return None,
            Ok(count) => bytes.extend_from_slice(&piece[..count]),
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.trim().parse().unwrap());
    let mut left = length - (bytes.len() - end).min(length);
    while left > 0 {
        let mut piece = [0; 4096];
        match stream.read(&mut piece).await {
            Ok(0) | Err(_) => return None,
            Ok(count) => left -= count.min(left),
        }
    }
    let whole = String::from_utf8_lossy(&bytes);
    whole.lines().next().map(str::to_owned)
}

async fn respond(
    stream: &mut (impl AsyncWrite + Unpin),
    answer: Answer,
    sent: &Mutex<usize>,
) -> std::io::Result<()> {
    match answer {
        Answer::Whole(status, body) => {
            let head = format!(
                "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n\
                 content-length: {}\r\n\r\n",
                body.len()
            );
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(body.as_bytes()).await?;
            stream.flush().await
        }
        Answer::Raw(bytes) => {
            stream.write_all(&bytes).await?;
            stream.flush().await?;
            std::future::pending().await
        }
        Answer::Endless(head, piece, pause) => {
            stream.write_all(&head).await?;
            loop {
                stream.write_all(&piece).await?;
                stream.flush().await?;
                *sent.lock().unwrap() += piece.len();
                tokio::time::sleep(std::time::Duration::from_millis(pause)).await;
            }
        }
    }
}
