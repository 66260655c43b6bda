//! Rule A20: no namespace, engine or Pipeline holds up another's, by slowness, number or size.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::join_all;
use futures::{StreamExt, stream};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde_json::json;
use sluice::crd::{Engine, Pipeline};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use sluice_test_support::cluster::{create, pipeline};
use sluice_test_support::story::{
    PROGRAM, Story, changed, eventually, id, is_current, shared_figures,
};

/// How many Pipelines are on the slow engine.
const MANY: usize = 100;

/// How many of its calls are heard by the time that others are served. All have a place at once that can: see
/// `LIMITS` in the controller. Each is given up after 15 s, and where others had to wait for that, several times,
/// many more would be heard.
const FEW: usize = 60;

#[tokio::test]
async fn a20_an_engine_that_hangs_keeps_no_edit_and_no_approval_elsewhere_from_being_looked_at() {
    let (slow, story) = (Story::begin().await, Story::begin().await);
    let waiting = story.waiting().await;
    // What its manager lists is there at once; about one pipeline it answers nothing.
    slow.engine.fault("hang", "100000@slow").await;
    let names: Vec<String> = (0..MANY).map(|number| format!("p{number}-slow")).collect();
    join_all(names.iter().map(|name| slow.create(name, json!({})))).await;
    let heard = || {
        let calls = slow.engine.calls();
        calls.iter().filter(|call| !call.is_tick()).count()
    };
    eventually("the engine is being waited for", || async {
        let heard = heard();
        (heard >= 10).then_some(()).ok_or(heard)
    })
    .await;

    // An approval, and then an edit, its rejection, and one more edit.
    story.approve(&id(&waiting)).await;
    story.until_sealed().await;
    story.change_to(PROGRAM).await;
    let again = story.until_waiting().await;
    story.vote("no", &id(&again), "Reject").await;
    story.until_rejected().await;
    story.change_to(&changed()).await;
    story.until("the last edit is looked at", is_current).await;
    let heard_by_then = heard();
    assert!(heard_by_then < FEW, "{heard_by_then} calls were waited for");

    // And whose turn doesn't come for long is seen.
    let engine = format!("{}/engine", &*slow.namespace);
    eventually("the age of what waits is told", || async {
        let figures = shared_figures().await;
        let line = format!("sluice_oldest_unobserved_seconds{{engine=\"{engine}\"}} ");
        let age = figures.lines().find_map(|l| l.strip_prefix(&line));
        let age = age.and_then(|age| age.parse::<u64>().ok());
        (age > Some(0)).then_some(()).ok_or(figures)
    })
    .await;
    slow.engine.no_faults().await;
}

/// A program of more than what is kept of a Pipeline in memory.
fn large(program: &str) -> String {
    let remark = format!("-- {}\n", "x".repeat(97));
    format!("{program}{}", remark.repeat(2_000))
}

/// How many of some 700 KiB there are beside it: more than the operator may take for them.
const LARGE: usize = 100;

/// What those may cost at most, in MiB. A namespace's Pipelines that are looked at at the same time may take 32, and a
/// page of their list some 30; kept, or listed at once, they would take 70 and more.
const MOST: u64 = 60;

/// Makes a Pipeline of some 700 KiB: in its program, and in an annotation that is nobody's here.
async fn make_large(story: &Story, name: &str) {
    let mut object = pipeline(
        name,
        json!({
            // It is looked at, and not much is done.
            "engineRef": {"name": "nowhere"},
            "program": {"sql": format!("{PROGRAM}-- {}", "x".repeat(240 << 10)), "udfRust": "/".repeat(240 << 10)},
        }),
    );
    object["metadata"]["annotations"] = json!({"example.com/notes": "x".repeat(240 << 10)});
    create(&story.api::<Pipeline>(), object)
        .await
        .expect("the Pipeline");
}

#[tokio::test]
async fn a20_a_pipeline_that_is_kept_in_part_because_it_is_large_lives_as_any_other() {
    let mut story = Story::with_own_operator(&[]).await;
    let spec = json!({"program": {"sql": large(PROGRAM)}});
    story.running_with(spec).await;

    let before = story.peak_memory();
    let names: Vec<String> = (0..LARGE).map(|number| format!("large-{number}")).collect();
    stream::iter(&names)
        .for_each_concurrent(8, |name| make_large(&story, name))
        .await;
    for name in &names {
        story.until_of(name, "it is looked at", is_current).await;
    }
    let more = story.peak_memory() - before;
    assert!(more < MOST, "{more} MiB more than {before} MiB");
    // And the next start doesn't take them in at once.
    story.kill_operator();
    story.start_operator().await;
    eventually("all are looked at", || async {
        let url = format!("{}/metrics", story.admin_url().await);
        let answer = reqwest::get(url).await.expect("an answer");
        let figures = answer.text().await.expect("a text");
        let looks = figures.lines().filter_map(|line| {
            let value = line.strip_prefix("sluice_reconciles_total")?;
            value.rsplit(' ').next()?.parse::<usize>().ok()
        });
        let looks: usize = looks.sum();
        (looks > LARGE).then_some(()).ok_or(looks)
    })
    .await;
    let peak = story.peak_memory();
    assert!(peak < before + MOST, "{peak} MiB, and {before} MiB before");

    story.change_to(&large(&changed())).await;
    let waiting = story.until_waiting().await;
    story.approve(&id(&waiting)).await;
    story.until_sealed().await;
    let held = story.engine.pipeline("orders").await;
    assert_eq!(held["program_code"], json!(large(&changed())));
    story
        .patch(json!({"spec": {"desiredState": "paused"}}))
        .await;
    story.until_settled_as("Paused").await;
    let spec = json!({"spec": {"deletionPolicy": "Delete"}});
    story.patch(spec).await;
    story
        .until("it is held", |p| {
            is_current(p) && p.metadata.finalizers.is_some()
        })
        .await;
    story.delete("orders").await;
    story.until_gone("orders").await;
    eventually("it is gone from the engine", || async {
        let names = story.engine.names().await;
        names.is_empty().then_some(()).ok_or(names)
    })
    .await;
}

