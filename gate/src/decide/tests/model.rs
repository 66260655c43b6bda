//! A world in which the decision can be run without any I/O: a Pipeline, and an engine that has
//! the gate's unsafe habits.

mod checks;
mod engine;
mod operator;
mod storage;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::crd::{
    Approval, ApprovalState, AuditEntry, Pipeline, PipelineApproval, PipelineStatus, annotation,
};
use crate::decide::{Act, Asked, Report};
use crate::memory::Memory;
use crate::policy_status::{Standing, Trust};

pub use engine::{Engine, Fault};

/// How many earlier states of the Pipeline are kept.
const LATELY: usize = 8;

/// A Pipeline, its engine, and the operator between them.
pub struct World {
    pub pipeline: Pipeline,
    pub objects: Vec<PipelineApproval>,
    pub engine: Engine,
    pub now: Timestamp,
    /// All acts that were carried out.
    pub acts: Vec<Act>,
    pub reports: Vec<Report>,
    /// Phases in the order in which they were recorded.
    pub phases: Vec<String>,
    /// What stands in the audit log.
    pub audit: Vec<AuditEntry>,
    audited: Vec<String>,
    /// Whether nothing can be written there.
    pub audit_is_stuck: bool,
    /// All decisions that were ever stored: the change, the outcome, by whom, and when.
    pub decided: Vec<(String, String)>,
    /// What the operator remembers.
    memory: Memory,
    /// When this began, by a clock that is never set, and what has passed since.
    begun: (Instant, Duration),
    /// What the last act of a reconcile was made for.
    asked: Asked,
    /// What the operator's watches have brought, where they lag behind: the Pipeline of the next reconcile, and the votes.
    heard_of: Option<Pipeline>,
    pub votes_heard_of: Option<Vec<PipelineApproval>>,
    /// The Pipeline as it was lately, the newest last.
    lately: VecDeque<Pipeline>,
    /// How often a status came too late: the Pipeline was another one by then.
    pub conflicts: usize,
    /// The digests of what the engine refused to take.
    pub refused: Vec<String>,
    /// Whether nothing is known of the engine, as when the operator has just been started.
    pub engine_is_unasked: bool,
    /// Whether the engine gives good answers.
    pub engine_answers: bool,
    /// Whether the pipeline that the Pipeline knows was seen up.
    has_run: bool,
    /// The engine's ids of the pipelines that this Pipeline has made or taken over.
    own: std::collections::HashSet<String>,
    /// Whether it ever was one that only guards what somebody else has made.
    has_been_a_guest: bool,
    /// How often one that was is replaced by another that is made.
    pub replaced: usize,
    /// Somebody edits the Pipeline while a call is under way, so that its answer comes to another spec.
    pub edit_after_call: Option<fn(&mut World)>,
    /// The same, while the engine is given another content.
    pub edit_after_update: Option<fn(&mut World)>,
    /// How many acts there were when somebody last asked for another try.
    pub retry_is_from: usize,
    /// What is known of the admission policies.
    pub trust: Trust,
    pub may_note_policies: bool,
    /// Who else has the pipeline, and lives.
    pub rival: Option<String>,
    /// Whether an engine's admin says that marks of Pipelines that are gone don't count.
    pub mark_is_released: bool,
    /// Why what the spec refers to can't be read.
    pub unread: Option<String>,
}

impl World {
    pub fn new(sql: &str) -> Self {
        let spec = json!({"program": {"sql": sql}});
        let mut pipeline = Pipeline::new("orders", serde_json::from_value(spec).unwrap());
        pipeline.metadata.namespace = Some("shop".into());
        pipeline.metadata.uid = Some("uid-1".into());
        pipeline.metadata.generation = Some(1);
        Self {
            pipeline,
            objects: vec![],
            engine: Engine::new(),
            // What is stored of it has no fractions.
            now: Timestamp::from_millisecond(1_700_000_000_400).unwrap(),
            acts: vec![],
            reports: vec![],
            phases: vec![],
            audit: vec![],
            audited: vec![],
            audit_is_stuck: false,
            decided: vec![],
            memory: Memory::default(),
            begun: (Instant::now(), Duration::ZERO),
            asked: Asked::default(),
            heard_of: None,
            votes_heard_of: None,
            lately: VecDeque::new(),
            conflicts: 0,
            refused: vec![],
            engine_is_unasked: false,
            engine_answers: true,
            has_run: false,
            own: std::collections::HashSet::new(),
            has_been_a_guest: false,
            replaced: 0,
            edit_after_call: None,
            edit_after_update: None,
            retry_is_from: 0,
            trust: Trust {
                required: false,
                pipelines: Standing::Absent("nobody has installed any".to_owned()),
                votes: Standing::Absent("nobody has installed any".to_owned()),
            },
            may_note_policies: false,
            rival: None,
            mark_is_released: false,
            unread: None,
        }
    }

