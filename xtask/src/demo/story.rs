//! The story: what people do, and what then has to be seen.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;

use super::error::Error;
use super::ledger::{self, Change, Fate};
use super::place;
use super::shell::Shell;
use super::stage::Stage;
use super::watch::{self, Mark, Watch};
use crate::say;

/// How long it is watched that nothing happens: the operator asks the engine twice a second.
const NOTHING_HAPPENS_FOR: Duration = Duration::from_secs(3);

type Chapter<'a> = fn(&mut Story<'a>) -> Result<(), Error>;

fn chapters<'a>() -> [(&'static str, Chapter<'a>); 8] {
    [
        ("1. Three programs start", Story::programs_start),
        (
            "2. A view of TPC-H changes, and is approved by annotation",
            Story::approved_by_annotation,
        ),
        ("3. A new view, approved by field", Story::approved_by_field),
        (
            "4. A changed user-defined function, approved by REST",
            Story::approved_by_rest,
        ),
        (
            "5. An approval that comes too early does nothing",
            Story::approved_too_early,
        ),
        ("6. A change is rejected", Story::rejected),
        (
            "7. A program that doesn't compile stops nothing",
            Story::broken,
        ),
        (
            "8. What the engine was told",
            Story::what_the_engine_was_told,
        ),
    ]
}

/// Tells it, and how long each chapter took.
///
/// # Errors
/// When something isn't seen.
pub fn tell(stage: &Stage, times: &mut Vec<(&'static str, Duration)>) -> Result<(), Error> {
    let mut story = Story {
        stage,
        watch: Watch::begin(&Shell::of(stage.place, "admin"))?,
        changes: Vec::new(),
    };
    for (title, chapter) in chapters() {
        let begin = Instant::now();
        say::heading(title);
        chapter(&mut story).map_err(|error| match stage.missing() {
            Some(name) => Error::Unseen {
                expected: format!("the {name} runs"),
                seen: format!("it has ended ({error})"),
            },
            None => error,
        })?;
        times.push((title, begin.elapsed()));
    }
    Ok(())
}

struct Story<'a> {
    stage: &'a Stage<'a>,
    watch: Watch,
    changes: Vec<Change>,
}

impl<'a> Story<'a> {
    fn programs_start(&mut self) -> Result<(), Error> {
        let (admin, bob) = (self.shell("admin"), self.shell("bob"));
        say::line(
            "TPC-H (8 tables, 22 queries, from a lake to Kafka and Postgres) and Nexmark (an auction house, with functions in SQL and in Rust), each kept in files of its own, and a small one.",
        );
        bob.types(
            "wc -l examples/tpch/tpch.sql examples/nexmark/nexmark.sql examples/nexmark/udf.rs",
        )?;
        self.overlay("tpch", "tpch.sql", Some("lab"))?;
        self.overlay("nexmark", "nexmark.sql", None)?;
        say::line(
            "\nTo edit them, bob has copies, which kustomize puts in the place of the examples'. TPC-H names its engine:",
        );
        bob.types("cat .demo/tpch/kustomization.yaml")?;
        let begin = self.watch.now();
        bob.types("kubectl apply -k .demo/tpch")?;
        bob.types("kubectl apply -k .demo/nexmark")?;
        bob.types("kubectl apply -f examples/orders.yaml")?;
        for pipeline in ["tpch", "nexmark", "orders"] {
            self.runs(pipeline, begin)?;
        }
        say::line("There is no state yet, so nobody is asked.");
        admin.types("kubectl get engines,pipelines")?;
        Ok(())
    }