/// What an engine of a story answers to a request for the list of its pipelines.
#[derive(Clone, Copy)]
enum Answer {
    /// One that begins with a name that never ends.
    Endless,
    /// One of `PIPELINES` pipelines with a state of `STATE` bytes each.
    Large,
}

const PIPELINES: usize = 20;
const STATE: usize = 700 << 10;

/// An engine that says who it is, and answers so. Returns its URL.
async fn engine_that_answers(answer: Answer) -> String {
    async fn speak(mut stream: TcpStream, answer: Answer) -> std::io::Result<()> {
        let mut head = vec![0; 4_096];
        let read = stream.read(&mut head).await?;
        let begin =
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n";
        stream.write_all(begin.as_bytes()).await?;
        if head[..read].starts_with(b"GET /v0/config ") {
            let config = r#"{"edition": "Enterprise", "version": "0.337.0"}"#;
            return stream.write_all(config.as_bytes()).await;
        }
        match answer {
            Answer::Endless => {
                stream.write_all(br#"[{"name": ""#).await?;
                loop {
                    stream.write_all(&[b'x'; 64 << 10]).await?;
                }
            }
            Answer::Large => {
                let large = "x".repeat(STATE);
                for number in 0..PIPELINES {
                    let pipeline = json!({
                        "id": number.to_string(), "name": format!("p{number}"), "version": 1,
                        "deployment_status": "Stopped", "tags": [large],
                    });
                    let sign = if number == 0 { '[' } else { ',' };
                    let text = format!("{sign}{pipeline}");
                    stream.write_all(text.as_bytes()).await?;
                }
                stream.write_all(b"]").await
            }
        }
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(speak(stream, answer));
        }
    });
    format!("http://{address}")
}

/// Makes Engines that answer so, and waits until what is said of each is this.
async fn engines_that_answer(
    story: &Story,
    answer: Answer,
    names: &[String],
    is_told: impl Fn(&Condition) -> bool,
) {
    let engines = story.api::<Engine>();
    for name in names {
        let spec = json!({"url": engine_that_answers(answer).await});
        let object = json!({"metadata": {"name": name}, "spec": spec});
        create(&engines, object).await.expect("the Engine");
    }
    for name in names {
        eventually("it is told what the engine answers", || async {
            let engine = engines.get(name).await.expect("the Engine");
            let conditions = engine.status.map(|status| status.conditions);
            let told = conditions.iter().flatten().any(&is_told);
            told.then_some(()).ok_or(conditions)
        })
        .await;
    }
}

#[tokio::test]
async fn a20_engines_that_answer_without_end_fill_no_memory() {
    let story = Story::with_own_operator(&[]).await;
    story.running().await;
    let before = story.peak_memory();
    let names = ["a", "b", "c", "d", "e", "f"].map(|name| format!("endless-{name}"));
    engines_that_answer(&story, Answer::Endless, &names, |condition| {
        condition.reason == "InvalidAnswer" && condition.message.contains("no end")
    })
    .await;
    let more = story.peak_memory() - before;
    // Each of them was read up to 16 MiB, and 2 MiB of that were held.
    assert!(more < 60, "{more} MiB more than {before} MiB");
    story.change_to(&changed()).await;
    story.until_waiting().await;
}

#[tokio::test]
async fn a20_engines_that_answer_much_have_a_share_of_the_memory_together() {
    let story = Story::with_own_operator(&[]).await;
    story.running().await;
    let before = story.peak_memory();
    // Each may answer that much. All together are 110 MiB, and twice that while the next lists come.
    let names: Vec<String> = (0..8).map(|number| format!("large-{number}")).collect();
    let refused = AtomicUsize::new(0);
    engines_that_answer(&story, Answer::Large, &names, |condition| {
        let is_refused = condition.message.contains("of all engines is used up");
        refused.fetch_add(is_refused.into(), Ordering::Relaxed);
        is_refused || condition.type_ == "Ready" && condition.status == "True"
    })
    .await;
    let more = story.peak_memory() - before;
    // 32 MiB are theirs, beside what is being read.
    assert!(more < 80, "{more} MiB more than {before} MiB");
    assert!(refused.into_inner() > 0);
    // And what is short is read beside them, of the same namespace too.
    story.change_to(&changed()).await;
    story.until_waiting().await;
}
