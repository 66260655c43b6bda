//! Others judge the endpoint of a real operator on a real API server: Feldera's own Python SDK, and
//! schemathesis, which makes requests of all kinds out of the served OpenAPI document.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use control_plane::{Progress, tools};
use sluice::crd::PipelineApproval;

use crate::rest::api_keys::{Made, make, run};
use sluice_test_support::cluster::{eventually, workspace};
use sluice_test_support::story::{ORDERS, Story, approval, id};

/// After what time a judge counts as one that hangs. They need half a minute, and minutes on a machine that is busy.
const TIME: Duration = Duration::from_secs(1200);

/// A pipeline of which a change waits, and the API key of somebody who may approve it.
async fn scene() -> (Story, Made) {
    // Schemathesis alone makes more calls than a person would.
    let flags = [
        "--api-keys-secret",
        "judges",
        "--api-user-limit",
        "100000/1m",
        // Any answer of 500 and more is a finding, also that a busy API server took too long.
        "--api-request-timeout",
        "60s",
    ];
    let story =
        Story::with_own_rest(&[&flags[..], &["--api-failure-limit", "100000/1m"]].concat()).await;
    let namespace = story.namespace.to_string();
    story
        .cluster()
        .grant(&namespace, "judge", "sluice-approver")
        .await;
    // The operator's own namespace is the one that its kubeconfig names.
    let made = make(
        "default",
        &[
            "--user", "judge", "--secret", "judges", "--name", &namespace,
        ],
    );
    run(story.cluster(), &made.script);
    story.waiting().await;
    // Before that the endpoint asks to come again, by 503.
    story.until_names_are_vouched_for().await;
    (story, made)
}

fn environment(requirements: &str) -> PathBuf {
    let requirements = workspace().join(requirements);
    tools::python_environment(&requirements, &Progress::stderr())
        .unwrap_or_else(|error| panic!("{error}"))
}

/// Runs a program to its end, which must come in time and be good.
async fn judge(mut command: Command, what: &str) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = folder.path().join("log");
    let file = std::fs::File::create(&log).expect("a file");
    let begin = Instant::now();
    let mut child = command
        .current_dir(folder.path())
        // Nothing of the caller's own settings shall count.
        .env_remove("FELDERA_HOST")
        .env_remove("FELDERA_API_KEY")
        .env_remove("FELDERA_TENANT")
        .stdin(Stdio::null())
        .stderr(file.try_clone().expect("a file"))
        .stdout(file)
        .spawn()
        .unwrap_or_else(|error| panic!("{what} can't be started: {error}"));
    let status = loop {
        match child.try_wait().expect("its end can be waited for") {
            Some(status) => break status.to_string(),
            None if begin.elapsed() > TIME => {
                let _ = child.kill();
                let _ = child.wait();
                break "it takes too long".to_owned();
            }
            None => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    };
    let said = std::fs::read_to_string(&log).unwrap_or_default();
    assert_eq!(status, "exit status: 0", "{what}:\n{said}");
    eprintln!("{what}, {} s:\n{said}", begin.elapsed().as_secs());
}

#[tokio::test]
async fn feldera_s_own_python_sdk_approves_with_an_api_key() {
    let python = environment("simulator/tests/sdk/feldera-0.337.0.txt");
    let (story, made) = scene().await;
    let mut command = Command::new(python);
    command
        .arg(workspace().join("tests/cluster/tools/sdk.py"))
        .args([&story.rest_url().await, ORDERS])
        .env("KEY", &made.key);
    judge(command, "the SDK").await;
    let pipeline = story.until_sealed().await;
    let decision = approval(&pipeline).decision.expect("a decision");
    assert_eq!(decision.by, "judge");
}

#[tokio::test]
async fn schemathesis_finds_nothing() {
    let python = environment("tests/cluster/tools/schemathesis/schemathesis.txt");
    let (story, made) = scene().await;
    let url = story.rest_url().await;
    let mut command = Command::new(python);
    let folder = workspace().join("tests/cluster/tools/schemathesis");
    command
        .args(["-m", "schemathesis.cli", "--config-file"])
        .arg(folder.join("schemathesis.toml"))
        .args(["run", &format!("{url}/openapi.json")])
        .env("HOOKS", folder.join("hooks.py"))
        // Python would leave its compiled hooks in the checkout.
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("CHANGE", id(&story.now().await))
        .env("KEY", &made.key);
    judge(command, "schemathesis").await;
    // It has also been let in, or all this would say little.
    let votes = story.api::<PipelineApproval>();
    eventually("a vote is stored", || async {
        let votes = votes
            .list(&Default::default())
            .await
            .map_err(|e| e.to_string())?;
        let by_key = |vote: &PipelineApproval| {
            let voter = vote.spec.on_behalf_of.as_ref();
            voter.and_then(|voter| voter.api_key.as_deref()) == Some(&*story.namespace)
        };
        let found = votes.items.iter().any(by_key);
        found.then_some(()).ok_or("none".to_owned())
    })
    .await;
    story.until_sealed().await;
}
