//! The charts, the alerts and the dashboard, judged by the field's own checkers, with no cluster. What a
//! real API server says of them is in `tests/cluster/tools/chart.rs`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use control_plane::{Progress, tools};
use regex::Regex;
use serde_json::{Value, json};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

type Tool = fn(&Progress) -> control_plane::Result<PathBuf>;

fn run(tool: Tool, arguments: &[&str]) -> Output {
    let program = tool(&Progress::stderr()).unwrap_or_else(|error| panic!("{error}"));
    Command::new(program)
        .args(arguments)
        .current_dir(ROOT)
        .output()
        .expect("the program can be started")
}

fn said(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&text).into_owned()
}

fn read(path: impl AsRef<Path>) -> String {
    let path = Path::new(ROOT).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// What Helm renders, each object by its kind and name.
fn rendered(arguments: &[&str]) -> Vec<Value> {
    let chart = ["template", "sluice", "charts/sluice", "-n", "sluice-system"];
    let output = run(tools::helm, &[&chart[..], arguments].concat());
    assert!(output.status.success(), "{}", said(&output));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let objects = text.split("---\n").map(yaml);
    objects
        .filter(|object| object["kind"].is_string())
        .collect()
}

fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    objects
        .iter()
        .find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
        .unwrap_or_else(|| panic!("there is no {kind} {name}"))
}

const EVERYTHING: [&str; 2] = ["-f", "tests/chart/everything.yaml"];

#[test]
fn helm_lint_finds_nothing() {
    for values in [&[][..], &["--values", "tests/chart/everything.yaml"]] {
        let output = run(
            tools::helm,
            &[&["lint", "--strict", "charts/sluice"][..], values].concat(),
        );
        assert!(output.status.success(), "{}", said(&output));
    }
    let output = run(
        tools::helm,
        &["lint", "--strict", "charts/sluice-pipelines"],
    );
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn values_that_are_not_known_or_of_the_wrong_form_are_refused_in_words() {
    let refused = |chart: &str, set: &str, words: &str| {
        let output = run(tools::helm, &["template", "x", chart, "--set", set]);
        assert!(!output.status.success(), "{set} was taken");
        assert!(said(&output).contains(words), "{set}: {}", said(&output));
    };
    for (set, words) in [
        ("replica=3", "additional properties 'replica' not allowed"),
        ("replicas=0", "at '/replicas': minimum: got 0, want 1"),
        ("replicas=two", "at '/replicas': got string, want integer"),
        (
            "api.userLimit=many",
            "at '/api/userLimit': 'many' does not match pattern",
        ),
        ("engine.url=ftp://a", "at '/engine/url'"),
        ("image.digest=latest", "at '/image/digest'"),
        (
            "monitoring.rules.waitingTooLong=0",
            "at '/monitoring/rules/waitingTooLong'",
        ),
        (
            "networkPolicy=true",
            "at '/networkPolicy': got boolean, want object",
        ),
        (
            "api.tlsSecret=a,api.certificate.issuerRef.name=b",
            "api.certificate.issuerRef and api.tlsSecret are both set",
        ),
    ] {
        refused("charts/sluice", set, words);
    }
    for (set, words) in [
        (
            "pipelines.orders.progam.sql=x",
            "at '/pipelines/orders': additional properties 'progam' not allowed",
        ),
        (
            "pipelines.orders.desiredState=gone",
            "at '/pipelines/orders/desiredState': value must be one of",
        ),
        ("engines.production.tenant=t", "missing property 'url'"),
        ("pipelines.Orders.program.sql=x", "'Orders'"),
    ] {
        refused("charts/sluice-pipelines", set, words);
    }
}

/// Every path of a tree of values that isn't a group.
fn leaves(value: &Value, path: &str, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                leaves(value, &format!("{path}.{name}"), into);
            }
        }
        _ => drop(into.insert(path.trim_start_matches('.').to_owned())),
    }
}

/// Every path that a schema names.
fn named(schema: &Value, path: &str, into: &mut BTreeSet<String>) {
    match schema["properties"].as_object() {
        Some(properties) => {
            for (name, schema) in properties {
                named(schema, &format!("{path}.{name}"), into);
            }
        }
        None => drop(into.insert(path.trim_start_matches('.').to_owned())),
    }
}

