//! What is foreign in a status, within bounds: what engines, programs and people wrote, however much it is.
//!
//! A status that the API server doesn't take any more would stop everything, since what is done is written down first.
//! Most texts are cut where they come in. Here is where nothing gets by: each field of a status is named, those whose
//! length somebody else chooses are cut, and all together they fit. It is done to what an older release has
//! stored, too.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::history::{self, MOST_VOTES, length};
use crate::crd::{
    Approval, AtStake, BaseCheckpoint, Build, Decision, Emptied, EngineContent, EngineView,
    KeptProgram, Loss, Omission, Pipeline, PipelineStatus, Preview, Run, Seal, Settled, SpentVotes,
    Target, Vote,
};
use crate::engine::diff;
use crate::text::{self, Limit, word};
use crate::{canonical, change};

/// How many bytes of JSON a status takes at most.
const MOST: usize = 384 * 1024;

/// How many an object may have altogether. etcd takes 1.5 MiB in one request, of which the API server needs something
/// for what it writes itself.
const MOST_OF_AN_OBJECT: usize = 1_400 * 1024;

/// What a status may have in any case: it is about what is left of one when all is left out that can be.
const LEAST: usize = 64 * 1024;

/// The diff in words: at most twelve lists with five names each.
const SUMMARY: Limit = Limit::Bytes(8 * 1024);

/// How much is kept of what an engine said where room is short.
const SHORT: Limit = Limit::Bytes(2 * 1024);

/// How many bytes the decisions of earlier turns may take together, beside what is always kept.
const TURNS: usize = 24 * 1024;

/// The same of the decisions that are to be written into the audit log.
const AUDIT: usize = 48 * 1024;

/// How many bytes of names one list of what is at stake may take.
const NAMES: usize = 4 * 1024;

/// How many things that aren't known are said, and how much of each.
const MOST_UNKNOWN: usize = 16;
const UNKNOWN: Limit = Limit::Bytes(1024);

/// How many bytes the votes of a change may take together.
const VOTES: usize = 24 * 1024;

/// The status as it is stored, within bounds.
pub(super) fn taken_up(pipeline: &Pipeline) -> PipelineStatus {
    let mut status = pipeline.status.clone().unwrap_or_default();
    keep_small(&mut status, pipeline);
    status
}

/// Keeps a status within bounds. What is within them stays as it is.
pub fn keep_small(status: &mut PipelineStatus, of: &Pipeline) {
    cut(status);
    if about(status) <= LEAST {
        return;
    }
    let rest = length(&of.spec) + length(&of.metadata.annotations) + length(&of.metadata.labels);
    let room = MOST_OF_AN_OBJECT.saturating_sub(rest).clamp(LEAST, MOST);
    for leave_out in LESS {
        if length(status) <= room {
            return;
        }
        leave_out(status);
    }
}

/// About how many bytes a status takes, and rather more.
fn about(status: &mut PipelineStatus) -> usize {
    let history = std::mem::take(&mut status.history);
    let records = history.iter().map(history::about).sum::<usize>();
    let rest = length(status);
    status.history = history;
    rest + records
}

/// What is left out where room is short, what matters least first.
const LESS: [fn(&mut PipelineStatus); 5] = [
    |status| status.history.iter_mut().for_each(history::make_bare),
    |status| {
        let turns = status.turns.iter_mut();
        let pending = status.audit_pending.iter_mut();
        turns
            .filter_map(|turn| turn.rejected.as_mut())
            .chain(pending.filter_map(|entry| entry.decision.as_mut()))
            .for_each(history::make_decision_bare);
    },
    |status| {
        let preview = status.preview.as_mut().map(|it| &mut it.diff);
        let approval = status.approval.as_mut().map(|it| &mut it.diff);
        for diff in preview.into_iter().chain(approval) {
            cut_diff(diff, diff::LEAST);
        }
        if let Some(approval) = &mut status.approval {
            keep_votes(approval, 5, 0);
        }
    },
    |status| {
        let said = [
            status.preview.as_mut().and_then(|it| it.message.as_mut()),
            status.build.as_mut().and_then(|it| it.message.as_mut()),
            status.refusal.as_mut().map(|it| &mut it.message),
            status.interference.as_mut().map(|it| &mut it.message),
            status.seal.as_mut().and_then(|it| it.failure.as_mut()),
            status.approval.as_mut().and_then(|it| it.failure.as_mut()),
            status.failures.as_mut().map(|it| &mut it.message),
        ];
        for text in said.into_iter().flatten() {
            cut_text(text, SHORT);
        }
    },
    |status| {
        if let Some(program) = status.settled.as_mut().and_then(|it| it.program.as_mut()) {
            leave_out_program(program);
        }
    },
];

