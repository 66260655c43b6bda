//! Which engine a URL leads to, however it is spelled.

use sha2::{Digest, Sha256};

use super::feldera::Address;

/// The same for all spellings of one engine's URL, with the same tenant and credential: a credential
/// can decide about the tenant, and two tenants have pipelines of their own.
///
/// The scheme isn't in it: no port speaks both. Two names of one host can't be told to be one.
pub fn of(address: &Address) -> String {
    let place = match url::Url::parse(&address.url) {
        Ok(url) => {
            let host = url.host_str().unwrap_or_default().trim_end_matches('.');
            let port = url.port_or_known_default().unwrap_or_default();
            let path: String = url
                .path_segments()
                .into_iter()
                .flatten()
                .filter(|segment| !segment.is_empty())
                .map(|segment| format!("/{segment}"))
                .collect();
            format!("{host}:{port}{path}")
        }
        Err(_) => address.url.clone(),
    };
    let who: String = Sha256::digest(address.credential.as_deref().unwrap_or_default())
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let tenant = address.tenant.as_deref().unwrap_or_default();
    format!("{place} {tenant} {who}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(url: &str, tenant: Option<&str>, credential: Option<&str>) -> String {
        of(&Address {
            url: url.to_owned(),
            tenant: tenant.map(str::to_owned),
            credential: credential.map(str::to_owned),
            ca: None,
        })
    }

    #[test]
    fn spellings_of_one_url_are_one_engine() {
        let plain = identity("http://feldera.example.com", None, None);
        for same in [
            "http://feldera.example.com/",
            "HTTP://Feldera.Example.COM",
            "http://feldera.example.com:80",
            "http://feldera.example.com:80//",
            "http://feldera.example.com./",
            "http://feldera.example.com/x/../",
            "http://%66eldera.example.com",
        ] {
            assert_eq!(identity(same, None, None), plain, "{same}");
        }
        for other in [
            "http://feldera.example.com:8080",
            "https://feldera.example.com",
            "http://feldera.example.com/eu",
            "http://feldera.example.org",
        ] {
            assert_ne!(identity(other, None, None), plain, "{other}");
        }
        assert_eq!(
            identity("http://e/eu//x/", None, None),
            identity("http://e/eu/x", None, None)
        );
    }

    #[test]
    fn another_tenant_or_credential_is_another_engine_and_no_credential_is_shown() {
        let url = "http://e";
        let plain = identity(url, None, Some("secret-key"));
        assert_ne!(plain, identity(url, Some("t"), Some("secret-key")));
        assert_ne!(plain, identity(url, None, Some("another-key")));
        assert!(!plain.contains("secret-key"));
    }
}
