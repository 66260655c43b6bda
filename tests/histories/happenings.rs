//! What can happen, in a random order.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};
use sluice::crd::{Approval, ApprovalState, Pipeline, annotation};

use sluice_test_support::cluster::token;
use sluice_test_support::story::{
    FUNCTIONS, ORDERS, OTHER_FUNCTIONS, Recording, Story, changed, changed_otherwise, eventually,
    extended, has, is_at, is_current, is_in, status, with_functions,
};

/// How many things happen in one history.
const HAPPENINGS: usize = 14;

/// How long a change that was just made is given to come to the gate before the next thing happens.
/// Whether it does is of no matter: what comes too early is part of the story.
const A_WHILE: Duration = Duration::from_secs(4);

#[derive(Clone, Copy, Debug)]
enum Happening {
    Edit,
    EditFunctions,
    Approve,
    ApproveTooEarly,
    Reject,
    Retry,
    StopOrStart,
    Pause,
    RefuseOrAsk,
    Restart,
    KillOperator,
    KillProcess,
    RestartManager,
    Checkpoint,
    ForgetsApproval,
    LosesAnswer,
    ShowsOldAnswers,
    CompilesNothing,
    LosesPipeline,
}

/// The doors, so that each has its turn.
const DOORS: [&str; 5] = ["annotation", "approvedChange", "approved", "object", "rest"];

/// A history, and what people said in it.
pub struct History {
    random: StdRng,
    /// For whoever looks into a failure.
    pub seed: u64,
    pub story: Story,
    pub recording: Recording<Pipeline>,
    http: reqwest::Client,
    token: String,
    /// What happened, for whoever looks into a failure.
    pub log: Vec<String>,
    /// The changes that somebody said yes to while they waited, or named before they did.
    pub approved: BTreeSet<String>,
    /// Those that somebody had said no to before anybody said yes.
    pub rejected: BTreeSet<String>,
    votes: usize,
}

impl History {
    /// A program runs, and is kept.
    pub async fn begin(seed: u64, random: StdRng) -> Self {
        let story = Story::with_own_rest(&[]).await;
        story.running_with_functions().await;
        let namespace: &str = &story.namespace;
        let who = format!("system:serviceaccount:{namespace}:default");
        let cluster = story.cluster();
        cluster.grant(namespace, &who, "sluice-approver").await;
        let token = token(&cluster.admin().await, namespace, "default").await;
        let recording = story.record().await;
        recording.first("it runs", |p| is_in(p, "Running")).await;
        Self {
            random,
            seed,
            recording,
            http: reqwest::Client::new(),
            token,
            log: vec![],
            approved: BTreeSet::new(),
            rejected: BTreeSet::new(),
            votes: 0,
            story,
        }
    }

    /// Lets things happen.
    pub async fn happen(&mut self) {
        use Happening::*;
        const ALL: [(Happening, usize); 19] = [
            (Edit, 12),
            (EditFunctions, 15),
            (Approve, 24),
            (ApproveTooEarly, 3),
            (Reject, 3),
            (Retry, 3),
            (StopOrStart, 3),
            (Pause, 2),
            (RefuseOrAsk, 2),
            (Restart, 3),
            (KillOperator, 6),
            (KillProcess, 6),
            (RestartManager, 3),
            (Checkpoint, 3),
            (ForgetsApproval, 3),
            (LosesAnswer, 3),
            (ShowsOldAnswers, 3),
            (CompilesNothing, 3),
            (LosesPipeline, 1),
        ];
        for _ in 0..HAPPENINGS {
            let (what, _) = ALL
                .choose_weighted(&mut self.random, |(_, weight)| *weight)
                .expect("there are some");
            self.log.push(format!("{what:?}"));
            self.lets_happen(*what).await;
            if self.random.random_bool(0.5) {
                self.waits_a_while().await;
            }
        }
    }

