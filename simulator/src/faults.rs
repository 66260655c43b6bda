//! Faults that tests switch on, by flag or at run time.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use axum::body::Bytes;
use serde_json::{Value, json};

use crate::config::parse_duration;

/// What a fault does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// The answer to `/approve` is a 200 that the process forgets, as by a crash right after.
    ApproveForgotten,
    /// Every answer takes that much longer.
    Latency(Duration),
    /// Nothing is done and this status is answered.
    Error(u16),
    /// Nothing is done and nothing is answered.
    Hang,
    /// The call is carried out and nothing is answered.
    HangAfter,
    /// Nothing is done, and the answer is a 200 that isn't what the call should give.
    Nonsense,
    /// Before the call the manager restarts, and has forgotten what the last so many of its polls
    /// told that brought something new.
    Restart(usize),
    /// A GET is answered as it was answered when this was switched on.
    Stale,
    /// Answers that have a field say something else in it.
    Lie {
        /// A field of a pipeline, or of what else the answer is or lists.
        field: String,
        /// What it says.
        value: Value,
    },
}

/// A fault: what it does, how often, to which calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What it does.
    pub effect: Effect,
    /// To how many calls; `None`: to all.
    pub count: Option<u64>,
    /// Only to calls whose path ends so.
    pub path: Option<String>,
    /// [`Effect::Stale`]: what was answered first, by path and query.
    answers: BTreeMap<String, Bytes>,
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (text, path) = match text.split_once('@') {
            Some((text, path)) => (text, Some(path.to_owned())),
            None => (text, None),
        };
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| format!("'{text}' isn't NAME=VALUE, such as hang=1"))?;
        let count = |text: &str| {
            text.parse::<u64>()
                .map_err(|_| format!("'{text}' isn't a number of calls, such as 1"))
        };
        let (effect, count) = match name {
            "approve-forgotten" => (Effect::ApproveForgotten, Some(count(value)?)),
            "latency" => (Effect::Latency(parse_duration(value)?), None),
            "hang" => (Effect::Hang, Some(count(value)?)),
            "hang-after" => (Effect::HangAfter, Some(count(value)?)),
            "nonsense" => (Effect::Nonsense, Some(count(value)?)),
            "stale" => (Effect::Stale, Some(count(value)?)),
            "restart" => {
                let (calls, polls) = value.split_once(':').unwrap_or((value, "1"));
                let polls = polls
                    .parse()
                    .map_err(|_| format!("'{polls}' isn't a number of polls, such as 1"))?;
                (Effect::Restart(polls), Some(count(calls)?))
            }
            "lie" => {
                let (field, value) = value.split_once('=').ok_or_else(|| {
                    format!("'{value}' isn't FIELD=VALUE, such as deployment_status=Running")
                })?;
                // What comes after the last colon may belong to the value.
                let (value, number) = value
                    .rsplit_once(':')
                    .and_then(|(value, number)| Some((value, Some(number.parse().ok()?))))
                    .unwrap_or((value, None));
                let value = serde_json::from_str(value).unwrap_or_else(|_| json!(value));
                let field = field.to_owned();
                (Effect::Lie { field, value }, number)
            }
            "error" => {
                let (status, number) = match value.split_once(':') {
                    Some((status, number)) => (status, Some(count(number)?)),
                    None => (value, None),
                };
                let status = status
                    .parse()
                    .ok()
                    .filter(|s| (400..600).contains(s))
                    .ok_or_else(|| format!("'{status}' isn't an error status, such as 503"))?;
                (Effect::Error(status), number)
            }
            _ => {
                return Err(format!(
                    "there is no fault '{name}', only approve-forgotten=N, latency=DURATION, \
                     error=STATUS[:N], hang=N, hang-after=N, nonsense=N, restart=N[:POLLS], stale=N \
                     and lie=FIELD=VALUE[:N], each with @PATH-SUFFIX if it shall hit only such calls"
                ));
            }
        };
        Ok(Self {
            effect,
            count,
            path,
            answers: BTreeMap::new(),
        })
    }
}

impl Fault {
    fn hits(&self, path: &str) -> bool {
        self.count != Some(0)
            && self
                .path
                .as_ref()
                .is_none_or(|suffix| path.ends_with(suffix))
    }

    fn count_down(&mut self) {
        self.count = self.count.map(|n| n.saturating_sub(1));
    }
}

