//! How many approvals the REST endpoint takes in a second, beside a bare client that asks the API
//! server for the same: a token review, a read of the Pipeline, an access review, and the vote's object.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use futures::future::try_join_all;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use sluice::crd::{GROUP, OnBehalfOf, Pipeline, PipelineApproval, VoteDecision};

use crate::Error;
use crate::figures::{Samples, heading, table};
use crate::pipelines;
use crate::stage::{Operator, Stage, objects};

/// Where the Pipelines are that the REST endpoint approves.
const THROUGH: &str = "through";

/// Where those are that the bare client does.
const BARE: &str = "bare";

/// Who approves.
const USERS: [&str; 4] = ["admin", "alice", "bob", "carol"];

/// The change that waits in each of them.
const CHANGE: &str = "0123456789abcdef0123456789abcdef";

#[derive(clap::Args)]
pub struct Rest {
    /// How many clients call at a time
    #[arg(long, default_value_t = 32)]
    clients: usize,

    /// How many Pipelines there are; each is approved by four users
    #[arg(long, default_value_t = 500)]
    pipelines: usize,

    /// In how many turns the two ways are measured, one after the other
    #[arg(long, default_value_t = 5)]
    turns: usize,
}

/// One approval that is to be made.
#[derive(Clone)]
struct Task {
    pipeline: String,
    user: usize,
}

impl Rest {
    /// Measures and prints.
    pub async fn run(self) -> Result<(), Error> {
        let stage = Stage::set(false).await?;
        for namespace in [THROUGH, BARE] {
            stage.namespace(namespace).await?;
            self.prepare(&stage, namespace).await?;
        }
        // Its controller looks elsewhere: nothing but the endpoint is measured.
        let operator = stage
            .operator(&[
                "--watch-namespace",
                "default",
                "--api-namespace",
                THROUGH,
                "--api-user-limit",
                "off",
            ])
            .await?;
        let through = Through::new(&stage, &operator)?;
        let bare = BareClient::new(&stage).await?;
        let tasks: Vec<Task> = (0..USERS.len())
            .flat_map(|user| {
                (0..self.pipelines).map(move |number| Task {
                    pipeline: name(number),
                    user,
                })
            })
            .collect();
        let mut rates = [Samples::default(), Samples::default()];
        let mut times = [Samples::default(), Samples::default()];
        let (mut seconds, mut done) = ([0.0; 2], [0; 2]);
        let turn = tasks.len().div_ceil(self.turns.max(1)).max(1);
        for (number, tasks) in tasks.chunks(turn).enumerate() {
            // Whoever is first in one turn is second in the next.
            for way in [number % 2, (number + 1) % 2] {
                let start = Instant::now();
                let took = if way == 0 {
                    self.all(tasks, |task| through.approve(task)).await?
                } else {
                    self.all(tasks, |task| bare.approve(task)).await?
                };
                let elapsed = start.elapsed().as_secs_f64();
                rates[way].add(tasks.len() as f64 / elapsed);
                took.into_iter().for_each(|time| times[way].add(time));
                seconds[way] += elapsed;
                done[way] += tasks.len();
            }
        }
        heading(&format!(
            "rest: {} approvals in each way, {} clients, {} users",
            tasks.len(),
            self.clients,
            USERS.len()
        ));
        table(&[
            ("REST endpoint: one call", times[0].median(), times[0].p99()),
            (
                "bare: the same four calls",
                times[1].median(),
                times[1].p99(),
            ),
        ]);
        let rate = |way: usize| f64::from(done[way] as u32) / seconds[way];
        println!(
            "REST endpoint: {:.0} approvals/s; bare: {:.0}/s",
            rate(0),
            rate(1)
        );
        let ratio = rate(0) / rate(1);
        let word = if ratio >= 0.9 { "meets" } else { "MISSES" };
        println!(
            "REST / bare: {:.0} % ({word} the target, at least 90 %); median of the turns {:.0} %",
            ratio * 100.0,
            100.0 * rates[0].median() / rates[1].median()
        );
        let usage = operator.usage()?;
        println!(
            "The operator holds {:.1} MiB, at most {:.1}.",
            usage.resident, usage.peak
        );
        Ok(())
    }

    /// Makes Pipelines in which a change waits. No operator looks after them, so the statuses stay.
    async fn prepare(&self, stage: &Stage, namespace: &str) -> Result<(), Error> {
        let client = stage.client("admin").await?;
        let api: Api<Pipeline> = objects(&client, namespace);
        let statuses: Api<Pipeline> = objects(&stage.operators_client().await?, namespace);
        for user in &USERS[1..] {
            grant(&client, namespace, user).await?;
        }
        let names: Vec<String> = (0..self.pipelines).map(name).collect();
        for names in names.chunks(self.clients.max(1)) {
            try_join_all(names.iter().map(|name| async {
                pipelines::make(&api, name, 0).await?;
                write_status(&statuses, name).await
            }))
            .await?;
        }
        Ok(())
    }

    /// Does all tasks, so many at a time; the milliseconds that each took.
    async fn all<'a, F>(
        &self,
        tasks: &'a [Task],
        act: impl Fn(&'a Task) -> F,
    ) -> Result<Vec<f64>, Error>
    where
        F: Future<Output = Result<(), Error>>,
    {
        let next = AtomicUsize::new(0);
        let (next, act) = (&next, &act);
        let workers = (0..self.clients.max(1)).map(|_| async move {
            let mut took = vec![];
            while let Some(task) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
                let start = Instant::now();
                act(task).await?;
                took.push(start.elapsed().as_secs_f64() * 1_000.0);
            }
            Ok::<_, Error>(took)
        });
        Ok(try_join_all(workers).await?.concat())
    }
}

