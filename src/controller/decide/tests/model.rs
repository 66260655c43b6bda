//! A world in which the decision can be run without any I/O: a Pipeline, and an engine that has
//! the gate's unsafe habits.

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::change::Content;
use crate::controller::decide::{
    Act, Asked, Guard, Input, LastCall, Observation, Outcome, Plan, Report, Seen, Step, Timing,
    decide, remembered,
};
use crate::crd::{
    Approval, ApprovalState, AuditEntry, BootstrapOptions, Pipeline, PipelineApproval,
    PipelineStatus, annotation,
};
use crate::engine::{
    Checkpoint, Connectors, DiffAnswer, EngineInfo, FullPipeline, OptionsShown, PipelineError,
    PipelineState,
};
use crate::policies::{Standing, Trust};
use crate::settings;

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
    last_call: Option<LastCall>,
    /// What the last act of a reconcile was made for.
    asked: Asked,
    /// The call that failed and isn't made again yet, and until when.
    held_back: Option<(Outcome, Timestamp)>,
    /// The approval that is about to be told: its change and the number of the call.
    about_to_tell: Option<(String, i64)>,
    /// Whether nothing is known of the engine, as when the operator has just been started.
    pub engine_is_unasked: bool,
    /// Whether the engine gives good answers.
    pub engine_answers: bool,
    /// Whether the pipeline that the Pipeline knows was seen up.
    has_run: bool,
    /// How often one that was is replaced by another that is made.
    pub replaced: usize,
    /// Somebody edits the Pipeline while a call is under way, so that its answer comes to another spec.
    pub edit_after_call: Option<fn(&mut World)>,
    /// The same, while the engine is given another content.
    pub edit_after_update: Option<fn(&mut World)>,
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

/// The engine.
#[derive(Clone, Debug, Default)]
pub struct Engine {
    pub edition: &'static str,
    pub exists: bool,
    pub tags: Vec<String>,
    /// Engines of old know no tags.
    pub keeps_tags: bool,
    /// It takes no more tags.
    pub refuses_tags: bool,
    pub version: i64,
    pub sql: String,
    pub udf_rust: String,
    /// The functions of the newest checkpoint. Its program stands in the list of checkpoints.
    kept_functions: String,
    /// Its settings, but for those that change unasked.
    kept_settings: String,
    /// What was started although it reads no checkpoint, and there was one.
    pub losses: Vec<String>,
    pub runtime_config: Option<serde_json::Map<String, Value>>,
    pub compiled: bool,
    pub deployment: Option<Deployment>,
    pub stopping: bool,
    /// Which program each checkpoint holds, oldest first.
    pub checkpoints: Vec<(String, String)>,
    pub error: Option<PipelineError>,
    /// What was bootstrapped from which program; with functions that were taken up unasked.
    pub bootstraps: Vec<(String, String)>,
    /// Programs that can't be bootstrapped although they pass the gate.
    pub breaks: Option<String>,
    /// Whether the next approvals are forgotten although they are answered.
    pub forgets: u32,
    ids: u64,
    /// What is compiled beforehand: the name, the program, and whether that is done.
    pub build: Option<(String, String, bool)>,
    /// How many of the next names that something would be compiled as are those of others' pipelines.
    pub build_names_taken: usize,
    /// Whether what is there under such a name is somebody else's.
    pub foreign_build: bool,
    /// Somebody upgraded the engine: its plans, and so its diffs, are others.
    pub other_plans: bool,
    /// Whether the stop that is under way is one at once.
    stops_at_once: bool,
    /// A stop that writes a checkpoint never ends.
    pub stops_hang: bool,
    /// `/diff` gives no answer.
    pub compiler_is_down: bool,
    /// Nothing can be compiled beforehand.
    pub builds_fail: bool,
    /// What it shows as the diff, whatever it is.
    pub shows: Option<Value>,
    /// It refuses every update, with this code.
    pub refuses_updates: Option<&'static str>,
    /// What is compiled beforehand isn't done yet.
    pub compiles_for_long: bool,
    /// Whether the storage is cleared.
    pub cleared: bool,
    /// What the manager saw when it last asked the pipeline's process.
    polled: Option<(String, &'static str, Value)>,
    /// How long ago that was, in seconds.
    polled_ago: i64,
    /// The manager takes its time, as much as it ever does.
    pub polls_late: bool,
    /// The how-manyeth pipeline of its name it is: each has an id of its own.
    pub number: u64,
    /// How many were made.
    pub made: u64,
    /// The one that it lost, as it was.
    lost: Option<Box<Engine>>,
    /// How often a pipeline was stopped at once although it was past the gate.
    pub dropped_input: usize,
    /// It is older than the option, and so takes no notice of it.
    pub knows_no_concurrent_bootstrap: bool,
    /// A setting that it doesn't know, and drops without a word.
    pub drops: Option<&'static str>,
    /// It can't say of a program beforehand what it would change.
    pub cannot_tell: bool,
    /// How many checkpoints that are asked for never come about.
    pub loses_checkpoints: u32,
    /// How many of the newest checkpoints the manager doesn't show yet.
    pub hidden_checkpoints: usize,
}

/// A started pipeline.
#[derive(Clone, Debug, Default)]
pub struct Deployment {
    pub id: String,
    pub status: &'static str,
    pub policy: String,
    pub options: BootstrapOptions,
    pub approved: bool,
    pub paused: bool,
    /// Stopped gracefully while it waited: it waits for ever.
    pub parked: bool,
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
            engine: Engine {
                edition: "Enterprise",
                keeps_tags: true,
                ..Engine::default()
            },
            now: Timestamp::from_second(1_700_000_000).unwrap(),
            acts: vec![],
            reports: vec![],
            phases: vec![],
            audit: vec![],
            audited: vec![],
            audit_is_stuck: false,
            decided: vec![],
            last_call: None,
            asked: Asked::default(),
            held_back: None,
            about_to_tell: None,
            engine_is_unasked: false,
            engine_answers: true,
            has_run: false,
            replaced: 0,
            edit_after_call: None,
            edit_after_update: None,
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

