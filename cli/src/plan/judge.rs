//! What applying a Pipeline would come to. It is named as the operator will name it: by the same
//! functions.

use kube::ResourceExt;
use sluice::chain;
use sluice::change::{Content, ROOT, UNSEEN_BY_THE_ENGINE};
use sluice::crd::{
    ApprovalState, BootstrapPolicy, Decision, DesiredState, Pipeline, PipelineApproval,
    PipelineStatus, Settled, Target, VoteDecision, annotation,
};
use sluice::engine::EngineInfo;
use sluice::votes::{Effect, effect};

use crate::program::{self, PartDiff, Source};

/// Everything that it depends on.
pub struct Situation<'a> {
    /// The Pipeline as the file has it.
    pub file: &'a Pipeline,
    /// What it asks for; `None` if the pipeline is made elsewhere.
    pub content: Option<&'a Content>,
    /// The Pipeline as the cluster has it.
    pub live: Option<&'a Pipeline>,
    /// What that asks for, if it can be told.
    pub live_content: Option<&'a Content>,
    /// The votes of the files.
    pub approvals: &'a [PipelineApproval],
}

/// What it comes to.
#[derive(Debug, PartialEq)]
pub struct Planned {
    pub namespace: String,
    pub pipeline: String,
    pub verdict: Verdict,
    /// The id of the change, where it can be told.
    pub change_id: Option<String>,
    /// What it follows.
    pub parent: Option<String>,
    /// What of the program differs: by the names of the status, and in words.
    pub changed: Vec<&'static str>,
    pub in_words: Vec<String>,
    /// The texts that differ.
    pub program: Vec<PartDiff>,
    pub notes: Vec<String>,
}

/// Whether somebody has to approve it.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// There is no such Pipeline yet.
    New,
    /// The pipeline is made elsewhere.
    MadeElsewhere,
    /// The program is the settled one.
    Unchanged,
    /// Nothing is settled that the program could be a change of.
    NothingSettled,
    /// It is applied without being asked about.
    NotAsked(String),
    /// It isn't applied.
    Refused(String),
    /// Somebody has to approve it.
    NeedsApproval,
    /// It is approved.
    Approved(String),
    /// It is rejected.
    Rejected(String),
    /// It was approved, and couldn't be applied: why. That approval is spent.
    ApplyFailed(String),
}

impl Verdict {
    /// The word for programs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::New => "New",
            Self::MadeElsewhere => "MadeElsewhere",
            Self::Unchanged => "Unchanged",
            Self::NothingSettled => "NothingSettled",
            Self::NotAsked(_) => "NotAsked",
            Self::Refused(_) => "Refused",
            Self::NeedsApproval => "NeedsApproval",
            Self::Approved(_) => "Approved",
            Self::Rejected(_) => "Rejected",
            Self::ApplyFailed(_) => "ApplyFailed",
        }
    }

    /// Whether it can't go on as it is.
    pub fn needs_approval(&self) -> bool {
        matches!(
            self,
            Self::NeedsApproval | Self::Rejected(_) | Self::ApplyFailed(_)
        )
    }
}

