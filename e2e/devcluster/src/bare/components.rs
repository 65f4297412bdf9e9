//! The running components: started once, noted at once, started again when they have died.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;

use super::sandbox::{self, Enter};
use super::strays;
use crate::home::{Home, MARKER};
use crate::process::{Launcher, Process, ProcessId, Spec};
use crate::state::State;

/// The component that holds the namespaces of all others.
pub const SANDBOX: &str = "sandbox";
/// The kernel ends a killed process at once; the machine's init may take seconds to ask for its exit code.
const KILL_TIMEOUT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(10);
/// Three are the most that were ever needed.
const KILL_ROUNDS: u32 = 20;

/// The components of one cluster, with their state on disk.
pub struct Components {
    home: Home,
    state: State,
}

impl Components {
    /// What `state` says, without touching anything.
    pub fn new(home: Home, state: State) -> Self {
        Self { home, state }
    }

    /// Takes over what `state` says is running; whatever else carries the cluster's mark is ended.
    ///
    /// # Errors
    /// When a process stays.
    pub fn adopt(home: Home, state: State) -> Result<Self> {
        let mut components = Self::new(home, state);
        if components.sandbox().is_none() {
            // Without its namespaces nothing that still runs can be reached again.
            components.kill_all()?;
        }
        let known: BTreeSet<i32> = components.state.processes.values().map(|id| id.pid).collect();
        kill(&strays::unknown(&components.home, &known));
        Ok(components)
    }

    /// Where everything lies.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// What is noted on disk.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Changes what is noted on disk.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn update(&mut self, change: impl FnOnce(&mut State)) -> Result<()> {
        change(&mut self.state);
        self.state.save(&self.home)
    }

    /// The process that holds the namespaces.
    pub fn sandbox(&self) -> Option<ProcessId> {
        self.state.running(SANDBOX)
    }

    /// The file of the cluster's network namespace.
    pub fn network_namespace(&self) -> PathBuf {
        let pid = self.sandbox().map_or(0, |sandbox| sandbox.pid);
        Path::new("/proc").join(pid.to_string()).join("ns/net")
    }

    /// Starts programs in the cluster's network, to outlive this process.
    pub fn launcher(&self) -> Launcher {
        Launcher::in_network_namespace(self.network_namespace()).detached().with_env(MARKER, self.home.path())
    }

    /// Starts programs in the host's network, to outlive this process.
    pub fn host_launcher(&self) -> Launcher {
        Launcher::host().detached().with_env(MARKER, self.home.path())
    }

    /// A program that belongs to the node: it shares the sandbox's mounts as well.
    pub fn node_spec(&self, name: &str, program: impl AsRef<Path>) -> Spec {
        let pid = self.sandbox().map_or(0, |sandbox| sandbox.pid);
        let mut words = sandbox::enter(pid, Enter::Node).into_iter();
        let enter = words.next().unwrap_or_default();
        Spec::new(name, enter, self.home.log(name)).args(words).arg(program.as_ref())
    }

    /// Starts the component `name` unless it runs, and notes it; `None` when it ran already.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn ensure(&mut self, name: &str, launcher: &Launcher, spec: Spec) -> Result<Option<Process>> {
        if self.state.running(name).is_some() {
            return Ok(None);
        }
        let process = launcher.spawn(spec)?;
        self.note(name, process.id())?;
        Ok(Some(process))
    }

    /// Notes a component that was started elsewhere.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub fn note(&mut self, name: &str, id: ProcessId) -> Result<()> {
        self.update(|state| {
            state.processes.insert(name.to_owned(), id);
        })
    }

    /// Ends one component at once, if it runs, and waits until nothing is left of it.
    pub fn kill(&self, name: &str) {
        kill(&self.state.processes.get(name).copied().into_iter().collect::<Vec<_>>());
    }

    /// Ends everything: noted, marked, and what runs in containers.
    ///
    /// # Errors
    /// When a process stays.
    pub fn kill_all(&mut self) -> Result<()> {
        kill_everything(&self.home)?;
        self.state.processes.clear();
        Ok(())
    }
}

/// Ends every process of the cluster in `home`.
///
/// # Errors
/// When a process stays.
pub fn kill_everything(home: &Home) -> Result<()> {
    // What the kubelet and containerd have started while they were being ended is found in the next round.
    for _ in 0..KILL_ROUNDS {
        let mut found = strays::all(home);
        let inside = super::cgroup::processes(&home.cluster_name()).unwrap_or_default();
        found.extend(inside.into_iter().filter_map(ProcessId::of).filter(|id| id.is_running()));
        if found.is_empty() {
            return Ok(());
        }
        kill(&found);
    }
    let left: Vec<i32> = strays::all(home).into_iter().map(|process| process.pid).collect();
    ensure!(left.is_empty(), "these processes of the cluster do not end: {left:?}");
    Ok(())
}

/// Returns when all are gone, and their pids too: PostgreSQL takes a zombie for a server that still runs.
fn kill(processes: &[ProcessId]) {
    for process in processes {
        process.signal(Signal::SIGKILL);
    }
    let deadline = Instant::now() + KILL_TIMEOUT;
    let exists = |process: &ProcessId| {
        u32::try_from(process.pid).is_ok_and(|pid| ProcessId::of(pid).is_some_and(|now| now == *process))
    };
    while processes.iter().any(exists) && Instant::now() < deadline {
        thread::sleep(POLL);
    }
}
