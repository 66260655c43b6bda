//! Pipelines by Flux: its own source-controller and kustomize-controller apply what is committed to a Git
//! repository, wait for it by the health checks of `examples/flux/`, and find it approved in each way.

mod controllers;
mod git;
mod scene;
mod stories;

fn main() {
    sluice_test_support::trials::run(stories::all());
}
