//! etcd, the apiserver, the controllers and the scheduler of the cluster.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::beside::node_ip;
use super::components::Components;
use super::node::{NODE_NAME, POD_CIDR};
use super::sandbox::NODE_IP;
use crate::apiserver::ApiserverOptions;
use crate::home::Home;
use crate::pki::{Authority, Subject};
use crate::process::Spec;

/// Port of the apiserver on the node.
pub const APISERVER_PORT: u16 = 6443;
const ETCD_PORTS: (u16, u16) = (2379, 2380);
/// An idle machine needs 4 s.
const START_TIMEOUT: Duration = Duration::from_secs(120);
/// Names of the components.
pub const NAMES: [&str; 4] = ["etcd", "apiserver", "controller-manager", "scheduler"];

/// Who talks to the apiserver, by the file names of their certificates. The kubelet's is also that of its server.
const CLIENTS: [(&str, Subject<'_>, &[&str]); 4] = [
    ("controller-manager", Subject { common_name: "system:kube-controller-manager", organization: "" }, &[]),
    ("scheduler", Subject { common_name: "system:kube-scheduler", organization: "" }, &[]),
    ("proxy", Subject { common_name: "system:kube-proxy", organization: "" }, &[]),
    (
        "kubelet",
        // The names by which the apiserver knows a node, and lets it see no more than its own pods.
        Subject { common_name: "system:node:node1", organization: "system:nodes" },
        &[NODE_NAME, NODE_IP],
    ),
];

/// Starts what does not run, and returns when requests are answered.
///
/// # Errors
/// When a server does not come up.
pub fn start(components: &mut Components, kubernetes: &Path) -> Result<()> {
    let home = components.home().clone();
    let options = ApiserverOptions {
        dir: home.path().to_owned(),
        launcher: components.launcher(),
        bind: node_ip(),
        port: APISERVER_PORT,
        etcd_ports: ETCD_PORTS,
    };
    let admin = options.write_pki()?;
    write_clients(components)?;

    let launcher = options.launcher.clone();
    if let Some(mut etcd) = components.ensure("etcd", &launcher, options.etcd(kubernetes))? {
        etcd.wait_for_port(ETCD_PORTS.0, START_TIMEOUT)?;
    }
    let spec = apiserver(&options, kubernetes, &home);
    if let Some(mut apiserver) = components.ensure("apiserver", &launcher, spec)? {
        let ready = || {
            let mut command = launcher.command(kubernetes);
            command.arg("kubectl").arg("--kubeconfig").arg(&admin).args(["get", "--raw", "/readyz"]);
            is_ok(command)
        };
        apiserver.wait_until(START_TIMEOUT, ready)?;
    }
    components.ensure("controller-manager", &launcher, controller_manager(kubernetes, &home))?;
    components.ensure("scheduler", &launcher, scheduler(kubernetes, &home))?;
    Ok(())
}

fn is_ok(mut command: Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

fn write_clients(components: &Components) -> Result<()> {
    let home = components.home();
    let authority = Authority::open(&home.join("pki"))?;
    for (stem, subject, hosts) in CLIENTS {
        authority.issue(stem, subject, hosts)?;
        authority.kubeconfig(stem, &format!("https://{NODE_IP}:{APISERVER_PORT}"))?;
    }
    let port = components.state().ports.get("apiserver").copied().unwrap_or_default();
    authority.write_kubeconfig("admin", &format!("https://127.0.0.1:{port}"), &home.join("kubeconfig"))
}

fn pki(home: &Home, name: &str) -> PathBuf {
    home.join("pki").join(name)
}

/// A long option with a file of the cluster's PKI.
fn file(option: &str, home: &Home, name: &str) -> String {
    format!("--{option}={}", pki(home, name).display())
}

fn apiserver(options: &ApiserverOptions, kubernetes: &Path, home: &Home) -> Spec {
    options
        .apiserver(kubernetes)
        .arg(format!("--advertise-address={NODE_IP}"))
        // For `kubectl logs` and `exec`: who it is at the kubelet, and that no name server knows the node's name.
        .arg(file("kubelet-client-certificate", home, "admin.crt"))
        .arg(file("kubelet-client-key", home, "admin.key"))
        .arg("--kubelet-preferred-address-types=InternalIP")
}

fn controller_manager(kubernetes: &Path, home: &Home) -> Spec {
    Spec::new("kube-controller-manager", kubernetes, home.log("controller-manager"))
        .arg("kube-controller-manager")
        .arg(file("kubeconfig", home, "controller-manager.kubeconfig"))
        .arg(file("service-account-private-key-file", home, "sa.key"))
        .arg(file("root-ca-file", home, "ca.crt"))
        .arg(file("cluster-signing-cert-file", home, "ca.crt"))
        .arg(file("cluster-signing-key-file", home, "ca.key"))
        .arg("--use-service-account-credentials")
        // It creates the folder; the default lies in the host's /usr/libexec.
        .arg(format!("--flex-volume-plugin-dir={}", home.join("volume-plugins").display()))
        .args(["--allocate-node-cidrs", &format!("--cluster-cidr={POD_CIDR}"), "--node-cidr-mask-size=24"])
        // One of each: an election would only delay the start by its lease.
        .arg("--leader-elect=false")
}

fn scheduler(kubernetes: &Path, home: &Home) -> Spec {
    Spec::new("kube-scheduler", kubernetes, home.log("scheduler"))
        .arg("kube-scheduler")
        .arg(file("kubeconfig", home, "scheduler.kubeconfig"))
        .arg("--leader-elect=false")
}
