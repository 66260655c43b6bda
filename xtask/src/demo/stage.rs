//! Sets the stage: a control plane, what `deploy/` puts on it, four people, the stand-in engine and the
//! operator.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use control_plane::{ControlPlane, Options};
use serde_json::{Value, json};

use super::error::Error;
use super::place::{self, Place};
use super::process::{self, Background};
use super::shell::Shell;
use crate::say;

/// Where the people of the demo work.
pub const NAMESPACE: &str = "shop";
/// The operator's account, in the namespace that `deploy/` makes.
const ACCOUNT: (&str, &str) = ("sluice-system", "sluice");
const PEOPLE: [&str; 4] = ["admin", "alice", "bob", "carol"];
/// Sluice's programs that the demo runs.
const PROGRAMS: [&str; 3] = ["feldera-sim", "sluice", "kubectl-sluice"];

/// Everything that runs.
pub struct Stage<'a> {
    pub place: &'a Place,
    plane: ControlPlane,
    /// The engine, the operator and the plugin.
    programs: [PathBuf; 3],
    processes: Vec<Background>,
}

impl<'a> Stage<'a> {
    /// Starts the control plane. What follows, up to the first step of the story, is [`Stage::furnish`]'s.
    ///
    /// # Errors
    /// When something isn't built, or the control plane can't be started.
    pub fn set(place: &'a Place) -> Result<Stage<'a>, Error> {
        let programs = programs()?;
        place.make()?;
        say::line(
            "A control plane: etcd, the API server and the controller manager, built from source where they aren't there.",
        );
        let plane = ControlPlane::start(Options {
            dir: Some(place.control_plane()),
            ..Options::default()
        })?;
        Ok(Stage {
            place,
            plane,
            programs,
            processes: Vec::new(),
        })
    }

    /// Installs Sluice and its roles, and starts the engine and the operator.
    ///
    /// # Errors
    /// When something is refused or doesn't start.
    pub fn furnish(&mut self) -> Result<(), Error> {
        let [engine, operator, plugin] = self.programs.clone();
        let rest = process::free_port()?;
        self.put_on_path(self.plane.kubectl_path(), "kubectl")?;
        self.put_on_path(&plugin, "kubectl-sluice")?;
        for person in PEOPLE {
            self.equip(person, rest)?;
        }
        self.install()?;
        self.bind_people()?;
        // Only now: it takes some seconds, in which all this could be done.
        until_pipelines_are_taken(&Shell::of(self.place, "admin"))?;
        self.start_engine(&engine)?;
        self.start_operator(&operator, rest)
    }

    fn put_on_path(&self, program: &Path, name: &str) -> Result<(), Error> {
        let link = self.place.bin().join(name);
        std::os::unix::fs::symlink(program, &link)
            .map_err(Error::io(format!("make the link {}", link.display())))
    }

    /// Gives a person a kubeconfig and what a shell needs.
    fn equip(&self, person: &str, rest: u16) -> Result<(), Error> {
        let place = self.place;
        let config = self.plane.kubeconfig_for(person)?;
        let mut config: Value = serde_json::from_str(&config)
            .map_err(|error| Error::io("read a kubeconfig")(error.into()))?;
        config["contexts"][0]["context"]["namespace"] = json!(NAMESPACE);
        place::write(&place.kubeconfig_of(person), format!("{config:#}\n"))?;
        let environment = format!(
            "\
# Makes a shell that of {person}.
export PATH={}:\"$PATH\"
export KUBECONFIG={}
export KUBECACHEDIR={}
export SLUICE=http://127.0.0.1:{rest}
export TOKEN={}
",
            quoted(&place.bin()),
            quoted(&place.kubeconfig_of(person)),
            quoted(&place.kubectl_cache()),
            self.plane.token(person)?,
        );
        place::write(&place.environment_of(person), environment)
    }

    /// What every installation gets: definitions, accounts, roles and admission policies.
    fn install(&self) -> Result<(), Error> {
        let admin = Shell::of(self.place, "admin");
        say::line(
            "\nSluice's definitions, its account with its rights, and its admission policies, as anybody installs them:",
        );
        admin.types("kubectl apply --server-side -k deploy")?;
        // From Kubernetes 1.36 on; without it people write their names themselves.
        admin.types("kubectl apply --server-side -f deploy/write-names.yaml")?;
        admin.types(
            "kubectl wait crd/pipelines.sluice.dev crd/engines.sluice.dev crd/pipelineapprovals.sluice.dev --for=condition=Established --timeout=60s",
        )?;
        say::line(
            "\nThis control plane has no nodes that could run the Deployment: the operator runs beside it, with the same account.",
        );
        let (namespace, account) = ACCOUNT;
        admin.types(&format!(
            "kubectl scale deployment {account} -n {namespace} --replicas=0"
        ))?;
        let token = admin.quietly(&format!(
            "kubectl create token {account} -n {namespace} --duration=24h"
        ))?;
        if !token.good {
            return Err(Error::Unseen {
                expected: "a token for the operator's account".into(),
                seen: token.text,
            });
        }
        let config = self.plane.kubeconfig_for("admin")?;
        let mut config: Value = serde_json::from_str(&config)
            .map_err(|error| Error::io("read a kubeconfig")(error.into()))?;
        config["users"][0]["user"] = json!({ "token": token.text.trim() });
        config["contexts"][0]["context"]["namespace"] = json!(namespace);
        place::write(&self.place.operator_kubeconfig(), format!("{config:#}\n"))?;
        let asks = |what: &str| {
            format!(
                "kubectl auth can-i {what} -n {NAMESPACE} --as=system:serviceaccount:{namespace}:{account}"
            )
        };
        say::line("\nIt may do what it needs, and no more:");
        admin.types(&asks("patch pipelines --subresource=status"))?;
        for what in ["update pipelines", "list secrets", "approve pipelines"] {
            admin.is_refused(&asks(what))?;
        }
        Ok(())
    }

    fn bind_people(&self) -> Result<(), Error> {
        say::line(
            "\nThree people: bob edits, carol looks on, and alice approves. (She may edit too, since an annotation or a field is an edit.)",
        );
        let admin = Shell::of(self.place, "admin");
        admin.types(&format!("kubectl create namespace {NAMESPACE}"))?;
        for (name, role, group) in [
            ("editors", "edit", "editors"),
            ("viewers", "view", "viewers"),
            ("approvers", "sluice-approver", "approvers"),
            ("approvers-edit", "sluice-editor", "approvers"),
        ] {
            admin.types(&format!(
                "kubectl create rolebinding {name} --clusterrole={role} --group={group}"
            ))?;
        }
        Ok(())
    }

    fn start_engine(&mut self, program: &Path) -> Result<(), Error> {
        let place = self.place;
        let port = process::free_port()?;
        let key = format!(
            "apikey:{:016x}{:016x}",
            process::random(),
            process::random()
        );
        place::write(&place.engine_key(), &key)?;
        let arguments: Vec<String> = [
            "--listen".to_owned(),
            format!("127.0.0.1:{port}"),
            "--state-dir".to_owned(),
            place.engine_state().display().to_string(),
            "--call-log".to_owned(),
            place.calls().display().to_string(),
        ]
        .into_iter()
        // Quicker than a real one, but with each phase long enough to be seen.
        .chain(
            [
                "--poll-interval=500ms",
                "--compile-time=1s",
                "--bootstrap-time=1500ms",
            ]
            .map(String::from),
        )
        .collect();
        say::line(
            "\nThe stand-in for a Feldera engine. It keeps its state in a folder and logs every call:",
        );
        say::line(format!("    feldera-sim {}", self.shown(&arguments)));
        let engine = Background::start(
            place,
            "engine",
            program,
            &arguments,
            // Not an argument, which everybody on the machine could read.
            &[("FELDERA_SIM_API_KEY", key)],
        )?;
        engine.wait_until_ready(port, "/sim/healthz")?;
        self.keep(engine)?;

        let admin = Shell::of(place, "admin");
        admin.types(&format!(
            "kubectl create secret generic lab-engine --from-file=api-key={}",
            place.shown(&place.engine_key())
        ))?;
        let manifest = place.program("engine.yaml");
        place::write(&manifest, engine_manifest(port))?;
        admin.types(&format!(
            "cat {0}; kubectl apply -f {0}",
            place.shown(&manifest)
        ))?;
        place::write(
            &place.program("engine.url"),
            format!("http://127.0.0.1:{port}"),
        )
    }

    fn start_operator(&mut self, program: &Path, rest: u16) -> Result<(), Error> {
        let place = self.place;
        let admin_port = process::free_port()?;
        let url = fs::read_to_string(place.program("engine.url"))
            .map_err(Error::io("read the engine's URL"))?;
        let arguments: Vec<String> = vec![
            "run".to_owned(),
            format!("--engine-url={url}"),
            format!("--engine-api-key-file={}", place.engine_key().display()),
            format!("--engine-namespace={NAMESPACE}"),
            "--poll-interval=500ms".to_owned(),
            "--require-policies=true".to_owned(),
            format!("--api-listen=127.0.0.1:{rest}"),
            format!("--api-namespace={NAMESPACE}"),
            format!("--admin-listen=127.0.0.1:{admin_port}"),
        ];
        say::line(
            "\nThe operator, as system:serviceaccount:sluice-system:sluice. Pipelines without an engineRef run on the same engine:",
        );
        say::line(format!("    sluice {}", self.shown(&arguments)));
        let kubeconfig = place.operator_kubeconfig().display().to_string();
        let operator = Background::start(
            place,
            "operator",
            program,
            &arguments,
            &[("KUBECONFIG", kubeconfig)],
        )?;
        operator.wait_until_ready(admin_port, "/readyz")?;
        self.keep(operator)
    }

    fn keep(&mut self, process: Background) -> Result<(), Error> {
        self.processes.push(process);
        let all: Vec<&Background> = self.processes.iter().collect();
        process::write_down(self.place, &all)
    }

    fn shown(&self, arguments: &[String]) -> String {
        let checkout = format!("{}/", self.place.checkout.display());
        arguments.join(" ").replace(&checkout, "")
    }

    /// Whether all that should run does; the name of one that doesn't otherwise.
    pub fn missing(&self) -> Option<&'static str> {
        self.processes
            .iter()
            .find(|process| !process.id.is_alive())
            .map(|process| process.name)
    }

