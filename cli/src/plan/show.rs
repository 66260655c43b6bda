//! A plan in words, and for programs.

use serde_json::{Value, json};

use super::judge::{Planned, Subject, Verdict, is_root};
use crate::output::{style, styled};
use crate::program::PartDiff;
use sluice_gate::printable::{one_line, printable};

/// For people.
pub fn text(planned: &Planned, context: Option<&str>) -> String {
    let Planned {
        namespace,
        pipeline,
        verdict,
        subject,
        change_id,
        parent,
        changed: _,
        in_words,
        program,
        notes,
    } = planned;
    let heading = format!(
        "Pipeline {pipeline} in namespace {namespace}: {}",
        verdict_in_words(verdict, what_changes(*subject))
    );
    let mut text = format!("{}\n", styled(style::HEADING, &one_line(&heading)));
    let mut line = |name: &str, value: &str| {
        text.push_str(&format!("  {name:<10} {}\n", one_line(value)));
    };
    if let Some(id) = change_id {
        line("Change", id);
    }
    match parent {
        Some(parent) if is_root(parent) => line("Follows", "nothing that is settled"),
        Some(parent) => line("Follows", parent),
        None => {}
    }
    if !in_words.is_empty() {
        line("Changes", &in_words.join("; "));
    }
    for note in notes {
        line("Note", note);
    }
    for part in program {
        text.push('\n');
        text += &part.to_text();
    }
    if let (Verdict::NeedsApproval, Some(id)) = (verdict, change_id) {
        let context = context
            .map(|name| format!(" --context {name}"))
            .unwrap_or_default();
        text += &format!(
            "
To approve it in the same commit:  spec.approvedChange: {id}
To approve it once it waits:       kubectl sluice approve {pipeline} -n {namespace}{context} --change {id}
"
        );
    }
    text
}

fn what_changes(subject: Subject) -> &'static str {
    match subject {
        Subject::Program => "the program changes",
        Subject::Settings => "the program doesn't change, but runtime settings do",
        Subject::Others => "only what somebody has set at the engine changes",
        Subject::Unknown => {
            "what changes isn't known, since nobody recorded what the checkpoint was made from"
        }
        Subject::Anew => "the pipeline is made anew",
    }
}

fn verdict_in_words(verdict: &Verdict, changes: &str) -> String {
    match verdict {
        Verdict::New => {
            "it is new; there is nothing to approve, unless its engine holds a pipeline of that name".into()
        }
        Verdict::MadeElsewhere => {
            "its program is made elsewhere, so that no file says what changes".into()
        }
        Verdict::Unchanged => "the program doesn't change; there is nothing to approve".into(),
        Verdict::NothingSettled => {
            "nothing of it is settled yet, and a start from nothing is not asked about".into()
        }
        Verdict::NotAsked(why) => format!("{changes}, and nobody is asked: {why}"),
        Verdict::Refused(why) => format!("{changes}, and that is refused: {why}"),
        Verdict::NotApplied(why) => format!("the file isn't applied: {}", printable(why)),
        Verdict::NeedsApproval => format!("{changes}; the change needs approval"),
        Verdict::Approved(by) => {
            format!("{changes}; the change is approved by {}", printable(by))
        }
        Verdict::Rejected(by) => {
            format!("{changes}; the change is rejected by {}", printable(by))
        }
        Verdict::ApplyFailed(why) => {
            format!("{changes}; the change was approved and couldn't be applied, so that its approval is spent: {}", printable(why))
        }
    }
}

/// For programs.
pub fn json(planned: &Planned) -> Value {
    let why = match &planned.verdict {
        Verdict::NotAsked(why)
        | Verdict::Refused(why)
        | Verdict::NotApplied(why)
        | Verdict::ApplyFailed(why) => Some(why),
        Verdict::Approved(by) | Verdict::Rejected(by) => Some(by),
        _ => None,
    };
    json!({
        "namespace": planned.namespace,
        "pipeline": planned.pipeline,
        "verdict": planned.verdict.name(),
        "why": why,
        "needsApproval": planned.verdict.needs_approval(),
        "changeId": planned.change_id,
        "parent": planned.parent,
        "changed": planned.changed,
        "program": planned.program.iter().map(PartDiff::to_json).collect::<Vec<_>>(),
        "notes": planned.notes,
    })
}
