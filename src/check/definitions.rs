//! Are the custom resource definitions there, served, and those of this version?

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::runtime::conditions::is_crd_established;
use kube::runtime::wait::Condition;
use kube::{Api, Client, ResourceExt};

use crate::crd;

/// Looks at all of them.
pub(super) async fn look(client: &Client) -> Result<String, String> {
    let api = Api::<CustomResourceDefinition>::all(client.clone());
    let mut names = vec![];
    for wanted in crd::all() {
        let name = wanted.name_any();
        let found = api
            .get_opt(&name)
            .await
            .map_err(|error| format!("the definition {name} can't be read: {error}"))?
            .ok_or_else(|| format!("the definition {name} is missing; {REMEDY}"))?;
        if !is_crd_established().matches_object(Some(&found)) {
            return Err(format!("the definition {name} isn't served yet"));
        }
        if !is_of_this_version(&found, &wanted) {
            return Err(format!(
                "the definition {name} isn't that of sluice {}; {REMEDY}",
                env!("CARGO_PKG_VERSION")
            ));
        }
        names.push(name);
    }
    Ok(format!(
        "the definitions {} are served, as sluice {} knows them",
        names.join(", "),
        env!("CARGO_PKG_VERSION")
    ))
}

const REMEDY: &str = "upgrade the release with crds.install, or install them with \
    `sluice crds | kubectl apply --server-side -f -`";

/// Whether every version that is wanted is served with the schema that is wanted.
fn is_of_this_version(found: &CustomResourceDefinition, wanted: &CustomResourceDefinition) -> bool {
    wanted.spec.versions.iter().all(|wanted| {
        found.spec.versions.iter().any(|found| {
            found.name == wanted.name
                && found.served
                && found.schema == wanted.schema
                && found.subresources == wanted.subresources
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_with_another_schema_is_of_another_version() {
        let wanted = &crd::all()[0];
        assert!(is_of_this_version(wanted, wanted));
        let mut other = wanted.clone();
        other.spec.versions[0].schema = None;
        assert!(!is_of_this_version(&other, wanted));
        other.spec.versions.clear();
        assert!(!is_of_this_version(&other, wanted));
    }
}
