//! The programs that the demo starts, and how it ends them.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::error::Error;
use super::place::{self, Place};
use crate::say;

/// How long a program may take to end when it is asked to.
const END_WITHIN: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(50);

/// A process, told from a later one with its number by when it started.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq)]
pub struct ProcessId {
    pid: u32,
    started: String,
}

impl ProcessId {
    fn of(pid: u32) -> Option<ProcessId> {
        started(pid).map(|started| ProcessId { pid, started })
    }

    pub fn is_alive(&self) -> bool {
        started(self.pid).as_deref() == Some(self.started.as_str())
    }

    /// Asks it to end, and makes it if it doesn't.
    fn end(&self) {
        for signal in ["-TERM", "-KILL"] {
            if !self.is_alive() {
                return;
            }
            let _ = Command::new("kill")
                .args([signal, &self.pid.to_string()])
                .stderr(Stdio::null())
                .status();
            let deadline = Instant::now() + END_WITHIN;
            while self.is_alive() && Instant::now() < deadline {
                std::thread::sleep(POLL);
            }
        }
    }
}

/// When a process started, in words that only mean something when compared; nothing if it has ended.
fn started(pid: u32) -> Option<String> {
    if Path::new("/proc/self/stat").exists() {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The second field is the program's name in parentheses, and may hold anything.
        let mut fields = stat.rsplit_once(") ")?.1.split(' ');
        let ended = matches!(fields.next()?, "Z" | "X");
        return if ended {
            None
        } else {
            fields.nth(18).map(str::to_owned)
        };
    }
    let ps = Command::new("ps")
        .args(["-o", "stat=", "-o", "lstart=", "-p", &pid.to_string()])
        .output()
        .ok()?;
    let text = String::from_utf8(ps.stdout).ok()?;
    let text = text.trim();
    (!text.is_empty() && !text.starts_with('Z')).then(|| text.to_owned())
}

/// A program that runs in the background, and ends with this process unless it is left.
pub struct Background {
    pub name: &'static str,
    pub id: ProcessId,
    log: PathBuf,
    guard: Child,
    guard_hears: Option<ChildStdin>,
}

impl Background {
    /// Starts it; its output goes to `logs/<name>.log`.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start(
        place: &Place,
        name: &'static str,
        program: &Path,
        arguments: &[String],
        environment: &[(&str, String)],
    ) -> Result<Background, Error> {
        let log = place.logs().join(format!("{name}.log"));
        let doing = || format!("start {}", program.display());
        let mut guard = Command::new("/bin/sh")
            .args(["-c", include_str!("guard.sh"), "demo-guard"])
            .arg(&log)
            .arg(program)
            .args(arguments)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0) // out of reach of a Ctrl-C at the terminal
            .spawn()
            .map_err(Error::io(doing()))?;
        let mut pid = String::new();
        if let Some(says) = guard.stdout.take() {
            BufReader::new(says)
                .read_line(&mut pid)
                .map_err(Error::io(doing()))?;
        }
        let id = pid.trim().parse().ok().and_then(ProcessId::of);
        let Some(id) = id else {
            return Err(Error::Ended {
                name,
                log: last_lines(&log),
            });
        };
        Ok(Background {
            name,
            id,
            log,
            guard_hears: guard.stdin.take(),
            guard,
        })
    }

    /// Waits until a GET of `path` at this port is answered with 200.
    ///
    /// # Errors
    /// When the program ends before, or that takes too long.
    pub fn wait_until_ready(&self, port: u16, path: &str) -> Result<(), Error> {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !answers(port, path) {
            if !self.id.is_alive() || Instant::now() > deadline {
                return Err(Error::Ended {
                    name: self.name,
                    log: last_lines(&self.log),
                });
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// Leaves it running beyond the end of this process.
    ///
    /// # Errors
    /// When its guard is gone.
    pub fn leave(mut self) -> Result<(), Error> {
        if let Some(mut guard) = self.guard_hears.take() {
            guard
                .write_all(b"stay\n")
                .map_err(Error::io(format!("leave {} running", self.name)))?;
        }
        let _ = self.guard.wait();
        Ok(())
    }

    /// Ends it.
    pub fn end(mut self) {
        self.guard_hears = None;
        let _ = self.guard.wait();
    }
}

/// Writes down what was started, for whoever takes it down.
///
/// # Errors
/// When the file can't be written.
pub fn write_down(place: &Place, started: &[&Background]) -> Result<(), Error> {
    let ids: Vec<&ProcessId> = started.iter().map(|process| &process.id).collect();
    let text = serde_json::to_string(&ids).unwrap_or_default();
    place::write(&place.processes(), text)
}

/// Ends what was written down, as far as it still runs. Says whether anything did.
pub fn end_written_down(place: &Place) -> bool {
    let text = fs::read_to_string(place.processes()).unwrap_or_default();
    let ids: Vec<ProcessId> = serde_json::from_str(&text).unwrap_or_default();
    let alive: Vec<ProcessId> = ids.into_iter().filter(ProcessId::is_alive).collect();
    alive.iter().for_each(ProcessId::end);
    !alive.is_empty()
}

/// On Ctrl-C this process ends, and with it, by their guards, all that it started.
///
/// # Errors
/// When signals can't be listened to.
pub fn say_so_when_interrupted() -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::io("listen to signals"))?;
    std::thread::spawn(move || {
        if runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
            say::line("\nInterrupted: everything that the demo started is being stopped.");
            std::process::exit(130);
        }
    });
    Ok(())
}

/// Whether a plain HTTP GET is answered with 200.
fn answers(port: u16, path: &str) -> bool {
    use std::io::Read;
    use std::net::{Ipv4Addr, TcpStream};
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.take(4096).read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

/// A port of 127.0.0.1 on which nobody listens, below the range of outgoing connections.
///
/// # Errors
/// When none of those tried is free.
pub fn free_port() -> Result<u16, Error> {
    use std::net::{Ipv4Addr, TcpListener};
    let mut last = std::io::Error::from(std::io::ErrorKind::AddrInUse);
    for _ in 0..100 {
        let port = 20_000 + (random() % 10_000) as u16;
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(_) => return Ok(port),
            Err(error) => last = error,
        }
    }
    Err(Error::io("find a free port on 127.0.0.1")(last))
}

/// A number that nobody could guess: the standard library's maps are seeded by the operating system.
pub fn random() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}

fn last_lines(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