    /// A world in which the program runs and a checkpoint of it exists.
    pub fn running(sql: &str) -> Self {
        let mut world = Self::new(sql);
        world.settle();
        assert_eq!(world.phase(), "Running");
        assert!(world.status().settled.is_some());
        world
    }

    /// A world in which a change from one program to another waits at the gate.
    pub fn waiting(from: &str, to: &str) -> Self {
        let mut world = Self::running(from);
        world.edit(to);
        world.settle();
        assert_eq!(world.phase(), "AwaitingApproval");
        world
    }

    pub fn edit(&mut self, sql: &str) {
        self.spec(|spec| spec.program.get_or_insert_default().sql = Some(sql.to_owned()));
    }

    /// Changes the program configuration.
    pub fn configure(&mut self, config: Option<Value>) {
        self.spec(|spec| {
            spec.program.get_or_insert_default().config =
                config.and_then(|config| config.as_object().cloned());
        });
    }

    /// Changes only what the engine's gate doesn't ask about.
    pub fn edit_functions(&mut self, rust: &str) {
        self.spec(|spec| {
            spec.program.get_or_insert_default().udf_rust = Some(rust.to_owned());
        });
    }

    pub fn spec(&mut self, change: impl FnOnce(&mut crate::crd::PipelineSpec)) {
        change(&mut self.pipeline.spec);
        *self.pipeline.metadata.generation.as_mut().unwrap() += 1;
        self.pipeline = storage::kept(&self.pipeline);
    }

    /// The object is deleted, and created again with the same spec: what it knew is gone, and the engine's pipeline goes
    /// on as it is.
    pub fn make_again(&mut self) {
        // Its last decisions are told before it goes.
        self.audit_is_stuck = false;
        self.write_audit();
        let uid = self.pipeline.metadata.uid.take().unwrap_or_default();
        self.pipeline.metadata.uid = Some(format!("{uid}+"));
        self.pipeline.metadata.annotations = None;
        self.pipeline.metadata.finalizers = None;
        self.pipeline.metadata.generation = Some(1);
        self.pipeline.status = None;
        self.has_run = false;
        self.own.clear();
        self.objects.clear();
        // What is compiled for it goes with it.
        self.engine.build = None;
        self.restart_operator();
    }

    /// Somebody who may says that the engine's pipeline is to be taken over.
    pub fn adopt(&mut self) {
        let owners = crate::mark::read(&self.engine.tags, "p-1").owners;
        let of_mark = owners.first().and_then(|owner| owner.name.as_ref());
        let named = of_mark.map_or("orders".to_owned(), ToString::to_string);
        self.annotate(annotation::ADOPT, &named);
    }

    /// Somebody stops the pipeline at the engine, and gives it other functions.
    pub fn edit_functions_by_hand(&mut self, functions: &str) {
        self.engine.stop_by_hand();
        self.engine.version += 1;
        self.engine.udf_rust = functions.into();
        self.engine.tick();
    }

    /// Changes the runtime settings.
    pub fn set(&mut self, settings: Value) {
        self.engine.are_named(&settings);
        self.spec(|spec| spec.runtime_config = settings.as_object().cloned());
    }

    pub fn annotate(&mut self, key: &str, value: &str) {
        let annotations = self.pipeline.metadata.annotations.get_or_insert_default();
        let before = annotations.insert(key.to_owned(), value.to_owned());
        if key == annotation::RETRY && before.as_deref() != Some(value) {
            self.retry_is_from = self.acts.len();
        }
    }

    pub fn approve_by_annotation(&mut self) -> String {
        let id = self.approval().change_id.clone();
        self.annotate(annotation::APPROVE, &id);
        id
    }

