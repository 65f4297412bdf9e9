//! PostgreSQL as a child process: TCP only, passwords always, run by an unprivileged user when this one is root.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::pki::Tls;
use crate::ports;
use crate::process::{Launcher, Process, ProcessId, Spec, run};
use crate::tools::which;

mod data;

pub use data::reachable_dir;

/// Debian keeps each release in a folder of its own, outside of PATH.
const DEBIAN_RELEASES: &str = "/usr/lib/postgresql";
/// A start after a crash first replays the log.
const START_TIMEOUT: Duration = Duration::from_secs(60);
const STOP_GRACE: Duration = Duration::from_secs(20);
/// The superuser of the server.
const ADMIN_USER: &str = "postgres";

/// Whether a commit survives a crash of the machine. A crash of the server it always survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// PostgreSQL's own.
    Full,
    /// Nothing is flushed to the disk: for databases that last as long as a test.
    CrashOfServerOnly,
}

/// Where and how a server runs.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// Data and logs. When it holds a server's data already, that is used.
    pub dir: PathBuf,
    /// Where the server runs.
    pub launcher: Launcher,
    /// The address it listens on.
    pub bind: IpAddr,
    /// The port it listens on.
    pub port: u16,
    /// Whether it flushes to the disk.
    pub durability: Durability,
    /// Its certificate and key: it then takes connections with TLS as well as those without.
    pub tls: Option<Tls>,
}

impl PostgresOptions {
    /// On a free loopback port, without flushing to the disk.
    ///
    /// # Errors
    /// When no port is free.
    pub fn for_tests(dir: impl Into<PathBuf>) -> Result<Self> {
        let bind = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let port = ports::free(bind)?;
        let durability = Durability::CrashOfServerOnly;
        Ok(Self { dir: dir.into(), launcher: Launcher::host(), bind, port, durability, tls: None })
    }
}

/// A running server. One that lives with its parent is killed when it is dropped.
#[derive(Debug)]
pub struct Postgres {
    options: PostgresOptions,
    launcher: Launcher,
    programs: PathBuf,
    server: Server,
    process: Option<Process>,
}

impl Postgres {
    /// Starts the server and returns when it takes connections.
    ///
    /// # Errors
    /// When PostgreSQL is not installed or does not come up; the message ends with its log.
    pub fn start(options: PostgresOptions) -> Result<Self> {
        let programs = find_programs()?;
        let launcher = data::as_unprivileged(options.launcher.clone(), &options.dir)?;
        let password = data::initialize(&options, &launcher, &programs)?;
        let server =
            Server::new(programs.clone(), options.launcher.clone(), options.bind, options.port, password);
        let mut postgres = Self { options, launcher, programs, server, process: None };
        postgres.restart()?;
        Ok(postgres)
    }

    /// How clients reach it.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// The running server, for the state that a later run reads.
    pub fn process_id(&self) -> Option<ProcessId> {
        self.process.as_ref().map(Process::id)
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// Shuts it down; clients are disconnected.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // Interrupt asks for a "fast" shutdown; terminate would wait for the clients to go.
            process.id().signal(nix::sys::signal::Signal::SIGINT);
            process.stop(STOP_GRACE);
        }
    }

    /// Starts it, if it does not run, on the same port and data.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn restart(&mut self) -> Result<()> {
        if self.process.as_mut().is_some_and(Process::is_running) {
            return Ok(());
        }
        let log = self.options.dir.join("postgres.log");
        let mut spec = Spec::new("PostgreSQL", self.programs.join("postgres"), log)
            .arg("-D")
            .arg(self.options.dir.join("data"))
            // Clients come by TCP; a socket file in a shared folder would clash with another server's.
            .args(["-c", "unix_socket_directories="])
            .args(["-c", &format!("listen_addresses={}", self.options.bind)])
            .args(["-c", &format!("port={}", self.options.port)])
            // Every test has a pool for its own database; the default of 100 is soon used up.
            .args(["-c", "max_connections=300"]);
        if self.options.durability == Durability::CrashOfServerOnly {
            // Commits stay synchronous, so that what was committed survives a killed server: only the disk is spared.
            spec = spec.args(["-c", "fsync=off", "-c", "full_page_writes=off"]);
        }
        if let Some(tls) = &self.options.tls {
            spec = spec.args(data::tls_arguments(&self.options.dir, tls)?);
        }
        let mut process = self.launcher.spawn(spec)?;
        process.wait_until(START_TIMEOUT, || self.server.is_ready())?;
        self.process = Some(process);
        Ok(())
    }

    /// Freezes the server process; sessions that exist are processes of their own and go on.
    pub fn pause(&self) {
        self.process.iter().for_each(Process::pause);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.process.iter().for_each(Process::resume);
    }
}

