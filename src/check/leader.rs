//! Does a replica act? Its Lease must be renewed while we look: no clock but the leader's own is asked.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};

/// How often the Lease is read; by default it is renewed every 2 s.
const INTERVAL: Duration = Duration::from_millis(500);

/// Looks until the Lease is renewed, for at most a little longer than it is granted for.
pub(super) async fn look(client: &Client, namespace: &str, name: &str) -> Result<String, String> {
    let api = Api::<Lease>::namespaced(client.clone(), namespace);
    let first = read(&api, namespace, name).await?;
    let granted = first
        .spec
        .as_ref()
        .and_then(|spec| spec.lease_duration_seconds);
    let granted = Duration::from_secs(granted.unwrap_or(15).unsigned_abs().into());
    let deadline = tokio::time::Instant::now() + granted + INTERVAL;
    loop {
        let now = read(&api, namespace, name).await?;
        let holder = now
            .spec
            .as_ref()
            .and_then(|spec| spec.holder_identity.clone());
        let holder = holder.filter(|holder| !holder.is_empty());
        match holder {
            Some(holder) if renewed(&now) != renewed(&first) => {
                return Ok(format!(
                    "{holder} acts, and renews the Lease {namespace}/{name}"
                ));
            }
            _ if tokio::time::Instant::now() > deadline => {
                return Err(format!(
                    "nobody renews the Lease {namespace}/{name}, so no replica acts: look at the operator's pods"
                ));
            }
            _ => tokio::time::sleep(INTERVAL).await,
        }
    }
}

fn renewed(lease: &Lease) -> Option<&k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime> {
    lease.spec.as_ref()?.renew_time.as_ref()
}

async fn read(api: &Api<Lease>, namespace: &str, name: &str) -> Result<Lease, String> {
    match api.get_opt(name).await {
        Ok(Some(lease)) => Ok(lease),
        Ok(None) => Err(format!(
            "there is no Lease {namespace}/{name}, so no replica has ever acted: look at the operator's pods"
        )),
        Err(error) => Err(format!(
            "the Lease {namespace}/{name} can't be read: {error}"
        )),
    }
}
