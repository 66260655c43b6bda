//! Which of the crash points are tried: all, a sample, or all but the sample. `SLUICE_CRASHES` says so.

use std::collections::BTreeMap;

/// Which of the crash points are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    All,
    /// One of each kind: what every change should be tried by.
    Sample,
    /// What the sample leaves out.
    Rest,
}

impl Share {
    /// As the environment has it.
    pub fn of_environment() -> Self {
        match std::env::var("SLUICE_CRASHES").as_deref() {
            Err(_) | Ok("all" | "") => Self::All,
            Ok("sample") => Self::Sample,
            Ok("rest") => Self::Rest,
            Ok(other) => panic!("SLUICE_CRASHES is all, sample or rest, not {other:?}"),
        }
    }

    /// Whether it has a point of which this is known.
    pub fn has(self, is_in_sample: bool) -> bool {
        match self {
            Self::All => true,
            Self::Sample => is_in_sample,
            Self::Rest => !is_in_sample,
        }
    }
}

/// Which points are in the sample, given the story and the kind of each: one of each kind, spread over the stories.
pub fn sample<K: Ord>(points: &[(&str, K)]) -> Vec<bool> {
    let mut of_kind: BTreeMap<&K, Vec<usize>> = BTreeMap::new();
    for (number, (_, kind)) in points.iter().enumerate() {
        of_kind.entry(kind).or_default().push(number);
    }
    let mut chosen = vec![false; points.len()];
    let mut of_story: BTreeMap<&str, usize> = BTreeMap::new();
    for numbers in of_kind.into_values() {
        let so_far = |number: &usize| of_story.get(points[*number].0).copied().unwrap_or(0);
        let Some(number) = numbers.into_iter().min_by_key(so_far) else {
            continue;
        };
        chosen[number] = true;
        *of_story.entry(points[number].0).or_default() += 1;
    }
    chosen
}

#[test]
fn the_sample_has_one_of_each_kind_from_different_stories() {
    let points = [
        ("a", "status"),
        ("a", "start"),
        ("a", "status"),
        ("b", "status"),
        ("b", "start"),
    ];
    let chosen = sample(&points);
    // "start" is first in the alphabet, and taken from where it comes first; "status" then from the other story.
    assert_eq!(chosen, [false, true, false, true, false]);
}

#[test]
fn sample_and_rest_together_are_all() {
    for is_in_sample in [true, false] {
        assert!(Share::All.has(is_in_sample));
        let (sample, rest) = (Share::Sample, Share::Rest);
        assert_ne!(sample.has(is_in_sample), rest.has(is_in_sample));
    }
}
