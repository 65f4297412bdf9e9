//! A schema registry: Apicurio, which speaks Confluent's API. It keeps everything in memory, so that what is
//! registered ends with it.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::java::Java;
use crate::pki::Tls;
use crate::ports;
use crate::process::{Launcher, Process, Spec, run};
use crate::progress;
use crate::tools::{cached, which};

/// Group, name, version, type and classifier in Maven Central.
const ARTIFACT: &str = "io.apicurio:apicurio-registry-app:3.3.3:tar.gz:all";
/// It is compiled for this version.
pub const JAVA_VERSION: u32 = 21;
/// Up in 5 s on an idle machine; tests run on busy ones.
const START_TIMEOUT: Duration = Duration::from_secs(180);
/// The serial collector and the first compiler tier: the least memory and the least work at the start.
const JAVA_OPTIONS: [&str; 4] = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xms64m", "-Xmx256m"];

/// Where a registry runs.
#[derive(Clone, Debug)]
pub struct RegistryOptions {
    /// For its log.
    pub dir: PathBuf,
    /// Where its process runs.
    pub launcher: Launcher,
    /// The address it listens on.
    pub bind: IpAddr,
    /// Its API.
    pub port: u16,
    /// Its metrics and probes, which nobody asks for; it insists on a port.
    pub management_port: u16,
    /// Its certificate and key: it then speaks TLS only.
    pub tls: Option<Tls>,
}

impl RegistryOptions {
    /// On free loopback ports.
    ///
    /// # Errors
    /// When no ports are free.
    pub fn for_tests(dir: impl Into<PathBuf>) -> Result<Self> {
        let bind = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let (port, management_port) = (ports::free(bind)?, ports::free(bind)?);
        Ok(Self { dir: dir.into(), launcher: Launcher::host(), bind, port, management_port, tls: None })
    }
}

/// A running registry; killed when it is dropped.
#[derive(Debug)]
pub struct Registry {
    options: RegistryOptions,
    process: Process,
}

impl Registry {
    /// Starts it and returns when it takes requests.
    ///
    /// # Errors
    /// When it cannot be fetched or does not come up; the message ends with its log.
    pub fn start(options: RegistryOptions) -> Result<Self> {
        let java = Java::find(JAVA_VERSION)?;
        let program = install()?;
        let RegistryOptions { dir, launcher, bind, port, management_port, tls } = &options;
        let port_option = if tls.is_some() { "ssl-port" } else { "port" };
        let spec = Spec::new("the schema registry", &java.program, dir.join("registry.log"))
            .args(JAVA_OPTIONS)
            .args([
                format!("-Dquarkus.http.host={bind}"),
                format!("-Dquarkus.http.{port_option}={port}"),
                format!("-Dquarkus.management.host={bind}"),
                format!("-Dquarkus.management.port={management_port}"),
                // What it unpacks at its start goes away with the rest.
                format!("-Djava.io.tmpdir={}", dir.display()),
                // A line per request would be most of the log.
                "-Dquarkus.http.access-log.enabled=false".to_owned(),
            ])
            .args(tls.iter().flat_map(tls_options))
            .arg("-jar")
            .arg(program);
        let mut process = launcher.spawn(spec)?;
        process.wait_for_port(*port, START_TIMEOUT)?;
        Ok(Self { options, process })
    }

    /// Where Confluent's API begins.
    pub fn url(&self) -> String {
        let scheme = if self.options.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}:{}/apis/ccompat/v7", self.options.bind, self.options.port)
    }

    /// Freezes it: connections stay open and nothing answers.
    pub fn pause(&self) {
        self.process.pause();
    }

    /// Lets it go on after [`Registry::pause`].
    pub fn resume(&self) {
        self.process.resume();
    }
}

fn tls_options(Tls { certificate, key }: &Tls) -> [String; 3] {
    [
        "-Dquarkus.http.insecure-requests=disabled".to_owned(),
        format!("-Dquarkus.http.ssl.certificate.files={}", certificate.display()),
        format!("-Dquarkus.http.ssl.certificate.key-files={}", key.display()),
    ]
}

/// The program in the cache, fetched where it is not there.
fn install() -> Result<PathBuf> {
    let folder = cached("registry", &[ARTIFACT.as_bytes()], |folder| {
        progress::step("fetching the schema registry (160 MB, once)", || fetch(folder))
    })?;
    Ok(folder.join("quarkus-run.jar"))
}

fn fetch(folder: &Path) -> Result<()> {
    let Some(maven) = which("mvn") else {
        bail!(
            "the schema registry is fetched with Maven, which is not installed; Debian: apt-get install maven"
        );
    };
    let mut command = Command::new(maven);
    command.args(["-q", "-B", "dependency:copy", &format!("-Dartifact={ARTIFACT}")]);
    command.arg(format!("-DoutputDirectory={}", folder.display()));
    run("fetch the schema registry from Maven Central", command)?;
    let archive = fs::read_dir(folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "gz"))
        .context("Maven fetched no archive of the schema registry")?;
    let mut command = Command::new("tar");
    command
        .args(["--extract", "--gzip", "--no-same-owner", "--file"])
        .arg(&archive)
        .arg("--directory")
        .arg(folder);
    run("unpack the schema registry", command)?;
    Ok(fs::remove_file(archive)?)
}
