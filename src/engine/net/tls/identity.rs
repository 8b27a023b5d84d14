//! Certificate by which a worker identifies itself to a target, with its key: in PEM or PKCS#12,
//! encrypted or not.

use std::sync::Arc;

use p12_keystore::Pkcs12Archive;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::{CertifiedKey, SigningKey};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::p521::P521Key;
use super::{bytes, certificates, problem};
use crate::engine::inputs;
use crate::plan::{ClientCertificate, Inputs, Problem, Reference};

/// Label of a private key that is encrypted as PKCS#8 says.
const ENCRYPTED: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";

/// Mark of a private key that is encrypted as OpenSSL did before PKCS#8.
const OLD_ENCRYPTION: &str = "Proc-Type: 4,ENCRYPTED";

/// Kinds of keys that can sign, for messages.
const KINDS: &str = "RSA of at least 2048 bits, P-256, P-384, P-521 and Ed25519 can";

/// Reads the certificate and key of a client. Whatever may be wrong with the certificate, the
/// target judges it.
pub(super) fn identity(
    client: &ClientCertificate,
    inputs: &Inputs,
) -> Result<CertifiedKey, Problem> {
    let ClientCertificate {
        certificate,
        key,
        passphrase,
    } = client;
    let passphrase = passphrase.as_ref();
    let (chain, private, of) = match key {
        Some(key) => (
            certificates(certificate, inputs)?,
            private_key(key, passphrase, inputs)?,
            key,
        ),
        None => {
            let (chain, private) = from_pkcs12(certificate, passphrase, inputs)?;
            (chain, private, certificate)
        }
    };
    let own = CertifiedKey::new(chain, signing_key(&private, of)?);
    let first = own.cert.first();
    if first.and_then(|first| is_of_key(first, &*own.key)) == Some(false) {
        return Err(problem(certificate, "does not fit its key"));
    }
    Ok(own)
}

/// Returns whether a certificate, of whatever version, is that of a key; `None` if it cannot be
/// read. `rustls` compares only certificates of version 3.
fn is_of_key(certificate: &CertificateDer<'_>, key: &dyn SigningKey) -> Option<bool> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    Some(certificate.public_key().raw == key.public_key()?.as_ref())
}

fn signing_key(
    key: &PrivateKeyDer<'_>,
    reference: &Reference,
) -> Result<Arc<dyn SigningKey>, Problem> {
    if let Ok(key) = ring::sign::any_supported_type(key) {
        return Ok(key);
    }
    match P521Key::new(key) {
        Some(key) => Ok(Arc::new(key)),
        None => Err(problem(
            reference,
            &format!("is of a kind that cannot sign here; {KINDS}"),
        )),
    }
}

/// Reads a private key in PEM. One that is encrypted needs `passphrase`.
fn private_key(
    key: &Reference,
    passphrase: Option<&Reference>,
    inputs: &Inputs,
) -> Result<PrivateKeyDer<'static>, Problem> {
    let pem = bytes(key, inputs);
    let text = String::from_utf8_lossy(pem);
    if text.contains(OLD_ENCRYPTION) {
        return Err(problem(
            key,
            "is encrypted in the old way of OpenSSL; `openssl pkcs8 -topk8` writes it as PKCS#8",
        ));
    }
    if !text.contains(ENCRYPTED) {
        return PrivateKeyDer::from_pem_slice(pem)
            .map_err(|_| problem(key, "holds no PEM private key"));
    }
    let Some(passphrase) = passphrase else {
        return Err(problem(key, "is encrypted; set tls.passphraseFrom"));
    };
    let secret = inputs::text(passphrase, inputs)?;
    decrypted(&text, secret).map_err(|why| problem(key, &why))
}

