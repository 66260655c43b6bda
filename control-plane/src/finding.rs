//! Which of several files with a program's name can be used.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::progress::Progress;
use crate::version::Version;

/// What is asked of a program.
#[derive(Debug)]
pub(crate) struct Requirement {
    /// How it is made to print its version.
    pub(crate) version_args: &'static [&'static str],
    /// The oldest that will do.
    pub(crate) oldest: Version,
}

/// The first file that is the program in a version that will do; `progress` is told why those before it
/// won't. With some candidates comes the version of the API server that they have to fit.
///
/// The one in the cache, `cached`, is removed if it won't do, so that it is built again.
pub(crate) fn first_usable(
    candidates: impl Iterator<Item = (PathBuf, Option<Version>)>,
    cached: &Path,
    requirement: &Requirement,
    progress: &Progress,
) -> Option<(PathBuf, Version)> {
    let mut seen = HashSet::new();
    for (path, api_server) in candidates {
        // The PATH often leads to one file in several ways (/bin and /usr/bin): one word about it will do.
        let Ok(file) = path.canonicalize() else {
            continue;
        };
        if !file.is_file() || !seen.insert(file) {
            continue;
        }
        match examine(&path, requirement, api_server) {
            // Absolute, because it is started in another folder.
            Ok(version) => return Some((std::path::absolute(&path).unwrap_or(path), version)),
            Err(reason) => progress.line(format!("passing over {}: {reason}", path.display())),
        }
        if path == cached {
            // If it stays, whoever builds next believes that somebody else just did.
            let _ = std::fs::remove_file(&path);
        }
    }
    None
}

/// The version of a program, or why it can't be used.
fn examine(
    path: &Path,
    requirement: &Requirement,
    api_server: Option<Version>,
) -> Result<Version, String> {
    let Requirement {
        version_args,
        oldest,
    } = requirement;
    let output = run(path, version_args).map_err(|error| format!("it does not run ({error})"))?;
    if !output.status.success() {
        return Err(format!(
            "`{}` fails ({})",
            version_args.join(" "),
            output.status
        ));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let version = Version::find_in(&text).ok_or("it does not print a version")?;
    match api_server {
        _ if version < *oldest => Err(format!(
            "it is {version}, and {oldest} is the oldest that will do"
        )),
        Some(api_server) if !version.within_one_minor_of(api_server) => Err(format!(
            "it is {version}, more than one minor version from kube-apiserver {api_server}"
        )),
        _ => Ok(version),
    }
}

fn run(path: &Path, args: &[&str]) -> std::io::Result<Output> {
    let mut tries = 0;
    loop {
        match Command::new(path).args(args).stdin(Stdio::null()).output() {
            // A program that was just written, while another thread was starting something.
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy && tries < 40 => {
                tries += 1;
                std::thread::sleep(Duration::from_millis(25));
            }
            outcome => return outcome,
        }
    }
}