fn name(number: usize) -> String {
    format!("orders-{number}")
}

async fn grant(client: &Client, namespace: &str, user: &str) -> Result<(), Error> {
    let bindings: Api<k8s_openapi::api::rbac::v1::RoleBinding> = objects(client, namespace);
    let binding = json!({
        "metadata": {"generateName": "bench-"},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": "sluice-approver",
        },
        "subjects": [{
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "User",
            "name": user,
        }],
    });
    crate::stage::create(&bindings, binding).await?;
    Ok(())
}

/// A status in which a change waits at the engine's gate.
async fn write_status(api: &Api<Pipeline>, name: &str) -> Result<(), Error> {
    let deployment = "0198a000-0000-7000-8000-000000000001";
    let status = json!({
        "apiVersion": "sluice.dev/v1alpha1",
        "kind": "Pipeline",
        "status": {
            "phase": "AwaitingApproval",
            "waitingSince": "2026-01-01T00:00:00Z",
            "engine": {
                "deploymentId": deployment,
                "deploymentStatus": "AwaitingApproval",
            },
            "approval": {
                "state": "Awaiting",
                "changeId": CHANGE,
                "shortId": &CHANGE[..8],
                "parent": "root",
                "target": {"sql": "a", "udfRust": "b", "udfToml": "c", "config": "d"},
                "options": {"silent": false, "concurrent": false},
                "revision": 0,
                "since": "2026-01-01T00:00:00Z",
                "deploymentId": deployment,
                "base": {"sequenceNumber": 7},
                "summary": "1 view changed",
                "diff": {"program_diff": {"modified_views": ["totals"]}},
                "diffDigest": "0".repeat(64),
                "approveCommand": "",
                "approvedFieldCounts": true,
            },
        },
    });
    let params = PatchParams::apply("sluice").force();
    api.patch_status(name, &params, &Patch::Apply(status))
        .await?;
    Ok(())
}

/// A client of the REST endpoint.
struct Through {
    http: reqwest::Client,
    base: String,
    tokens: Vec<String>,
}

impl Through {
    fn new(stage: &Stage, operator: &Operator) -> Result<Self, Error> {
        Ok(Self {
            http: reqwest::Client::new(),
            base: operator.api.clone(),
            tokens: tokens(stage)?,
        })
    }

    async fn approve(&self, task: &Task) -> Result<(), Error> {
        let url = format!("{}/v0/pipelines/{}/approve", self.base, task.pipeline);
        let call = self.http.post(url).bearer_auth(&self.tokens[task.user]);
        let response = call.send().await?;
        let status = response.status();
        let text = response.text().await?;
        if status.as_u16() == 202 {
            Ok(())
        } else {
            Err(Error::Unseen(format!(
                "an approval is taken: {status} {text}"
            )))
        }
    }
}

fn tokens(stage: &Stage) -> Result<Vec<String>, Error> {
    let tokens = USERS.iter().map(|user| Ok(stage.token(user)?.to_owned()));
    tokens.collect()
}

/// A client that does without the endpoint, with the operator's account.
struct BareClient {
    client: Client,
    tokens: Arc<Vec<String>>,
}

impl BareClient {
    async fn new(stage: &Stage) -> Result<Self, Error> {
        Ok(Self {
            client: stage.operators_client().await?,
            tokens: Arc::new(tokens(stage)?),
        })
    }

    async fn approve(&self, task: &Task) -> Result<(), Error> {
        let unseen = |what: &str| Error::Unseen(what.to_owned());
        let params = PostParams::default();
        let reviews: Api<TokenReview> = Api::all(self.client.clone());
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: Some(self.tokens[task.user].clone()),
                audiences: None,
            },
            ..TokenReview::default()
        };
        let user = reviews.create(&params, &review).await?.status;
        let user = user.and_then(|status| status.user).unwrap_or_default();
        let pipelines: Api<Pipeline> = objects(&self.client, BARE);
        let pipeline = pipelines.get(&task.pipeline).await?;
        let change = pipelines::change_id(&pipeline);
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: user.username.clone(),
                groups: user.groups.clone(),
                uid: user.uid.clone(),
                resource_attributes: Some(ResourceAttributes {
                    group: Some(GROUP.to_owned()),
                    resource: Some("pipelines".to_owned()),
                    verb: Some("approve".to_owned()),
                    namespace: Some(BARE.to_owned()),
                    name: Some(task.pipeline.clone()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let allowed = reviews.create(&params, &review).await?.status;
        if !allowed.is_some_and(|status| status.allowed) {
            return Err(unseen("the user may approve"));
        }
        let name = user.username.unwrap_or_default();
        let vote = PipelineApproval::for_vote(
            &pipeline,
            &change,
            &name,
            VoteDecision::Approve,
            None,
            Some(OnBehalfOf {
                username: name.clone(),
                uid: user.uid,
                groups: user.groups.unwrap_or_default(),
                api_key: None,
            }),
        );
        let votes: Api<PipelineApproval> = objects(&self.client, BARE);
        votes.create(&params, &vote).await?;
        Ok(())
    }
}