/// Decrypts the first encrypted private key in PEM.
fn decrypted(pem: &str, passphrase: &str) -> Result<PrivateKeyDer<'static>, String> {
    let base64: String = pem
        .split_once(ENCRYPTED)
        .map_or("", |(_, rest)| rest)
        .chars()
        .take_while(|character| *character != '-')
        .filter(|character| !character.is_whitespace())
        .collect();
    let der = data_encoding::BASE64
        .decode(base64.as_bytes())
        .map_err(|_| "holds no PEM private key".to_owned())?;
    let encrypted = pkcs8::EncryptedPrivateKeyInfoRef::try_from(der.as_slice()).map_err(|_| {
        "is encrypted in a way that cannot be read here; `openssl pkcs8 -topk8` writes one that can"
            .to_owned()
    })?;
    let key = encrypted
        .decrypt(passphrase)
        .map_err(|_| "cannot be decrypted: the passphrase is wrong".to_owned())?;
    Ok(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec()).into())
}

/// Reads the first private key of a PKCS#12 file and the certificates in it, that of the key first.
fn from_pkcs12(
    file: &Reference,
    passphrase: Option<&Reference>,
    inputs: &Inputs,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Problem> {
    let secret = match passphrase {
        Some(passphrase) => inputs::text(passphrase, inputs)?,
        None => "",
    };
    let archive = Pkcs12Archive::from_pkcs12(bytes(file, inputs), secret)
        .map_err(|error| problem(file, &why_unread(&error, passphrase.is_some())))?;
    let Some(key) = archive.keys.into_iter().next() else {
        return Err(problem(file, "holds no private key"));
    };
    let private: PrivateKeyDer<'static> =
        PrivatePkcs8KeyDer::from(key.key.as_der().to_vec()).into();
    let signing = signing_key(&private, file)?;
    let mut chain: Vec<_> = archive
        .certs
        .into_iter()
        .map(|bag| CertificateDer::from(bag.cert.as_der().to_vec()))
        .collect();
    let fits =
        |certificate: &CertificateDer<'static>| is_of_key(certificate, &*signing) == Some(true);
    match chain.iter().position(fits) {
        Some(own) => chain[..=own].rotate_right(1),
        None if chain.is_empty() => return Err(problem(file, "holds no certificate")),
        None => {}
    }
    Ok((chain, private))
}

/// Returns why a PKCS#12 file cannot be read.
fn why_unread(error: &p12_keystore::error::Error, has_passphrase: bool) -> String {
    use p12_keystore::error::Error;

    match error {
        Error::MacError(_) | Error::UnpadError | Error::Pkcs5Error(_) if has_passphrase => {
            "cannot be decrypted: the passphrase is wrong".into()
        }
        Error::MacError(_) | Error::UnpadError | Error::Pkcs5Error(_) => {
            "is encrypted; set tls.passphraseFrom".into()
        }
        Error::UnsupportedEncryptionScheme | Error::UnsupportedMacAlgorithm => {
            "is encrypted in a way that cannot be read here; `openssl pkcs12 -export` writes one that can".into()
        }
        _ => "holds no PKCS#12 file in DER".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Kind;

    const CERTIFICATE: &[u8] = include_bytes!("../../../../tests/fixtures/tls/p521.crt");
    const PLAIN: &[u8] = include_bytes!("../../../../tests/fixtures/tls/p521.key");
    const ENCRYPTED_KEY: &[u8] = include_bytes!("../../../../tests/fixtures/tls/encrypted.key");
    const SCRYPT: &[u8] = include_bytes!("../../../../tests/fixtures/tls/scrypt.key");
    const PBES1: &[u8] = include_bytes!("../../../../tests/fixtures/tls/pbes1.key");
    const OLD: &[u8] = include_bytes!("../../../../tests/fixtures/tls/old.key");
    const PKCS12: &[u8] = include_bytes!("../../../../tests/fixtures/tls/client.p12");
    const LEGACY_PKCS12: &[u8] = include_bytes!("../../../../tests/fixtures/tls/legacy.p12");
    const OPEN_PKCS12: &[u8] = include_bytes!("../../../../tests/fixtures/tls/open.p12");
    /// Passphrase of all of them, as a file holds it.
    const PASSPHRASE: &[u8] = b"Meise 7\n";

    fn reference(key: &str) -> Reference {
        Reference {
            kind: Kind::Secret,
            name: "client".into(),
            key: key.into(),
            field: format!("spec.target.tls.{key}"),
        }
    }

    /// Reads a certificate with its key, or else a PKCS#12 file.
    fn read(
        certificate: &[u8],
        key: Option<&[u8]>,
        passphrase: Option<&[u8]>,
    ) -> Result<CertifiedKey, String> {
        let mut inputs = Inputs::default();
        let mut given = |name: &str, value: Option<&[u8]>| {
            let value = value?;
            inputs.insert(Kind::Secret, "client", name, value.to_vec());
            Some(reference(name))
        };
        let client = ClientCertificate {
            certificate: given("certFrom", Some(certificate)).unwrap(),
            key: given("keyFrom", key),
            passphrase: given("passphraseFrom", passphrase),
        };
        identity(&client, &inputs).map_err(|problem| problem.to_string())
    }

    #[test]
    fn keys_are_read_encrypted_or_not_and_in_one_file_with_their_certificate() {
        let wanted: Vec<_> = CertificateDer::pem_slice_iter(CERTIFICATE)
            .map(Result::unwrap)
            .collect();
        for (certificate, key, passphrase) in [
            (CERTIFICATE, Some(PLAIN), None),
            (CERTIFICATE, Some(PLAIN), Some(PASSPHRASE)),
            (CERTIFICATE, Some(ENCRYPTED_KEY), Some(PASSPHRASE)),
            (CERTIFICATE, Some(SCRYPT), Some(PASSPHRASE)),
            (PKCS12, None, Some(PASSPHRASE)),
            (LEGACY_PKCS12, None, Some(PASSPHRASE)),
            (OPEN_PKCS12, None, None),
        ] {
            let own = read(certificate, key, passphrase).unwrap();
            assert_eq!(own.cert, wanted);
            assert!(own.keys_match().is_ok());
        }
    }

    #[test]
    fn what_cannot_be_read_is_told_with_what_to_do() {
        let wrong = Some(&b"Amsel 8"[..]);
        for (certificate, key, passphrase, told) in [
            (
                CERTIFICATE,
                Some(ENCRYPTED_KEY),
                None,
                "keyFrom: .* is encrypted; set tls.passphraseFrom",
            ),
            (
                CERTIFICATE,
                Some(ENCRYPTED_KEY),
                wrong,
                "keyFrom: .* the passphrase is wrong",
            ),
            (
                CERTIFICATE,
                Some(SCRYPT),
                wrong,
                "keyFrom: .* the passphrase is wrong",
            ),
            (
                CERTIFICATE,
                Some(ENCRYPTED_KEY),
                Some(&b"\n"[..]),
                "passphraseFrom: .* is empty",
            ),
            (
                CERTIFICATE,
                Some(OLD),
                Some(PASSPHRASE),
                "old way of OpenSSL; `openssl pkcs8 -topk8`",
            ),
            (
                CERTIFICATE,
                Some(PBES1),
                Some(PASSPHRASE),
                "a way that cannot be read here; `openssl pkcs8 -topk8`",
            ),
            (
                CERTIFICATE,
                Some(b"no key"),
                None,
                "keyFrom: .* holds no PEM private key",
            ),
            (
                PKCS12,
                None,
                None,
                "certFrom: .* is encrypted; set tls.passphraseFrom",
            ),
            (PKCS12, None, wrong, "certFrom: .* the passphrase is wrong"),
            (
                LEGACY_PKCS12,
                None,
                wrong,
                "certFrom: .* the passphrase is wrong",
            ),
            (
                CERTIFICATE,
                None,
                None,
                "certFrom: .* holds no PKCS#12 file",
            ),
        ] {
            let error = read(certificate, key, passphrase).unwrap_err();
            let pattern = regex::Regex::new(told).unwrap();
            assert!(pattern.is_match(&error), "{error} is not {told}");
            assert!(
                !error.contains("Meise") && !error.contains("Amsel"),
                "{error}"
            );
        }
    }
}