    /// Changes only what the engine's gate doesn't ask about.
    pub fn edit_functions(&mut self, rust: &str) {
        self.spec(|spec| {
            spec.program.get_or_insert_default().udf_rust = Some(rust.to_owned());
        });
    }

    pub fn spec(&mut self, change: impl FnOnce(&mut crate::crd::PipelineSpec)) {
        change(&mut self.pipeline.spec);
        *self.pipeline.metadata.generation.as_mut().unwrap() += 1;
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
        self.pipeline.metadata.generation = Some(1);
        self.pipeline.status = None;
        self.has_run = false;
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
        self.spec(|spec| spec.runtime_config = settings.as_object().cloned());
    }

    pub fn annotate(&mut self, key: &str, value: &str) {
        let annotations = self.pipeline.metadata.annotations.get_or_insert_default();
        annotations.insert(key.to_owned(), value.to_owned());
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
        self.reports.iter().filter(|r| r.reason == reason).count()
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
        self.engine.pass(seconds);
    }

    /// The operator is started anew: what it kept in memory is gone.
    pub fn restart_operator(&mut self) {
        self.last_call = None;
        self.held_back = None;
        self.about_to_tell = None;
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

    /// The API server takes a status.
    pub fn store(&mut self, status: PipelineStatus) {
        let before = self.number_of_call();
        let current = status.approval.as_ref();
        let current = current.map(|approval| (&approval.change_id, &approval.decision));
        let records = status.history.iter();
        let records = records.map(|record| (&record.change_id, &record.decision));
        for (id, decision) in records.chain(current) {
            let decided = decision.as_ref().map(|decision| {
                (
                    id.clone(),
                    format!("{:?} {}", decision.outcome, decision.at.0),
                )
            });
            if let Some(decided) = decided.filter(|decided| !self.decided.contains(decided)) {
                self.decided.push(decided);
            }
        }
        self.pipeline.status = Some(status);
        let now = self.number_of_call();
        if now.is_some() && now != before {
            self.about_to_tell = now;
        }
    }

    fn number_of_call(&self) -> Option<(String, i64)> {
        let approval = self.status().approval?;
        (approval.state == ApprovalState::Applying && approval.calls > 0)
            .then_some((approval.change_id, approval.calls))
    }

    /// What the Pipeline knows as its own, and sees up, has run.
    fn see_what_is_up(&mut self) {
        let known = self.status().engine.and_then(|engine| engine.pipeline_id);
        let sees = self.engine_answers && !self.engine_is_unasked;
        let is_it = known.is_some_and(|known| known == self.engine.pipeline_id());
        self.has_run |= sees && is_it && self.engine.deployment.is_some();
    }

    /// One reconcile, to its end.
    pub fn reconcile(&mut self) {
        self.reconcile_until(usize::MAX);
    }

    /// One reconcile that ends, as by a crash, after a number of writes and calls.
    pub fn reconcile_until(&mut self, effects: usize) {
        let mut outcome = None;
        let mut full = false;
        let mut done = 0;
        let now = self.now;
        self.held_back.take_if(|(_, until)| *until <= now);
        for _ in 0..24 {
            if done == effects {
                return;
            }
            self.see_what_is_up();
            self.write_audit();
            let plan = self.plan(outcome.as_ref(), full);
            match plan.step {
                Step::Wait => return,
                Step::Record(status) => {
                    assert!(
                        self.pipeline.status.as_ref() != Some(&status),
                        "recorded what was stored"
                    );
                    if self.pipeline.status.as_ref().and_then(|s| s.phase.as_ref())
                        != status.phase.as_ref()
                    {
                        self.phases.extend(status.phase.clone());
                    }
                    self.check_reports(&plan.reports, &status);
                    check_that_it_speaks_of_the_spec(&status);
                    self.store(*status);
                    self.reports.extend(plan.reports);
                    outcome = None;
                    done += 1;
                }
                Step::Act(Act::Look, _) => full = true,
                Step::Act(act, guard) => {
                    full = true;
                    let live = self.engine.shown();
                    let at_the_gate = guard.is_of_the_gate() && act == Act::Stop { force: true };
                    outcome = if !(guard.is_empty() || guard.holds(live.as_ref())) {
                        Some(Outcome::GuardFailed)
                    } else if at_the_gate && self.engine.has_left_the_gate() {
                        Some(Outcome::LeftTheGate)
                    } else {
                        self.check_call(&act, live.as_ref());
                        self.acts.push(act.clone());
                        done += 1;
                        self.asked = Asked::by(&self.pipeline, &act);
                        if let Act::Create { .. } = act {
                            self.replaced += usize::from(std::mem::take(&mut self.has_run));
                        }
                        let outcome = self.engine.call(&act);
                        let edit = match self.acts.last() {
                            Some(Act::Update(_)) => self.edit_after_update.take(),
                            _ => None,
                        };
                        if let Some(edit) = edit.or(self.edit_after_call.take()) {
                            edit(self);
                        }
                        let call = LastCall {
                            act,
                            guard,
                            at: self.now,
                        };
                        self.last_call = remembered(self.last_call.take(), call, &outcome);
                        if matches!(self.acts.last(), Some(Act::Approve(_))) {
                            self.about_to_tell = None;
                        }
                        if outcome.holds_back_only_itself() {
                            let until = self.now + SignedDuration::from_secs(5);
                            self.held_back = Some((outcome, until));
                            None
                        } else {
                            Some(outcome)
                        }
                    };
                }
            }
        }
        panic!(
            "the reconcile doesn't come to an end; acts so far: {:?}",
            self.acts
        );
    }

    /// What the spec asks for.
    pub fn wanted(&self) -> Content {
        let program = self.pipeline.spec.program.clone().unwrap_or_default();
        Content {
            sql: program.sql.unwrap_or_default(),
            udf_rust: program.udf_rust.unwrap_or_default(),
            runtime_config: self.pipeline.spec.runtime_config.clone(),
            ..Content::default()
        }
    }

    pub fn plan(&self, outcome: Option<&Outcome>, full: bool) -> Plan {
        let program = self.pipeline.spec.program.as_ref();
        let content = match &self.unread {
            Some(why) => Err(why.clone()),
            None => Ok(program.map(|_| self.wanted())),
        };
        let pipeline = self.engine.exists.then(|| {
            if full {
                Seen::Full(Box::new(self.engine.full()))
            } else {
                Seen::Brief(self.engine.shown().expect("it exists"))
            }
        });
        let answered = Observation::Answered {
            info: EngineInfo {
                edition: self.engine.edition.to_owned(),
                version: "0.337.0".to_owned(),
            },
            unknown_name: full && pipeline.is_none(),
            pipeline,
            checkpoints: None,
        };
        let engine = if self.engine_is_unasked {
            Observation::NotYet
        } else if !self.engine_answers {
            Observation::NoAnswer {
                kind: "Unreachable",
                message: "nobody is there".to_owned(),
            }
        } else {
            answered
        };
        decide(&Input {
            pipeline: &self.pipeline,
            content: &content,
            objects: &self.objects,
            engine: &engine,
            build: self.engine.build_state().as_ref(),
            compile_beforehand: true,
            trust: &self.trust,
            may_note_policies: self.may_note_policies,
            about_to_tell: self.about_to_tell.is_some()
                && self.about_to_tell == self.number_of_call(),
            rival: self.rival.as_deref(),
            mark_is_released: self.mark_is_released,
            outcome,
            asked: &self.asked,
            held_back: self.held_back.as_ref().map(|(failed, _)| failed),
            last_call: self.last_call.as_ref(),
            audited: Some(&self.audited),
            now: self.now,
            timing: Timing::default(),
        })
    }

    /// What becomes of a change is told when it does, and not at each look at it.
    fn check_reports(&self, reports: &[Report], next: &PipelineStatus) {
        const TURNS: [&str; 8] = [
            "AwaitingApproval",
            "Approved",
            "Rejected",
            "Applied",
            "Sealed",
            "Superseded",
            "GateOpened",
            "ApprovalRepeated",
        ];
        let standing = |status: &PipelineStatus| {
            let approval = status.approval.as_ref();
            approval.map(|approval| (approval.change_id.clone(), approval.state, approval.calls))
        };
        for report in reports.iter().filter(|it| TURNS.contains(&it.reason)) {
            assert_ne!(standing(&self.status()), standing(next), "{report:?}");
        }
        let stale = |status: &PipelineStatus| {
            let mut conditions = status.conditions.iter();
            conditions.find(|it| it.type_ == "StaleApproval").cloned()
        };
        if reports
            .iter()
            .any(|report| report.reason == "StaleApproval")
        {
            assert_ne!(stale(&self.status()), stale(next));
        }
    }

    /// What must hold of every call, whatever came before.
    fn check_call(&self, act: &Act, live: Option<&PipelineState>) {
        let status = self.status();
        match act {
            Act::Approve(options) => {
                let live = live.expect("there is a pipeline");
                let approval = status.approval.expect("a change was published");
                assert!(live.awaits_approval(), "approved what doesn't wait");
                assert_eq!(
                    approval.state,
                    ApprovalState::Applying,
                    "that it is told is in status first"
                );
                assert!(approval.calls > 0 && approval.last_call_at.is_some());
                assert!(approval.decision.is_some());
                assert_eq!(approval.deployment_id, live.deployment_id);
                assert_eq!(approval.options, *options);
                assert_eq!(
                    approval.target,
                    self.engine.content().target(),
                    "what is approved is what runs"
                );
            }
            Act::Stop { force: false } => {
                assert!(
                    !live.is_some_and(PipelineState::awaits_approval),
                    "a graceful stop parks the gate"
                );
            }
            _ => {}
        }
    }
}

/// kstatus compares the generation of the status with the object's, and then takes `Ready` as it is.
fn check_that_it_speaks_of_the_spec(status: &PipelineStatus) {
    let mut conditions = status.conditions.iter();
    let ready = conditions.find(|condition| condition.type_ == "Ready");
    assert_eq!(
        ready.map(|ready| ready.observed_generation),
        Some(status.observed_generation),
        "Ready is about the spec that the status is about"
    );
}

impl Engine {
    fn id(&mut self, of: &str) -> String {
        self.ids += 1;
        if of == "checkpoint" {
            // As the engine names them, or the mark couldn't hold them.
            return uuid::Uuid::from_u128(u128::from(self.ids)).to_string();
        }
        format!("{of}-{}", self.ids)
    }

