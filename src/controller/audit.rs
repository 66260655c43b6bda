//! The audit log: one JSON line for each entry that is stored in a status, written after it is stored and
//! before it goes from there. So none gets lost, none stands there that wasn't stored, and after a crash
//! one may stand there twice, with the same id.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::OpenOptions;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::warn;

use crate::crd::{AuditEntry, CompactObject, Decision, Pipeline, Vote};
use crate::gate::decide::history::{short_votes, small_diff};
use crate::metrics::Metrics;
use crate::text;

/// How many of a Pipeline's entries are remembered as written. The watch may show them again as pending
/// until it catches up.
const REMEMBERED: usize = 200;

/// How long a Pipeline waits for the disk. If it takes longer, the lines may be written all the same, and
/// are written again.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where the audit log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// To standard output.
    Stdout,
    /// To the end of a file. It is opened anew for each write, so that whoever rotates it only needs to
    /// rename it.
    File(PathBuf),
}

impl Destination {
    /// `-` is standard output.
    pub fn from_argument(argument: &str) -> Self {
        match argument {
            "-" => Self::Stdout,
            file => Self::File(file.into()),
        }
    }

    /// Fails if nothing can be written there.
    ///
    /// # Errors
    /// When the file can't be made, read or written.
    pub fn check(&self) -> io::Result<()> {
        self.write("")
    }

    /// Writes whole lines, and returns when they are safe.
    fn write(&self, lines: &str) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(lines.as_bytes())?;
                stdout.flush()
            }
            Self::File(path) => append(path, lines),
        }
    }
}

/// Appends to a file. The line that a crash has cut off is ended first.
fn append(path: &Path, lines: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.read(true).append(true).create(true).open(path)?;
    let mut last = [b'\n'];
    if file.seek(SeekFrom::End(0))? > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    if lines.is_empty() {
        return Ok(());
    }
    let begin = if last == *b"\n" { "" } else { "\n" };
    file.write_all(format!("{begin}{lines}").as_bytes())?;
    file.sync_data()
}

/// Writes the audit log.
pub(super) struct Audit {
    target: Option<Destination>,
    metrics: Arc<Metrics>,
    /// Held while somebody writes. What waits for it holds no thread, so that a disk that hangs takes
    /// one and no more.
    turn: Arc<Semaphore>,
    /// How long it is waited for the disk.
    patience: Duration,
    /// What is written, by the Pipeline's uid.
    written: Mutex<HashMap<String, VecDeque<String>>>,
}

impl Audit {
    /// `None`: there is no such log.
    pub(super) fn new(target: Option<Destination>, metrics: Arc<Metrics>) -> Self {
        Self {
            target,
            metrics,
            turn: Arc::new(Semaphore::new(1)),
            patience: PATIENCE,
            written: Mutex::default(),
        }
    }

    /// Whether there is one.
    pub(super) fn is_on(&self) -> bool {
        self.target.is_some()
    }

    /// Writes what a stored status says is to be written, and returns the ids of what is written by now.
    pub(super) async fn write(&self, pipeline: &Pipeline) -> Vec<String> {
        let (Some(target), Some(status)) = (&self.target, &pipeline.status) else {
            return vec![];
        };
        let pending = &status.audit_pending;
        if pending.is_empty() {
            return vec![];
        }
        let uid = pipeline.uid().unwrap_or_default();
        let known: HashSet<String> = self.written_of(&uid);
        let new: Vec<&AuditEntry> = pending
            .iter()
            .filter(|entry| !known.contains(&entry.id))
            .collect();
        let lines: String = new.iter().map(|entry| line(pipeline, entry)).collect();
        let number = new.len();
        let wrote = timeout(self.patience, self.append(target.clone(), lines)).await;
        match wrote.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(()) => {
                self.metrics.audited(number);
                self.remember(uid, new);
                pending.iter().map(|entry| entry.id.clone()).collect()
            }
            Err(error) => {
                self.metrics.audit_failed();
                warn!(
                    namespace = pipeline.namespace(),
                    pipeline = pipeline.name_any(),
                    %error,
                    "the audit log can't be written; its entries stay in the status until it can"
                );
                pending
                    .iter()
                    .filter(|entry| known.contains(&entry.id))
                    .map(|entry| entry.id.clone())
                    .collect()
            }
        }
    }

    async fn append(&self, target: Destination, lines: String) -> io::Result<()> {
        let turn = Arc::clone(&self.turn).acquire_owned().await;
        let turn = turn.map_err(io::Error::other)?;
        // It waits for a disk.
        let write = spawn_blocking(move || {
            let _turn = turn;
            target.write(&lines)
        });
        write.await.map_err(io::Error::other)?
    }

    /// Forgets Pipelines that are gone.
    pub(super) fn retain(&self, exists: impl Fn(&str) -> bool) {
        self.all().retain(|uid, _| exists(uid));
    }

    fn written_of(&self, uid: &str) -> HashSet<String> {
        let all = self.all();
        all.get(uid).into_iter().flatten().cloned().collect()
    }

    fn remember(&self, uid: String, entries: Vec<&AuditEntry>) {
        let mut all = self.all();
        let written = all.entry(uid).or_default();
        written.extend(entries.into_iter().map(|entry| entry.id.clone()));
        let over = written.len().saturating_sub(REMEMBERED);
        written.drain(..over);
    }

    fn all(&self) -> std::sync::MutexGuard<'_, HashMap<String, VecDeque<String>>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether something is still to be written.
pub(super) fn is_pending(pipeline: &Pipeline) -> bool {
    let status = pipeline.status.as_ref();
    status.is_some_and(|status| !status.audit_pending.is_empty())
}

