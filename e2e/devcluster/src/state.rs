//! What `up` has started, kept in `state.json` so that the next command finds, repairs or ends it.
//!
//! It is written after every single change: a killed `up` leaves a true state behind, except for a process
//! started in the very moment before, which carries [`crate::home::MARKER`] and is found by that.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::home::Home;
use crate::process::ProcessId;

const FILE: &str = "state.json";

/// How the cluster is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ProviderKind {
    /// Kubernetes from its Go modules in namespaces of its own; Linux, as root.
    Bare,
    /// Docker and kind, Kafka by Strimzi.
    Kind,
}

/// Everything that `up` decided or started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// How the cluster is made.
    pub provider: ProviderKind,
    /// Number of Kafka brokers.
    pub brokers: u16,
    /// Loopback ports on this machine, by the name of the endpoint.
    #[serde(default)]
    pub ports: BTreeMap<String, u16>,
    /// Running components by name.
    #[serde(default)]
    pub processes: BTreeMap<String, ProcessId>,
}

impl State {
    /// A cluster of which nothing runs yet.
    pub fn new(provider: ProviderKind, brokers: u16) -> Self {
        Self { provider, brokers, ports: BTreeMap::new(), processes: BTreeMap::new() }
    }

    /// The state of the cluster in `home`; `None` when there is none.
    ///
    /// # Errors
    /// When the file is not readable or not ours.
    pub fn load(home: &Home) -> Result<Option<Self>> {
        let path = home.join(FILE);
        match fs::read(&path) {
            Ok(bytes) => {
                let state = serde_json::from_slice(&bytes);
                state
                    .map(Some)
                    .with_context(|| format!("{} is damaged; run `devcluster down`", path.display()))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// The state of the cluster in `home`.
    ///
    /// # Errors
    /// When there is none, or as [`State::load`].
    pub fn require(home: &Home) -> Result<Self> {
        Self::load(home)?.with_context(|| {
            format!("no cluster in {}; start one with `devcluster up`", home.path().display())
        })
    }

    /// Writes it, whole or not at all.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn save(&self, home: &Home) -> Result<()> {
        home.write(FILE, &serde_json::to_vec_pretty(self)?).map(drop)
    }

    /// The component `name`, if it runs.
    pub fn running(&self, name: &str) -> Option<ProcessId> {
        self.processes.get(name).copied().filter(|id| id.is_running())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saved_state_is_read_back_whole() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(Some(dir.path())).unwrap();
        let mut state = State::new(ProviderKind::Bare, 3);
        state.ports.insert("orders".to_owned(), 8081);
        state.processes.insert("etcd".to_owned(), ProcessId { pid: 1, start_time: 2 });

        state.save(&home).unwrap();

        assert_eq!(State::load(&home).unwrap(), Some(state));
    }

    #[test]
    fn a_home_without_state_has_none() {
        let dir = tempfile::tempdir().unwrap();

        assert_eq!(State::load(&Home::new(Some(dir.path())).unwrap()).unwrap(), None);
    }
}
