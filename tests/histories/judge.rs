//! What must hold of a history, by what the engine has done and what a watcher has seen.

use serde_json::Value;
use sha2::{Digest, Sha256};
use sluice::crd::{self, Approval, ApprovalState, Gate, Pipeline};
use sluice::gate::change::Content;

use crate::happenings::History;
use sluice_test_support::story::{ORDERS, status};

/// What a history came to.
pub struct Verdict {
    /// Where it came to rest by itself.
    pub place: String,
    pub happened: usize,
    pub approved: usize,
    pub bootstraps: usize,
    /// How often the engine was given other functions only.
    pub functions: usize,
}

/// As it stands in a target.
pub fn digest_of(sql: &str) -> String {
    let content = Content {
        sql: sql.to_owned(),
        ..Content::default()
    };
    content.target().sql
}

fn digest_of_functions(rust: &str) -> String {
    let content = Content {
        udf_rust: rust.to_owned(),
        ..Content::default()
    };
    content.target().udf_rust
}

/// Judges.
pub async fn judge(history: &History, seed: u64) -> Verdict {
    let seen = history.recording.complete().await;
    let what = |problem: &str| {
        let states = history.recording.states().join("\n");
        let calls: Vec<String> = history
            .story
            .engine
            .calls()
            .iter()
            .filter(|call| call.changes())
            .map(|call| {
                format!(
                    "{} {} {}?{} {:?}",
                    call.time, call.method, call.path, call.query, call.status
                )
            })
            .collect();
        format!(
            "SLUICE_HISTORY_SEED={seed}: {problem}\nwhat happened:\n{}\napproved: {:?}\nrejected: {:?}\nseen:\n{states}\ncalls:\n{}",
            history.log.join("\n"),
            history.approved,
            history.rejected,
            calls.join("\n"),
        )
    };

    let bootstraps = history.story.engine.bootstraps().await;
    for bootstrap in &bootstraps {
        let covering = let_through(&seen, bootstrap);
        assert!(
            covering.is_some_and(|id| history.approved.contains(&id) && !history.rejected.contains(&id)),
            "{}",
            what(&format!("bootstrapped unapproved: {bootstrap}"))
        );
    }
    let mut functions = 0;
    for taken_up in functions_taken_up(history, &seen) {
        functions += 1;
        assert!(
            history.approved.contains(&taken_up) && !history.rejected.contains(&taken_up),
            "{}",
            what(&format!(
                "other functions were taken up unapproved: change {taken_up}"
            ))
        );
    }
    for reason in ["OutsideApproval", "Parked", "OutsideStart"] {
        let events = history.story.events(reason).await;
        assert!(events.is_empty(), "{}", what(reason));
    }
    // That none is lost is shown by the last program: it runs and is kept, or nobody would be here.
    let engine = history.story.engine.pipeline(ORDERS).await;
    assert_eq!(engine["deployment_status"], "Running");
    Verdict {
        place: String::new(),
        happened: history.log.len(),
        approved: history.approved.len(),
        bootstraps: bootstraps.len(),
        functions,
    }
}

/// The change for which a bootstrap was let through: the one whose approval status showed, for that
/// deployment and that program, before the engine was told.
fn let_through(seen: &[Pipeline], bootstrap: &Value) -> Option<String> {
    let told = |approval: &Approval| {
        approval.state == ApprovalState::Applying
            && approval.deployment_id.as_deref() == bootstrap["deployment_id"].as_str()
            && is_approved(approval)
    };
    let mut approvals = seen.iter().filter_map(|p| status(p).approval);
    let approval = approvals.find(told)?;
    // The stand-in tells programs by the digest of their text, a target by that of its canonical form.
    let programs = crate::happenings::programs();
    let mut same = programs
        .iter()
        .filter(|sql| digest_of(sql) == approval.target.sql);
    let text = same.next()?;
    let digest: String = Sha256::digest(text)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    (bootstrap["program_digest"] == digest.as_str()).then_some(approval.change_id)
}

fn is_approved(approval: &Approval) -> bool {
    let decision = approval.decision.as_ref();
    decision.is_some_and(|decision| decision.outcome == crd::Verdict::Approved)
}

/// The changes of functions alone that the engine was given: what it doesn't ask about. Each by the id
/// that status showed as approved before.
fn functions_taken_up(history: &History, seen: &[Pipeline]) -> Vec<String> {
    let mut taken_up = vec![];
    for call in history.story.engine.calls() {
        let of_it = call.path.ends_with(&format!("/pipelines/{ORDERS}"));
        if call.method != "PATCH" || !of_it || call.status != Some(200) {
            continue;
        }
        let (Some(sql), Some(rust)) = (
            call.body["program_code"].as_str(),
            call.body["udf_rust"].as_str(),
        ) else {
            continue;
        };
        let (sql, rust) = (digest_of(sql), digest_of_functions(rust));
        let before: Vec<&Pipeline> = seen
            .iter()
            .filter(|p| written_at(p).is_some_and(|at| at <= call.time))
            .collect();
        let settled = before.iter().rev().find_map(|p| status(p).settled);
        let Some(settled) = settled else { continue };
        if settled.target.sql != sql || settled.target.udf_rust == rust {
            continue;
        }
        let approved = before
            .iter()
            .rev()
            .filter_map(|p| status(p).approval)
            .find(|approval| {
                approval.gate == Gate::Sluice
                    && approval.target.sql == sql
                    && approval.target.udf_rust == rust
                    && is_approved(approval)
            });
        taken_up.push(approved.map_or_else(
            || format!("none that was approved before {}", call.time),
            |approval| approval.change_id,
        ));
    }
    taken_up
}

/// When the operator last wrote the status, to the second.
fn written_at(pipeline: &Pipeline) -> Option<k8s_openapi::jiff::Timestamp> {
    let fields = pipeline.metadata.managed_fields.as_ref()?;
    let ours = fields
        .iter()
        .filter(|field| field.manager.as_deref() == Some("sluice"));
    ours.filter_map(|field| field.time.as_ref().map(|time| time.0))
        .max()
}
