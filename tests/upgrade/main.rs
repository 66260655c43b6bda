//! From the release before this one to this one, and back: installed from both charts by Helm on a real API server,
//! with both releases' operators, under the account and with the arguments that the chart in force gives them.
//!
//! The old release is built out of this repository's history; a checkout that hasn't it says so, and shows these
//! tests as ignored.

mod page;
mod scene;
mod stories;

use control_plane::releases::PREVIOUS;

fn main() {
    let missing = PREVIOUS.missing();
    if let Some(missing) = &missing {
        println!("Upgrades aren't tried: {missing}.");
    }
    let all = stories::all().into_iter().chain(page::all());
    let all = all.map(|trial| trial.with_ignored_flag(missing.is_some()));
    sluice_test_support::trials::run(all.collect());
}
