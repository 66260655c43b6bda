//! `kubectl sluice diff`: what the waiting change is.

use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::{Value, json};
use sluice_gate::change::Content;
use sluice_gate::crd::{Approval, Pipeline, Settled};
use sluice_gate::lineage;

use crate::arguments::Diff;
use crate::choose::{state, waiting};
use crate::cluster::Cluster;
use crate::differing::Differing;
use crate::error::Error;
use crate::output::structured;
use crate::program::{self, PartDiff, Source};
use sluice_gate::describe::{self, commands, describe, makes_anew};

/// What is printed.
pub async fn run(cluster: &Cluster, diff: &Diff) -> Result<String, Error> {
    let pipeline = cluster.pipeline(&diff.pipeline).await?;
    let Some(change) = waiting(&pipeline) else {
        // Not an error: somebody asked what waits, and nothing does.
        return Ok(match diff.output.for_programs() {
            None => format!(
                "No change of Pipeline {} waits for a decision; {}.\n",
                diff.pipeline,
                state(&pipeline)
            ),
            Some(output) => structured(&for_programs(&pipeline, None, &[]), output),
        });
    };
    let program = program_of(cluster, &pipeline, change).await;
    Ok(match diff.output.for_programs() {
        None => format!(
            "{}\n{}",
            in_full(&pipeline, change, &program),
            commands(
                &diff.pipeline,
                &cluster.namespace,
                cluster.context.as_deref(),
                &change.change_id
            ),
        ),
        Some(output) => structured(&for_programs(&pipeline, Some(change), &program), output),
    })
}

/// Everything that is known of a change, for whoever decides.
pub fn in_full(pipeline: &Pipeline, change: &Approval, program: &[PartDiff]) -> String {
    let mut text = describe(pipeline, change, Timestamp::now());
    for part in program {
        text.push('\n');
        text += &part.to_text();
    }
    text
}

/// How the waiting program differs from the settled one.
pub async fn program_of(
    cluster: &Cluster,
    pipeline: &Pipeline,
    change: &Approval,
) -> Vec<PartDiff> {
    let settled = pipeline
        .status
        .as_ref()
        .and_then(|status| status.settled.as_ref())
        .filter(|settled| settled.change_id == change.parent || makes_anew(pipeline, change));
    // Without one there is nothing to compare with, and nothing that the engine would ask about.
    let Some(settled) = settled else {
        return vec![];
    };
    let content = cluster.content(pipeline).await;
    differing_parts(pipeline, change, settled, content)
}

fn beside_what_stays(pipeline: &Pipeline, content: &Content) -> Content {
    let status = pipeline.status.clone().unwrap_or_default();
    lineage::beside_what_is_held(content, &lineage::as_after_the_loss(&status))
}

fn differing_parts(
    pipeline: &Pipeline,
    change: &Approval,
    settled: &Settled,
    content: Result<Option<Content>, String>,
) -> Vec<PartDiff> {
    // Of what the spec doesn't give, the engine's own stays: it is part of the change.
    let beside = |content| beside_what_stays(pipeline, &content);
    let content = content.map(|content| content.map(beside));
    let wanted = content.as_ref().ok().and_then(|content| content.as_ref());
    let status = pipeline.status.as_ref();
    let settings = status.map(|status| Differing::of(status, wanted, &change.target));
    let settings = settings.unwrap_or_default();
    let before = Source {
        kept: settled.program.as_ref(),
        content: None,
    };
    let after = Source {
        kept: None,
        content: match &content {
            Ok(Some(content)) => Some(Ok(content)),
            Ok(None) => Some(Err(
                "the Pipeline has no program: it is made elsewhere, and only the engine has it",
            )),
            Err(why) => Some(Err(why)),
        },
    };
    match describe::before(pipeline, change) {
        Some(target) => program::diff((target, &before), (&change.target, &after), &settings),
        None => program::of_unknown_origin(&change.target, &after, &settings),
    }
}

