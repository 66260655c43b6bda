//! Programs that a benchmark runs, and what they use.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::Error;

/// Linux counts processor time in hundredths of a second (`getconf CLK_TCK`), on every machine that
/// it is built for today.
const TICKS_PER_SECOND: f64 = 100.0;

/// A process that ends when this is dropped, and when this process ends, in whatever way.
pub struct Tied {
    /// A shell that kills the process when its own input ends.
    shell: Child,
    pid: u32,
    first_line: String,
}

impl Tied {
    /// Starts it, with its errors going to this log, and waits for the first line that it says if it
    /// says any.
    pub fn start(
        program: &Path,
        arguments: &[String],
        environment: &[(&str, &Path)],
        log: &Path,
        speaks: bool,
    ) -> Result<Self, Error> {
        let script = r#""$@" </dev/null & child=$!; echo "pid $child"; exec >/dev/null; cat; kill -9 "$child"; wait "$child" 2>/dev/null"#;
        let starting = || format!("start {}", program.display());
        let errors = fs::File::options()
            .create(true)
            .append(true)
            .open(log)
            .map_err(Error::io(format!("open {}", log.display())))?;
        let shell = Command::new("/bin/sh")
            .args(["-c", script, "tied"])
            .arg(program)
            .args(arguments)
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .map_err(Error::io(starting()))?;
        let mut tied = Self {
            shell,
            pid: 0,
            first_line: String::new(),
        };
        let Some(output) = tied.shell.stdout.take() else {
            return Err(Error::Unseen(starting()));
        };
        // Shell and program speak into the same pipe, in any order.
        let mut lines = BufReader::new(output).lines();
        while tied.pid == 0 || speaks && tied.first_line.is_empty() {
            let line = match lines.next() {
                Some(line) => line.map_err(Error::io(starting()))?,
                None => return Err(Error::Unseen(format!("{}: it ended", starting()))),
            };
            match line.strip_prefix("pid ").and_then(|pid| pid.parse().ok()) {
                Some(pid) => tied.pid = pid,
                None => tied.first_line = line,
            }
        }
        Ok(tied)
    }

    /// The first line that it said.
    pub fn first_line(&self) -> &str {
        &self.first_line
    }

    /// What it uses.
    pub fn usage(&self) -> Result<Usage, Error> {
        usage(self.pid)
    }
}

impl Drop for Tied {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        // It was killed; there is nothing more to be done.
        let _ = self.shell.wait();
    }
}

/// What a process has used so far.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Time of all its threads on a processor.
    pub cpu: Duration,
    /// Memory that it holds now, in MiB.
    pub resident: f64,
    /// The most that it ever held, in MiB.
    pub peak: f64,
}

/// What this process uses.
pub fn own_usage() -> Result<Usage, Error> {
    usage(std::process::id())
}

fn usage(pid: u32) -> Result<Usage, Error> {
    let read = |name: &str| {
        let path = PathBuf::from(format!("/proc/{pid}/{name}"));
        fs::read_to_string(&path).map_err(Error::io(format!("read {}", path.display())))
    };
    let stat = read("stat")?;
    // The second field is the program's name in parentheses, and may hold anything.
    let after = stat.rsplit_once(") ").map_or("", |(_, after)| after);
    let ticks: f64 = after
        .split(' ')
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<f64>().ok())
        .sum();
    let status = read("status")?;
    let mebibytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        kibibytes.unwrap_or_default() / 1_024.0
    };
    Ok(Usage {
        cpu: Duration::from_secs_f64(ticks / TICKS_PER_SECOND),
        resident: mebibytes("VmRSS:"),
        peak: mebibytes("VmHWM:"),
    })
}
