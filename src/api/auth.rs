//! Who is it? A bearer token, and what the API server's token review says of it; or an API key, and
//! what the Secret of API keys says of it.

use std::{collections::BTreeMap, sync::Arc};

use axum::http::{HeaderMap, header};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};

use super::{
    cluster::{Call, Cluster},
    error::Error,
    keys::{self, Keys},
};

/// A user, as the API server knows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct User {
    pub name: String,
    pub uid: Option<String>,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
    /// The name of the API key that stands for them. None: they came with a token.
    pub api_key: Option<String>,
}

/// Turns the credential of a request into a user.
#[derive(Clone, Debug)]
pub(super) struct Authenticator {
    /// The audiences of which a token must have one. None: the API server's own.
    pub audiences: Vec<String>,
    /// The API keys, where there are any.
    pub keys: Option<Arc<Keys>>,
}

impl Authenticator {
    /// The user for whom a credential stands, if it is good.
    pub async fn authenticate(
        &self,
        cluster: &Cluster,
        credential: &str,
    ) -> Result<Option<User>, Error> {
        if credential.starts_with(keys::PREFIX) {
            // Never to the token review: what is sent there may be written down in an audit log.
            return match &self.keys {
                Some(keys) => keys.user(cluster, credential).await,
                None => Ok(None),
            };
        }
        let call = Call {
            verb: "create",
            resource: "tokenreviews.authentication.k8s.io",
            namespace: None,
        };
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: Some(credential.to_owned()),
                audiences: (!self.audiences.is_empty()).then(|| self.audiences.clone()),
            },
            ..TokenReview::default()
        };
        let path = "/apis/authentication.k8s.io/v1/tokenreviews";
        let review = cluster.review(call, path, &review).await?;
        Ok(self.reviewed_user(review))
    }

    /// The user of a review, if the review vouches for one.
    fn reviewed_user(&self, review: TokenReview) -> Option<User> {
        let status = review.status?;
        if let Some(error) = status.error.filter(|error| !error.is_empty()) {
            tracing::debug!(?error, "a token was refused");
        }
        if status.authenticated != Some(true) {
            return None;
        }
        // An authenticator that knows nothing of audiences returns none, and vouches for the API
        // server's own only: so what was asked for must come back.
        let returned = status.audiences.unwrap_or_default();
        let meant_for_us = self.audiences.is_empty()
            || returned
                .iter()
                .any(|audience| self.audiences.contains(audience));
        if !meant_for_us {
            tracing::debug!(audiences = ?returned, "a token is meant for other audiences");
            return None;
        }
        let user = status.user?;
        Some(User {
            name: user.username.filter(|name| !name.is_empty())?,
            uid: user.uid.filter(|uid| !uid.is_empty()),
            groups: user.groups.unwrap_or_default(),
            extra: user.extra.unwrap_or_default(),
            api_key: None,
        })
    }
}

/// The credential of `Authorization: Bearer <credential>`. Two such headers could mean two people
/// to two readers, so that is none.
pub(super) fn credential(headers: &HeaderMap) -> Result<&str, Error> {
    bearer_token(headers).ok_or(Error::AuthenticationFailed {
        token_given: headers.contains_key(header::AUTHORIZATION),
    })
}

fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (value, None) = (values.next()?, values.next()) else {
        return None;
    };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    let well_formed = scheme.eq_ignore_ascii_case("bearer")
        && !token.is_empty()
        && !token.contains(char::is_whitespace);
    well_formed.then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn only_one_well_formed_bearer_token_is_taken() {
        let cases: &[(&[&[u8]], Option<&str>)] = &[
            (&[b"Bearer abc"], Some("abc")),
            (&[b"bearer abc"], Some("abc")),
            (&[b"BEARER  abc "], Some("abc")),
            (&[], None),
            (&[b"Bearer"], None),
            (&[b"Bearer "], None),
            (&[b"Bearer a b"], None),
            (&[b"Basic abc"], None),
            (&[b"abc"], None),
            (&[b"Bearer a\xff"], None),
            (&[b"Bearer abc", b"Bearer abc"], None),
        ];
        for (values, expected) in cases {
            let mut headers = HeaderMap::new();
            for value in *values {
                headers.append(
                    header::AUTHORIZATION,
                    HeaderValue::from_bytes(value).unwrap(),
                );
            }
            assert_eq!(bearer_token(&headers), *expected, "{values:?}");
        }
    }
}
