//! Install keys: 32 random bytes each, in a Secret of the operator's own namespace that the
//! operator itself makes.
//!
//! The Secret's data: `installation` (an id), `current` (the id of the key for new runs), and one
//! entry of 32 bytes for each key id. Adding a key and naming it `current` rotates; a key may be
//! removed when no run that began with it goes on. The operator reads it at its start.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ObjectMeta, PostParams};

use super::api::{ApiError, call, kube_call};
use super::channel::{Channel, ChannelError, InstallKey};
use super::proof::Proofs;
use crate::crd::status::RunStatus;

/// Name of the Secret; the only one the operator may read.
pub const SECRET_NAME: &str = crate::plan::reserved::INSTALL_KEY;

const INSTALLATION: &str = "installation";
const CURRENT: &str = "current";

/// Error of install keys that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The Secret can neither be read nor created.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The Secret does not hold what the operator wrote.
    #[error(
        "Secret {namespace}/{SECRET_NAME} {why}; delete it to have a new one made \
         (runs in progress end Errored)"
    )]
    Content {
        /// Namespace of the Secret.
        namespace: String,
        /// Predicate that completes the sentence about the Secret.
        why: String,
    },
}

/// Install keys of one installation, by their ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstallKeys {
    /// Id of the installation, which marks its runs. It stays when the chart is removed and
    /// installed in the same namespace.
    pub installation: String,
    /// Id of the key that new runs use.
    pub current: String,
    keys: BTreeMap<String, InstallKey>,
}

impl InstallKeys {
    fn get(&self, id: &str) -> Option<&InstallKey> {
        self.keys.get(id)
    }

    /// Derives the channel of `run`, whose LoadTest has the UID `uid`, from the key that the run
    /// began with.
    pub fn channel(&self, uid: &str, run: &RunStatus) -> Result<Channel, ChannelError> {
        let key = self.get(&run.key_id).ok_or_else(|| ChannelError::NoKey {
            key: run.key_id.clone(),
        })?;
        Channel::derive(key, uid, &run.id, &run.created_at)
    }

    /// Derives the proofs of the key with this id; `None` when there is no such key any more.
    pub fn proofs(&self, id: &str) -> Option<Proofs> {
        self.get(id).map(|key| Proofs::derive(key, id))
    }

    /// Derives the proofs that new runs are begun with.
    pub fn current_proofs(&self) -> Proofs {
        self.proofs(&self.current)
            .expect("keys are read and made only with the current one among them")
    }

    /// Derives the proofs of every key: runs of long ago may have begun with any.
    pub fn all_proofs(&self) -> impl Iterator<Item = Proofs> {
        self.keys.iter().map(|(id, key)| Proofs::derive(key, id))
    }

    /// Creates the first key of a new installation from random bytes.
    pub(super) fn generate(random: [u8; 40]) -> Self {
        let (id, key) = random.split_at(8);
        let (installation, current) = (
            data_encoding::HEXLOWER.encode(&id[..4]),
            format!("key-{}", data_encoding::HEXLOWER.encode(&id[4..])),
        );
        let key = InstallKey(key.try_into().expect("40 less 8 bytes are 32"));
        Self {
            installation,
            keys: [(current.clone(), key)].into(),
            current,
        }
    }

    fn data(&self) -> BTreeMap<String, ByteString> {
        let text = [(INSTALLATION, &self.installation), (CURRENT, &self.current)];
        let text =
            text.map(|(name, value)| (name.to_owned(), ByteString(value.as_bytes().to_vec())));
        self.keys
            .iter()
            .map(|(id, key)| (id.clone(), ByteString(key.0.to_vec())))
            .chain(text)
            .collect()
    }

    fn read(data: &BTreeMap<String, ByteString>) -> Result<Self, String> {
        let text = |name: &str| -> Result<String, String> {
            let bytes = data
                .get(name)
                .ok_or_else(|| format!("has no entry {name:?}"))?;
            String::from_utf8(bytes.0.clone())
                .map(|text| text.trim().to_owned())
                .map_err(|_| format!("has no text in {name:?}"))
        };
        let (installation, current) = (text(INSTALLATION)?, text(CURRENT)?);
        let mut keys = BTreeMap::new();
        for (id, bytes) in data
            .iter()
            .filter(|(id, _)| ![INSTALLATION, CURRENT].contains(&id.as_str()))
        {
            let key = bytes
                .0
                .as_slice()
                .try_into()
                .map_err(|_| format!("has {} bytes in {id:?}, not 32", bytes.0.len()))?;
            keys.insert(id.clone(), InstallKey(key));
        }
        if !keys.contains_key(&current) {
            return Err(format!("names {current:?} as current, and has no such key"));
        }
        Ok(Self {
            installation,
            current,
            keys,
        })
    }
}

/// Reads the keys, after creating them if there are none. Two operators that do so at once end up
/// with the same keys.
pub async fn load(client: &kube::Client, namespace: &str) -> Result<InstallKeys, KeyError> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    if kube_call("read Secret", SECRET_NAME, secrets.get_opt(SECRET_NAME))
        .await?
        .is_none()
    {
        let mut random = [0; 40];
        rand::fill(&mut random[..]);
        create(&secrets, &InstallKeys::generate(random)).await?;
    }
    let secret = kube_call("read Secret", SECRET_NAME, secrets.get(SECRET_NAME)).await?;
    InstallKeys::read(&secret.data.unwrap_or_default()).map_err(|why| KeyError::Content {
        namespace: namespace.to_owned(),
        why,
    })
}

/// Creates the Secret, unless another operator has just done so.
async fn create(secrets: &Api<Secret>, keys: &InstallKeys) -> Result<(), ApiError> {
    let labels = [
        ("app.kubernetes.io/name", "starling"),
        ("app.kubernetes.io/managed-by", "starling"),
    ];
    let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(SECRET_NAME.to_owned()),
            labels: Some(labels.into()),
            ..ObjectMeta::default()
        },
        data: Some(keys.data()),
        ..Secret::default()
    };
    let (what, params) = ("create Secret", PostParams::default());
    match call(what, SECRET_NAME, secrets.create(&params, &secret)).await? {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        Err(source) => Err(ApiError::Kube {
            what,
            name: SECRET_NAME.to_owned(),
            source: Box::new(source),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let keys = InstallKeys::generate([9; 40]);
        assert_eq!(InstallKeys::read(&keys.data()).unwrap(), keys);
        assert_eq!(keys.get(&keys.current), Some(&InstallKey([9; 32])));
    }

    #[test]
    fn rotation_keeps_the_installation_and_the_old_key() {
        let keys = InstallKeys::generate([9; 40]);
        let mut data = keys.data();
        data.insert("key-2".into(), ByteString(vec![1; 32]));
        data.insert(CURRENT.into(), ByteString(b"key-2\n".to_vec()));
        let rotated = InstallKeys::read(&data).unwrap();
        assert_eq!(
            (rotated.installation, rotated.current.as_str()),
            (keys.installation, "key-2")
        );
        assert!(rotated.keys.contains_key(&keys.current));
    }

    #[test]
    fn a_broken_secret_says_what_is_wrong() {
        let mut data = InstallKeys::generate([9; 40]).data();
        data.insert("short".into(), ByteString(vec![1; 5]));
        assert!(
            InstallKeys::read(&data)
                .unwrap_err()
                .contains("5 bytes in \"short\"")
        );
        data.remove("short");
        data.insert(CURRENT.into(), ByteString(b"none".to_vec()));
        assert!(InstallKeys::read(&data).unwrap_err().contains("\"none\""));
        assert!(InstallKeys::read(&BTreeMap::new()).is_err());
    }
}
