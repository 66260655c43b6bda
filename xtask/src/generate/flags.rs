//! `docs/flags.md`: the flags of the operator's program, from its argument parser.

use std::fmt::Write as _;

use clap::{Arg, ArgAction, Args, Command};

use super::markdown::{cell, header};

/// The whole document.
pub fn document() -> String {
    let run = sluice::config::Args::augment_args(Command::new("run"));
    let api_key = sluice::api::MakeApiKey::augment_args(Command::new("api-key"));
    let mut text = header("src/config.rs and src/api/");
    text += "# Flags of `sluice`\n\n\
        What stands on the command line goes before what stands in the environment. In the chart, flags \
        without a value of their own are set through `extraEnv`. Durations are written as `500ms`, `10s`, \
        `1m`, up to `1h`.\n";
    text += "\n## sluice run\n\nThe operator and its REST endpoint.\n\n";
    table(&run, &mut text);
    text += "\n`SLUICE_LOG` sets how much is logged, as a filter of \
        [tracing](https://docs.rs/tracing-subscriber/latest/tracing_subscriber/filter/struct.EnvFilter.html): \
        `info,kube=warn,hyper=warn,tower=warn` unless it is set. `POD_NAME` names the replica in the Lease and in \
        Events.\n";
    text += "\n## sluice api-key\n\nMakes an API key for the REST endpoint: see \
        [rest.md](rest.md#api-keys).\n\n";
    table(&api_key, &mut text);
    text += "\n## sluice check\n\nSees whether an installation does its work; `helm test` runs it: see \
        [install.md](install.md#whether-it-works).\n\n";
    table(
        &sluice::check::Args::augment_args(Command::new("check")),
        &mut text,
    );
    text += "\n## sluice crds, sluice openapi\n\nPrint the custom resource definitions (YAML) and the OpenAPI \
        document of the REST endpoint (JSON). They have no flags.\n";
    text
}

fn table(command: &Command, text: &mut String) {
    text.push_str("| flag | environment | default | |\n| --- | --- | --- | --- |\n");
    for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
        let environment = arg.get_env().map(|name| code(&name.to_string_lossy()));
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let (mut meaning, mut default) = help_and_default(&help);
        let defaults: Vec<String> = arg
            .get_default_values()
            .iter()
            .map(|value| code(&value.to_string_lossy()))
            .collect();
        if !defaults.is_empty() {
            default = defaults.join(", ");
        }
        let values: Vec<String> = arg
            .get_possible_values()
            .iter()
            .map(|value| code(value.get_name()))
            .collect();
        if !values.is_empty() {
            let _ = write!(meaning, " ({})", values.join(" or "));
        }
        if arg.get_value_delimiter().is_some() {
            meaning.push_str("; in one value or the environment, joined by commas");
        }
        if arg.is_required_set() {
            default = "required".to_owned();
        }
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} |",
            code(&spelled(arg)),
            environment.unwrap_or_default(),
            cell(&default),
            cell(&meaning),
        );
    }
}

/// A flag as it is typed.
fn spelled(arg: &Arg) -> String {
    let long = format!("--{}", arg.get_long().unwrap_or_default());
    let takes_value = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
    let value = arg.get_value_names().and_then(<[_]>::first);
    match value.filter(|_| takes_value) {
        Some(value) => format!("{long} {value}"),
        None => long,
    }
}

/// What a default that isn't one value is, stands at the end of the help.
fn help_and_default(help: &str) -> (String, String) {
    let words: Vec<&str> = help.split_whitespace().collect();
    let help = words.join(" ");
    match help
        .strip_suffix(']')
        .and_then(|rest| rest.split_once(" [default: "))
    {
        Some((meaning, default)) => (meaning.to_owned(), default.to_owned()),
        None => (help, String::new()),
    }
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_of_the_operator_has_a_row_with_its_variable_and_its_meaning() {
        let text = document();
        let run = sluice::config::Args::augment_args(Command::new("run"));
        for arg in run.get_arguments() {
            let flag = format!("| `--{}", arg.get_long().unwrap());
            let row = text.lines().find(|line| line.starts_with(&flag)).unwrap();
            let cells: Vec<&str> = row.split(" | ").collect();
            assert!(cells[1].starts_with('`'), "a flag has a variable: {row}");
            assert!(cells[3].len() > 10, "a flag is explained: {row}");
        }
    }

    #[test]
    fn a_default_in_words_is_taken_out_of_the_help() {
        let (meaning, default) = help_and_default("Where to\nsend it [default: nowhere]");
        assert_eq!(
            (meaning.as_str(), default.as_str()),
            ("Where to send it", "nowhere")
        );
        assert_eq!(help_and_default("Who").1, "");
    }
}
