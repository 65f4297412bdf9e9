//! Child processes that leave nothing behind.
//!
//! A [`Launcher`] says where a command runs (on the host or in a network namespace) and how long it may live; a
//! [`Process`] is a running one, with its log file. A process that was started earlier, by another run, is known
//! by its [`ProcessId`], which cannot be mistaken for a stranger that was given the same pid later.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

mod identity;

pub use identity::ProcessId;

/// How often a condition is looked at again; short beside the fastest start (about 700 ms).
const POLL: Duration = Duration::from_millis(20);
/// How much of a log goes into an error message.
const LOG_TAIL_LINES: usize = 25;

/// How long a child may live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lifetime {
    /// The kernel kills it when this process ends, however it ends.
    #[default]
    WithParent,
    /// It outlives this process and its terminal; somebody stops it by its [`ProcessId`].
    Detached,
}

/// Where and for how long commands run.
#[derive(Clone, Debug, Default)]
pub struct Launcher {
    namespace: Option<PathBuf>,
    user: Option<(u32, u32)>,
    lifetime: Lifetime,
    env: Vec<(OsString, OsString)>,
}

impl Launcher {
    /// In the network of the host, for as long as this process lives.
    pub fn host() -> Self {
        Self::default()
    }

    /// In the network namespace bound to the file `path` (such as `/run/netns/NAME`).
    pub fn in_network_namespace(path: impl Into<PathBuf>) -> Self {
        Self { namespace: Some(path.into()), ..Self::default() }
    }

    /// The same place, but the commands outlive this process.
    #[must_use]
    pub fn detached(self) -> Self {
        Self { lifetime: Lifetime::Detached, ..self }
    }

    /// The same place, but as another user and without supplementary groups; needs root.
    #[must_use]
    pub fn as_user(self, uid: u32, gid: u32) -> Self {
        Self { user: Some((uid, gid)), ..self }
    }

    /// The same place, but every command it spawns, and their children, carry this environment variable.
    #[must_use]
    pub fn with_env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// A command that runs at this place and is waited for by the caller.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut words = self.prefix(Lifetime::WithParent);
        words.push(program.as_ref().to_owned());
        command_of(words)
    }

    /// Starts `program` with its output in the file `log`.
    ///
    /// # Errors
    /// When the log cannot be written or the program not be started. That the program ends at once is no error
    /// here; [`Process::wait_until`] reports it.
    pub fn spawn(&self, spec: Spec) -> Result<Process> {
        let log = open_log(&spec.log)?;
        let mut words = self.prefix(self.lifetime);
        words.push(spec.program);
        words.extend(spec.args);
        let mut command = command_of(words);
        command
            .envs(self.env.iter().cloned())
            .envs(spec.env)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        if let Some(dir) = spec.current_dir {
            command.current_dir(dir);
        }
        if self.lifetime == Lifetime::WithParent {
            // Ctrl-C in a terminal reaches the whole group; the components stop when their owner says so.
            command.process_group(0);
        }
        let child = spawn(command).with_context(|| format!("could not start {}", spec.name))?;
        let id = ProcessId::of(child.id()).with_context(|| format!("{} ended at once", spec.name))?;
        Ok(Process { name: spec.name, id, log: spec.log, child, lifetime: self.lifetime })
    }

    fn prefix(&self, lifetime: Lifetime) -> Vec<OsString> {
        let mut words: Vec<OsString> = Vec::new();
        if lifetime == Lifetime::Detached {
            words.push("setsid".into());
        }
        if let Some(namespace) = &self.namespace {
            let mut option = OsString::from("--net=");
            option.push(namespace);
            words.extend(["nsenter".into(), option]);
        }
        // Last, because a change of credentials takes the parent-death signal away.
        let setpriv = words.len();
        if lifetime == Lifetime::WithParent {
            words.extend(["--pdeathsig", "KILL"].map(Into::into));
        }
        if let Some((uid, gid)) = self.user {
            words.extend([format!("--reuid={uid}"), format!("--regid={gid}")].map(Into::into));
            words.push("--clear-groups".into());
        }
        if words.len() > setpriv {
            words.insert(setpriv, "setpriv".into());
            words.push("--".into());
        }
        words
    }
}

fn command_of(words: Vec<OsString>) -> Command {
    let mut words = words.into_iter();
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words);
    command
}

type Spawn = Box<dyn FnOnce() + Send>;

