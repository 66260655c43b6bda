//! What the operator's account may do, in `deploy/`, is what it needs: without any one of its permissions it
//! says which one is missing. What the other stories do under the same account shows that none is missing.

use std::collections::BTreeSet;
use std::time::Instant;

use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, Role};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde::Deserialize;
use serde_json::{Value, json};
use sluice::crd::{ApprovalState, Engine, OnBehalfOf, PipelineApproval, VoteDecision, annotation};

use sluice_test_support::cluster::{Cluster, OPERATOR, create, token, workspace};
use sluice_test_support::story::{
    ORDERS, PROGRAM, Story, changed, changed_otherwise, eventually, has_type, id, is_at,
};

/// The roles that `deploy/` binds to the operator's account.
const ROLES: [(&str, &str); 4] = [
    ("ClusterRole", "sluice"),
    ("ClusterRole", "sluice-secrets"),
    ("Role", "sluice-proof"),
    ("Role", "sluice-lease"),
];
const NAMESPACE: &str = "sluice-system";
const KEY: &str = "apikey:of-the-permissions";

/// A role of the manifests.
#[derive(Clone)]
struct Bound {
    kind: String,
    name: String,
    rules: Vec<PolicyRule>,
}

/// One thing that a role allows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Permission {
    verb: String,
    group: String,
    resource: String,
    /// One of the names that it is limited to, if it is.
    name: Option<String>,
}

impl Permission {
    /// Whether the API server refused it, by this log.
    fn is_missed_in(&self, log: &str) -> bool {
        let Self {
            verb,
            group,
            resource,
            ..
        } = self;
        let refusal = format!("cannot {verb} resource \"{resource}\" in API group \"{group}\"");
        // A log in text escapes the quotation marks of values.
        log.replace('\\', "").contains(&refusal)
    }
}

fn roles() -> Vec<Bound> {
    let path = workspace().join("deploy/sluice.yaml");
    let text = std::fs::read_to_string(path).expect("the manifests");
    let documents: Vec<Value> = text
        .split("\n---\n")
        .map(|document| serde_saphyr::from_str(document).expect("YAML"))
        .collect();
    let account = OPERATOR.rsplit(':').next().expect("a name");
    let bound: BTreeSet<(&str, &str)> = documents
        .iter()
        .filter(|document| document["subjects"][0]["name"] == account)
        .filter_map(|binding| {
            let role = &binding["roleRef"];
            Some((role["kind"].as_str()?, role["name"].as_str()?))
        })
        .collect();
    assert_eq!(bound, BTreeSet::from(ROLES), "the roles of {account}");
    let role = |(kind, name): &(&str, &str)| {
        let found = documents
            .iter()
            .find(|document| document["kind"] == *kind && document["metadata"]["name"] == *name);
        let rules = &found.expect("the role")["rules"];
        Bound {
            kind: (*kind).to_owned(),
            name: (*name).to_owned(),
            rules: Vec::deserialize(rules).expect("rules"),
        }
    };
    ROLES.iter().map(role).collect()
}

/// Its rules, each about one verb on one resource.
fn single(rules: &[PolicyRule]) -> Vec<PolicyRule> {
    let mut singles = vec![];
    for rule in rules {
        let groups = rule.api_groups.iter().flatten();
        for group in groups {
            for resource in rule.resources.iter().flatten() {
                for verb in &rule.verbs {
                    let names = rule.resource_names.clone().unwrap_or_default();
                    let names: Vec<Option<String>> = if names.is_empty() {
                        vec![None]
                    } else {
                        names.into_iter().map(Some).collect()
                    };
                    singles.extend(names.into_iter().map(|name| PolicyRule {
                        api_groups: Some(vec![group.clone()]),
                        resources: Some(vec![resource.clone()]),
                        verbs: vec![verb.clone()],
                        resource_names: name.map(|name| vec![name]),
                        non_resource_urls: None,
                    }));
                }
            }
        }
    }
    singles
}

fn permission(single: &PolicyRule) -> Permission {
    let first = |list: &Option<Vec<String>>| list.as_ref().and_then(|list| list.first().cloned());
    Permission {
        verb: single.verbs[0].clone(),
        group: first(&single.api_groups).unwrap_or_default(),
        resource: first(&single.resources).unwrap_or_default(),
        name: first(&single.resource_names),
    }
}

