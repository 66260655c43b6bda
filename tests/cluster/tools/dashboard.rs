//! What a real Prometheus, which reads a real operator, answers to the dashboard's queries and makes of the alerts.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use control_plane::{Progress, tools};
use regex::Regex;
use serde_json::{Value, json};

use sluice_test_support::cluster::workspace;
use sluice_test_support::story::{PATIENCE, Story, changed_otherwise, eventually, id};
use sluice_test_support::tied::Tied;

/// What the release's namespace is called, by which the dashboard and the alerts tell installations apart.
const NAMESPACE: &str = "sluice-system";

/// A Prometheus that reads one operator, and knows the chart's alerts.
struct Prometheus {
    url: String,
    _process: Tied,
    _home: tempfile::TempDir,
}

impl Prometheus {
    async fn start(story: &Story) -> Self {
        let program = tokio::task::spawn_blocking(|| tools::prometheus(&Progress::silent()))
            .await
            .expect("no panic")
            .expect("Prometheus");
        let home = tempfile::tempdir().expect("a folder");
        let operator = story.admin_url().await;
        let operator = operator.trim_start_matches("http://");
        let configuration = json!({
            "global": {"scrape_interval": "500ms", "evaluation_interval": "500ms"},
            "rule_files": [workspace().join("charts/sluice/files/alerts.yaml")],
            "scrape_configs": [{
                "job_name": "sluice",
                "static_configs": [{"targets": [operator], "labels": {"namespace": NAMESPACE}}],
            }],
        });
        let path = |name: &str| home.path().join(name);
        std::fs::write(path("prometheus.yml"), configuration.to_string()).expect("a file");
        let log = path("log");
        let arguments = [
            format!("--config.file={}", path("prometheus.yml").display()),
            format!("--storage.tsdb.path={}", path("data").display()),
            "--web.listen-address=127.0.0.1:0".to_owned(),
        ];
        let file = std::fs::File::create(&log).expect("a log");
        let process = Tied::start(&program, &arguments, &[], file.into());
        let url = eventually("Prometheus listens", || async {
            listens_at(&log).ok_or_else(|| std::fs::read_to_string(&log).unwrap_or_default())
        })
        .await;
        // It listens before it has read its data and its configuration.
        eventually("Prometheus is ready", || async {
            let answer = reqwest::get(format!("{url}/-/ready")).await;
            let ready = answer.is_ok_and(|answer| answer.status().is_success());
            ready.then_some(()).ok_or("not yet")
        })
        .await;
        Self {
            url,
            _process: process,
            _home: home,
        }
    }

    async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, String> {
        let request = reqwest::Client::new().get(format!("{}{path}", self.url));
        let answer = request.query(query).send().await;
        let answer = answer.map_err(|error| error.to_string())?;
        let answer: Value = answer.json().await.map_err(|error| error.to_string())?;
        match answer["status"] == "success" {
            true => Ok(answer["data"].clone()),
            false => Err(answer.to_string()),
        }
    }

    /// What an expression comes to by now: each series with its labels.
    async fn ask(&self, expression: &str) -> Result<Vec<Value>, String> {
        let data = self.get("/api/v1/query", &[("query", expression)]).await?;
        Ok(data["result"].as_array().cloned().unwrap_or_default())
    }

