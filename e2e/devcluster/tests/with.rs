//! `devcluster with` as a person or a Makefile uses it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use devcluster::process::ProcessId;
use nix::sys::signal::Signal;

const DEADLINE: Duration = Duration::from_secs(60);

fn with(folder: &Path, components: &str, script: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_devcluster"));
    command.args(["with", components, "--", "sh", "-c", script]);
    // So that what remains can be told from what others leave; PostgreSQL's user has to pass through.
    command.env("TMPDIR", folder).stdout(Stdio::piped());
    command
}

/// A folder for temporary files, open to other users.
fn shared_folder() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("one's own folder");
    folder
}

fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// The processes that name `folder` in their arguments: everything that was started for it.
fn processes_of(folder: &Path) -> Vec<PathBuf> {
    let own = std::process::id().to_string();
    let folder = folder.to_str().expect("a plain path");
    fs::read_dir("/proc")
        .expect("a Linux")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|process| !process.ends_with(&own))
        .filter(|process| {
            fs::read_to_string(process.join("cmdline")).is_ok_and(|words| words.contains(folder))
        })
        .collect()
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).expect("a folder").next().is_none()
}

/// Waits until the command says that it runs.
fn wait_running(child: &mut Child) {
    let mut line = String::new();
    let stdout = child.stdout.take().expect("a pipe");
    BufReader::new(stdout).read_line(&mut line).expect("text");
    assert_eq!(line, "running\n");
}

#[test]
fn the_command_gets_the_addresses_and_its_exit_code_is_the_answer() {
    let folder = shared_folder();
    let mut child =
        with(folder.path(), "postgres,kafka", "echo \"$DEVCLUSTER_POSTGRES$DEVCLUSTER_KAFKA\"; exit 7")
            .spawn()
            .unwrap();

    let mut output = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut output).unwrap();
    let status = child.wait().unwrap();

    assert_eq!(status.code(), Some(7));
    assert!(output.contains("\"port\":") && output.contains("\"sasl_bootstrap\":\"127.0.0.1:"), "{output}");
    assert!(is_empty(folder.path()));
    assert_eq!(processes_of(folder.path()), Vec::<PathBuf>::new());
}

#[test]
fn nothing_remains_when_it_is_killed() {
    let folder = shared_folder();
    let mut child =
        with(folder.path(), "postgres,kafka,registry", "echo running; exec sleep 600").spawn().unwrap();
    wait_running(&mut child);
    assert!(!processes_of(folder.path()).is_empty());

    child.kill().unwrap();
    child.wait().unwrap();

    eventually("processes remain", || processes_of(folder.path()).is_empty());
    eventually("files remain", || is_empty(folder.path()));
}

#[test]
fn a_signal_reaches_the_command_and_everything_ends() {
    let folder = shared_folder();
    let script = "trap 'exit 5' TERM; echo running; while :; do sleep 0.05; done";
    let mut child = with(folder.path(), "postgres", script).spawn().unwrap();
    wait_running(&mut child);

    ProcessId::of(child.id()).unwrap().signal(Signal::SIGTERM);
    let status = child.wait().unwrap();

    assert_eq!(status.code(), Some(5));
    assert!(is_empty(folder.path()));
    assert_eq!(processes_of(folder.path()), Vec::<PathBuf>::new());
}