fn for_programs(pipeline: &Pipeline, change: Option<&Approval>, program: &[PartDiff]) -> Value {
    let program: Vec<Value> = program.iter().map(PartDiff::to_json).collect();
    json!({
        "namespace": pipeline.namespace(),
        "pipeline": pipeline.name_any(),
        "change": change,
        "program": program,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choose::tests::pipeline;
    use sluice_gate::held_settings;
    use sluice_gate::snapshot;

    const ORIGIN: &str = "since nobody recorded what the checkpoint was made from";

    fn content(config: Value) -> Content {
        Content {
            sql: "CREATE TABLE t;\n".into(),
            runtime_config: config.as_object().cloned(),
            ..Content::default()
        }
    }

    /// What is printed of the change that waits, once the spec gives `given` and somebody has set `others` at the engine beside
    /// what is settled. None of their values can be in it.
    fn shown(given: &Content, others: Value, settled: Settled, asked_for: &Content) -> String {
        let settings = held_settings::as_found(None, others.as_object()).unwrap();
        let mut pipeline = pipeline("Awaiting");
        let status = pipeline.status.as_mut().unwrap();
        let mut target = given.target();
        target.settings = held_settings::name_of(&held_settings::meaning(&settings));
        status.content = serde_json::from_value(json!({
            "version": 2, "digest": "d", "target": target, "settings": settings,
            "givenSettings": ["workers"], "runtimeConfigIsGiven": true,
        }))
        .unwrap();
        status.settled = Some(settled.clone());
        let wanted = beside_what_stays(&pipeline, asked_for);
        let mut change = waiting(&pipeline).unwrap().clone();
        change.target = wanted.target();
        let parts = differing_parts(&pipeline, &change, &settled, Ok(Some(given.clone())));
        let json: Vec<Value> = parts.iter().map(PartDiff::to_json).collect();
        let text: String = parts.iter().map(PartDiff::to_text).collect();
        let text = anstream::adapter::strip_str(&text).to_string();
        let json = json!(json).to_string();
        assert!(!text.contains("evil") && !json.contains("evil"), "{text}");
        // Each says it.
        for word in ["dev_tweaks", "http", ORIGIN] {
            assert_eq!(text.contains(word), json.contains(word), "{word}: {json}");
        }
        text
    }

    fn settled(of: &Content) -> Settled {
        Settled {
            target: of.target(),
            settings: of.settings(),
            program: Some(snapshot::keep(&Default::default(), of)),
            ..Settled::unknown("root".into())
        }
    }

    #[test]
    fn settings_that_somebody_has_set_at_the_engine_are_named_and_the_spec_is_not_said_to_have_moved_on()
     {
        let before = content(json!({"workers": 2}));
        let others = json!({"dev_tweaks": {"evil": 1}});
        assert_eq!(
            shown(&before, others.clone(), settled(&before), &before),
            "runtime settings differ in dev_tweaks, and can't be shown: Sluice keeps no values of what somebody has set at the engine: read them there\n"
        );
        let env = content(json!({"workers": 2, "env": {"L": "1"}}));
        let text = shown(&env, others.clone(), settled(&before), &env);
        assert!(text.contains("+    \"L\": \"1\""), "{text}");
        assert!(
            text.contains("not shown, or not whole: dev_tweaks. Sluice keeps"),
            "{text}"
        );
        // What is settled has others' settings in it, too, and its own text is shown all the same.
        let mut earlier = settled(&env);
        let both = json!({"env": {"L": "1"}, "dev_tweaks": {"evil": 1}});
        earlier.settings = held_settings::digests(both.as_object());
        earlier.target.settings = held_settings::name(both.as_object());
        let other = content(json!({"workers": 2, "env": {"L": "2"}}));
        let more = json!({"dev_tweaks": {"evil": 1}, "http": "evil"});
        let text = shown(&other, more, earlier, &other);
        assert!(
            text.contains("-    \"L\": \"1\"\n  +    \"L\": \"2\""),
            "{text}"
        );
        assert!(text.contains("not whole: http. Sluice keeps"), "{text}");
        // Here it has.
        let text = shown(&before, others, settled(&before), &env);
        let why = "runtime settings differ, and can't be shown: the new program: the spec, beside what others have set at the engine, asks for another one by now";
        assert!(text.contains(why), "{text}");
    }

    #[test]
    fn what_is_not_known_to_differ_is_not_said_to_and_what_is_asked_for_is_shown() {
        let given = content(json!({"workers": 2, "env": {"L": "1"}}));
        let others = json!({"dev_tweaks": {"evil": 1}});
        let unknown = Settled::unknown("root".into());
        let text = shown(&given, others.clone(), unknown.clone(), &given);
        assert_eq!(
            text,
            format!(
                "\
SQL program: it isn't known whether it differs, {ORIGIN}; the spec has
   CREATE TABLE t;
Rust of the user-defined functions: it isn't known whether it differs, {ORIGIN}; the spec has none
Cargo dependencies of the user-defined functions: it isn't known whether they differ, {ORIGIN}; the spec has none
program configuration: it isn't known whether it differs, {ORIGIN}; the spec has none
runtime settings: it isn't known whether they differ, {ORIGIN}; the spec has
   {{
     \"env\": {{
       \"L\": \"1\"
     }}
   }}
  not shown, or not whole: dev_tweaks. Sluice keeps no values of what somebody has set at the engine: read them there
"
            )
        );
        let other = Content {
            sql: "another".into(),
            ..given.clone()
        };
        let text = shown(&given, others, unknown, &other);
        let why = "SQL program: it isn't known whether it differs, since nobody recorded what the checkpoint was made from, and what is asked for can't be shown: the spec asks for another one by now\n";
        assert!(text.contains(why), "{text}");
    }
}
