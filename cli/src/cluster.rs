//! The calls to the API server, each with a deadline and with errors that a person can act on.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DynamicObject, ListParams, Patch, PatchParams, PostParams, ValidationDirective};
use kube::core::Status;
use kube::{Api, Client, ResourceExt};
use sluice_gate::change::Content;
use sluice_gate::content;
use sluice_gate::crd::{Pipeline, PipelineApproval};
use sluice_gate::votes::{self, Place, Places};
use sluice_guarded::{self as guarded, Guarded};

use crate::connect::chain;
use crate::error::Error;

/// How long one call may take, retries included.
const DEADLINE: Duration = Duration::from_secs(30);
/// How many Pipelines come with one call.
const PAGE: u32 = 500;

/// A cluster as one user sees it, and the namespace that the user works in.
pub struct Cluster {
    pub client: Client,
    pub namespace: String,
    /// Whether it was named on the command line.
    pub namespace_is_named: bool,
    /// The context that was named on the command line, for commands that are printed.
    pub context: Option<String>,
}

impl Cluster {
    /// The Pipelines of the namespace.
    pub fn pipelines(&self) -> Api<Guarded<Pipeline>> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The Pipeline of this name.
    pub async fn pipeline(&self, name: &str) -> Result<Pipeline, Error> {
        let found = call(&format!("read Pipeline {name}"), self.pipelines().get(name)).await;
        let found = found.map_err(|error| match error {
            Failure::Refused(status) if names_object(&status) => Error::NoSuchPipeline {
                pipeline: name.to_owned(),
                namespace: self.namespace.clone(),
            },
            error => error.explain("pipelines.sluice.dev"),
        })?;
        read(name, found)
    }

    /// The Pipeline of this name in a namespace, if there is one.
    pub async fn pipeline_in(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Pipeline>, Error> {
        let api: Api<Guarded<Pipeline>> = Api::namespaced(self.client.clone(), namespace);
        let found = call(&format!("read Pipeline {name}"), api.get_opt(name))
            .await
            .map_err(|error| error.explain("pipelines.sluice.dev"))?;
        found.map(|found| read(name, found)).transpose()
    }

    /// The ConfigMap of this name in a namespace, if there is one.
    pub async fn config_map(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<ConfigMap>, Error> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        call(&format!("read ConfigMap {name}"), api.get_opt(name))
            .await
            .map_err(|error| error.explain("configmaps"))
    }

    /// What a Pipeline's spec asks for, with its references resolved; or in words why that can't be
    /// told. `None` if it is made elsewhere.
    pub async fn content(&self, pipeline: &Pipeline) -> Result<Option<Content>, String> {
        let namespace = pipeline.metadata.namespace.as_deref();
        let namespace = namespace.unwrap_or(&self.namespace);
        let mut found = BTreeMap::new();
        for name in content::config_maps(pipeline.spec.program.as_ref()) {
            let config_map = self.config_map(namespace, name).await;
            if let Some(config_map) = config_map.map_err(|error| error.to_string())? {
                found.insert(name.to_owned(), config_map);
            }
        }
        content::resolve(&pipeline.spec, &found)
    }

    /// Whether the API server would take an object, without storing it. `Ok(Some)`: it wouldn't, and
    /// says why. `Err`: it can't be asked.
    pub async fn would_take(
        &self,
        namespace: &str,
        name: &str,
        object: &serde_json::Value,
    ) -> Result<Option<String>, Error> {
        let resource = kube::api::ApiResource::erase::<Pipeline>(&());
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), namespace, &resource);
        let mut parameters = PatchParams::apply("kubectl-sluice-plan").dry_run().force();
        parameters.field_validation = Some(ValidationDirective::Strict);
        let patch = Patch::Apply(object);
        let asked = api.patch(name, &parameters, &patch);
        match call("look at the file", asked).await {
            Ok(_) => Ok(None),
            Err(Failure::Refused(status)) if matches!(status.code, 400 | 422) => {
                Ok(Some(status.message))
            }
            Err(error) => Err(error.explain("pipelines.sluice.dev")),
        }
    }

    /// All Pipelines, of the namespace or of all of them, and how many can't be understood because
    /// another version of Sluice wrote them.
    pub async fn all_pipelines(&self, everywhere: bool) -> Result<(Vec<Pipeline>, usize), Error> {
        let api: Api<Guarded<Pipeline>> = match everywhere {
            true => Api::all(self.client.clone()),
            false => Api::namespaced(self.client.clone(), &self.namespace),
        };
        let (mut pipelines, mut strange) = (Vec::new(), 0);
        let mut parameters = ListParams::default().limit(PAGE);
        loop {
            let page = call("list the Pipelines", guarded::list(&api, &parameters))
                .await
                .map_err(|error| error.explain("pipelines.sluice.dev"))?;
            for pipeline in page.items {
                match pipeline.0 {
                    Ok(pipeline) => pipelines.push(pipeline),
                    Err(_) => strange += 1,
                }
            }
            match page.metadata.continue_ {
                Some(more) if !more.is_empty() => parameters.continue_token = Some(more),
                _ => return Ok((pipelines, strange)),
            }
        }
    }

    /// The user's name, as the API server knows it.
    pub async fn whoami(&self) -> Result<String, Error> {
        let reviews: Api<SelfSubjectReview> = Api::all(self.client.clone());
        let asked = PostParams::default();
        let review = call(
            "say who you are",
            reviews.create(&asked, &SelfSubjectReview::default()),
        )
        .await
        .map_err(|error| error.explain("selfsubjectreviews.authentication.k8s.io"))?;
        review
            .status
            .and_then(|status| status.user_info)
            .and_then(|user| user.username)
            .ok_or_else(|| Error::Refused {
                doing: "say who you are".into(),
                reason: "its answer names nobody".into(),
            })
    }

    /// Stores a vote, and returns the name that it is stored under; `false` if it was there before. What is another
    /// vote and has its name is left alone, and so is, with `anew`, the same vote, which then doesn't count: it is
    /// stored beside that.
    pub async fn store(
        &self,
        vote: &PipelineApproval,
        anew: bool,
    ) -> Result<(String, bool), Error> {
        let api: Api<PipelineApproval> = Api::namespaced(self.client.clone(), &self.namespace);
        let explain = |error: Failure| error.explain("pipelineapprovals.sluice.dev");
        let mut next = vote.clone();
        for attempt in 0..votes::ATTEMPTS {
            let named = votes::in_attempt(attempt, &next);
            let params = PostParams::default();
            let stored = api.create(&params, &named);
            match call("store the vote", stored).await {
                Ok(stored) => return Ok((stored.name_any(), true)),
                Err(Failure::Refused(status)) if status.is_already_exists() => {}
                Err(error) => return Err(explain(error)),
            }
            match self.place(vote, anew).await.map_err(explain)? {
                Place::Stored(name) => return Ok((name, false)),
                Place::Free(free) => next = *free,
            }
        }
        Err(Error::NamesTaken(vote.spec.pipeline_ref.name.clone()))
    }

    /// Where a vote stands, or goes. Nearly always that is known from what has its name.
    async fn place(&self, vote: &PipelineApproval, anew: bool) -> Result<Place, Failure> {
        let api: Api<Guarded<PipelineApproval>> =
            Api::namespaced(self.client.clone(), &self.namespace);
        let see = |places: &mut Places, there: &Guarded<PipelineApproval>| match &there.0 {
            Ok(there) => places.see(there, |_| !anew),
            Err(_) => places.take(there),
        };
        let name = vote.name_any();
        let Some(there) = call("read the vote", api.get_opt(&name)).await? else {
            return Ok(Place::Free(Box::new(vote.clone())));
        };
        let mut places = Places::of(vote);
        see(&mut places, &there);
        if places.is_found() {
            return Ok(places.find());
        }
        let mut places = Places::of(vote);
        let mut parameters = ListParams::default().limit(PAGE);
        loop {
            let page = match call("look at the votes", guarded::list(&api, &parameters)).await {
                Ok(page) => page,
                // Who may not look at all of them needs no name that can be foreseen.
                Err(Failure::Refused(status)) if status.code == 403 => {
                    return Ok(Place::Free(Box::new(votes::by_lot(vote))));
                }
                Err(error) => return Err(error),
            };
            for there in &page.items {
                see(&mut places, there);
            }
            match page.metadata.continue_ {
                Some(more) if !more.is_empty() => parameters.continue_token = Some(more),
                _ => return Ok(places.find()),
            }
        }
    }
}

