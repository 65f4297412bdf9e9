//! The sandbox: one process that holds the cluster's own network and mount namespaces.
//!
//! Every component of the `bare` provider joins these namespaces, so that ports, routes, sysctls, packet
//! filters and mounts of two clusters never meet and nothing of the host changes. The namespaces have no
//! name anywhere: when the last process inside has gone, the kernel takes them and every mount with them.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// The node's address, on a bridge of the sandbox.
pub const NODE_IP: &str = "10.89.0.2";

/// Folders whose host content the node's processes neither see nor change: sockets and network namespaces,
/// symlinks to pod logs, allocated pod addresses.
const PRIVATE_FOLDERS: [&str; 3] = ["/run", "/var/log", "/var/lib/cni"];

/// The kubelet's folder, as it finds it inside the sandbox: the usual one, because some of its sockets lie there
/// whatever it is told, and because the path of a socket must be short.
pub const KUBELET_ROOT: &str = "/var/lib/kubelet";

/// Kernel settings that the kubelet insists on and would write for the whole machine: inside the sandbox
/// it finds files that already say so. Source: kubelet's `setupKernelTunables`.
const KERNEL_TUNABLES: [(&str, &str); 6] = [
    ("/proc/sys/vm/overcommit_memory", "1"),
    ("/proc/sys/vm/panic_on_oom", "0"),
    ("/proc/sys/kernel/panic", "10"),
    ("/proc/sys/kernel/panic_on_oops", "1"),
    ("/proc/sys/kernel/keys/root_maxkeys", "1000000"),
    ("/proc/sys/kernel/keys/root_maxbytes", "25000000"),
];

/// Which of the sandbox's namespaces a process joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enter {
    /// Only the network: the process sees the host's files.
    Network,
    /// Network and mounts: what belongs to the node (container runtime, kubelet, kube-proxy).
    Node,
}

/// Command prefix that runs a program inside the sandbox held by `pid`.
pub fn enter(pid: i32, what: Enter) -> Vec<String> {
    let mut prefix = vec!["nsenter".to_owned(), format!("--net=/proc/{pid}/ns/net")];
    if what == Enter::Node {
        prefix.push(format!("--mount=/proc/{pid}/ns/mnt"));
    }
    prefix.push("--".to_owned());
    prefix
}

/// Makes the namespaces, prepares them, writes `ready`, and holds them until killed.
///
/// # Errors
/// When a namespace, mount, link or sysctl is refused: not root, or a kernel without it.
pub fn hold(home: &Path, ready: &Path) -> Result<()> {
    for folder in PRIVATE_FOLDERS {
        ensure!(
            !home.starts_with(folder),
            "{} is hidden inside the cluster's sandbox: move the checkout",
            folder
        );
    }
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
        .context("cannot make namespaces (root is needed)")?;
    prepare_mounts(home)?;
    prepare_network()?;
    fs::write(ready, std::process::id().to_string())
        .with_context(|| format!("cannot write {}", ready.display()))?;
    loop {
        std::thread::park();
    }
}

fn prepare_mounts(home: &Path) -> Result<()> {
    let none: Option<&str> = None;
    // First cut the tie to the host's mounts, then let containers that ask for propagation have it in here.
    for kind in [MsFlags::MS_PRIVATE, MsFlags::MS_SHARED] {
        mount(none, "/", none, MsFlags::MS_REC | kind, none).context("cannot separate the mounts")?;
    }
    for folder in PRIVATE_FOLDERS {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {folder}"))?;
        mount(Some("tmpfs"), folder, Some("tmpfs"), MsFlags::empty(), Some("mode=0755"))
            .with_context(|| format!("cannot mount {folder}"))?;
    }
    bind_folder(&home.join("kubelet"), Path::new(KUBELET_ROOT))?;
    fs::create_dir_all("/run/tunables").context("cannot create /run/tunables")?;
    for (path, value) in KERNEL_TUNABLES {
        let name = path.replace('/', "_");
        let stand_in = Path::new("/run/tunables").join(name);
        fs::write(&stand_in, format!("{value}\n"))
            .with_context(|| format!("cannot write {}", stand_in.display()))?;
        mount(Some(&stand_in), path, none, MsFlags::MS_BIND, none)
            .with_context(|| format!("cannot cover {path}"))?;
    }
    Ok(())
}

/// Shows a folder of the home under another path.
fn bind_folder(source: &Path, target: &Path) -> Result<()> {
    let none: Option<&str> = None;
    for folder in [source, target] {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    mount(Some(source), target, none, MsFlags::MS_BIND | MsFlags::MS_REC, none)
        .with_context(|| format!("cannot bind {}", target.display()))
}

fn prepare_network() -> Result<()> {
    ip(&["link", "set", "lo", "up"])?;
    // A bridge without ports carries the node's address: not every kernel has dummy links.
    ip(&["link", "add", "node0", "type", "bridge"])?;
    ip(&["address", "add", &format!("{NODE_IP}/24"), "dev", "node0"])?;
    ip(&["link", "set", "node0", "up"])?;
    // kube-proxy and the apiserver look for the interface of the default route.
    ip(&["route", "add", "default", "dev", "node0"])?;
    // Pods reach Services and the node through it; the setting is the namespace's own.
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("cannot switch on forwarding")
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments).output().context("cannot run `ip` (package iproute2)")?;
    if !output.status.success() {
        bail!("`ip {}` failed: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
