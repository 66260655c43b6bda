//! The engine of the model: it has the gate's unsafe habits.

use serde_json::{Map, Value, json};

use crate::change::Content;
use crate::crd::{BootstrapOptions, Target};
use crate::decide::{Act, CallOutcome, CheckpointStatusSeen, EngineCall};
use crate::engine::{
    Checkpoint, Connectors, DiffAnswer, Error, FullPipeline, OptionsShown, PipelineError,
    PipelineState, diff,
};
use crate::held_settings;
use crate::settings;

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
    /// Its program configuration.
    kept_config: Option<Map<String, Value>>,
    /// What was started although it reads no checkpoint, and there was one.
    pub losses: Vec<String>,
    pub program_config: Option<Map<String, Value>>,
    pub runtime_config: Option<Map<String, Value>>,
    /// What others have set of it, and no spec has named since.
    theirs: Map<String, Value>,
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
    /// A start never comes as far as the gate.
    pub starts_hang: bool,
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
    /// What somebody sets in the moment between a look and the next update.
    pub set_amid_update: Option<Value>,
    /// Whether somebody else has done that, and there was a checkpoint, and none has been written since.
    pub emptied: bool,
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
    /// How often it was started.
    pub starts: u64,
    /// How often a pipeline was stopped at once although it was past the gate.
    pub dropped_input: usize,
    /// What came in since the newest checkpoint is in none.
    pub has_unkept_input: bool,
    /// It is older than the option, and so takes no notice of it.
    pub knows_no_concurrent_bootstrap: bool,
    /// It is a newer one, that spells a setting otherwise when it is given one, and fills in another.
    pub spells_otherwise: bool,
    /// A setting that it doesn't know, and drops without a word.
    pub drops: Option<&'static str>,
    /// It can't say of a program beforehand what it would change.
    pub cannot_tell: bool,
    /// How many checkpoints that are asked for never come about.
    pub loses_checkpoints: u32,
    /// How many of the newest checkpoints the manager doesn't show yet.
    pub hidden_checkpoints: usize,
    /// How many checkpoints that are asked for can't be written, as the process says later.
    pub fails_checkpoints: u32,
    /// The checkpoints that the process was asked for: how many, the newest that it wrote, and the last that it could not.
    asked_checkpoints: i64,
    wrote_checkpoint: Option<i64>,
    failed_checkpoint: Option<(i64, String)>,
    /// The how-manyeth process it is.
    incarnation: u64,
    /// What becomes of the next call.
    pub fault: Option<Fault>,
    /// What becomes of the next update.
    pub fault_of_update: Option<Fault>,
    /// Whatever it says, it says at length.
    pub is_wordy: bool,
}

/// What can become of a call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// It doesn't arrive.
    NotTaken,
    /// It is carried out, and nobody hears of it.
    AnswerLost,
    /// The engine refuses it.
    Refused,
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
    /// Whether somebody has started it at the engine itself.
    pub by_hand: bool,
}

impl Engine {
    pub(super) fn new() -> Self {
        Self {
            edition: "Enterprise",
            keeps_tags: true,
            ..Self::default()
        }
    }

    pub(super) fn id(&mut self, of: &str) -> String {
        self.ids += 1;
        if of == "checkpoint" {
            // As the engine names them, or the mark couldn't hold them.
            return uuid::Uuid::from_u128(u128::from(self.ids)).to_string();
        }
        format!("{of}-{}", self.ids)
    }

    pub(super) fn pipeline_id(&self) -> String {
        format!("p-{}", self.number.max(1))
    }

    pub fn content(&self) -> Content {
        Content {
            sql: self.sql.clone(),
            udf_rust: self.udf_rust.clone(),
            program_config: self.program_config.clone(),
            runtime_config: self.runtime_config.clone(),
            ..Content::default()
        }
    }

