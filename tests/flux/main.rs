//! Pipelines by Flux: its own source-controller and kustomize-controller apply what is committed to a Git
//! repository, wait for it by the health checks of `examples/flux/`, and find it approved in each way.

mod controllers;
mod git;
// What the tests of the cluster have, of which this one needs a part.
#[allow(dead_code)]
#[path = "../cluster/operator.rs"]
mod operator;
#[path = "../cluster/port.rs"]
mod port;
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
#[path = "../cluster/trials.rs"]
mod trials;

fn main() {
    trials::run(stories::all());
}