/// How a server is reached by its administrator.
#[derive(Clone)]
pub struct Server {
    programs: PathBuf,
    launcher: Launcher,
    address: IpAddr,
    port: u16,
    password: String,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Server").field("address", &self.address).field("port", &self.port).finish()
    }
}

impl Server {
    fn new(programs: PathBuf, launcher: Launcher, address: IpAddr, port: u16, password: String) -> Self {
        Self { programs, launcher, address, port, password }
    }

    /// A server that runs already.
    ///
    /// # Errors
    /// When PostgreSQL's client programs are not installed.
    pub fn running(address: IpAddr, port: u16, password: String) -> Result<Self> {
        Ok(Self::new(find_programs()?, Launcher::host(), address, port, password))
    }

    /// The address it listens on.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The administrator's password.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// The administrator's URL of the database `database`.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{ADMIN_USER}:{}@{}:{}/{database}", self.password, self.address, self.port)
    }

    /// The administrator's URL, with the database `postgres`.
    pub fn admin_url(&self) -> String {
        self.url("postgres")
    }

    /// Creates the empty database `name` and returns its URL.
    ///
    /// # Errors
    /// When the name is taken, or not made of letters, digits and `_`, or the server does not answer.
    pub fn create_database(&self, name: &str) -> Result<String> {
        let plain = |character: char| character.is_ascii_alphanumeric() || character == '_';
        ensure!(name.chars().all(plain), "{name:?} is no name for a database");
        self.execute(&format!("CREATE DATABASE \"{name}\""))?;
        Ok(self.url(name))
    }

    /// Runs one SQL statement as the administrator; returns the rows, one per line, unaligned.
    ///
    /// # Errors
    /// When the server refuses it or does not answer.
    pub fn execute(&self, sql: &str) -> Result<String> {
        let mut command = self.client("psql");
        command.args(["-v", "ON_ERROR_STOP=1", "-X", "-q", "-A", "-t", "-d", "postgres", "-c", sql]);
        run("run SQL", command)
    }

    /// Whether it takes connections.
    fn is_ready(&self) -> bool {
        let mut command = self.client("pg_isready");
        command.arg("-q").stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }

    fn client(&self, program: &str) -> Command {
        let mut command = self.launcher.command(self.programs.join(program));
        command.env("PGHOST", self.address.to_string()).env("PGPORT", self.port.to_string());
        // By the environment: everybody can read the arguments of a process.
        command.env("PGUSER", ADMIN_USER).env("PGPASSWORD", &self.password);
        command
    }
}

/// The folder with `initdb`, `postgres` and `psql`: the newest of Debian's, or the one in PATH.
pub(crate) fn find_programs() -> Result<PathBuf> {
    let debian = fs::read_dir(DEBIAN_RELEASES).into_iter().flatten().flatten();
    let newest = debian
        .filter_map(|entry| {
            Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path().join("bin")))
        })
        .filter(|(_, programs)| programs.join("initdb").is_file())
        .max();
    let in_path = || which("initdb").and_then(|initdb| Some(initdb.parent()?.to_owned()));
    newest
        .map(|(_, programs)| programs)
        .or_else(in_path)
        .context("PostgreSQL is not installed; Debian: apt-get install postgresql")
}