/// The faults that are switched on.
#[derive(Debug, Default)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// These, in this order.
    pub fn new(faults: Vec<Fault>) -> Self {
        Self(faults)
    }

    /// From `{"hang": 1, "error": "503:2", …}`: each as its flag, and a list for several.
    ///
    /// # Errors
    /// What isn't a fault.
    pub fn add(&mut self, body: &Value) -> Result<(), String> {
        let Value::Object(map) = body else {
            return Err("write an object such as {\"hang\": 1}".to_owned());
        };
        let mut found = Vec::new();
        for (name, value) in map {
            let values = match value {
                Value::Array(values) => values.clone(),
                other => vec![other.clone()],
            };
            for value in values {
                let text = match value {
                    Value::String(text) => text,
                    other => other.to_string(),
                };
                found.push(format!("{name}={text}").parse()?);
            }
        }
        self.0.extend(found);
        Ok(())
    }

    /// Switches all off.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// What is switched on.
    pub fn to_json(&self) -> Value {
        let list: Vec<Value> = self
            .0
            .iter()
            .map(|f| json!({"effect": format!("{:?}", f.effect), "count": f.count, "path": f.path}))
            .collect();
        Value::Array(list)
    }

    /// The effects on a call before it is answered; each counts down.
    pub fn take(&mut self, path: &str) -> Vec<Effect> {
        let mut effects = Vec::new();
        let mut ended = false;
        for fault in &mut self.0 {
            let approve = fault.effect != Effect::ApproveForgotten || path.ends_with("/approve");
            let ends = match fault.effect {
                // These are about the answer: see `change_answer`.
                Effect::Stale | Effect::Lie { .. } => continue,
                Effect::Latency(_) | Effect::Restart(_) => false,
                // A call can only fail once; the others wait for the next.
                _ => true,
            };
            if !fault.hits(path) || !approve || ended && ends {
                continue;
            }
            ended |= ends;
            fault.count_down();
            effects.push(fault.effect.clone());
        }
        self.0.retain(|f| f.count != Some(0));
        effects
    }

    /// Does any of them change answers?
    pub fn change_answers(&self) -> bool {
        self.0
            .iter()
            .any(|f| matches!(f.effect, Effect::Stale | Effect::Lie { .. }))
    }

    /// What a good answer in JSON becomes. A fault counts down if it changes something.
    pub fn change_answer(&mut self, get: bool, path: &str, query: &str, body: Bytes) -> Bytes {
        let mut body = body;
        for fault in self.0.iter_mut().filter(|f| f.hits(path)) {
            match &fault.effect {
                Effect::Stale if get => {
                    let call = format!("{path}?{query}");
                    if let Some(first) = fault.answers.get(&call) {
                        body = first.clone();
                        fault.count_down();
                    } else {
                        fault.answers.insert(call, body.clone());
                    }
                }
                Effect::Lie { field, value } => {
                    if let Some(changed) = with_lie(&body, field, value) {
                        body = changed;
                        fault.count_down();
                    }
                }
                _ => {}
            }
        }
        self.0.retain(|f| f.count != Some(0));
        body
    }
}

/// The answer with another value in a field, if it is an object that has the field or a list of such.
fn with_lie(body: &Bytes, field: &str, value: &Value) -> Option<Bytes> {
    let mut answer: Value = serde_json::from_slice(body).ok()?;
    let objects = match &mut answer {
        Value::Array(list) => list.iter_mut().collect(),
        other => vec![other],
    };
    let mut changed = false;
    for object in objects {
        if let Some(truth) = object.get_mut(field) {
            *truth = value.clone();
            changed = true;
        }
    }
    changed.then(|| Bytes::from(answer.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_and_counted_down() {
        let mut faults = Faults::new(vec![
            "error=503:2@/start".parse().unwrap(),
            "latency=5ms".parse().unwrap(),
            "approve-forgotten=1".parse().unwrap(),
        ]);
        let latency = Effect::Latency(Duration::from_millis(5));
        let only_latency = std::slice::from_ref(&latency);
        let error_too = [Effect::Error(503), latency.clone()];
        let forgotten_too = [latency.clone(), Effect::ApproveForgotten];
        assert_eq!(faults.take("/v0/pipelines/p/start"), error_too);
        assert_eq!(faults.take("/v0/pipelines/p"), only_latency);
        assert_eq!(faults.take("/p/approve"), forgotten_too);
        assert_eq!(faults.take("/p/approve"), only_latency);
        assert_eq!(faults.take("/p/start"), error_too);
        assert_eq!(faults.take("/p/start"), only_latency);
        faults.clear();
        assert_eq!(faults.take("/p/start"), []);
        faults
            .add(&json!({"hang": 1, "error": ["500", "502:1"]}))
            .unwrap();
        assert_eq!(faults.to_json().as_array().unwrap().len(), 3);
    }

    #[test]
    fn what_is_no_fault_is_explained() {
        for (text, expected) in [
            ("hang", "NAME=VALUE"),
            ("hang=x", "number of calls"),
            ("error=200", "error status"),
            ("latency=5", "duration"),
            ("restart=1:x", "number of polls"),
            ("lie=deployment_status", "FIELD=VALUE"),
            ("slow=1", "there is no fault 'slow'"),
        ] {
            let error = text.parse::<Fault>().unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert!(Faults::default().add(&json!([])).is_err());
    }
    #[test]
    fn a_lie_is_json_or_else_a_word_and_may_hold_colons() {
        for (text, value, count) in [
            ("lie=a=Running:2", json!("Running"), Some(2)),
            ("lie=a=7:1", json!(7), Some(1)),
            ("lie=a=null", Value::Null, None),
            (r#"lie=a={"b":{"c":1}}:3"#, json!({"b": {"c": 1}}), Some(3)),
            ("lie=a=b:c", json!("b:c"), None),
        ] {
            let fault: Fault = text.parse().unwrap();
            let field = "a".to_owned();
            assert_eq!(
                (fault.effect, fault.count),
                (Effect::Lie { field, value }, count),
                "{text}"
            );
        }
    }

    #[test]
    fn only_answers_with_the_field_are_changed_and_counted() {
        let mut faults = Faults::new(vec!["lie=status=Up:2".parse().unwrap()]);
        assert!(faults.change_answers() && faults.take("/p").is_empty());
        let mut answer = |body: Value| {
            let body = faults.change_answer(true, "/p", "", Bytes::from(body.to_string()));
            serde_json::from_slice::<Value>(&body).unwrap()
        };
        assert_eq!(answer(json!({"other": 1})), json!({"other": 1}));
        let list = json!([{"status": "Down", "id": 1}, {"status": "Down", "id": 2}]);
        let lies = json!([{"status": "Up", "id": 1}, {"status": "Up", "id": 2}]);
        assert_eq!(answer(list), lies);
        let one = json!({"status": "Down"});
        assert_eq!(answer(one.clone()), json!({"status": "Up"}));
        assert_eq!(answer(one.clone()), one, "it has run out");
    }
}
