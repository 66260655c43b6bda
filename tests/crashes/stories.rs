//! The stories of the demo, in short.

use std::future::Future;
use std::pin::Pin;

use serde_json::{Value, json};
use sluice::crd::{ApprovalState, annotation};

use crate::proxy::Proxy;
use sluice_test_support::cluster::token;
use sluice_test_support::story::{
    ORDERS, OTHER_FUNCTIONS, PROGRAM, Story, changed, changed_otherwise, eventually, extended, has,
    has_type, id, id_of_change_to, is_at, is_current, is_in,
};

type Told<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;
type Telling = for<'a> fn(&'a Story, &'a Proxy) -> Told<'a>;

/// A story.
pub struct Plot {
    pub name: &'static str,
    /// What has happened before; it isn't disturbed.
    pub prologue: Telling,
    /// What happens.
    pub events: Telling,
    pub expected: Expected,
}

/// What must come of it.
#[derive(Clone, Copy)]
pub struct Expected {
    /// How many changes are applied.
    pub applied: usize,
    /// How often the engine is told to go on.
    pub told: usize,
}

macro_rules! told {
    ($function:ident) => {
        |story, proxy| Box::pin($function(story, proxy))
    };
}

const fn plot(name: &'static str, prologue: Telling, events: Telling, applied: usize) -> Plot {
    Plot {
        name,
        prologue,
        events,
        expected: Expected {
            applied,
            told: applied,
        },
    }
}

/// What is applied is let through without a word to the engine.
const fn untold(plot: Plot) -> Plot {
    Plot {
        expected: Expected {
            told: 0,
            ..plot.expected
        },
        ..plot
    }
}

/// All of them.
pub const STORIES: [Plot; 14] = [
    plot("a program starts", told!(nothing), told!(starts), 0),
    plot(
        "approved by annotation",
        told!(runs),
        told!(by_annotation),
        1,
    ),
    plot(
        "approved by field, in one commit with the change",
        told!(runs),
        told!(by_field),
        1,
    ),
    plot("approved by REST", told!(waits), told!(by_rest), 1),
    plot(
        "approved too early, and taken back",
        told!(runs),
        told!(too_early),
        0,
    ),
    plot("rejected, and put back", told!(runs), told!(rejected), 0),
    plot(
        "a program that doesn't compile",
        told!(runs),
        told!(broken),
        0,
    ),
    plot(
        "one change takes another's place",
        told!(waits),
        told!(replaced),
        1,
    ),
    plot(
        "changed functions, asked about beforehand",
        told!(runs_with_functions),
        told!(functions),
        0,
    ),
    untold(plot(
        "let through by the policy",
        told!(waits),
        told!(allowed),
        1,
    )),
    plot(
        "a pipeline that is made elsewhere",
        told!(is_made_elsewhere),
        told!(changed_elsewhere),
        1,
    ),
    plot(
        "taken over with another program",
        told!(is_somebody_elses),
        told!(adopted),
        1,
    ),
    plot("restarted and cleared", told!(runs), told!(cleared), 0),
    plot("deleted", told!(runs_to_be_deleted), told!(deleted), 0),
];

async fn nothing(_: &Story, _: &Proxy) {}

async fn starts(story: &Story, _: &Proxy) {
    story.running().await;
}

async fn runs(story: &Story, _: &Proxy) {
    story.running().await;
}

async fn waits(story: &Story, _: &Proxy) {
    story.waiting().await;
}

async fn runs_to_be_deleted(story: &Story, _: &Proxy) {
    story
        .running_with(json!({"deletionPolicy": "Delete"}))
        .await;
}

async fn by_annotation(story: &Story, _: &Proxy) {
    story.change_to(&changed()).await;
    let waiting = story.until_waiting().await;
    story.approve(&id(&waiting)).await;
    story.until_sealed().await;
}

async fn by_field(story: &Story, _: &Proxy) {
    let expected = id_of_change_to(&story.now().await, &changed());
    story
        .patch(json!({"spec": {"program": {"sql": changed()}, "approvedChange": expected}}))
        .await;
    story.until_sealed().await;
}

