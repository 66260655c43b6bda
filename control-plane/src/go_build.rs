//! Builds a program from its Go module into the cache, once per machine.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::files;
use crate::go_module::GoProgram;
use crate::process::{Launch, POLL};
use crate::progress::Progress;
use crate::supervisor::Supervisor;
use crate::version::Version;

/// How often a long build says that it is still at it.
const SIGN_OF_LIFE: Duration = Duration::from_secs(30);

/// Where the program is, or would be, in the cache.
pub(crate) fn cached(program: &GoProgram, cache: &Path) -> PathBuf {
    program.module.cache(cache).join("bin").join(program.name)
}

/// Builds the program, unless another process has built it by the time that this one may.
///
/// # Errors
/// When there is no usable Go, when the build fails, or the cache cannot be written. `otherwise` says how
/// to do without building, for the text of the error.
pub(crate) fn build(
    program: &GoProgram,
    cache: &Path,
    otherwise: &str,
    progress: &Progress,
) -> Result<PathBuf> {
    let target = cached(program, cache);
    let home = program.module.cache(cache);
    files::create_private_dir(&home)?;
    let _lock = lock(&home, program, progress)?;
    if target.exists() {
        return Ok(target);
    }
    let go = find_go(program, otherwise)?;
    remove_left_overs(&home);

    let dir = tempfile::Builder::new()
        .prefix(BUILD_PREFIX)
        .tempdir_in(&home)
        .map_err(Error::io(|| format!("make a folder in {}", home.display())))?;
    for (name, content) in [
        ("go.mod", program.module.go_mod),
        ("go.sum", program.module.go_sum),
    ] {
        files::write_private(&dir.path().join(name), content)?;
    }
    let built = dir.path().join(program.name);
    compile(program, &go, dir.path(), &built, progress)?;

    let bin = home.join("bin");
    files::create_private_dir(&bin)?;
    // A rename within a file system: the program is there whole or not at all.
    fs::rename(&built, &target).map_err(Error::io(|| {
        format!("put {} into {}", program.name, bin.display())
    }))?;
    Ok(target)
}

const BUILD_PREFIX: &str = "build-";

/// Removes what builds that were killed have left. To be called with the lock.
fn remove_left_overs(home: &Path) {
    let Ok(entries) = fs::read_dir(home) else {
        return;
    };
    for entry in entries.flatten() {
        if entry
            .file_name()
            .to_string_lossy()
            .starts_with(BUILD_PREFIX)
        {
            // Only space is lost if it stays.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Held while a program is built. The operating system lets go of it when this process ends.
fn lock(home: &Path, program: &GoProgram, progress: &Progress) -> Result<File> {
    let path = home.join("lock");
    let take = || -> std::io::Result<File> {
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)?;
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
        progress.line(format!(
            "waiting for another process that is building {} programs ({} is locked)",
            program.module.name,
            path.display()
        ));
        file.lock()?;
        Ok(file)
    };
    take().map_err(Error::io(|| format!("lock {}", path.display())))
}

/// The `go` of this machine, if it is recent enough.
fn find_go(program: &GoProgram, otherwise: &str) -> Result<PathBuf> {
    let needed = program.module.go();
    let no = |problem: String| Error::NoGo {
        program: program.name.into(),
        problem,
        needed: format!("{}.{}", needed.major, needed.minor),
        otherwise: otherwise.into(),
    };
    let output = match Command::new("go")
        .arg("version")
        .env("GOTOOLCHAIN", "local")
        .output()
    {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(no("there is no `go` on the PATH".into()));
        }
        Err(error) => return Err(no(format!("`go version` cannot be run ({error})"))),
    };
    let text = String::from_utf8_lossy(&output.stdout);
    match Version::find_in(&text) {
        Some(version) if version >= needed => Ok("go".into()),
        _ => Err(no(format!("`go version` says {:?}", text.trim()))),
    }
}

fn compile(
    program: &GoProgram,
    go: &Path,
    dir: &Path,
    built: &Path,
    progress: &Progress,
) -> Result<()> {
    let name = program.name;
    let version = program.version();
    progress.line(format!(
        "building {name} {version} from source: about {}, once on this machine",
        program.takes
    ));
    let begin = Instant::now();
    let log = dir.join("build.log");
    let launch = Launch {
        program: go.to_owned(),
        args: [
            "build",
            "-trimpath",
            "-ldflags",
            &program.module.linker_flags(),
            "-o",
        ]
        .into_iter()
        .map(str::to_owned)
        .chain([
            built.to_string_lossy().into_owned(),
            program.package.to_owned(),
        ])
        .collect(),
        env: [
            ("CGO_ENABLED", "0"), // no C compiler needed, and the outcome runs anywhere
            ("GOFLAGS", "-mod=readonly"), // what is built is what go.sum says, or nothing
            ("GOWORK", "off"),    // nor does a workspace above the cache change it
            ("GOTOOLCHAIN", "local"), // never download another Go unasked
            ("GOOS", ""),         // for this machine, whatever the shell is set to
            ("GOARCH", ""),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec(),
        dir: dir.to_owned(),
        log: log.clone(),
    };
    // Ends the build with this process; otherwise it would go on for minutes, for nobody.
    let mut supervisor = Supervisor::start(None)?;
    let mut process = launch.start(Some(&mut supervisor))?;
    let mut told = begin;
    let status = loop {
        if let Some(status) = process.ended() {
            break status;
        }
        if told.elapsed() >= SIGN_OF_LIFE {
            told = Instant::now();
            progress.line(format!(
                "still building {name} ({} s)",
                begin.elapsed().as_secs()
            ));
        }
        std::thread::sleep(POLL);
    };
    supervisor.forget(&process.id)?;
    if !built.exists() {
        return Err(Error::Build {
            program: name.into(),
            status,
            log: files::last_lines(&log, 20),
        });
    }
    progress.line(format!(
        "built {name} {version} in {} s",
        begin.elapsed().as_secs()
    ));
    Ok(())
}