#[test]
fn every_value_of_the_schema_has_a_default_that_people_can_read_about() {
    let mut defaults = BTreeSet::new();
    leaves(&yaml(&read("charts/sluice/values.yaml")), "", &mut defaults);
    let schema: Value = serde_json::from_str(&read("charts/sluice/values.schema.json")).unwrap();
    let mut wanted = BTreeSet::new();
    named(&schema, "", &mut wanted);
    wanted.remove("global"); // Helm's own
    let table = read("docs/values.md");
    for path in wanted {
        let is_default = |default: &String| {
            *default == path
                || default.starts_with(&format!("{path}."))
                || path.starts_with(&format!("{default}."))
        };
        let Some(default) = defaults.iter().find(|default| is_default(default)) else {
            panic!("{path} is in the schema, and not in values.yaml");
        };
        let documented = [&path, default]
            .iter()
            .any(|path| table.contains(&format!("| `{path}` |")));
        assert!(documented, "{path} is not in docs/values.md");
    }
}

#[test]
fn the_definitions_of_the_chart_are_those_of_the_types_and_are_kept() {
    let objects = rendered(&[]);
    for definition in sluice::crd::all() {
        let definition = serde_json::to_value(definition).unwrap();
        let name = definition["metadata"]["name"].as_str().unwrap();
        let found = find(&objects, "CustomResourceDefinition", name);
        assert_eq!(found["spec"], definition["spec"], "{name}");
        let annotations = &found["metadata"]["annotations"];
        assert_eq!(annotations["helm.sh/resource-policy"], "keep");
    }
    let without = rendered(&["--set", "crds.install=false"]);
    let is_definition = |object: &Value| object["kind"] == "CustomResourceDefinition";
    assert!(!without.iter().any(is_definition));
}

#[test]
fn pods_run_as_nobody_and_write_nowhere() {
    let objects = rendered(&EVERYTHING);
    let deployment = &find(&objects, "Deployment", "sluice")["spec"]["template"]["spec"];
    let test = &find(&objects, "Pod", "sluice-check")["spec"];
    for pod in [deployment, test] {
        let security = &pod["securityContext"];
        assert_eq!(security["runAsNonRoot"], true);
        assert_eq!(security["seccompProfile"]["type"], "RuntimeDefault");
        let container = &pod["containers"][0]["securityContext"];
        assert_eq!(
            *container,
            json!({
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"]},
            })
        );
    }
}

/// What is looked at and left as it is, and why.
const NOT_SCORED: [(&str, &str); 3] = [
    (
        "container-image-pull-policy",
        "images are named by version or digest, and don't change",
    ),
    (
        "deployment-has-host-podantiaffinity",
        "replicas are spread by topologySpreadConstraints",
    ),
    (
        "pod-networkpolicy",
        "the default lets everybody decide: the next test has one",
    ),
];

#[test]
fn kube_score_finds_nothing_critical() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rendered.yaml");
    for (values, ignored) in [(&[][..], 3), (&EVERYTHING[..], 2)] {
        let objects = rendered(&[values, &["--set", "crds.install=false"]].concat());
        let foreign = [
            "ServiceMonitor",
            "PrometheusRule",
            "HTTPRoute",
            "Certificate",
        ];
        let text: String = objects
            .iter()
            .filter(|object| !foreign.contains(&object["kind"].as_str().unwrap()))
            // Helm's test ends by itself: it needs no probes.
            .filter(|object| object["kind"] != "Pod")
            .map(|object| format!("---\n{object}\n"))
            .collect();
        std::fs::write(&path, text).unwrap();
        let mut arguments = vec![
            "score",
            "--exit-one-on-warning",
            "--ignore-container-cpu-limit",
        ];
        for (test, _) in NOT_SCORED.iter().take(ignored) {
            arguments.extend(["--ignore-test", test]);
        }
        arguments.push(path.to_str().unwrap());
        let output = run(tools::kube_score, &arguments);
        assert!(output.status.success(), "{}", said(&output));
    }
}

const SCHEMAS: &str = "schemas/{{.Group}}/{{.ResourceKind}}_{{.ResourceAPIVersion}}.json";

fn kubeconform(files: &[&str]) -> Output {
    let fixed = [
        "-strict",
        "-summary",
        "-schema-location",
        SCHEMAS,
        "-skip",
        "Secret,Kustomization",
    ];
    run(tools::kubeconform, &[&fixed, files].concat())
}

