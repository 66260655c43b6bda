//! Which pipelines are gone from which engine, as the statuses of their Pipelines say: an engine that has lost all
//! shows that in one place. Pure.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use super::EngineKey;
use crate::crd::{ApprovalState, Pipeline};

/// How many of them are named.
const NAMED: usize = 5;

/// All that are lost.
#[derive(Default)]
pub(super) struct Lost(HashMap<EngineKey, BTreeMap<String, One>>);

/// One of them.
#[derive(PartialEq)]
struct One {
    name: String,
    since: Timestamp,
    /// Whether the engine has another pipeline of its name, so that none can be made there.
    is_in_the_way: bool,
}

/// What there is to say of one engine.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Summary {
    /// How many.
    pub(super) count: usize,
    /// Since when the first of them is missed.
    pub(super) since: Option<Timestamp>,
    /// Of how many the engine has another pipeline of their name.
    pub(super) in_the_way: usize,
    /// Their Pipelines' names, the first ones.
    pub(super) names: Vec<String>,
}

impl Lost {
    /// Takes down how a Pipeline stands. Says whether that is news.
    pub(super) fn note(&mut self, key: &EngineKey, pipeline: &Pipeline) -> bool {
        let uid = pipeline.uid().unwrap_or_default();
        let status = pipeline.status.as_ref();
        let lost = status.and_then(|status| status.lost.as_ref());
        // Where somebody has said no, nothing is to be done any more.
        let approval = status.and_then(|status| status.approval.as_ref());
        let rejected = approval.filter(|it| it.state == ApprovalState::Rejected);
        let rejected = rejected.map(|approval| &approval.parent);
        let lost = lost.filter(|lost| lost.link.is_some() && lost.link.as_ref() != rejected);
        match lost {
            Some(lost) => {
                let one = One {
                    name: pipeline.name_any(),
                    since: lost.since.0,
                    is_in_the_way: lost.found.is_some(),
                };
                let all = self.0.entry(key.clone()).or_default();
                let is_news = all.get(&uid) != Some(&one);
                all.insert(uid, one);
                is_news
            }
            None => self
                .0
                .get_mut(key)
                .is_some_and(|all| all.remove(&uid).is_some()),
        }
    }

    /// Forgets those that are gone. Returns whose engines are concerned.
    pub(super) fn retain(&mut self, exists: impl Fn(&str) -> bool) -> Vec<EngineKey> {
        let mut touched = vec![];
        self.0.retain(|key, all| {
            let before = all.len();
            all.retain(|uid, _| exists(uid));
            if all.len() != before {
                touched.push(key.clone());
            }
            !all.is_empty()
        });
        touched
    }

    /// What there is to say of an engine.
    pub(super) fn of(&self, key: &EngineKey) -> Summary {
        let Some(all) = self.0.get(key) else {
            return Summary::default();
        };
        let mut names: Vec<String> = all.values().map(|one| one.name.clone()).collect();
        names.sort_unstable();
        names.truncate(NAMED);
        Summary {
            count: all.len(),
            in_the_way: all.values().filter(|one| one.is_in_the_way).count(),
            since: all.values().map(|one| one.since).min(),
            names,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pipeline(name: &str, since: Option<&str>) -> Pipeline {
        let lost = since.map(
            |since| json!({"pipelineId": "p", "since": since, "looks": 3, "link": "0".repeat(32)}),
        );
        serde_json::from_value(json!({
            "apiVersion": "sluice.dev/v1alpha1", "kind": "Pipeline",
            "metadata": {"name": name, "namespace": "shop", "uid": name},
            "spec": {"program": {"sql": ""}}, "status": {"lost": lost},
        }))
        .unwrap()
    }

    #[test]
    fn an_engine_says_how_many_are_lost_and_since_when_the_first_is() {
        let key = EngineKey::Default;
        let mut lost = Lost::default();
        assert!(!lost.note(&key, &pipeline("a", None)));
        assert!(lost.note(&key, &pipeline("b", Some("2026-01-02T00:00:00Z"))));
        assert!(lost.note(&key, &pipeline("a", Some("2026-01-01T00:00:00Z"))));
        assert!(!lost.note(&key, &pipeline("a", Some("2026-01-01T00:00:00Z"))));
        let summary = lost.of(&key);
        assert_eq!(
            (summary.count, summary.names),
            (2, vec!["a".into(), "b".into()])
        );
        assert_eq!(summary.since, "2026-01-01T00:00:00Z".parse().ok());
        // One is back, and the object of the other is gone.
        assert!(lost.note(&key, &pipeline("a", None)));
        assert_eq!(lost.retain(|uid| uid != "b"), std::slice::from_ref(&key));
        assert_eq!(lost.of(&key), Summary::default());
    }
}
