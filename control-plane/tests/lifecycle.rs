//! How a control plane begins and ends. Each test has its own.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use control_plane::{ControlPlane, Error, Options, Progress, Up, User};

/// How long what takes moments may take on a busy machine.
const A_MINUTE: Duration = Duration::from_secs(60);

#[track_caller]
fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + A_MINUTE;
    while !condition() {
        assert!(Instant::now() < deadline, "not within a minute: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The processes that have this folder in their command line, or work in it.
fn processes_of(dir: &Path) -> Vec<u32> {
    let dir = dir.to_str().unwrap();
    let is_of = |pid: u32| {
        let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let works_in = std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
        String::from_utf8_lossy(&arguments).contains(dir) || works_in.starts_with(dir)
    };
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|&pid| is_of(pid))
        .collect()
}

fn quiet() -> Options {
    Options {
        progress: Progress::silent(),
        ..Options::default()
    }
}

/// Not a test, but the process that others start and kill: it starts a control plane, prints its folder,
/// and waits.
#[test]
#[ignore = "is started by other tests"]
fn starter() {
    let plane = ControlPlane::start(Options::default()).unwrap();
    println!("\nDIR {}", plane.dir().display());
    loop {
        std::thread::park();
    }
}

/// Starts a process that starts a control plane, and waits for it.
fn start_elsewhere() -> (Child, PathBuf) {
    let mut starter = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "starter", "--ignored", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(starter.stdout.take().unwrap()).lines();
    let dir = lines
        .map_while(Result::ok)
        .find_map(|line| Some(PathBuf::from(line.strip_prefix("DIR ")?)));
    let dir = dir.expect("the starter says where its control plane is");
    let attached = ControlPlane::attach(&dir).unwrap();
    attached.wait_until_ready(A_MINUTE).unwrap();
    assert!(processes_of(&dir).len() >= 3);
    (starter, dir)
}

#[test]
fn nothing_is_left_when_the_starter_is_killed_or_interrupted() {
    for signal in ["-KILL", "-INT", "-TERM"] {
        let (mut starter, dir) = start_elsewhere();
        let killed = Command::new("kill")
            .args([signal, &starter.id().to_string()])
            .status()
            .unwrap();
        assert!(killed.success());
        starter.wait().unwrap();
        eventually("all processes are gone", || processes_of(&dir).is_empty());
        eventually("the folder is gone", || !dir.exists());
    }
}

#[test]
fn nothing_is_left_after_stop() {
    let plane = ControlPlane::start(quiet()).unwrap();
    let dir = plane.dir().to_owned();
    plane.stop().unwrap();
    assert_eq!(processes_of(&dir), Vec::<u32>::new());
    assert!(!dir.exists());
}

#[test]
fn nothing_is_left_after_a_panic() {
    let (send, receive) = std::sync::mpsc::channel();
    let panicked = std::thread::spawn(move || {
        let plane = ControlPlane::start(quiet()).unwrap();
        send.send(plane.dir().to_owned()).unwrap();
        panic!("on purpose");
    });
    assert!(panicked.join().is_err());
    let dir = receive.recv().unwrap();
    assert_eq!(processes_of(&dir), Vec::<u32>::new());
    assert!(!dir.exists());
}

#[test]
fn two_started_at_once_do_not_collide() {
    let start = || ControlPlane::start(quiet()).unwrap();
    let (one, two) = std::thread::scope(|scope| {
        let other = scope.spawn(start);
        (start(), other.join().unwrap())
    });
    assert_ne!(one.url(), two.url());
    for plane in [&one, &two] {
        plane.wait_until_ready(A_MINUTE).unwrap();
    }
    // The tokens of one mean nothing to the other.
    assert_ne!(one.token("admin").unwrap(), two.token("admin").unwrap());
}

#[test]
fn the_api_server_comes_back_with_its_data() {
    let users = vec![User::new("dave", ["operators"])];
    let plane = ControlPlane::start(Options {
        users,
        audit_log: true,
        ..quiet()
    })
    .unwrap();
    let namespace = plane.temporary_namespace("kept").unwrap();
    let exists = || {
        let output = plane
            .kubectl("admin")
            .unwrap()
            .args(["get", "namespace", namespace.name()])
            .output()
            .unwrap();
        output.status.success()
    };
    assert!(exists());
    let before = plane.api_server().pid().unwrap();
    plane.api_server().kill().unwrap();
    assert_eq!(plane.api_server().pid(), None);
    assert!(!plane.is_ready());
    plane.api_server().restart().unwrap();
    assert_ne!(plane.api_server().pid().unwrap(), before);
    assert!(exists());

    plane.etcd().restart().unwrap();
    eventually("etcd is back", exists);
    plane.controller_manager().restart().unwrap();
    assert!(plane.is_complete());

    plane.api_server().pause().unwrap();
    assert!(plane.wait_until_ready(Duration::from_secs(1)).is_err());
    plane.api_server().resume().unwrap();
    plane.wait_until_ready(Duration::from_secs(30)).unwrap();

    let who = plane
        .kubectl("dave")
        .unwrap()
        .args(["auth", "whoami"])
        .output()
        .unwrap();
    assert!(
        String::from_utf8_lossy(&who.stdout).contains("operators"),
        "{who:?}"
    );
    let audit_log = plane.audit_log_path().unwrap();
    eventually("the audit log has it", || {
        std::fs::read_to_string(&audit_log)
            .unwrap()
            .contains(r#""username":"dave""#)
    });

    drop(namespace);
    let dir = plane.dir().to_owned();
    plane.stop().unwrap();
    assert_eq!(processes_of(&dir), Vec::<u32>::new());
}

#[test]
fn a_start_that_fails_says_why_and_leaves_nothing() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("plane");
    let api_server_flags = vec!["--no-such-flag".to_owned()];
    let error = ControlPlane::start(Options {
        dir: Some(dir.clone()),
        api_server_flags,
        ..quiet()
    })
    .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("kube-apiserver ended (exit status: 1)"),
        "{text}"
    );
    assert!(text.contains("unknown flag: --no-such-flag"), "{text}");
    assert_eq!(processes_of(&dir), Vec::<u32>::new());
    assert!(!dir.exists());
}

