//! A real Kubernetes control plane on this machine, with no container engine: etcd, the API server and
//! the controller manager, as plain child processes on loopback. The demo and the tests run against it.
//!
//! ```no_run
//! # fn main() -> Result<(), control_plane::Error> {
//! let control_plane = control_plane::ControlPlane::start(control_plane::Options::default())?;
//! println!("export KUBECONFIG={}", control_plane.kubeconfig_path().display());
//! control_plane.stop()?; // so does dropping it, Ctrl-C, and killing this process
//! # Ok(())
//! # }
//! ```
//!
//! How it comes about, one module each:
//!
//! 1. `binaries` finds the programs (`finding`) or builds them from Go modules (`go_module`, `go_build`),
//!    each at most once per machine (`making`). [`tools`] does the same for Helm, and for the clients that
//!    judge the stand-in engine: one from its crate (`cargo_install`), one in a `python` environment.
//!    [`releases`] does it for the release of Sluice before this one, out of this repository's history.
//! 2. `pki`, `users` and `kubeconfig` write who may connect, and how.
//! 3. `components` says which arguments each program gets; `process` starts it, and `supervisor` makes
//!    sure that it ends when its starter ends, however that happens.
//! 4. `plane` puts these together. `running` keeps track of the processes and writes them down (`state`), so
//!    that other processes can use a control plane (`shared`) or end one that was left running
//!    (`detached`). `component` is for tests that kill or pause a part.
//!
//! What the environment says:
//!
//! | variable | meaning |
//! | --- | --- |
//! | `KUBEBUILDER_ASSETS` | a folder with programs to use: see [`Binaries::prepare`] |
//! | `XDG_CACHE_HOME` | where the cache of built programs is, if not in `~/.cache` |
//! | `SLUICE_TEST_CONTROL_PLANE` | the folder of a running control plane for tests: see [`ControlPlane::shared`] |
//! | `SLUICE_KEEP_LOGS` | set to anything, the folder `logs` of a control plane stays when that ends |

mod binaries;
mod cargo_install;
mod component;
mod components;
mod detached;
mod error;
mod files;
mod finding;
mod go_build;
mod go_module;
mod https;
mod kubeconfig;
mod making;
mod namespace;
mod pki;
mod plane;
mod ports;
mod process;
mod progress;
mod python;
mod random;
pub mod releases;
mod running;
mod shared;
mod state;
mod supervisor;
pub mod tools;
mod users;
mod version;

pub use binaries::Binaries;
pub use component::Component;
pub use components::ComponentName;
pub use detached::{Up, down, up};
pub use error::{Error, Result};
pub use namespace::TemporaryNamespace;
pub use plane::{ControlPlane, Options};
pub use progress::Progress;
pub use shared::TEST_CONTROL_PLANE;
pub use users::User;
pub use version::Version;
