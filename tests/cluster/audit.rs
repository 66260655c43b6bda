//! The audit log of a real operator.

use std::collections::HashSet;
use std::path::Path;

use serde_json::{Value, json};
use sluice::crd::annotation;

use sluice_test_support::story::{ORDERS, Story, changed_otherwise, eventually, id, status};

/// The lines that are whole, each once: after a disk that took too long, one is written again, with its id.
fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut seen = HashSet::new();
    whole
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
        .filter(|line: &Value| seen.insert(line["id"].to_string()))
        .collect()
}

/// Waits until nothing is left that is to be written.
async fn until_nothing_is_pending(story: &Story) {
    eventually("nothing is pending", || async {
        let pending = status(&story.now().await).audit_pending;
        pending.is_empty().then_some(()).ok_or(pending)
    })
    .await;
}

fn events(path: &Path) -> Vec<(String, String)> {
    let word = |line: &Value, key: &str| line[key].as_str().unwrap_or_default().to_owned();
    lines(path)
        .iter()
        .map(|line| (word(line, "event"), word(line, "changeId")))
        .collect()
}

async fn until(path: &Path, expected: &[(&str, &str)]) {
    eventually("the audit log is complete", || async {
        let events = events(path);
        let same = events.len() == expected.len()
            && events
                .iter()
                .zip(expected)
                .all(|((event, id), expected)| (event.as_str(), id.as_str()) == *expected);
        same.then_some(()).ok_or(events)
    })
    .await;
}

#[tokio::test]
async fn each_decision_is_a_line_with_who_why_and_what_and_without_the_program() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("audit.log");
    let argument = path.display().to_string();
    let mut story = Story::without_operator(&[]).await;
    story.engine_object(json!({})).await;
    story.start_operator_with(&["--audit-log", &argument]).await;
    let waiting = story.waiting().await;
    assert_eq!(lines(&path), [] as [Value; 0]);
    let first = id(&waiting);
    // A reason is that of the vote that it is written with.
    let vote = json!({annotation::APPROVE: first, annotation::REASON: "backfill is announced"});
    let vote = json!({"metadata": {"annotations": vote}});
    story.patch(vote).await;
    story.until_sealed().await;
    until(
        &path,
        &[
            ("Approved", &first),
            ("Applied", &first),
            ("Sealed", &first),
        ],
    )
    .await;
    until_nothing_is_pending(&story).await;
    // Renamed, it is followed by a new one.
    let rotated = folder.path().join("audit.log.1");
    std::fs::rename(&path, &rotated).expect("a rename");

    story.change_to(&changed_otherwise()).await;
    let second = id(&story.until_waiting().await);
    story.annotate(annotation::REJECT, &second).await;
    story.until_rejected().await;
    until(&path, &[("Rejected", &second)]).await;
    assert_eq!(lines(&rotated).len(), 3);

    let line = &lines(&rotated)[0];
    assert_eq!(line["decision"]["reason"], "backfill is announced");
    assert_eq!(line["decision"]["verified"], true);
    assert_eq!(line["decision"]["by"], "admin");
    assert_eq!(line["decision"]["via"], "Annotation");
    assert_eq!(line["changed"], json!(["sql"]));
    assert_eq!(line["pipeline"], ORDERS);
    assert_eq!(line["namespace"], &*story.namespace);
    assert_eq!(
        line["diff"]["program_diff"]["modified_views"],
        json!(["totals"])
    );
    assert_eq!(line["votes"][0]["via"], "Annotation");
    // Each field is explained.
    let page = sluice_test_support::cluster::workspace().join("docs/audit.md");
    let page = std::fs::read_to_string(page).expect("the page");
    for key in line.as_object().expect("an object").keys() {
        assert!(
            page.contains(&format!("`{key}`")),
            "docs/audit.md says nothing of {key}"
        );
    }
    for file in [&path, &rotated] {
        let text = std::fs::read_to_string(file).expect("a file");
        assert!(
            !text.contains("SELECT") && !text.contains("transport"),
            "{text}"
        );
    }
    let ids: HashSet<String> = [lines(&path), lines(&rotated)]
        .concat()
        .iter()
        .map(|line| line["id"].to_string())
        .collect();
    assert_eq!(ids.len(), 4, "each has an id of its own");
    // Nothing is left to be written.
    until_nothing_is_pending(&story).await;
}

#[tokio::test]
async fn what_could_not_be_written_before_a_crash_is_written_after_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let inner = folder.path().join("mounted");
    std::fs::create_dir(&inner).expect("a folder");
    let path = inner.join("audit.log");
    let argument = path.display().to_string();
    let mut story = Story::without_operator(&[]).await;
    story.engine_object(json!({})).await;
    story.start_operator_with(&["--audit-log", &argument]).await;
    let waiting = story.waiting().await;
    // The disk is gone: the decision is stored, and carried out, and nothing is lost.
    let away = folder.path().join("away");
    std::fs::rename(&inner, &away).expect("a rename");
    let change = id(&waiting);
    story.approve(&change).await;
    let sealed = story.until_sealed().await;
    let pending = status(&sealed).audit_pending;
    let words: Vec<&str> = pending.iter().map(|entry| entry.event.as_str()).collect();
    assert_eq!(words, ["Approved", "Applied", "Sealed"]);
    assert_eq!(lines(&path), [] as [Value; 0]);
    story.kill_operator();
    std::fs::rename(&away, &inner).expect("a rename");
    story.start_operator_with(&["--audit-log", &argument]).await;
    until(
        &path,
        &[
            ("Approved", &change),
            ("Applied", &change),
            ("Sealed", &change),
        ],
    )
    .await;
    let written = lines(&path);
    let ids = written
        .iter()
        .map(|line| line["id"].as_str().unwrap_or_default());
    assert!(
        ids.eq(pending.iter().map(|entry| entry.id.as_str())),
        "{written:?}"
    );
    until_nothing_is_pending(&story).await;
}