    async fn lets_happen(&mut self, what: Happening) {
        match what {
            Happening::Edit => {
                // The last one comes last.
                let all = programs();
                let sql = self.one_of(&all[..all.len() - 1]);
                self.patch(json!({"spec": {"program": {"sql": sql}}})).await;
            }
            Happening::EditFunctions => {
                let functions = self.one_of(&[FUNCTIONS, OTHER_FUNCTIONS]);
                self.patch(json!({"spec": {"program": {"udfRust": functions}}}))
                    .await;
            }
            Happening::Approve => self.approves().await,
            Happening::ApproveTooEarly => {
                let annotation = json!({annotation::APPROVE: "true"});
                // If something waits after all, it is an answer to it.
                for approval in [
                    json!({"spec": {"approved": true}}),
                    json!({"metadata": {"annotations": annotation}}),
                ] {
                    let patched = self.patch(approval).await;
                    self.means_what_is_shown_in(&patched);
                }
            }
            Happening::Reject => self.rejects().await,
            Happening::Retry => {
                if let Some(approval) = self.last_change().await {
                    let retry = json!({annotation::RETRY: approval.change_id});
                    self.patch(json!({"metadata": {"annotations": retry}}))
                        .await;
                }
            }
            Happening::StopOrStart => {
                let state = self.one_of(&["running", "stopped"]);
                self.patch(json!({"spec": {"desiredState": state}})).await;
            }
            Happening::Pause => {
                self.patch(json!({"spec": {"desiredState": "paused"}}))
                    .await;
            }
            Happening::RefuseOrAsk => {
                let policy = self.one_of(&["reject", "await_approval", "await_approval"]);
                self.patch(json!({"spec": {"bootstrapPolicy": policy}}))
                    .await;
            }
            Happening::Restart => {
                let second = self.random.random_range(0..60);
                let at = format!("2026-01-01T00:00:{second:02}Z");
                self.patch(json!({"spec": {"restartedAt": at}})).await;
            }
            Happening::KillOperator => {
                self.story.kill_operator();
                self.story.start_operator().await;
            }
            Happening::KillProcess => {
                self.tell_engine(&format!("/sim/pipelines/{ORDERS}/kill"))
                    .await;
            }
            Happening::RestartManager => {
                self.story.engine.goes_down();
                self.story.engine.comes_back();
            }
            Happening::Checkpoint => {
                self.tell_engine(&format!("/v0/pipelines/{ORDERS}/checkpoint"))
                    .await;
            }
            Happening::ForgetsApproval => self.story.engine.fault("approve-forgotten", 1).await,
            Happening::LosesAnswer => self.story.engine.fault("hang-after", "1@/approve").await,
            Happening::ShowsOldAnswers => self.story.engine.fault("restart", 2).await,
            Happening::CompilesNothing => {
                let path = format!("503:3@/pipelines/{ORDERS}/diff");
                self.story.engine.fault("error", path).await;
            }
            Happening::LosesPipeline => {
                let engine = &mut self.story.engine;
                engine.goes_down();
                engine.restore(&tempfile::tempdir().expect("a temporary folder"));
                engine.comes_back();
            }
        }
    }

    /// Somebody says yes to what status shows, by one of the doors.
    async fn approves(&mut self) {
        let Some(waiting) = self.waiting().await else {
            return;
        };
        let id = waiting.change_id;
        let mut door = self.one_of(&DOORS);
        if waiting.base.is_none() && door == "rest" {
            // Its answer names the checkpoint that the pipeline resumes from, and of a lost one there is none.
            door = "object";
        }
        self.log.push(format!("  {id} by {door}"));
        // It may be superseded by now; then it does nothing, and that is what is to be shown.
        self.approved.insert(id.clone());
        match door {
            "annotation" => {
                let vote = json!({annotation::APPROVE: id});
                self.patch(json!({"metadata": {"annotations": vote}})).await;
            }
            "approvedChange" => {
                self.patch(json!({"spec": {"approvedChange": id}})).await;
            }
            "approved" => {
                self.patch(json!({"spec": {"approved": null}})).await;
                // That it was taken away must be seen, or setting it again is no new answer.
                let seen = self.story.now().await.metadata.generation;
                let observed = |p: &Pipeline| status(p).observed_generation >= seen;
                let _ = tokio::time::timeout(A_WHILE, self.recording.first("it is seen", observed))
                    .await;
                // It names no change: by now another one may wait, and be meant.
                let patched = self.patch(json!({"spec": {"approved": true}})).await;
                self.means_what_is_shown_in(&patched);
            }
            "object" => {
                self.votes += 1;
                let name = format!("yes-{}", self.votes);
                self.story.vote(&name, &id, "Approve").await;
            }
            _ => self.approves_by_rest(&id).await,
        }
    }

    /// What is approved by an edit that names no change: the one that stood there when it was made.
    fn means_what_is_shown_in(&mut self, edited: &Pipeline) {
        let shown = status(edited).approval;
        self.approved
            .extend(shown.map(|approval| approval.change_id));
    }