/// Starts `command` from a thread that lives as long as the process: the kernel sends the parent-death signal
/// when the *thread* that started the child ends, and a test's thread ends with the test.
///
/// # Errors
/// As [`Command::spawn`].
pub fn spawn(mut command: Command) -> std::io::Result<Child> {
    static SPAWNER: LazyLock<mpsc::Sender<Spawn>> = LazyLock::new(|| {
        let (sender, receiver) = mpsc::channel::<Spawn>();
        thread::spawn(move || receiver.into_iter().for_each(|spawn| spawn()));
        sender
    });
    let (answer, child) = mpsc::sync_channel(1);
    let spawn: Spawn = Box::new(move || drop(answer.send(command.spawn())));
    let gone = || std::io::Error::other("the thread that starts children is gone");
    SPAWNER.send(spawn).map_err(|_| gone())?;
    child.recv().map_err(|_| gone())?
}

/// What to start: `name` is for messages.
#[derive(Debug)]
pub struct Spec {
    name: String,
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    current_dir: Option<PathBuf>,
    log: PathBuf,
}

impl Spec {
    /// `program` without arguments, its output appended to the file `log`.
    pub fn new(name: impl Into<String>, program: impl AsRef<OsStr>, log: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            current_dir: None,
            log: log.into(),
        }
    }

    /// Adds one argument. Never a secret: every user of the machine can read it.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds several arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Runs it in the folder `dir`.
    #[must_use]
    pub fn current_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.current_dir = Some(dir.into());
        self
    }
}

fn open_log(path: &Path) -> Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("could not create {}", folder.display()))?;
    }
    let open = OpenOptions::new().create(true).append(true).open(path);
    open.with_context(|| format!("could not write {}", path.display()))
}

/// A child of this process. A child that lives with its parent is killed when this value is dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    id: ProcessId,
    log: PathBuf,
    child: Child,
    lifetime: Lifetime,
}

impl Process {
    /// Its identity, for the state that a later run reads.
    pub fn id(&self) -> ProcessId {
        self.id
    }

    /// The file with its output.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until `condition` holds.
    ///
    /// # Errors
    /// When the process ends or `within` passes first; the end of the log is part of the message.
    pub fn wait_until(&mut self, within: Duration, mut condition: impl FnMut() -> bool) -> Result<()> {
        let deadline = Instant::now() + within;
        while !condition() {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status} before it was ready\n{}", self.name, self.log_tail());
            }
            if Instant::now() >= deadline {
                bail!("{} was not ready within {within:?}\n{}", self.name, self.log_tail());
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// Waits until it listens on the TCP port `port`, in whichever network namespace it lives.
    ///
    /// # Errors
    /// As [`Process::wait_until`].
    pub fn wait_for_port(&mut self, port: u16, within: Duration) -> Result<()> {
        let pid = self.id.pid;
        self.wait_until(within, || crate::ports::is_listening(pid, port))
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&mut self) {
        // Only an already ended child cannot be killed, and that is what was asked for.
        self.child.kill().ok();
        self.child.wait().ok();
    }

    /// Asks it to end, and kills it after `grace`.
    pub fn stop(&mut self, grace: Duration) {
        self.id.stop(grace);
        self.child.wait().ok();
    }

    /// Freezes it: its connections stay open and nothing answers.
    pub fn pause(&self) {
        self.id.signal(Signal::SIGSTOP);
    }

    /// Lets it go on after [`Process::pause`].
    pub fn resume(&self) {
        self.id.signal(Signal::SIGCONT);
    }

    fn log_tail(&self) -> String {
        log_tail(&self.log)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.lifetime == Lifetime::WithParent {
            self.kill();
        }
    }
}

/// The last lines of a log, with the file's name before them.
pub fn log_tail(path: &Path) -> String {
    let text = fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let tail = lines.get(lines.len().saturating_sub(LOG_TAIL_LINES)..).unwrap_or_default();
    format!("--- end of {} ---\n{}", path.display(), tail.join("\n"))
}

/// Runs `command` to its end and returns what it printed.
///
/// # Errors
/// When it cannot be started or fails; what it printed to standard error is part of the message.
pub fn run(what: &str, command: Command) -> Result<String> {
    let mut command = command;
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = spawn(command).with_context(|| format!("could not {what}"))?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let text = [output.stdout, output.stderr].concat();
        bail!("could not {what}: {}\n{}", output.status, String::from_utf8_lossy(&text).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests;
