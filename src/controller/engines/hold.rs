//! An Engine stays while Pipelines name it: without it, they could neither be looked after nor deleted.

use kube::{Client, Resource, ResourceExt};

use super::super::{Error, finalizers};
use super::GuardedEngine;
use crate::crd::IN_USE;

/// Holds an Engine that is in use, and lets go of one that isn't. `None`: that isn't known yet.
pub(super) async fn keep(
    engine: &GuardedEngine,
    is_in_use: Option<bool>,
    client: &Client,
) -> Result<(), Error> {
    let held = engine.finalizers().iter().any(|name| name == IN_USE);
    let leaves = engine.meta().deletion_timestamp.is_some();
    let hold = match is_in_use {
        // The API server takes no new finalizer for what is on its way out.
        Some(true) if !leaves => true,
        Some(false) => false,
        _ => held,
    };
    if hold == held {
        return Ok(());
    }
    finalizers::write(engine, IN_USE, hold, client).await?;
    Ok(())
}
