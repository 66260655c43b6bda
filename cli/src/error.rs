//! What can go wrong, in sentences that say what to type next.

use std::process::ExitCode;

use sluice_gate::printable::printable;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error(
        "cannot find out which cluster to speak with: {0}\nName a kubeconfig with --kubeconfig or KUBECONFIG, and a context of it with --context."
    )]
    NoConfiguration(String),

    #[error("cannot reach the API server: {0}\nCheck the context: kubectl config current-context")]
    Unreachable(String),

    #[error("the API server did not {doing} within {seconds} s; try again")]
    Late { doing: String, seconds: u64 },

    #[error(
        "the API server doesn't know who you are: {0}\nLog in again, or choose another context with --context."
    )]
    Unauthenticated(String),

    #[error("{}", printable(.0))]
    Forbidden(String),

    #[error("Sluice isn't installed in this cluster: the API server has no {0}")]
    NotInstalled(&'static str),

    #[error("the API server refused to {doing}: {}", printable(.reason))]
    Refused { doing: String, reason: String },

    #[error(
        "there is no Pipeline {pipeline:?} in namespace {namespace:?}\nSee what waits elsewhere: kubectl sluice list -A"
    )]
    NoSuchPipeline { pipeline: String, namespace: String },

    #[error(
        "Pipeline {pipeline:?} can't be read, and Sluice leaves it alone, because it doesn't fit its type: {}",
        printable(.why)
    )]
    Unreadable { pipeline: String, why: String },

    #[error("no change of Pipeline {pipeline:?} waits for a decision; {state}")]
    NothingWaits { pipeline: String, state: String },

    #[error(
        "another change waits than the one that you named, so nothing was done\n  named:   {named}\n  waiting: {waiting}\nRead it: kubectl sluice diff {pipeline} -n {namespace}"
    )]
    AnotherWaits {
        pipeline: String,
        namespace: String,
        named: String,
        waiting: String,
    },

    #[error(
        "there is no terminal to ask on, so the change has to be named: add --change ID\nThe id is what `kubectl sluice diff {pipeline} -n {namespace}` prints."
    )]
    NotNamed { pipeline: String, namespace: String },

    #[error(
        "there is no terminal to ask on, so nothing was done: add --yes to approve all of these"
    )]
    NobodyToAsk,

    #[error(
        "no Pipeline {0} waits to be made anew: kubectl get engines and kubectl get fpl say how things stand"
    )]
    NothingLost(String),

    #[error("{failed} of {all} approvals could not be stored; the others stand")]
    NotAll { failed: usize, all: usize },

    #[error("nothing was done: the question was not answered with y")]
    NotConfirmed,

    #[error(
        "the names that your vote could have are taken by votes that aren't yours or don't count, so it isn't stored; see what stands there: kubectl get fpa, kubectl describe fpl {0}\nBy an annotation you can vote all the same: sluice.dev/approve or sluice.dev/reject on the Pipeline, with the change's id"
    )]
    NamesTaken(String),

    #[error(
        "an approval that is given now would not count, so none was stored: {}\nA rejection counts all the same.",
        printable(.0)
    )]
    WouldNotCount(String),

    #[error("{}", printable(.0))]
    NotApplied(String),

    #[error(
        "change {change} was not applied within {seconds} s; the approval stands, and is acted on all the same\nSee where it is: kubectl get fpl {pipeline} -n {namespace}"
    )]
    NotInTime {
        change: String,
        pipeline: String,
        namespace: String,
        seconds: u64,
    },

    #[error(
        "nothing is known of a change {change} of Pipeline {pipeline:?}: its status holds the last 20 decisions\nSee them: kubectl sluice history {pipeline}"
    )]
    NoSuchChange { pipeline: String, change: String },

    #[error("cannot read {file}: {reason}")]
    File { file: String, reason: String },

    #[error("{file}: {}", printable(.reason))]
    Invalid { file: String, reason: String },

    #[error(
        "there is no Pipeline in {0}\nOnly objects of kind Pipeline are planned, with the ConfigMaps that they refer to."
    )]
    NothingToPlan(String),

    #[error("cannot read or write on the terminal: {0}")]
    Terminal(String),
}

impl Error {
    /// 2 for wrong use, 1 for everything else.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::NotNamed { .. } | Self::NobodyToAsk => ExitCode::from(2),
            _ => ExitCode::FAILURE,
        }
    }
}