    fn pipeline_id(&self) -> String {
        format!("p-{}", self.number.max(1))
    }

    pub fn content(&self) -> Content {
        Content {
            sql: self.sql.clone(),
            udf_rust: self.udf_rust.clone(),
            runtime_config: self.runtime_config.clone(),
            ..Content::default()
        }
    }

    /// The program of the newest checkpoint.
    pub fn base(&self) -> Option<&str> {
        self.checkpoints.last().map(|(_, sql)| sql.as_str())
    }

    /// The program, its functions and its settings, in one word.
    pub fn label(sql: &str, functions: &str, settings: &str) -> String {
        format!("{sql}{functions}{}", settings.get(..4).unwrap_or_default())
    }

    /// What the newest checkpoint holds.
    pub fn kept(&self) -> String {
        let base = self.base().unwrap_or_default();
        Self::label(base, &self.kept_functions, &self.kept_settings)
    }

    /// What would run.
    pub fn given(&self) -> String {
        Self::label(&self.sql, &self.udf_rust, &self.settings())
    }

    fn settings(&self) -> String {
        settings::digest(self.runtime_config.as_ref())
    }

    pub fn reads_no_checkpoint(&self) -> bool {
        settings::storage_is_off(self.runtime_config.as_ref())
    }

    /// Two edits of one view give the same diff: it holds names only.
    fn diff(&self) -> Value {
        if let Some(shown) = &self.shows {
            return shown.clone();
        }
        let same = self.base() == Some(self.sql.as_str());
        let views: &[&str] = if same { &[] } else { &["v"] };
        json!({"program_diff": {"modified_views": views, "modified_tables": if self.other_plans { &["t"][..] } else { &[] }}, "program_diff_error": null})
    }

