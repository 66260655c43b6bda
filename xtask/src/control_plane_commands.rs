//! `cargo xtask control-plane …`: a control plane that stays until it is told to go.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use control_plane::{Binaries, ControlPlane, Error, Options, Progress, Up};

#[derive(Subcommand)]
pub enum Command {
    /// Start one and leave it running; fine if it runs already
    Up {
        #[command(flatten)]
        place: Place,
        /// Write an audit log: who did what to which object when
        #[arg(long)]
        audit_log: bool,
    },
    /// End it and remove its folder; fine if there is none
    Down(Place),
    /// Print shell commands that make kubectl and others use it: eval "$(cargo xtask control-plane env)"
    Env(Place),
    /// Run kubectl on it, as admin or as the user of another context
    Kubectl {
        #[command(flatten)]
        place: Place,
        /// What kubectl is to do; `--context bob` for another user than admin
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Find or build the programs, and start nothing
    Prepare {
        /// Helm too
        #[arg(long)]
        helm: bool,
    },
}

#[derive(Args)]
pub struct Place {
    /// The folder for all its files, which is removed in the end [default: .demo/control-plane in the
    /// checkout]
    #[arg(long)]
    dir: Option<PathBuf>,
}

impl Place {
    /// The same folder wherever in the checkout the command is given.
    fn dir(&self) -> PathBuf {
        let checkout = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .unwrap_or(Path::new("."));
        self.dir
            .clone()
            .unwrap_or_else(|| checkout.join(".demo/control-plane"))
    }

    /// What to append to a command so that it means this place.
    fn option(&self) -> String {
        self.dir
            .as_ref()
            .map(|dir| format!(" --dir {}", quoted(dir)))
            .unwrap_or_default()
    }
}

impl Command {
    /// Does what was asked, and says with which code to end.
    pub fn run(self) -> Result<ExitCode, Error> {
        match self {
            Command::Up { place, audit_log } => up(&place, audit_log)?,
            Command::Down(place) => match control_plane::down(place.dir())? {
                true => say(format!(
                    "The control plane in {} is gone.",
                    place.dir().display()
                )),
                false => say(format!(
                    "There is no control plane in {}.",
                    place.dir().display()
                )),
            },
            Command::Env(place) => print_environment(&ControlPlane::attach(place.dir())?),
            Command::Kubectl { place, arguments } => return kubectl(&place.dir(), &arguments),
            Command::Prepare { helm } => prepare(helm)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn up(place: &Place, audit_log: bool) -> Result<(), Error> {
    let options = Options {
        audit_log,
        ..Options::default()
    };
    let (plane, up) = control_plane::up(place.dir(), options)?;
    match up {
        Up::Started => say(format!("A control plane runs at {}.", plane.url())),
        Up::AlreadyRunning => say(format!(
            "The control plane runs already, at {}.",
            plane.url()
        )),
    }
    let option = place.option();
    say("");
    say(format!(
        "  export KUBECONFIG={}",
        quoted(&plane.kubeconfig_path())
    ));
    say(format!("  {} get namespaces", quoted(plane.kubectl_path())));
    say("");
    say("Contexts are named after users: admin (the current one), alice, bob and carol.");
    say(format!(
        "With kubectl on the PATH:  eval \"$(cargo xtask control-plane env{option})\""
    ));
    say(format!(
        "To end it:                 cargo xtask control-plane down{option}"
    ));
    Ok(())
}

fn print_environment(plane: &ControlPlane) {
    for (name, value) in plane.environment() {
        say(format!("export {name}={}", quoted(&value)));
    }
    say(format!(
        "export PATH={}:\"$PATH\"",
        quoted(&plane.bin_path())
    ));
}

/// Prints a line. Whoever pipes this into `head` has seen enough: that is no error.
fn say(line: impl AsRef<str>) {
    let _ = writeln!(std::io::stdout(), "{}", line.as_ref());
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    if path.to_string_lossy().chars().all(plain) {
        return path.to_string_lossy().into_owned();
    }
    format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"))
}

fn kubectl(dir: &Path, arguments: &[OsString]) -> Result<ExitCode, Error> {
    let plane = ControlPlane::attach(dir)?;
    let program = plane.kubectl_path();
    // Takes the place of this process, so that the terminal and Ctrl-C are kubectl's.
    let source = std::process::Command::new(program)
        .args(arguments)
        .envs(plane.environment())
        .exec();
    Err(Error::Io {
        doing: format!("start {}", program.display()),
        source,
    })
}

fn prepare(helm: bool) -> Result<(), Error> {
    let progress = Progress::stderr();
    let Binaries {
        etcd,
        kube_apiserver,
        kube_controller_manager,
        kubectl,
    } = Binaries::prepare(&progress)?;
    let mut programs = vec![etcd, kube_apiserver, kube_controller_manager, kubectl];
    if helm {
        programs.push(control_plane::tools::helm(&progress)?);
    }
    for program in programs {
        say(program.to_string_lossy());
    }
    Ok(())
}
