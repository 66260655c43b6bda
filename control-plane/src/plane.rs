//! A control plane: started, used, disturbed and stopped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::binaries::Binaries;
use crate::component::Component;
use crate::components::{self, ComponentName, Layout};
use crate::error::{Error, Result};
use crate::files;
use crate::https::Client;
use crate::kubeconfig::kubeconfig;
use crate::pki::{self, Pki};
use crate::ports;
use crate::process::{self, POLL, Process, ProcessId};
use crate::progress::Progress;
use crate::running::{Ownership, Running};
use crate::state::State;
use crate::supervisor::{Supervisor, keep_logs};
use crate::users::{self, ADMIN, Account, CONTROLLER_MANAGER, User};

/// How long a start may take. It takes seconds; a machine that builds other things at the time needs more.
pub(crate) const READY_WITHIN: Duration = Duration::from_secs(120);
/// How often a program that ends before it is ready is started again before it is given up.
const TRIES: u32 = 5;

/// What a control plane should be like.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Users beside `admin`, `alice`, `bob` and `carol` (see [`User::usual`]), or in the place of one of
    /// them.
    pub users: Vec<User>,
    /// The folder for all its files, which doesn't exist yet or is empty, and which is removed in the end.
    /// Without one it is a temporary folder.
    pub dir: Option<PathBuf>,
    /// Whether the API server writes an audit log (who did what to which object when): see
    /// [`ControlPlane::audit_log_path`].
    pub audit_log: bool,
    /// Further flags for the API server, such as `--v=4`.
    pub api_server_flags: Vec<String>,
    /// Where it is told what is going on.
    pub progress: Progress,
}

/// A running control plane: etcd, the API server and the controller manager.
///
/// It ends when this value is dropped, and when this process ends, in whatever way: see the module
/// `supervisor`. A control plane to which this is merely attached, or that was left running, goes on.
#[derive(Debug)]
pub struct ControlPlane {
    layout: Layout,
    progress: Progress,
    admin: Client,
    url: String,
    ca_pem: String,
    accounts: Vec<Account>,
    kubectl: PathBuf,
    audit: bool,
    running: Mutex<Running>,
}

impl ControlPlane {
    /// Starts a control plane and waits until it is ready: the API server answers, and the controllers
    /// work. The programs are found or built first: see [`Binaries::prepare`].
    ///
    /// # Errors
    /// When a program is missing and can't be built, when one ends or doesn't get ready in time (the
    /// error then has the last lines of its log), or when files can't be written. Nothing is left behind.
    pub fn start(options: Options) -> Result<ControlPlane> {
        let binaries = Binaries::prepare(&options.progress)?;
        ControlPlane::start_with(&binaries, options)
    }

    /// Like [`ControlPlane::start`], with these programs.
    ///
    /// # Errors
    /// As there, save that no program is looked for.
    pub fn start_with(binaries: &Binaries, options: Options) -> Result<ControlPlane> {
        let accounts = users::accounts(&options.users)?;
        let pki = pki::generate()?;
        let dir = claim_dir(options.dir.as_deref())?;
        // Before anything else is there: from now on, dropping is cleaning up.
        let supervisor = Supervisor::start(Some(&dir))?;
        let state = State {
            boot: process::boot(),
            owner: ProcessId::own(),
            port: 0,
            ca_pem: pki.ca.clone(),
            accounts,
            kubectl: binaries.kubectl.clone(),
            audit: options.audit_log,
            components: Vec::new(),
        };
        let mut plane =
            ControlPlane::assemble(dir, state, Ownership::Ours(supervisor), options.progress)?;
        plane.write_files(&pki)?;

        let layout = plane.layout.clone();
        plane
            .running()
            .launch(ComponentName::Etcd, components::etcd(&layout, binaries))?;
        let mut tries = 0;
        loop {
            plane.move_to_port(ports::free()?)?;
            let flags = &options.api_server_flags;
            let launch = components::kube_apiserver(
                &layout,
                binaries,
                plane.admin.port(),
                options.audit_log,
                flags,
            );
            plane
                .running()
                .launch(ComponentName::KubeApiserver, launch)?;
            // Somebody else took the port in between, maybe.
            let outcome = plane.wait_until_ready(READY_WITHIN);
            if !plane.is_worth_another_try(ComponentName::KubeApiserver, &outcome, &mut tries) {
                break outcome?;
            }
        }
        let kubeconfig = layout.kubeconfig_of(CONTROLLER_MANAGER);
        let launch = components::kube_controller_manager(&layout, binaries, &kubeconfig);
        let mut tries = 0;
        loop {
            plane
                .running()
                .launch(ComponentName::KubeControllerManager, launch.clone())?;
            let outcome = plane.wait_until_controllers_work(READY_WITHIN);
            let name = ComponentName::KubeControllerManager;
            if !plane.is_worth_another_try(name, &outcome, &mut tries) {
                break outcome?;
            }
        }
        Ok(plane)
    }