    /// Whether a target is what it holds. Of how a program is compiled a target says only what the
    /// spec gives.
    pub fn holds(&self, target: &Target) -> bool {
        let held = self.content().target();
        let config_of = |config: Option<Map<String, Value>>| {
            let content = Content {
                program_config: config,
                ..Content::default()
            };
            content.target().config
        };
        // A runtime version that stays although nobody asks for it is named by its own part of the target only.
        let left_out = [
            "profile",
            "cache",
            "use_platform_compiler",
            "runtime_version",
        ];
        let is_of_the_config = (0..1 << left_out.len()).any(|without: u32| {
            let mut config = self.program_config.clone().unwrap_or_default();
            for (bit, key) in left_out.into_iter().enumerate() {
                if without & (1 << bit) != 0 {
                    config.remove(key);
                }
            }
            config.is_empty() && config_of(None) == target.config
                || config_of(Some(config)) == target.config
        });
        let of_it = Target {
            config: held.config.clone(),
            ..target.clone()
        };
        of_it == held && is_of_the_config
    }

    /// The program of the newest checkpoint.
    pub fn base(&self) -> Option<&str> {
        self.checkpoints.last().map(|(_, sql)| sql.as_str())
    }

    /// The program, its functions, the version of the runtime that its configuration names, and its settings, in one word.
    pub fn label(sql: &str, functions: &str, runtime: &str, settings: &str) -> String {
        let settings = settings.get(..4).unwrap_or_default();
        format!("{sql}{functions}{runtime}{settings}")
    }

    /// What the newest checkpoint holds.
    pub fn kept(&self) -> String {
        let base = self.base().unwrap_or_default();
        let runtime = runtime_of(self.kept_config.as_ref());
        Self::label(base, &self.kept_functions, &runtime, &self.kept_settings)
    }

    /// What would run.
    pub fn given(&self) -> String {
        let runtime = runtime_of(self.program_config.as_ref());
        Self::label(&self.sql, &self.udf_rust, &runtime, &self.settings())
    }

    fn settings(&self) -> String {
        held_settings::name(self.runtime_config.as_ref())
    }

    pub fn reads_no_checkpoint(&self) -> bool {
        settings::storage_is_off(self.runtime_config.as_ref())
    }

    /// Somebody gives the stopped pipeline other settings. What is empty, or isn't named, is as it was.
    pub fn set_by_hand(&mut self, settings: &Value) {
        if self.deployment.is_some() || !self.exists {
            return;
        }
        self.version += 1;
        for (name, value) in settings.as_object().into_iter().flatten() {
            let config = self.runtime_config.get_or_insert_default();
            if !config.contains_key(name) {
                self.theirs.insert(name.clone(), value.clone());
            }
            config.insert(name.clone(), value.clone());
        }
    }

    /// Somebody sets settings in the moment between a look and an update, which can't know of them.
    pub fn set_unseen(&mut self, settings: &Value) {
        self.set_by_hand(settings);
        for name in settings.as_object().into_iter().flat_map(Map::keys) {
            self.theirs.remove(name);
        }
    }

    /// Says that a spec names these settings now.
    pub fn are_named(&mut self, settings: &Value) {
        let named = settings.as_object();
        let is_all = named.is_some_and(Map::is_empty);
        self.theirs
            .retain(|name, _| !is_all && !named.is_some_and(|named| named.contains_key(name)));
    }

