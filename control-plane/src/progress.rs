//! Where lines about the progress of long work go.

use std::fmt;
use std::sync::Arc;

/// Takes lines that tell a person what is going on: what is being built, since when, what is passed over.
#[derive(Clone)]
pub struct Progress(Arc<dyn Fn(&str) + Send + Sync>);

impl Progress {
    /// Lines go to `sink`, one call each, without a line break.
    pub fn new(sink: impl Fn(&str) + Send + Sync + 'static) -> Progress {
        Progress(Arc::new(sink))
    }

    /// Lines go to standard error.
    pub fn stderr() -> Progress {
        Progress::new(|line| eprintln!("{line}"))
    }

    /// Lines go nowhere.
    pub fn silent() -> Progress {
        Progress::new(|_| {})
    }

    /// Passes one line on.
    pub fn line(&self, line: impl AsRef<str>) {
        (self.0)(line.as_ref());
    }
}

impl Default for Progress {
    /// Standard error: a build of minutes that says nothing looks like one that hangs.
    fn default() -> Progress {
        Progress::stderr()
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Progress")
    }
}
