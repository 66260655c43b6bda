//! Builds a program from its Go module into the cache, once per machine.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Error, Result};
use crate::files;
use crate::go_module::{GoModule, GoProgram};
use crate::making::{Wanted, Work};
use crate::progress::Progress;
use crate::version::Version;

const MODULES: &str = "Modules are downloaded from where `go env GOPROXY` says; once they are there, the build \
                       needs no network.";

const ENVIRONMENT: &[(&str, &str)] = &[
    ("CGO_ENABLED", "0"), // no C compiler needed, and the outcome runs anywhere
    ("GOFLAGS", "-mod=readonly"), // what is built is what go.sum says, or nothing
    ("GOWORK", "off"),    // nor does a workspace above the cache change it
    ("GOTOOLCHAIN", "local"), // never download another Go unasked
    ("GOOS", ""),         // for this machine, whatever the shell is set to
    ("GOARCH", ""),
];

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
        write_module(program.module, dir)?;
        let built = dir.join(program.name);
        compile(program, &go, dir, &built, progress)?;
        Ok(built)
    })
}

/// A folder of files that a module of the program's has in a folder, such as the definitions of its kinds, or
/// of a single file of it: from the cache, else taken from the module into the cache. Its name there is that
/// of `what`.
///
/// # Errors
/// As [`build`].
pub(crate) fn files_of(
    program: &GoProgram,
    folder: &str,
    what: &str,
    cache: &Path,
    progress: &Progress,
) -> Result<PathBuf> {
    let home = program.module.cache(cache);
    let wanted = Wanted {
        what,
        home: &home,
        target: home.join(what),
    };
    wanted.make_once(progress, |dir| {
        let go = find_go(program, "install Go")?;
        write_module(program.module, dir)?;
        // A module's files can't be written to, nor, copied so, removed.
        let script = r#""$1" mod download "$2" &&
            from=$("$1" list -m -f '{{.Dir}}' "$2") &&
            if [ -d "$from/$3" ]; then set -- "$from/$3"/*; else set -- "$from/$3"; fi &&
            mkdir files && cp "$@" files/ && chmod u+w files/* && mv files complete"#;
        let words = [
            "sh",
            "-c",
            script,
            "sh",
            &go.to_string_lossy(),
            program.source,
            folder,
        ];
        let outcome = dir.join("complete");
        let work = Work {
            what,
            how: "from a Go module",
            takes: "seconds",
            tool: "go mod download",
            hint: MODULES,
            command: words.map(str::to_owned).to_vec(),
            env: ENVIRONMENT,
            dir,
            outcome: &outcome,
        };
        work.run(progress)?;
        Ok(outcome)
    })
}

fn write_module(module: &GoModule, dir: &Path) -> Result<()> {
    let own = module.main_go.map(|program| ("main.go", program));
    let files = [("go.mod", module.go_mod), ("go.sum", module.go_sum)];
    for (name, content) in files.into_iter().chain(own) {
        files::write_private(&dir.join(name), content)?;
    }
    Ok(())
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
        "-tags",
        program.module.tags.unwrap_or_default(),
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
        hint: MODULES,
        command: words.map(str::to_owned).to_vec(),
        env: ENVIRONMENT,
        dir,
        outcome: built,
    };
    work.run(progress)
}