    /// Leaves everything running.
    ///
    /// # Errors
    /// When something can't be left.
    pub fn leave(self) -> Result<(), Error> {
        self.plane.leave_running()?;
        self.processes.into_iter().try_for_each(Background::leave)
    }

    /// Stops everything, and keeps the logs.
    pub fn strike(self) {
        for process in self.processes.into_iter().rev() {
            process.end();
        }
        let logs = self.place.control_plane().join("logs");
        for entry in fs::read_dir(logs).into_iter().flatten().flatten() {
            // What can't be kept is no reason to leave things running.
            let _ = fs::copy(entry.path(), self.place.logs().join(entry.file_name()));
        }
        drop(self.plane);
    }
}

/// Takes down what an earlier demo left. Says whether anything still ran.
///
/// # Errors
/// When it still belongs to a running demo, or can't be stopped or removed.
pub fn down(place: &Place) -> Result<bool, Error> {
    // First, because it refuses while another demo is under way.
    let plane = control_plane::down(place.control_plane())?;
    let processes = process::end_written_down(place);
    place.remove()?;
    Ok(plane || processes)
}

/// Sluice's programs, which are built together with this one and stand beside it.
fn programs() -> Result<[PathBuf; 3], Error> {
    let own = std::env::current_exe().map_err(Error::io("find this program"))?;
    let dir = own.parent().unwrap_or(Path::new("."));
    let programs = PROGRAMS.map(|name| dir.join(name));
    match programs.iter().find(|program| !program.exists()) {
        None => Ok(programs),
        Some(missing) => Err(Error::NotBuilt(missing.display().to_string())),
    }
}

fn engine_manifest(port: u16) -> String {
    format!(
        "\
apiVersion: sluice.dev/v1alpha1
kind: Engine
metadata:
  name: lab
spec:
  url: http://127.0.0.1:{port}
  credentialsSecretRef:
    name: lab-engine
    key: api-key
"
    )
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"))
}

/// Waits until the API server takes Pipelines. Mutating policies on a kind that is new to it make it refuse that
/// kind for some seconds, until it has read the definition once more.
fn until_pipelines_are_taken(admin: &Shell) -> Result<(), Error> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let tried =
            admin.quietly("kubectl create -n default --dry-run=server -f examples/orders.yaml")?;
        if tried.good {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Error::Unseen {
                expected: "Pipelines are taken".into(),
                seen: tried.text,
            });
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}
