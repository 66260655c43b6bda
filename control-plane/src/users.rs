//! Who may connect, and as whom.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::random;

/// A user of the control plane, known by a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The user name that policies and audit logs see.
    pub name: String,
    /// The groups, beside `system:authenticated`.
    pub groups: Vec<String>,
}

impl User {
    /// A user with these groups.
    pub fn new(
        name: impl Into<String>,
        groups: impl IntoIterator<Item = impl Into<String>>,
    ) -> User {
        User {
            name: name.into(),
            groups: groups.into_iter().map(Into::into).collect(),
        }
    }

    /// The users that every control plane has. Only `admin` may do anything from the start; the groups of
    /// the others mean nothing until a role is bound to them.
    pub fn usual() -> Vec<User> {
        vec![
            User::new(ADMIN, [MASTERS]),
            User::new("alice", ["approvers"]),
            User::new("bob", ["editors"]),
            User::new("carol", ["viewers"]),
        ]
    }
}

/// The user who may do anything.
pub(crate) const ADMIN: &str = "admin";
/// The group that the API server's authorizers let do anything.
const MASTERS: &str = "system:masters";
/// As whom the controller manager connects. Its controllers delete what others own, which the role bound
/// to this name doesn't allow: in a cluster each has a service account of its own for that.
pub(crate) const CONTROLLER_MANAGER: &str = "system:kube-controller-manager";

/// A user and the token that stands for them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) groups: Vec<String>,
    pub(crate) token: String,
}

/// Accounts, with fresh tokens, for the usual users, the given ones and the controller manager. A given
/// user takes the place of a usual one of that name.
///
/// # Errors
/// When a name can't be written into the token file.
pub(crate) fn accounts(users: &[User]) -> Result<Vec<Account>> {
    let mut all = User::usual();
    all.push(User::new(CONTROLLER_MANAGER, [MASTERS]));
    for user in users {
        all.retain(|other| other.name != user.name);
        all.push(user.clone());
    }
    all.into_iter()
        .map(|User { name, groups }| {
            for word in groups.iter().chain([&name]) {
                check(word)?;
            }
            Ok(Account {
                name,
                groups,
                token: random::token()?,
            })
        })
        .collect()
}

/// Neither the token file's format nor a file name may get in the way.
fn check(word: &str) -> Result<()> {
    let fine = |c: char| c.is_ascii_alphanumeric() || "._:@/-".contains(c);
    if word.is_empty() || word.starts_with('.') || !word.chars().all(fine) {
        return Err(Error::UnusableName(word.into()));
    }
    Ok(())
}

/// The content of `--token-auth-file`: token, name, UID and groups.
/// <https://kubernetes.io/docs/reference/access-authn-authz/authentication/#static-token-file>
pub(crate) fn token_file(accounts: &[Account]) -> String {
    let line = |account: &Account| {
        format!(
            "{},{},{},\"{}\"\n",
            account.token,
            account.name,
            account.name,
            account.groups.join(",")
        )
    };
    accounts.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_user_takes_the_place_of_a_usual_one() {
        let accounts = accounts(&[
            User::new("bob", ["editors", "approvers"]),
            User::new("dave", ["a"]),
        ])
        .unwrap();
        let bobs: Vec<_> = accounts
            .iter()
            .filter(|account| account.name == "bob")
            .collect();
        assert_eq!(bobs.len(), 1);
        assert_eq!(bobs[0].groups, ["editors", "approvers"]);
        assert!(accounts.iter().any(|account| account.name == "dave"));
        assert!(token_file(&accounts).contains(",bob,bob,\"editors,approvers\"\n"));
    }

    #[test]
    fn names_that_would_break_the_token_file_are_refused() {
        for name in ["", "a,b", "a\"b", "a\nb", ".."] {
            assert!(accounts(&[User::new(name, ["a"])]).is_err(), "{name:?}");
        }
        assert!(
            accounts(&[
                User::new("system:serviceaccount:a:b", ["c"]),
                User::new("eve@example.com", ["x/y"])
            ])
            .is_ok()
        );
    }
}