#[test]
fn kubeconform_takes_the_examples_and_refuses_a_typing_mistake() {
    let mut examples = vec![];
    for folder in [
        "examples",
        "examples/nexmark",
        "examples/tpch",
        "examples/flux/program",
    ] {
        for entry in std::fs::read_dir(Path::new(ROOT).join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let ours = !["kustomization.yaml", "names.yaml"].contains(&name.as_str());
            if name.ends_with(".yaml") && ours {
                examples.push(format!("{folder}/{name}"));
            }
        }
    }
    assert!(examples.len() > 8, "{examples:?}");
    let output = kubeconform(&examples.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("Errors: 0"), "{}", said(&output));

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orders.yaml");
    let text = read("examples/orders.yaml").replace("runtimeConfig:", "runtimeConfg:");
    std::fs::write(&path, text).unwrap();
    let output = kubeconform(&[path.to_str().unwrap()]);
    assert!(!output.status.success());
    assert!(
        said(&output).contains("'runtimeConfg' not allowed"),
        "{}",
        said(&output)
    );
}

#[test]
fn promtool_takes_the_alerts_and_what_they_say_of_made_up_histories() {
    let output = run(
        tools::promtool,
        &["check", "rules", "charts/sluice/files/alerts.yaml"],
    );
    assert!(output.status.success(), "{}", said(&output));
    let output = run(
        tools::promtool,
        &["test", "rules", "tests/chart/alerts.yaml"],
    );
    assert!(output.status.success(), "{}", said(&output));
}

fn alerts() -> Vec<Value> {
    let file = yaml(&read("charts/sluice/files/alerts.yaml"));
    file["groups"][0]["rules"].as_array().unwrap().clone()
}

#[test]
fn every_alert_is_tried() {
    let tried = read("tests/chart/alerts.yaml");
    for alert in alerts() {
        let name = alert["alert"].as_str().unwrap();
        // Once in the history in which all is well, and once where it isn't.
        assert!(tried.matches(name).count() >= 2, "{name} isn't tried");
    }
}

#[test]
fn the_chart_has_the_alerts_as_they_were_tried() {
    let objects = rendered(&["--set", "monitoring.rules.enabled=true"]);
    let rules = find(&objects, "PrometheusRule", "sluice");
    assert_eq!(
        rules["spec"],
        yaml(&read("charts/sluice/files/alerts.yaml"))
    );
    let objects = rendered(&EVERYTHING);
    let rules = find(&objects, "PrometheusRule", "sluice").to_string();
    assert!(rules.contains("> 0.5 * 3600"), "{rules}");
}

/// What an expression of Prometheus' asks of the operator.
fn metrics_in(expression: &str) -> BTreeSet<String> {
    let metric = Regex::new("sluice_[a-z_]+").unwrap();
    let names = metric.find_iter(expression);
    names.map(|name| name.as_str().to_owned()).collect()
}

/// What the operator serves, by name: of a histogram also its parts.
fn served() -> BTreeSet<String> {
    let text = sluice::metrics::Metrics::example().encode();
    let names = text.lines().filter(|line| !line.starts_with('#'));
    names
        .filter_map(|line| line.split(['{', ' ']).next())
        .map(str::to_owned)
        .collect()
}

#[test]
fn alerts_and_dashboard_ask_for_what_the_operator_serves_and_for_reasons_that_there_are() {
    let dashboard: Value =
        serde_json::from_str(&read("charts/sluice/files/dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() > 10);
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap());
    let expressions: Vec<String> = targets
        .map(|target| &target["expr"])
        .chain(alerts().iter().map(|alert| &alert["expr"]))
        .map(|expression| expression.as_str().unwrap().to_owned())
        .collect();
    let all = expressions.join("\n");
    let served = served();
    for name in metrics_in(&all) {
        assert!(served.contains(&name), "nobody serves {name}: {served:?}");
    }
    // The other way round: what is served is worth a look.
    let shown = metrics_in(&dashboard.to_string());
    for name in served.iter().filter(|name| !name.contains("_seconds_")) {
        assert!(shown.contains(name), "{name} is not on the dashboard");
    }

    let status = read("docs/status.md");
    let reasons = Regex::new(r#"reason=~?"([A-Za-z|]+)""#).unwrap();
    let mut seen = 0;
    for found in reasons.captures_iter(&all) {
        for reason in found[1].split('|') {
            assert!(
                status.contains(&format!("`{reason}`")),
                "no Event has the reason {reason}"
            );
            seen += 1;
        }
    }
    assert!(seen > 5);
    let phases = Regex::new(r#"phase="([A-Za-z]+)""#).unwrap();
    for found in phases.captures_iter(&all) {
        assert!(
            status.contains(&format!("`{}`", &found[1])),
            "there is no phase {}",
            &found[1]
        );
    }
}
