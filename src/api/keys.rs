//! API keys: a Secret in the operator's namespace says whom each stands for.
//!
//! The Secret is read live for each request that brings a key, by its name, so a key that is taken
//! out of it stops to work at once and the account needs no right to list or watch Secrets. What
//! was read of it is kept parsed as long as it is the same version.

mod entry;
mod make;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::core::Request;

use super::{
    auth::User,
    cluster::{Call, Cluster, refused},
    error::Error,
};
pub(super) use entry::PREFIX;
use entry::{Entry, Hash};
pub use make::{MadeApiKey, MakeApiKey};

/// What a Secret and its metadata may take at most: the API server stores up to a MiB of content,
/// and sends it in base64.
const MAX_SECRET_BYTES: usize = 4 << 20;

/// The API keys that there are.
#[derive(Debug)]
pub(super) struct Keys {
    namespace: String,
    secret: String,
    last: Mutex<Option<Arc<Table>>>,
}

/// The content of one version of the Secret.
#[derive(Debug)]
struct Table {
    version: (Option<String>, Option<String>),
    entries: Entries,
}

/// Entries by digest, each with its name.
type Entries = HashMap<Hash, (String, Entry)>;

impl Keys {
    pub fn new(namespace: &str, secret: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            secret: secret.to_owned(),
            last: Mutex::new(None),
        }
    }

    /// The user that a key stands for, if there is such a key and it hasn't ended.
    pub async fn user(&self, cluster: &Cluster, key: &str) -> Result<Option<User>, Error> {
        let Some(secret) = self.read(cluster).await? else {
            return Ok(None);
        };
        let table = self.table(secret);
        let Some((name, entry)) = table.entries.get(&Hash::of(key)) else {
            return Ok(None);
        };
        if entry.is_over(Timestamp::now()) {
            tracing::debug!(entry = name, expires = ?entry.expires, "an API key has ended");
            return Ok(None);
        }
        Ok(Some(User {
            name: entry.user.clone(),
            uid: None,
            groups: entry.groups.clone(),
            extra: BTreeMap::new(),
            api_key: Some(name.clone()),
        }))
    }

    /// Reads the Secret. One that isn't there holds no keys.
    async fn read(&self, cluster: &Cluster) -> Result<Option<Secret>, Error> {
        let call = Call {
            verb: "get",
            resource: "secrets",
            namespace: Some(&self.namespace),
        };
        let path = format!("/api/v1/namespaces/{}/secrets", self.namespace);
        let request = Request::new(path).get(&self.secret, &Default::default());
        match cluster.send(call, request.ok(), MAX_SECRET_BYTES).await {
            Ok(secret) => Ok(Some(secret)),
            Err(Ok(status)) if status.is_not_found() => {
                tracing::error!(
                    namespace = self.namespace,
                    secret = self.secret,
                    "there is no such Secret, so there are no API keys"
                );
                Ok(None)
            }
            Err(Ok(status)) => Err(refused(call, &status)),
            Err(Err(error)) => Err(error),
        }
    }

    fn table(&self, secret: Secret) -> Arc<Table> {
        let version = (secret.metadata.uid, secret.metadata.resource_version);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some(table) if table.version == version && version.1.is_some() => table.clone(),
            _ => {
                let (entries, refused) = parse(secret.data.unwrap_or_default());
                for (entry, why) in refused {
                    tracing::error!(
                        namespace = self.namespace,
                        secret = self.secret,
                        entry,
                        why,
                        "an API key isn't accepted"
                    );
                }
                let table = Arc::new(Table { version, entries });
                *last = Some(table.clone());
                table
            }
        }
    }
}

/// The good entries by digest, and what is wrong with the others.
fn parse(data: BTreeMap<String, ByteString>) -> (Entries, Vec<(String, String)>) {
    let mut entries = Entries::new();
    let mut refused = Vec::new();
    let mut doubtful = Vec::new();
    for (name, value) in data {
        match Entry::parse(&value.0) {
            Err(error) => refused.push((name, error.to_string())),
            Ok(entry) => match entries.get(&entry.hash) {
                None => drop(entries.insert(entry.hash, (name, entry))),
                // It can't be told whom the key stands for.
                Some((earlier, _)) => {
                    let why = format!("it has the hash of entry {earlier}, so neither is accepted");
                    refused.push((name, why));
                    doubtful.push(entry.hash);
                }
            },
        }
    }
    for hash in doubtful {
        entries.remove(&hash);
    }
    (entries, refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(key: &str, user: &str) -> ByteString {
        let entry = Entry::new(Hash::of(key), user.to_owned(), vec![], None).unwrap();
        ByteString(entry.document().unwrap().into_bytes())
    }

    #[test]
    fn a_malformed_entry_breaks_no_other() {
        let (entries, refused) = parse(BTreeMap::from([
            ("a".to_owned(), ByteString(b"nonsense".to_vec())),
            ("b".to_owned(), document("key-b", "bob")),
        ]));
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[&Hash::of("key-b")].0, "b");
        assert_eq!(refused.len(), 1);
        assert_eq!(refused[0].0, "a");
    }

    #[test]
    fn a_key_that_could_stand_for_two_stands_for_none() {
        let (entries, refused) = parse(BTreeMap::from([
            ("a".to_owned(), document("same", "alice")),
            ("b".to_owned(), document("same", "bob")),
            ("c".to_owned(), document("same", "carol")),
            ("d".to_owned(), document("other", "dora")),
        ]));
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[&Hash::of("other")].0, "d");
        let names: Vec<_> = refused.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["b", "c"]);
        assert!(refused[0].1.contains("entry a"), "{refused:?}");
    }
}
