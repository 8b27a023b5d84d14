//! Keys of the curve P-521, which ring does not know: to sign with as a client, and to verify the
//! target's certificates and signatures by.

use std::fmt;
use std::sync::{Arc, LazyLock};

use p521::SecretKey;
use p521::ecdsa::signature::Signer as _;
use p521::ecdsa::signature::hazmat::PrehashVerifier;
use p521::ecdsa::{Signature, SigningKey as Secret, VerifyingKey};
use p521::pkcs8::{DecodePrivateKey, EncodePublicKey};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring};
use rustls::pki_types::{
    AlgorithmIdentifier, InvalidSignature, PrivateKeyDer, SignatureVerificationAlgorithm,
    SubjectPublicKeyInfoDer, alg_id,
};
use rustls::sign::{Signer, SigningKey};
use rustls::{Error, SignatureAlgorithm, SignatureScheme};
use sha2::{Digest, Sha256, Sha384, Sha512};

/// Length in bytes of a number of the curve.
const NUMBER: usize = 66;

/// Hash of a signature.
#[derive(Debug, Clone, Copy)]
enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

/// Algorithm by which signatures of P-521 are verified.
#[derive(Debug)]
struct Verification(Hash);

static SHA256: Verification = Verification(Hash::Sha256);
static SHA384: Verification = Verification(Hash::Sha384);
static SHA512: Verification = Verification(Hash::Sha512);

/// Provider of what ring knows, and of P-521.
static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    let ring = ring::default_provider();
    Arc::new(CryptoProvider {
        signature_verification_algorithms: with_p521(ring.signature_verification_algorithms),
        ..ring
    })
});

/// Returns the provider of cryptography for connections to targets.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::clone(&PROVIDER)
}

/// Adds P-521. The lists live as long as the process, since rustls asks for that; they are made
/// once.
fn with_p521(known: WebPkiSupportedAlgorithms) -> WebPkiSupportedAlgorithms {
    type Algorithm = &'static dyn SignatureVerificationAlgorithm;
    let own: [Algorithm; 3] = [&SHA256, &SHA384, &SHA512];
    let all: Vec<Algorithm> = known.all.iter().copied().chain(own).collect();
    let mut mapping: Vec<(SignatureScheme, &'static [Algorithm])> = Vec::new();
    for (scheme, algorithms) in known.mapping {
        // TLS 1.2 names only the hash, whatever the curve; TLS 1.3 asks for the first
        let more: Option<Algorithm> = match scheme {
            SignatureScheme::ECDSA_NISTP256_SHA256 => Some(&SHA256),
            SignatureScheme::ECDSA_NISTP384_SHA384 => Some(&SHA384),
            _ => None,
        };
        let algorithms: Vec<Algorithm> = algorithms.iter().copied().chain(more).collect();
        mapping.push((*scheme, algorithms.leak()));
    }
    let own: Vec<Algorithm> = vec![&SHA512];
    mapping.push((SignatureScheme::ECDSA_NISTP521_SHA512, own.leak()));
    WebPkiSupportedAlgorithms {
        all: all.leak(),
        mapping: mapping.leak(),
    }
}

impl SignatureVerificationAlgorithm for Verification {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let key = VerifyingKey::from_sec1_bytes(public_key).map_err(|_| InvalidSignature)?;
        let signature = Signature::from_der(signature).map_err(|_| InvalidSignature)?;
        let hash = match self.0 {
            Hash::Sha256 => Sha256::digest(message).to_vec(),
            Hash::Sha384 => Sha384::digest(message).to_vec(),
            Hash::Sha512 => Sha512::digest(message).to_vec(),
        };
        // as a number of the curve, since shorter ones are refused
        let mut number = [0; NUMBER];
        number[NUMBER - hash.len()..].copy_from_slice(&hash);
        key.verify_prehash(&number, &signature)
            .map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_P521
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        match self.0 {
            Hash::Sha256 => alg_id::ECDSA_SHA256,
            Hash::Sha384 => alg_id::ECDSA_SHA384,
            Hash::Sha512 => alg_id::ECDSA_SHA512,
        }
    }
}

/// Private key of P-521.
#[derive(Clone)]
pub(super) struct P521Key(Arc<Secret>);

