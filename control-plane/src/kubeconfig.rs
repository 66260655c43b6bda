//! Kubeconfig files. They are JSON, which is YAML too.

use serde_json::{Value, json};

use crate::users::Account;

/// A kubeconfig with one context for each account, called by the account's name; the first is the current
/// one.
pub(crate) fn kubeconfig(url: &str, ca_pem: &str, accounts: &[&Account]) -> String {
    let contexts: Vec<Value> = accounts
        .iter()
        .map(|account| json!({ "name": account.name, "context": { "cluster": CLUSTER, "user": account.name } }))
        .collect();
    let users: Vec<Value> = accounts
        .iter()
        .map(|account| json!({ "name": account.name, "user": { "token": account.token } }))
        .collect();
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": CLUSTER,
            "cluster": { "server": url, "certificate-authority-data": base64(ca_pem.as_bytes()) },
        }],
        "contexts": contexts,
        "users": users,
        "current-context": accounts.first().map(|account| account.name.as_str()).unwrap_or_default(),
    });
    format!("{config:#}\n")
}

const CLUSTER: &str = "sluice";

/// RFC 4648, section 4. A kubeconfig holds nothing else that would be worth a dependency.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut group = [0; 3];
        group[..chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        for position in 0..4 {
            let sextet = (bits >> (18 - 6 * position)) & 63;
            text.push(if position <= chunk.len() {
                ALPHABET[sextet as usize] as char
            } else {
                '='
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test vectors of RFC 4648, section 10.
    #[test]
    fn base64_is_that_of_the_standard() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn the_first_account_is_the_current_one() {
        let account = |name: &str| Account {
            name: name.into(),
            groups: vec![],
            token: format!("token-of-{name}"),
        };
        let (admin, bob) = (account("admin"), account("bob"));
        let config: Value =
            serde_json::from_str(&kubeconfig("https://127.0.0.1:1", "PEM", &[&admin, &bob]))
                .unwrap();
        assert_eq!(config["current-context"], "admin");
        assert_eq!(config["users"][1]["user"]["token"], "token-of-bob");
        assert_eq!(
            config["clusters"][0]["cluster"]["certificate-authority-data"],
            "UEVN"
        );
    }
}