async fn by_rest(story: &Story, proxy: &Proxy) {
    let cluster = story.cluster();
    let namespace: &str = &story.namespace;
    let who = format!("system:serviceaccount:{namespace}:default");
    cluster.grant(namespace, &who, "sluice-approver").await;
    let admin = cluster.admin().await;
    let token = token(&admin, namespace, "default").await;
    let waiting = story.now().await;
    let id = id(&waiting);
    let http = reqwest::Client::new();
    // Whoever calls while the operator is down calls again, as Feldera's clients do.
    eventually("the approval is taken", || async {
        let Some(base) = proxy.rest_url() else {
            return Err("no operator listens".to_owned());
        };
        let url = format!("{base}/v0/pipelines/{ORDERS}/approve?change_id={id}");
        let answer = http.post(&url).bearer_auth(&token).send().await;
        match answer {
            Ok(answer) if answer.status() == 202 => Ok(()),
            Ok(answer) => Err(answer.status().to_string()),
            Err(error) => Err(error.to_string()),
        }
    })
    .await;
    story.until_sealed().await;
}

async fn too_early(story: &Story, _: &Proxy) {
    story.patch(json!({"spec": {"approved": true}})).await;
    story
        .until("it is said to be stale", |p| has_type(p, "StaleApproval"))
        .await;
    story.change_to(&changed()).await;
    story.until_waiting().await;
    story
        .patch(json!({"spec": {"approved": null, "program": {"sql": PROGRAM}}}))
        .await;
    story.until_ready("True", "Running").await;
}

async fn rejected(story: &Story, _: &Proxy) {
    story.change_to(&changed()).await;
    let waiting = story.until_waiting().await;
    story.annotate(annotation::REJECT, &id(&waiting)).await;
    story.until_rejected().await;
    story.change_to(PROGRAM).await;
    story.until_ready("True", "Running").await;
}

async fn broken(story: &Story, _: &Proxy) {
    let sql = format!("CREATE FUNCTION twice(x INT) RETURNS INT;\n{}", changed());
    let program = json!({"sql": sql, "udfRust": "fn other() {}"});
    story.patch(json!({"spec": {"program": program}})).await;
    story.until_ready("False", "CompileFailed").await;
}

async fn replaced(story: &Story, _: &Proxy) {
    let first = id(&story.now().await);
    story.change_to(&changed_otherwise()).await;
    let second = story
        .until("another change waits", |p| {
            is_current(p) && is_at(p, ApprovalState::Awaiting) && id(p) != first
        })
        .await;
    story.vote("yes", &id(&second), "Approve").await;
    story.until_sealed().await;
}

async fn runs_with_functions(story: &Story, _: &Proxy) {
    story.running_with_functions().await;
}

async fn functions(story: &Story, _: &Proxy) {
    let patch = json!({"spec": {"program": {"udfRust": OTHER_FUNCTIONS}}});
    story.patch(patch).await;
    let waiting = story.until_waiting().await;
    story.approve(&id(&waiting)).await;
    story.until_sealed().await;
}

async fn allowed(story: &Story, _: &Proxy) {
    story
        .patch(json!({"spec": {"bootstrapPolicy": "allow"}}))
        .await;
    story.until_sealed().await;
}

async fn is_made_elsewhere(story: &Story, _: &Proxy) {
    story.guest().await;
}

async fn changed_elsewhere(story: &Story, _: &Proxy) {
    story.theirs_changes_to(&changed(), "await_approval").await;
    let waiting = story.until_waiting().await;
    story.approve(&id(&waiting)).await;
    story.until_sealed().await;
}

async fn is_somebody_elses(story: &Story, _: &Proxy) {
    story.guest().await;
    story.delete(ORDERS).await;
    story.until_gone(ORDERS).await;
}

async fn adopted(story: &Story, _: &Proxy) {
    let program = json!({"program": {"sql": changed()}});
    story.create(ORDERS, program).await;
    story.until_ready("False", "NameTaken").await;
    story.annotate(annotation::ADOPT, ORDERS).await;
    let waiting = story.until_waiting().await;
    story.approve(&id(&waiting)).await;
    story.until_sealed().await;
}

async fn cleared(story: &Story, _: &Proxy) {
    story
        .patch(json!({"spec": {"restartedAt": "2026-01-01T00:00:00Z"}}))
        .await;
    story.until_ready("True", "Running").await;
    let patch = json!({"spec": {"clearStorage": "1", "program": {"sql": extended()}}});
    story.patch(patch).await;
    story
        .until("it runs, from nothing", |p| {
            is_current(p) && has(p, "Ready", "True", "Running") && is_in(p, "Running") && {
                let status = p.status.clone().unwrap_or_default();
                status.handled_clear.is_some()
            }
        })
        .await;
}

async fn deleted(story: &Story, _: &Proxy) {
    story.delete(ORDERS).await;
    story.until_gone(ORDERS).await;
    assert_eq!(
        story.engine.names().await,
        [Value::Null; 0].map(|_| String::new())
    );
}
