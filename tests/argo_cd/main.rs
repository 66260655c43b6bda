//! A real Argo CD (application controller, repository server, API server) syncs Pipelines from Git, with the
//! files that `argocd/` ships, and under the rights that Argo CD's own manifests give it.
//!
//! A program of its own: it has a control plane for itself, into which Argo CD is installed.

mod argo;
mod doors;
mod git;
mod page;
mod rights;
mod scene;
mod scripts;
mod waves;
// What the tests of the cluster have, of which this one needs a part.
#[allow(dead_code)]
#[path = "../cluster/operator.rs"]
mod operator;
#[allow(dead_code)]
mod pages;
#[path = "../cluster/port.rs"]
mod port;
#[allow(dead_code)]
#[path = "../cluster/stand_in.rs"]
mod stand_in;
#[allow(dead_code)]
#[path = "../cluster/story.rs"]
mod story;
#[allow(dead_code)]
#[path = "../cluster/support.rs"]
mod support;
#[path = "../cluster/tied.rs"]
mod tied;
#[path = "../cluster/trials.rs"]
mod trials;

fn main() {
    let stories = [
        page::all(),
        scripts::all(),
        waves::all(),
        doors::all(),
        rights::all(),
    ];
    trials::run(stories.into_iter().flatten().collect());
}