    /// Waits until an expression comes to this one number.
    async fn until(&self, expression: &str, number: f64) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.ask(expression).await;
            if let Ok([one]) = answer.as_deref()
                && value(one) == Some(number)
            {
                return;
            }
            let waits = Instant::now() < deadline;
            assert!(waits, "{expression} isn't {number}: {answer:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// The state of each alert: of those with one name, the worst.
    async fn alerts(&self) -> BTreeMap<String, String> {
        let rules = self.get("/api/v1/rules", &[]).await.expect("the rules");
        let groups = rules["groups"].as_array().expect("groups");
        let rules = groups
            .iter()
            .flat_map(|group| group["rules"].as_array().expect("rules"));
        let mut states = BTreeMap::<String, String>::new();
        for rule in rules {
            let name = rule["name"].as_str().expect("a name").to_owned();
            let state = match rule["health"].as_str() {
                Some("ok") => rule["state"].as_str().expect("a state").to_owned(),
                _ => format!("not known yet, {} {}", rule["health"], rule["lastError"]),
            };
            let worst = states.entry(name).or_insert_with(|| "inactive".to_owned());
            if state != "inactive" {
                *worst = state;
            }
        }
        states
    }
}

/// Where it says in its log that it listens.
fn listens_at(log: &Path) -> Option<String> {
    let text = std::fs::read_to_string(log).ok()?;
    let line = text.lines().find(|line| line.contains("Listening on"))?;
    let (_, address) = line.split_once("address=")?;
    Some(format!("http://{}", address.split(' ').next()?))
}

fn value(series: &Value) -> Option<f64> {
    series["value"][1].as_str()?.parse().ok()
}

/// A query of the dashboard, as Grafana asks it for all namespaces.
struct Query {
    panel: String,
    expression: String,
    /// The labels that its legend shows.
    labels: Vec<String>,
}

fn queries() -> Vec<Query> {
    let path = workspace().join("charts/sluice/files/dashboard.json");
    let text = std::fs::read_to_string(path).expect("the dashboard");
    let dashboard: Value = serde_json::from_str(&text).expect("JSON");
    let label = Regex::new(r"\{\{ *([a-z_]+) *\}\}").expect("an expression");
    let mut queries = vec![];
    for panel in dashboard["panels"].as_array().expect("panels") {
        for target in panel["targets"].as_array().expect("queries") {
            let legend = target["legendFormat"].as_str().unwrap_or_default();
            let expression = target["expr"].as_str().expect("a query");
            queries.push(Query {
                panel: panel["title"].as_str().expect("a title").to_owned(),
                expression: expression
                    .replace("$namespace", ".*")
                    .replace("$__rate_interval", "1m"),
                labels: label
                    .captures_iter(legend)
                    .map(|found| found[1].to_owned())
                    .collect(),
            });
        }
    }
    queries
}

fn query(panel: &str) -> String {
    let of_it = queries().into_iter().find(|query| query.panel == panel);
    of_it.expect(panel).expression
}

#[tokio::test]
async fn a_real_prometheus_answers_every_query_of_the_dashboard_with_what_is_so() {
    let mut story = Story::with_own_operator(&[]).await;
    let first = story.waiting().await;
    let prometheus = Prometheus::start(&story).await;
    prometheus.until(&query("Changes that wait"), 1.0).await;
    story.approve(&id(&first)).await;
    story.until_sealed().await;
    prometheus.until(&query("Changes that wait"), 0.0).await;
    story.change_to(&changed_otherwise()).await;
    story.until_waiting().await;

    for query in queries() {
        let Query {
            panel,
            expression,
            labels,
        } = query;
        let series = eventually(&format!("{panel} shows something"), || async {
            match prometheus.ask(&expression).await {
                Ok(series) if !series.is_empty() => Ok(series),
                other => Err(format!("{expression}: {other:?}")),
            }
        })
        .await;
        for one in series {
            assert!(value(&one).is_some_and(f64::is_finite), "{panel}: {one}");
            for label in &labels {
                assert!(one["metric"][label].is_string(), "{panel}, {label}: {one}");
            }
        }
    }
    for (panel, number) in [
        ("Replicas that act", 1.0),
        ("Changes that wait", 1.0),
        ("Engines that don't answer", 0.0),
        ("Audit log failures, 1 h", 0.0),
        ("Policies that aren't in force", 0.0),
        ("Pipelines by phase", 1.0),
        ("Engines", 1.0),
    ] {
        prometheus.until(&query(panel), number).await;
    }
    let longest = query("Longest wait");
    // A scrape that takes too long leaves nothing until the next one.
    let waits = eventually("it is told how long", || async {
        let series = prometheus.ask(&longest).await?;
        let first = series.first().and_then(value);
        first.ok_or_else(|| format!("{series:?}"))
    })
    .await;
    assert!((0.0..600.0).contains(&waits), "{waits}");

    // Somebody approves what isn't asked about any more.
    story.approve(&"0".repeat(32)).await;
    until_alerts(&prometheus, &[("SluiceStaleApproval", "firing")]).await;
    story.engine.goes_down();
    prometheus
        .until(&query("Engines that don't answer"), 1.0)
        .await;
    let and_the_engine = [
        ("SluiceEngineUnreachable", "pending"),
        ("SluiceStaleApproval", "firing"),
    ];
    until_alerts(&prometheus, &and_the_engine).await;
}

/// Waits until these alerts are in these states, and all others know of nothing.
async fn until_alerts(prometheus: &Prometheus, expected: &[(&str, &str)]) {
    let told = expected.iter().copied();
    let expected: BTreeMap<String, String> = told
        .map(|(name, state)| (name.to_owned(), state.to_owned()))
        .collect();
    eventually("the alerts say what is so", || async {
        let mut states = prometheus.alerts().await;
        states.retain(|_, state| state != "inactive");
        (states == expected).then_some(()).ok_or(states)
    })
    .await;
}