/// Gives a role these rules instead of its own.
async fn set(client: &Client, role: &Bound, rules: &[PolicyRule]) {
    let patch = Patch::Merge(json!({"rules": rules}));
    let params = PatchParams::default();
    let name = role.name.as_str();
    if role.kind == "Role" {
        let roles: Api<Role> = Api::namespaced(client.clone(), NAMESPACE);
        roles.patch(name, &params, &patch).await.expect("the Role");
    } else {
        let roles: Api<ClusterRole> = Api::all(client.clone());
        let patched = roles.patch(name, &params, &patch).await;
        patched.expect("the ClusterRole");
    }
}

/// Waits until the API server lets the operator's account do it, or doesn't.
async fn until_allowed(client: &Client, permission: &Permission, allowed: bool) {
    let reviews: Api<SubjectAccessReview> = Api::all(client.clone());
    let (resource, subresource) = permission
        .resource
        .split_once('/')
        .unwrap_or((&permission.resource, ""));
    let review: SubjectAccessReview = serde_json::from_value(json!({
        "metadata": {},
        "spec": {"user": OPERATOR, "resourceAttributes": {
            "namespace": NAMESPACE,
            "verb": permission.verb,
            "group": permission.group,
            "resource": resource,
            "subresource": subresource,
            "name": permission.name.clone().unwrap_or_default(),
        }},
    }))
    .expect("a review");
    eventually("the role counts", || async {
        let review = reviews.create(&PostParams::default(), &review).await;
        let status = review.expect("an answer").status;
        let is = status.is_some_and(|status| status.allowed);
        (is == allowed).then_some(()).ok_or("not yet")
    })
    .await;
}

