//! What the demo builds is what the tests build: no library has other features for them, or it would be compiled twice.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// The features of each package that a selection has, as cargo resolves them.
fn features(edges: &str) -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--workspace", "--locked", "--edges", edges])
        .args(["--prefix", "none", "--format", "{p} {f}"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .expect("cargo can be started");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let text = String::from_utf8(output.stdout).expect("a text");
    let mut features: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    // What was shown before has a mark.
    let lines = text.lines().map(|line| line.trim_end_matches(" (*)"));
    for line in lines.filter(|line| !line.is_empty()) {
        let mut words = line.splitn(3, ' ');
        let mut word = || words.next().unwrap_or_default();
        let package = format!("{} {}", word(), word());
        // A package may be there more than once, for the build too.
        features.entry(package).or_default().insert(line.to_owned());
    }
    features
}

#[test]
fn tests_have_no_other_features_of_libraries() {
    let tests = features("all");
    let programs = features("no-dev");
    assert!(programs.len() > 200, "{}", programs.len());
    for (package, features) in programs {
        assert_eq!(
            features, tests[&package],
            "say in xtask/Cargo.toml that it has the features that tests want"
        );
    }
}
