use super::scene::Scene;

#[tokio::test]
async fn a_first_commit_is_ready_once_the_pipeline_runs() {
    let scene = Scene::begin().await;
    scene.until_ready().await;
}
