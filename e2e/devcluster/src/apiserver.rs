//! etcd and kube-apiserver: a Kubernetes API without nodes and without controllers.
//!
//! Objects can be written, watched and deleted; nothing acts on them. In particular, a deleted namespace stays
//! `Terminating` and what an object owns is not collected: both are the work of kube-controller-manager.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::pki::{Authority, Subject};
use crate::ports;
use crate::process::{Launcher, Process, ProcessId, Spec, run};
use crate::tools;

/// An idle machine needs 4 s.
const START_TIMEOUT: Duration = Duration::from_secs(120);
const STOP_GRACE: Duration = Duration::from_secs(10);
/// The addresses of Services.
pub const SERVICE_NETWORK: &str = "10.96.0.0/16";
/// The first of them, under which pods reach the apiserver.
pub const SERVICE_ADDRESS: &str = "10.96.0.1";
/// The names by which clients know an apiserver, apart from the address it listens on.
pub const SERVER_NAMES: [&str; 7] = [
    "localhost",
    "127.0.0.1",
    SERVICE_ADDRESS,
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
];
/// The file stems of what [`Authority`] issues for the two.
const SERVER: &str = "apiserver";
const ADMIN: &str = "admin";

/// Where an apiserver and its etcd run.
#[derive(Clone, Debug)]
pub struct ApiserverOptions {
    /// Data, certificates (in `pki`) and logs.
    pub dir: PathBuf,
    /// Where the two run.
    pub launcher: Launcher,
    /// The address that the apiserver listens on. etcd listens on the loopback.
    pub bind: IpAddr,
    /// The port of the apiserver.
    pub port: u16,
    /// The ports of etcd, for clients and for peers.
    pub etcd_ports: (u16, u16),
}

impl ApiserverOptions {
    /// On free loopback ports.
    ///
    /// # Errors
    /// When no ports are free.
    pub fn for_tests(dir: impl Into<PathBuf>) -> Result<Self> {
        let bind = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let etcd_ports = (ports::free(bind)?, ports::free(bind)?);
        Ok(Self { dir: dir.into(), launcher: Launcher::host(), bind, port: ports::free(bind)?, etcd_ports })
    }

    fn pki(&self) -> PathBuf {
        self.dir.join("pki")
    }

    fn url(&self) -> String {
        format!("https://{}", SocketAddr::new(self.bind, self.port))
    }

    /// Writes the certificates of the apiserver and of its administrator, and the administrator's kubeconfig,
    /// whose path it returns.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write_pki(&self) -> Result<PathBuf> {
        let authority = Authority::open(&self.pki())?;
        let bind = self.bind.to_string();
        let hosts: Vec<&str> = SERVER_NAMES.into_iter().chain([bind.as_str()]).collect();
        authority.issue(SERVER, Subject { common_name: "kube-apiserver", organization: "" }, &hosts)?;
        authority.issue(ADMIN, Subject { common_name: "admin", organization: "system:masters" }, &[])?;
        authority.service_account_keys()?;
        authority.kubeconfig(ADMIN, &self.url())
    }

    /// How etcd is started by the program `kubernetes`.
    pub fn etcd(&self, kubernetes: &Path) -> Spec {
        let (client, peer) = self.etcd_ports;
        let client = format!("http://127.0.0.1:{client}");
        let peer = format!("http://127.0.0.1:{peer}");
        Spec::new("etcd", kubernetes, self.dir.join("etcd.log"))
            .args(["etcd", "--name=node", "--log-level=warn"])
            .arg(format!("--data-dir={}", self.dir.join("etcd").display()))
            .arg(format!("--listen-client-urls={client}"))
            .arg(format!("--advertise-client-urls={client}"))
            .arg(format!("--listen-peer-urls={peer}"))
            .arg(format!("--initial-advertise-peer-urls={peer}"))
            .arg(format!("--initial-cluster=node={peer}"))
            // A flush for every write is most of its work, and only a crash of the machine needs it.
            .arg("--unsafe-no-fsync")
    }

    /// How the apiserver is started by the program `kubernetes`. What the place demands (the address it tells to
    /// others, how it reaches kubelets) is added by the caller.
    pub fn apiserver(&self, kubernetes: &Path) -> Spec {
        let pki = |name: &str| self.pki().join(name).display().to_string();
        Spec::new("kube-apiserver", kubernetes, self.dir.join("apiserver.log"))
            .arg("kube-apiserver")
            .arg(format!("--etcd-servers=http://127.0.0.1:{}", self.etcd_ports.0))
            .arg(format!("--bind-address={}", self.bind))
            .arg(format!("--secure-port={}", self.port))
            .arg(format!("--tls-cert-file={}", pki("apiserver.crt")))
            .arg(format!("--tls-private-key-file={}", pki("apiserver.key")))
            .arg(format!("--client-ca-file={}", pki("ca.crt")))
            .arg(format!("--service-account-key-file={}", pki("sa.pub")))
            .arg(format!("--service-account-signing-key-file={}", pki("sa.key")))
            .arg("--service-account-issuer=https://kubernetes.default.svc")
            .arg(format!("--service-cluster-ip-range={SERVICE_NETWORK}"))
            // As in every cluster that a platform team runs.
            .args(["--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction"])
    }
}

