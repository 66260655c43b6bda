//! `docs/approving.md`: every way to approve, by people who have just the rights that it needs.

use super::scene::Installed;

#[tokio::test]
async fn every_way_to_approve_works_as_its_page_shows() {
    let mut scene = Installed::with(&[]).await;
    let rest = scene.story.rest_url().await;
    scene.shell.calls("https://sluice.example.com", &rest);
    scene.types("docs/approving.md").await;
}
