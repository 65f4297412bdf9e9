//! Kafka: one broker, or three that replicate, as child processes.
//!
//! Clients come in by PLAINTEXT (as ANONYMOUS, the administrator) and by SASL_PLAINTEXT with SCRAM-SHA-512; where asked
//! for, by SASL_SSL and by SSL with a client certificate; and, where asked for, by a listener that tells them another
//! address than it listens on (a forwarded port). ACLs are on.

use std::fs::{self, Permissions};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::ports;
use crate::process::{Launcher, Process, ProcessId, Spec};

mod certificates;
mod config;
mod install;

pub use certificates::Certificates;
use install::Installation;
pub(crate) use install::JAVA_VERSION;

/// A cold broker takes 4 s on an idle machine; tests run on busy ones.
const START_TIMEOUT: Duration = Duration::from_secs(120);
/// A broker that closes its logs properly takes about a second.
const STOP_GRACE: Duration = Duration::from_secs(30);
/// The user of the SASL listener that may do everything.
const ADMIN_USER: &str = "admin";

/// What a cluster is tuned for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tuning {
    /// Up in a second, small, and quick to notice a crash; the compiler stops at its first tier.
    QuickStart,
    /// As in production: the full compiler, a larger heap, Kafka's own timeouts. For measurements.
    Throughput,
}

/// The ports of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodePorts {
    /// Without authentication: administrators and the brokers among themselves.
    pub plaintext: u16,
    /// SCRAM-SHA-512.
    pub sasl: u16,
    /// The listeners with TLS.
    pub tls: Option<TlsPorts>,
    /// KRaft's controllers.
    pub controller: u16,
    /// A listener whose address is forwarded.
    pub external: Option<External>,
}

impl NodePorts {
    /// Ports of `address` that nobody uses now.
    ///
    /// # Errors
    /// As [`ports::free`].
    pub fn free(address: IpAddr) -> Result<Self> {
        let port = || ports::free(address);
        Ok(Self { plaintext: port()?, sasl: port()?, tls: None, controller: port()?, external: None })
    }
}

/// The ports of the listeners with TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsPorts {
    /// SCRAM-SHA-512.
    pub sasl: u16,
    /// A client certificate: nobody comes in without.
    pub mutual: u16,
}

/// A listener for clients that reach the broker through a forwarder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct External {
    /// The port the broker listens on.
    pub listen: u16,
    /// The address the broker tells to the clients of this listener: the forwarder's.
    pub advertised: SocketAddr,
    /// Who is let in.
    pub security: ExternalSecurity,
}

/// How clients of the external listener authenticate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExternalSecurity {
    /// Not at all: everybody who reaches it is the administrator.
    Plaintext,
    /// SCRAM-SHA-512.
    Sasl,
}

/// Where and how a cluster runs.
#[derive(Clone, Debug)]
pub struct KafkaOptions {
    /// Data, configuration and logs. When it holds a cluster already, that one is started again.
    pub dir: PathBuf,
    /// Where the brokers run.
    pub launcher: Launcher,
    /// The address they listen on, and tell to clients.
    pub bind: IpAddr,
    /// One entry per broker: one broker, or three.
    pub nodes: Vec<NodePorts>,
    /// What it is tuned for.
    pub tuning: Tuning,
}

impl KafkaOptions {
    /// `brokers` (1 or 3) on free loopback ports, tuned for tests.
    ///
    /// # Errors
    /// When no ports are free.
    pub fn for_tests(dir: impl Into<PathBuf>, brokers: usize) -> Result<Self> {
        let bind = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let nodes = (0..brokers).map(|_| NodePorts::free(bind)).collect::<Result<_>>()?;
        Ok(Self { dir: dir.into(), launcher: Launcher::host(), bind, nodes, tuning: Tuning::QuickStart })
    }

    /// The same with the listeners for TLS, on free ports: a quarter of a second more until a broker is up.
    ///
    /// # Errors
    /// When no ports are free.
    pub fn with_tls(mut self) -> Result<Self> {
        for ports in &mut self.nodes {
            ports.tls = Some(TlsPorts { sasl: ports::free(self.bind)?, mutual: ports::free(self.bind)? });
        }
        Ok(self)
    }
}