/// A running apiserver with its etcd. Those that live with their parent are killed when it is dropped.
#[derive(Debug)]
pub struct Apiserver {
    options: ApiserverOptions,
    kubernetes: PathBuf,
    kubeconfig: PathBuf,
    // Dropped in this order: an apiserver without etcd would fill its log.
    apiserver: Option<Process>,
    etcd: Option<Process>,
}

impl Apiserver {
    /// Starts both and returns when requests are answered.
    ///
    /// # Errors
    /// When Kubernetes cannot be built, or one does not come up; the message ends with its log.
    pub fn start(options: ApiserverOptions) -> Result<Self> {
        let kubernetes = tools::kubernetes()?;
        let kubeconfig = options.write_pki()?;
        let mut apiserver = Self { options, kubernetes, kubeconfig, apiserver: None, etcd: None };
        apiserver.restart()?;
        Ok(apiserver)
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The apiserver itself, for looking at what it takes.
    pub fn process_id(&self) -> Option<ProcessId> {
        self.apiserver.as_ref().map(Process::id)
    }

    /// `kubectl` as the administrator.
    pub fn kubectl(&self) -> Command {
        let mut command = self.options.launcher.command(&self.kubernetes);
        command.arg("kubectl").arg("--kubeconfig").arg(&self.kubeconfig);
        command
    }

    /// Ends the apiserver at once, as a crash would; etcd goes on.
    pub fn kill(&mut self) {
        if let Some(mut apiserver) = self.apiserver.take() {
            apiserver.kill();
        }
    }

    /// Shuts both down.
    pub fn stop(&mut self) {
        for mut process in self.apiserver.take().into_iter().chain(self.etcd.take()) {
            process.stop(STOP_GRACE);
        }
    }

    /// Starts what does not run, on the same ports and data, and waits until requests are answered.
    ///
    /// # Errors
    /// When one does not come up.
    pub fn restart(&mut self) -> Result<()> {
        if !self.etcd.as_mut().is_some_and(Process::is_running) {
            let mut etcd = self.options.launcher.spawn(self.options.etcd(&self.kubernetes))?;
            etcd.wait_for_port(self.options.etcd_ports.0, START_TIMEOUT)?;
            self.etcd = Some(etcd);
        }
        if !self.apiserver.as_mut().is_some_and(Process::is_running) {
            let mut apiserver = self.options.launcher.spawn(self.apiserver_alone())?;
            apiserver.wait_for_port(self.options.port, START_TIMEOUT)?;
            apiserver.wait_until(START_TIMEOUT, || self.is_ready())?;
            self.apiserver = Some(apiserver);
        }
        Ok(())
    }

    /// Freezes the apiserver: watches stay open and nothing arrives.
    pub fn pause(&self) {
        self.apiserver.iter().for_each(Process::pause);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.apiserver.iter().for_each(Process::resume);
    }

    fn apiserver_alone(&self) -> Spec {
        self.options
            .apiserver(&self.kubernetes)
            // Under tests it is what takes most of the processor, a fifth of that to collect garbage: it may rather have
            // some hundred MB more (Go's default is 100).
            .env("GOGC", "400")
            .arg(format!("--advertise-address={}", self.options.bind))
            // It would put that address into the endpoints of the Service `kubernetes`, where no loopback address may
            // stand. There are no pods to use it.
            .arg("--endpoint-reconciler-type=none")
            // It refuses pods until a controller, which does not run here, has made the default ServiceAccount.
            .arg("--disable-admission-plugins=ServiceAccount")
    }

    fn is_ready(&self) -> bool {
        let mut command = self.kubectl();
        command.args(["get", "--raw", "/readyz"]);
        run("ask the apiserver", command).is_ok()
    }
}
