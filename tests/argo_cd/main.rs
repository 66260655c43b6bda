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

fn main() {
    let stories = [
        page::all(),
        scripts::all(),
        waves::all(),
        doors::all(),
        rights::all(),
    ];
    sluice_test_support::trials::run(stories.into_iter().flatten().collect());
}
