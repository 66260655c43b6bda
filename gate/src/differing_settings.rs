//! In which runtime settings a change differs from what is settled, by their names. The operator says so when it publishes the
//! change, and the plugin before that, and to whoever decides.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::change::Content;
use crate::crd::{PipelineStatus, Target};
use crate::held_settings::{self, Digests, meaning};
use crate::snapshot::{self, Part};

/// The paths of the settings in which a target differs from what is settled, where both are known. `wanted` is what the spec
/// asks for beside what stays at the engine ([`crate::lineage::beside_what_is_held`]).
pub fn paths(
    status: &PipelineStatus,
    wanted: Option<&Content>,
    target: &Target,
) -> Option<BTreeSet<String>> {
    let before = settled(status)?;
    let after = asked_for(status, wanted, target)?;
    Some(held_settings::differences(&before, &after))
}

/// The digests of the settings that are settled.
pub fn settled(status: &PipelineStatus) -> Option<Digests> {
    let settled = status.settled.as_ref()?;
    if settled.settings.is_some() || settled.target.settings.is_empty() {
        return Some(settled.settings.clone().unwrap_or_default());
    }
    // An older release kept their text only.
    let kept = settled.program.as_ref();
    let text = kept.and_then(|kept| snapshot::text(kept, Part::Settings).ok());
    let kept: Option<Map<String, Value>> = text.and_then(|text| serde_json::from_str(&text).ok());
    let kept = kept.filter(|kept| held_settings::name(Some(kept)) == settled.target.settings);
    match kept {
        Some(kept) => held_settings::digests(Some(&kept)),
        None => held_of(status, &settled.target),
    }
}

/// The digests of the settings that a target asks for.
pub fn asked_for(
    status: &PipelineStatus,
    wanted: Option<&Content>,
    target: &Target,
) -> Option<Digests> {
    let wanted = wanted.filter(|wanted| wanted.target() == *target);
    match wanted {
        Some(wanted) if !wanted.keeps_all_settings() => wanted.settings(),
        _ if target.settings.is_empty() => Some(Digests::new()),
        _ => held_of(status, target),
    }
}

/// The digests of the settings that the engine holds, if it holds those of this target.
fn held_of(status: &PipelineStatus, target: &Target) -> Option<Digests> {
    let held = status.content.as_ref()?;
    let is_of_it = held.target.settings == target.settings;
    is_of_it.then(|| held.settings.as_ref().map(meaning))?
}