    pub fn build_state(&self) -> Option<PipelineState> {
        let (name, sql, done) = self.build.as_ref()?;
        let status = match (done, sql.starts_with("bad rust")) {
            (false, _) => "CompilingRust",
            (true, false) => "Success",
            (true, true) => "RustError",
        };
        Some(PipelineState {
            id: format!(
                "{} of {name}",
                if self.foreign_build {
                    "foreign id"
                } else {
                    "id"
                }
            ),
            name: name.clone(),
            program_status: status.into(),
            deployment_status: "Stopped".into(),
            ..PipelineState::default()
        })
    }

    pub fn state(&self) -> Option<PipelineState> {
        if !self.exists {
            return None;
        }
        let status = self.deployment.as_ref().map_or("Stopped", |d| d.status);
        let desired = match &self.deployment {
            Some(_) if self.stopping => "Stopped",
            Some(deployment) if deployment.parked => "Suspended",
            Some(deployment) if deployment.paused => "Paused",
            Some(_) => "Running",
            None => "Stopped",
        };
        Some(PipelineState {
            id: self.pipeline_id(),
            name: "orders".into(),
            tags: self.tags.clone(),
            version: self.version,
            program_version: self.version,
            program_status: if self.compiled {
                "Success"
            } else {
                "CompilingRust"
            }
            .into(),
            storage_status: if self.cleared { "Cleared" } else { "InUse" }.into(),
            checkpoints: self
                .checkpoints
                .iter()
                .take(
                    self.checkpoints
                        .len()
                        .saturating_sub(self.hidden_checkpoints),
                )
                .map(|(uuid, _)| Checkpoint {
                    uuid: uuid.clone(),
                    steps: Some(7),
                })
                .collect(),
            deployment_id: self.deployment.as_ref().map(|d| d.id.clone()),
            deployment_status: status.into(),
            deployment_desired_status: desired.into(),
            deployment_error: self.error.clone(),
            bootstrap_policy: self.deployment.as_ref().map(|d| d.policy.clone()),
            options: match &self.deployment {
                Some(deployment) => OptionsShown {
                    concurrent: (!self.knows_no_concurrent_bootstrap)
                        .then_some(deployment.options.concurrent),
                    ..deployment.options.into()
                },
                None => OptionsShown::default(),
            },
            approval_diff: if status == "AwaitingApproval" {
                self.diff()
            } else {
                Value::Null
            },
        })
    }

