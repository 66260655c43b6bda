//! What the engine shows of its pipeline, in its own words.

use crate::crd::EngineView;
use crate::decide::Seen;
use crate::decide::record::Record;
use crate::engine::EngineInfo;

impl Record<'_> {
    /// What the engine shows, in its own words, and what it is known to consist of.
    pub(crate) fn view(&mut self, info: &EngineInfo, seen: &Seen) {
        let state = seen.state();
        let had_state =
            self.status.engine.as_ref().is_some_and(|known| {
                known.had_state && known.pipeline_id.as_ref() == Some(&state.id)
            });
        let has_state = !matches!(state.storage_status.as_str(), "" | "Cleared");
        // What the pipeline itself has said of one, the engine's list may not show yet.
        let known = self.status.engine.as_ref();
        let had_checkpoint =
            known.is_some_and(|known| known.had_checkpoint) && self.is_known_as(state);
        self.status.engine = Some(EngineView {
            had_state: had_state || has_state || !state.checkpoints.is_empty(),
            had_checkpoint: had_checkpoint || !state.checkpoints.is_empty(),
            pipeline_id: Some(state.id.clone()),
            deployment_id: state.deployment_id.clone(),
            deployment_status: Some(state.deployment_status.clone()),
            program_status: Some(state.program_status.clone()),
            program_version: Some(state.program_version),
            edition: Some(info.edition.clone()),
            version: Some(info.version.clone()),
        });
        if let Some(full) = seen.full()
            && !self.input.is_unread()
        {
            self.note_content(full);
        }
    }
}
