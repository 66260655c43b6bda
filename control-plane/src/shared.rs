//! One control plane for many tests.

use std::sync::OnceLock;

use crate::error::{Error, Result};
use crate::plane::{ControlPlane, Options};

/// Names the folder of a running control plane, to be used by tests rather than one of their own. Whoever
/// runs several test programs starts one, and sets this for them.
pub const TEST_CONTROL_PLANE: &str = "SLUICE_TEST_CONTROL_PLANE";

impl ControlPlane {
    /// The control plane that the tests of this process share: the one that [`TEST_CONTROL_PLANE`] names,
    /// or one that is started by the first who asks and ends with this process. Tests keep out of each
    /// other's way by [temporary namespaces](ControlPlane::temporary_namespace), and disturb only control
    /// planes that they have started for themselves.
    ///
    /// # Errors
    /// Those of the only attempt at starting or attaching, for everyone who asks.
    pub fn shared() -> Result<&'static ControlPlane, &'static Error> {
        // Never dropped; the supervisor ends it when this process is gone.
        static SHARED: OnceLock<Result<ControlPlane>> = OnceLock::new();
        SHARED
            .get_or_init(|| {
                match std::env::var_os(TEST_CONTROL_PLANE).filter(|dir| !dir.is_empty()) {
                    Some(dir) => ControlPlane::attach(dir),
                    None => ControlPlane::start(Options::default()),
                }
            })
            .as_ref()
    }
}