    fn full(&self) -> FullPipeline {
        FullPipeline {
            state: self.shown().expect("it exists"),
            content: self.content(),
            compile_error: None,
            connectors: Some(Connectors::default()),
        }
    }

    /// Whether the process is past the gate by its own word.
    pub fn has_left_the_gate(&self) -> bool {
        let status = self.deployment.as_ref().map_or("Stopped", |d| d.status);
        matches!(status, "Bootstrapping" | "Running" | "Paused")
    }

    /// What the manager shows: of the process's own state, what it was told last.
    pub fn shown(&self) -> Option<PipelineState> {
        let mut state = self.state()?;
        if let Some((id, status, diff)) = &self.polled
            && self.polls_late
            && state.deployment_id.as_ref() == Some(id)
            && state.deployment_status != "Stopping"
        {
            (*status).clone_into(&mut state.deployment_status);
            state.approval_diff.clone_from(diff);
        }
        Some(state)
    }

    fn poll(&mut self) {
        self.polls_late = false;
        self.polled_ago = 0;
        let diff = self.state().map(|state| state.approval_diff);
        let seen = self.deployment.as_ref().map(|d| (d.id.clone(), d.status));
        self.polled = seen.map(|(id, status)| (id, status, diff.unwrap_or_default()));
    }

    /// Time passes. The manager asks every 2.5 s.
    fn pass(&mut self, seconds: i64) {
        self.polled_ago += seconds;
        if self.polled_ago >= 3 || !self.polls_late {
            self.poll();
        }
    }