/// A running cluster. Brokers that live with their parent are killed when it is dropped.
#[derive(Debug)]
pub struct Kafka {
    options: KafkaOptions,
    admin_password: Password,
    nodes: Vec<Node>,
}

struct Password(String);

impl std::fmt::Debug for Password {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("***")
    }
}

impl Kafka {
    /// Starts the cluster and returns when every broker takes requests.
    ///
    /// # Errors
    /// When Kafka cannot be fetched, or a broker does not come up; the message ends with its log.
    pub fn start(options: KafkaOptions) -> Result<Self> {
        ensure!(matches!(options.nodes.len(), 1 | 3), "a cluster has one broker or three");
        let installation = Installation::get()?;
        if options.nodes.iter().any(|ports| ports.tls.is_some()) {
            Certificates::of(&options.dir).make(options.bind)?;
        }
        let admin_password = Password(installation.admin_password()?);
        let ids = 1..=options.nodes.len();
        let nodes: Result<Vec<Node>> = ids.map(|id| Node::prepare(id, &installation, &options)).collect();
        let mut kafka = Self { admin_password, nodes: nodes?, options };
        kafka.restart()?;
        Ok(kafka)
    }

    /// The PLAINTEXT addresses, comma-separated. Whoever comes in there is the administrator.
    pub fn bootstrap(&self) -> String {
        self.addresses(|ports| Some(SocketAddr::new(self.options.bind, ports.plaintext)))
    }

    /// The SASL_PLAINTEXT addresses, comma-separated.
    pub fn sasl_bootstrap(&self) -> String {
        self.addresses(|ports| Some(SocketAddr::new(self.options.bind, ports.sasl)))
    }

    /// The SASL_SSL addresses, comma-separated; empty when there are none.
    pub fn sasl_tls_bootstrap(&self) -> String {
        self.addresses(|ports| Some(SocketAddr::new(self.options.bind, ports.tls?.sasl)))
    }

    /// The SSL addresses, comma-separated; empty when there are none. Who has the certificate `CN=<name>` is the user
    /// `CN=<name>` there; nobody comes in without one.
    pub fn mtls_bootstrap(&self) -> String {
        self.addresses(|ports| Some(SocketAddr::new(self.options.bind, ports.tls?.mutual)))
    }

    /// What the listeners with TLS are trusted by, and clients' own certificates.
    pub fn certificates(&self) -> Certificates {
        Certificates::of(&self.options.dir)
    }

    /// The forwarded addresses, comma-separated; empty when there are none.
    pub fn external_bootstrap(&self) -> String {
        self.addresses(|ports| Some(ports.external?.advertised))
    }

    fn addresses(&self, address: impl Fn(&NodePorts) -> Option<SocketAddr>) -> String {
        let addresses: Vec<String> =
            self.options.nodes.iter().filter_map(address).map(|address| address.to_string()).collect();
        addresses.join(",")
    }

    /// The user of the SASL listener that may do everything.
    pub fn admin_user(&self) -> &'static str {
        ADMIN_USER
    }

    /// The password of [`Kafka::admin_user`].
    pub fn admin_password(&self) -> &str {
        &self.admin_password.0
    }

    /// The number of brokers.
    pub fn brokers(&self) -> usize {
        self.nodes.len()
    }

    /// The running brokers, for the state that a later run reads.
    pub fn process_ids(&self) -> Vec<ProcessId> {
        self.nodes.iter().filter_map(|node| Some(node.process.as_ref()?.id())).collect()
    }

    /// Ends all brokers at once, as a power cut would.
    pub fn kill(&mut self) {
        self.nodes.iter_mut().for_each(Node::kill);
    }

    /// Shuts all brokers down properly.
    pub fn stop(&mut self) {
        // At once, and not one after the other: the last one would wait for a quorum that is gone.
        let nodes: Vec<&mut Node> = self.nodes.iter_mut().collect();
        std::thread::scope(|scope| {
            for node in nodes {
                scope.spawn(move || node.stop());
            }
        });
    }

    /// Starts the brokers that do not run, on the same ports and data, and waits for them.
    ///
    /// # Errors
    /// When one does not come up.
    pub fn restart(&mut self) -> Result<()> {
        for node in &mut self.nodes {
            node.spawn()?;
        }
        self.nodes.iter_mut().try_for_each(Node::wait_ready)
    }

    /// Freezes all brokers: connections stay open and nothing answers.
    pub fn pause(&self) {
        self.nodes.iter().for_each(Node::pause);
    }

    /// Lets all brokers go on.
    pub fn resume(&self) {
        self.nodes.iter().for_each(Node::resume);
    }

    /// The broker with the Kafka id `id`, counted from 1.
    ///
    /// # Errors
    /// When there is none.
    pub fn broker(&mut self, id: usize) -> Result<&mut Node> {
        let node = id.checked_sub(1).and_then(|index| self.nodes.get_mut(index));
        node.with_context(|| format!("there is no broker {id}"))
    }
}

