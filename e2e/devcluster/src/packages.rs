//! The Debian packages that the build and the components need: installed when this process may, named when not.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use nix::unistd::Uid;

use crate::java::Java;
use crate::kafka;
use crate::process::run;
use crate::progress;
use crate::provider;
use crate::registry;
use crate::state::ProviderKind;
use crate::tools::which;

/// What something is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Compiling this workspace.
    Build,
    /// A broker.
    Kafka,
    /// A database server.
    Postgres,
    /// A schema registry.
    Registry,
    /// A Kubernetes node, and images for it, without a container engine.
    Cluster,
}

/// How to see that something is there already, from wherever it came.
#[derive(Clone, Copy, Debug)]
enum Presence {
    /// A program in PATH.
    Program(&'static str),
    /// A file.
    File(&'static str),
    /// A library that pkg-config knows.
    Library(&'static str),
    /// A Java of this version or later.
    Java(u32),
    /// The server programs of PostgreSQL, which Debian keeps out of PATH.
    PostgresServer,
}

impl Presence {
    fn holds(self) -> bool {
        match self {
            Self::Program(name) => {
                which(name).is_some()
                    || ["/usr/sbin", "/sbin"].iter().any(|dir| exists(&format!("{dir}/{name}")))
            }
            Self::File(path) => exists(path),
            Self::Library(name) => {
                let mut command = Command::new("pkg-config");
                command.args(["--exists", name]).stdout(Stdio::null()).stderr(Stdio::null());
                command.status().is_ok_and(|status| status.success())
            }
            Self::Java(oldest) => Java::find(oldest).is_ok(),
            Self::PostgresServer => crate::postgres::find_programs().is_ok(),
        }
    }
}

fn exists(path: &str) -> bool {
    std::path::Path::new(path).exists()
}

/// Purpose, sign of presence, package.
const NEEDS: [(Purpose, Presence, &str); 25] = [
    (Purpose::Build, Presence::Program("cc"), "gcc"),
    // The headers of the C library: librdkafka is compiled.
    (Purpose::Build, Presence::File("/usr/include/stdlib.h"), "libc6-dev"),
    (Purpose::Build, Presence::Program("g++"), "g++"),
    (Purpose::Build, Presence::Program("make"), "make"),
    (Purpose::Build, Presence::Program("pkg-config"), "pkg-config"),
    (Purpose::Build, Presence::Library("openssl"), "libssl-dev"),
    (Purpose::Build, Presence::Library("zlib"), "zlib1g-dev"),
    (Purpose::Kafka, Presence::Java(kafka::JAVA_VERSION), "openjdk-17-jre-headless"),
    (Purpose::Kafka, Presence::Program("mvn"), "maven"),
    (Purpose::Postgres, Presence::PostgresServer, "postgresql"),
    // And a Java that Debian 12 does not have: whoever starts a registry is told where to get it.
    (Purpose::Registry, Presence::Program("mvn"), "maven"),
    (Purpose::Cluster, Presence::Program("nsenter"), "util-linux"),
    (Purpose::Cluster, Presence::Program("mount"), "mount"),
    (Purpose::Cluster, Presence::Program("ip"), "iproute2"),
    (Purpose::Cluster, Presence::Program("sysctl"), "procps"),
    (Purpose::Cluster, Presence::Program("nft"), "nftables"),
    (Purpose::Cluster, Presence::Program("iptables"), "iptables"),
    (Purpose::Cluster, Presence::Program("conntrack"), "conntrack"),
    (Purpose::Cluster, Presence::Program("containerd"), "containerd"),
    (Purpose::Cluster, Presence::Program("ctr"), "containerd"),
    (Purpose::Cluster, Presence::Program("runc"), "runc"),
    (Purpose::Cluster, Presence::File("/usr/lib/cni/bridge"), "containernetworking-plugins"),
    (Purpose::Cluster, Presence::Program("buildah"), "buildah"),
    (Purpose::Cluster, Presence::Program("mmdebstrap"), "mmdebstrap"),
    // The kubelet and kube-proxy load modules with it.
    (Purpose::Cluster, Presence::Program("modprobe"), "kmod"),
];

/// Sees to everything that `purposes` need: installs what is missing (as root, on Debian).
///
/// # Errors
/// When something is missing and cannot be installed; the message holds the command that would.
pub fn ensure(purposes: &[Purpose]) -> Result<()> {
    let missing = missing(purposes);
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.iter().copied().collect::<Vec<_>>().join(" ");
    if which("apt-get").is_none() {
        bail!("these are missing (by their names in Debian; this machine has no apt-get): {names}");
    }
    if !Uid::effective().is_root() {
        bail!("these packages are missing; install them with: sudo apt-get install {names}");
    }
    if needs_update(&missing) {
        progress::step("updating the list of packages", || apt_get(&["update"], &BTreeSet::new()))?;
    }
    progress::step(&format!("installing {names}"), || {
        apt_get(&["install", "--yes", "--no-install-recommends"], &missing)
    })
}

/// What `devcluster prerequisites` sees to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Extent {
    /// What the build needs
    Build,
    /// And a cluster of the kind that `up` would make
    Cluster,
    /// And all that the tests start
    Tests,
}

/// Sees to everything up to `extent`.
///
/// # Errors
/// As [`ensure`]; also when Go's compiler, or the tests' Java, is missing, which Debian has only in too old versions.
pub fn prerequisites(extent: Extent) -> Result<()> {
    let mut purposes = vec![Purpose::Build];
    // Kind brings everything in images.
    let is_bare = provider::available() == ProviderKind::Bare;
    if extent == Extent::Tests || (extent == Extent::Cluster && is_bare) {
        purposes.extend([Purpose::Kafka, Purpose::Postgres]);
    }
    if extent >= Extent::Cluster && is_bare {
        purposes.push(Purpose::Cluster);
    }
    ensure(&purposes)?;
    // The tests' kube-apiserver is built here whatever a cluster is made of.
    if purposes.len() > 1 {
        require_go()?;
    }
    if extent == Extent::Tests {
        Java::find(registry::JAVA_VERSION).context("the tests start a schema registry")?;
    }
    Ok(())
}

fn require_go() -> Result<()> {
    if which("go").is_none() {
        bail!("Kubernetes is built with Go: install it from https://go.dev/dl and put it into PATH");
    }
    Ok(())
}

fn missing(purposes: &[Purpose]) -> BTreeSet<&'static str> {
    let needed = NEEDS.iter().filter(|(purpose, _, _)| purposes.contains(purpose));
    needed.filter(|(_, presence, _)| !presence.holds()).map(|(_, _, package)| *package).collect()
}

/// Whether apt does not know one of them: a fresh image has no list of packages at all.
fn needs_update(packages: &BTreeSet<&str>) -> bool {
    let mut command = Command::new("apt-cache");
    command.arg("show").args(packages).stdout(Stdio::null()).stderr(Stdio::null());
    !command.status().is_ok_and(|status| status.success())
}

fn apt_get(arguments: &[&str], packages: &BTreeSet<&str>) -> Result<()> {
    let mut command = Command::new("apt-get");
    command.arg("-qq").args(arguments).args(packages);
    // Questions would wait for an answer that nobody gives.
    command.env("DEBIAN_FRONTEND", "noninteractive");
    run("install packages", command).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_not_missing() {
        assert!(Presence::Program("sh").holds());
        assert!(!Presence::Program("a-program-that-nobody-has").holds());
        assert!(Presence::File("/proc/self/stat").holds());
        assert!(!Presence::Library("a-library-that-nobody-has").holds());
    }
}
