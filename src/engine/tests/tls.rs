//! TLS: whom the engine trusts, and what it shows.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::engine::PrepareError;
use crate::engine::tests::*;
use crate::plan::{ClientCertificate, Kind, Reference};

pub(super) type Authority = CertifiedIssuer<'static, KeyPair>;

pub(super) fn authority() -> Authority {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Certificate and key as PEM, signed by `authority`.
pub(super) fn signed(
    authority: &Authority,
    name: &str,
    usage: ExtendedKeyUsagePurpose,
) -> (String, String) {
    signed_until(authority, name, usage, 4000)
}

/// Likewise, valid until that year.
fn signed_until(
    authority: &Authority,
    name: &str,
    usage: ExtendedKeyUsagePurpose,
    year: i32,
) -> (String, String) {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.extended_key_usages = vec![usage];
    params.not_after = rcgen::date_time_ymd(year, 1, 1);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    (certificate.pem(), key.serialize_pem())
}

/// Answers every request on TLS with HTTP/1.1; `clients` must have signed who comes.
pub(super) async fn server(
    authority: &Authority,
    name: &str,
    clients: Option<&Authority>,
) -> String {
    large(acceptor(authority, name, clients, &["http/1.1"])).await
}

async fn large(acceptor: TlsAcceptor) -> String {
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: 40000\r\n\r\n{}",
        "x".repeat(40_000)
    );
    format!(
        "https://127.0.0.1:{}",
        serve(acceptor, Duration::ZERO, answer).await
    )
}

/// Gives each request this answer, on a handshake that goes on so long after it began; the port.
pub(super) async fn serve(acceptor: TlsAcceptor, delay: Duration, answer: String) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, answer) = (acceptor.clone(), answer.clone());
            tokio::spawn(async move {
                if !delay.is_zero() {
                    // the other side may learn of the connection later than this one
                    stream.peek(&mut [0]).await?;
                    tokio::time::sleep(delay).await;
                }
                let mut stream = acceptor.accept(stream).await?;
                let mut request = [0; 4096];
                while stream.read(&mut request).await? > 0 {
                    stream.write_all(answer.as_bytes()).await?;
                }
                std::io::Result::Ok(())
            });
        }
    });
    port
}

/// A server's end of TLS that offers these protocols.
pub(super) fn acceptor(
    authority: &Authority,
    name: &str,
    clients: Option<&Authority>,
    protocols: &[&str],
) -> TlsAcceptor {
    acceptor_showing(
        signed(authority, name, ExtendedKeyUsagePurpose::ServerAuth),
        clients,
        protocols,
    )
}

fn acceptor_showing(
    (certificate, key): (String, String),
    clients: Option<&Authority>,
    protocols: &[&str],
) -> TlsAcceptor {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(clients.der().clone()).unwrap();
            builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                    .build()
                    .unwrap(),
            )
        }
    };
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let mut config = builder
        .with_single_cert(
            chain,
            PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = protocols
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    TlsAcceptor::from(Arc::new(config))
}

pub(super) fn reference(key: &str) -> Reference {
    Reference {
        kind: Kind::ConfigMap,
        name: "tls".into(),
        key: key.into(),
        field: format!("spec.target.tls.{key}"),
    }
}

pub(super) async fn run_tls(
    url: &str,
    tls: Tls,
    inputs: &[(&str, String)],
) -> Result<Snapshot, PrepareError> {
    run_plan(plan(url, users(2, 600)), tls, inputs).await
}

pub(super) async fn run_plan(
    mut plan: Plan,
    tls: Tls,
    inputs: &[(&str, String)],
) -> Result<Snapshot, PrepareError> {
    plan.target.tls = tls;
    let mut values = Inputs::default();
    inputs.iter().for_each(|(key, value)| {
        values.insert(Kind::ConfigMap, "tls", *key, value.clone().into_bytes())
    });
    let prepared = Arc::new(prepare(Arc::new(plan), &values).await?);
    Ok(sum(
        &deltas(&mut prepared.start(whole(1), Instant::now())).await
    ))
}

pub(super) fn all_failed_in_tls(snapshot: &Snapshot) {
    assert!(snapshot.requests() > 0);
    assert_eq!(classes(snapshot), [(ErrorClass::Tls, snapshot.requests())]);
}

fn all_succeeded(snapshot: &Snapshot) {
    assert!(snapshot.requests() > 2);
    assert_eq!(
        (snapshot.failures(), snapshot.counters.connects),
        (0, 2),
        "{:?}",
        snapshot.errors
    );
}

