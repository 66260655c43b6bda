//! A content as it is sent to the engine, which replaces a configuration as a whole.

use serde_json::{Map, Value};

use crate::change::Content;
use crate::crd::EngineContent;
use crate::decide::{Input, Seen};
use crate::settings;

impl Input<'_> {
    /// The content as it is sent. The engine replaces a configuration as a whole, so what others have set of it, and the spec
    /// never named, is sent along: nobody would be asked about those settings. `None` if the engine has to be
    /// looked at for it.
    pub(crate) fn with_what_others_set(
        &self,
        content: &Content,
        held: &EngineContent,
        seen: &Seen,
    ) -> Option<Content> {
        if !seen.state().is_stopped() || leaves(content) == (false, false) {
            return Some(content.clone());
        }
        let there = &seen.full()?.content;
        Some(beside_what_others_set(content, held, there))
    }
}

/// Whether a content leaves anything of the program configuration, and of the runtime configuration, that it takes the place of.
pub(crate) fn leaves(content: &Content) -> (bool, bool) {
    let is_beside = |given: Option<&Map<String, Value>>, kept: bool| {
        // An empty one says that nothing is to be left.
        let is_empty = given.is_some_and(Map::is_empty);
        !(given.is_none() && kept || is_empty)
    };
    let kept = &content.kept;
    (
        is_beside(
            content.program_config.as_ref(),
            kept.program_config.is_some(),
        ),
        is_beside(
            content.runtime_config.as_ref(),
            kept.runtime_config.is_some(),
        ),
    )
}

/// A content as it is sent beside what the engine shows.
pub(crate) fn beside_what_others_set(
    content: &Content,
    held: &EngineContent,
    there: &Content,
) -> Content {
    let (of_program, of_runtime) = leaves(content);
    let before = held.given_settings.clone().unwrap_or_default();
    let is_more =
        |all: Map<String, Value>, given| (!all.is_empty() && Some(&all) != given).then_some(all);
    let mut content = content.clone();
    if of_runtime {
        let given = content.runtime_config.as_ref();
        let staying = content.kept.settings.iter();
        let staying = staying.flat_map(|beside| beside.staying.keys());
        let all = settings::beside(given, &before, staying, there.runtime_config.as_ref());
        content.sent.runtime_config = is_more(all, given);
    }
    if of_program {
        let given = content.program_config.as_ref();
        let all = settings::beside_in_the_program(given, &before, there.program_config.as_ref());
        content.sent.program_config = is_more(all, given);
    }
    content
}
