//! What every kind of cluster can do, and which kind is used here.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::bare::Bare;
use crate::home::Home;
use crate::kind::Kind;
use crate::process::run;
use crate::state::{ProviderKind, State};
use crate::tools::which;

/// A way of making a cluster. Every operation is idempotent; `up` repairs what `down` or a crash left.
pub trait Provider {
    /// Starts what does not run. Returns when pods can run and reach Kafka, PostgreSQL and the mail server.
    ///
    /// # Errors
    /// When a part cannot be started; the message says which and why.
    fn up(&self, brokers: Option<u16>) -> Result<()>;

    /// Ends and removes everything.
    ///
    /// # Errors
    /// When something stays.
    fn down(&self) -> Result<()>;

    /// What runs and how it is reached.
    ///
    /// # Errors
    /// When the state cannot be read.
    fn status(&self) -> Result<Status>;

    /// A command that runs where the cluster's own addresses are reachable, with `kubectl` ready to use.
    ///
    /// # Errors
    /// When no cluster runs.
    fn command(&self, words: &[OsString]) -> Result<Command>;

    /// `kubectl` from this machine.
    ///
    /// # Errors
    /// When no cluster runs.
    fn kubectl(&self) -> Result<Command>;

    /// Builds the images of this project with these binaries and gives them to the cluster.
    ///
    /// # Errors
    /// When a build fails or no cluster runs.
    fn load_applications(&self, binaries: &BTreeMap<String, PathBuf>) -> Result<()>;

    /// Gives an image to the cluster: a file with an archive, or a name that the provider knows.
    ///
    /// # Errors
    /// When the image is not there or no cluster runs.
    fn load(&self, image: &str) -> Result<()>;

    /// All mails that the mail server has received, oldest first, as text.
    ///
    /// # Errors
    /// When no cluster runs.
    fn mail(&self) -> Result<String>;
}

/// What `devcluster status -o json` prints.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// How the cluster is made.
    pub provider: ProviderKind,
    /// Whether everything runs and the node takes pods.
    pub ready: bool,
    /// A kubeconfig that works on this machine.
    pub kubeconfig: PathBuf,
    /// Addresses on this machine, by name.
    pub endpoints: BTreeMap<String, String>,
    /// Who may do everything.
    pub credentials: Credentials,
    /// Whether each part runs.
    pub components: BTreeMap<String, bool>,
}

/// Credentials of the administrators of what runs beside the cluster.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Credentials {
    /// Of Kafka's SASL listener.
    pub kafka: KafkaCredentials,
    /// Of PostgreSQL.
    pub postgres: PostgresCredentials,
}

/// SCRAM-SHA-512 credentials.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct KafkaCredentials {
    /// The user that may do everything.
    pub username: String,
    /// Its password.
    pub password: String,
}

/// The administrator's addresses, with the password.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PostgresCredentials {
    /// For clients on this machine.
    pub url: String,
    /// For pods.
    pub cluster_url: String,
}

impl Credentials {
    const FILE: &str = "credentials.json";

    /// Those of the cluster in `home`; empty before its first start.
    ///
    /// # Errors
    /// When the file is damaged.
    pub fn load(home: &Home) -> Result<Self> {
        match fs::read(home.join(Self::FILE)) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).context("the credentials are damaged; run `devcluster down`")
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).context("cannot read the credentials"),
        }
    }

    /// Keeps them, for this user only.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn save(&self, home: &Home) -> Result<()> {
        home.write(Self::FILE, &serde_json::to_vec_pretty(self)?).map(drop)
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Credentials(***)")
    }
}

/// Restarts what runs an image whose content changed under the same name: Kubernetes does not look again.
///
/// # Errors
/// When the API server does not answer.
pub fn restart_users(provider: &dyn Provider, image: &str) -> Result<()> {
    let columns = "jsonpath={range .items[*]}{.metadata.namespace} {.metadata.name} {.spec.template.spec.containers[*].image}{'\\n'}{end}";
    let mut list = provider.kubectl()?;
    list.args(["get", "deployments", "--all-namespaces", "-o", columns]);
    for line in run("list the deployments", list)?.lines() {
        let mut words = line.split(' ');
        let (Some(namespace), Some(name)) = (words.next(), words.next()) else { continue };
        if words.any(|used| used == image) {
            let mut restart = provider.kubectl()?;
            restart.args(["rollout", "restart", "--namespace", namespace, &format!("deployment/{name}")]);
            run(&format!("restart {name}"), restart)?;
        }
    }
    Ok(())
}

/// The provider of the cluster in `home`: the one that made it, else the one asked for, else what this machine has.
///
/// # Errors
/// When the state is damaged.
pub fn choose(home: &Home, wanted: Option<ProviderKind>) -> Result<Box<dyn Provider>> {
    let made_by = State::load(home)?.map(|state| state.provider);
    if let (Some(made_by), Some(wanted)) = (made_by, wanted) {
        anyhow::ensure!(
            made_by == wanted,
            "the cluster here is of provider {made_by:?}; run `devcluster down` first"
        );
    }
    Ok(match made_by.or(wanted).unwrap_or_else(available) {
        ProviderKind::Bare => Box::new(Bare::new(home.clone())),
        ProviderKind::Kind => Box::new(Kind::new(home.clone())),
    })
}

/// Kind where Docker answers and kind is installed; bare elsewhere.
pub fn available() -> ProviderKind {
    let docker = || {
        let mut command = Command::new("docker");
        command.arg("info").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    if which("kind").is_some() && which("kubectl").is_some() && docker() {
        ProviderKind::Kind
    } else {
        ProviderKind::Bare
    }
}