#[tokio::test]
async fn an_unknown_authority_is_refused() {
    let (ours, theirs) = (authority(), authority());
    let url = server(&theirs, "127.0.0.1", None).await;
    let tls = Tls {
        ca: Some(reference("ca")),
        ..Tls::default()
    };
    let snapshot = run_tls(&url, tls, &[("ca", ours.pem())]).await.unwrap();
    all_failed_in_tls(&snapshot);
    assert_eq!(snapshot.counters.unsent, snapshot.requests());
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let authority = authority();
    let expired = signed_until(
        &authority,
        "127.0.0.1",
        ExtendedKeyUsagePurpose::ServerAuth,
        2001,
    );
    let url = large(acceptor_showing(expired, None, &["h2", "http/1.1"])).await;
    let tls = Tls {
        ca: Some(reference("ca")),
        ..Tls::default()
    };
    let snapshot = run_tls(&url, tls, &[("ca", authority.pem())])
        .await
        .unwrap();
    all_failed_in_tls(&snapshot);
    assert!(
        snapshot
            .errors
            .iter()
            .all(|(_, entry)| entry.message.contains("expired")),
        "{:?}",
        snapshot.errors
    );
}

#[tokio::test]
async fn a_target_that_speaks_no_tls_is_a_failed_handshake() {
    let url = crate::engine::tests::server::scripted(|peer| {
        peer.always("HTTP/1.1 400 Bad Request\r\n\r\n")
    })
    .await;
    let tls = Tls {
        insecure_skip_verify: true,
        ..Tls::default()
    };
    let mut plan = plan(&url.replace("http:", "https:"), users(1, 60));
    // that server waits for the end of a request that never comes
    request(&mut plan.scenarios[0].tasks[0].steps[0]).timeout = Duration::from_millis(50);
    let silent = run_plan(plan, tls.clone(), &[]).await.unwrap();
    assert_eq!(classes(&silent), [(ErrorClass::Timeout, silent.requests())]);
    assert_eq!(silent.counters.unsent, silent.requests());

    let url = crate::engine::tests::server::scripted(|mut peer| async move {
        peer.send("SSH-2.0-OpenSSH_9.2\r\n").await
    })
    .await;
    all_failed_in_tls(
        &run_tls(&url.replace("http:", "https:"), tls, &[])
            .await
            .unwrap(),
    );
}

#[tokio::test]
async fn a_given_authority_is_trusted() {
    let authority = authority();
    let url = server(&authority, "127.0.0.1", None).await;
    let tls = Tls {
        ca: Some(reference("ca")),
        ..Tls::default()
    };
    all_succeeded(
        &run_tls(&url, tls, &[("ca", authority.pem())])
            .await
            .unwrap(),
    );
}

#[tokio::test]
async fn the_name_asked_for_can_be_another() {
    let authority = authority();
    let url = server(&authority, "models.example", None).await;
    let tls = Tls {
        ca: Some(reference("ca")),
        ..Tls::default()
    };
    let inputs = [("ca", authority.pem())];
    all_failed_in_tls(&run_tls(&url, tls.clone(), &inputs).await.unwrap());
    let tls = Tls {
        server_name: Some("models.example".into()),
        ..tls
    };
    all_succeeded(&run_tls(&url, tls, &inputs).await.unwrap());
}

#[tokio::test]
async fn verification_can_be_switched_off() {
    let url = server(&authority(), "elsewhere.example", None).await;
    all_succeeded(
        &run_tls(
            &url,
            Tls {
                insecure_skip_verify: true,
                ..Tls::default()
            },
            &[],
        )
        .await
        .unwrap(),
    );
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_one_is_asked_for() {
    let (authority, clients) = (authority(), authority());
    let url = server(&authority, "127.0.0.1", Some(&clients)).await;
    let without = Tls {
        ca: Some(reference("ca")),
        ..Tls::default()
    };
    all_failed_in_tls(
        &run_tls(&url, without.clone(), &[("ca", authority.pem())])
            .await
            .unwrap(),
    );

    let (certificate, key) = signed(&clients, "client", ExtendedKeyUsagePurpose::ClientAuth);
    let tls = Tls {
        client: Some(ClientCertificate {
            certificate: reference("cert"),
            key: Some(reference("key")),
            passphrase: None,
        }),
        ..without
    };
    all_succeeded(
        &run_tls(
            &url,
            tls,
            &[("ca", authority.pem()), ("cert", certificate), ("key", key)],
        )
        .await
        .unwrap(),
    );
}

#[tokio::test]
async fn what_is_no_certificate_is_found_before_load() {
    let tls = Tls {
        ca: Some(reference("ca")),
        ..Tls::default()
    };
    let error = run_tls("https://127.0.0.1:1", tls, &[("ca", "canary".into())])
        .await
        .unwrap_err();
    assert!(
        matches!(&error, PrepareError::Invalid(problems) if problems[0].path == "spec.target.tls.ca"),
        "{error}"
    );
    assert!(!error.to_string().contains("canary"));
}
