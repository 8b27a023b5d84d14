//! Connection to the API server that is replaced as a whole once something on it fails: pooled
//! connections to a server that is gone would each cost a call its whole time.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use http::Request;
use kube::client::Body;
use kube::{Client, Config};

/// Longest time to connect to the API server.
const CONNECT: Duration = Duration::from_secs(5);
/// Longest time of one write to the API server.
const WRITE: Duration = Duration::from_secs(10);

/// Client of the API server and the means to begin anew.
pub struct Connection {
    config: Config,
    current: RwLock<(Instant, Client)>,
}

impl Connection {
    /// Makes a first client of the configuration.
    pub fn new(mut config: Config) -> kube::Result<Arc<Self>> {
        // its retries repeat creates for minutes; ours are one per pass, with backoff
        config.default_retry = false;
        config.connect_timeout = Some(CONNECT);
        config.write_timeout = Some(WRITE);
        let client = Client::try_from(config.clone())?;
        Ok(Arc::new(Self {
            config,
            current: RwLock::new((Instant::now(), client)),
        }))
    }

    /// Returns a client that always calls through the newest connections. A call that fails, or
    /// that is given up before its answer has begun, has the next ones made on fresh connections.
    pub fn client(self: &Arc<Self>) -> Client {
        let connection = self.clone();
        let call = move |request: Request<Body>| {
            let connection = connection.clone();
            async move {
                let client = connection.current();
                let mut unanswered = Unanswered {
                    connection: Some(connection),
                    began: Instant::now(),
                };
                let answer = client.send(request).await;
                if answer.is_ok() {
                    unanswered.connection = None;
                }
                answer
            }
        };
        Client::new(
            tower::service_fn(call),
            self.config.default_namespace.clone(),
        )
    }

    /// Lets all later calls be made on fresh connections, unless that has happened since `began`.
    pub fn renew(&self, began: Instant) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.0 > began {
            return;
        }
        match Client::try_from(self.config.clone()) {
            Ok(client) => *current = (Instant::now(), client),
            // the old one goes on: its configuration was good before
            Err(error) => tracing::warn!(%error, "no fresh client of the API server can be made"),
        }
    }

    fn current(&self) -> Client {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.1.clone()
    }
}

/// A call whose answer has not begun. When it is dropped as such, its connections are given up.
struct Unanswered {
    connection: Option<Arc<Connection>>,
    began: Instant,
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        if let Some(connection) = &self.connection {
            connection.renew(self.began);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use k8s_openapi::api::core::v1::Pod;
    use kube::api::Api;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    const LIST: &str = r#"{"kind":"PodList","apiVersion":"v1","metadata":{},"items":[]}"#;

    /// Answers the first request of the connection, and never another.
    async fn answer_once(mut stream: TcpStream) {
        let mut bytes = [0; 4096];
        let _ = stream.read(&mut bytes).await;
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{LIST}",
            LIST.len()
        );
        let _ = stream.write_all(head.as_bytes()).await;
        std::future::pending::<()>().await;
    }

    #[tokio::test]
    async fn a_call_that_is_given_up_has_the_next_one_made_on_a_fresh_connection() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = connections.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(answer_once(stream));
            }
        });
        let config = Config::new(url.parse().unwrap());
        let client = Connection::new(config).unwrap().client();
        let pods: Api<Pod> = Api::all(client);
        let params = kube::api::ListParams::default();
        let list = || pods.list(&params);
        list().await.unwrap();
        // the pooled connection is dead, which only a call that gets no answer can find out
        let given_up = tokio::time::timeout(Duration::from_millis(300), list()).await;
        assert!(given_up.is_err());
        list().await.unwrap();
        assert_eq!(connections.load(Ordering::SeqCst), 2);
    }
}