    /// It has no pipeline any more, as when its database is lost, or its address leads elsewhere.
    pub fn lose(&mut self) {
        let mut before = std::mem::take(self);
        *self = Self {
            edition: before.edition,
            keeps_tags: before.keeps_tags,
            refuses_tags: before.refuses_tags,
            ids: before.ids,
            made: before.made.max(1),
            losses: std::mem::take(&mut before.losses),
            bootstraps: std::mem::take(&mut before.bootstraps),
            dropped_input: before.dropped_input,
            ..Self::default()
        };
        before.lost = None;
        self.lost = before.exists.then(|| Box::new(before));
    }

    /// It has the pipeline again that it lost, and no other.
    pub fn find_again(&mut self) {
        let Some(lost) = self.lost.take() else { return };
        *self = Self {
            ids: self.ids,
            made: self.made,
            losses: std::mem::take(&mut self.losses),
            bootstraps: std::mem::take(&mut self.bootstraps),
            dropped_input: self.dropped_input,
            ..*lost
        };
    }

    /// Somebody stops it at once.
    pub fn stop_by_hand(&mut self) {
        self.deployment = None;
        self.stopping = false;
    }

    /// The pipeline fails.
    pub fn fail(&mut self, code: &str) {
        if self.deployment.take().is_some() {
            self.stopping = false;
            self.error = Some(PipelineError {
                message: "out of luck".into(),
                code: code.into(),
            });
        }
    }

    /// Whether it is up and past any bootstrap.
    pub fn is_up(&self) -> bool {
        let status = self.deployment.as_ref().map_or("Stopped", |d| d.status);
        matches!(status, "Running" | "Paused")
    }

    /// Somebody starts the pipeline.
    pub fn start(&mut self, policy: &str, options: BootstrapOptions) {
        let id = self.id("deployment");
        self.error = None;
        self.cleared = false;
        self.deployment = Some(Deployment {
            id,
            status: "Provisioning",
            policy: policy.to_owned(),
            options,
            ..Deployment::default()
        });
    }

    /// Somebody approves, with or without a reason to.
    pub fn approve(&mut self) {
        if self.forgets > 0 {
            self.forgets -= 1;
        } else if let Some(deployment) = &mut self.deployment {
            deployment.approved = true;
        }
    }

    /// The process dies and comes back with the same deployment id.
    pub fn kill_process(&mut self, approval_is_forgotten: bool) {
        if let Some(deployment) = &mut self.deployment
            && deployment.status != "Stopping"
        {
            deployment.status = "Initializing";
            deployment.approved &= !approval_is_forgotten;
        }
    }

    pub fn write_checkpoint(&mut self) {
        if self.loses_checkpoints > 0 {
            self.loses_checkpoints -= 1;
            return;
        }
        if self.reads_no_checkpoint() {
            return;
        }
        self.kept_settings = self.settings();
        let uuid = self.id("checkpoint");
        self.checkpoints.push((uuid, self.sql.clone()));
        self.kept_functions.clone_from(&self.udf_rust);
    }

