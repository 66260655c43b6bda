//! Random histories on the whole system: edits, votes by every door, restarts of operator, engine and
//! process, faults, in any order. Whatever happens, nothing is applied that was not approved, and nothing
//! that was approved is lost.
//!
//! The same is asked of the pure decision, over many more histories, in `gate/src/decide/tests`.
//! Here API server, operator, REST endpoint and engine are real programs, with their own ideas of time.
//!
//! `SLUICE_HISTORIES` says how many, `SLUICE_HISTORY_SEED` which: a failure prints its seed.

mod happenings;
mod judge;
mod rest;

use std::time::Instant;

use futures::StreamExt;
use rand::SeedableRng;
use rand::rngs::StdRng;

use happenings::History;

/// How many histories there are where nobody says otherwise.
const HISTORIES: u64 = 32;

/// The first seed where nobody says otherwise. Always the same, so that what failed once fails again.
const FIRST_SEED: u64 = 1;

/// How many go on at a time. They mostly wait.
const AT_A_TIME: usize = 8;

fn number(variable: &str, otherwise: u64) -> u64 {
    let given = std::env::var(variable).ok();
    given.map_or(otherwise, |given| {
        let number = given.parse();
        number.unwrap_or_else(|_| panic!("{variable} must be a number, not {given:?}"))
    })
}

async fn live_through(seed: u64) -> judge::Verdict {
    let mut history = History::begin(seed, StdRng::seed_from_u64(seed)).await;
    history.happen().await;
    history.nothing_disturbs().await;
    let place = rest::place(&history).await;
    history.log.push(format!("it rests: {place}"));
    history.brings_the_last_program().await;
    let mut verdict = judge::judge(&history, seed).await;
    verdict.place = place;
    verdict
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_nothing_is_applied_unapproved_and_no_approval_is_lost() {
    let begin = Instant::now();
    let first = number("SLUICE_HISTORY_SEED", FIRST_SEED);
    let seeds = first..first + number("SLUICE_HISTORIES", HISTORIES);
    let verdicts: Vec<judge::Verdict> = futures::stream::iter(seeds)
        .map(|seed| async move {
            // Each on a task of its own, so that one that fails doesn't hide behind another.
            let lived = tokio::spawn(live_through(seed)).await;
            lived.unwrap_or_else(|failed| {
                eprintln!("the history of SLUICE_HISTORY_SEED={seed} failed");
                std::panic::resume_unwind(failed.into_panic())
            })
        })
        .buffer_unordered(AT_A_TIME)
        .collect()
        .await;
    let sum = |of: fn(&judge::Verdict) -> usize| verdicts.iter().map(of).sum::<usize>();
    let (happened, approved) = (sum(|v| v.happened), sum(|v| v.approved));
    let (bootstraps, functions) = (sum(|v| v.bootstraps), sum(|v| v.functions));
    println!(
        "{} histories, {happened} happenings: {approved} changes approved, {bootstraps} bootstraps, {functions} times other functions, none unapproved; {:.0} s",
        verdicts.len(),
        begin.elapsed().as_secs_f64()
    );
    let mut places = std::collections::BTreeMap::new();
    for verdict in &verdicts {
        *places.entry(verdict.place.as_str()).or_insert(0) += 1;
    }
    println!("where they came to rest by themselves: {places:?}");
    // A run in which nothing happens proves nothing.
    assert!(bootstraps > verdicts.len() && approved > verdicts.len());
}
