//! `docs/first-pipeline.md`: from a cluster without Sluice to the first approved change.

use std::time::Instant;

use super::scene::Empty;
use sluice_test_support::pages::page::Page;

/// What the page asks for beforehand.
const KEY: &str = "apikey:first-pipeline";

#[tokio::test]
async fn the_page_of_the_first_pipeline_leads_to_an_approved_change() {
    let mut scene = Empty::with_engine(&["--api-key", KEY]).await;
    scene.shell.set("FELDERA_API_KEY", KEY);
    let mut page = Page::of("docs/first-pipeline.md");

    let begin = Instant::now();
    let mut approved = None;
    while let Some(typed) = page.next(&scene.shell) {
        scene.types_one(&mut page, &typed).await;
        if typed.command.starts_with("kubectl sluice approve") {
            approved = Some((page.number(), begin.elapsed()));
        }
    }
    page.end();

    let (number, time) = approved.expect("the page approves a change");
    eprintln!(
        "the first approval: {number} commands, {:.1} s from the first one, with nobody's reading time",
        time.as_secs_f64()
    );
    let as_counted = format!(": {number} commands.");
    assert!(
        page.text().contains(&as_counted),
        "the page says{as_counted}"
    );
}
