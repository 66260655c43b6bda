//! Who is it? A bearer token and what the API server's token review says of it.

use std::collections::BTreeMap;

use axum::http::{HeaderMap, header};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};

use super::{
    cluster::{Call, Cluster},
    error::Error,
};

/// A user, as the API server knows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct User {
    pub name: String,
    pub uid: Option<String>,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
}

/// Turns the credential of a request into a user.
#[derive(Clone, Debug)]
pub(super) struct Authenticator {
    /// The audiences of which a token must have one. None: the API server's own.
    pub audiences: Vec<String>,
}

impl Authenticator {
    /// The user whose token the request carries.
    pub async fn authenticate(
        &self,
        cluster: &Cluster,
        headers: &HeaderMap,
    ) -> Result<User, Error> {
        let token = bearer_token(headers).ok_or(Error::AuthenticationFailed {
            token_given: headers.contains_key(header::AUTHORIZATION),
        })?;
        let call = Call {
            verb: "create",
            resource: "tokenreviews.authentication.k8s.io",
            namespace: None,
        };
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: Some(token.to_owned()),
                audiences: (!self.audiences.is_empty()).then(|| self.audiences.clone()),
            },
            ..TokenReview::default()
        };
        let path = "/apis/authentication.k8s.io/v1/tokenreviews";
        let review = cluster.review(call, path, &review).await?;
        self.reviewed_user(review)
            .ok_or(Error::AuthenticationFailed { token_given: true })
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
        })
    }
}

/// The token of `Authorization: Bearer <token>`. Two such headers could mean two people to two
/// readers, so that is none.
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
