//! Channel of one run: the certificates and tokens that master, workers and operator talk with. It
//! is a pure function of the install key and the run, so that a restarted operator, or a second
//! one, has the same channel without ever reading a Secret.

use hkdf::Hkdf;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ED25519, SerialNumber,
};
use rustls::pki_types::PrivatePkcs8KeyDer;
use sha2::Sha256;
use time::{Duration, OffsetDateTime};

use super::times::{self, TimeError};
use crate::wire::layout::server_name;
use crate::wire::tokens::WorkerKey;

/// PKCS #8 version 1 (RFC 8410) around the 32 bytes of an Ed25519 seed.
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// Validity of certificates before the run's creation: clocks of nodes differ.
const VALID_BEFORE: Duration = Duration::hours(24);
/// Validity of certificates after the run's creation; a run ends long before.
const VALID_AFTER: Duration = Duration::days(90);

/// Error of a channel that cannot be derived.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// A certificate cannot be made.
    #[error("cannot make the certificates of run {run}: {source}")]
    Certificate {
        /// Id of the run.
        run: String,
        /// Error of the certificate library.
        source: rcgen::Error,
    },
    /// The creation time in the status of the run cannot be read.
    #[error("cannot tell when run {run} was created: {source}")]
    Time {
        /// Id of the run.
        run: String,
        /// Error of the reader of times.
        source: TimeError,
    },
    /// The install key of the run was removed.
    #[error("the install key {key:?} that the run began with is not there any more")]
    NoKey {
        /// Id of the install key.
        key: String,
    },
}

/// Install key: 32 random bytes that all channels of an installation are derived from.
#[derive(Clone, PartialEq, Eq)]
pub struct InstallKey(pub [u8; 32]);

impl std::fmt::Debug for InstallKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InstallKey(..)")
    }
}

/// Content of the channel Secret. The authority's key is in none of its fields and never stored.
#[derive(Clone, PartialEq, Eq)]
pub struct Channel {
    /// Certificate of the run's authority, as PEM.
    pub ca: String,
    /// Certificate of the master, as PEM.
    pub master_cert: String,
    /// Private key of the master, as PEM.
    pub master_key: String,
    /// Key of the tokens that workers show to the master, one for each index.
    pub worker_key: WorkerKey,
    /// Token that all workers show to the master in runs that an older release began.
    pub shared_worker_token: String,
    /// Token that the operator shows to the master.
    pub operator_token: String,
    /// Token that lets a user read the progress of the run.
    pub read_token: String,
    /// Token that lets a user change the load of the run, and stop it.
    pub control_token: String,
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Channel(..)")
    }
}

impl Channel {
    /// Derives the channel of `run`, whose LoadTest has the UID `uid`. `created_at` is the run's
    /// creation as written in its status (RFC 3339).
    pub fn derive(
        key: &InstallKey,
        uid: &str,
        run: &str,
        created_at: &str,
    ) -> Result<Self, ChannelError> {
        let created =
            times::read_instant("status.run.createdAt", created_at).map_err(|source| {
                ChannelError::Time {
                    run: run.to_owned(),
                    source,
                }
            })?;
        let created = OffsetDateTime::from_unix_timestamp(created.as_second())
            .unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let derived = Derived {
            hkdf: Hkdf::new(None, &key.0),
            uid,
            run,
        };
        let (ca, master_cert, master_key) =
            certificates(&derived, created).map_err(|source| ChannelError::Certificate {
                run: run.to_owned(),
                source,
            })?;
        Ok(Self {
            ca,
            master_cert,
            master_key,
            worker_key: WorkerKey::new(derived.bytes("worker key")),
            shared_worker_token: derived.token("worker token"),
            operator_token: derived.token("operator token"),
            read_token: derived.token("read token"),
            control_token: derived.token("control token"),
        })
    }
}

struct Derived<'a> {
    hkdf: Hkdf<Sha256>,
    uid: &'a str,
    run: &'a str,
}

impl Derived<'_> {
    fn bytes(&self, purpose: &str) -> [u8; 32] {
        let mut out = [0; 32];
        // the separator is in none of the parts: UIDs and run ids hold no NUL
        let info = [
            b"starling\0",
            self.uid.as_bytes(),
            b"\0",
            self.run.as_bytes(),
            b"\0",
            purpose.as_bytes(),
        ];
        self.hkdf
            .expand_multi_info(&info.map(|part| part as &[u8]), &mut out)
            .expect("32 bytes are a length that HKDF-SHA256 has");
        out
    }

    fn token(&self, purpose: &str) -> String {
        data_encoding::BASE64URL_NOPAD.encode(&self.bytes(purpose))
    }

    fn key_pair(&self, purpose: &str) -> Result<KeyPair, rcgen::Error> {
        let pkcs8 = [PKCS8_PREFIX.as_slice(), &self.bytes(purpose)].concat();
        KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(pkcs8), &PKCS_ED25519)
    }

    fn serial(&self, purpose: &str) -> SerialNumber {
        let mut bytes = self.bytes(purpose)[..16].to_vec();
        bytes[0] = bytes[0] & 0x7f | 0x40; // positive, and never shorter
        SerialNumber::from_slice(&bytes)
    }
}

