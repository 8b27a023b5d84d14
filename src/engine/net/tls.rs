//! TLS settings for a target: trusted certificates, client certificate, and server name.

mod identity;
mod p521;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    ResolvesClientCert, WantsClientCert, WebPkiServerVerifier, verify_server_name,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, ClientConfig, ConfigBuilder, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme, WantsVerifier,
};
use tokio_rustls::TlsConnector;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::engine::net::tls::identity::identity;
use crate::engine::net::tls::p521::provider;
use crate::plan::{Inputs, Problem, Reference, Target, Version};

/// TLS settings of a route.
pub(crate) struct Tls {
    /// Connector for the handshake.
    pub(crate) connector: TlsConnector,
    /// Name that the certificate must be for.
    pub(crate) name: ServerName<'static>,
    /// Target's asking for a client certificate; unset until it has asked.
    pub(crate) asking: Arc<OnceLock<Asking>>,
}

/// Standing of a target that asks for a client certificate.
#[derive(Debug, Default)]
pub(crate) struct Asking {
    accepted: AtomicBool,
}

impl Asking {
    /// Notes that the target answered a request, so that it was content with what it got.
    pub(crate) fn accept(&self) {
        if !self.has_accepted() {
            self.accepted.store(true, Ordering::Relaxed);
        }
    }

    /// Returns whether the target has ever answered a request.
    pub(crate) fn has_accepted(&self) -> bool {
        self.accepted.load(Ordering::Relaxed)
    }
}

/// Client certificate, and whether the target has asked for it.
#[derive(Debug)]
struct Asked {
    certificate: Arc<dyn ResolvesClientCert>,
    asking: Arc<OnceLock<Asking>>,
}

impl ResolvesClientCert for Asked {
    fn resolve(&self, issuers: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asking.get_or_init(Asking::default);
        self.certificate.resolve(issuers, schemes)
    }

    fn only_raw_public_keys(&self) -> bool {
        self.certificate.only_raw_public_keys()
    }

    fn has_certs(&self) -> bool {
        // without it the handshake would not ask here at all
        true
    }
}

impl Tls {
    /// Reads the settings of `target`. Every reference must have a value, and no message holds a
    /// part of one.
    pub(crate) fn new(target: &Target, version: Version, inputs: &Inputs) -> Result<Self, Problem> {
        let builder = if target.tls.insecure_skip_verify {
            builder()
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(TrustAnyone))
        } else {
            trusting_given(target, inputs)?
        };
        let mut config = match &target.tls.client {
            None => builder.with_no_client_auth(),
            Some(client) => {
                let own = SingleCertAndKey::from(identity(client, inputs)?);
                builder.with_client_cert_resolver(Arc::new(own))
            }
        };
        config.alpn_protocols = match version {
            Version::Auto => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            Version::Http1 => vec![b"http/1.1".to_vec()],
            Version::Http2 => vec![b"h2".to_vec()],
        };
        let asking = Arc::new(OnceLock::new());
        config.client_auth_cert_resolver = Arc::new(Asked {
            certificate: config.client_auth_cert_resolver.clone(),
            asking: asking.clone(),
        });
        Ok(Self {
            connector: TlsConnector::from(Arc::new(config)),
            name: server_name(target)?,
            asking,
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

/// Begins settings that trust the target's or the system's roots. A certificate that the test gives
/// is trusted as it is, too, whoever signed it and whatever it is for.
fn trusting_given(
    target: &Target,
    inputs: &Inputs,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, Problem> {
    let roots = roots(target, inputs)?;
    let Some(ca) = &target.tls.ca else {
        return Ok(builder().with_root_certificates(roots));
    };
    let chains = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(|error| problem(ca, &format!("cannot be trusted: {error}")))?;
    let verifier = TrustGiven {
        chains,
        given: certificates(ca, inputs)?,
    };
    Ok(builder()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier)))
}

fn builder() -> ConfigBuilder<ClientConfig, WantsVerifier> {
    let builder = ClientConfig::builder_with_provider(provider());
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
    let bytes = inputs.get(reference).unwrap_or_default();
    // some programs begin text with a byte order mark
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

fn problem(reference: &Reference, what: &str) -> Problem {
    Problem::new(reference.field.clone(), format!("{reference} {what}"))
}

/// Certificate verifier that trusts chains to given certificates, and these themselves.
#[derive(Debug)]
struct TrustGiven {
    chains: Arc<WebPkiServerVerifier>,
    given: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for TrustGiven {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain = self
            .chains
            .verify_server_cert(certificate, others, name, ocsp, now);
        if chain.is_ok() || !self.given.contains(certificate) {
            return chain;
        }
        verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
        check_times(certificate, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}

fn check_times(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let (_, parsed) = X509Certificate::from_der(certificate)
        .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
    let now = now.as_secs() as i64;
    let times = parsed.validity();
    if now < times.not_before.timestamp() {
        return Err(Error::InvalidCertificate(CertificateError::NotValidYet));
    }
    if now > times.not_after.timestamp() {
        return Err(Error::InvalidCertificate(CertificateError::Expired));
    }
    Ok(())
}

/// Certificate verifier for `insecureSkipVerify`: accepts any certificate of anybody, of any version
/// and with a key of any kind, also of those whose signatures cannot be checked here.
#[derive(Debug)]
struct TrustAnyone;

impl ServerCertVerifier for TrustAnyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
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
        use SignatureScheme::*;
        vec![
            ECDSA_NISTP256_SHA256,
            ECDSA_NISTP384_SHA384,
            ECDSA_NISTP521_SHA512,
            ED25519,
            ED448,
            RSA_PSS_SHA256,
            RSA_PSS_SHA384,
            RSA_PSS_SHA512,
            RSA_PKCS1_SHA256,
            RSA_PKCS1_SHA384,
            RSA_PKCS1_SHA512,
            RSA_PKCS1_SHA1,
            ECDSA_SHA1_Legacy,
        ]
    }
}
