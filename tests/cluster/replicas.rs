//! Several replicas, of which one acts: killed, told to stop, and paused in the middle of its work.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use serde_json::json;
use sluice::crd::{ApprovalState, annotation};

use sluice_test_support::cluster::{OPERATOR, create};
use sluice_test_support::operator::Operator;
use sluice_test_support::story::{
    ORDERS, Story, approval, changed, eventually, id, is_at, is_in, status,
};

/// The default. A shorter one runs out while the machine is busy.
const DURATION: Duration = Duration::from_secs(15);

/// So long that nobody waits for its end.
const LONG: Duration = Duration::from_secs(120);

/// A story with an election of its own, and two replicas that take part in it, with a lease of this duration: the
/// leader first.
async fn two_replicas(duration: Duration) -> (Story, Operator, Operator) {
    let story = Story::without_operator(&[]).await;
    story.engine_object(json!({})).await;
    let (_, account) = OPERATOR.rsplit_once(':').expect("a service account");
    let role = json!({
        "metadata": {"name": "lease"},
        "rules": [{
            "apiGroups": ["coordination.k8s.io"],
            "resources": ["leases"],
            "verbs": ["create", "get", "update"],
        }],
    });
    create(&story.api::<Role>(), role).await.expect("the Role");
    let binding = json!({
        "metadata": {"name": "lease"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "lease"},
        "subjects": [{"kind": "ServiceAccount", "namespace": "sluice-system", "name": account}],
    });
    let binding = create(&story.api::<RoleBinding>(), binding).await;
    binding.expect("the RoleBinding");
    let leader = replica(&story, duration).await;
    holder_other_than(&story, "").await;
    let other = replica(&story, duration).await;
    (story, leader, other)
}

async fn replica(story: &Story, duration: Duration) -> Operator {
    let namespace: &str = &story.namespace;
    let duration = format!("{}s", duration.as_secs());
    let flags = [
        "--lease-namespace",
        namespace,
        "--lease-duration",
        &duration,
    ];
    story.another_operator(&flags).await
}

async fn holder(story: &Story) -> String {
    let lease = story.api::<Lease>().get_opt("sluice").await;
    let spec = lease.expect("an answer").and_then(|lease| lease.spec);
    let holder = spec.and_then(|spec| spec.holder_identity);
    holder.unwrap_or_default()
}

/// Waits until somebody leads who isn't `old`.
async fn holder_other_than(story: &Story, old: &str) -> String {
    eventually("another replica leads", || async {
        let holder = holder(story).await;
        let is_new = !holder.is_empty() && holder != old;
        is_new.then_some(holder).ok_or("not yet")
    })
    .await
}

#[tokio::test]
async fn of_two_replicas_one_acts_and_each_call_is_made_once() {
    let (story, _leader, _other) = two_replicas(LONG).await;
    let first = holder(&story).await;
    let waiting = story.waiting().await;
    story.approve(&id(&waiting)).await;
    story.until_sealed().await;
    let created = story.engine.calls_to("/pipelines");
    let created = created.iter().filter(|call| call.body["name"] == ORDERS);
    assert_eq!(created.count(), 1);
    assert_eq!(story.engine.calls_to("/orders/start").len(), 2);
    assert_eq!(story.engine.calls_to("/orders/stop").len(), 1);
    assert_eq!(story.engine.calls_to("/orders/approve").len(), 1);
    assert_eq!(holder(&story).await, first);
    // One poller is enough for two replicas.
    let since = Instant::now();
    let begin = story.engine.calls().len();
    story.engine.ticks(3).await;
    let ticks = story.engine.calls().split_off(begin);
    let ticks = ticks.iter().filter(|call| call.is_tick()).count();
    let most = since.elapsed().as_millis() / 200 + 2;
    assert!(
        u128::try_from(ticks).expect("few") <= most,
        "{ticks} in {:?}",
        since.elapsed()
    );
}

