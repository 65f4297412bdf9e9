//! The cluster that `devcluster up` made: its endpoints, and `kubectl` against it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, bail};
use serde_json::Value;

/// A running cluster, found through `devcluster status -o json`.
#[derive(Debug, Clone)]
pub struct Cluster {
    devcluster: PathBuf,
    dir: Option<PathBuf>,
    status: Value,
}

impl Cluster {
    /// Finds the cluster of `DEVCLUSTER_DIR`, by default the one of this checkout.
    ///
    /// # Errors
    /// When no cluster is up; the message says how to start one.
    pub fn find() -> anyhow::Result<Self> {
        let devcluster = devcluster_binary()?;
        let dir = std::env::var_os("DEVCLUSTER_DIR").map(|dir| root().join(dir));
        let mut cluster = Self { devcluster, dir, status: Value::Null };
        let status = cluster.devcluster(&["status", "-o", "json"])?;
        cluster.status = serde_json::from_str(&status).context("read `devcluster status -o json`")?;
        if cluster.status.get("ready") != Some(&Value::Bool(true)) {
            bail!("no cluster is ready here; start one with `make demo` or `devcluster up`");
        }
        Ok(cluster)
    }

    /// Where something of the cluster is reached from this machine, such as `orders` or `kafka`.
    ///
    /// # Errors
    /// When the cluster has no such endpoint.
    pub fn endpoint(&self, name: &str) -> anyhow::Result<&str> {
        self.status
            .pointer(&format!("/endpoints/{name}"))
            .and_then(Value::as_str)
            .with_context(|| format!("the cluster names no endpoint `{name}`"))
    }

    /// A value of the status document by JSON pointer.
    ///
    /// # Errors
    /// When it is missing or no string.
    pub fn value(&self, pointer: &str) -> anyhow::Result<&str> {
        let value = self.status.pointer(pointer).and_then(Value::as_str);
        value.with_context(|| format!("`devcluster status -o json` has no {pointer}"))
    }

    /// Runs `kubectl` and returns what it printed.
    ///
    /// # Errors
    /// What `kubectl` wrote to its standard error, when it fails.
    pub fn kubectl(&self, args: &[&str]) -> anyhow::Result<String> {
        self.devcluster(&[&["kubectl", "--"], args].concat())
    }

    /// Runs `kubectl … -o json` and parses the answer.
    ///
    /// # Errors
    /// As [`Self::kubectl`].
    pub fn get(&self, args: &[&str]) -> anyhow::Result<Value> {
        let printed = self.kubectl(&[&["get"], args, &["-o", "json"]].concat())?;
        serde_json::from_str(&printed).context("read the answer of kubectl")
    }

    /// Applies a manifest given as text.
    ///
    /// # Errors
    /// As [`Self::kubectl`]: a manifest refused at admission is an error with the refusal's text.
    pub fn apply(&self, manifest: &str) -> anyhow::Result<String> {
        let mut child = self
            .command(&["kubectl", "--", "apply", "-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut stdin = child.stdin.take().context("kubectl has a standard input")?;
        std::io::Write::write_all(&mut stdin, manifest.as_bytes())?;
        drop(stdin);
        printed("kubectl apply", child.wait_with_output()?)
    }

    /// Runs the harness itself, such as `mail`.
    ///
    /// # Errors
    /// What it wrote to its standard error, when it fails.
    pub fn devcluster(&self, args: &[&str]) -> anyhow::Result<String> {
        printed(&args.join(" "), self.command(args).output()?)
    }

    /// Runs a shell script as root where the processes of the node's pods are seen.
    ///
    /// # Errors
    /// What it wrote to its standard error, when it fails.
    pub fn on_node(&self, script: &str) -> anyhow::Result<String> {
        if self.value("/provider")? == "bare" {
            return self.devcluster(&["exec", "--", "sh", "-c", script]);
        }
        let node = self.kubectl(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"])?;
        printed("docker exec", Command::new("docker").args(["exec", &node, "sh", "-c", script]).output()?)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.devcluster);
        if let Some(dir) = &self.dir {
            command.arg("--dir").arg(dir);
        }
        command.args(args).current_dir(root());
        command
    }
}

fn printed(what: &str, output: Output) -> anyhow::Result<String> {
    if !output.status.success() {
        bail!("{what}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// The root of the checkout.
#[must_use]
pub fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// `devcluster` lies beside the binaries of the same build: `target/<profile>/`, or one folder above
/// for a test binary in `deps/`.
///
/// # Errors
/// When it is not built.
pub fn devcluster_binary() -> anyhow::Result<PathBuf> {
    let me = std::env::current_exe()?;
    me.ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join("devcluster"))
        .find(|path| path.is_file())
        .context("devcluster is not built; run `cargo build -p devcluster`")
}