    /// Whether a program that was started is to be started again: it has ended, and may not another time. The
    /// controller manager gives up when the API server isn't good for 10 s, and the API server when it hasn't
    /// written its roles after 30 s; on a machine that builds other things at the time both happen.
    fn is_worth_another_try(
        &self,
        name: ComponentName,
        outcome: &Result<()>,
        tries: &mut u32,
    ) -> bool {
        let ended = |outcome: &Result<()>| match outcome {
            Err(Error::Died { component, .. }) => *component == name.to_string(),
            _ => false,
        };
        let again = ended(outcome) && *tries < TRIES;
        if again {
            *tries += 1;
            // The next error must not show this one's log.
            let _ = fs::remove_file(self.layout.log(name));
        }
        again
    }

    /// Uses the control plane of this folder, which another process started, or which was left running.
    ///
    /// # Errors
    /// When there is none, or what is written down about it can't be understood.
    pub fn attach(dir: impl AsRef<Path>) -> Result<ControlPlane> {
        let dir = absolute(dir.as_ref())?;
        let state = State::read(&dir)?.ok_or_else(|| Error::NotThere(dir.clone()))?;
        let ownership = if state.live_owner().is_some() {
            Ownership::Another
        } else {
            Ownership::Nobody
        };
        ControlPlane::assemble(dir, state, ownership, Progress::silent())
    }

    fn assemble(
        dir: PathBuf,
        state: State,
        ownership: Ownership,
        progress: Progress,
    ) -> Result<ControlPlane> {
        let admin_token = state.accounts.iter().find(|account| account.name == ADMIN);
        let admin_token = admin_token
            .map(|account| account.token.as_str())
            .unwrap_or_default();
        Ok(ControlPlane {
            layout: Layout { dir: dir.clone() },
            progress,
            admin: Client::new(state.port, &state.ca_pem, admin_token)?,
            url: url(state.port),
            ca_pem: state.ca_pem.clone(),
            accounts: state.accounts.clone(),
            kubectl: state.kubectl.clone(),
            audit: state.audit,
            running: Mutex::new(Running {
                dir,
                processes: state
                    .components
                    .iter()
                    .map(|component| component.process.clone().map(Process::of_another))
                    .collect(),
                state,
                ownership,
            }),
        })
    }

    /// Writes what doesn't depend on the port.
    fn write_files(&self, pki: &Pki) -> Result<()> {
        let layout = &self.layout;
        for dir in [
            layout.data(),
            layout.logs(),
            layout.pki(),
            layout.bin(),
            layout.dir.join("users"),
        ] {
            files::create_private_dir(&dir)?;
        }
        for (name, content) in [
            ("ca.crt", pki.ca.as_str()),
            ("server.crt", &pki.server),
            ("server.key", &pki.server_key),
            ("service-account.key", &pki.service_account_key),
            ("service-account.pub", &pki.service_account_public_key),
            ("tokens.csv", &users::token_file(&self.accounts)),
            ("audit-policy.json", components::AUDIT_POLICY),
        ] {
            files::write_private(&layout.pki().join(name), content)?;
        }
        let link = layout.bin().join("kubectl");
        std::os::unix::fs::symlink(&self.kubectl, &link)
            .map_err(Error::io(|| format!("make the link {}", link.display())))?;
        Ok(())
    }