    fn call(&mut self, act: &Act) -> Outcome {
        let updated = |engine: &Self, content: &Content| Outcome::Updated {
            id: engine.pipeline_id(),
            version: engine.version,
            content: content.clone(),
            not_shown: content.not_shown_by(&engine.content()),
        };
        match act {
            Act::Create { tags, content } => {
                assert!(!self.exists, "made what is there");
                self.made += 1;
                self.number = self.made;
                self.exists = true;
                self.cleared = true;
                if self.keeps_tags {
                    self.tags.clone_from(tags);
                }
                self.version = 1;
                self.sql.clone_from(&content.sql);
                self.udf_rust.clone_from(&content.udf_rust);
                self.runtime_config.clone_from(&content.runtime_config);
                return updated(self, content);
            }
            Act::Update(_) if self.refuses_updates.is_some() => {
                return Outcome::Failed {
                    act: "update",
                    error: crate::engine::Error::Refused {
                        status: 400,
                        code: self.refuses_updates.unwrap_or_default().into(),
                        message: "no".into(),
                    },
                };
            }
            Act::Update(content) => {
                assert!(self.deployment.is_none(), "updated what is not stopped");
                self.version += 1;
                self.sql.clone_from(&content.sql);
                self.udf_rust.clone_from(&content.udf_rust);
                // What isn't named stays, unless it is to go back to the defaults.
                if content.runtime_config.is_some() || content.kept.runtime_config.is_none() {
                    let sent = content.sent.as_ref().or(content.runtime_config.as_ref());
                    self.runtime_config = sent.cloned();
                }
                if let (Some(dropped), Some(config)) = (self.drops, &mut self.runtime_config) {
                    config.remove(dropped);
                }
                self.compiled = false;
                return updated(self, content);
            }
            Act::Preview(_) if self.compiler_is_down => {
                return Outcome::Failed {
                    act: "diff",
                    error: crate::engine::Error::Unreachable("timed out".into()),
                };
            }
            Act::Build { .. } if self.builds_fail => {
                return Outcome::Failed {
                    act: "build",
                    error: crate::engine::Error::Unreachable("timed out".into()),
                };
            }
            Act::Preview(content) => {
                let answer = if content.sql.starts_with("broken") {
                    DiffAnswer::CompileError("line 1, column 1: no".into())
                } else if self.cannot_tell {
                    DiffAnswer::CantTell("no answer from the compiler".into())
                } else if content.sql == self.sql {
                    DiffAnswer::Diff(
                        json!({"program_diff": {"modified_views": [], "modified_tables": []}, "program_diff_error": null}),
                    )
                } else {
                    DiffAnswer::Diff(json!({"program_diff": {"modified_views": ["v"]}}))
                };
                return Outcome::Previewed {
                    target: content.target(),
                    answer,
                };
            }
            Act::Start(options) => {
                assert!(self.deployment.is_none(), "started what is not stopped");
                assert!(self.compiled, "started what is not compiled");
                self.start(options.bootstrap_policy, options.bootstrap);
                if let Some(deployment) = &mut self.deployment {
                    deployment.paused = options.paused;
                }
            }
            Act::Stop { force } => {
                if *force && self.has_left_the_gate() {
                    self.dropped_input += 1;
                }
                self.stopping = true;
                self.stops_at_once |= *force;
                if !force {
                    self.write_checkpoint();
                }
                if let Some(deployment) = &mut self.deployment {
                    deployment.status = "Stopping";
                }
            }
            Act::Approve(_) => {
                self.approve();
                return Outcome::ApproveCalled;
            }
            Act::Checkpoint => {
                self.write_checkpoint();
                return Outcome::CheckpointRequested {
                    number: 3,
                    incarnation: None,
                };
            }
            Act::DismissError => self.error = None,
            Act::Pause | Act::Resume => {
                if let Some(deployment) = &mut self.deployment {
                    deployment.paused = *act == Act::Pause;
                    deployment.status = if deployment.paused {
                        "Paused"
                    } else {
                        "Running"
                    };
                }
            }
            Act::Adopt { tags } => {
                if self.keeps_tags {
                    self.tags.clone_from(tags);
                }
                return Outcome::Owned(self.pipeline_id());
            }
            Act::Mark { tags, digest } => {
                if self.refuses_tags {
                    return Outcome::Failed {
                        act: "mark",
                        error: crate::engine::Error::Refused {
                            status: 400,
                            code: "TooManyTags".into(),
                            message: "no".into(),
                        },
                    };
                }
                if self.keeps_tags {
                    self.tags.clone_from(tags);
                }
                return Outcome::Marked(digest.clone());
            }
            Act::Recompile(_) => self.compiled = false,
            Act::Clear => {
                assert!(self.deployment.is_none(), "cleared what is not stopped");
                self.checkpoints.clear();
                self.cleared = true;
            }
            Act::Build { name, content, .. } => {
                if let Some((there, sql, _)) = &self.build {
                    // As the act finds out by mark and content.
                    let id = format!("id of {name}");
                    match self.foreign_build {
                        true if there == name => {
                            return Outcome::BuildNameTaken(format!("foreign {id}"));
                        }
                        // What is there goes on beside it, and is of no concern any more.
                        true => self.foreign_build = false,
                        false => {
                            assert_eq!((there, sql), (name, &content.sql), "one at a time");
                            return Outcome::BuildIsThere(id);
                        }
                    }
                }
                if self.build_names_taken > 0 {
                    self.build_names_taken -= 1;
                    return Outcome::BuildNameTaken(format!("foreign id of {name}"));
                }
                self.build = Some((name.clone(), content.sql.clone(), false));
                return Outcome::BuildIsThere(format!("id of {name}"));
            }
            Act::LookAtBuild { .. } => {
                return Outcome::BuildFailed(Some("RustError: line 1: no".into()));
            }
            Act::DropBuild { .. } => self.build = None,
            Act::Look => {}
        }
        Outcome::Done(act.name())
    }