/// A line of the audit log. The programs aren't in it, since connectors may hold credentials.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    /// Tells these lines from others, where they share a stream.
    log: &'static str,
    id: &'a str,
    time: &'a Time,
    event: &'a str,
    namespace: Option<String>,
    pipeline: String,
    uid: Option<String>,
    engine_pipeline: &'a str,
    change_id: &'a str,
    #[serde(flatten)]
    change: Option<Change<'a>>,
    decision: &'a Option<Decision>,
}

/// What the change was.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Change<'a> {
    parent: Option<&'a str>,
    since: Option<&'a Time>,
    changed: &'a [String],
    summary: &'a str,
    diff: Option<CompactObject>,
    diff_digest: Option<&'a str>,
    votes: Vec<Vote>,
}

fn line(pipeline: &Pipeline, entry: &AuditEntry) -> String {
    let line = Line {
        log: "audit",
        id: &entry.id,
        time: &entry.at,
        event: &entry.event,
        namespace: pipeline.namespace(),
        pipeline: pipeline.name_any(),
        uid: pipeline.uid(),
        engine_pipeline: pipeline.engine_pipeline_name(),
        change_id: &entry.change_id,
        change: change(pipeline, &entry.change_id),
        decision: &entry.decision,
    };
    // A struct of texts and JSON values always serializes; and JSON has no line breaks of its own.
    let line = serde_json::to_string(&line).unwrap_or_default();
    format!("{}\n", text::json_line(&line))
}

/// What the status knows of a change.
fn change<'a>(pipeline: &'a Pipeline, id: &str) -> Option<Change<'a>> {
    let status = pipeline.status.as_ref()?;
    let current = status.approval.as_ref();
    if let Some(approval) = current.filter(|approval| approval.change_id == id) {
        return Some(Change {
            parent: Some(&approval.parent),
            since: Some(&approval.since),
            changed: &approval.changed,
            summary: &approval.summary,
            diff: small_diff(approval.diff.as_ref()),
            diff_digest: Some(&approval.diff_digest),
            votes: short_votes(&approval.votes),
        });
    }
    let mut records = status.history.iter();
    let record = records.find(|record| record.change_id == id)?;
    Some(Change {
        parent: record.parent.as_deref(),
        since: record.since.as_ref(),
        changed: &record.changed,
        summary: &record.summary,
        diff: record.diff.clone(),
        diff_digest: record.diff_digest.as_deref(),
        votes: record.votes.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn with_an_entry() -> Pipeline {
        let entry =
            json!({"id": "1", "event": "Sealed", "changeId": "c", "at": "2026-01-01T00:00:00Z"});
        let mut pipeline: Pipeline = serde_json::from_value(json!({
            "metadata": {"name": "orders", "namespace": "shop", "uid": "u"}, "spec": {},
        }))
        .unwrap();
        let status = pipeline.status.get_or_insert_default();
        status.audit_pending = vec![serde_json::from_value(entry).unwrap()];
        pipeline
    }

    /// One that waits for the disk of a busy machine.
    fn patient(path: &Path) -> Audit {
        let mut audit = Audit::new(Some(Destination::File(path.to_owned())), Arc::default());
        audit.patience = Duration::from_secs(60);
        audit
    }

    #[test]
    fn a_renamed_file_is_followed_by_a_new_one_and_a_torn_line_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let target = Destination::from_argument(path.to_str().unwrap());
        target.check().unwrap();
        target.write("{\"a\":1}\n").unwrap();
        let rotated = folder.path().join("audit.log.1");
        std::fs::rename(&path, &rotated).unwrap();
        target.write("{\"a\":2}\n").unwrap();
        std::fs::write(&path, "{\"a\":2}\n{\"a\":").unwrap();
        target.write("{\"a\":3}\n").unwrap();
        assert_eq!(std::fs::read_to_string(&rotated).unwrap(), "{\"a\":1}\n");
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "{\"a\":2}\n{\"a\":\n{\"a\":3}\n"
        );
        let nowhere = Destination::File(folder.path().join("no/such/folder"));
        assert!(nowhere.check().is_err());
        assert_eq!(Destination::from_argument("-"), Destination::Stdout);
    }

    #[tokio::test]
    async fn what_could_not_be_written_stays_pending_and_what_was_is_not_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("later/audit.log");
        let pipeline = with_an_entry();
        let audit = patient(&path);
        assert_eq!(audit.write(&pipeline).await, Vec::<String>::new());
        std::fs::create_dir(path.parent().unwrap()).unwrap();
        for _ in 0..2 {
            assert_eq!(audit.write(&pipeline).await, ["1"]);
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        let line: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&line["event"], &line["pipeline"]),
            (&"Sealed".into(), &"orders".into())
        );
        // Another process can't know, and writes it again, with the same id.
        let another = patient(&path);
        assert_eq!(another.write(&pipeline).await, ["1"]);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text.repeat(2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_hangs_holds_a_pipeline_up_for_moments_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let pipeline = with_an_entry();
        let mut audit = Audit::new(Some(Destination::File(path.clone())), Arc::default());
        // Somebody writes, and doesn't come back.
        let hangs = Arc::clone(&audit.turn).acquire_owned().await.unwrap();
        let begin = tokio::time::Instant::now();
        assert_eq!(audit.write(&pipeline).await, Vec::<String>::new());
        assert_eq!(begin.elapsed(), PATIENCE);
        drop(hangs);
        tokio::time::resume();
        audit.patience = Duration::from_secs(60);
        assert_eq!(audit.write(&pipeline).await, ["1"]);
    }
}
