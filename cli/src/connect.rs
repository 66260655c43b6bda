//! From the command line to a client.

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::arguments::Connection;
use crate::cluster::Cluster;
use crate::error::Error;

/// A client for the cluster, user and namespace that were asked for, found as kubectl finds them.
pub async fn connect(connection: &Connection) -> Result<Cluster, Error> {
    let options = KubeConfigOptions {
        context: connection.context.clone(),
        ..KubeConfigOptions::default()
    };
    let no_configuration = |error: &dyn std::error::Error| Error::NoConfiguration(chain(error));
    let config = match (&connection.kubeconfig, &connection.context) {
        (Some(file), _) => {
            let kubeconfig =
                Kubeconfig::read_from(file).map_err(|error| no_configuration(&error))?;
            Config::from_custom_kubeconfig(kubeconfig, &options)
                .await
                .map_err(|error| no_configuration(&error))?
        }
        (None, Some(_)) => Config::from_kubeconfig(&options)
            .await
            .map_err(|error| no_configuration(&error))?,
        // Inside of a pod, too.
        (None, None) => Config::infer()
            .await
            .map_err(|error| no_configuration(&error))?,
    };
    let namespace = connection
        .namespace
        .clone()
        .unwrap_or_else(|| config.default_namespace.clone());
    let client = Client::try_from(config).map_err(|error| no_configuration(&error))?;
    Ok(Cluster {
        client,
        namespace,
        namespace_is_named: connection.namespace.is_some(),
        context: connection.context.clone(),
    })
}

/// An error with its causes, those that say the same left out.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
