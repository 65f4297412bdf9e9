//! The `bare` provider: a whole cluster from processes, without a container engine.
//!
//! Kubernetes' own servers, containerd and kubelet run in network and mount namespaces of their own ([`sandbox`]),
//! Kafka, PostgreSQL and a mail server beside them ([`beside`]); a forwarder opens ports on the loopback
//! ([`endpoints`]). Everything is known by the state on disk and by a mark in its environment ([`strays`]).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use nix::sched::{CloneFlags, setns};
use nix::unistd::Uid;

use crate::home::{Home, MARKER};
use crate::packages::{self, Purpose};
use crate::provider::{self, Credentials, Provider, Status};
use crate::state::{ProviderKind, State};
use crate::{home, images, progress, tools};

pub mod beside;
pub mod cgroup;
pub mod components;
pub mod control_plane;
pub mod endpoints;
pub mod node;
pub mod sandbox;
pub mod strays;
pub mod up;

use components::{Components, SANDBOX};

/// A cluster of this provider, running or not.
#[derive(Clone, Debug)]
pub struct Bare {
    home: Home,
}

impl Bare {
    /// The cluster in `home`.
    pub fn new(home: Home) -> Self {
        Self { home }
    }

    fn components(&self) -> Result<Components> {
        let components = Components::new(self.home.clone(), State::require(&self.home)?);
        ensure!(
            components.sandbox().is_some(),
            "the cluster does not run; start it again with `devcluster up`"
        );
        Ok(components)
    }

    fn is_node_ready(&self) -> bool {
        let ready = self.kubectl().and_then(|mut kubectl| Ok(kubectl.args(up::READY_NODE).output()?));
        ready.is_ok_and(|output| output.stdout.trim_ascii() == b"True")
    }

    /// Names of all components that a whole cluster has.
    fn expected(state: &State) -> Vec<String> {
        let mut names: Vec<String> = control_plane::NAMES.map(str::to_owned).to_vec();
        let others =
            [SANDBOX, endpoints::FORWARDER, "containerd", "kubelet", "kube-proxy", "postgres", beside::MAIL];
        names.extend(others.map(str::to_owned));
        names.extend((0..state.brokers).map(beside::broker_name));
        names
    }
}

impl Provider for Bare {
    fn up(&self, brokers: Option<u16>) -> Result<()> {
        ensure!(
            Uid::effective().is_root(),
            "this kind of cluster needs root: it makes namespaces and runs containers"
        );
        let found = State::load(&self.home)?;
        if let (Some(state), Some(wanted)) = (&found, brokers) {
            ensure!(
                state.brokers == wanted,
                "the cluster has {} broker(s); run `devcluster down` first",
                state.brokers
            );
        }
        packages::ensure(&[Purpose::Kafka, Purpose::Postgres, Purpose::Cluster])?;
        let programs = up::Programs::get()?;
        let state = found.unwrap_or_else(|| State::new(ProviderKind::Bare, brokers.unwrap_or(1)));
        self.home.create()?;
        state.save(&self.home)?;
        let mut components = Components::adopt(self.home.clone(), state)?;
        up::up(&mut components, &programs)
    }

    fn down(&self) -> Result<()> {
        progress::step("ending everything that was started", || {
            components::kill_everything(&self.home)?;
            cgroup::remove(&self.home.cluster_name())?;
            home::remove(&beside::postgres_dir(&self.home))?;
            self.home.clear()
        })
    }

    fn status(&self) -> Result<Status> {
        let state = State::require(&self.home)?;
        let runs = |name: String| {
            let running = state.running(&name).is_some();
            (name, running)
        };
        let components: BTreeMap<String, bool> = Self::expected(&state).into_iter().map(runs).collect();
        Ok(Status {
            provider: ProviderKind::Bare,
            ready: components.values().all(|running| *running) && self.is_node_ready(),
            kubeconfig: self.home.join("kubeconfig"),
            endpoints: endpoints::addresses(&state),
            credentials: Credentials::load(&self.home)?,
            components,
        })
    }

    fn command(&self, words: &[OsString]) -> Result<Command> {
        let (program, arguments) = words.split_first().context("no command is given")?;
        let namespace =
            File::open(self.components()?.network_namespace()).context("the cluster does not run")?;
        setns(namespace, CloneFlags::CLONE_NEWNET)
            .context("cannot enter the cluster's network (root is needed)")?;
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(self.home.join("bin")).chain(std::env::split_paths(&path));
        let mut command = Command::new(program);
        command.args(arguments).env("KUBECONFIG", self.home.join("pki/admin.kubeconfig"));
        // It belongs to the caller, not to the cluster: `down` must not end it.
        command.env("PATH", std::env::join_paths(folders)?).env_remove(MARKER);
        Ok(command)
    }

    fn kubectl(&self) -> Result<Command> {
        State::require(&self.home)?;
        let mut command = Command::new(tools::kubernetes()?);
        command.arg0("kubectl").env("KUBECONFIG", self.home.join("kubeconfig"));
        Ok(command)
    }

    fn load_applications(&self, binaries: &BTreeMap<String, PathBuf>) -> Result<()> {
        let components = self.components()?;
        let checkout = home::checkout()?;
        for application in images::APPLICATIONS {
            let Some(binary) = binaries.get(application.program) else { continue };
            progress::step(&format!("image {}", application.image), || {
                let stamp = images::stamp(application, binary, &checkout)?;
                let stamp_file = self.home.join("images").join(format!("{}.stamp", application.program));
                let loaded = fs::read_to_string(&stamp_file).is_ok_and(|text| text == stamp);
                if loaded && node::has_image(&components, application.image)? {
                    return Ok(());
                }
                let archive = images::build(application, binary, &checkout, &self.home.join("images"))?;
                node::import_image(&components, application.image, &archive)?;
                provider::restart_users(self, application.image)?;
                drop(fs::remove_file(archive));
                fs::write(&stamp_file, stamp)
                    .with_context(|| format!("cannot write {}", stamp_file.display()))
            })?;
        }
        Ok(())
    }

    fn load(&self, image: &str) -> Result<()> {
        let archive = Path::new(image);
        if !archive.is_file() {
            bail!("{image} is no file; this kind of cluster takes images as OCI or Docker archives");
        }
        node::import_image(&self.components()?, image, archive)
    }

    fn mail(&self) -> Result<String> {
        State::require(&self.home)?;
        beside::read_mail(&self.home)
    }
}
