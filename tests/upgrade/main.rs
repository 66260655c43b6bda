//! From the release before this one to this one, and back: installed from both charts by Helm on a real API server,
//! with both releases' operators, under the account and with the arguments that the chart in force gives them.
//!
//! The old release is built out of this repository's history; a checkout that hasn't it says so, and shows these
//! tests as ignored.

mod page;
mod scene;
mod stories;
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

use control_plane::releases::PREVIOUS;

fn main() {
    let missing = PREVIOUS.missing();
    if let Some(missing) = &missing {
        println!("Upgrades aren't tried: {missing}.");
    }
    let all = stories::all().into_iter().chain(page::all());
    let all = all.map(|trial| trial.with_ignored_flag(missing.is_some()));
    trials::run(all.collect());
}
