//! `kubectl sluice plan`: what files would change, before they are applied.

mod held;
mod judge;
mod show;

use std::collections::BTreeMap;
use std::process::ExitCode;

use kube::ResourceExt;
use serde_json::{Value, json};
use sluice_gate::change::Content;
use sluice_gate::content;
use sluice_gate::crd::Pipeline;

use crate::arguments::Plan;
use crate::cluster::Cluster;
use crate::error::Error;
use crate::files::{self, Found, Namespace, Wanted};
use crate::output::{structured, tell};
use judge::{Planned, Situation, judge};

/// What is printed, and how the program ends.
pub struct Outcome {
    pub text: String,
    pub exit_code: ExitCode,
}

/// The status of a plan in which something can't go on as it is, as a change that needs approval.
const HELD: u8 = 3;

/// Plans all Pipelines of the files. What can't be planned is said, and doesn't keep the others from
/// being planned.
pub async fn run(cluster: &Cluster, plan: &Plan) -> Result<Outcome, Error> {
    let documents = files::read(&plan.filename, plan.recursive)?;
    let namespace = Namespace {
        default: &cluster.namespace,
        is_named: cluster.namespace_is_named,
    };
    let mut found = files::sort(documents, &namespace);
    let mut problems = std::mem::take(&mut found.problems);
    if found.pipelines.is_empty() && problems.is_empty() {
        let names = plan.filename.iter().map(|name| name.display().to_string());
        return Err(Error::NothingToPlan(names.collect::<Vec<_>>().join(", ")));
    }
    let mut planned = vec![];
    for wanted in &found.pipelines {
        match plan_one(cluster, wanted, &found).await {
            Ok(one) => planned.push(one),
            Err(problem) => problems.push(problem),
        }
    }
    for problem in &problems {
        tell(&format!("error: {problem}\n"));
    }
    let text = match plan.output.for_programs() {
        None => planned
            .iter()
            .map(|one| show::text(one, cluster.context.as_deref()))
            .collect::<Vec<_>>()
            .join("\n"),
        Some(output) => {
            let all: Vec<Value> = planned.iter().map(show::json).collect();
            structured(&json!({"pipelines": all}), output)
        }
    };
    let exit_code = if !problems.is_empty() {
        ExitCode::FAILURE
    } else if planned.iter().any(|one| one.verdict.is_held()) {
        ExitCode::from(HELD)
    } else {
        ExitCode::SUCCESS
    };
    Ok(Outcome { text, exit_code })
}

async fn plan_one(cluster: &Cluster, wanted: &Wanted, found: &Found) -> Result<Planned, Error> {
    let file = &wanted.pipeline;
    let (namespace, name) = (file.namespace().unwrap_or_default(), file.name_any());
    let invalid = |reason: String| Error::Invalid {
        file: wanted.file.clone(),
        reason: format!("Pipeline {name}: {reason}"),
    };
    let content = content_of(cluster, file, found).await?.map_err(invalid)?;
    let not_asked = match cluster.would_take(&namespace, &name, &wanted.value).await {
        Ok(None) => None,
        Ok(Some(refusal)) => return Err(invalid(refusal)),
        // Who checks a pull request needn't be allowed to apply it.
        Err(why) => Some(format!(
            "the API server didn't look at the file ({why}), so it may still refuse it"
        )),
    };
    let live = cluster.pipeline_in(&namespace, &name).await?;
    let live_content = match &live {
        Some(live) => cluster.content(live).await.ok().flatten(),
        None => None,
    };
    let mut planned = judge(&Situation {
        file,
        content: content.as_ref(),
        live: live.as_ref(),
        live_content: live_content.as_ref(),
        approvals: &found.approvals,
    });
    planned.notes.extend(not_asked);
    Ok(planned)
}

/// What a Pipeline of a file asks for, with ConfigMaps of the files before those of the cluster.
async fn content_of(
    cluster: &Cluster,
    pipeline: &Pipeline,
    found: &Found,
) -> Result<Result<Option<Content>, String>, Error> {
    let namespace = pipeline.namespace().unwrap_or_default();
    let mut config_maps = BTreeMap::new();
    for name in content::config_maps(pipeline.spec.program.as_ref()) {
        let key = (namespace.clone(), name.to_owned());
        let config_map = match found.config_maps.get(&key) {
            Some(of_file) => Some(of_file.clone()),
            None => cluster.config_map(&namespace, name).await?,
        };
        config_maps.extend(config_map.map(|config_map| (name.to_owned(), config_map)));
    }
    let resolved = content::resolve(&pipeline.spec, &config_maps);
    Ok(resolved.map_err(|problem| format!("{problem}, nor is it in the files")))
}