    /// Takes this port, and tells everyone.
    fn move_to_port(&mut self, port: u16) -> Result<()> {
        self.admin.set_port(port);
        self.url = url(port);
        let people: Vec<&Account> = self
            .accounts
            .iter()
            .filter(|account| account.name != CONTROLLER_MANAGER)
            .collect();
        let all = kubeconfig(&self.url, &self.ca_pem, &people);
        files::write_private(&self.layout.kubeconfig(), all)?;
        for account in &self.accounts {
            let one = kubeconfig(&self.url, &self.ca_pem, &[account]);
            files::write_private(&self.layout.kubeconfig_of(&account.name), one)?;
        }
        let mut running = self.running();
        running.state.port = port;
        running.write_down()
    }

    /// The URL of the API server, `https://127.0.0.1:PORT`. It stays the same when that is restarted.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The certificate (PEM) of the authority that the API server's certificate is from.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The folder of all its files.
    pub fn dir(&self) -> &Path {
        &self.layout.dir
    }

    /// A kubeconfig with a context for each user, called by the user's name; the current one is `admin`.
    pub fn kubeconfig_path(&self) -> PathBuf {
        self.layout.kubeconfig()
    }

    /// The kubeconfig of one user, as text.
    ///
    /// # Errors
    /// When there is no such user.
    pub fn kubeconfig_for(&self, user: &str) -> Result<String> {
        Ok(kubeconfig(&self.url, &self.ca_pem, &[self.account(user)?]))
    }

    /// The file with the kubeconfig of one user.
    ///
    /// # Errors
    /// When there is no such user.
    pub fn kubeconfig_path_for(&self, user: &str) -> Result<PathBuf> {
        Ok(self.layout.kubeconfig_of(&self.account(user)?.name))
    }

    /// The bearer token of a user.
    ///
    /// # Errors
    /// When there is no such user.
    pub fn token(&self, user: &str) -> Result<&str> {
        Ok(&self.account(user)?.token)
    }

    fn account(&self, user: &str) -> Result<&Account> {
        let found = self.accounts.iter().find(|account| account.name == user);
        found.ok_or_else(|| Error::UnknownUser(user.into()))
    }

    /// `kubectl`, of a version that fits the API server.
    pub fn kubectl_path(&self) -> &Path {
        &self.kubectl
    }

    /// A folder with nothing but `kubectl` in it, to put in front of a `PATH`.
    pub fn bin_path(&self) -> PathBuf {
        self.layout.bin()
    }

    /// The environment variables that make `kubectl`, and whatever else reads a kubeconfig, use this control
    /// plane as `admin`, and keep what it remembers of it in the control plane's folder.
    pub fn environment(&self) -> [(&'static str, PathBuf); 2] {
        [
            ("KUBECONFIG", self.kubeconfig_path()),
            ("KUBECACHEDIR", self.layout.kubectl_cache()),
        ]
    }

    /// `kubectl` as this user, to be given arguments.
    ///
    /// # Errors
    /// When there is no such user.
    pub fn kubectl(&self, user: &str) -> Result<Command> {
        let mut command = Command::new(&self.kubectl);
        command
            .envs(self.environment())
            .env("KUBECONFIG", self.kubeconfig_path_for(user)?);
        Ok(command)
    }

    /// The audit log, one JSON object a line (`audit.k8s.io/v1` `Event`), if it was asked for.
    pub fn audit_log_path(&self) -> Option<PathBuf> {
        self.audit.then(|| self.layout.audit_log())
    }

    /// The API server, to be disturbed.
    pub fn api_server(&self) -> Component<'_> {
        Component {
            plane: self,
            name: ComponentName::KubeApiserver,
        }
    }

