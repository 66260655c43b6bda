//! The operator is killed, as by `kill -9`, before and after each of its writes, in every story: what is
//! left must be the same as if nothing had happened.
//!
//! The writes are found from a run that isn't disturbed, so none can be forgotten: everything that the
//! operator sends to the API server or to the engine, but reads, goes through a `proxy` that can tell
//! them apart and kill it before a write is passed on, or before its answer is.
//!
//! A program of its own, since it keeps the machine busy for minutes. `SLUICE_CRASHES=sample` tries one point of each
//! kind, `rest` the others.

mod proxy;
mod sample;
mod stories;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use serde_json::{Value, json};

use proxy::{Crash, Position, Proxy, Write};
use sluice_test_support::story::{ORDERS, Story, eventually, status};
use stories::{Expected, Plot, STORIES};

/// How many stories go on at a time. One takes some six seconds, and a processor for less than one of them: so many keep two
/// processors busy. With more of them each takes longer, and costs more, since an operator looks again and again while it lasts.
const AT_A_TIME: usize = 16;

/// What a story came to.
struct End {
    /// The writes since the story began, in their order.
    writes: Vec<Write>,
    /// What is left, without what differs from run to run.
    state: Value,
    /// What was applied: the programs that were bootstrapped.
    bootstraps: usize,
    /// How often the engine was told to go on.
    approve_calls: usize,
}

/// Tells a story, with a crash where one is asked for. What is left in the end is compared with what was
/// left without a crash, if that is known.
async fn tell(plot: &Plot, crash: Option<Crash>, undisturbed: Option<&Value>) -> End {
    let mut story = Story::without_operator(&[]).await;
    story.namespace.stays();
    let proxy = Proxy::start(&story).await;
    let engine = json!({"url": proxy.engine_url});
    story.engine_object(engine).await;
    proxy.run_operator();
    (plot.prologue)(&story, &proxy).await;
    story.rests_for(Duration::ZERO).await;
    proxy.arm(crash);
    (plot.events)(&story, &proxy).await;
    match undisturbed {
        // With what is left now, everything else is compared.
        None => story.rests().await,
        Some(_) => story.rests_for(Duration::ZERO).await,
    }
    let what = format!("{}: the same is left as without a crash", plot.name);
    let state = eventually(&what, || async {
        let state = left(&story, &proxy).await;
        let known = undisturbed.is_none_or(|undisturbed| *undisturbed == state);
        if known { Ok(state) } else { Err(state) }
    })
    .await;
    End {
        writes: proxy.writes(),
        state,
        bootstraps: story.engine.bootstraps().await.len(),
        approve_calls: story.engine.calls_to("/orders/approve").len(),
    }
}

/// What is left: the status without ids and times, the audit log, and what the engine holds.
async fn left(story: &Story, proxy: &Proxy) -> Value {
    let pipelines = story.api::<sluice::crd::Pipeline>();
    let Some(pipeline) = pipelines.get_opt(ORDERS).await.expect("an answer") else {
        return json!({"pipeline": null, "engine": story.engine.names().await});
    };
    let status = status(&pipeline);
    let conditions: BTreeMap<String, String> = status
        .conditions
        .iter()
        .map(|c| (c.type_.clone(), format!("{} {}", c.status, c.reason)))
        .collect();
    let decision = |decision: &Option<sluice::crd::Decision>| {
        let decision = decision.as_ref();
        decision.map(|decision| format!("{:?} via {:?}", decision.outcome, decision.via))
    };
    let approval = status
        .approval
        .as_ref()
        .map(|approval| json!({"state": approval.state, "decision": decision(&approval.decision)}));
    let history: Vec<Value> = status
        .history
        .iter()
        .map(|record| json!({"state": record.state, "decision": decision(&record.decision)}))
        .collect();
    let engine = story.engine.pipeline(ORDERS).await;
    json!({
        "phase": status.phase,
        "conditions": conditions,
        "approval": approval,
        "history": history,
        "settled": status.settled.map(|settled| settled.target.sql),
        "build": status.build.and_then(|build| build.outcome),
        "preview": status.preview.map(|preview| preview.outcome),
        "interference": status.interference.map(|known| known.message),
        "audit": proxy.audited(),
        "auditPending": status.audit_pending.len(),
        "finalizers": pipeline.metadata.finalizers,
        "engine": {
            "all": story.engine.names().await,
            "program": engine["program_code"],
            "functions": engine["udf_rust"],
            "status": engine["deployment_status"],
            "tags": engine["tags"].as_array().map(Vec::len),
        },
    })
}

