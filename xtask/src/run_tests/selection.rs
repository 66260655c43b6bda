//! Which tests the short run has, and which it leaves out.
//!
//! Left out is what needs a program that takes minutes to build (everything but etcd and Kubernetes), and the greater
//! part of what tries many cases of the same. It is left out here, by name: no test passes without having been run.

use super::programs::Program;

/// How much is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// `make test`.
    Short,
    /// `make test-all`.
    All,
    /// What is in `All` and not in `Short`.
    Rest,
}

/// What the short run leaves out of a test program.
struct LeftOut {
    program: &'static str,
    what: What,
    /// Read after "needs" or as a sentence's end: why.
    why: &'static str,
}

enum What {
    Everything,
    /// The tests of these modules.
    Modules(&'static [&'static str]),
    /// Some cases of its only test. What it reads from the environment in the short run, and for the rest.
    Cases {
        short: &'static [(&'static str, &'static str)],
        rest: &'static [(&'static str, &'static str)],
    },
}

const LEFT_OUT: &[LeftOut] = &[
    LeftOut {
        program: "argo_cd",
        what: What::Everything,
        why: "it needs Argo CD",
    },
    LeftOut {
        program: "chart",
        what: What::Everything,
        why: "it needs Helm, kubeconform, kube-score and promtool",
    },
    LeftOut {
        program: "cluster",
        what: What::Modules(&["tools::", "long::"]),
        why: "they need Helm, Prometheus, kstatus or schemathesis, or take minutes each",
    },
    LeftOut {
        program: "crashes",
        what: What::Cases {
            short: &[("SLUICE_CRASHES", "sample")],
            rest: &[("SLUICE_CRASHES", "rest")],
        },
        why: "all crash points but one before and one after each kind of write",
    },
    LeftOut {
        program: "fda",
        what: What::Everything,
        why: "it needs Feldera's fda",
    },
    LeftOut {
        program: "flux",
        what: What::Everything,
        why: "it needs Flux' controllers",
    },
    LeftOut {
        program: "histories",
        what: What::Cases {
            short: &[("SLUICE_HISTORIES", "4")],
            rest: &[("SLUICE_HISTORY_SEED", "5"), ("SLUICE_HISTORIES", "28")],
        },
        why: "28 of 32 random histories",
    },
    LeftOut {
        program: "sdk",
        what: What::Everything,
        why: "it needs Feldera's Python SDK",
    },
    LeftOut {
        program: "upgrade",
        what: What::Everything,
        why: "it needs Helm and the last release",
    },
];

/// How a program is to be run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Run {
    pub arguments: Vec<String>,
    pub environment: Vec<(&'static str, &'static str)>,
}

/// How a program is run for this share; `None` if it has no part in it.
pub fn run_of(program: &Program, share: Share) -> Option<Run> {
    let Some(left_out) = left_out_of(program) else {
        return (share != Share::Rest).then(Run::default);
    };
    let arguments = |arguments: Vec<String>| Run {
        arguments,
        ..Run::default()
    };
    let environment = |environment: &[_]| Run {
        environment: environment.to_vec(),
        ..Run::default()
    };
    match (share, &left_out.what) {
        (Share::All, _) | (Share::Rest, What::Everything) => Some(Run::default()),
        (Share::Short, What::Everything) => None,
        (Share::Short, What::Modules(modules)) => {
            let skip = |module: &&str| ["--skip".to_owned(), (*module).to_owned()];
            Some(arguments(modules.iter().flat_map(skip).collect()))
        }
        (Share::Rest, What::Modules(modules)) => {
            Some(arguments(modules.iter().map(|m| (*m).to_owned()).collect()))
        }
        (Share::Short, What::Cases { short, .. }) => Some(environment(short)),
        (Share::Rest, What::Cases { rest, .. }) => Some(environment(rest)),
    }
}

fn left_out_of(program: &Program) -> Option<&'static LeftOut> {
    // Unit tests of a library or program may have the name of a test program.
    let mut all = LEFT_OUT.iter().filter(|_| program.is_integration());
    all.find(|left_out| left_out.program == program.target)
}

/// What the short run leaves out, a line each: the program, what of it, and why.
pub fn left_out() -> Vec<Vec<String>> {
    let row = |left_out: &LeftOut| {
        let what = match left_out.what {
            What::Everything => String::new(),
            What::Modules(modules) => modules.join(", "),
            What::Cases { .. } => "in part".to_owned(),
        };
        vec![left_out.program.to_owned(), what, left_out.why.to_owned()]
    };
    LEFT_OUT.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    fn of(target: &str) -> Program {
        Program::named("test", target)
    }

    #[test]
    fn short_and_rest_together_are_all() {
        let modules = |share| run_of(&of("cluster"), share).unwrap().arguments;
        assert_eq!(
            modules(Share::Short),
            ["--skip", "tools::", "--skip", "long::"]
        );
        assert_eq!(modules(Share::Rest), ["tools::", "long::"]);
        assert_eq!(run_of(&of("flux"), Share::Short), None);
        assert_eq!(run_of(&of("flux"), Share::Rest), Some(Run::default()));
        assert_eq!(run_of(&of("api"), Share::Short), Some(Run::default()));
        assert_eq!(run_of(&of("api"), Share::Rest), None);
        for target in ["api", "cluster", "crashes", "flux", "histories"] {
            assert_eq!(run_of(&of(target), Share::All), Some(Run::default()));
        }
    }

    #[test]
    fn unit_tests_are_never_left_out() {
        let library = Program::named("lib", "cluster");
        assert_eq!(run_of(&library, Share::Short), Some(Run::default()));
    }

    /// A test that needs a tool passes on a machine that has built it, and would have others wait for half an hour.
    #[test]
    fn what_the_short_run_has_needs_no_tool() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut sources = Vec::new();
        for folder in ["tests", "simulator/tests", "control-plane/tests", "cli/src"] {
            sources_in(&root.join(folder), &mut sources);
        }
        let mut users = 0;
        for source in sources {
            let text = std::fs::read_to_string(&source).unwrap();
            let uses = text.contains("control_plane::tools")
                || text.contains("control_plane::{Progress, tools}")
                || text.contains("tools::{")
                || text.contains("releases::PREVIOUS");
            if !uses {
                continue;
            }
            users += 1;
            let path = source.strip_prefix(&root).unwrap().to_string_lossy();
            let whole = LEFT_OUT.iter().any(|left_out| {
                matches!(left_out.what, What::Everything)
                    && (path.starts_with(&format!("tests/{}/", left_out.program))
                        || path.ends_with(&format!("tests/{}.rs", left_out.program)))
            });
            let part = path.starts_with("tests/cluster/tools/");
            assert!(whole || part, "{path} uses a tool, and is in the short run");
        }
        assert!(users > 10, "{users}");
    }

    fn sources_in(folder: &Path, sources: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => sources_in(&path, sources),
                false if path.extension().is_some_and(|e| e == "rs") => sources.push(path),
                false => {}
            }
        }
    }
}
