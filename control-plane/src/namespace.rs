//! Namespaces that tests have to themselves.

use serde_json::json;

use crate::error::{Error, Result};
use crate::plane::ControlPlane;
use crate::random;

/// A namespace that is deleted when this is dropped, so that tests can share a control plane.
#[derive(Debug)]
pub struct TemporaryNamespace<'a> {
    plane: &'a ControlPlane,
    name: String,
    stays: bool,
}

impl ControlPlane {
    /// Makes a namespace whose name begins with `prefix`.
    ///
    /// # Errors
    /// When the API server can't be reached, or refuses the name.
    pub fn temporary_namespace(&self, prefix: &str) -> Result<TemporaryNamespace<'_>> {
        let name = format!("{prefix}-{}", random::suffix()?);
        let body = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } })
            .to_string();
        let doing = || format!("create the namespace {name}");
        let answer = self
            .admin()
            .request("POST", "/api/v1/namespaces", &body)
            .map_err(Error::io(doing))?;
        if answer.status != 201 {
            return Err(Error::Refused {
                doing: doing(),
                status: answer.status,
                answer: answer.body,
            });
        }
        Ok(TemporaryNamespace {
            plane: self,
            name,
            stays: false,
        })
    }
}

impl TemporaryNamespace<'_> {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// It isn't deleted, and goes with the control plane. To delete one takes 60 calls of the controller manager, which looks
    /// for objects of every kind: more than a short test makes.
    pub fn stays(&mut self) {
        self.stays = true;
    }
}

impl Drop for TemporaryNamespace<'_> {
    fn drop(&mut self) {
        if self.stays {
            return;
        }
        // If it can't be deleted, it goes with the control plane.
        let _ =
            self.plane
                .admin()
                .request("DELETE", &format!("/api/v1/namespaces/{}", self.name), "");
    }
}