/// One broker.
#[derive(Debug)]
pub struct Node {
    id: usize,
    dir: PathBuf,
    launcher: Launcher,
    port: u16,
    java: PathBuf,
    java_options: Vec<String>,
    process: Option<Process>,
}

impl Node {
    fn prepare(id: usize, installation: &Installation, options: &KafkaOptions) -> Result<Self> {
        let dir = options.dir.join(format!("broker-{id}"));
        let data = dir.join("data");
        if !data.join("meta.properties").exists() {
            installation.copy_template(&data, id, &cluster_id(&options.dir)?)?;
        }
        // Readable by this user only, as everything that a broker keeps.
        fs::set_permissions(&dir, Permissions::from_mode(0o700))?;
        fs::write(dir.join("server.properties"), config::render(id, &data, options))?;
        // A broker looks up the name of its own address for each login, which takes ten seconds where the name
        // server cannot be reached, as in a network namespace: it gets all names it needs from a file.
        let hosts = dir.join("hosts");
        fs::write(&hosts, format!("127.0.0.1 localhost\n{} broker-{id}\n", options.bind))?;
        let mut java_options = vec![format!("-Djdk.net.hosts.file={}", hosts.display())];
        java_options.extend(installation.java_options(options.tuning));
        let ports = id.checked_sub(1).and_then(|index| options.nodes.get(index));
        Ok(Self {
            id,
            dir,
            launcher: options.launcher.clone(),
            port: ports.context("a broker without ports")?.plaintext,
            java: installation.java.program.clone(),
            java_options,
            process: None,
        })
    }

    /// Starts it again after [`Node::kill`] or [`Node::stop`] and waits until it takes requests.
    ///
    /// # Errors
    /// When it does not come up; the message ends with its log.
    pub fn restart(&mut self) -> Result<()> {
        self.spawn()?;
        self.wait_ready()
    }

    fn spawn(&mut self) -> Result<()> {
        if self.process.as_mut().is_some_and(Process::is_running) {
            return Ok(());
        }
        let spec = Spec::new(format!("Kafka broker {}", self.id), &self.java, self.dir.join("broker.log"))
            .args(&self.java_options)
            .arg("kafka.Kafka")
            .arg(self.dir.join("server.properties"));
        self.process = Some(self.launcher.spawn(spec)?);
        Ok(())
    }

    fn wait_ready(&mut self) -> Result<()> {
        let Some(process) = &mut self.process else { bail!("Kafka broker {} was not started", self.id) };
        // The port opens only when the broker is registered and unfenced.
        process.wait_for_port(self.port, START_TIMEOUT)
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// Shuts it down properly.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.stop(STOP_GRACE);
        }
    }

    /// Freezes it.
    pub fn pause(&self) {
        self.process.iter().for_each(Process::pause);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.process.iter().for_each(Process::resume);
    }
}

/// The id of the cluster in `dir`, made when the first broker is prepared: the same for all brokers of a cluster,
/// another for each cluster.
fn cluster_id(dir: &Path) -> Result<String> {
    let file = dir.join("cluster-id");
    if let Ok(id) = fs::read_to_string(&file) {
        return Ok(id);
    }
    let id = config::random_uuid();
    fs::create_dir_all(dir)?;
    fs::write(&file, &id).with_context(|| format!("could not write {}", file.display()))?;
    Ok(id)
}

/// A command of the Kafka distribution, such as `kafka.admin.ConfigCommand`, run on the host.
///
/// # Errors
/// When Kafka cannot be fetched.
pub fn tool(class: &str) -> Result<Command> {
    let installation = Installation::get()?;
    let mut command = Command::new(&installation.java.program);
    command.args(installation.java_options(Tuning::QuickStart)).arg(class);
    Ok(command)
}
