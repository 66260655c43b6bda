//! Builds a program from its Go module into the cache, once per machine.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Error, Result};
use crate::files;
use crate::go_module::GoProgram;
use crate::making::{Wanted, Work};
use crate::progress::Progress;
use crate::version::Version;

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
    let wanted = Wanted {
        what: &format!("{} programs", program.module.name),
        home: &program.module.cache(cache),
        target: cached(program, cache),
    };
    wanted.make_once(progress, |dir| {
        let go = find_go(program, otherwise)?;
        for (name, content) in [
            ("go.mod", program.module.go_mod),
            ("go.sum", program.module.go_sum),
        ] {
            files::write_private(&dir.join(name), content)?;
        }
        let built = dir.join(program.name);
        compile(program, &go, dir, &built, progress)?;
        Ok(built)
    })
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
    let words = [
        &go.to_string_lossy(),
        "build",
        "-trimpath",
        "-ldflags",
        &program.module.linker_flags(),
        "-o",
        &built.to_string_lossy(),
        program.package,
    ];
    let work = Work {
        what: &format!("{} {}", program.name, program.version()),
        how: "from source",
        takes: program.takes,
        tool: "go build",
        hint: "Modules are downloaded from where `go env GOPROXY` says; once they are there, the build \
               needs no network.",
        command: words.map(str::to_owned).to_vec(),
        env: &[
            ("CGO_ENABLED", "0"), // no C compiler needed, and the outcome runs anywhere
            ("GOFLAGS", "-mod=readonly"), // what is built is what go.sum says, or nothing
            ("GOWORK", "off"),    // nor does a workspace above the cache change it
            ("GOTOOLCHAIN", "local"), // never download another Go unasked
            ("GOOS", ""),         // for this machine, whatever the shell is set to
            ("GOARCH", ""),
        ],
        dir,
        outcome: built,
    };
    work.run(progress)
}
