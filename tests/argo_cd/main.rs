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

use libtest_mimic::{Arguments, Failed, Trial};

/// How many stories go on at a time, unless `--test-threads` says otherwise. They mostly wait.
const AT_A_TIME: usize = 7;

/// A test of a story, by its name.
fn trial(name: &str, story: impl Future<Output = ()> + Send + 'static) -> Trial {
    Trial::test(name, || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Failed::from)?;
        runtime.block_on(story);
        Ok(())
    })
}

/// The tests of these stories.
macro_rules! trials {
    ($($story:ident),* $(,)?) => {
        vec![$(super::trial(stringify!($story), $story())),*]
    };
}
use trials;

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_A_TIME);
    let trials = [
        page::all(),
        scripts::all(),
        waves::all(),
        doors::all(),
        rights::all(),
    ];
    libtest_mimic::run(&arguments, trials.into_iter().flatten().collect()).exit();
}