/// What applying the file comes to.
pub fn judge(situation: &Situation) -> Planned {
    let file = situation.file;
    let mut planned = Planned {
        namespace: file.namespace().unwrap_or_default(),
        pipeline: file.name_any(),
        verdict: Verdict::New,
        change_id: None,
        parent: None,
        changed: vec![],
        in_words: vec![],
        program: vec![],
        notes: vec![],
    };
    let Some(live) = situation.live else {
        return planned;
    };
    if live.metadata.deletion_timestamp.is_some() {
        planned.notes.push("the Pipeline of this name is being deleted; one that is created afterwards is another one".into());
        return planned;
    }
    let Some(content) = situation.content else {
        planned.verdict = Verdict::MadeElsewhere;
        return planned;
    };
    let stored = live.status.clone().unwrap_or_default();
    let status = once_applied(&stored, &mut planned.notes);
    let target = content.target();
    let options = file.spec.bootstrap_options;
    let uid = live.uid().unwrap_or_default();
    let revision = chain::revision_of(&status, &uid, &target, options);
    let id = chain::id(&status, &uid, &target, options, revision);
    let settled = status.settled.as_ref();
    if settled.is_some_and(|settled| settled.target == target) {
        planned.verdict = Verdict::Unchanged;
        planned
            .notes
            .extend(beside_the_program(file, live, &stored));
        return planned;
    }
    planned.parent = Some(chain::parent(&status).to_owned());
    planned.change_id = Some(id.clone());
    planned.verdict = verdict(situation, &status, &id);
    let known = settled.filter(|settled| settled.target != Target::default());
    if let Some(settled) = known {
        planned.changed = sluice::change::differences(&settled.target, &target);
        planned.in_words = program::changed(&settled.target, &target);
        let before = Source {
            kept: settled.program.as_ref(),
            content: situation.live_content.map(Ok),
        };
        let after = Source {
            kept: None,
            content: Some(Ok(content)),
        };
        planned.program = program::diff((&settled.target, &before), (&target, &after));
    }
    let notes = on_the_change(file, &stored, &id, &planned);
    planned.notes.extend(notes);
    planned
}

/// The status in which the operator will find the file: before it replaces a program that runs and isn't
/// settled yet, it stops it with a checkpoint, which settles that.
fn once_applied(stored: &PipelineStatus, notes: &mut Vec<String>) -> PipelineStatus {
    let mut status = stored.clone();
    let Some(run) = &stored.run else {
        return status;
    };
    let settled = stored.settled.as_ref();
    let unsettled = settled.is_none_or(|settled| settled.change_id != run.change_id);
    if unsettled && run.past_gate_since.is_some() {
        notes.push(format!(
            "change {} runs and isn't settled yet; the id holds if it is by then",
            run.change_id
        ));
        status.settled = Some(Settled {
            change_id: run.change_id.clone(),
            target: run.target.clone(),
            checkpoint: None,
            version: None,
            program: None,
        });
        status.turns.clear();
        status.approval = None;
    }
    status
}

fn verdict(situation: &Situation, status: &PipelineStatus, id: &str) -> Verdict {
    let file = &situation.file;
    let spec = &file.spec;
    if status.settled.is_none() {
        return Verdict::NothingSettled;
    }
    if spec.clear_storage.is_some() && spec.clear_storage != status.handled_clear {
        return Verdict::NotAsked(
            "spec.clearStorage has a new value: the pipeline loses all of its state and starts from nothing".into(),
        );
    }
    match spec.bootstrap_policy {
        BootstrapPolicy::AwaitApproval => {}
        BootstrapPolicy::Allow => {
            return Verdict::NotAsked("spec.bootstrapPolicy is allow".into());
        }
        BootstrapPolicy::Reject => {
            return Verdict::Refused(
                "spec.bootstrapPolicy is reject: if it would be asked about, the old program goes on".into(),
            );
        }
    }
    let edition = status
        .engine
        .as_ref()
        .and_then(|engine| engine.edition.clone());
    let engine = edition.map(|edition| EngineInfo {
        edition,
        ..EngineInfo::default()
    });
    if engine.is_some_and(|engine| !engine.has_checkpoints()) {
        return Verdict::NotAsked(
            "its engine writes no checkpoints, so each start is one from nothing".into(),
        );
    }
    if let Some(by) = rejected(situation, status, id) {
        return Verdict::Rejected(by);
    }
    let by_the_files = || by_the_files(situation, id, VoteDecision::Approve);
    let current = status.approval.as_ref();
    let current = current.filter(|approval| approval.change_id == id);
    let approved = match current.map(|it| (it, effect(it.state, VoteDecision::Approve))) {
        None | Some((_, Effect::Counts)) => by_the_files(),
        Some((current, Effect::Holds)) => {
            let decision = current.decision.as_ref();
            Some(
                decision
                    .map_or("somebody", |decision| &decision.by)
                    .to_owned(),
            )
        }
        Some((current, Effect::Nothing)) if current.state == ApprovalState::ApplyFailed => {
            return Verdict::ApplyFailed(current.failure.clone().unwrap_or_default());
        }
        Some((_, Effect::Nothing)) => None,
    };
    approved.map_or(Verdict::NeedsApproval, Verdict::Approved)
}

