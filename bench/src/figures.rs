//! Figures: percentiles, and tables of them.

use std::time::Duration;

/// What was measured, in milliseconds.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// Adds one.
    pub fn add(&mut self, milliseconds: f64) {
        self.0.push(milliseconds);
    }

    /// Adds one.
    pub fn add_time(&mut self, time: Duration) {
        self.add(time.as_secs_f64() * 1_000.0);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The smallest of them that this part of them doesn't exceed (the nearest rank); 0 if there are none.
    pub fn percentile(&self, part: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (part * sorted.len() as f64).ceil() as usize;
        sorted
            .get(rank.saturating_sub(1))
            .copied()
            .unwrap_or_default()
    }

    /// The median.
    pub fn median(&self) -> f64 {
        self.percentile(0.5)
    }

    /// What 1 % of them exceed.
    pub fn p99(&self) -> f64 {
        self.percentile(0.99)
    }
}

/// Prints a heading.
pub fn heading(text: &str) {
    println!("\n== {text}");
}

/// Prints medians and 99th percentiles in milliseconds, a row each.
pub fn table(rows: &[(&str, f64, f64)]) {
    println!("{:<62} {:>10} {:>10}", "milliseconds", "median", "p99");
    for (what, median, p99) in rows {
        println!("{what:<62} {median:>10.2} {p99:>10.2}");
    }
}

/// A ratio beside its target, in words.
pub fn verdict(what: &str, ratio: f64, target: f64) {
    let word = if ratio <= target { "meets" } else { "MISSES" };
    println!("{what}: {ratio:.2} × ({word} the target, at most {target} ×)");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let mut samples = Samples::default();
        assert_eq!(samples.median(), 0.0);
        for value in (1..=200).rev() {
            samples.add(f64::from(value));
        }
        assert_eq!(samples.median(), 100.0);
        assert_eq!(samples.p99(), 198.0);
        assert_eq!(samples.percentile(1.0), 200.0);
    }
}