impl P521Key {
    /// Reads a key in PKCS#8 or SEC 1; `None` if it is of another kind.
    pub(super) fn new(key: &PrivateKeyDer<'_>) -> Option<Self> {
        let secret = match key {
            PrivateKeyDer::Pkcs8(key) => SecretKey::from_pkcs8_der(key.secret_pkcs8_der()).ok()?,
            PrivateKeyDer::Sec1(key) => SecretKey::from_sec1_der(key.secret_sec1_der()).ok()?,
            _ => return None,
        };
        Some(Self(Arc::new(Secret::from(&secret))))
    }
}

impl fmt::Debug for P521Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("P521Key")
    }
}

impl SigningKey for P521Key {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered
            .contains(&Signer::scheme(self))
            .then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        let document = self.0.verifying_key().to_public_key_der().ok()?;
        Some(document.into_vec().into())
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for P521Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let signature: Signature = self
            .0
            .try_sign(message)
            .map_err(|_| Error::General("a signature with P-521 could not be made".into()))?;
        Ok(signature.to_der().as_bytes().to_vec())
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ECDSA_NISTP521_SHA512
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    use rustls::server::WebPkiClientVerifier;
    use rustls::sign::{CertifiedKey, SingleCertAndKey};
    use rustls::version::{TLS12, TLS13};
    use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::*;

    /// Authority, and a certificate that it signed with SHA-256.
    const AUTHORITY: &[u8] = include_bytes!("../../../../tests/fixtures/tls/p521.crt");
    const LEAF: &[u8] = include_bytes!("../../../../tests/fixtures/tls/leaf.crt");
    const KEY: &[u8] = include_bytes!("../../../../tests/fixtures/tls/leaf.key");

    fn own() -> Arc<SingleCertAndKey> {
        let key = PrivateKeyDer::from_pem_slice(KEY).unwrap();
        let key = Arc::new(P521Key::new(&key).unwrap());
        let leaf = CertificateDer::from_pem_slice(LEAF).unwrap();
        let own = CertifiedKey::new(vec![leaf], key);
        own.keys_match().unwrap();
        Arc::new(SingleCertAndKey::from(own))
    }

    /// Shakes hands, both sides with a certificate of P-521.
    async fn shake(version: &'static SupportedProtocolVersion) -> std::io::Result<[u8; 2]> {
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_slice(AUTHORITY).unwrap();
        roots.add(authority).unwrap();
        let roots = Arc::new(roots);
        let clients = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider());
        let server = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_client_cert_verifier(clients.build().unwrap())
            .with_cert_resolver(own());
        let client = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_client_cert_resolver(own());
        let (near, far) = tokio::io::duplex(1 << 16);
        let acceptor = TlsAcceptor::from(Arc::new(server));
        let serving = async {
            let mut stream = acceptor.accept(far).await?;
            stream.write_all(b"ok").await?;
            stream.flush().await?;
            Ok::<_, std::io::Error>(stream)
        };
        let connector = TlsConnector::from(Arc::new(client));
        let asking = async {
            let name = "localhost".try_into().unwrap();
            let mut stream = connector.connect(name, near).await?;
            let mut answer = [0; 2];
            stream.read_exact(&mut answer).await?;
            Ok::<_, std::io::Error>(answer)
        };
        let (served, answer) = tokio::join!(serving, asking);
        served.and(answer)
    }

    #[tokio::test]
    async fn both_sides_may_have_keys_of_p521() {
        for version in [&TLS12, &TLS13] {
            assert_eq!(&shake(version).await.unwrap(), b"ok", "{version:?}");
        }
    }

    #[test]
    fn a_signature_of_another_message_or_key_is_refused() {
        let key = PrivateKeyDer::from_pem_slice(KEY).unwrap();
        let key = P521Key::new(&key).unwrap();
        let signature = key.sign(b"message").unwrap();
        let public = key.0.verifying_key().to_sec1_bytes();
        let public = &*public;
        assert!(
            SHA512
                .verify_signature(public, b"message", &signature)
                .is_ok()
        );
        assert!(
            SHA512
                .verify_signature(public, b"massage", &signature)
                .is_err()
        );
        assert!(
            SHA256
                .verify_signature(public, b"message", &signature)
                .is_err()
        );
        assert!(
            SHA512
                .verify_signature(&public[1..], b"message", &signature)
                .is_err()
        );
        assert!(
            SHA512
                .verify_signature(public, b"message", &signature[1..])
                .is_err()
        );
    }
}
