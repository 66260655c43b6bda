//! A Pipeline that has had more changes than its history holds, of which everybody said as much as he could.

use proptest::prelude::*;

use super::super::model::{Fault, World};
use crate::crd::{ApprovalState, PipelineApproval, VoteDecision, annotation};

/// What becomes of one change.
#[derive(Clone, Copy, Debug)]
enum Change {
    Approved,
    Rejected,
    RejectedByAnnotation,
    /// It fails when it is applied.
    Breaks,
    NotCompiled,
    RefusedByTheEngine,
    TakenBack,
    /// The pipeline fails while it waits, and another diff is shown then.
    Fails,
    LosesItsPipeline,
}

fn change() -> impl Strategy<Value = Change> {
    use Change::*;
    prop_oneof![
        4 => Just(Approved),
        2 => Just(Rejected),
        1 => Just(RejectedByAnnotation),
        1 => Just(Breaks),
        1 => Just(NotCompiled),
        1 => Just(RefusedByTheEngine),
        1 => Just(TakenBack),
        1 => Just(Fails),
        1 => Just(LosesItsPipeline),
    ]
}

fn long(what: &str) -> String {
    format!("{what}: {}", "\"🙂\"\n".repeat(20_000))
}

impl World {
    fn vote(&mut self, number: usize, decision: VoteDecision) {
        let Some(approval) = self.status().approval else {
            return;
        };
        for voter in 0..8 {
            let (id, pipeline) = (&approval.change_id, &self.pipeline);
            let who = format!("{voter}{}", "ü".repeat(900));
            let reason = Some("🙂".repeat(2_000));
            let mut vote = PipelineApproval::for_vote(pipeline, id, &who, decision, reason, None);
            vote.metadata.name = Some(format!("vote-{number}-{voter}"));
            vote.metadata.uid = vote.metadata.name.clone();
            self.objects.push(vote);
        }
    }

    fn live_through(&mut self, number: usize, change: Change) {
        let sql = match change {
            Change::NotCompiled if number.is_multiple_of(2) => format!("broken {number}"),
            Change::NotCompiled => format!("bad rust {number}"),
            _ => format!("P{number}"),
        };
        let before = self.pipeline.spec.clone();
        if let Change::RefusedByTheEngine = change {
            self.engine.refuses_updates = Some("Broken");
        }
        self.edit(&sql);
        self.settle_briefly();
        match change {
            Change::Approved => self.vote(number, VoteDecision::Approve),
            Change::Rejected => self.vote(number, VoteDecision::Reject),
            Change::RejectedByAnnotation => {
                let id = self.status().approval.map(|it| it.change_id);
                self.annotate(annotation::REASON, &long("no"));
                self.annotate(annotation::REJECT, &id.unwrap_or_default());
                self.annotate(annotation::RETRY, &long("again"));
            }
            Change::Breaks => {
                self.engine.breaks = Some(sql);
                self.vote(number, VoteDecision::Approve);
            }
            Change::Fails => {
                self.engine.fault = Some(Fault::Refused);
                self.engine.fail("Panic");
                self.engine.other_plans ^= true;
            }
            Change::LosesItsPipeline => self.engine.lose(),
            Change::TakenBack => self.spec(|spec| *spec = before),
            Change::NotCompiled | Change::RefusedByTheEngine => {}
        }
        self.settle_briefly();
        self.settle_briefly();
        if let Change::LosesItsPipeline = change {
            self.vote(number, VoteDecision::Approve);
            self.settle_briefly();
        }
        self.engine.refuses_updates = None;
        self.pass(1_000);
    }
}

proptest! {
    // Each step takes as much as there can be through JSON. Whether it fits is looked at wherever one is stored.
    #![proptest_config(ProptestConfig { cases: 1, max_shrink_iters: 20, ..ProptestConfig::default() })]

    #[test]
    fn however_many_changes_and_however_much_is_said_of_them_the_status_fits_and_it_goes_on(
        changes in prop::collection::vec(change(), 21..24),
    ) {
        let mut world = World::running("A");
        world.engine.is_wordy = true;
        for (number, change) in changes.iter().enumerate() {
            world.live_through(number, *change);
        }
        prop_assert!(world.status().history.len() <= 20);
        // There is still room for one that is decided like any other.
        world.end_of_faults();
        world.pass(4_000);
        world.settle();
        world.edit("the last");
        world.settle();
        if world.approval_state() == Some(ApprovalState::Awaiting) {
            world.approve_by_annotation();
            world.settle();
        }
        world.settle();
        prop_assert_eq!(world.phase(), "Running", "{:?}", world.condition("Ready"));
        prop_assert_eq!(world.engine.sql.as_str(), "the last");
    }
}
