//! PostgreSQL as a child process: TCP only, passwords always, run by an unprivileged user when this one is root.

use std::env;
use std::fs::{self, OpenOptions, Permissions};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::unistd::{Uid, User};
use rand::Rng;
use rand::distr::Alphanumeric;

use crate::ports;
use crate::process::{Launcher, Process, ProcessId, Spec, run};
use crate::tools::which;

/// Debian keeps each release in a folder of its own, outside of PATH.
const DEBIAN_RELEASES: &str = "/usr/lib/postgresql";
/// A start after a crash first replays the log.
const START_TIMEOUT: Duration = Duration::from_secs(60);
const STOP_GRACE: Duration = Duration::from_secs(20);
/// The superuser of the server.
const ADMIN_USER: &str = "postgres";
/// About 140 bits.
const PASSWORD_LENGTH: usize = 24;
/// PostgreSQL refuses to run as root; the first of these that exists runs it then.
const UNPRIVILEGED_USERS: [&str; 2] = ["postgres", "nobody"];

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
        Ok(Self { dir: dir.into(), launcher: Launcher::host(), bind, port, durability })
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
        let launcher = as_unprivileged(options.launcher.clone(), &options.dir)?;
        let password = initialize(&options, &launcher, &programs)?;
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

/// When this process is root: as a user that PostgreSQL accepts, who is given the folder `dir`.
fn as_unprivileged(launcher: Launcher, dir: &Path) -> Result<Launcher> {
    fs::create_dir_all(dir).with_context(|| format!("could not create {}", dir.display()))?;
    fs::set_permissions(dir, Permissions::from_mode(0o700))?;
    if !Uid::effective().is_root() {
        return Ok(launcher);
    }
    let user = UNPRIVILEGED_USERS.iter().find_map(|name| User::from_name(name).ok().flatten());
    let user = user.context("PostgreSQL refuses to run as root, and there is no user postgres or nobody")?;
    if let Some(closed) = closed_parent(dir) {
        bail!(
            "PostgreSQL runs as the user {} and cannot reach {}: nobody but root may enter {}",
            user.name,
            dir.display(),
            closed.display()
        );
    }
    std::os::unix::fs::chown(dir, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
    Ok(launcher.as_user(user.uid.as_raw(), user.gid.as_raw()))
}

/// The first folder above `dir` that other users may not pass through.
fn closed_parent(dir: &Path) -> Option<&Path> {
    dir.ancestors().skip(1).find(|parent| fs::metadata(parent).is_ok_and(|parent| parent.mode() & 0o001 == 0))
}

/// Where a server that may have to run as another user can keep its data: `preferred` if such a user can reach it,
/// else a folder of the system made for this one path, which the caller has to remove in the end.
pub fn reachable_dir(preferred: &Path) -> PathBuf {
    if !Uid::effective().is_root() || closed_parent(preferred).is_none() {
        return preferred.to_owned();
    }
    let components = preferred.components().filter_map(|component| component.as_os_str().to_str());
    let name: Vec<&str> = components.filter(|component| *component != "/").collect();
    Path::new("/var/tmp").join(format!("devcluster-{}", name.join("-")))
}

/// Creates the server's data unless it is there, and returns the administrator's password.
fn initialize(options: &PostgresOptions, launcher: &Launcher, programs: &Path) -> Result<String> {
    let password_file = options.dir.join("password");
    let data = options.dir.join("data");
    if data.join("PG_VERSION").exists() {
        let password = fs::read_to_string(&password_file);
        return password.with_context(|| format!("could not read {}", password_file.display()));
    }
    if data.exists() {
        // Begun by a run that was killed.
        fs::remove_dir_all(&data)?;
    }
    let password: String =
        rand::rng().sample_iter(Alphanumeric).take(PASSWORD_LENGTH).map(char::from).collect();
    let mut file =
        OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&password_file)?;
    file.write_all(password.as_bytes())?;
    let owner = fs::metadata(&options.dir)?;
    std::os::unix::fs::chown(&password_file, Some(owner.uid()), Some(owner.gid()))?;

    let mut command = launcher.command(programs.join("initdb"));
    command.arg("-D").arg(&data).args(["-U", ADMIN_USER, "--encoding=UTF8", "--locale=C"]);
    command.args(["--auth=scram-sha-256", "--no-instructions"]).arg("--pwfile").arg(&password_file);
    if options.durability == Durability::CrashOfServerOnly {
        command.arg("--no-sync");
    }
    // initdb looks at the current folder, which the other user may not be allowed to.
    command
        .current_dir("/")
        .env_remove("PGDATA")
        .env("TZ", env::var("TZ").unwrap_or_else(|_| "UTC".to_owned()));
    run("create a PostgreSQL server", command)?;
    allow_remote_clients(&data)?;
    Ok(password)
}

/// Pods come from other addresses than loopback, the only ones that initdb lets in. Passwords stay required.
fn allow_remote_clients(data: &Path) -> Result<()> {
    let mut file = OpenOptions::new().append(true).open(data.join("pg_hba.conf"))?;
    Ok(file.write_all(b"host all all all scram-sha-256\n")?)
}
