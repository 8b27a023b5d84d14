//! TLS settings for a target: trusted certificates, client certificate, and server name.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ConfigBuilder, DigitallySignedStruct, RootCertStore, SignatureScheme,
    WantsVerifier,
};
use tokio_rustls::TlsConnector;

use crate::plan::{ClientCertificate, Inputs, Problem, Reference, Target, Version};

/// TLS settings of a route.
pub(crate) struct Tls {
    /// Connector for the handshake.
    pub(crate) connector: TlsConnector,
    /// Name that the certificate must be for.
    pub(crate) name: ServerName<'static>,
}

impl Tls {
    /// Reads the settings of `target`. Every reference must have a value, and no message holds a
    /// part of one.
    pub(crate) fn new(target: &Target, version: Version, inputs: &Inputs) -> Result<Self, Problem> {
        let builder = if target.tls.insecure_skip_verify {
            builder()
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(TrustAnyone(Arc::new(
                    ring::default_provider(),
                ))))
        } else {
            builder().with_root_certificates(roots(target, inputs)?)
        };
        let mut config = match &target.tls.client {
            None => builder.with_no_client_auth(),
            Some(ClientCertificate { certificate, key }) => {
                let parsed = PrivateKeyDer::from_pem_slice(bytes(key, inputs))
                    .map_err(|_| problem(key, "holds no PEM private key"))?;
                builder
                    .with_client_auth_cert(certificates(certificate, inputs)?, parsed)
                    .map_err(|e| problem(certificate, &format!("does not fit its key: {e}")))?
            }
        };
        config.alpn_protocols = match version {
            Version::Auto => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            Version::Http1 => vec![b"http/1.1".to_vec()],
            Version::Http2 => vec![b"h2".to_vec()],
        };
        Ok(Self {
            connector: TlsConnector::from(Arc::new(config)),
            name: server_name(target)?,
        })
    }
}

/// Creates settings for a server that belongs to the target, such as a token endpoint: it is
/// trusted if the target's or the system's roots trust it.
pub(crate) fn beside(target: &Target, inputs: &Inputs) -> Result<ClientConfig, Problem> {
    let mut roots = roots(target, inputs)?;
    if target.tls.ca.is_some() {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    Ok(builder()
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// Creates settings that trust no certificate, for connections that must not use TLS.
pub(crate) fn trusting_nobody() -> ClientConfig {
    builder()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth()
}

fn builder() -> ConfigBuilder<ClientConfig, WantsVerifier> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    builder
        .with_safe_default_protocol_versions()
        .expect("the provider knows the usual versions of TLS")
}

fn server_name(target: &Target) -> Result<ServerName<'static>, Problem> {
    let (name, field) = match &target.tls.server_name {
        Some(name) => (name.as_str(), "tls.serverName"),
        None => (target.url.host_str().unwrap_or_default(), "url"),
    };
    // a URL writes an IPv6 address in brackets
    let bare = name
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    let wrong = |_| {
        Problem::new(
            format!("{}.{field}", target.field()),
            format!("{name:?} is no name that a certificate could be for"),
        )
    };
    ServerName::try_from(bare).map_err(wrong)
}

fn roots(target: &Target, inputs: &Inputs) -> Result<RootCertStore, Problem> {
    let mut roots = RootCertStore::empty();
    match &target.tls.ca {
        Some(ca) => {
            for certificate in certificates(ca, inputs)? {
                roots.add(certificate).map_err(|e| {
                    problem(ca, &format!("holds a certificate that cannot be used: {e}"))
                })?;
            }
        }
        None => {
            // a system may hold certificates that we cannot read; the others still count
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                let field = format!("{}.tls", target.field());
                return Err(Problem::new(
                    field,
                    "this machine has no trusted certificates; set caFrom",
                ));
            }
        }
    }
    Ok(roots)
}

fn certificates(
    reference: &Reference,
    inputs: &Inputs,
) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes(reference, inputs)).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        _ => Err(problem(reference, "holds no PEM certificate")),
    }
}

fn bytes<'a>(reference: &Reference, inputs: &'a Inputs) -> &'a [u8] {
    inputs.get(reference).unwrap_or_default()
}

fn problem(reference: &Reference, what: &str) -> Problem {
    Problem::new(reference.field.clone(), format!("{reference} {what}"))
}

/// Certificate verifier for `insecureSkipVerify`: accepts any certificate whose owner holds the
/// key.
#[derive(Debug)]
struct TrustAnyone(Arc<CryptoProvider>);

impl ServerCertVerifier for TrustAnyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
