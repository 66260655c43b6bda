//! What a start would resume from, and what of a change the engine's gate doesn't see. Sluice's own gate asks about
//! that.
//!
//! The engine compares SQL and connectors. A user-defined function with another body, another
//! version of the runtime, or another setting, it takes up as if nothing had changed (rule A9; source: `ProgramDiff` of
//! Feldera at 0.337). So that is asked about here, while the old program goes on, before anything is
//! stopped for it. Where the engine says beforehand that it will ask, it is left to that: one change,
//! one question. Not so with settings: they work from the start on, so before the engine would ask.
//!
//! What they are compared with is what the checkpoint was made from. Where nobody recorded that, it is unknown, and
//! asked about as such (rule A8).

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::crd::{Decision, Door, Settled, Target, Verdict};
use crate::decide::record::Record;
use crate::engine::PipelineState;
use crate::{differing_settings, held_settings, summary};

/// Whether an update may be brought to the engine.
#[derive(PartialEq)]
pub(crate) enum Passage {
    /// Yes.
    Open,
    /// Not now. What goes on meanwhile is looked after as before.
    Shut,
    /// Not now, and nothing goes on: what the engine holds, stopped, is not the program that was kept.
    Blocked,
}

/// What a start would resume from.
pub(crate) enum Base {
    /// Nothing: there is no checkpoint that anything could be mixed with.
    Nothing,
    /// A checkpoint of this.
    Known(Target),
    /// A checkpoint, and nobody knows what it was made from.
    Unknown,
    /// The checkpoint that was there when storage was turned off. What runs since then leaves nothing behind.
    Before,
    /// Nothing, though there was something, and nobody has asked for that. With it this has run, if that is known.
    Gone(Option<Target>),
}

impl Base {
    /// Whether nothing is known to differ between it and a target.
    pub(crate) fn is(&self, target: &Target) -> bool {
        matches!(self, Self::Known(base) if base == target)
    }

    /// Whether starting a target from it gives everything away that was computed: without storage no checkpoint is
    /// read.
    pub(crate) fn is_lost_by(&self, target: &Target) -> bool {
        match self {
            Self::Nothing => false,
            Self::Known(base) => target.without_storage && !base.without_storage,
            Self::Unknown => target.without_storage,
            Self::Before | Self::Gone(_) => true,
        }
    }

    /// Whether a target is what had run with the state that is gone.
    pub(crate) fn had_run_with(&self, target: &Target) -> bool {
        matches!(self, Self::Gone(Some(ran)) if ran == target)
    }

    /// Whether the engine would compare a target's program with the same one.
    pub(crate) fn has_the_program_of(&self, target: &Target) -> bool {
        matches!(self, Self::Known(base) if base.sql == target.sql
            && base.config == target.config
            && base.runtime_version == target.runtime_version)
    }

    /// Whether a target may have other settings.
    pub(crate) fn has_other_settings_than(&self, target: &Target) -> bool {
        match self {
            Self::Nothing => false,
            Self::Known(base) => {
                base.settings != target.settings || base.without_storage != target.without_storage
            }
            Self::Unknown | Self::Before | Self::Gone(_) => true,
        }
    }
}

impl Record<'_> {
    /// Whether what the engine holds, stopped, isn't what was kept: what was taken back or refused must not be started in
    /// the place of what is asked about.
    pub(crate) fn is_left_stopped(&self, state: &PipelineState) -> bool {
        let held = self.status.content.as_ref().map(|held| &held.target);
        let is_another = match self.base(state).0 {
            Base::Nothing => false,
            Base::Known(settled) => held != Some(&settled),
            Base::Unknown | Base::Before | Base::Gone(_) => true,
        };
        state.is_stopped() && is_another
    }

    /// What is settled, if there is a checkpoint of it that new functions could be mixed with.
    pub(crate) fn kept_settled(&self) -> Option<&Settled> {
        let settled = self.status.settled.as_ref();
        settled.filter(|settled| settled.checkpoint.is_some())
    }

    /// What the next start resumes from; and whether a change from that can be named yet.
    pub(crate) fn base(&self, state: &PipelineState) -> (Base, bool) {
        if let Some(gone) = self.gone(state) {
            return (gone, true);
        }
        if state.storage_status == "Cleared" {
            return (Base::Nothing, true);
        }
        let held = self.status.content.as_ref().map(|held| &held.target);
        if let Some(settled) = self.kept_settled().map(|settled| &settled.target) {
            // What is up becomes what is settled, once it is stopped for the change.
            return match held.filter(|held| *held != settled && state.is_up()) {
                Some(held) => (Base::Known(held.clone()), held.without_storage),
                None => (Base::Known(settled.clone()), true),
            };
        }
        match held.filter(|_| state.is_up()) {
            // It is kept by the stop for the change, at the latest.
            Some(held) if state.newest_checkpoint().is_none() && !held.without_storage => {
                (Base::Known(held.clone()), false)
            }
            _ if state.newest_checkpoint().is_none() => (Base::Nothing, true),
            // Another program's checkpoint may be there, and this one writes none.
            Some(held) if held.without_storage => (Base::Before, true),
            Some(held) => (Base::Known(held.clone()), false),
            // It is from before this Pipeline, or from a run that nobody saw.
            None => (Base::Unknown, true),
        }
    }

    /// What a change to a target alters or loses that the engine doesn't ask about, on one line; empty if nothing of that
    /// kind is known to differ.
    pub(crate) fn unseen(&self, base: &Base, target: &Target) -> String {
        let is_lost = base.is_lost_by(target);
        let beside = match base {
            Base::Gone(ran) => return summary::begins_from_nothing(ran.as_ref(), target),
            Base::Nothing => String::new(),
            Base::Known(base) => {
                let mut base = base.clone();
                let paths = self.settings_that_change(target);
                let mut settings = paths.as_ref().map(held_settings::keys);
                // It is said already.
                if is_lost {
                    base.without_storage = target.without_storage;
                    if let Some(settings) = &mut settings {
                        settings.retain(|name| name != "storage");
                        if settings.is_empty() {
                            base.settings.clone_from(&target.settings);
                        }
                    }
                }
                summary::unseen_by_the_engine(&base, target, &settings.unwrap_or_default())
            }
            Base::Unknown | Base::Before => summary::UNKNOWN_ORIGIN.to_owned(),
        };
        let storage = match base {
            Base::Before if !target.without_storage => summary::STORAGE_ON,
            _ if is_lost => summary::STORAGE_OFF,
            _ => "",
        };
        let both = [storage, &beside].into_iter().filter(|it| !it.is_empty());
        both.collect::<Vec<_>>().join("; ")
    }

    /// The paths of the settings in which a target differs from what is settled, where both are known.
    pub(crate) fn settings_that_change(&self, target: &Target) -> Option<BTreeSet<String>> {
        differing_settings::paths(&self.status, self.wanted().as_ref(), target)
    }
}

pub(crate) fn said_beforehand((field, why): (&str, &str), at: Time) -> Decision {
    Decision {
        outcome: Verdict::Approved,
        by: field.to_owned(),
        verified: false,
        via: Door::Policy,
        reason: Some(why.to_owned()),
        at,
    }
}
