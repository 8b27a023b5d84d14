//! Proofs that only an operator of this installation can give: ids of runs, seals of children,
//! names and seals of reports. Each is an HMAC-SHA256 (RFC 2104) with a key of its own, which
//! HKDF-SHA256 derives from an install key, so that no proof serves for another purpose.

use data_encoding::{BASE32_NOPAD, HEXLOWER};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::channel::InstallKey;
use super::child::Child;

/// Characters of the run's id after the name: 30 bits, which nobody can count through while a run
/// begins.
const ID_LENGTH: usize = 6;

/// Characters that end a report's name: 60 bits.
const REPORT_LENGTH: usize = 12;

/// Keys of all proofs that one install key gives.
#[derive(Clone, PartialEq, Eq)]
pub struct Proofs {
    key_id: String,
    run_ids: [u8; 32],
    children: [u8; 32],
    report_names: [u8; 32],
    reports: [u8; 32],
}

impl std::fmt::Debug for Proofs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Proofs(..)")
    }
}

impl Proofs {
    /// Derives the keys of all proofs from the install key with the id `key_id`.
    pub fn derive(key: &InstallKey, key_id: &str) -> Self {
        let hkdf = Hkdf::<Sha256>::new(None, &key.0);
        let derived = |purpose: &str| {
            let mut out = [0; 32];
            // channels name a UID and a run here, neither of which is ever empty
            hkdf.expand_multi_info(&[b"starling\0\0\0", purpose.as_bytes()], &mut out)
                .expect("32 bytes are a length that HKDF-SHA256 has");
            out
        };
        Self {
            key_id: key_id.to_owned(),
            run_ids: derived("run ids"),
            children: derived("seals of children"),
            report_names: derived("names of reports"),
            reports: derived("seals of reports"),
        }
    }

    /// Computes the end of the id of a LoadTest's `runs`th run: six base32 characters.
    pub fn run_suffix(&self, uid: &str, runs: i64) -> String {
        letters(&self.run_ids, &[uid, &runs.to_string()], ID_LENGTH)
    }

    /// Computes the seal of a child: base32 of 125 bits over the LoadTest's UID, the run, the hash
    /// of its plan and the child. Every release computes the same, whatever it builds.
    pub fn child(&self, uid: &str, run: &str, plan_hash: &str, child: Child) -> String {
        let parts = [uid, run, plan_hash, &child.to_string()];
        letters(&self.children, &parts, 25)
    }

    /// Computes the end of the name of a run's report. Nobody else knows the name before the report
    /// is there.
    pub fn report_suffix(&self, uid: &str, run: &str) -> String {
        letters(&self.report_names, &[uid, run], REPORT_LENGTH)
    }

    /// Computes the seal of a report, in hexadecimal: over the LoadTest's UID, the run, the id of
    /// the install key, and the packed content.
    pub fn report(&self, uid: &str, run: &str, packed: &[u8]) -> String {
        let mut mac = begin(&self.reports, &[uid, run, &self.key_id]);
        mac.update(packed);
        HEXLOWER.encode(&mac.finalize().into_bytes())
    }

    /// Returns whether `seal` is that of the report with this content.
    pub fn admits_report(&self, uid: &str, run: &str, packed: &[u8], seal: &str) -> bool {
        let expected = self.report(uid, run, packed);
        expected.as_bytes().ct_eq(seal.as_bytes()).into()
    }
}

/// First `length` characters of the proof over `parts`, in lower-case base32.
fn letters(key: &[u8; 32], parts: &[&str], length: usize) -> String {
    let proof = begin(key, parts).finalize().into_bytes();
    let mut text = BASE32_NOPAD.encode(&proof).to_ascii_lowercase();
    text.truncate(length);
    text
}

/// Begins a proof over `parts`, each with its length before it, so that no two lists of parts are
/// the same bytes.
fn begin(key: &[u8; 32], parts: &[&str]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part.as_bytes());
    }
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proofs(key: u8) -> Proofs {
        Proofs::derive(&InstallKey([key; 32]), "key-1")
    }

    #[test]
    fn another_key_uid_or_count_has_another_id() {
        let id = proofs(7).run_suffix("uid", 1);
        assert_eq!(id, proofs(7).run_suffix("uid", 1));
        for other in [
            proofs(8).run_suffix("uid", 1),
            proofs(7).run_suffix("uid-2", 1),
            proofs(7).run_suffix("uid", 2),
        ] {
            assert_ne!(id, other);
        }
        // what anybody could compute before: base32 of SHA-256 over UID and count
        let hash = <Sha256 as sha2::Digest>::digest("uid/1");
        assert_ne!(id, BASE32_NOPAD.encode(&hash).to_ascii_lowercase()[..6]);
    }

    #[test]
    fn a_seal_is_of_one_child_of_one_plan_of_one_run() {
        let seal = proofs(7).child("uid", "run", "hash", Child::Plan);
        for other in [
            proofs(8).child("uid", "run", "hash", Child::Plan),
            proofs(7).child("uid", "run", "hash", Child::Service),
            // the same name and component, another kind
            proofs(7).child("uid", "run", "hash", Child::Master),
            proofs(7).child("uid", "run", "hash-2", Child::Plan),
            proofs(7).child("uid", "run-2", "hash", Child::Plan),
            // the same letters, divided otherwise
            proofs(7).child("uidr", "un", "hash", Child::Plan),
        ] {
            assert_ne!(seal, other);
        }
    }

    #[test]
    fn a_report_is_believed_as_it_was_written_and_by_the_key_it_names() {
        let proofs = proofs(7);
        let seal = proofs.report("uid", "run", b"content");
        assert!(proofs.admits_report("uid", "run", b"content", &seal));
        assert!(!proofs.admits_report("uid", "run", b"contents", &seal));
        assert!(!proofs.admits_report("uid", "other", b"content", &seal));
        assert!(!proofs.admits_report("other", "run", b"content", &seal));
        assert!(!proofs.admits_report("uid", "run", b"content", ""));
        let renamed = Proofs::derive(&InstallKey([7; 32]), "key-2");
        assert!(!renamed.admits_report("uid", "run", b"content", &seal));
        assert_eq!(format!("{proofs:?}"), "Proofs(..)");
    }
}
