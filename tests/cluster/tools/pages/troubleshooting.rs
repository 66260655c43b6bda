//! `docs/troubleshooting.md`: each symptom that can be had, and what is then to be typed.

use super::scene::Installed;
use sluice_test_support::stand_in::StandIn;

#[tokio::test]
async fn the_symptoms_look_as_the_page_shows() {
    let mut scene = Installed::with(&[]).await;
    let locked = StandIn::start(&["--api-key", "apikey:right"]);
    let shell = &mut scene.shell;
    shell.calls("https://feldera-locked.example.com", &locked.url);
    // Nobody listens there.
    shell.calls("https://feldera.example.com", "http://127.0.0.1:9");
    scene.types("docs/troubleshooting.md").await;
}
