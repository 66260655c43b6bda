//! Pipelines by Flux: its own source-controller and kustomize-controller apply what is committed to a Git
//! repository, wait for it by the health checks of `examples/flux/`, and find it approved in each way.

mod controllers;
mod git;
// What the tests of the cluster have, of which this one needs a part.
#[allow(dead_code)]
#[path = "../cluster/operator.rs"]
mod operator;
mod scene;
#[allow(dead_code)]
#[path = "../cluster/stand_in.rs"]
mod stand_in;
mod stories;
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

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_A_TIME);
    libtest_mimic::run(&arguments, stories::all()).exit();
}
