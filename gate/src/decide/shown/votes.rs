//! TODO

use crate::decide::next::Next;

impl Next<'_> {
    /// Tells people about votes that do nothing.
    pub(crate) fn explain_stale_votes(&mut self) {
        // It may be one of the change that the spec is about to bring.
        if self.input.is_unread() {
            return;
        }
        let ballot = self.record.count_votes();
        let waiting = self.record.waiting();
        let message = ballot
            .stale
            .iter()
            .map(|stale| stale.explain(waiting))
            .collect::<Vec<_>>()
            .join("; ");
        self.stale_approval(&message);
    }
}