/// Cuts what is longer than it may be. Taken apart whole, so that a field that is added isn't forgotten here.
fn cut(status: &mut PipelineStatus) {
    let PipelineStatus {
        observed_generation: _,
        phase,
        conditions,
        pipeline_name: _, // The schema knows how long it is.
        engine,
        lost,
        made_anew: _, // An id.
        emptied,
        content,
        run,
        settled,
        preview,
        build,
        refusal,
        interference,
        seal,
        waiting_since: _,
        held_up_since: _,
        idle_force_stop: _, // The id of a deployment, as it stands in `engine`.
        approval,
        failures,
        handled_retry,
        mark: _, // A digest, as the next one.
        refused_mark: _,
        handled_adopt,
        handled_restart: _,
        handled_clear: _, // The schema knows how long it is.
        clearing: _,      // The same.
        policies: _,      // Places and digests.
        spent_votes,
        turns,
        history,
        audit_pending,
    } = status;
    cut_word(phase);
    for condition in conditions {
        cut_text(&mut condition.message, text::CONDITION);
    }
    if let Some(EngineView {
        pipeline_id,
        had_state: _,
        had_checkpoint: _,
        deployment_id,
        deployment_status,
        program_status,
        program_version: _,
        edition,
        version,
    }) = engine
    {
        for text in [
            pipeline_id,
            deployment_id,
            deployment_status,
            program_status,
            edition,
            version,
        ] {
            cut_word(text);
        }
    }
    if let Some(Loss {
        pipeline_id: _, // As it stood in `engine`.
        found,
        since: _,
        last_look_at: _,
        looks: _,
        link: _,
        set_apart,
    }) = lost
    {
        cut_word(found);
        set_apart.iter_mut().for_each(|it| cut_approval(it));
    }
    if let Some(Emptied { since: _, ran }) = emptied {
        ran.iter_mut().for_each(cut_target);
    }
    if let Some(EngineContent {
        target,
        sending,
        not_shown,
        ..
    }) = content
    {
        for name in not_shown {
            *name = word(name);
        }
        cut_target(target);
        if let Some(sending) = sending {
            cut_target(&mut sending.target);
        }
    }
    if let Some(Run {
        target,
        deployment_id,
        base_checkpoint,
        graceful_stop,
        stopped_since,
        ..
    }) = run
    {
        cut_target(target);
        cut_word(deployment_id);
        cut_word(base_checkpoint);
        cut_word(stopped_since);
        if let Some(stop) = graceful_stop {
            cut_word(&mut stop.checkpoint_before);
        }
    }
    if let Some(Settled {
        target, checkpoint, ..
    }) = settled
    {
        cut_target(target);
        cut_checkpoint(checkpoint);
    }
    if let Some(Preview {
        target,
        parent: _,
        compared_with,
        outcome: _,
        message,
        summary,
        diff,
    }) = preview
    {
        cut_target(target);
        compared_with.iter_mut().for_each(cut_target);
        cut_said(message);
        if let Some(summary) = summary {
            cut_text(summary, SUMMARY);
        }
        cut_diff(diff, diff::MOST);
    }
    if let Some(Build {
        target,
        pipeline: _, // Sluice's own name for it.
        pipeline_id,
        names_taken: _,
        outcome: _,
        message,
    }) = build
    {
        cut_target(target);
        cut_word(pipeline_id);
        cut_said(message);
    }
    if let Some(refusal) = refusal {
        cut_text(&mut refusal.message, text::SAID);
    }
    if let Some(interference) = interference {
        cut_text(&mut interference.message, text::SAID);
    }
    if let Some(Seal {
        incarnation,
        failure,
        ..
    }) = seal
    {
        cut_word(incarnation);
        cut_said(failure);
    }
    if let Some(approval) = approval {
        cut_approval(approval);
    }
    if let Some(failures) = failures {
        cut_text(&mut failures.message, text::SAID);
    }
    for handled in [handled_retry, handled_adopt].into_iter().flatten() {
        *handled = canonical::remembered(handled);
    }
    let SpentVotes {
        approved_change,
        approve,
        reject,
    } = spent_votes;
    for spent in [approved_change, approve, reject] {
        spent.take_if(|id| !change::is_id(id));
    }
    let rejected = turns.iter_mut().rev();
    history::bound_decisions(rejected.filter_map(|turn| turn.rejected.as_mut()), TURNS);
    history::bound(history);
    let pending = audit_pending.iter_mut().rev();
    history::bound_decisions(pending.filter_map(|entry| entry.decision.as_mut()), AUDIT);
}

