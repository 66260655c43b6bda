//! What applying a Pipeline would come to. It is named as the operator will name it: by the same
//! functions.

use kube::ResourceExt;
use sluice_gate::change::{Content, ROOT, UNSEEN_BY_THE_ENGINE};
use sluice_gate::crd::{
    ApprovalState, BootstrapPolicy, Decision, DesiredState, Gate, Pipeline, PipelineApproval,
    PipelineStatus, PreviewOutcome, Run, Settled, Target, VoteDecision, annotation,
};
use sluice_gate::describe::changed;
use sluice_gate::lineage;
use sluice_gate::votes::{Effect, effect};

use super::held::{self, LeftAlone};
use crate::differing::{Differing, Others, cannot_be_told_apart};
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
    pub subject: Subject,
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

/// What a change is about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Subject {
    /// The program; settings may change with it.
    Program,
    /// Runtime settings alone.
    Settings,
    /// What somebody has set at the engine, and nothing that the file says.
    Others,
    /// Nobody knows, since it isn't known what is settled.
    Unknown,
    /// The pipeline is gone, and made anew.
    Anew,
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
    /// `bootstrapPolicy: reject` refuses it.
    Refused(String),
    /// Applying the file comes to nothing: why.
    NotApplied(String),
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
            Self::NotApplied(_) => "NotApplied",
            Self::NeedsApproval => "NeedsApproval",
            Self::Approved(_) => "Approved",
            Self::Rejected(_) => "Rejected",
            Self::ApplyFailed(_) => "ApplyFailed",
        }
    }

    /// Whether it can't go on as it is because nobody consents to it.
    pub fn needs_approval(&self) -> bool {
        matches!(
            self,
            Self::NeedsApproval | Self::Rejected(_) | Self::ApplyFailed(_)
        )
    }

    /// Whether it can't go on as it is.
    pub fn is_held(&self) -> bool {
        self.needs_approval() || matches!(self, Self::NotApplied(_))
    }
}