    /// Why what it holds can't be compiled.
    pub fn compile_error(&self) -> Option<&'static str> {
        match &self.sql {
            sql if sql.starts_with("broken") => Some("SqlError"),
            sql if sql.starts_with("bad rust") => Some("RustError"),
            _ => None,
        }
    }

    /// What it says, as long as it likes it.
    fn says(&self, text: &str) -> String {
        match self.is_wordy {
            true => format!("{text}: {}", "and so on, \"ü\"\n".repeat(6_000)),
            false => text.to_owned(),
        }
    }

    /// Two edits of one view give the same diff: it holds names only.
    fn diff(&self) -> Value {
        if let Some(shown) = &self.shows {
            return shown.clone();
        }
        if self.is_wordy && self.base() != Some(self.sql.as_str()) {
            let names = (0..4_000).map(|n| format!("{}_of_the_view_number_{n}", self.sql));
            let names: Vec<String> = names.collect();
            return diff::taken_in(
                json!({"program_diff": {"modified_views": names}, "program_diff_error": null}),
            );
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
            program_status: match self.compiled {
                true => self.compile_error().unwrap_or("Success"),
                false => "CompilingRust",
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
                .enumerate()
                .map(|(number, (uuid, _))| Checkpoint {
                    uuid: uuid.clone(),
                    steps: i64::try_from(number).ok(),
                })
                .collect(),
            deployment_id: self.deployment.as_ref().map(|d| d.id.clone()),
            stopped_since: (status == "Stopped").then(|| format!("start {}", self.starts)),
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

    pub(super) fn full(&self) -> FullPipeline {
        FullPipeline {
            state: self.shown().expect("it exists"),
            content: self.content(),
            compile_error: self
                .compile_error()
                .map(|_| self.says("line 1, column 1: no")),
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
    pub(super) fn pass(&mut self, seconds: i64) {
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
            compiler_is_down: before.compiler_is_down,
            builds_fail: before.builds_fail,
            compiles_for_long: before.compiles_for_long,
            is_wordy: before.is_wordy,
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
            compiler_is_down: self.compiler_is_down,
            builds_fail: self.builds_fail,
            compiles_for_long: self.compiles_for_long,
            is_wordy: self.is_wordy,
            fault: self.fault,
            build: self.build.take(),
            ..*lost
        };
    }

    /// Somebody deletes the pipeline, and makes another one of its name, with as many edits.
    pub fn replace_by_hand(&mut self, sql: &str) {
        let version = self.version;
        self.lose();
        self.made += 1;
        self.number = self.made;
        self.exists = true;
        self.cleared = true;
        self.version = version;
        self.sql = sql.to_owned();
    }

    /// Somebody clears the storage of the stopped pipeline.
    pub fn clear_by_hand(&mut self) {
        if self.exists && self.deployment.is_none() && !self.cleared {
            self.emptied |= !self.checkpoints.is_empty();
            self.checkpoints.clear();
            self.cleared = true;
            self.has_unkept_input = false;
        }
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
                message: self.says("out of luck"),
                code: code.into(),
            });
        }
    }

    /// Whether it is up and past any bootstrap.
    pub fn is_up(&self) -> bool {
        let status = self.deployment.as_ref().map_or("Stopped", |d| d.status);
        matches!(status, "Running" | "Paused")
    }

    /// Somebody starts the pipeline at the engine itself.
    pub fn start_by_hand(&mut self, policy: &str) {
        self.start(policy, BootstrapOptions::default());
        if let Some(deployment) = &mut self.deployment {
            deployment.by_hand = true;
        }
    }

    pub fn start(&mut self, policy: &str, options: BootstrapOptions) {
        let id = self.id("deployment");
        self.begin_a_process();
        self.starts += 1;
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
            self.begin_a_process();
        }
    }

    /// A process knows nothing of the checkpoints that another one was asked for.
    fn begin_a_process(&mut self) {
        self.incarnation += 1;
        self.asked_checkpoints = 0;
        self.wrote_checkpoint = None;
        self.failed_checkpoint = None;
    }

    fn incarnation(&self) -> String {
        format!("process-{}", self.incarnation)
    }

    /// What became of a checkpoint that was asked for, as far as the process says.
    pub(super) fn checkpoint_status(
        &self,
        number: i64,
        incarnation: Option<String>,
    ) -> Option<CheckpointStatusSeen> {
        self.deployment.as_ref()?;
        let is_gone = incarnation != Some(self.incarnation());
        let asked = (number, incarnation);
        if is_gone {
            let failure = Some((
                number,
                "the process that was to write it is gone".to_owned(),
            ));
            return Some(CheckpointStatusSeen {
                asked,
                failure,
                ..CheckpointStatusSeen::default()
            });
        }
        Some(CheckpointStatusSeen {
            asked,
            success: self.wrote_checkpoint,
            failure: self.failed_checkpoint.clone(),
            newest: None,
        })
    }

    /// A checkpoint is asked for. Its number.
    fn ask_for_checkpoint(&mut self) -> i64 {
        self.asked_checkpoints += 1;
        let number = self.asked_checkpoints;
        if self.fails_checkpoints > 0 {
            self.fails_checkpoints -= 1;
            self.failed_checkpoint = Some((number, self.says("no room")));
            return number;
        }
        let before = self.checkpoints.len();
        self.write_checkpoint();
        if self.checkpoints.len() > before {
            self.wrote_checkpoint = Some(number);
        }
        number
    }

    pub fn write_checkpoint(&mut self) {
        if self.loses_checkpoints > 0 {
            self.loses_checkpoints -= 1;
            return;
        }
        if self.reads_no_checkpoint() {
            return;
        }
        self.emptied = false;
        self.has_unkept_input = false;
        self.kept_settings = self.settings();
        let uuid = self.id("checkpoint");
        self.checkpoints.push((uuid, self.sql.clone()));
        self.kept_functions.clone_from(&self.udf_rust);
        self.kept_config.clone_from(&self.program_config);
    }

    pub(super) fn end_of_faults(&mut self) {
        self.fault = None;
        self.fault_of_update = None;
        self.forgets = 0;
        self.loses_checkpoints = 0;
        self.fails_checkpoints = 0;
        self.compiler_is_down = false;
        self.builds_fail = false;
        self.compiles_for_long = false;
        self.polls_late = false;
    }

    fn refusal(&self, act: &Act) -> CallOutcome {
        CallOutcome::Failed {
            act: act.call(),
            error: Error::Refused {
                status: 400,
                code: "Fault".into(),
                message: self.says("no"),
            },
        }
    }

    /// Answers a call, if it arrives, and its answer does.
    pub(super) fn answer(&mut self, act: &Act) -> CallOutcome {
        let unheard_of = CallOutcome::Failed {
            act: act.call(),
            error: Error::Unreachable(self.says("timed out")),
        };
        let of_update = match act {
            Act::Update(_) => self.fault_of_update.take(),
            _ => None,
        };
        match of_update.or(self.fault.take()) {
            None => self.call(act),
            Some(Fault::NotTaken) => unheard_of,
            Some(Fault::Refused) => {
                // It stays there beside the next one, and is of no concern any more.
                self.build.take_if(|_| matches!(act, Act::DropBuild { .. }));
                self.refusal(act)
            }
            Some(Fault::AnswerLost) => {
                self.call(act);
                unheard_of
            }
        }
    }

    fn call(&mut self, act: &Act) -> CallOutcome {
        let updated = |engine: &Self, content: &Content| CallOutcome::Updated {
            id: engine.pipeline_id(),
            version: engine.version,
            content: content.clone(),
            not_shown: content.not_shown_by(&engine.content()),
            settings: content.settings_answered_by(&engine.content()),
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
                self.program_config.clone_from(&content.program_config);
                self.runtime_config.clone_from(&content.runtime_config);
                self.theirs.clear();
                return updated(self, content);
            }
            Act::Update(_) if self.refuses_updates.is_some() => {
                return CallOutcome::Failed {
                    act: EngineCall::Update,
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
                if content.program_config.is_some() || content.kept.program_config.is_none() {
                    let sent = content.sent.program_config.as_ref();
                    let sent = sent.or(content.program_config.as_ref());
                    self.program_config = sent.cloned();
                }
                if content.runtime_config.is_some() || content.kept.runtime_config.is_none() {
                    let sent = content.sent.runtime_config.as_ref();
                    let sent = sent.or(content.runtime_config.as_ref());
                    self.runtime_config = sent.cloned();
                }
                for (name, value) in &self.theirs {
                    let is = self.runtime_config.as_ref().and_then(|all| all.get(name));
                    assert_eq!(is, Some(value), "took away {name}, which others have set");
                }
                if let (Some(dropped), Some(config)) = (self.drops, &mut self.runtime_config) {
                    config.remove(dropped);
                }
                if self.spells_otherwise {
                    let config = self.runtime_config.get_or_insert_default();
                    if let Some(value) = config.remove("clock_resolution_usecs") {
                        config.insert("clock_resolution".into(), json!(format!("{value}us")));
                    }
                    config.insert("of_tomorrow".into(), json!(5));
                }
                self.compiled = false;
                return updated(self, content);
            }
            Act::Preview(_) if self.compiler_is_down => {
                return CallOutcome::Failed {
                    act: EngineCall::Diff,
                    error: crate::engine::Error::Unreachable("timed out".into()),
                };
            }
            Act::Build { .. } if self.builds_fail => {
                return CallOutcome::Failed {
                    act: EngineCall::Build,
                    error: crate::engine::Error::Unreachable("timed out".into()),
                };
            }
            Act::Preview(content) => {
                let answer = if content.sql.starts_with("broken") {
                    DiffAnswer::CompileError(self.says("line 1, column 1: no"))
                } else if self.cannot_tell {
                    DiffAnswer::CantTell("no answer from the compiler".into())
                } else if content.sql == self.sql {
                    DiffAnswer::Diff(
                        json!({"program_diff": {"modified_views": [], "modified_tables": []}, "program_diff_error": null}),
                    )
                } else {
                    DiffAnswer::Diff(json!({"program_diff": {"modified_views": ["v"]}}))
                };
                return CallOutcome::Previewed {
                    target: content.target(),
                    answer,
                };
            }
            Act::Start(options) => {
                assert!(self.deployment.is_none(), "started what is not stopped");
                assert!(
                    self.compiled && self.compile_error().is_none(),
                    "started what is not compiled"
                );
                self.start(options.bootstrap_policy, options.bootstrap);
                if let Some(deployment) = &mut self.deployment {
                    deployment.paused = options.paused;
                }
            }
            Act::Stop { force } => {
                let newest = self.checkpoints.last().map(|(uuid, _)| uuid.clone());
                let steps = i64::try_from(self.checkpoints.len().saturating_sub(1)).ok();
                if *force && self.has_left_the_gate() {
                    self.dropped_input += 1;
                }
                // Asked again, it writes no other one.
                if !force && !self.stopping {
                    self.write_checkpoint();
                }
                self.stopping = true;
                self.stops_at_once |= *force;
                if let Some(deployment) = &mut self.deployment {
                    deployment.status = "Stopping";
                }
                if !force {
                    let newest = newest.map(|uuid| Checkpoint { uuid, steps });
                    return CallOutcome::Stopping { newest };
                }
            }
            Act::Approve(_) => {
                self.approve();
                return CallOutcome::ApproveCalled;
            }
            Act::Checkpoint => {
                return CallOutcome::CheckpointRequested {
                    number: self.ask_for_checkpoint(),
                    incarnation: Some(self.incarnation()),
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
                return CallOutcome::Owned(self.pipeline_id());
            }
            Act::Mark { tags, digest } => {
                if self.refuses_tags {
                    return CallOutcome::Failed {
                        act: EngineCall::Mark,
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
                return CallOutcome::Marked(digest.clone());
            }
            Act::Recompile(_) => self.compiled = false,
            Act::Clear => {
                self.has_unkept_input = false;
                assert!(self.deployment.is_none(), "cleared what is not stopped");
                self.checkpoints.clear();
                self.cleared = true;
                self.emptied = false;
            }
            Act::Build { name, content, .. } => {
                if let Some((there, sql, _)) = &self.build {
                    // As the act finds out by mark and content.
                    let id = format!("id of {name}");
                    match self.foreign_build {
                        true if there == name => {
                            return CallOutcome::BuildNameTaken(format!("foreign {id}"));
                        }
                        // What is there goes on beside it, and is of no concern any more.
                        true => self.foreign_build = false,
                        false => {
                            assert_eq!((there, sql), (name, &content.sql), "one at a time");
                            return CallOutcome::BuildIsThere(id);
                        }
                    }
                }
                if self.build_names_taken > 0 {
                    self.build_names_taken -= 1;
                    return CallOutcome::BuildNameTaken(format!("foreign id of {name}"));
                }
                self.build = Some((name.clone(), content.sql.clone(), false));
                return CallOutcome::BuildIsThere(format!("id of {name}"));
            }
            Act::LookAtBuild { .. } => {
                return CallOutcome::BuildFailed(Some(self.says("RustError: line 1: no")));
            }
            Act::DropBuild { .. } => self.build = None,
            Act::Look => {}
        }
        CallOutcome::Done(act.call())
    }

    /// Time passes in the engine.
    pub fn tick(&mut self) {
        self.go_on();
        self.has_unkept_input |= self.is_up();
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
            self.losses.push(given.clone());
        }
        let begins = |d: &Deployment| d.status == "Provisioning" && !d.by_hand;
        if self.emptied && self.deployment.as_ref().is_some_and(begins) {
            self.losses.push(given);
        }
        let base = base.filter(|_| !off);
        let gated = base.as_deref().is_some_and(|base| base != self.sql);
        // The engine has no eye for these.
        let runtime = runtime_of(self.program_config.as_ref());
        let same = self.kept_functions == self.udf_rust
            && self.kept_settings == self.settings()
            && runtime_of(self.kept_config.as_ref()) == runtime;
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
            "Initializing" if self.starts_hang => "Initializing",
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

fn runtime_of(config: Option<&Map<String, Value>>) -> String {
    let version = config.and_then(|config| config.get("runtime_version"));
    version
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}