fn check(plot: &Plot, end: &End, crash: &str, repeats: usize) {
    let Expected { applied, told } = plot.expected;
    let name = plot.name;
    assert_eq!(end.bootstraps, applied, "{name}, {crash}: applied");
    let calls = end.approve_calls;
    assert!(
        (told..=told + repeats).contains(&calls),
        "{name}, {crash}: {calls} approve calls"
    );
}

/// Everything that can go wrong at one write of one story.
async fn crash_at(
    plot: &'static Plot,
    crash: Crash,
    write: Write,
    undisturbed: Arc<Value>,
) -> (Write, Position) {
    let end = tell(plot, Some(crash), Some(&undisturbed)).await;
    let words = format!("killed {:?} {write}", crash.position);
    // A crash at the call itself leaves open whether it arrived, so it may be made once more.
    let repeats = usize::from(write.is_approve());
    check(plot, &end, &words, repeats);
    (write, crash.position)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_before_or_after_any_write_changes_nothing_of_what_comes_of_it() {
    let begin = Instant::now();
    // By hand, one part of a name is enough to look into one story.
    let only = std::env::var("SLUICE_CRASH_STORY").unwrap_or_default();
    let stories = || STORIES.iter().filter(|plot| plot.name.contains(&only));
    assert!(stories().count() > 0, "no story is called like {only:?}");
    let undisturbed = futures::stream::iter(stories())
        .map(|plot| async move { (plot, tell(plot, None, None).await) })
        .buffered(AT_A_TIME)
        .collect::<Vec<_>>()
        .await;
    let mut points = vec![];
    for (plot, end) in undisturbed {
        check(plot, &end, "undisturbed", 0);
        println!("{}: {} writes", plot.name, end.writes.len());
        let state = Arc::new(end.state);
        for (number, write) in end.writes.into_iter().enumerate() {
            for position in [Position::Before, Position::After] {
                let crash = Crash { number, position };
                points.push((plot, crash, write.clone(), Arc::clone(&state)));
            }
        }
    }
    let kinds = points.iter().map(|(plot, crash, write, _)| {
        let kind = (write.kind(), crash.position);
        (plot.name, kind)
    });
    let in_sample = sample::sample(&kinds.collect::<Vec<_>>());
    let share = sample::Share::of_environment();
    let mut in_sample = in_sample.into_iter();
    points.retain(|_| share.has(in_sample.next().unwrap_or_default()));
    let total = points.len();
    let results: Vec<Option<(Write, Position)>> = futures::stream::iter(points)
        .map(|(plot, crash, write, undisturbed)| {
            let words = format!("{}, killed {:?} {write}", plot.name, crash.position);
            // Each on a task of its own, so that one that fails doesn't hide behind another.
            let telling = tokio::spawn(crash_at(plot, crash, write, undisturbed));
            async move {
                let ended = telling.await;
                if ended.is_err() {
                    println!("FAILED: {words}");
                }
                ended.ok()
            }
        })
        .buffer_unordered(AT_A_TIME)
        .collect()
        .await;
    let failed = results.iter().filter(|result| result.is_none()).count();
    assert_eq!(failed, 0, "crash points of {total} that ended otherwise");
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for (write, position) in results.into_iter().flatten() {
        *kinds
            .entry(format!("{position:?} {}", write.kind()))
            .or_default() += 1;
    }
    println!(
        "{total} crash points in {} stories, all with the same end as without a crash:",
        stories().count()
    );
    for (kind, number) in kinds {
        println!("{number:>4}  {kind}");
    }
    println!("{:.0} s", begin.elapsed().as_secs_f64());
}
