//! What a shell offers to complete a command with: by kubectl's way for plugins, which asks a program
//! `kubectl_complete-sluice` (this one, by another name), and names of Pipelines from the cluster.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use clap::{CommandFactory, Parser};
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate, complete};
use kube::ResourceExt;
use sluice_gate::crd::Pipeline;

use crate::arguments::{Arguments, Connection};
use crate::choose::waiting;
use crate::connect;
use sluice_gate::printable::is_printable;

/// The name by which kubectl asks.
const BY_KUBECTL: &str = "kubectl_complete-sluice";

/// How long somebody who has pressed TAB waits for names.
const PATIENCE: Duration = Duration::from_secs(3);

/// Whether kubectl asks, by the name that this program was called by.
pub fn is_asked_by_kubectl(program: Option<&OsString>) -> bool {
    program
        .and_then(|program| Path::new(program).file_name())
        .is_some_and(|name| name == BY_KUBECTL)
}

/// What kubectl expects: a candidate a line, with its help after a tab, and a last line that says how
/// they are to be taken: 4 is "offer no files instead".
///
/// Source: `kubectl`'s documentation of plugins, and the directives of Cobra.
pub fn for_kubectl(arguments: Vec<OsString>) -> String {
    let mut command = Arguments::command().bin_name("kubectl-sluice");
    let mut all: Vec<OsString> = vec!["kubectl-sluice".into()];
    all.extend(arguments);
    if all.len() == 1 {
        all.push(OsString::new());
    }
    let last = all.len() - 1;
    let here = std::env::current_dir().ok();
    let candidates = complete(&mut command, all, last, here.as_deref()).unwrap_or_default();
    let mut text = String::new();
    for candidate in candidates
        .iter()
        .filter(|candidate| !candidate.is_hide_set())
    {
        let value = candidate.get_value().to_string_lossy();
        let help = candidate.get_help().map(ToString::to_string);
        let help = help.as_deref().and_then(|help| help.lines().next());
        if is_printable(&value) {
            text += &match help {
                Some(help) => format!("{value}\t{help}\n"),
                None => format!("{value}\n"),
            };
        }
    }
    text + ":4\n"
}

/// The names of Pipelines of which a change waits.
pub fn names_that_wait() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        candidates(|pipeline| waiting(pipeline).map(|it| it.summary.clone()))
    })
}

/// The names of all Pipelines.
pub fn names() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        candidates(|pipeline| {
            let phase = pipeline.status.as_ref()?.phase.clone();
            Some(phase.unwrap_or_default())
        })
    })
}

/// The Pipelines for which there is a word of help. Nothing is offered where the cluster can't be asked:
/// this is no place for errors.
fn candidates(help: fn(&Pipeline) -> Option<String>) -> Vec<CompletionCandidate> {
    // The library's way to ask is no asynchronous one.
    let asked = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.ok()?.block_on(async {
            let all = tokio::time::timeout(PATIENCE, async {
                let cluster = connect::connect(&connection()).await.ok()?;
                cluster.all_pipelines(false).await.ok()
            });
            all.await.ok().flatten()
        })
    });
    let (pipelines, _) = asked.join().ok().flatten().unwrap_or_default();
    let offered = pipelines.iter().filter_map(|pipeline| {
        let help = sluice_gate::printable::one_line(&help(pipeline)?);
        let candidate = CompletionCandidate::new(pipeline.name_any());
        Some(candidate.help((!help.is_empty()).then(|| help.into())))
    });
    offered.collect()
}

/// The flags for the connection, as far as they are typed.
#[derive(Parser)]
#[command(ignore_errors = true, disable_help_flag = true)]
struct Typed {
    #[command(flatten)]
    connection: Connection,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    _rest: Vec<OsString>,
}

fn connection() -> Connection {
    connection_in(std::env::args_os().collect())
}

/// The flags may stand anywhere between what isn't known yet.
fn connection_in(arguments: Vec<OsString>) -> Connection {
    const FLAGS: [&str; 4] = ["--context", "--kubeconfig", "--namespace", "-n"];
    let mut flags: Vec<OsString> = vec!["kubectl-sluice".into()];
    let mut rest = arguments.into_iter().skip(1);
    while let Some(argument) = rest.next() {
        let text = argument.to_string_lossy().into_owned();
        if FLAGS.contains(&text.as_str()) {
            flags.push(argument);
            flags.extend(rest.next());
        } else if FLAGS
            .iter()
            .any(|flag| text.starts_with(&format!("{flag}=")))
        {
            flags.push(argument);
        }
    }
    Typed::try_parse_from(flags).map_or_else(|_| Connection::default(), |typed| typed.connection)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(arguments: &[&str]) -> String {
        for_kubectl(arguments.iter().map(OsString::from).collect())
    }

    #[test]
    fn commands_and_flags_are_offered_in_kubectls_form() {
        let all = offered(&[""]);
        for command in [
            "list\t",
            "diff\t",
            "approve\t",
            "reject\t",
            "history\t",
            "plan\t",
        ] {
            assert!(all.contains(command), "{all}");
        }
        assert!(all.ends_with(":4\n"), "{all}");
        assert!(
            offered(&["app"]).starts_with("approve\t"),
            "{}",
            offered(&["app"])
        );
        let flags = offered(&["reject", "--rea"]);
        assert!(flags.starts_with("--reason\t"), "{flags}");
        assert!(offered(&["list", "-o", ""]).contains("yaml"));
    }

    #[test]
    fn the_connection_is_found_among_what_is_typed() {
        let typed = [
            "k",
            "approve",
            "-n",
            "shop",
            "--context=prod",
            "--reason",
            "x",
            "",
        ];
        let connection = connection_in(typed.iter().map(OsString::from).collect());
        assert_eq!(connection.namespace.as_deref(), Some("shop"));
        assert_eq!(connection.context.as_deref(), Some("prod"));
        assert_eq!(connection.kubeconfig, None);
    }

    #[test]
    fn kubectl_asks_by_another_name() {
        assert!(is_asked_by_kubectl(Some(
            &"/bin/kubectl_complete-sluice".into()
        )));
        assert!(!is_asked_by_kubectl(Some(&"/bin/kubectl-sluice".into())));
        assert!(!is_asked_by_kubectl(None));
    }
}