/// All that the operator does, done once: an engine with a credential, a program in a ConfigMap that is
/// edited, an approval by REST that something else is in the way of at first, a restart, and the end of it all.
async fn tour(story: &Story, rest: &str, who: &str, bearer: &str) {
    let config_maps = story.api::<ConfigMap>();
    let params = PatchParams::default();
    story
        .create(
            ORDERS,
            json!({"program": {
                "sql": null,
                "sqlFrom": {"configMapKeyRef": {"name": "program", "key": "sql"}},
            }}),
        )
        .await;
    story.until_settled_as("Running").await;
    let edit = Patch::Merge(json!({"data": {"sql": changed()}}));
    let edited = config_maps.patch("program", &params, &edit).await;
    edited.expect("the ConfigMap");
    let waiting = story.until_waiting().await;
    let id = id(&waiting);
    let url = format!("{rest}/v0/pipelines/{ORDERS}/approve?change_id={id}");
    let http = reqwest::Client::new();
    let answers = |wanted: u16| {
        let (http, url) = (&http, &url);
        eventually("REST answers so", move || async move {
            let answer = http.post(url).bearer_auth(bearer).send().await;
            let status = answer.map(|answer| answer.status().as_u16());
            match status {
                Ok(status) if status == wanted => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
    };
    // What has the name of a vote by REST is looked at, and the vote stored beside it.
    let votes = story.api::<PipelineApproval>();
    let on_behalf = OnBehalfOf {
        username: who.to_owned(),
        uid: None,
        groups: vec![],
        api_key: None,
    };
    let approve = VoteDecision::Approve;
    let vote = PipelineApproval::for_vote(&waiting, &id, who, approve, None, Some(on_behalf));
    let in_the_way = json!({
        "metadata": {"name": vote.name_any()},
        "spec": {
            "pipelineRef": {"name": ORDERS}, "changeId": id, "decision": "Approve",
            // Tied to a diff that there isn't, so that it doesn't count.
            "diffDigest": "0".repeat(64),
        },
    });
    create(&votes, in_the_way).await.expect("somebody's vote");
    answers(202).await;
    let deleted = votes
        .delete(&vote.name_any(), &DeleteParams::default())
        .await;
    deleted.expect("it is deleted");
    story.until_sealed().await;
    // When another change has taken its place the vote is removed.
    let edit = Patch::Merge(json!({"data": {"sql": changed_otherwise()}}));
    let edited = config_maps.patch("program", &params, &edit).await;
    edited.expect("the ConfigMap");
    let other = story
        .until("another change waits", |p| {
            is_at(p, ApprovalState::Awaiting)
        })
        .await;
    story.approve(&sluice_test_support::story::id(&other)).await;
    story.until_sealed().await;
    eventually("the vote is removed", || async {
        let left = votes
            .list(&ListParams::default())
            .await
            .expect("a list")
            .items;
        left.is_empty().then_some(()).ok_or(left.len())
    })
    .await;
    for state in ["paused", "running", "paused", "running"] {
        story.patch(json!({"spec": {"desiredState": state}})).await;
        let phase = if state == "paused" {
            "Paused"
        } else {
            "Running"
        };
        story.until_settled_as(phase).await;
    }
    // What is told again is counted on the Event that told it.
    for _ in 0..2 {
        story.approve(&"0".repeat(32)).await;
        story
            .until("it is told that nothing waits", |p| {
                has_type(p, "StaleApproval")
            })
            .await;
        let taken_away = json!({"metadata": {"annotations": {annotation::APPROVE: null}}});
        story.patch(taken_away).await;
        story
            .until("there is nothing to tell", |p| {
                !has_type(p, "StaleApproval")
            })
            .await;
    }
    story.delete(ORDERS).await;
    story.until_gone(ORDERS).await;
    let engines = story.api::<Engine>();
    let deleted = engines.delete("engine", &DeleteParams::default()).await;
    deleted.expect("the Engine");
    eventually("the Engine is gone", || async {
        let engine = engines.get_opt("engine").await.expect("an answer");
        engine.is_none().then_some(()).ok_or("not yet")
    })
    .await;
    let leases: Api<Lease> = Api::namespaced(story.client.clone(), NAMESPACE);
    eventually("the Lease is renewed", || async {
        let lease = leases.get("sluice").await.expect("the Lease").spec;
        let renewed = lease
            .as_ref()
            .is_some_and(|lease| lease.renew_time > lease.acquire_time);
        renewed.then_some(()).ok_or(lease)
    })
    .await;
}

/// Takes the tour with the roles as they are.
/// Returns when it is over, or as soon as the log says that the permission is missing, and whether it does.
async fn misses(cluster: &'static Cluster, permission: &Permission) -> bool {
    let mut story = Story::prepared_on(cluster, &["--api-key", KEY]).await;
    let admin = story.client.clone();
    let leases: Api<Lease> = Api::namespaced(admin.clone(), NAMESPACE);
    // The one before was killed, and nobody is to wait for its Lease.
    let _ = leases.delete("sluice", &DeleteParams::default()).await;
    let secret = json!({"metadata": {"name": "key"}, "stringData": {"key": KEY}});
    let made = create(&story.api::<Secret>(), secret).await;
    made.expect("the Secret");
    let config_map = json!({"metadata": {"name": "program"}, "data": {"sql": PROGRAM}});
    let made = create(&story.api::<ConfigMap>(), config_map).await;
    made.expect("the ConfigMap");
    let credential = json!({"credentialsSecretRef": {"name": "key", "key": "key"}});
    story.engine_object(credential).await;
    let namespace = story.namespace.to_string();
    let who = format!("system:serviceaccount:{namespace}:default");
    cluster.grant(&namespace, &who, "sluice-approver").await;
    let bearer = token(&admin, &namespace, "default").await;
    story
        .start_operator_with(&[
            "--api-namespace",
            &namespace,
            "--require-policies",
            "true",
            "--lease-namespace",
            NAMESPACE,
            "--vote-retention",
            "0s",
        ])
        .await;
    let log = story.log().to_owned();
    let is_missed = || permission.is_missed_in(&std::fs::read_to_string(&log).unwrap_or_default());
    let told = async {
        // The tour has an end.
        while !is_missed() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let toured = async {
        let rest = story.rest_url().await;
        tour(&story, &rest, &who, &bearer).await;
    };
    tokio::select! {
        () = told => {}
        () = toured => {}
    }
    is_missed()
}

#[tokio::test]
async fn the_operator_has_no_permission_that_it_could_do_without() {
    let begin = Instant::now();
    let cluster: &'static Cluster = Box::leak(Box::new(Cluster::own().await));
    let admin = cluster.admin().await;
    let mut superfluous = vec![];
    let mut number = 0;
    for role in roles() {
        let rules = single(&role.rules);
        for (index, rule) in rules.iter().enumerate() {
            let permission = permission(rule);
            let mut others = rules.clone();
            others.remove(index);
            set(&admin, &role, &others).await;
            until_allowed(&admin, &permission, false).await;
            // Should the tour come to a stop, this is why.
            println!("without {permission:?}");
            let missed = misses(cluster, &permission).await;
            if !missed {
                superfluous.push(permission.clone());
            }
            set(&admin, &role, &rules).await;
            until_allowed(&admin, &permission, true).await;
            number += 1;
        }
    }
    println!(
        "{number} permissions, {:.0} s",
        begin.elapsed().as_secs_f64()
    );
    assert!(superfluous.is_empty(), "nobody misses {superfluous:#?}");
}
