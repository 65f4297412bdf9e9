use super::*;

fn sleeper(dir: &Path) -> Spec {
    Spec::new("sleeper", "sh", dir.join("log")).args(["-c", "echo ready; exec sleep 600"])
}

#[test]
fn a_dropped_child_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let process = Launcher::host().spawn(sleeper(dir.path())).unwrap();
    let id = process.id();
    assert!(id.is_running());

    drop(process);

    assert!(!id.is_running());
}

#[test]
fn a_child_started_by_a_thread_that_ended_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let spec = sleeper(dir.path());
    let mut process = thread::spawn(|| Launcher::host().spawn(spec)).join().unwrap().unwrap();

    let log = dir.path().join("log");
    process.wait_until(Duration::from_secs(10), || log_tail(&log).contains("ready")).unwrap();

    assert!(process.is_running());
}

#[test]
fn a_child_that_ends_early_is_reported_with_its_log() {
    let dir = tempfile::tempdir().unwrap();
    let spec = Spec::new("liar", "sh", dir.path().join("log")).args(["-c", "echo no space left; exit 3"]);
    let mut process = Launcher::host().spawn(spec).unwrap();

    let error = process.wait_until(Duration::from_secs(10), || false).unwrap_err().to_string();

    assert!(error.contains("liar ended with exit status: 3"), "{error}");
    assert!(error.contains("no space left"), "{error}");
}

#[test]
fn a_reused_pid_is_a_stranger() {
    let own = ProcessId::of(std::process::id()).unwrap();
    let predecessor = ProcessId { start_time: own.start_time - 1, ..own };

    assert!(own.is_running());
    assert!(!predecessor.is_running());
    // Would end this very test if it reached the stranger.
    predecessor.signal(Signal::SIGKILL);
}

#[test]
fn a_paused_child_can_still_be_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = Launcher::host().spawn(sleeper(dir.path())).unwrap();
    process.pause();

    process.stop(Duration::from_secs(5));

    assert!(!process.id().is_running());
}

#[test]
fn a_failed_command_is_reported_with_its_output() {
    let mut command = Command::new("sh");
    command.args(["-c", "echo nonsense >&2; exit 1"]);

    let error = run("make sense", command).unwrap_err().to_string();

    assert!(error.contains("could not make sense") && error.contains("nonsense"), "{error}");
}
