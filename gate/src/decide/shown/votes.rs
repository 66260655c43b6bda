//! Votes that do nothing.

use crate::decide::record::Record;

impl Record<'_> {
    /// Tells people about votes that do nothing.
    pub(crate) fn explain_stale_votes(&mut self) {
        // It may be one of the change that the spec is about to bring.
        if self.input.is_unread() {
            return;
        }
        let ballot = self.count_votes();
        let waiting = self.waiting();
        let message = ballot
            .stale
            .iter()
            .map(|stale| stale.explain(waiting))
            .collect::<Vec<_>>()
            .join("; ");
        self.stale_approval(&message);
    }
}
