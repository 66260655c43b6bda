//! `docs/kubectl-sluice.md`: the plugin.

use super::scene::Installed;

#[tokio::test]
async fn the_page_of_the_plugin_shows_what_is_seen() {
    Installed::with(&[])
        .await
        .types("docs/kubectl-sluice.md")
        .await;
}