fn cut_approval(approval: &mut Approval) {
    let Approval {
        state: _,
        change_id: _,
        short_id: _,
        parent: _,
        target,
        changed: _,
        options: _,
        revision: _,
        gate: _,
        since: _,
        deployment_id,
        summary,
        diff,
        diff_digest: _,
        at_stake,
        base,
        approve_command: _,
        approved_field_counts: _,
        decision,
        votes: _,
        more_votes: _,
        calls: _,
        last_call_at: _,
        failure,
    } = approval;
    cut_target(target);
    cut_word(deployment_id);
    cut_text(summary, SUMMARY);
    cut_diff(diff, diff::MOST);
    if let Some(at_stake) = at_stake {
        cut_stake(at_stake);
    }
    cut_checkpoint(base);
    cut_decision(decision);
    cut_said(failure);
    keep_votes(approval, MOST_VOTES, VOTES);
}

/// Keeps so many votes, as far as there is room for their reasons, and counts the others.
fn keep_votes(approval: &mut Approval, most: usize, room: usize) {
    let all = approval.votes.len();
    let is_rejection = |vote: &Vote| vote.outcome == crate::crd::Verdict::Rejected;
    if all > most {
        // A stable sort: those of one kind stay in their order.
        approval.votes.sort_by_key(|vote| !is_rejection(vote));
        approval.votes.truncate(most);
        let more = i64::try_from(all - most).unwrap_or(i64::MAX);
        approval.more_votes = approval.more_votes.saturating_add(more);
    }
    if length(&approval.votes) > room {
        approval.votes = history::short_votes(&approval.votes);
    }
}

/// Cuts the lists, and says so: an empty list means none, and a short one isn't all.
fn cut_stake(at_stake: &mut AtStake) {
    let AtStake {
        tables_refilled,
        tables_lost,
        sinks_repeated,
        dropped_input: _,
        state_lost: _,
        unknown,
    } = at_stake;
    if unknown.len() > MOST_UNKNOWN {
        let more = unknown.split_off(MOST_UNKNOWN - 4).len();
        unknown.push(format!("{more} more things, for which there is no room"));
    }
    for why in unknown.iter_mut() {
        cut_text(why, UNKNOWN);
    }
    for (list, what) in [
        (
            tables_lost,
            "tables that are emptied, and that nothing fills again",
        ),
        (
            tables_refilled,
            "tables that are emptied, and read again from their connectors",
        ),
        (
            sinks_repeated,
            "sinks that get the whole of their view again",
        ),
    ] {
        let Some(names) = list else { continue };
        let mut used = 0;
        let fits = |name: &&String| {
            used += length(*name) + 1;
            used <= NAMES
        };
        let kept = names.iter().take_while(fits).count();
        let more = names.len() - kept;
        if more == 0 {
            continue;
        }
        names.truncate(kept);
        unknown.push(format!("{what}: {more} more, for which there is no room"));
        if kept == 0 {
            *list = None;
        }
    }
}

fn leave_out_program(program: &mut KeptProgram) {
    let KeptProgram {
        sql,
        udf_rust,
        udf_toml,
        config,
        settings,
        omitted,
    } = program;
    let mut left_out = BTreeMap::new();
    for (part, name) in [
        (sql, "sql"),
        (udf_rust, "udfRust"),
        (udf_toml, "udfToml"),
        (config, "config"),
        (settings, "settings"),
    ] {
        if part.take().is_some() {
            left_out.insert(name.to_owned(), Omission::TooLarge);
        }
    }
    omitted.extend(left_out);
}

fn cut_target(target: &mut Target) {
    // The other fields are digests.
    target.runtime_version = canonical::remembered(&target.runtime_version);
}

fn cut_checkpoint(checkpoint: &mut Option<BaseCheckpoint>) {
    if let Some(checkpoint) = checkpoint {
        cut_word(&mut checkpoint.uuid);
    }
}

fn cut_decision(decision: &mut Option<Decision>) {
    *decision = decision.as_ref().map(history::short_decision);
}

fn cut_diff(diff: &mut Option<Map<String, Value>>, most: usize) {
    if let Some(whole) = diff.take()
        && let Value::Object(kept) = diff::cut(Value::Object(whole), most)
    {
        *diff = Some(kept);
    }
}

fn cut_said(text: &mut Option<String>) {
    if let Some(text) = text {
        cut_text(text, text::SAID);
    }
}

fn cut_word(text: &mut Option<String>) {
    if let Some(text) = text
        && !text::WORD.holds(text)
    {
        *text = word(text);
    }
}

fn cut_text(text: &mut String, limit: Limit) {
    if !limit.holds(text) {
        *text = text::foreign(text, limit);
    }
}