/// By whom the change is rejected.
fn rejected(situation: &Situation, status: &PipelineStatus, id: &str) -> Option<String> {
    let said = |decision: &Decision| {
        let reason = decision.reason.as_deref();
        let reason = reason
            .map(|reason| format!(": {reason}"))
            .unwrap_or_default();
        format!("{}{reason}", decision.by)
    };
    let current = status.approval.as_ref();
    let current = current
        .filter(|approval| approval.change_id == id && approval.state == ApprovalState::Rejected);
    let mut turns = status.turns.iter();
    let turn = turns.find(|turn| turn.change_id == id);
    let decision = current
        .and_then(|approval| approval.decision.as_ref())
        .or_else(|| turn.and_then(|turn| turn.rejected.as_ref()));
    decision
        .map(said)
        .or_else(|| by_the_files(situation, id, VoteDecision::Reject))
}

/// Which vote of the files names this change.
fn by_the_files(situation: &Situation, id: &str, decision: VoteDecision) -> Option<String> {
    let file = situation.file;
    let approves = decision == VoteDecision::Approve;
    if approves && file.spec.approved_change.as_deref() == Some(id) {
        return Some("spec.approvedChange".into());
    }
    let key = if approves {
        annotation::APPROVE
    } else {
        annotation::REJECT
    };
    if file.annotation(key) == Some(id) {
        return Some(format!("the annotation {key}"));
    }
    let mut votes = situation.approvals.iter();
    let vote = votes.find(|vote| {
        vote.namespace() == file.namespace()
            && vote.spec.pipeline_ref.name == file.name_any()
            && vote.spec.change_id == id
            && vote.spec.decision == decision
    });
    vote.map(|vote| format!("the PipelineApproval {}", vote.name_any()))
}

/// What else to know of a change.
fn on_the_change(
    file: &Pipeline,
    stored: &PipelineStatus,
    id: &str,
    planned: &Planned,
) -> Vec<String> {
    let mut notes = vec![];
    // Sluice asks about these itself, whatever the engine finds.
    let mut changed = planned.changed.iter();
    let asked_here = changed.any(|part| UNSEEN_BY_THE_ENGINE.contains(part));
    let waiting = stored.approval.as_ref();
    let waiting = waiting.filter(|approval| approval.state == ApprovalState::Awaiting);
    match waiting {
        Some(waits) if waits.change_id == id => {
            notes.push("it is applied already, and waits".into())
        }
        Some(waits) => notes.push(format!(
            "it takes the place of change {}, which waits; approvals of that do nothing then",
            waits.change_id
        )),
        None => {}
    }
    if matches!(planned.verdict, Verdict::ApplyFailed(_)) {
        notes.push(asked_anew(file, id));
    }
    if matches!(planned.verdict, Verdict::NeedsApproval) {
        if let Some(other) = &file.spec.approved_change
            && other != id
        {
            notes.push(format!(
                "spec.approvedChange names {other}, which is another change"
            ));
        }
        if file.spec.approved == Some(true) {
            notes.push("spec.approved: true names no change, and counts only if it turns true after the change was published".into());
        }
        // Nobody knows better than the gate.
        if !asked_here && waiting.is_none_or(|waits| waits.change_id != id) {
            notes.push("nobody is asked if the engine finds tables, views and connectors unchanged, as where only comments were".into());
        }
    }
    if file.spec.desired_state == DesiredState::Stopped && !asked_here {
        notes.push("spec.desiredState is stopped: it is asked about at the next start".into());
    }
    notes
}