    /// etcd, to be disturbed.
    pub fn etcd(&self) -> Component<'_> {
        Component {
            plane: self,
            name: ComponentName::Etcd,
        }
    }

    /// The controller manager, to be disturbed.
    ///
    /// Its garbage collector looks for new kinds of objects every 30 seconds. A test that makes a CRD and
    /// then relies on the collection of what objects of that kind own either allows for these, or restarts it.
    pub fn controller_manager(&self) -> Component<'_> {
        Component {
            plane: self,
            name: ComponentName::KubeControllerManager,
        }
    }

    /// Whether the API server says that it is ready.
    pub fn is_ready(&self) -> bool {
        self.answers("/readyz")
    }

    /// Whether all its processes run.
    pub fn is_complete(&self) -> bool {
        let mut running = self.running();
        let alive = |process: &mut Option<Process>| {
            process
                .as_mut()
                .is_some_and(|process| process.ended().is_none())
        };
        running.processes.len() == 3 && running.processes.iter_mut().all(alive)
    }

    /// Waits until the API server says that it is ready.
    ///
    /// # Errors
    /// When that takes longer, or a program ends meanwhile; the last lines of its log are in the error.
    pub fn wait_until_ready(&self, within: Duration) -> Result<()> {
        let what = "the API server was not ready";
        self.wait(within, what, ComponentName::KubeApiserver, || {
            self.is_ready()
        })
    }

    fn wait_until_controllers_work(&self, within: Duration) -> Result<()> {
        let what = "the controller manager had not made the first service account";
        self.wait(within, what, ComponentName::KubeControllerManager, || {
            self.answers("/api/v1/namespaces/default/serviceaccounts/default")
        })
    }

    fn answers(&self, path: &str) -> bool {
        self.admin
            .request("GET", path, "")
            .is_ok_and(|answer| answer.status == 200)
    }

    fn wait(
        &self,
        within: Duration,
        what: &str,
        component: ComponentName,
        done: impl Fn() -> bool,
    ) -> Result<()> {
        let begin = Instant::now();
        loop {
            if done() {
                return Ok(());
            }
            if let Some((component, status)) = self.running().first_ended() {
                let log = files::last_lines(&self.layout.log(component), 15);
                return Err(Error::Died {
                    component: component.to_string(),
                    status,
                    log,
                });
            }
            if begin.elapsed() > within {
                let log = files::last_lines(&self.layout.log(component), 15);
                let (what, component) = (what.to_owned(), component.to_string());
                return Err(Error::NotReady {
                    what,
                    seconds: within.as_secs(),
                    component,
                    log,
                });
            }
            std::thread::sleep(POLL);
        }
    }

    /// A client of the API server as `admin`.
    pub(crate) fn admin(&self) -> &Client {
        &self.admin
    }

    /// Leaves the processes running beyond the end of this one; [`crate::down`] ends them.
    ///
    /// # Errors
    /// When they belong to another process, or this can't be written down.
    pub fn leave_running(&self) -> Result<()> {
        let mut running = self.running();
        running.check_owner()?;
        running.state.owner = None;
        running.write_down()?;
        match std::mem::replace(&mut running.ownership, Ownership::Nobody) {
            Ownership::Ours(supervisor) => supervisor.dismiss(),
            _ => Ok(()),
        }
    }

    /// Ends the processes and removes their folder, as dropping does, but says what went wrong. It also ends
    /// a control plane that was left running.
    ///
    /// # Errors
    /// When it belongs to another process, when a process doesn't end, or the folder can't be removed.
    pub fn stop(self) -> Result<()> {
        self.running().check_owner()?;
        self.end()
    }

    fn end(&self) -> Result<()> {
        self.running().end()?;
        if keep_logs() {
            self.progress.line(format!(
                "the logs of the control plane are in {}",
                self.layout.logs().display()
            ));
        }
        Ok(())
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(crate) fn running(&self) -> MutexGuard<'_, Running> {
        // What is in there is put right before anything that could panic.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        if matches!(self.running().ownership, Ownership::Ours(_)) {
            // A destructor has nobody to tell; `stop` is there for those who want to know.
            let _ = self.end();
        }
    }
}

fn url(port: u16) -> String {
    format!("https://127.0.0.1:{port}")
}

pub(crate) fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(Error::io(|| format!("find the folder {}", path.display())))
}

/// The folder that was asked for, if nothing is in it that isn't ours; otherwise a new temporary one.
fn claim_dir(dir: Option<&Path>) -> Result<PathBuf> {
    let Some(dir) = dir else {
        let made = tempfile::Builder::new()
            .prefix("sluice-control-plane-")
            .tempdir();
        return Ok(made
            .map_err(Error::io(|| "make a temporary folder".into()))?
            .keep());
    };
    let dir = absolute(dir)?;
    files::create_private_dir(&dir)?;
    // Logs of an earlier one may have been kept.
    if !files::is_empty_but_for(&dir, "logs")? {
        return Err(Error::ForeignFolder(dir));
    }
    Ok(dir)
}
