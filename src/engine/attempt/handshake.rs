//! Words for TLS that failed: what the target did, and what its tester can do about it.

use std::{fmt, io};

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

/// Explains an error of TLS, or of the connection during its handshake.
pub(super) fn explain(error: &io::Error) -> String {
    if let Some(tls) = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Error>())
    {
        return of_tls(tls);
    }
    match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            "the target closed the connection; it may not speak TLS there".into()
        }
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            "the target broke the connection; it may not speak TLS there".into()
        }
        _ => error.to_string(),
    }
}

fn of_tls(error: &Error) -> String {
    match error {
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "the target does not speak TLS there; the URL may have to begin with http://".into()
        }
        Error::InvalidMessage(_) => "the target sent what is not TLS".into(),
        Error::InvalidCertificate(why) => {
            format!("the target's certificate {}", of_certificate(why))
        }
        Error::AlertReceived(alert) => of_alert(*alert),
        Error::PeerIncompatible(why) => mismatch(why),
        Error::PeerMisbehaved(why) => mismatch(why),
        Error::NoCertificatesPresented => "the target showed no certificate".into(),
        other => other.to_string(),
    }
}

fn mismatch(why: &impl fmt::Debug) -> String {
    format!(
        "the target's TLS does not go together with ours ({})",
        spelled(why)
    )
}

/// Spells a variant in words: `HandshakeFailure` as `handshake failure`. Of nested ones, the
/// innermost.
fn spelled(variant: &impl fmt::Debug) -> String {
    let debug = format!("{variant:?}");
    let is_end = |c: char| !c.is_alphanumeric();
    let mut name = debug.as_str();
    while let Some(inner) = name
        .trim_start_matches(char::is_alphanumeric)
        .strip_prefix('(')
        .filter(|inner| inner.starts_with(char::is_uppercase))
    {
        name = inner;
    }
    let mut words = String::new();
    for c in name.split(is_end).next().unwrap_or_default().chars() {
        if c.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(c.to_lowercase());
    }
    words
}

fn of_certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => {
            "is signed by nobody who is trusted; tls.caFrom names who is".into()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "has expired".into(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "is not valid yet".into()
        }
        CertificateError::NotValidForName => {
            "is for another name; tls.serverName sets the name to expect".into()
        }
        CertificateError::NotValidForNameContext { .. } => {
            format!("is for another name ({error}); tls.serverName sets the name to expect")
        }
        CertificateError::Revoked => "was revoked".into(),
        CertificateError::BadEncoding => "cannot be read".into(),
        CertificateError::BadSignature => "has a wrong signature".into(),
        other => match spelled(other).as_str() {
            "ca used as end entity" => {
                "is one of an authority, which only tls.caFrom makes trusted as it is".into()
            }
            "unsupported cert version" => {
                "is of version 1, which cannot be verified; tls.insecureSkipVerify accepts it"
                    .into()
            }
            why => format!("is not accepted ({why})"),
        },
    }
}

fn of_alert(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired => {
            "the target asks for a client certificate; tls.certFrom gives one".into()
        }
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA
        | AlertDescription::AccessDenied => {
            format!(
                "the target refused the client certificate, or misses one (alert: {})",
                spelled(&alert)
            )
        }
        AlertDescription::ProtocolVersion => "the target speaks neither TLS 1.2 nor 1.3".into(),
        AlertDescription::UnrecognisedName => {
            "the target does not know the name that was asked for; tls.serverName sets it".into()
        }
        other => format!("the target ended it with an alert: {}", spelled(&other)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::{OtherError, PeerIncompatible};

    use super::*;

    /// Error of a library in another's.
    #[derive(Debug, thiserror::Error)]
    #[error("{0:?}")]
    struct Nested(CertificateError);

    #[test]
    fn an_error_of_tls_says_what_the_target_did() {
        let said = |error| explain(&io::Error::new(io::ErrorKind::InvalidData, error));
        for (error, words) in [
            (
                Error::InvalidMessage(InvalidMessage::InvalidContentType),
                "does not speak TLS there",
            ),
            (
                Error::InvalidCertificate(CertificateError::UnknownIssuer),
                "tls.caFrom",
            ),
            (
                Error::InvalidCertificate(CertificateError::Expired),
                "has expired",
            ),
            (
                Error::AlertReceived(AlertDescription::CertificateRequired),
                "tls.certFrom",
            ),
            (
                Error::AlertReceived(AlertDescription::HandshakeFailure),
                "an alert: handshake failure",
            ),
            (
                Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon),
                "(no cipher suites in common)",
            ),
            (
                Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(Nested(
                    CertificateError::UnhandledCriticalExtension,
                ))))),
                "is not accepted (unhandled critical extension)",
            ),
        ] {
            let said = said(error);
            assert!(said.contains(words), "{said}");
        }
        let closed = explain(&io::ErrorKind::UnexpectedEof.into());
        assert!(closed.contains("closed the connection"), "{closed}");
    }
}
