//! `README.md`: the shortest way.

use super::page::Page;
use super::scene::Empty;

#[tokio::test]
async fn what_the_readme_shows_is_seen() {
    let mut scene = Empty::with_engine(&[]).await;
    let mut page = Page::of("README.md");
    scene.types(&mut page).await;
    page.end();
    assert!(scene.is_installed());
}
