//! What can be typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::complete::{names, names_that_wait};

/// Shows the changes of Feldera pipelines that wait for approval, and approves or rejects them.
#[derive(Parser, Debug)]
#[command(
    name = "kubectl-sluice",
    bin_name = "kubectl sluice",
    version,
    after_help = "\
Examples:
  kubectl sluice list -A                     what waits, in all namespaces
  kubectl sluice diff orders                 what the change is, and what approving it does
  kubectl sluice approve orders              read it, and answer a question
  kubectl sluice approve orders --change 0123456789abcdef0123456789abcdef --wait
                                             for a script: names what it approves
  kubectl sluice reject orders --reason 'empties the table payments'
  kubectl sluice history orders              who decided what, and why
  kubectl sluice plan -f pipeline.yaml       what a file would change, and the id that approves it

Colours are left out where there is no terminal, and where NO_COLOR is set.

Exit status: 0 good, 1 failed, 2 wrong use, 3 (plan) a change needs approval,
or a file can't be applied."
)]
pub struct Arguments {
    #[command(flatten)]
    pub connection: Connection,
    #[command(subcommand)]
    pub command: Command,
}

/// Which cluster, and as whom.
#[derive(Args, Debug, Default)]
pub struct Connection {
    /// The context of the kubeconfig
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// The kubeconfig file; otherwise as kubectl finds it
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The namespace; otherwise the context's
    #[arg(short, long, global = true, value_name = "NAME")]
    pub namespace: Option<String>,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Show all changes that wait for a decision, the one that waits for the longest first
    List(List),
    /// Show what the waiting change of a pipeline is, and what approving it does
    Diff(Diff),
    /// Approve the waiting change of a pipeline
    Approve(Approve),
    /// Reject the waiting change of a pipeline
    Reject(Reject),
    /// Show what was decided about a pipeline's changes: when, by whom, by which door, and why
    History(History),
    /// Show what files would change, and the ids that approve it, before they are applied
    Plan(Plan),
    /// Print the completion of a shell
    Completion(Completion),
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  kubectl sluice list -A                     what waits, in all namespaces
  kubectl sluice list -n shop -o json        the same of one, for programs")]
pub struct List {
    /// In all namespaces
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    pub all_namespaces: bool,
    /// The form
    #[arg(short, long, value_enum, default_value_t, hide_default_value = true)]
    pub output: Output,
}

#[derive(Args, Debug)]
#[command(after_help = "\
The engine's diff holds names only; below it stands how the program differs from the settled one,
where its text is known.

Examples:
  kubectl sluice diff orders
  kubectl sluice diff orders -n shop | less -R
  kubectl sluice diff orders -o yaml         the whole change, for programs")]
pub struct Diff {
    /// The name of the Pipeline
    #[arg(add = names_that_wait())]
    pub pipeline: String,
    /// The form
    #[arg(short, long, value_enum, default_value_t, hide_default_value = true)]
    pub output: Output,
}

/// The form of what is printed.
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Output {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
    /// For programs
    Yaml,
}

impl Output {
    /// The form, if it is one for programs.
    pub fn for_programs(self) -> Option<Self> {
        (self != Self::Text).then_some(self)
    }
}

#[derive(Args, Debug)]
#[command(after_help = "\
A Pipeline's status holds the last 20 decisions. All of them are in the operator's audit log, if it
has one (--audit-log).

Examples:
  kubectl sluice history orders
  kubectl sluice history orders --change 01234567
                                             one of them, with the diff as it was seen, and the votes
  kubectl sluice history orders -o json")]
pub struct History {
    /// The name of the Pipeline
    #[arg(add = names())]
    pub pipeline: String,
    /// Only this change, in full; 8 digits of its id will do
    #[arg(long, value_name = "ID", value_parser = part_of_change_id)]
    pub change: Option<String>,
    /// The form
    #[arg(short, long, value_enum, default_value_t, hide_default_value = true)]
    pub output: Output,
}

#[derive(Args, Debug)]
#[command(after_help = "\
For a pull request's checks: it needs to read Pipelines (the role sluice-viewer), and ConfigMaps if
programs come from there. References to ConfigMaps are looked up in the files first, and then in the
cluster. Who may edit Pipelines has the API server look at the files, too, without storing anything.

A change that is approved by the files themselves (spec.approvedChange, the annotation
sluice.dev/approve, or a PipelineApproval) needs no approval any more.

Examples:
  kubectl sluice plan -f pipeline.yaml
  kubectl sluice plan -f deploy/ -f approvals/ -R
  kustomize build . | kubectl sluice plan -f - -o json

Exit status: 0 no change needs approval, 3 one does, or a file can't be applied
as things are, 1 failed, 2 wrong use.")]
pub struct Plan {
    /// A file with Pipelines, a folder of such files, or - for standard input; may be repeated
    #[arg(short, long, value_name = "FILE", required = true, value_hint = clap::ValueHint::AnyPath)]
    pub filename: Vec<PathBuf>,
    /// Folders with all that is below them
    #[arg(short = 'R', long)]
    pub recursive: bool,
    /// The form
    #[arg(short, long, value_enum, default_value_t, hide_default_value = true)]
    pub output: Output,
}

#[derive(Args, Debug)]
#[command(after_help = "\
`kubectl sluice <TAB>` is completed by kubectl itself, once its own completion is set up and there is a
program kubectl_complete-sluice on the PATH, which is this one by another name:
  ln -s \"$(command -v kubectl-sluice)\" \"$(dirname \"$(command -v kubectl-sluice)\")/kubectl_complete-sluice\"

What this command prints completes the program when it is called kubectl-sluice:
  source <(kubectl sluice completion bash)")]
pub struct Completion {
    /// The shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Without a terminal, --change is required: a script says what it approves.

Examples:
  kubectl sluice approve orders              shows the change, and asks
  kubectl sluice approve orders --reason 'backfill is announced' --wait
  kubectl sluice approve orders --change 0123456789abcdef0123456789abcdef --wait --timeout 30m
  kubectl sluice approve --lost --engine feldera
                                             makes anew, from nothing, what is gone from that Engine")]
pub struct Approve {
    /// The name of the Pipeline
    #[arg(add = names_that_wait(), required_unless_present = "lost")]
    pub pipeline: Option<String>,
    /// All Pipelines of the namespace whose pipelines are gone from their engine: they are listed, and made
    /// anew, from nothing
    #[arg(long, conflicts_with_all = ["pipeline", "change", "wait"])]
    pub lost: bool,
    /// Only those of this Engine
    #[arg(
        long,
        value_name = "NAME",
        requires = "lost",
        conflicts_with = "pipeline"
    )]
    pub engine: Option<String>,
    /// The whole id of the change; it is an error if another one waits
    #[arg(long, value_name = "ID", value_parser = change_id)]
    pub change: Option<String>,
    /// Why; it stays in the Pipeline's history
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub reason: Option<String>,
    /// Don't ask
    #[arg(short, long)]
    pub yes: bool,
    /// Wait until the change is applied, and fail if it can't be
    #[arg(long)]
    pub wait: bool,
    /// How long to wait at most: 90s, 10m, 1h
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration, requires = "wait")]
    pub timeout: Duration,
}