/// Makes the certificate of the authority, and certificate and key of the master, as PEM.
fn certificates(
    derived: &Derived<'_>,
    created: OffsetDateTime,
) -> Result<(String, String, String), rcgen::Error> {
    let params = |name: String, serial: &str| {
        let mut params = CertificateParams::default();
        params.not_before = created - VALID_BEFORE;
        params.not_after = created + VALID_AFTER;
        params.serial_number = Some(derived.serial(serial));
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params
    };
    let mut ca = params(format!("starling run {}", derived.run), "authority serial");
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let ca_key = derived.key_pair("authority key")?;
    let ca_cert = ca.self_signed(&ca_key)?;

    let name = server_name(derived.run);
    let mut leaf = params(format!("master of run {}", derived.run), "master serial");
    leaf.subject_alt_names = vec![rcgen::SanType::DnsName(name.as_str().try_into()?)];
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf.use_authority_key_identifier_extension = true;
    let leaf_key = derived.key_pair("master key")?;
    let leaf_cert = leaf.signed_by(&leaf_key, &Issuer::new(ca, ca_key))?;
    Ok((ca_cert.pem(), leaf_cert.pem(), leaf_key.serialize_pem()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
    use rustls::{ClientConfig, RootCertStore, ServerConfig};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const KEY: InstallKey = InstallKey([7; 32]);
    const RUN: &str = "categorizer-k3v7ra";

    fn now() -> String {
        jiff::Timestamp::now().to_string()
    }

    #[test]
    fn the_same_run_has_the_same_bytes_and_any_other_has_others() {
        let at = "2026-11-22T01:00:00Z";
        let channel = Channel::derive(&KEY, "uid", RUN, at).unwrap();
        assert_eq!(channel, Channel::derive(&KEY, "uid", RUN, at).unwrap());
        for other in [
            Channel::derive(&InstallKey([8; 32]), "uid", RUN, at).unwrap(),
            Channel::derive(&KEY, "uid-2", RUN, at).unwrap(),
            Channel::derive(&KEY, "uid", "categorizer-aaaaaa", at).unwrap(),
        ] {
            assert_ne!(channel.worker_key, other.worker_key);
            assert_ne!(channel.shared_worker_token, other.shared_worker_token);
            assert_ne!(channel.operator_token, other.operator_token);
            assert_ne!(channel.master_key, other.master_key);
        }
        let tokens = std::collections::HashSet::from([
            &channel.shared_worker_token,
            &channel.operator_token,
            &channel.read_token,
            &channel.control_token,
        ]);
        assert_eq!(tokens.len(), 4);
    }

    #[test]
    fn a_creation_time_that_is_none_is_refused() {
        assert!(matches!(
            Channel::derive(&KEY, "uid", RUN, "yesterday"),
            Err(ChannelError::Time { .. })
        ));
    }

    async fn handshake(server: &Channel, client: &Channel, name: &str) -> std::io::Result<()> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let certs = vec![CertificateDer::from_pem_slice(server.master_cert.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(server.master_key.as_bytes()).unwrap();
        let server_config = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(certs, key)
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(client.ca.as_bytes()).unwrap())
            .unwrap();
        let client_config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let (near, far) = tokio::io::duplex(16 * 1024);
        let serving = tokio::spawn(async move {
            let mut stream = tokio_rustls::TlsAcceptor::from(Arc::new(server_config))
                .accept(far)
                .await?;
            stream.write_all(b"hello").await?;
            stream.shutdown().await
        });
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut stream = tokio_rustls::TlsConnector::from(Arc::new(client_config))
            .connect(name, near)
            .await?;
        let mut received = Vec::new();
        stream.read_to_end(&mut received).await?;
        assert_eq!(received, b"hello");
        serving.await.unwrap()
    }

    #[tokio::test]
    async fn a_client_accepts_the_master_of_its_run_and_no_other() {
        let ours = Channel::derive(&KEY, "uid", RUN, &now()).unwrap();
        let theirs = Channel::derive(&KEY, "uid", "categorizer-aaaaaa", &now()).unwrap();
        handshake(&ours, &ours, &server_name(RUN)).await.unwrap();
        assert!(
            handshake(&theirs, &ours, &server_name(RUN)).await.is_err(),
            "another run's certificate"
        );
        assert!(
            handshake(&ours, &ours, "other.starling").await.is_err(),
            "another name"
        );
    }

    #[test]
    fn nothing_secret_is_shown() {
        let channel = Channel::derive(&KEY, "uid", RUN, &now()).unwrap();
        assert_eq!(format!("{KEY:?}{channel:?}"), "InstallKey(..)Channel(..)");
    }
}