    async fn approves_by_rest(&self, id: &str) {
        let base = self.story.rest_url().await;
        let url = format!("{base}/v0/pipelines/{ORDERS}/approve?change_id={id}");
        // What it answers is looked into elsewhere.
        let call = self.http.post(url).bearer_auth(&self.token);
        let _ = call.timeout(A_WHILE).send().await;
    }

    async fn rejects(&mut self) {
        let Some(waiting) = self.waiting().await else {
            return;
        };
        let id = waiting.change_id;
        self.log.push(format!("  {id}"));
        if !self.approved.contains(&id) {
            self.rejected.insert(id.clone());
        }
        if self.random.random_bool(0.5) {
            self.votes += 1;
            let name = format!("no-{}", self.votes);
            self.story.vote(&name, &id, "Reject").await;
        } else {
            let vote = json!({annotation::REJECT: id});
            self.patch(json!({"metadata": {"annotations": vote}})).await;
        }
    }

    /// All that disturbs ends.
    pub async fn nothing_disturbs(&mut self) {
        self.story.engine.no_faults().await;
    }

    /// A program that nobody has seen yet is to run: whatever was before, it needs no more than to be approved.
    pub async fn brings_the_last_program(&mut self) {
        self.patch(json!({
            "metadata": {"annotations": {annotation::APPROVE: null, annotation::REJECT: null, annotation::RETRY: null}},
            "spec": {
                "approved": null, "approvedChange": null, "desiredState": "running", "bootstrapPolicy": null,
                "program": {"sql": edited(&extended()), "udfRust": FUNCTIONS},
            },
        }))
        .await;
        // Twice where it also has other functions, and the engine can't be asked beforehand whether it will
        // ask: once at Sluice's gate, once at the engine's.
        for _ in 0..3 {
            let now = self
                .story
                .until("the last program waits, or runs and is kept", |p| {
                    is_current(p)
                        && (is_new(p, ApprovalState::Awaiting) || is_in(p, "Running") && is_kept(p))
                })
                .await;
            if is_kept(&now) {
                return;
            }
            self.log.push("the last approval".into());
            self.approves().await;
            self.story
                .until("it is taken", |p| !is_new(p, ApprovalState::Awaiting))
                .await;
        }
        panic!("the last program is asked about again and again");
    }

    async fn waiting(&self) -> Option<Approval> {
        let last = self.last_change().await;
        last.filter(|approval| approval.state == ApprovalState::Awaiting)
    }

    async fn last_change(&self) -> Option<Approval> {
        status(&self.story.now().await).approval
    }

    async fn waits_a_while(&self) {
        let quiet = |p: &Pipeline| {
            is_current(p)
                && (is_at(p, ApprovalState::Awaiting) || has(p, "Ready", "True", "Running"))
        };
        let until = self.story.until("it waits or runs", quiet);
        let _ = tokio::time::timeout(A_WHILE, until).await;
    }

    async fn patch(&self, patch: Value) -> Pipeline {
        self.story.patch(patch).await
    }

    /// A call to the engine that it may refuse.
    async fn tell_engine(&self, path: &str) {
        let url = format!("{}{path}", self.story.engine.url);
        eventually("the engine answers", || async {
            let call = self.http.post(&url).timeout(A_WHILE);
            call.send()
                .await
                .map(drop)
                .map_err(|error| error.to_string())
        })
        .await;
    }

    fn one_of<T: Clone>(&mut self, all: &[T]) -> T {
        all.choose(&mut self.random)
            .expect("there are some")
            .clone()
    }
}

/// All programs that there can be.
pub fn programs() -> [String; 4] {
    [
        with_functions(),
        edited(&changed()),
        edited(&changed_otherwise()),
        edited(&extended()),
    ]
}

/// One of the other programs, with the functions declared.
fn edited(program: &str) -> String {
    format!("CREATE FUNCTION twice(x INT) RETURNS INT;\n{program}")
}

/// Whether the last program is asked about.
fn is_new(pipeline: &Pipeline, state: ApprovalState) -> bool {
    let wanted = crate::judge::digest_of(&edited(&extended()));
    let approval = status(pipeline).approval;
    approval.is_some_and(|approval| approval.state == state && approval.target.sql == wanted)
}

/// Whether the last program is settled.
fn is_kept(pipeline: &Pipeline) -> bool {
    let wanted = crate::judge::digest_of(&edited(&extended()));
    let settled = status(pipeline).settled;
    settled.is_some_and(|settled| settled.target.sql == wanted)
}
