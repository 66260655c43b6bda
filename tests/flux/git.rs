//! Git over HTTP, as source-controller fetches it: repositories below a folder, served read-only by
//! `git upload-pack` (Git's "smart" protocol, <https://git-scm.com/docs/http-protocol>).

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use axum::Router;
use axum::body::Bytes;
use axum::extract;
use axum::http::header::CONTENT_TYPE;
use axum::routing::{get, post};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

/// What the server says before it says which references there are.
const BEFORE_REFERENCES: &[u8] = b"001e# service=git-upload-pack\n0000";

/// The folder of all repositories.
fn root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let root = tempfile::Builder::new()
            .prefix("git-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"));
        root.expect("a folder").keep()
    })
}

/// Where all repositories are served. The server ends with this process.
fn server() -> &'static str {
    static URL: OnceLock<String> = OnceLock::new();
    URL.get_or_init(|| {
        let (sender, receiver) = std::sync::mpsc::channel();
        // On a thread of its own: a test's runtime ends with the test.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
                let address = listener.local_addr().expect("an address");
                sender
                    .send(format!("http://{address}"))
                    .expect("somebody asks");
                let router = Router::new()
                    .route("/{name}/info/refs", get(references))
                    .route("/{name}/git-upload-pack", post(pack));
                axum::serve(listener, router).await.expect("it serves");
            });
        });
        receiver.recv().expect("the server's address")
    })
}

async fn references(
    extract::Path(name): extract::Path<String>,
) -> ([(axum::http::HeaderName, &'static str); 1], Vec<u8>) {
    let said = upload_pack(&["--http-backend-info-refs"], &name, &[]).await;
    let kind = "application/x-git-upload-pack-advertisement";
    ([(CONTENT_TYPE, kind)], [BEFORE_REFERENCES, &said].concat())
}

async fn pack(
    extract::Path(name): extract::Path<String>,
    wanted: Bytes,
) -> ([(axum::http::HeaderName, &'static str); 1], Vec<u8>) {
    let said = upload_pack(&[], &name, &wanted).await;
    (
        [(CONTENT_TYPE, "application/x-git-upload-pack-result")],
        said,
    )
}

async fn upload_pack(flags: &[&str], name: &str, input: &[u8]) -> Vec<u8> {
    let mut git = tokio::process::Command::from(git())
        .args(["upload-pack", "--stateless-rpc"])
        .args(flags)
        .arg(root().join(name))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("git can be started");
    let mut to_git = git.stdin.take().expect("its input is piped");
    to_git.write_all(input).await.expect("it reads");
    drop(to_git);
    git.wait_with_output().await.expect("it ends").stdout
}

/// Git, whatever this machine's settings are.
fn git() -> Command {
    let mut git = Command::new("git");
    git.env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1");
    git
}

/// A repository with one branch, `main`.
pub struct Repository {
    folder: PathBuf,
    /// Where it can be fetched.
    pub url: String,
}

impl Repository {
    /// An empty one of this name.
    pub fn new(name: &str) -> Self {
        let repository = Self {
            folder: root().join(name),
            url: format!("{}/{name}", server()),
        };
        std::fs::create_dir_all(&repository.folder).expect("a folder");
        repository.git(&["init", "--quiet", "--initial-branch=main"]);
        repository
    }

    /// Writes files, or removes them where there is no content, and commits that.
    pub fn commit(&self, files: &[(&str, Option<&str>)]) {
        for (path, content) in files {
            let path = self.folder.join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            match content {
                Some(content) => std::fs::write(path, content).expect("a file"),
                None => std::fs::remove_file(path).expect("a file that was there"),
            }
        }
        self.git(&["add", "--all"]);
        self.git(&[
            "-c",
            "user.name=A Person",
            "-c",
            "user.email=person@example.com",
            "commit",
            "--quiet",
            "--message=A change",
        ]);
    }

    /// The id of the newest commit.
    pub fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"])
    }

    /// Takes the newest commit back by another one.
    pub fn revert(&self) {
        self.git(&[
            "-c",
            "user.name=A Person",
            "-c",
            "user.email=person@example.com",
            "revert",
            "--no-edit",
            "HEAD",
        ]);
    }

    fn git(&self, arguments: &[&str]) -> String {
        let output = git()
            .current_dir(&self.folder)
            .args(arguments)
            .output()
            .expect("git can be started");
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let wrong = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "git {arguments:?}: {said}{wrong}");
        said
    }
}