#[test]
fn a_folder_with_other_things_in_it_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mine");
    std::fs::write(&file, "mine").unwrap();
    let error = ControlPlane::start(Options {
        dir: Some(dir.path().into()),
        ..quiet()
    })
    .unwrap_err();
    assert!(matches!(error, Error::ForeignFolder(_)), "{error}");
    assert!(matches!(
        control_plane::down(dir.path()),
        Err(Error::ForeignFolder(_))
    ));
    assert_eq!(std::fs::read_to_string(file).unwrap(), "mine");
}

#[test]
fn one_that_is_left_running_can_be_used_disturbed_and_ended() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("plane");
    assert!(!control_plane::down(&dir).unwrap());

    let (plane, up) = control_plane::up(&dir, quiet()).unwrap();
    assert_eq!(up, Up::Started);
    let url = plane.url().to_owned();
    drop(plane);
    let (plane, up) = control_plane::up(&dir, quiet()).unwrap();
    assert_eq!(up, Up::AlreadyRunning);
    assert_eq!(plane.url(), url);
    plane.api_server().restart().unwrap();

    // With a part of it gone, it is made anew.
    plane.etcd().kill().unwrap();
    let (plane, up) = control_plane::up(&dir, quiet()).unwrap();
    assert_eq!(up, Up::Started);

    plane.controller_manager().kill().unwrap();
    assert!(control_plane::down(&dir).unwrap());
    assert_eq!(processes_of(&dir), Vec::<u32>::new());
    assert!(!dir.exists());
    assert!(matches!(
        ControlPlane::attach(&dir),
        Err(Error::NotThere(_))
    ));
}

#[test]
fn only_the_owner_stops_or_disturbs() {
    let (mut starter, dir) = start_elsewhere();
    let attached = ControlPlane::attach(&dir).unwrap();
    assert!(matches!(
        attached.api_server().kill(),
        Err(Error::NotOwner { .. })
    ));
    assert!(matches!(
        control_plane::down(&dir),
        Err(Error::NotOwner { .. })
    ));
    assert!(matches!(attached.stop(), Err(Error::NotOwner { .. })));
    let again = ControlPlane::attach(&dir).unwrap();
    again.wait_until_ready(A_MINUTE).unwrap();
    starter.kill().unwrap();
    starter.wait().unwrap();
    eventually("the folder is gone", || !dir.exists());
}