#[tokio::test]
async fn when_the_leader_is_killed_the_other_takes_over_and_an_approval_given_meanwhile_counts_once()
 {
    let (story, leader, _other) = two_replicas(DURATION).await;
    let waiting = story.waiting().await;
    let old = holder(&story).await;
    drop(leader);
    let killed = Instant::now();
    story.approve(&id(&waiting)).await;
    holder_other_than(&story, &old).await;
    let took = killed.elapsed();
    let sealed = story.until_sealed().await;
    assert_eq!(approval(&sealed).calls, 1);
    assert_eq!(story.engine.calls_to("/orders/approve").len(), 1);
    assert_eq!(story.engine.bootstraps().await.len(), 1);
    println!("hand-over after kill -9, with a lease of {DURATION:?}: {took:?}");
    // Its duration, one look more, and what a busy machine adds.
    assert!(took < DURATION * 4, "{took:?}");
}

#[tokio::test]
async fn a_leader_that_is_told_to_stop_hands_over_without_waiting_for_its_lease_to_run_out() {
    let (story, leader, _other) = two_replicas(LONG).await;
    story.running().await;
    let old = holder(&story).await;
    leader.signal("TERM");
    let told = Instant::now();
    holder_other_than(&story, &old).await;
    let took = told.elapsed();
    println!("hand-over after SIGTERM: {took:?}");
    assert!(took < LONG / 2, "{took:?}");
    eventually("it has ended", || async {
        (!leader.runs()).then_some(()).ok_or("it runs")
    })
    .await;
    story.change_to(&changed()).await;
    story.until_waiting().await;
}

/// The leader has decided, and is about to look at the engine for the last time before it calls. It
/// sleeps through a rejection by which another replica has stopped the pipeline, put an end to the
/// change, and brought up a further one, which now waits.
#[tokio::test]
async fn a_deposed_leader_that_wakes_up_in_the_middle_of_an_approval_calls_nothing_and_ends() {
    for _ in 0..5 {
        if a_leader_is_caught_in_the_middle_of_an_approval().await {
            return;
        }
    }
    panic!("the machine is too busy to catch a leader in the middle of an approval");
}

/// Tells that story, and whether the leader was really caught in its look, whose answer waits when it wakes up: it
/// must have slept for longer than the engine took, and for less than a call may take (15 s).
async fn a_leader_is_caught_in_the_middle_of_an_approval() -> bool {
    // So that all of it fits into that time.
    let (story, leader, _other) = two_replicas(Duration::from_secs(3)).await;
    let waiting = story.waiting().await;
    let old = holder(&story).await;
    // From here on a look at the pipeline takes long enough to be caught in it.
    story.engine.fault("latency", "3s@/orders").await;
    story.approve(&id(&waiting)).await;
    story
        .until("it is decided", |p| is_at(p, ApprovalState::Applying))
        .await;
    if !leader.runs() {
        return false;
    }
    leader.signal("STOP");
    let asleep = Instant::now();
    story.engine.no_faults().await;
    if holder(&story).await != old || !story.engine.calls_to("/orders/approve").is_empty() {
        return false;
    }
    story.annotate(annotation::REJECT, &id(&waiting)).await;
    holder_other_than(&story, &old).await;
    let rejected = story.until_rejected().await;
    assert!(is_in(&rejected, "Rejected"));
    story
        .change_to(&sluice_test_support::story::extended())
        .await;
    let next = story.until_waiting().await;
    // Up to 3 s of the call were over when it fell asleep.
    let slept = asleep.elapsed();
    println!("asleep for {slept:?}");
    if !(3..12).contains(&slept.as_secs()) {
        return false;
    }
    leader.signal("CONT");
    eventually("it has ended", || async {
        (!leader.runs()).then_some(()).ok_or("it runs")
    })
    .await;
    story.engine.ticks(3).await;
    assert_eq!(story.engine.calls_to("/orders/approve"), []);
    let still = story.now().await;
    assert_eq!(id(&still), id(&next));
    assert!(is_at(&still, ApprovalState::Awaiting));
    assert_eq!(status(&still).history.len(), 1);
    true
}

#[tokio::test]
async fn a_leader_that_is_paused_while_nothing_happens_ends_when_it_wakes_up() {
    let (story, leader, _other) = two_replicas(DURATION).await;
    story.running().await;
    let old = holder(&story).await;
    leader.signal("STOP");
    let new = holder_other_than(&story, &old).await;
    leader.signal("CONT");
    eventually("it has ended", || async {
        (!leader.runs()).then_some(()).ok_or("it runs")
    })
    .await;
    assert_eq!(holder(&story).await, new);
    let pipeline = story.engine.pipeline(ORDERS).await;
    assert_eq!(pipeline["deployment_status"], "Running");
}

