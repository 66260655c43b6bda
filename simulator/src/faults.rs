//! Faults that tests switch on, by flag or at run time.

use std::str::FromStr;
use std::time::Duration;

use serde_json::{Value, json};

use crate::config::parse_duration;

/// What a fault does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
                     error=STATUS[:N], hang=N, hang-after=N and nonsense=N, each with @PATH-SUFFIX \
                     if it shall hit only such calls"
                ));
            }
        };
        Ok(Self {
            effect,
            count,
            path,
        })
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

    /// The effects on a call; each counts down.
    pub fn take(&mut self, path: &str) -> Vec<Effect> {
        let mut effects = Vec::new();
        let mut ended = false;
        for fault in &mut self.0 {
            let fits = fault
                .path
                .as_ref()
                .is_none_or(|suffix| path.ends_with(suffix));
            let approve = fault.effect != Effect::ApproveForgotten || path.ends_with("/approve");
            // A call can only fail once; the others wait for the next.
            let ends = !matches!(fault.effect, Effect::Latency(_));
            if !fits || !approve || fault.count == Some(0) || ended && ends {
                continue;
            }
            ended |= ends;
            fault.count = fault.count.map(|n| n - 1);
            effects.push(fault.effect);
        }
        self.0.retain(|f| f.count != Some(0));
        effects
    }
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
        assert_eq!(
            faults.take("/v0/pipelines/p/start"),
            [Effect::Error(503), latency]
        );
        assert_eq!(faults.take("/v0/pipelines/p"), [latency]);
        assert_eq!(
            faults.take("/p/approve"),
            [latency, Effect::ApproveForgotten]
        );
        assert_eq!(faults.take("/p/approve"), [latency]);
        assert_eq!(faults.take("/p/start"), [Effect::Error(503), latency]);
        assert_eq!(faults.take("/p/start"), [latency]);
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
            ("slow=1", "there is no fault 'slow'"),
        ] {
            let error = text.parse::<Fault>().unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert!(Faults::default().add(&json!([])).is_err());
    }
}