#[derive(Args, Debug)]
#[command(after_help = "\
A rejection is final for this change. The pipeline is stopped and keeps its checkpoint; the old
program, or another change, brings it up again.

Without a terminal, --change is required: a script says what it rejects.

Examples:
  kubectl sluice reject orders --reason 'empties the table payments'
  kubectl sluice reject orders --change 0123456789abcdef0123456789abcdef --reason 'too early'")]
pub struct Reject {
    /// The name of the Pipeline
    #[arg(add = names_that_wait())]
    pub pipeline: String,
    /// The whole id of the change; it is an error if another one waits
    #[arg(long, value_name = "ID", value_parser = change_id)]
    pub change: Option<String>,
    /// Why; whoever made the change reads it in the Pipeline's status
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub reason: String,
    /// Don't ask
    #[arg(short, long)]
    pub yes: bool,
}

/// A whole change id. A prefix is refused, since another change could share it.
fn change_id(text: &str) -> Result<String, String> {
    let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    if text.len() == 32 && text.chars().all(hex) {
        Ok(text.to_owned())
    } else {
        Err("a change id is 32 hex digits in lower case; `kubectl sluice diff PIPELINE` prints the whole id".into())
    }
}

/// Enough of a change id to find it again. To look at it, its first digits will do.
fn part_of_change_id(text: &str) -> Result<String, String> {
    let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    if (8..=32).contains(&text.len()) && text.chars().all(hex) {
        Ok(text.to_owned())
    } else {
        Err("a change id is 32 hex digits in lower case; here the first 8 will do".into())
    }
}

/// A reason that the API server will take.
fn reason(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("say in a few words why".into()),
        text if text.chars().count() > 1024 => {
            Err("at most 1024 characters: link to what is longer".into())
        }
        text => Ok(text.to_owned()),
    }
}

/// A number and its unit.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "write a number and its unit: 90s, 10m or 1h".to_owned();
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    let seconds = match &text[digits.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(wrong()),
    };
    number
        .checked_mul(seconds)
        .map(Duration::from_secs)
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, clap::error::ErrorKind> {
        Arguments::try_parse_from(line.split_whitespace()).map_err(|error| error.kind())
    }

    #[test]
    fn the_definition_is_sound() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_rejection_needs_a_reason() {
        use clap::error::ErrorKind;
        assert_eq!(
            parse("kubectl-sluice reject orders").unwrap_err(),
            ErrorKind::MissingRequiredArgument
        );
        assert!(parse("kubectl-sluice reject orders --reason no").is_ok());
        assert!(reason("  ").is_err());
        assert!(reason(&"x".repeat(1025)).is_err());
        assert_eq!(reason(" no ").unwrap(), "no");
    }

    #[test]
    fn a_change_is_named_by_its_whole_id() {
        let whole = "0123456789abcdef0123456789abcdef";
        assert_eq!(change_id(whole).unwrap(), whole);
        for wrong in [
            "",
            "01234567",
            &whole.to_uppercase(),
            &format!("{whole}0"),
            "g123456789abcdef0123456789abcdef",
        ] {
            assert!(
                change_id(wrong).unwrap_err().contains("32 hex digits"),
                "{wrong:?}"
            );
        }
    }

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(duration("1h"), Ok(Duration::from_secs(3600)));
        for wrong in ["", "10", "m", "1d", "-1s", "99999999999999999999h"] {
            assert!(duration(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_namespace_and_all_of_them_exclude_each_other() {
        assert!(parse("kubectl-sluice list -A").is_ok());
        assert!(parse("kubectl-sluice list -n shop").is_ok());
        assert!(parse("kubectl-sluice list -A -n shop").is_err());
        assert!(parse("kubectl-sluice approve orders --timeout 5m").is_err());
    }

    #[test]
    fn what_is_lost_is_approved_together_or_one_by_its_name() {
        assert!(parse("kubectl-sluice approve --lost").is_ok());
        assert!(parse("kubectl-sluice approve --lost --engine feldera").is_ok());
        for wrong in [
            "",
            "orders --lost",
            "orders --engine feldera",
            "--lost --wait",
        ] {
            assert!(
                parse(&format!("kubectl-sluice approve {wrong}")).is_err(),
                "{wrong}"
            );
        }
    }
}
