//! The library kstatus itself, by which Flux, Argo CD and others go.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use devcluster::tools::GoProgram;
use serde_json::Value;

fn program() -> PathBuf {
    let program = GoProgram {
        name: "kstatus",
        files: &[
            ("main.go", include_str!("../kstatus/main.go")),
            ("go.mod", include_str!("../kstatus/go.mod")),
            ("go.sum", include_str!("../kstatus/go.sum")),
        ],
        ldflags: "-s -w",
        description: "building kstatus from its Go module",
    };
    program.build().unwrap()
}

/// The status of each object by kstatus.
pub(crate) fn computed(objects: &[Value]) -> Vec<String> {
    let mut kstatus = Command::new(program()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    kstatus.stdin.take().unwrap().write_all(&serde_json::to_vec(objects).unwrap()).unwrap();
    let output = kstatus.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}