    /// Time passes in the engine.
    pub fn tick(&mut self) {
        self.go_on();
        if !self.polls_late {
            self.poll();
        }
    }

    fn go_on(&mut self) {
        self.compiled = self.exists;
        if let Some((_, _, done)) = &mut self.build {
            *done |= !self.compiles_for_long;
        }
        let off = self.reads_no_checkpoint();
        let given = self.given();
        let base = self.base().map(str::to_owned);
        if off
            && base.is_some()
            && self
                .deployment
                .as_ref()
                .is_some_and(|d| d.status == "Provisioning")
        {
            self.losses.push(given);
        }
        let base = base.filter(|_| !off);
        let gated = base.as_deref().is_some_and(|base| base != self.sql);
        // The engine has no eye for these.
        let same = self.kept_functions == self.udf_rust && self.kept_settings == self.settings();
        let mixes = base.is_some() && !gated && !same;
        let change = (self.kept(), self.given());
        let Some(deployment) = &mut self.deployment else {
            return;
        };
        let up = if deployment.paused {
            "Paused"
        } else {
            "Running"
        };
        deployment.status = match deployment.status {
            "Provisioning" => "Initializing",
            "Initializing" if !gated => {
                if mixes {
                    self.bootstraps.push(change);
                }
                up
            }
            "Initializing" if deployment.policy == "allow" || deployment.approved => {
                "Bootstrapping"
            }
            "Initializing" if deployment.policy == "reject" => {
                self.error = Some(PipelineError {
                    message: "Operation failed because the pipeline failed to initialize. Error details: Bootstrapping of the modified pipeline was rejected by the user..".into(),
                    code: "InitializationError".into(),
                });
                "Stopping"
            }
            "Initializing" => "AwaitingApproval",
            "AwaitingApproval" if deployment.approved => "Bootstrapping",
            "Bootstrapping" => {
                self.bootstraps.push(change);
                if self.breaks.as_ref() == Some(&self.sql) {
                    self.error = Some(PipelineError {
                        message: "Operation failed because the pipeline failed to initialize."
                            .into(),
                        code: "InitializationError".into(),
                    });
                    "Stopping"
                } else {
                    up
                }
            }
            "Stopping" if self.stops_hang && !self.stops_at_once => "Stopping",
            "Stopping" => {
                self.deployment = None;
                self.stopping = false;
                self.stops_at_once = false;
                return;
            }
            other => other,
        };
    }
}

/// A guard that holds whatever the engine shows is no guard.
#[test]
fn a_guard_holds_only_for_what_it_names() {
    let mut world = World::waiting("A", "B");
    let live = world.engine.state().unwrap();
    let guard = Guard {
        deployment_id: live.deployment_id.clone(),
        status: &["AwaitingApproval"],
        version: Some(live.version),
        diff_digest: Some(crate::change::digest(&live.approval_diff)),
        absent: false,
        tags: Some(live.tags.clone()),
    };
    assert!(guard.holds(Some(&live)));
    assert!(!guard.holds(None));
    let others = [
        PipelineState {
            deployment_id: Some("another".into()),
            ..live.clone()
        },
        PipelineState {
            deployment_status: "Initializing".into(),
            ..live.clone()
        },
        PipelineState {
            version: live.version + 1,
            ..live.clone()
        },
        PipelineState {
            tags: vec!["another".into()],
            ..live.clone()
        },
        PipelineState {
            approval_diff: json!({"program_diff": {"removed_tables": ["t"]}}),
            ..live.clone()
        },
    ];
    for other in others {
        assert!(!guard.holds(Some(&other)), "{other:?}");
    }
    world.engine.tick();
}
