//! The node: containerd, kubelet and kube-proxy, and how pods are connected.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::components::Components;
use super::sandbox::{self, Enter, KUBELET_ROOT, NODE_IP};
use crate::images;
use crate::process::run;

/// The only node.
pub const NODE_NAME: &str = "node1";
/// Addresses of pods; the same in every cluster, because each has a network of its own.
pub const POD_CIDR: &str = "10.244.0.0/24";
/// Address of the cluster's name server; one of the Services' range.
pub const DNS_IP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
const SOCKET: &str = "/run/containerd/containerd.sock";
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Where Debian's package containernetworking-plugins puts them.
const CNI_PLUGINS: &str = "/usr/lib/cni";

/// Starts containerd and imports the image that every pod needs.
///
/// # Errors
/// When containerd does not come up.
pub fn start_containerd(components: &mut Components) -> Result<()> {
    let home = components.home().clone();
    let config = home.write("containerd.toml", containerd_config(home.path()).as_bytes())?;
    home.write("cni/10-pods.conflist", cni_config().to_string().as_bytes())?;
    let spec = components.node_spec("containerd", "containerd").arg("--config").arg(config);
    let launcher = components.launcher();
    if let Some(mut process) = components.ensure("containerd", &launcher, spec)? {
        process.wait_until(START_TIMEOUT, || {
            ctr(components, &["version"])
                .is_ok_and(|mut ctr| ctr.output().is_ok_and(|output| output.status.success()))
        })?;
    }
    Ok(())
}

/// Imports an image from an archive into the node, unless its very content is there already.
///
/// # Errors
/// When containerd refuses it.
pub fn import_image(components: &Components, image: &str, archive: &Path) -> Result<()> {
    let mut import = ctr(components, &["images", "import"])?;
    import.arg(archive);
    run(&format!("import the image {image}"), import).map(drop)
}

/// Whether the node has the image.
///
/// # Errors
/// When containerd does not answer.
pub fn has_image(components: &Components, image: &str) -> Result<bool> {
    let list = ctr(components, &["images", "list", "--quiet"])?;
    let complete = format!("docker.io/{image}");
    Ok(run("list the node's images", list)?.lines().any(|line| line == complete))
}

/// Starts the kubelet and kube-proxy.
///
/// # Errors
/// When they cannot be started; whether the node gets ready is seen in the cluster.
pub fn start_agents(components: &mut Components, kubernetes: &Path, pki: &Path) -> Result<()> {
    let home = components.home().clone();
    super::cgroup::create(&home.cluster_name())?;
    // Pods without a name server of their own get none: nothing outside of the cluster has a name.
    let resolv = home.write("resolv.conf", b"# no name server\n")?;
    let config = kubelet_config(&home.cluster_name(), &home.join("log/pods"), &resolv, pki);
    let config = home.write("kubelet.json", config.to_string().as_bytes())?;
    let kubelet = components
        .node_spec("kubelet", kubernetes)
        .args(["kubelet", "--hostname-override", NODE_NAME, "--node-ip", NODE_IP])
        .args(["--root-dir", KUBELET_ROOT, "--config"])
        .arg(config)
        .arg("--kubeconfig")
        .arg(pki.join("kubelet.kubeconfig"));
    let proxy = home.write("kube-proxy.json", proxy_config(pki).to_string().as_bytes())?;
    let proxy = components.node_spec("kube-proxy", kubernetes).args(["kube-proxy", "--config"]).arg(proxy);
    let launcher = components.launcher();
    components.ensure("kubelet", &launcher, kubelet)?;
    components.ensure("kube-proxy", &launcher, proxy)?;
    Ok(())
}

/// containerd's client, for Kubernetes' images and containers.
fn ctr(components: &Components, arguments: &[&str]) -> Result<Command> {
    let sandbox = components.sandbox().context("the cluster's sandbox does not run")?;
    let mut words = sandbox::enter(sandbox.pid, Enter::Node).into_iter();
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words).args(["ctr", "--address", SOCKET, "--namespace", "k8s.io"]).args(arguments);
    Ok(command)
}

fn containerd_config(home: &Path) -> String {
    let root = json!(home.join("containerd"));
    let cni = json!(home.join("cni"));
    let pause = format!("docker.io/{}", images::PAUSE);
    format!(
        r#"version = 2
root = {root}
# Sockets and mounts of running containers: worth nothing without the sandbox, whose own /run this is.
state = "/run/containerd/state"
[grpc]
  address = "{SOCKET}"
[plugins."io.containerd.internal.v1.opt"]
  # The default is a folder of the host.
  path = "/run/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  # Without the capability CAP_SYS_RESOURCE a lower score is refused, and no pod would start.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI_PLUGINS}"
    conf_dir = {cni}
"#
    )
}

fn cni_config() -> Value {
    json!({
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [
            {
                "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true,
                // A pod reaches itself through its own Service.
                "hairpinMode": true,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{ "subnet": POD_CIDR }]],
                    "routes": [{ "dst": "0.0.0.0/0" }]
                }
            },
            { "type": "portmap", "capabilities": { "portMappings": true } },
            { "type": "firewall" }
        ]
    })
}

fn kubelet_config(cgroup: &str, pod_logs: &Path, resolv: &Path, pki: &Path) -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "cgroupDriver": "cgroupfs",
        // One root per cluster: that is how its containers are told from another's.
        "cgroupRoot": format!("/{cgroup}"),
        "failSwapOn": false,
        "containerRuntimeEndpoint": format!("unix://{SOCKET}"),
        "authentication": {
            "anonymous": { "enabled": false },
            "webhook": { "enabled": true },
            "x509": { "clientCAFile": pki.join("ca.crt") }
        },
        "authorization": { "mode": "Webhook" },
        "tlsCertFile": pki.join("kubelet.crt"),
        "tlsPrivateKeyFile": pki.join("kubelet.key"),
        "clusterDNS": [DNS_IP],
        "clusterDomain": "cluster.local",
        "resolvConf": resolv,
        "podLogsDir": pod_logs,
        // The default lies in the host's /usr/libexec.
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
        // A developer's disk is often nearly full, and images cannot be fetched again: never evict, never collect.
        "evictionHard": { "memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%" },
        "imageGCHighThresholdPercent": 100,
        "imageMinimumGCAge": "240h",
        // Defaults (5 and 10 per second) make a dozen pods start one after the other.
        "registryPullQPS": 0,
        "eventRecordQPS": 0
    })
}

fn proxy_config(pki: &Path) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "hostnameOverride": NODE_NAME,
        "clusterCIDR": POD_CIDR,
        "clientConnection": { "kubeconfig": pki.join("proxy.kubeconfig") },
        // The limit belongs to the whole machine; left alone.
        "conntrack": { "maxPerCore": 0 },
        // Default 1s: a new Service would be reachable that much later.
        "nftables": { "minSyncPeriod": "100ms" }
    })
}