async fn get(url: &str) -> (u16, String) {
    let answer = reqwest::get(url).await.expect("an answer");
    let status = answer.status().as_u16();
    (status, answer.text().await.expect("a text"))
}

#[tokio::test]
async fn each_replica_tells_its_role_and_the_leader_what_it_hears_of() {
    let (story, leader, other) = two_replicas(LONG).await;
    story.running().await;
    let (leading, standing_by) = (leader.admin_url().await, other.admin_url().await);
    let roles = [("ok: leads\n", &leading), ("ok: stands by\n", &standing_by)];
    for (role, url) in roles {
        // The second one is still starting, maybe.
        eventually("it tells its role", || async {
            let answer = get(&format!("{url}/readyz")).await;
            (answer == (200, role.to_owned()))
                .then_some(())
                .ok_or(answer)
        })
        .await;
    }
    let (status, parts) = get(&format!("{leading}/livez")).await;
    assert_eq!(status, 200, "{parts}");
    let poll = format!("poll of engine {}/engine", &*story.namespace);
    for part in [
        "lease",
        "watch of pipelines",
        "watch of pipelineapprovals",
        "watch of engines",
        "watch of configmaps",
        &poll,
    ] {
        assert!(parts.contains(&format!("ok: {part},")), "{part} in {parts}");
    }
    let (_, parts) = get(&format!("{standing_by}/livez")).await;
    assert!(
        parts.contains("ok: lease") && !parts.contains("watch of"),
        "{parts}"
    );
    let (_, figures) = get(&format!("{leading}/metrics")).await;
    assert!(figures.contains("sluice_leader 1"), "{figures}");
    eventually(
        "its own watch has told it that the pipeline runs",
        || async {
            let (_, figures) = get(&format!("{leading}/metrics")).await;
            let runs = figures.contains("sluice_pipelines{phase=\"Running\"} 1");
            runs.then_some(()).ok_or(figures)
        },
    )
    .await;
    let (_, figures) = get(&format!("{standing_by}/metrics")).await;
    assert!(figures.contains("sluice_leader 0"), "{figures}");
}

/// The poller goes on while the engine is away, and a poll that ends badly is one too: a restart of the
/// operator would help nobody.
#[tokio::test]
async fn an_engine_that_is_down_does_not_make_the_operator_look_dead() {
    let (mut story, leader, _other) = two_replicas(LONG).await;
    story.running().await;
    story.engine.goes_down();
    story.until_engine("False", "Unreachable").await;
    let (status, parts) = get(&format!("{}/livez", leader.admin_url().await)).await;
    assert_eq!(status, 200, "{parts}");
}

/// The leader is paused in the middle of its time, as a frozen node is, and somebody turns the Lease over.
async fn nobody_else_begins(edit: impl AsyncFnOnce(&Story)) {
    let (story, leader, _other) = two_replicas(DURATION).await;
    story.running().await;
    let old = holder(&story).await;
    leader.signal("STOP");
    edit(&story).await;
    let edited = Instant::now();
    let new = holder_other_than(&story, &old).await;
    let took = edited.elapsed();
    println!("{new} leads {took:?} after the Lease was turned over");
    // The one that is paused may act for two thirds of the duration after its last renewal.
    assert!(took > DURATION * 2 / 3, "{took:?}");
    leader.signal("CONT");
    eventually("the deposed one ends", || async {
        (!leader.runs()).then_some(()).ok_or("it runs")
    })
    .await;
}

#[tokio::test]
async fn while_the_first_may_act_no_second_replica_begins_because_the_lease_is_deleted() {
    nobody_else_begins(async |story| {
        let leases = story.api::<Lease>();
        let params = kube::api::DeleteParams::default();
        leases
            .delete("sluice", &params)
            .await
            .expect("it is deleted");
    })
    .await;
}

#[tokio::test]
async fn while_the_first_may_act_no_second_replica_begins_because_the_lease_lasts_for_a_second() {
    nobody_else_begins(async |story| {
        let patch = json!({"spec": {"leaseDurationSeconds": 1, "renewTime": "2099-01-01T00:00:00.000000Z"}});
        let patch = kube::api::Patch::Merge(patch);
        let leases = story.api::<Lease>();
        let params = kube::api::PatchParams::default();
        leases
            .patch("sluice", &params, &patch)
            .await
            .expect("it is patched");
    })
    .await;
}