/// What applying the file comes to.
pub fn judge(situation: &Situation) -> Planned {
    // Of what the file doesn't give, the engine's own stays.
    let held = situation.live.and_then(|live| live.status.as_ref());
    let beside = |content: &Content| match held {
        Some(status) => lineage::beside_what_is_held(content, &lineage::as_after_the_loss(status)),
        None => content.clone(),
    };
    let content = situation.content.map(beside);
    let live_content = situation.live_content.map(beside);
    let situation = &Situation {
        content: content.as_ref(),
        live_content: live_content.as_ref(),
        ..*situation
    };
    let file = situation.file;
    let mut planned = Planned {
        namespace: file.namespace().unwrap_or_default(),
        pipeline: file.name_any(),
        verdict: Verdict::New,
        subject: Subject::Program,
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
    let same_content = situation.content == situation.live_content;
    match held::left_alone(file, live, same_content) {
        Some(LeftAlone::StillSo(why)) => {
            planned.verdict = Verdict::NotApplied(why);
            return planned;
        }
        Some(LeftAlone::MayEnd(why)) => planned.notes.push(format!(
            "nothing is applied unless what the file changes ends this: {why}"
        )),
        None => {}
    }
    planned.notes.extend(held::for_now(live));
    let Some(content) = situation.content else {
        planned.verdict = Verdict::MadeElsewhere;
        return planned;
    };
    let stored = live.status.clone().unwrap_or_default();
    let target = content.target();
    let options = file.spec.bootstrap_options;
    let uid = live.uid().unwrap_or_default();
    let status = lineage::once_asked_for(&stored, &uid, &target, options);
    if lineage::is_lost(&stored) {
        let before = stored.settled.as_ref().filter(|it| it.is_known());
        if let Some(before) = before {
            planned.changed = sluice_gate::change::differences(&before.target, &target);
            let settings = Differing::of(&stored, Some(content), &target).keys();
            planned.in_words = changed(&before.target, &target, &settings);
        }
        planned.subject = Subject::Anew;
        planned
            .notes
            .push("the pipeline is gone from its engine: this is made anew, from nothing".into());
    } else {
        planned.notes.extend(on_what_runs(&stored, &target));
    }
    let revision = lineage::revision_of(&status, &uid, &target, options);
    let id = lineage::id(&status, &uid, &target, options, revision);
    let settled = status.settled.as_ref();
    let is_settled = settled.is_some_and(|settled| settled.target == target);
    let is_lost = lineage::is_lost(&stored);
    if is_settled || !is_lost && runs_unasked(&stored, &target) {
        let held = held::by_its_content(situation, content, &status)
            .filter(|_| !clears_storage(file, &stored));
        if let Some(why) = held {
            planned.verdict = Verdict::NotApplied(why);
            return planned;
        }
        planned.verdict = Verdict::Unchanged;
        let beside = beside_the_program(file, live, &stored, &status);
        planned.notes.extend(beside);
        planned.notes.extend(as_it_is(situation, &planned.verdict));
        return planned;
    }
    planned.parent = Some(lineage::parent(&status).to_owned());
    planned.change_id = Some(id.clone());
    planned.verdict = verdict(situation, &status, content, &id);
    let known = settled.filter(|settled| settled.is_known());
    let settings = Differing::of(&status, Some(content), &target);
    let others = known.map(|settled| &settled.target);
    let others = Others::of(&settings, others, content, &target);
    if let Some(settled) = known {
        planned.changed = sluice_gate::change::differences(&settled.target, &target);
        planned.in_words = changed(&settled.target, &target, &settings.keys());
        planned.subject = match planned.changed.as_slice() {
            changed if others.are_all_of(changed) => Subject::Others,
            ["settings"] => Subject::Settings,
            _ => Subject::Program,
        };
        let before = Source {
            kept: settled.program.as_ref(),
            content: situation.live_content.map(Ok),
        };
        let after = Source {
            kept: None,
            content: Some(Ok(content)),
        };
        planned.program = program::diff((&settled.target, &before), (&target, &after), &settings);
    } else if settled.is_some() && !is_lost {
        planned.subject = Subject::Unknown;
    }
    if settled.is_some() && !matches!(planned.verdict, Verdict::NotApplied(_)) {
        planned.notes.extend(others.notes(known.is_some()));
        if !is_lost && planned.changed.contains(&"settings") && settings.paths().is_none() {
            planned.notes.push(cannot_be_told_apart(content));
        }
    }
    let notes = on_the_change(situation, &stored, &status, &target, &id, &planned);
    planned.notes.extend(notes);
    planned
}

/// The run of a change that isn't settled yet.
fn unsettled(stored: &PipelineStatus) -> Option<&Run> {
    let run = stored.run.as_ref()?;
    let settled = stored.settled.as_ref();
    let is_settled = settled.is_some_and(|settled| settled.change_id == run.change_id);
    (!is_settled).then_some(run)
}

/// What becomes of the program that ran last, if that isn't settled.
fn on_what_runs(stored: &PipelineStatus, target: &Target) -> Option<String> {
    let run = unsettled(stored)?;
    let id = &run.change_id;
    let is_this = run.target == *target;
    if lineage::settled_by_its_stop(stored).is_some() {
        return Some(match is_this {
            true => format!("it is applied already: change {id} runs, and isn't settled yet"),
            false => {
                format!("change {id} runs and isn't settled yet; the id holds if it is by then")
            }
        });
    }
    let approval = stored.approval.as_ref();
    let failed = approval.is_some_and(|approval| {
        approval.change_id == *id && approval.state == ApprovalState::ApplyFailed
    });
    let settled = stored.settled.as_ref().map(|settled| &settled.target);
    (failed && run.failed && !is_this && settled != Some(target)).then(|| {
        format!("change {id}, which couldn't be applied, isn't settled: the id is that of a change from what was before it")
    })
}

/// Whether the program runs already, and nobody is asked about it any more: the engine let it through, or somebody
/// started it there.
fn runs_unasked(stored: &PipelineStatus, target: &Target) -> bool {
    let runs = unsettled(stored).filter(|run| run.target == *target);
    let Some(run) = runs.filter(|_| lineage::is_past_the_gate(stored)) else {
        return false;
    };
    let mut approval = stored.approval.iter();
    let approval = approval.find(|approval| approval.change_id == run.change_id);
    approval.is_none_or(|approval| {
        approval.state != ApprovalState::Rejected
            && effect(approval.state, VoteDecision::Approve) != Effect::Holds
    })
}

/// Whether the file has the storage cleared once more.
fn clears_storage(file: &Pipeline, status: &PipelineStatus) -> bool {
    let asked = &file.spec.clear_storage;
    asked.is_some() && *asked != status.handled_clear
}

/// Why the Pipeline doesn't get on, where the file leaves everything as it is.
fn as_it_is(situation: &Situation, verdict: &Verdict) -> Option<String> {
    let live = situation.live?;
    let file = situation.file;
    let is_said = matches!(verdict, Verdict::NotApplied(_))
        || matches!(verdict, Verdict::Rejected(_) | Verdict::ApplyFailed(_));
    let is_tried_again = file.annotation(annotation::RETRY).is_some()
        && file.annotation(annotation::RETRY) != live.annotation(annotation::RETRY);
    let is_same = file.spec == live.spec && situation.content == situation.live_content;
    (is_same && !is_said && !is_tried_again)
        .then(|| held::as_it_is(live))
        .flatten()
}

fn verdict(situation: &Situation, status: &PipelineStatus, content: &Content, id: &str) -> Verdict {
    let file = &situation.file;
    let spec = &file.spec;
    let is_lost = lineage::is_lost(status);
    if clears_storage(file, status) && !is_lost {
        return match status.settled {
            None => Verdict::NothingSettled,
            Some(_) => Verdict::NotAsked(
                "spec.clearStorage has a new value: the pipeline loses all of its state and starts from nothing".into(),
            ),
        };
    }
    if !is_lost && let Some(why) = held::by_its_content(situation, content, status) {
        return Verdict::NotApplied(why);
    }
    let Some(settled) = &status.settled else {
        return Verdict::NothingSettled;
    };
    // No policy overrules a no.
    if let Some(by) = rejected_before(status, id) {
        return Verdict::Rejected(by);
    }
    match spec.bootstrap_policy {
        BootstrapPolicy::AwaitApproval => {}
        // What switches storage off, loses all that was computed.
        BootstrapPolicy::Allow
            if switches_storage_off(situation, status) && !spec.allow_state_loss => {}
        BootstrapPolicy::Allow => {
            return Verdict::NotAsked("spec.bootstrapPolicy is allow".into());
        }
        BootstrapPolicy::Reject => {
            return Verdict::Refused(
                "spec.bootstrapPolicy is reject: if it would be asked about, the old program goes on".into(),
            );
        }
    }
    if is_lost && spec.allow_state_loss {
        return Verdict::NotAsked("spec.allowStateLoss is true".into());
    }
    if !lineage::writes_checkpoints(status) && !is_lost {
        return Verdict::NotAsked(
            "its engine writes no checkpoints, so each start is one from nothing".into(),
        );
    }
    let target = content.target();
    if settled.checkpoint.is_none() && settled.target.without_storage && target.without_storage {
        return Verdict::NotAsked(
            "without storage no checkpoint is read, so each start is one from nothing".into(),
        );
    }
    if let Some(by) = by_the_files(situation, id, VoteDecision::Reject) {
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

/// Whether the file switches the storage off, and what is settled has one.
fn switches_storage_off(situation: &Situation, status: &PipelineStatus) -> bool {
    let has_storage = |settled: &Settled| !settled.target.without_storage;
    let is_off = |content: &Content| content.target().without_storage;
    status.settled.as_ref().is_some_and(has_storage) && situation.content.is_some_and(is_off)
}

/// By whom the change was rejected already.
fn rejected_before(status: &PipelineStatus, id: &str) -> Option<String> {
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
    decision.map(said)
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
    situation: &Situation,
    stored: &PipelineStatus,
    status: &PipelineStatus,
    target: &Target,
    id: &str,
    planned: &Planned,
) -> Vec<String> {
    let file = situation.file;
    let mut notes = vec![];
    if matches!(planned.verdict, Verdict::NotApplied(_)) {
        return notes;
    }
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
    notes.extend(what_is_lost(stored, status, target));
    if matches!(planned.verdict, Verdict::ApplyFailed(_)) {
        notes.push(asked_anew(file, id));
    }
    let needs_approval = matches!(planned.verdict, Verdict::NeedsApproval);
    if (needs_approval || matches!(planned.verdict, Verdict::Approved(_)))
        && let Some(live) = situation.live
    {
        notes.extend(held::no_approval_counts(live));
    }
    if needs_approval {
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
        let is_known = held::preview(status, target)
            .is_some_and(|preview| preview.outcome == PreviewOutcome::Gated);
        let is_lost = lineage::is_lost(stored);
        if !is_lost && !asked_here && !is_known && waiting.is_none_or(|waits| waits.change_id != id)
        {
            notes.push("nobody is asked if the engine finds tables, views and connectors unchanged, as where only comments were".into());
        }
    }
    let is_lost = lineage::is_lost(stored);
    if file.spec.desired_state == DesiredState::Stopped && !asked_here && !is_lost {
        notes.push("spec.desiredState is stopped: it is asked about at the next start".into());
    }
    notes.extend(as_it_is(situation, &planned.verdict));
    notes
}

/// That the pipeline begins from nothing, where it does for want of storage.
fn what_is_lost(
    stored: &PipelineStatus,
    status: &PipelineStatus,
    target: &Target,
) -> Option<String> {
    let settled = status.settled.as_ref().map(|settled| &settled.target);
    let settled = settled.filter(|settled| **settled != Target::default())?;
    let runs = stored
        .run
        .as_ref()
        .filter(|_| lineage::is_past_the_gate(stored));
    if target.without_storage && !settled.without_storage {
        Some("it turns storage off: all that the pipeline has computed is lost, and it begins from nothing".into())
    } else if runs.is_some_and(|run| run.target.without_storage) {
        Some("what runs has no storage, so that nothing of it is kept: all that it has computed is lost".into())
    } else {
        None
    }
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
fn beside_the_program(
    file: &Pipeline,
    live: &Pipeline,
    stored: &PipelineStatus,
    status: &PipelineStatus,
) -> Vec<String> {
    let mut notes = vec![];
    if file.spec.runtime_config != live.spec.runtime_config {
        notes.push("spec.runtimeConfig differs: the pipeline is stopped with a checkpoint and started with it, unasked".into());
    }
    let state = |of: &PipelineStatus| of.approval.as_ref().map(|approval| approval.state);
    let gives_way =
        state(stored) != state(status) && state(status) == Some(ApprovalState::Superseded);
    if let Some(open) = stored.approval.as_ref().filter(|_| gives_way) {
        let then = match open.gate {
            Gate::Sluice => "what was before it goes on",
            _ => "the pipeline comes up again as it was",
        };
        notes.push(format!(
            "it takes back change {}, and {then}",
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
mod tests;
