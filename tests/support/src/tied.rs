//! Processes that end with whoever started them.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A process that ends when this is dropped, and when this process ends, in whatever way.
pub struct Tied {
    /// A shell that kills the process when its input ends.
    shell: Child,
}

impl Tied {
    /// Starts one.
    pub fn start(
        program: &Path,
        arguments: &[String],
        environment: &[(&str, &Path)],
        log: Stdio,
    ) -> Self {
        let script = r#""$@" </dev/null & child=$!; exec >/dev/null; cat; kill -9 "$child"; wait "$child" 2>/dev/null"#;
        let shell = Command::new("/bin/sh")
            .args(["-c", script, "tied"])
            .arg(program)
            .args(arguments)
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("/bin/sh can be started");
        Self { shell }
    }

    /// The id of the process.
    pub fn child(&self) -> u32 {
        let shell = self.shell.id();
        let path = format!("/proc/{shell}/task/{shell}/children");
        let children = std::fs::read_to_string(path).unwrap_or_default();
        let all = children.split_whitespace().map(|child| {
            let child: u32 = child.parse().expect("a process id");
            let name = std::fs::read_to_string(format!("/proc/{child}/comm")).unwrap_or_default();
            (child, name)
        });
        let ours = all
            .filter(|(_, name)| name.trim() != "cat")
            .map(|(child, _)| child);
        ours.min().unwrap_or(u32::MAX)
    }

    /// The first line that the process says.
    pub fn first_line(&mut self) -> String {
        let output = self.shell.stdout.as_mut().expect("its output is piped");
        let mut line = String::new();
        BufReader::new(output)
            .read_line(&mut line)
            .expect("its output can be read");
        line.trim().to_owned()
    }
}

impl Drop for Tied {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}
