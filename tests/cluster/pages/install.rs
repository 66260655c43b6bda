//! `docs/install.md`: installation, upgrade and removal, and what the charts say after it.

use super::page::Page;
use super::scene::Empty;

#[tokio::test]
async fn the_page_of_the_installation_shows_what_is_seen() {
    let mut scene = Empty::with_engine(&[]).await;
    let mut page = Page::of("docs/install.md");
    scene.types(&mut page).await;
    page.end();
    assert!(!scene.is_installed(), "the page ends with nothing installed");
}