    pub fn status(&self) -> PipelineStatus {
        self.pipeline.status.clone().unwrap_or_default()
    }

    pub fn approval(&self) -> Approval {
        self.status().approval.expect("a change came to the gate")
    }

    pub fn approval_state(&self) -> Option<ApprovalState> {
        self.status().approval.map(|approval| approval.state)
    }

    pub fn phase(&self) -> String {
        self.status().phase.unwrap_or_default()
    }

    pub fn condition(&self, type_: &str) -> Option<(String, String, String)> {
        let status = self.status();
        let condition = status.conditions.iter().find(|c| c.type_ == type_)?;
        Some((
            condition.status.clone(),
            condition.reason.clone(),
            condition.message.clone(),
        ))
    }

    pub fn reported(&self, reason: &str) -> usize {
        self.reports
            .iter()
            .filter(|r| r.reason.as_str() == reason)
            .count()
    }

    /// The words of the last report with this reason.
    pub fn note_of(&self, reason: &str) -> Option<&str> {
        let mut of_it = self.reports.iter().filter(|r| r.reason.as_str() == reason);
        of_it.next_back().map(|report| report.message.as_str())
    }

    pub fn approve_calls(&self) -> usize {
        self.acts
            .iter()
            .filter(|act| matches!(act, Act::Approve(_)))
            .count()
    }

    /// Lets engine and operator go on until nothing moves for a while.
    pub fn settle(&mut self) {
        for _ in 0..40 {
            self.reconcile();
            self.engine.tick();
            self.pass(1);
        }
        self.reconcile();
    }

    /// The same, for less long: enough for one step after the other.
    pub fn settle_briefly(&mut self) {
        for _ in 0..16 {
            self.reconcile();
            self.engine.tick();
            self.pass(1);
        }
    }

    pub fn pass(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
        self.begun.1 += Duration::from_secs(seconds.unsigned_abs());
        self.engine.pass(seconds);
    }

    /// Now, by a clock that is never set.
    fn instant(&self) -> Instant {
        self.begun.0 + self.begun.1
    }

    /// The Pipeline as it is now may be what the operator hears of later.
    pub fn note_what_is_heard_of(&mut self) {
        if self.lately.back() != Some(&self.pipeline) {
            self.lately.push_back(self.pipeline.clone());
        }
        if self.lately.len() > LATELY {
            self.lately.pop_front();
        }
    }

    /// Has the next reconcile begin with the Pipeline as it was lately.
    pub fn hear_late(&mut self, age: usize) {
        let mut lately = self.lately.iter().rev();
        let heard_of = lately.nth(age).cloned();
        self.heard_of = heard_of.filter(|it| it.metadata.uid == self.pipeline.metadata.uid);
    }

    /// Whatever didn't work does from now on, and whoever was in the way is gone.
    pub fn end_of_faults(&mut self) {
        self.engine_answers = true;
        self.engine.end_of_faults();
        self.edit_after_update = None;
        self.audit_is_stuck = false;
        self.rival = None;
        self.unread = None;
        self.votes_heard_of = None;
    }

    /// The operator is started anew: what it kept in memory is gone.
    pub fn restart_operator(&mut self) {
        self.memory = Memory::default();
        // Nothing is decided before all votes are listed.
        self.votes_heard_of = None;
        self.audited.clear();
    }

    /// What is to stand in the audit log is written there. A new process may write it again.
    pub fn write_audit(&mut self) {
        if self.audit_is_stuck {
            return;
        }
        for entry in self.status().audit_pending {
            if !self.audited.contains(&entry.id) {
                self.audited.push(entry.id.clone());
                self.audit.push(entry);
            }
        }
    }

    /// The audit log as a collector has it that drops what comes again: event and change.
    pub fn audited(&self) -> Vec<(&str, &str)> {
        let mut seen = std::collections::HashSet::new();
        let once = self.audit.iter().filter(|entry| seen.insert(&entry.id));
        once.map(|entry| (entry.event.as_str(), entry.change_id.as_str()))
            .collect()
    }

    /// Now, as statuses write it.
    pub fn time(&self) -> k8s_openapi::apimachinery::pkg::apis::meta::v1::Time {
        k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(self.now)
    }
}
