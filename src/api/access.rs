//! What may they? The API server's own authorization, asked in the user's name.

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};

use super::{
    auth::User,
    cluster::{Call, Cluster},
    error::Error,
};
use crate::crd::GROUP;

/// What a user may do with a Pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Vote on its changes.
    Approve,
    /// Know that it is there.
    See,
    /// Nothing: for them it doesn't exist.
    Nothing,
}

/// What `user` may do with the Pipeline, whether it exists or not.
pub(super) async fn of(
    cluster: &Cluster,
    user: &User,
    namespace: &str,
    pipeline: &str,
) -> Result<Access, Error> {
    if may(cluster, user, "approve", namespace, pipeline).await? {
        Ok(Access::Approve)
    } else if may(cluster, user, "get", namespace, pipeline).await? {
        Ok(Access::See)
    } else {
        Ok(Access::Nothing)
    }
}

async fn may(
    cluster: &Cluster,
    user: &User,
    verb: &str,
    namespace: &str,
    pipeline: &str,
) -> Result<bool, Error> {
    let call = Call {
        verb: "create",
        resource: "subjectaccessreviews.authorization.k8s.io",
        namespace: None,
    };
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(user.name.clone()),
            uid: user.uid.clone(),
            groups: Some(user.groups.clone()),
            extra: Some(user.extra.clone()),
            resource_attributes: Some(ResourceAttributes {
                group: Some(GROUP.to_owned()),
                resource: Some("pipelines".to_owned()),
                verb: Some(verb.to_owned()),
                namespace: Some(namespace.to_owned()),
                name: Some(pipeline.to_owned()),
                ..ResourceAttributes::default()
            }),
            non_resource_attributes: None,
        },
        ..SubjectAccessReview::default()
    };
    let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    let review = cluster.review(call, path, &review).await?;
    Ok(review
        .status
        .is_some_and(|status| status.allowed && status.denied != Some(true)))
}