    fn approved_by_annotation(&mut self) -> Result<(), Error> {
        let (alice, bob, carol) = (self.shell("alice"), self.shell("bob"), self.shell("carol"));
        say::line("Q3 is to look at another market. bob edits the program and applies it.");
        let begin = self.watch.now();
        self.edit("tpch", "tpch.sql", "BUILDING", "MACHINERY")?;
        bob.types("kubectl apply -k .demo/tpch")?;
        let object = self.waits("tpch", begin)?;
        let mut change = Change::waiting("tpch", &object, "annotation", Fate::Approved);
        say::line(
            "The pipeline stopped with a checkpoint, and the engine holds the new program at its gate. Who looks sees what it is, and the command that approves it:",
        );
        carol.types("kubectl get pipelines")?;
        carol.types("kubectl sluice list")?;
        carol.types("kubectl sluice diff tpch")?;
        carol.types(r#"kubectl get pipeline tpch -o jsonpath='{.status.conditions[?(@.type=="Ready")].message}{"\n"}'"#)?;

        say::line("\nWho may not approve can't, at any door:");
        let id = &change.id;
        bob.is_refused(&format!(
            "kubectl annotate pipeline tpch sluice.dev/approve={id}"
        ))?;
        place::write(&self.stage.place.program("vote.yaml"), vote(id))?;
        bob.is_refused("kubectl create -f .demo/vote.yaml")?;
        self.refused_by_rest(&bob, "tpch", id)?;
        self.refused_by_rest(&carol, "tpch", id)?;

        say::line("\nalice may. She types the command that stands in the status:");
        change.decided = Some(Timestamp::now());
        let decided = self.watch.now();
        alice.types(watch::text(&object, "/status/approval/approveCommand"))?;
        self.bootstraps_and_runs("tpch", decided)?;
        self.changes.push(change);
        carol.types("kubectl get pipeline tpch")?;
        Ok(())
    }

    fn approved_by_field(&mut self) -> Result<(), Error> {
        let (alice, bob) = (self.shell("alice"), self.shell("bob"));
        say::line("The second version of orders has one view more.");
        bob.types_somehow(
            "diff examples/orders.yaml examples/orders-v2.yaml | grep '^[<>]       '",
        )?;
        let begin = self.watch.now();
        bob.types("kubectl apply -f examples/orders-v2.yaml")?;
        let object = self.waits("orders", begin)?;
        let mut change = Change::waiting(
            "orders",
            &object,
            "field spec.approvedChange",
            Fate::Approved,
        );
        alice.types("kubectl sluice diff orders")?;
        say::line("\nThis time by a field, as a commit or a chart's values would set it:");
        change.decided = Some(Timestamp::now());
        let decided = self.watch.now();
        alice.types(&format!(
            r#"kubectl patch pipeline orders --type=merge -p '{{"spec":{{"approvedChange":"{}"}}}}'"#,
            change.id
        ))?;
        self.bootstraps_and_runs("orders", decided)?;
        self.changes.push(change);
        Ok(())
    }

    fn approved_by_rest(&mut self) -> Result<(), Error> {
        let (alice, bob) = (self.shell("alice"), self.shell("bob"));
        say::line(
            "The rate in Nexmark's function in_euros is old. A changed function is a changed view wherever it is used.",
        );
        let begin = self.watch.now();
        self.edit("nexmark", "nexmark.sql", "0.908", "0.921")?;
        bob.types("kubectl apply -k .demo/nexmark")?;
        let object = self.waits("nexmark", begin)?;
        let mut change = Change::waiting("nexmark", &object, "REST", Fate::Approved);
        alice.types("kubectl sluice diff nexmark")?;
        say::line(
            "\nThis time over REST, at the path and with the answer that Feldera's own clients know:",
        );
        change.decided = Some(Timestamp::now());
        let decided = self.watch.now();
        let answer = alice.types(&post("nexmark", &change.id))?;
        if !(answer.contains("HTTP 202") && answer.contains("checkpoint_sequence_number")) {
            return Err(unseen("HTTP 202 with the checkpoint's number", &answer));
        }
        self.bootstraps_and_runs("nexmark", decided)?;
        say::line(
            "The approval stands in the cluster, with the name that the API server knows her by:",
        );
        alice.types("kubectl get pipelineapprovals")?;
        self.changes.push(change);
        Ok(())
    }

    fn approved_too_early(&mut self) -> Result<(), Error> {
        let (alice, bob) = (self.shell("alice"), self.shell("bob"));
        say::line(
            "Nothing waits on tpch, and alice approves all the same: what comes, she thinks, will be fine.",
        );
        let begin = self.watch.now();
        alice
            .types(r#"kubectl patch pipeline tpch --type=merge -p '{"spec":{"approved":true}}'"#)?;
        self.watch.follow(
            "tpch",
            begin,
            &[],
            (" with the condition StaleApproval", |object| {
                !watch::condition(object, "StaleApproval").is_empty()
            }),
        )?;
        self.event("StaleApproval", "tpch")?;

        say::line("\nNow the change comes: Q4 is to look at another quarter.");
        let begin = self.watch.now();
        self.edit("tpch", "tpch.sql", "1993-07-01", "1994-07-01")?;
        bob.types("kubectl apply -k .demo/tpch")?;
        let object = self.waits("tpch", begin)?;
        let change = Change::waiting(
            "tpch",
            &object,
            "approved before it was there; taken back",
            Fate::Not("the approval came too early"),
        );
        std::thread::sleep(NOTHING_HAPPENS_FOR);
        bob.types("kubectl get pipeline tpch")?;
        let phase = bob.quietly("kubectl get pipeline tpch -o jsonpath='{.status.phase}'")?;
        if phase.text != "AwaitingApproval" {
            return Err(unseen("the change still waits", &phase.text));
        }
        bob.types(r#"kubectl get pipeline tpch -o jsonpath='{.status.conditions[?(@.type=="StaleApproval")].message}{"\n"}'"#)?;
        let calls = ledger::approve_calls(self.stage.place, "tpch")?;
        if calls.iter().any(|call| *call >= change.published) {
            return Err(unseen(
                "no approve call",
                "one in the engine's log of calls",
            ));
        }
        say::line(
            "It waits: an approval that names no change counts only if it comes after the change. The engine was told nothing.",
        );

        say::line(
            "\nbob takes the change back, and the program that ran before runs again. Nobody is asked:",
        );
        let back = self.watch.now();
        self.edit("tpch", "tpch.sql", "1994-07-01", "1993-07-01")?;
        bob.types("kubectl apply -k .demo/tpch")?;
        self.runs("tpch", back)?;
        self.nobody_was_asked("tpch", back)?;
        alice
            .types(r#"kubectl patch pipeline tpch --type=merge -p '{"spec":{"approved":null}}'"#)?;
        self.changes.push(change);
        Ok(())
    }

    fn rejected(&mut self) -> Result<(), Error> {
        let (alice, bob) = (self.shell("alice"), self.shell("bob"));
        say::line("Two tables of orders get a column more, and a modified table is emptied.");
        let begin = self.watch.now();
        bob.types("kubectl apply -f examples/orders-v4.yaml")?;
        let object = self.waits("orders", begin)?;
        let mut change = Change::waiting("orders", &object, "rejected", Fate::Not("rejected"));
        alice.types("kubectl sluice diff orders")?;
        say::line("\nNo connector would fill refunds again. alice rejects it, and says why:");
        change.decided = Some(Timestamp::now());
        let decided = self.watch.now();
        alice.types(&format!(
            "kubectl sluice reject orders --change {} --reason 'refunds would be lost: load them from the ledger first'",
            change.id
        ))?;
        self.watch.follow(
            "orders",
            decided,
            &["Rejected"],
            (" with the engine's pipeline stopped", |object| {
                watch::text(object, "/status/engine/deploymentStatus") == "Stopped"
            }),
        )?;
        bob.types(r#"kubectl get pipeline orders -o jsonpath='{.status.conditions[?(@.type=="Ready")].message}{"\n"}'"#)?;
        say::line(
            "\nThe pipeline is stopped, and its checkpoint is as it was. bob puts the old program back:",
        );
        let back = self.watch.now();
        bob.types("kubectl apply -f examples/orders-v2.yaml")?;
        self.runs("orders", back)?;
        self.nobody_was_asked("orders", back)?;
        say::line("It came up as it was, and nobody was asked.");
        self.changes.push(change);
        Ok(())
    }

    fn broken(&mut self) -> Result<(), Error> {
        let bob = self.shell("bob");
        say::line("A view reads a table that isn't there.");
        let begin = self.watch.now();
        bob.types("kubectl apply -f examples/orders-broken.yaml")?;
        let object = self.watch.follow(
            "orders",
            begin,
            &[],
            (" with reason CompileFailed", |object| {
                watch::condition(object, "Ready").starts_with("Ready=False CompileFailed")
            }),
        )?;
        let deployment = watch::text(&object, "/status/engine/deploymentStatus").to_owned();
        if deployment != "Running" {
            return Err(unseen("the old program still runs", &deployment));
        }
        bob.types(r#"kubectl get pipeline orders -o jsonpath='{.status.phase}: {.status.conditions[?(@.type=="Ready")].message}{"\n"}'"#)?;
        say::line("\nThe old program went on all the while. bob puts it back:");
        let back = self.watch.now();
        bob.types("kubectl apply -f examples/orders-v2.yaml")?;
        self.runs("orders", back)?;
        let disturbed: Vec<String> = self
            .watch
            .phases("orders", begin)
            .into_iter()
            .filter(|phase| phase != "Running")
            .collect();
        match disturbed.is_empty() {
            true => Ok(()),
            false => Err(unseen("nothing but Running", &disturbed.join(", "))),
        }
    }

    fn what_the_engine_was_told(&mut self) -> Result<(), Error> {
        say::line("The engine's own log of calls has a line for each:");
        self.shell("admin")
            .types("grep '/approve' .demo/calls.jsonl")?;
        say::line("\nHeld against what was decided (UTC):\n");
        ledger::check(self.stage.place, &self.changes)?;
        say::line(
            "\nOne call for each approved change, after its approval; none for the early and the rejected one.",
        );
        Ok(())
    }

    fn shell(&self, person: &'static str) -> Shell<'a> {
        Shell::of(self.stage.place, person)
    }

    /// Makes a kustomization whose program can be edited without editing the example.
    fn overlay(&self, name: &str, program: &str, engine: Option<&str>) -> Result<(), Error> {
        let place = self.stage.place;
        let dir = place.program(name);
        let patch = engine.map_or(String::new(), |engine| {
            format!(
                "\
patches:
  - target: {{kind: Pipeline}}
    patch: |
      - {{op: add, path: /spec/engineRef, value: {{name: {engine}}}}}
"
            )
        });
        let kustomization = format!(
            "\
resources:
  - ../../examples/{name}
configMapGenerator:
  - name: {name}
    behavior: merge
    files: [{program}]
generatorOptions:
  disableNameSuffixHash: true
{patch}"
        );
        place::write(&dir.join("kustomization.yaml"), kustomization)?;
        let copy = self.shell("bob").quietly(&format!(
            "cp examples/{name}/{program} .demo/{name}/{program}"
        ))?;
        match copy.good {
            true => Ok(()),
            false => Err(unseen("a copy of the example", &copy.text)),
        }
    }

    /// bob edits his copy, and what he has changed is shown.
    fn edit(&self, name: &str, program: &str, old: &str, new: &str) -> Result<(), Error> {
        let bob = self.shell("bob");
        let copy = format!(".demo/{name}/{program}");
        bob.types(&format!(
            "sed 's/{old}/{new}/' {copy} > {copy}.new && mv {copy}.new {copy}"
        ))?;
        let diff = bob.types_somehow(&format!("diff examples/{name}/{program} {copy}"))?;
        // `diff` says 1 when it has found something.
        match diff.text.contains("No such file") {
            false => Ok(()),
            true => Err(unseen("what was edited", &diff.text)),
        }
    }

    fn waits(&self, pipeline: &str, since: Mark) -> Result<Value, Error> {
        self.watch.follow(
            pipeline,
            since,
            &["AwaitingApproval"],
            (" with the command that approves it", |object| {
                watch::text(object, "/status/approval/state") == "Awaiting"
                    && watch::text(object, "/status/approval/approveCommand")
                        .contains(watch::text(object, "/status/approval/changeId"))
            }),
        )
    }

    fn runs(&self, pipeline: &str, since: Mark) -> Result<Value, Error> {
        self.watch.follow(
            pipeline,
            since,
            &["Running"],
            (" and Ready", watch::is_ready),
        )
    }

    /// And the engine has a checkpoint of it, so that the approval has done its work.
    fn bootstraps_and_runs(&self, pipeline: &str, since: Mark) -> Result<Value, Error> {
        self.watch.follow(
            pipeline,
            since,
            &["Bootstrapping", "Running"],
            (" with the change Sealed", |object| {
                watch::is_ready(object) && watch::text(object, "/status/approval/state") == "Sealed"
            }),
        )
    }

    fn nobody_was_asked(&self, pipeline: &str, since: Mark) -> Result<(), Error> {
        // The first version that was seen since may still be the one from before.
        let phases = self.watch.phases(pipeline, since);
        let asked = phases
            .iter()
            .skip(1)
            .any(|phase| matches!(phase.as_str(), "AwaitingApproval" | "Bootstrapping"));
        match asked {
            false => Ok(()),
            true => Err(unseen("no gate and no bootstrap", &phases.join(", "))),
        }
    }

    fn refused_by_rest(&self, who: &Shell, pipeline: &str, id: &str) -> Result<(), Error> {
        let answer = who.types(&post(pipeline, id))?;
        match answer.contains("HTTP 403") {
            true => Ok(()),
            false => Err(unseen("HTTP 403", &answer)),
        }
    }

    /// Waits for an Event, which comes a moment after what it tells of, and shows it.
    fn event(&self, reason: &str, pipeline: &str) -> Result<(), Error> {
        let bob = self.shell("bob");
        let command = format!(
            r#"kubectl get events --field-selector reason={reason},involvedObject.name={pipeline} -o jsonpath='{{range .items[*]}}{{.type}} {{.reason}}: {{.message}}{{"\n"}}{{end}}'"#
        );
        for _ in 0..40 {
            if bob.quietly(&command)?.text.contains(reason) {
                break;
            }
            std::thread::sleep(Duration::from_millis(250));
        }
        let text = bob.types(&command)?;
        match text.contains(reason) {
            true => Ok(()),
            false => Err(unseen(&format!("an Event {reason}"), &text)),
        }
    }
}

fn unseen(expected: &str, seen: &str) -> Error {
    Error::Unseen {
        expected: expected.to_owned(),
        seen: seen.trim().to_owned(),
    }
}

/// The REST call that approves a change, with curl, or with Python where there is no curl.
fn post(pipeline: &str, id: &str) -> String {
    let url = format!("$SLUICE/v0/pipelines/{pipeline}/approve?change_id={id}");
    if has_curl() {
        return format!(
            r#"curl -sS -X POST -H "Authorization: Bearer $TOKEN" -w '\nHTTP %{{http_code}}\n' "{url}""#
        );
    }
    format!(
        r#"python3 -c 'import sys, urllib.request as r, urllib.error as e
try: a = r.urlopen(r.Request(sys.argv[1], method="POST", headers={{"Authorization": "Bearer " + sys.argv[2]}}))
except e.HTTPError as error: a = error
print(a.read().decode()); print("HTTP", a.status)' "{url}" "$TOKEN""#
    )
}

fn has_curl() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join("curl").is_file())
}

/// An approval as an object.
fn vote(id: &str) -> String {
    format!(
        "\
apiVersion: sluice.dev/v1alpha1
kind: PipelineApproval
metadata:
  generateName: tpch-approve-
spec:
  pipelineRef: {{name: tpch}}
  changeId: \"{id}\"
  decision: Approve
"
    )
}
