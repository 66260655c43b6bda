//! `docs/metrics.md`: what `/metrics` serves, from what it serves.

use std::fmt::Write as _;

use sluice::metrics::Metrics;

use super::markdown::{cell, header};

/// What the labels say, and which values they have.
const LABELS: [(&str, &str); 6] = [
    (
        "call",
        "the engine call: `create`, `adopt` (its tag is set), `diff`, `update`, `recompile`, `dismiss_error`, `start`, `stop`, `pause`, `resume`, `approve`, `checkpoint`, `clear`; of a program that is compiled beforehand `build`, `look_at_build`, `drop_build`; of a deletion also `delete`",
    ),
    (
        "engine",
        "namespace and name of the Engine object, `shop/lab`; `default` for the operator's own",
    ),
    (
        "phase",
        "the phase: see [status.md](status.md#phases); `Other` for a word of the engine's that is none of them",
    ),
    (
        "policy",
        "the name of the ValidatingAdmissionPolicy: see [security.md](security.md)",
    ),
    (
        "reason",
        "the reason of the Event: see [status.md](status.md#events)",
    ),
    (
        "result",
        "of an engine call `ok`, `Unreachable`, `Unavailable`, `Unauthorized`, `NotFound`, `Refused` or `InvalidAnswer`; of a reconcile `ok` or `error`",
    ),
];

/// The whole document.
pub fn document() -> String {
    let figures = figures(&Metrics::example().encode());
    let mut text = header("src/metrics.rs");
    text += "# Metrics\n\nServed at `/metrics` of `--admin-listen`, in the OpenMetrics text format. Only the \
        replica that leads counts what is done. A metric with labels is there once it has a value. What to alert on is in \
        [operations.md](operations.md#what-to-alert-on).\n\n\
        | metric | kind | labels | |\n| --- | --- | --- | --- |\n";
    for figure in &figures {
        let labels: Vec<String> = figure
            .labels
            .iter()
            .map(|name| format!("`{name}`"))
            .collect();
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} |",
            figure.name,
            figure.kind,
            labels.join(", "),
            cell(&figure.help)
        );
    }
    text += "\n| label | |\n| --- | --- |\n";
    for (name, meaning) in LABELS {
        let _ = writeln!(text, "| `{name}` | {} |", cell(meaning));
    }
    text
}

struct Figure {
    name: String,
    kind: String,
    labels: Vec<String>,
    help: String,
}

/// Reads the text format: a metric's help and kind stand above its values.
fn figures(served: &str) -> Vec<Figure> {
    let mut figures: Vec<Figure> = vec![];
    for line in served.lines() {
        if let Some((name, help)) = described(line, "# HELP ") {
            figures.push(Figure {
                name: name.to_owned(),
                kind: String::new(),
                labels: vec![],
                help: help.trim_end_matches('.').to_owned(),
            });
        } else if let (Some((_, kind)), Some(figure)) =
            (described(line, "# TYPE "), figures.last_mut())
        {
            kind.clone_into(&mut figure.kind);
            if kind == "counter" {
                figure.name.push_str("_total");
            }
        } else if let (Some((_, rest)), Some(figure)) = (line.split_once('{'), figures.last_mut()) {
            let labels = rest.split(',').filter_map(|pair| pair.split_once("=\""));
            for (label, _) in labels.filter(|(label, _)| *label != "le") {
                if !figure.labels.iter().any(|known| known == label) {
                    figure.labels.push(label.to_owned());
                }
            }
        }
    }
    figures
}

fn described<'a>(line: &'a str, what: &str) -> Option<(&'a str, &'a str)> {
    line.strip_prefix(what)?.split_once(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_is_described_with_labels_that_are_explained() {
        let figures = figures(&Metrics::example().encode());
        assert!(figures.len() >= 7, "figures without a value aren't served");
        for figure in &figures {
            assert!(
                !figure.help.is_empty() && !figure.kind.is_empty(),
                "{}",
                figure.name
            );
            for label in &figure.labels {
                assert!(LABELS.iter().any(|(name, _)| name == label), "{label}");
            }
        }
        let calls = figures
            .iter()
            .find(|f| f.name == "sluice_engine_calls_total");
        assert_eq!(calls.unwrap().labels, ["call", "result"]);
    }
}
