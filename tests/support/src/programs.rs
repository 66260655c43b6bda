//! Where the programs are that are tested, and what they may write.

use std::path::PathBuf;

/// The folder with what this build has made: the tests stand in `deps` below it.
fn built() -> PathBuf {
    let test = std::env::current_exe().expect("this test is a program");
    let deps = test.parent().expect("it stands in a folder");
    deps.parent()
        .expect("which stands in another one")
        .to_owned()
}

/// A program of this workspace.
pub fn program(name: &str) -> PathBuf {
    built().join(name)
}

/// A folder for what only this run needs.
pub fn temporary() -> PathBuf {
    let folder = built().parent().expect("a target folder").join("tmp");
    std::fs::create_dir_all(&folder).expect("it can be made");
    folder
}
