//! Starting a cluster, or what is missing of it, in the order in which the parts need each other.

use std::env;
use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns};

use super::components::{Components, SANDBOX};
use super::{beside, control_plane, endpoints, node};
use crate::process::{Spec, run};
use crate::{home, images, progress, tools};

/// Namespaces, mounts and links take milliseconds; a busy machine is allowed to be slow.
const SANDBOX_TIMEOUT: Duration = Duration::from_secs(20);
/// The node is ready 3 s after its kubelet, the name server some seconds later; machines may be busy.
const READY_TIMEOUT: Duration = Duration::from_secs(180);
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
const POLL: Duration = Duration::from_millis(200);
const COREDNS_MANIFEST: &str = include_str!("../../manifests/bare/coredns.yaml");

/// What is built once per user and started from.
pub struct Programs {
    /// All of Kubernetes.
    pub kubernetes: PathBuf,
    pause: PathBuf,
    coredns: PathBuf,
}

impl Programs {
    /// From the cache, or built.
    ///
    /// # Errors
    /// When a build fails.
    pub fn get() -> Result<Self> {
        Ok(Self { kubernetes: tools::kubernetes()?, pause: images::pause()?, coredns: images::coredns()? })
    }
}

/// Starts everything that does not run.
///
/// # Errors
/// When a part does not come up.
pub fn up(components: &mut Components, programs: &Programs) -> Result<()> {
    start_sandbox(components)?;
    endpoints::choose_ports(components)?;
    let admin = components.home().join("pki").join("admin.kubeconfig");
    endpoints::start_forwarder(components, &programs.kubernetes, &admin)?;
    link_kubectl(components, &programs.kubernetes)?;

    let (kafka, postgres) = (beside::kafka_to_start(components), beside::postgres_to_start(components));
    let (kafka, postgres) = std::thread::scope(|scope| {
        // Beside the control plane: they need nothing of each other.
        let beside = scope.spawn(|| beside::start(kafka, postgres));
        start_kubernetes(components, programs)?;
        let started = progress::step("Kafka and PostgreSQL", || match beside.join() {
            Ok(started) => started,
            Err(_) => bail!("the thread that starts Kafka and PostgreSQL panicked"),
        })?;
        Ok::<_, anyhow::Error>(started)
    })?;
    beside::note(components, kafka.as_ref(), postgres.as_ref())?;
    beside::start_mail(components)?;
    progress::step("node and name server", || {
        wait_ready(&kubectl(&programs.kubernetes, components), &components.network_namespace())
    })
}

fn start_sandbox(components: &mut Components) -> Result<()> {
    if components.sandbox().is_some() {
        return Ok(());
    }
    let home = components.home().clone();
    // The pods of an earlier sandbox have died with it.
    home::remove(&home.join("kubelet"))?;
    let ready = home.join("sandbox.ready");
    drop(std::fs::remove_file(&ready));
    let program = env::current_exe().context("cannot find this program")?;
    let spec = Spec::new(SANDBOX, program, home.log(SANDBOX))
        .arg("--dir")
        .arg(home.path())
        .args(["sandbox", "--ready"])
        .arg(&ready);
    let launcher = components.host_launcher();
    if let Some(mut process) = components.ensure(SANDBOX, &launcher, spec)? {
        process.wait_until(SANDBOX_TIMEOUT, || ready.exists())?;
    }
    Ok(())
}

fn start_kubernetes(components: &mut Components, programs: &Programs) -> Result<()> {
    progress::step("control plane", || control_plane::start(components, &programs.kubernetes))?;
    let pki = components.home().join("pki");
    progress::step("node", || {
        node::start_containerd(components)?;
        for (image, archive) in [(images::PAUSE, &programs.pause), (images::COREDNS, &programs.coredns)] {
            if !node::has_image(components, image)? {
                node::import_image(components, image, archive)?;
            }
        }
        node::start_agents(components, &programs.kubernetes, &pki)
    })?;
    progress::step("name server and names of Kafka, PostgreSQL and mail", || {
        let beside = beside::manifests(components.state().brokers).to_string();
        for (name, manifest) in [("coredns.yaml", COREDNS_MANIFEST), ("beside.json", beside.as_str())] {
            let file = components.home().write(&format!("manifests/{name}"), manifest.as_bytes())?;
            let mut apply = kubectl(&programs.kubernetes, components);
            apply
                .args(["apply", "--server-side", "--force-conflicts", "--field-manager=devcluster", "-f"])
                .arg(file);
            run(&format!("apply {name}"), apply)?;
        }
        Ok(())
    })
}

/// For people and scripts inside `devcluster exec`.
fn link_kubectl(components: &Components, kubernetes: &Path) -> Result<()> {
    let bin = components.home().join("bin");
    std::fs::create_dir_all(&bin).with_context(|| format!("cannot create {}", bin.display()))?;
    let link = bin.join("kubectl");
    drop(std::fs::remove_file(&link));
    std::os::unix::fs::symlink(kubernetes, &link).with_context(|| format!("cannot create {}", link.display()))
}

/// kubectl from the host, through the forwarder.
pub fn kubectl(kubernetes: &Path, components: &Components) -> Command {
    let mut command = Command::new(kubernetes);
    command.arg("kubectl").arg("--kubeconfig").arg(components.home().join("kubeconfig"));
    command
}

/// Waits until pods can be scheduled and names resolved.
fn wait_ready(kubectl: &Command, network_namespace: &Path) -> Result<()> {
    let is_true = |arguments: &[&str]| {
        let mut command = Command::new(kubectl.get_program());
        command.args(kubectl.get_args()).args(arguments);
        command.output().is_ok_and(|output| output.stdout.trim_ascii() == b"True")
    };
    wait_until("node", || is_true(READY_NODE))?;
    wait_until("name server", || is_true(READY_COREDNS))?;
    // After the loss of the sandbox the objects still tell of the pods that died with it.
    wait_until("name server's address", || accepts(network_namespace, SocketAddr::from((node::DNS_IP, 53))))
}

fn wait_until(what: &str, is_ready: impl Fn() -> bool) -> Result<()> {
    let deadline = Instant::now() + READY_TIMEOUT;
    while !is_ready() {
        if Instant::now() > deadline {
            bail!(
                "the {what} was not ready within {READY_TIMEOUT:?}; see the logs of kubelet and containerd"
            );
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}

/// Whether a connection to `address` can be made from inside the namespace.
fn accepts(network_namespace: &Path, address: SocketAddr) -> bool {
    let Ok(namespace) = File::open(network_namespace) else { return false };
    // A thread of its own: it cannot come back from there.
    let connect = move || {
        setns(namespace, CloneFlags::CLONE_NEWNET).is_ok()
            && TcpStream::connect_timeout(&address, CONNECT_TIMEOUT).is_ok()
    };
    std::thread::spawn(connect).join().is_ok_and(|accepted| accepted)
}

/// Prints `True` when the node is ready.
pub const READY_NODE: &[&str] =
    &["get", "node", node::NODE_NAME, "-o", "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}"];
const READY_COREDNS: &[&str] = &[
    "get",
    "deployment",
    "coredns",
    "--namespace=kube-system",
    "-o",
    "jsonpath={.status.conditions[?(@.type==\"Available\")].status}",
];
