//! Certificates that strict libraries refuse and testers have: self-signed ones, and those of
//! version 1, as `openssl x509 -req` makes them.

use std::sync::Mutex;

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, PublicKeyData, SigningKey};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme};
use tokio_rustls::TlsAcceptor;

use crate::engine::tests::tls::{all_failed_in_tls, reference, run_tls, serve};
use crate::engine::tests::*;
use crate::plan::ClientCertificate;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/// Certificate in DER and its key.
struct Identity {
    certificate: CertificateDer<'static>,
    key: KeyPair,
}

impl Identity {
    /// One that signed itself, as `openssl req -x509` makes it, valid until that year.
    fn self_signed(name: &str, year: i32) -> Self {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self { certificate, key }
    }

    /// One of version 1: without a version and without extensions.
    fn version_1() -> Self {
        let key = KeyPair::generate().unwrap();
        let ecdsa_with_sha256 = [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
        let algorithm = der(0x30, &[&der(6, &[&ecdsa_with_sha256])]);
        let common_name = [der(6, &[&[0x55, 4, 3]]), der(0x0c, &[b"client"])].concat();
        let name = der(0x30, &[&der(0x31, &[&der(0x30, &[&common_name])])]);
        let times = [b"200101000000Z", b"490101000000Z"].map(|time| der(0x17, &[time]));
        let signed = der(
            0x30,
            &[
                &der(2, &[&[1]]),
                &algorithm,
                &name,
                &der(0x30, &[&times.concat()]),
                &name,
                &key.subject_public_key_info(),
            ],
        );
        let signature = key.sign(&signed).unwrap();
        let bits = der(3, &[&[0], &signature]);
        let certificate = der(0x30, &[&signed, &algorithm, &bits]).into();
        Self { certificate, key }
    }

    fn pem(&self) -> String {
        let body = data_encoding::BASE64.encode(&self.certificate);
        format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
    }

    /// A server's end of TLS that shows it; the URL.
    async fn served(&self, clients: Option<Arc<Seen>>) -> String {
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match clients {
            Some(seen) => builder.with_client_cert_verifier(seen),
            None => builder.with_no_client_auth(),
        };
        let key = PrivateKeyDer::from_pem_slice(self.key.serialize_pem().as_bytes()).unwrap();
        let key = ring::sign::any_supported_type(&key).unwrap();
        let own = CertifiedKey::new(vec![self.certificate.clone()], key);
        let config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(own)));
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let port = serve(acceptor, Duration::ZERO, OK.into()).await;
        format!("https://127.0.0.1:{port}")
    }
}

/// Value of DER with its tag and length.
fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let value = parts.concat();
    let length = u16::try_from(value.len()).unwrap().to_be_bytes();
    let mut out = vec![tag];
    match length {
        [0, short @ 0..0x80] => out.push(short),
        [0, short] => out.extend([0x81, short]),
        long => out.extend([0x82, long[0], long[1]]),
    }
    out.extend(value);
    out
}

/// Judge of client certificates that accepts each and keeps it.
#[derive(Debug, Default)]
struct Seen(Mutex<Vec<CertificateDer<'static>>>);

impl ClientCertVerifier for Seen {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.0
            .lock()
            .unwrap()
            .push(certificate.clone().into_owned());
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

fn trusting() -> Tls {
    Tls {
        ca: Some(reference("ca")),
        ..Tls::default()
    }
}

fn unverified() -> Tls {
    Tls {
        insecure_skip_verify: true,
        ..Tls::default()
    }
}

fn all_succeeded(snapshot: &Snapshot) {
    assert!(snapshot.requests() > 0);
    assert_eq!(snapshot.failures(), 0, "{:?}", snapshot.errors);
}

#[tokio::test]
async fn a_self_signed_certificate_that_is_given_is_trusted() {
    let own = Identity::self_signed("127.0.0.1", 4000);
    let url = own.served(None).await;
    for mark in ["", "\u{feff}"] {
        let given = [("ca", format!("{mark}{}", own.pem()))];
        all_succeeded(&run_tls(&url, trusting(), &given).await.unwrap());
    }
}

#[tokio::test]
async fn a_given_certificate_is_trusted_for_its_name_its_time_and_its_key_only() {
    let good = Identity::self_signed("127.0.0.1", 4000);
    let expired = Identity::self_signed("127.0.0.1", 2001);
    let elsewhere = Identity::self_signed("elsewhere.example", 4000);
    let other_key = Identity {
        certificate: good.certificate.clone(),
        key: KeyPair::generate().unwrap(),
    };
    let other = Identity::self_signed("127.0.0.1", 4000);
    for (shown, given, words) in [
        (&expired, &expired, "has expired"),
        (&elsewhere, &elsewhere, "is for another name"),
        (&other_key, &good, "has a wrong signature"),
        (&other, &good, "tls.caFrom"),
    ] {
        let url = shown.served(None).await;
        let given = [("ca", given.pem())];
        let snapshot = run_tls(&url, trusting(), &given).await.unwrap();
        all_failed_in_tls(&snapshot);
        for (_, entry) in snapshot.errors.iter() {
            assert!(entry.message.contains(words), "{words}: {}", entry.message);
        }
    }
}

#[tokio::test]
async fn without_verification_any_certificate_will_do() {
    let year = 2001;
    for shown in [
        Identity::version_1(),
        Identity::self_signed("elsewhere.example", year),
    ] {
        let url = shown.served(None).await;
        all_succeeded(&run_tls(&url, unverified(), &[]).await.unwrap());
    }
}

#[tokio::test]
async fn a_client_certificate_of_version_1_is_shown_and_the_target_judges_it() {
    let (own, seen) = (Identity::version_1(), Arc::new(Seen::default()));
    let server = Identity::self_signed("127.0.0.1", 4000);
    let url = server.served(Some(Arc::clone(&seen))).await;
    let tls = Tls {
        client: Some(ClientCertificate {
            certificate: reference("cert"),
            key: Some(reference("key")),
            passphrase: None,
        }),
        ..unverified()
    };
    let inputs = [("cert", own.pem()), ("key", own.key.serialize_pem())];
    all_succeeded(&run_tls(&url, tls.clone(), &inputs).await.unwrap());
    let seen = std::mem::take(&mut *seen.0.lock().unwrap());
    assert!(!seen.is_empty() && seen.iter().all(|shown| *shown == own.certificate));

    // a key of another certificate is found before the load, whatever the version
    for (certificate, key) in [(&server, &own), (&own, &server)] {
        let inputs = [
            ("cert", certificate.pem()),
            ("key", key.key.serialize_pem()),
        ];
        let refused = run_tls(&url, tls.clone(), &inputs).await.unwrap_err();
        let refused = refused.to_string();
        assert!(refused.contains("does not fit its key"), "{refused}");
    }
}
