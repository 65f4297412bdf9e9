//! The life of a `devcluster` without a container engine: killed while it starts, repaired, left alone, removed; all of
//! it beside the cluster of the other suite.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use e2e::cluster::{Cluster, devcluster_binary, root};
use serde_json::Value;

/// What every process of a cluster has in its environment.
const MARK: &str = "DEVCLUSTER_HOME";
const START_LIMIT: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(50);

/// A cluster that is removed whatever becomes of the test.
struct Second {
    dir: PathBuf,
}

impl Drop for Second {
    fn drop(&mut self) {
        if let Err(error) = self.command(&["down"]).status() {
            eprintln!("{} is left over: {error}", self.dir.display());
        }
    }
}

impl Second {
    fn new() -> Self {
        Self { dir: root().canonicalize().expect("the checkout is there").join(".devcluster-second") }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(devcluster_binary().expect("devcluster is built"));
        command.arg("--dir").arg(&self.dir).args(arguments).current_dir(root());
        command
    }

    fn run(&self, arguments: &[&str]) -> String {
        let Output { status, stdout, stderr } = self.command(arguments).output().expect("devcluster starts");
        assert!(status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&stderr));
        String::from_utf8(stdout).expect("text")
    }

    fn begin_up(&self) -> Child {
        let quiet = Stdio::null;
        let mut up = self.command(&["up", "--provider", "bare"]);
        up.stdout(quiet()).stderr(quiet()).spawn().expect("devcluster starts")
    }

    /// Ids of the processes that carry this cluster's mark.
    fn processes(&self) -> BTreeSet<u32> {
        let mark = format!("{MARK}={}", self.dir.display()).into_bytes();
        let carries = |pid: &u32| {
            // One that ends meanwhile has nothing any more.
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable == mark)
        };
        let all = fs::read_dir("/proc").expect("there is /proc").flatten();
        all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(carries).collect()
    }

    /// The components that the cluster notes, with their processes.
    fn noted(&self) -> Value {
        let state = fs::read(self.dir.join("state.json")).expect("the cluster has a state");
        let state: Value = serde_json::from_slice(&state).expect("it is JSON");
        state.get("processes").expect("it notes its processes").clone()
    }

    fn mounts(&self) -> Vec<String> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("there are mounts");
        let here = self.dir.to_string_lossy();
        mounts.lines().filter(|line| line.contains(here.as_ref())).map(str::to_owned).collect()
    }
}

/// The control groups of clusters, those of each hierarchy.
fn control_groups() -> BTreeSet<PathBuf> {
    let top = fs::read_dir("/sys/fs/cgroup").expect("there are control groups").flatten();
    let below = |path: PathBuf| fs::read_dir(path).into_iter().flatten().flatten();
    let all =
        top.flat_map(|entry| std::iter::once(entry.path()).chain(below(entry.path()).map(|e| e.path())));
    let of_clusters = |path: &PathBuf| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("devcluster-"))
    };
    all.filter(of_clusters).collect()
}

#[test]
fn a_cluster_killed_while_it_starts_is_repaired_and_leaves_nothing_when_it_is_taken_down() {
    let other = Cluster::find().expect("the cluster of the other suite is up");
    let groups = control_groups();
    let second = Second::new();

    let mut up = second.begin_up();
    let deadline = Instant::now() + START_LIMIT;
    // Far enough to leave something behind: the sandbox, etcd or the broker, and not everything.
    while second.processes().len() < 4 {
        assert!(up.try_wait().expect("it is a child").is_none(), "it ended before it could be killed");
        assert!(Instant::now() < deadline, "it does not start anything");
        thread::sleep(POLL);
    }
    up.kill().and_then(|()| up.wait()).expect("it is killed");
    assert!(!second.processes().is_empty(), "a killed `up` leaves what it has started");

    second.run(&["up"]);
    let status: Value = serde_json::from_str(&second.run(&["status", "-o", "json"])).expect("JSON");
    assert_eq!(status["ready"], true, "{status}");
    let first = second.noted();
    second.run(&["up"]);
    assert_eq!(second.noted(), first, "a repeated `up` starts nothing anew");
    assert!(second.run(&["kubectl", "--", "get", "nodes", "-o", "name"]).starts_with("node/"));
    assert!(other.kubectl(&["get", "nodes", "-o", "name"]).expect("the other lives").starts_with("node/"));

    second.run(&["down"]);

    assert_eq!(second.processes(), BTreeSet::new());
    assert_eq!(second.mounts(), [""; 0]);
    assert_eq!(control_groups(), groups);
    assert!(!second.dir.exists(), "its folder is gone");
    second.run(&["down"]);
    assert!(other.kubectl(&["get", "nodes", "-o", "name"]).expect("the other lives on").starts_with("node/"));
}