fn read(name: &str, found: Guarded<Pipeline>) -> Result<Pipeline, Error> {
    found.0.map_err(|unfit| Error::Unreadable {
        pipeline: name.to_owned(),
        why: unfit.why,
    })
}

/// Why a call failed.
enum Failure {
    /// The API server said no.
    Refused(Box<Status>),
    /// There is an error that needs no more explanation.
    Explained(Error),
}

impl Failure {
    /// In words; `resource` is what was asked for.
    fn explain(self, resource: &'static str) -> Error {
        match self {
            Self::Refused(status) => match status.code {
                401 => Error::Unauthenticated(status.message),
                403 => Error::Forbidden(sentence(&status.message)),
                // The other 404, for an object that isn't there, is dealt with before.
                404 if !names_object(&status) => Error::NotInstalled(resource),
                _ => Error::Refused {
                    doing: format!("work on {resource}"),
                    reason: status.message,
                },
            },
            Self::Explained(error) => error,
        }
    }
}

/// Whether a 404 speaks of an object rather than of a whole resource that isn't served.
fn names_object(status: &Status) -> bool {
    status.is_not_found()
        && status
            .details
            .as_ref()
            .is_some_and(|details| !details.name.is_empty())
}

/// What an admission policy of ours has to say, without the API server's long way of introducing it.
fn sentence(message: &str) -> String {
    match message.split_once("denied request: ") {
        Some((before, sentence)) if before.contains("ValidatingAdmissionPolicy 'sluice-") => {
            sentence.to_owned()
        }
        _ => message.to_owned(),
    }
}

async fn call<T>(doing: &str, answer: impl Future<Output = kube::Result<T>>) -> Result<T, Failure> {
    match tokio::time::timeout(DEADLINE, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) => Err(Failure::Refused(status)),
        Ok(Err(error)) => Err(Failure::Explained(Error::Unreachable(chain(&error)))),
        Err(_) => Err(Failure::Explained(Error::Late {
            doing: doing.to_owned(),
            seconds: DEADLINE.as_secs(),
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_our_policies_only_the_sentence_is_shown() {
        let of_policy = "pipelineapprovals.sluice.dev \"x\" is forbidden: ValidatingAdmissionPolicy 'sluice-votes' with binding 'sluice-votes' denied request: a vote needs the verb approve";
        assert_eq!(sentence(of_policy), "a vote needs the verb approve");
        let of_another = of_policy.replace("sluice-votes", "acme");
        assert_eq!(sentence(&of_another), of_another);
        let of_rbac = "pipelines.sluice.dev is forbidden: User \"eve\" cannot list resource";
        assert_eq!(sentence(of_rbac), of_rbac);
    }
}
