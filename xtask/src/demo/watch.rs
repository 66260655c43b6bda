//! What happens to the Pipelines, as the API server tells it: a `kubectl get --watch` from before the
//! first step to after the last, so that nothing that is ever written is missed.

use std::io::BufReader;
use std::process::Child;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::error::Error;
use super::shell::Shell;
use crate::say;

/// How long anything may take. It takes seconds; a machine that builds other things needs more.
const WITHIN: Duration = Duration::from_secs(120);

/// All versions of all Pipelines that were seen so far.
pub struct Watch {
    child: Child,
    seen: Arc<(Mutex<Vec<Value>>, Condvar)>,
}

/// A moment, to speak of what was seen since then.
#[derive(Clone, Copy)]
pub struct Mark(usize);

impl Watch {
    /// Begins to watch.
    ///
    /// # Errors
    /// When kubectl can't be started.
    pub fn begin(shell: &Shell) -> Result<Watch, Error> {
        let mut child = shell.in_background("kubectl get pipelines --watch -o json")?;
        let seen: Arc<(Mutex<Vec<Value>>, Condvar)> = Arc::default();
        if let Some(output) = child.stdout.take() {
            let seen = Arc::clone(&seen);
            std::thread::spawn(move || {
                let objects = serde_json::Deserializer::from_reader(BufReader::new(output));
                for object in objects.into_iter::<Value>().map_while(Result::ok) {
                    let (all, changed) = &*seen;
                    all.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(object);
                    changed.notify_all();
                }
            });
        }
        Ok(Watch { child, seen })
    }

    /// Now.
    pub fn now(&self) -> Mark {
        let (all, _) = &*self.seen;
        Mark(all.lock().unwrap_or_else(PoisonError::into_inner).len())
    }

    /// Waits until a pipeline has been in these phases, one after the other and maybe others in between,
    /// and is in the last one with `also` true. Tells of each phase that it sees. Returns the object.
    ///
    /// # Errors
    /// When that isn't seen in time.
    pub fn follow(
        &self,
        pipeline: &str,
        since: Mark,
        phases: &[&str],
        also: (&str, impl Fn(&Value) -> bool),
    ) -> Result<Value, Error> {
        let begin = Instant::now();
        let mut told = String::new();
        let mut reached = 0;
        let mut last = Value::Null;
        let mut next = since.0;
        loop {
            for object in self.after(&mut next, begin) {
                if object["metadata"]["name"] != pipeline {
                    continue;
                }
                let phase = text(&object, "/status/phase").to_owned();
                if phase != told && !phase.is_empty() {
                    let time = begin.elapsed().as_secs_f64();
                    say::line(format!("    {time:>5.1} s  {pipeline}: {phase}"));
                    told = phase.clone();
                }
                if phases.get(reached) == Some(&phase.as_str()) {
                    reached += 1;
                }
                let is_there =
                    reached == phases.len() && phases.last().is_none_or(|last| *last == phase);
                if is_there && also.1(&object) {
                    return Ok(object);
                }
                last = object;
            }
            if begin.elapsed() > WITHIN {
                return Err(Error::Unseen {
                    expected: format!("{pipeline}: {}{}", phases.join(", then "), also.0),
                    seen: format!(
                        "{reached} of these phases in {} s; now {}, {}",
                        WITHIN.as_secs(),
                        text(&last, "/status/phase"),
                        condition(&last, "Ready"),
                    ),
                });
            }
        }
    }

    /// The objects that were seen since `next`, which moves on; waits a little if there is none.
    fn after(&self, next: &mut usize, begin: Instant) -> Vec<Value> {
        let (all, changed) = &*self.seen;
        let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() <= *next && begin.elapsed() < WITHIN {
            all = changed
                .wait_timeout(all, Duration::from_millis(500))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        let new = all.get(*next..).unwrap_or_default().to_vec();
        *next = all.len();
        new
    }

    /// The phases that a pipeline was seen in since then.
    pub fn phases(&self, pipeline: &str, since: Mark) -> Vec<String> {
        let (all, _) = &*self.seen;
        let all = all.lock().unwrap_or_else(PoisonError::into_inner);
        let of_it = all
            .iter()
            .skip(since.0)
            .filter(|object| object["metadata"]["name"] == pipeline);
        let mut phases: Vec<String> = of_it
            .map(|object| text(object, "/status/phase").to_owned())
            .collect();
        phases.dedup();
        phases
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A text in an object; empty if it isn't there.
pub fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// A condition in words: status, reason and message; empty if it isn't there.
pub fn condition(object: &Value, kind: &str) -> String {
    let conditions = object
        .pointer("/status/conditions")
        .and_then(Value::as_array);
    let found = conditions
        .into_iter()
        .flatten()
        .find(|condition| condition["type"] == kind);
    found.map_or(String::new(), |condition| {
        format!(
            "{kind}={} {} ({})",
            text(condition, "/status"),
            text(condition, "/reason"),
            text(condition, "/message")
        )
    })
}

/// Whether the spec is in force.
pub fn is_ready(object: &Value) -> bool {
    condition(object, "Ready").starts_with("Ready=True")
        && object["metadata"]["generation"] == object["status"]["observedGeneration"]
}