/// How a change that couldn't be applied is asked about anew.
fn asked_anew(file: &Pipeline, id: &str) -> String {
    format!(
        "no approval of it counts any more: correct the program, or have it asked about anew, under another id, with kubectl annotate pipeline {} -n {} {}={id} --overwrite",
        file.name_any(),
        file.namespace().unwrap_or_default(),
        annotation::RETRY,
    )
}

/// What else differs where the program doesn't.
fn beside_the_program(file: &Pipeline, live: &Pipeline, stored: &PipelineStatus) -> Vec<String> {
    let mut notes = vec![];
    if file.spec.runtime_config != live.spec.runtime_config {
        notes.push("spec.runtimeConfig differs: the pipeline is stopped with a checkpoint and started with it, unasked".into());
    }
    let open = stored.approval.as_ref().filter(|approval| {
        use ApprovalState::{ApplyFailed, Approved, Awaiting, Rejected};
        matches!(approval.state, Awaiting | Approved | Rejected | ApplyFailed)
    });
    if let Some(open) = open {
        notes.push(format!(
            "it takes back change {}, and the pipeline comes up again as it was",
            open.change_id
        ));
    }
    notes
}

/// What a change without a settled one before it follows.
pub fn is_root(parent: &str) -> bool {
    parent == ROOT
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn sql(text: &str) -> Content {
        Content {
            sql: text.to_owned(),
            ..Content::default()
        }
    }

    fn of(spec: Value) -> Pipeline {
        let mut pipeline = Pipeline::new("orders", serde_json::from_value(spec).unwrap());
        pipeline.metadata.namespace = Some("shop".into());
        pipeline
    }

    /// A Pipeline whose program A is settled.
    fn settled() -> Pipeline {
        let mut live = of(json!({"program": {"sql": "A"}}));
        live.metadata.uid = Some("uid-1".into());
        let target = sql("A").target();
        live.status = serde_json::from_value(json!({
            "settled": {"changeId": "parent", "target": target},
            "run": {"changeId": "parent", "target": target, "bootstrapPolicy": "await_approval",
                    "pastGateSince": "2026-01-01T00:00:00Z"},
        }))
        .unwrap();
        live
    }

    fn plan(file: &Pipeline, live: Option<&Pipeline>) -> Planned {
        let content = file.spec.program.as_ref();
        let content = content.map(|program| sql(program.sql.as_deref().unwrap_or_default()));
        judge(&Situation {
            file,
            content: content.as_ref(),
            live,
            live_content: Some(&sql("A")),
            approvals: &[],
        })
    }

    fn id(text: &str, parent: &str) -> String {
        sluice::change::Change {
            uid: "uid-1",
            parent,
            target: &sql(text).target(),
            options: Default::default(),
            revision: 0,
        }
        .id()
    }

    #[test]
    fn a_changed_program_needs_approval_under_the_id_that_will_be_published() {
        let planned = plan(&of(json!({"program": {"sql": "B"}})), Some(&settled()));
        assert_eq!(planned.verdict, Verdict::NeedsApproval);
        assert_eq!(planned.change_id, Some(id("B", "parent")));
        assert_eq!(planned.changed, ["sql"]);
        let texts = planned.program[0].texts.clone().unwrap();
        assert_eq!(texts, ("A".to_owned(), "B".to_owned()));
        assert!(planned.verdict.needs_approval());
    }

    #[test]
    fn changed_functions_are_asked_about_whatever_the_engine_finds() {
        let functions = Content {
            udf_rust: "fn f() {}".into(),
            ..sql("A")
        };
        let notes = |content: &Content| {
            let planned = judge(&Situation {
                file: &of(json!({"program": {}, "desiredState": "stopped"})),
                content: Some(content),
                live: Some(&settled()),
                live_content: None,
                approvals: &[],
            });
            assert_eq!(planned.verdict, Verdict::NeedsApproval);
            planned.notes
        };
        let of_sql = notes(&sql("B")).join("; ");
        assert!(of_sql.contains("nobody is asked if"), "{of_sql}");
        assert!(of_sql.contains("at the next start"), "{of_sql}");
        assert_eq!(notes(&functions), Vec::<String>::new());
    }

    #[test]
    fn what_approves_the_change_in_the_same_files_is_found() {
        let change = id("B", "parent");
        let file = of(json!({"program": {"sql": "B"}, "approvedChange": change}));
        let planned = plan(&file, Some(&settled()));
        assert_eq!(
            planned.verdict,
            Verdict::Approved("spec.approvedChange".into())
        );
        let other = of(json!({"program": {"sql": "B"}, "approvedChange": id("C", "parent")}));
        let planned = plan(&other, Some(&settled()));
        assert_eq!(planned.verdict, Verdict::NeedsApproval);
        assert!(
            planned.notes[0].contains("another change"),
            "{:?}",
            planned.notes
        );
        // A vote in a file of its own.
        let file = of(json!({"program": {"sql": "B"}}));
        let vote = |decision| {
            let spec = json!({"pipelineRef": {"name": "orders"}, "changeId": change, "decision": decision});
            let mut vote = PipelineApproval::new("vote", serde_json::from_value(spec).unwrap());
            vote.metadata.namespace = Some("shop".into());
            vote
        };
        for (votes, name) in [
            (vec![vote("Approve")], "Approved"),
            (vec![vote("Approve"), vote("Reject")], "Rejected"),
        ] {
            let planned = judge(&Situation {
                file: &file,
                content: Some(&sql("B")),
                live: Some(&settled()),
                live_content: None,
                approvals: &votes,
            });
            assert_eq!(planned.verdict.name(), name);
        }
    }

    #[test]
    fn what_needs_no_approval_says_why() {
        let same = of(json!({"program": {"sql": "A"}, "runtimeConfig": {"workers": 4}}));
        let planned = plan(&same, Some(&settled()));
        assert_eq!(
            (planned.verdict, planned.change_id),
            (Verdict::Unchanged, None)
        );
        assert!(planned.notes[0].contains("runtimeConfig differs"));
        assert_eq!(plan(&same, None).verdict, Verdict::New);
        assert_eq!(
            plan(&of(json!({})), Some(&settled())).verdict,
            Verdict::MadeElsewhere
        );
        for (spec, name) in [
            (
                json!({"program": {"sql": "B"}, "bootstrapPolicy": "allow"}),
                "NotAsked",
            ),
            (
                json!({"program": {"sql": "B"}, "bootstrapPolicy": "reject"}),
                "Refused",
            ),
            (
                json!({"program": {"sql": "B"}, "clearStorage": "now"}),
                "NotAsked",
            ),
        ] {
            let planned = plan(&of(spec), Some(&settled()));
            assert_eq!(planned.verdict.name(), name);
            assert!(!planned.verdict.needs_approval());
        }
        let mut open_source = settled();
        let status = open_source.status.as_mut().unwrap();
        status.engine.get_or_insert_default().edition = Some("Open source".into());
        let planned = plan(&of(json!({"program": {"sql": "B"}})), Some(&open_source));
        assert_eq!(planned.verdict.name(), "NotAsked");
    }

    #[test]
    fn what_runs_unsettled_is_settled_by_the_stop_for_the_update() {
        let mut live = settled();
        let status = live.status.as_mut().unwrap();
        let run = status.run.as_mut().unwrap();
        run.change_id = "applied".into();
        run.target = sql("B").target();
        let planned = plan(&of(json!({"program": {"sql": "C"}})), Some(&live));
        assert_eq!(planned.change_id, Some(id("C", "applied")));
        assert!(
            planned.notes[0].contains("isn't settled yet"),
            "{:?}",
            planned.notes
        );
        // What waits at the gate settles nothing.
        let run = live.status.as_mut().unwrap().run.as_mut().unwrap();
        run.past_gate_since = None;
        let planned = plan(&of(json!({"program": {"sql": "C"}})), Some(&live));
        assert_eq!(planned.change_id, Some(id("C", "parent")));
    }

    #[test]
    fn a_change_without_a_settled_one_before_it_follows_the_root() {
        let mut live = settled();
        live.status = None;
        let planned = plan(&of(json!({"program": {"sql": "B"}})), Some(&live));
        assert_eq!(planned.verdict, Verdict::NothingSettled);
        assert_eq!(planned.change_id, Some(id("B", ROOT)));
    }

    #[test]
    fn each_state_of_the_same_change_has_its_verdict_whatever_the_files_approve() {
        let change = id("B", "parent");
        let silent = of(json!({"program": {"sql": "B"}}));
        let approving = of(json!({"program": {"sql": "B"}, "approvedChange": change}));
        for (state, without, with) in [
            ("Awaiting", "NeedsApproval", "Approved"),
            ("Approved", "Approved", "Approved"),
            ("Applying", "Approved", "Approved"),
            ("Applied", "Approved", "Approved"),
            ("Sealed", "Approved", "Approved"),
            ("ApplyFailed", "ApplyFailed", "ApplyFailed"),
            ("Rejected", "Rejected", "Rejected"),
            ("Expired", "NeedsApproval", "NeedsApproval"),
            ("SomethingNew", "NeedsApproval", "NeedsApproval"),
        ] {
            let mut live = settled();
            let status = live.status.as_mut().unwrap();
            let outcome = if state == "Rejected" {
                state
            } else {
                "Approved"
            };
            status.approval = serde_json::from_value(json!({
                "state": state, "changeId": change, "shortId": "", "parent": "parent",
                "target": sql("B").target(), "options": {"silent": false, "concurrent": false},
                "revision": 0, "since": "2026-01-01T00:00:00Z", "summary": "", "diffDigest": "",
                "approveCommand": "", "approvedFieldCounts": false, "failure": "no such topic",
                "decision": {"outcome": outcome, "by": "bob", "verified": true, "via": "Object",
                             "at": "2026-01-01T00:00:00Z"},
            }))
            .unwrap();
            let verdict = |file| plan(file, Some(&live));
            assert_eq!(
                verdict(&silent).change_id.as_ref(),
                Some(&change),
                "{state}"
            );
            assert_eq!(verdict(&silent).verdict.name(), without, "{state}");
            assert_eq!(verdict(&approving).verdict.name(), with, "{state}");
        }
    }

    #[test]
    fn a_change_that_could_not_be_applied_says_how_it_is_asked_about_anew() {
        let change = id("B", "parent");
        let note = asked_anew(&of(json!({"program": {"sql": "B"}})), &change);
        let command = format!("kubectl annotate pipeline orders -n shop sluice.dev/retry={change}");
        assert!(note.contains(&command), "{note}");
        assert!(Verdict::ApplyFailed(String::new()).needs_approval());
    }

    #[test]
    fn a_rejected_change_stays_rejected() {
        let mut live = settled();
        let decision = json!({"outcome": "Rejected", "by": "bob", "verified": true, "via": "Object",
                              "reason": "no", "at": "2026-01-01T00:00:00Z"});
        live.status.as_mut().unwrap().turns =
            serde_json::from_value(json!([{"changeId": id("B", "parent"), "rejected": decision}]))
                .unwrap();
        let planned = plan(&of(json!({"program": {"sql": "B"}})), Some(&live));
        assert_eq!(planned.verdict, Verdict::Rejected("bob: no".into()));
        assert!(planned.verdict.needs_approval());
    }
}
