//! A change that was rejected, or that failed when it was applied: it stays out until somebody asks about it anew.

use crate::crd::{Approval, Gate, Target, annotation};
use crate::decide::Input;
use crate::decide::record::Record;
use crate::{GateEvent, GaveWay, change, held_settings, summary};

impl Input<'_> {
    pub(crate) fn could_not_be_applied(&self, approval: &Approval) -> String {
        let id = &approval.change_id;
        format!(
            "the approved change {id} could not be applied: {}. It is not tried again by itself: correct the program, or ask anew with: {}",
            approval.failure.as_deref().unwrap_or_default(),
            self.command(annotation::RETRY, id),
        )
    }
}

impl Record<'_> {
    /// What brings the pipeline up again after a rejection, where that isn't the old program: the spec may have it already.
    pub(crate) fn way_back(&self) -> Option<String> {
        let settled = self.status.settled.as_ref()?;
        if !settled.is_known() {
            return Some("What the engine holds stays as it is, and starts only once that is approved: put the program that is to run into the spec".to_owned());
        }
        let rejected = &self.status.approval.as_ref()?.target;
        let fields = self.fields_that_others_set(rejected)?;
        Some(format!(
            "Somebody changed that at the engine, and the spec says nothing of it: write what is right into {fields}, or put it back there, and the pipeline comes up as it was"
        ))
    }

    /// The fields of the spec that would say what others have changed at the engine, if this target differs by nothing else
    /// from what is settled.
    pub(crate) fn fields_that_others_set(&self, target: &Target) -> Option<String> {
        let settled = &self.status.settled.as_ref()?.target;
        let held = self.status.content.as_ref().map(|held| &held.target);
        let wanted = self.wanted()?;
        let run = self.status.run.as_ref().map(|run| &run.target);
        // What has run, Sluice has brought there, or people have let it through. And what isn't there nobody has put there, but for
        // settings that stay.
        let is_of_others =
            held == Some(target) || settled.without_settings() == target.without_settings();
        if !is_of_others || run == Some(target) || wanted.target() != *target {
            return None;
        }
        let kept = &wanted.kept;
        let keeps_the_config = wanted.program_config.is_none() && kept.program_config.is_some();
        let mut fields = vec![];
        for part in change::differences(settled, target) {
            match part {
                "settings" => {
                    let paths = self.settings_that_change(target).unwrap_or_default();
                    if paths.iter().any(|path| wanted.names_the_setting(path)) {
                        return None;
                    }
                    let keys = held_settings::keys(&paths);
                    if keys.is_empty() {
                        fields.push("spec.runtimeConfig".to_owned());
                    }
                    fields.extend(keys.iter().map(|key| format!("spec.runtimeConfig.{key}")));
                }
                "runtimeVersion" if keeps_the_config || kept.runtime_version.is_some() => {
                    fields.push("spec.program.config.runtime_version".to_owned());
                }
                "config" if keeps_the_config => fields.push("spec.program.config".to_owned()),
                _ => return None,
            }
        }
        let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
        (!fields.is_empty()).then(|| summary::enumerate(&fields, 0))
    }

    /// Whether a change was rejected that another one has taken the place of since.
    pub(crate) fn was_rejected(&self, id: &str) -> bool {
        let mut turns = self.status.turns.iter();
        turns.any(|turn| turn.change_id == id && turn.rejected.is_some())
    }

    /// Opens the gate for a change that was refused here, if somebody asks about it anew. It comes before
    /// the engine is asked again, which takes any retry for its own.
    pub(crate) fn reopen_sluice_gate(&mut self, target: &Target) {
        let refused = self.status.approval.as_ref().is_some_and(|approval| {
            approval.gate == Gate::Sluice
                && approval.target == *target
                && approval.state.is_refused()
        });
        if refused {
            self.reopens();
        }
    }

    /// Whether the change that would come up was rejected, or failed when it was applied.
    pub(crate) fn holds_a_refused_change(&self) -> bool {
        let held = self.status.content.as_ref().map(|held| &held.target);
        self.status
            .approval
            .as_ref()
            .is_some_and(|approval| approval.state.is_refused() && held == Some(&approval.target))
    }

    /// Whether somebody asks about a refused change anew; then the gate is open again.
    pub(crate) fn reopens(&mut self) -> bool {
        let Some(id) = self.status.approval.as_ref().map(|a| a.change_id.clone()) else {
            return false;
        };
        if !self.retry_is_new() || self.input.pipeline.annotation(annotation::RETRY) != Some(&id) {
            return false;
        }
        self.take_retry();
        self.status.failures = None;
        // The votes that decided are still there, so the question must be a new one.
        self.had_its_turn(&id, None);
        self.take(GateEvent::GaveWay(GaveWay::Reopened));
        true
    }
}
