//! `devcluster with kafka,postgres -- COMMAND`: components around a command.
//!
//! They are started together, their addresses stand in the command's environment (where [`crate::testing`] looks
//! for them), and they end with it: when it ends, when this process is told to end, and when it is killed.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::process::{self, Child, Command, ExitCode, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, anyhow};
use clap::ValueEnum;
use nix::sys::signal::Signal;
use serde::Serialize;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::apiserver::{Apiserver, ApiserverOptions};
use crate::kafka::{Kafka, KafkaOptions};
use crate::packages::{self, Purpose};
use crate::postgres::{Postgres, PostgresOptions};
use crate::process::{Launcher, ProcessId, spawn};
use crate::progress;
use crate::registry::{Registry, RegistryOptions};
use crate::tempdir::TempDir;
use crate::testing::{
    APISERVER_VARIABLE, ApiserverAddress, KAFKA_VARIABLE, KafkaAddress, POSTGRES_VARIABLE, PostgresAddress,
    REGISTRY_VARIABLE, RegistryAddress,
};

/// What shells answer for a command that a signal has ended: this plus the signal.
const SIGNAL_EXIT: i32 = 128;

/// What can be started around a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Component {
    /// One broker.
    Kafka,
    /// A database server.
    Postgres,
    /// etcd and kube-apiserver.
    Apiserver,
    /// A schema registry.
    Registry,
}

/// A started component; it ends when this is dropped.
#[derive(Debug)]
enum Running {
    Kafka { _kafka: Kafka },
    Postgres { _postgres: Postgres },
    Apiserver { _apiserver: Apiserver },
    Registry { _registry: Registry },
}

impl Component {
    fn name(self) -> &'static str {
        match self {
            Self::Kafka => "Kafka",
            Self::Postgres => "PostgreSQL",
            Self::Apiserver => "kube-apiserver",
            Self::Registry => "the schema registry",
        }
    }

    /// Starts it in `dir`; returns it with the variable and the value that tell its address.
    fn start(self, dir: &TempDir) -> Result<(Running, &'static str, String)> {
        Ok(match self {
            Self::Kafka => {
                let kafka = Kafka::start(KafkaOptions::for_tests(dir.path().join("kafka"), 1)?.with_tls()?)?;
                let address = json(&KafkaAddress::of(&kafka))?;
                (Running::Kafka { _kafka: kafka }, KAFKA_VARIABLE, address)
            }
            Self::Postgres => {
                let postgres = Postgres::start(PostgresOptions::for_tests(dir.path().join("postgres"))?)?;
                let address = json(&PostgresAddress::of(postgres.server()))?;
                (Running::Postgres { _postgres: postgres }, POSTGRES_VARIABLE, address)
            }
            Self::Apiserver => {
                let options = ApiserverOptions::for_tests(dir.path().join("apiserver"))?;
                let apiserver = Apiserver::start(options)?;
                let address = json(&ApiserverAddress::of(&apiserver))?;
                (Running::Apiserver { _apiserver: apiserver }, APISERVER_VARIABLE, address)
            }
            Self::Registry => {
                let registry = Registry::start(RegistryOptions::for_tests(dir.path().join("registry"))?)?;
                let address = json(&RegistryAddress::of(&registry))?;
                (Running::Registry { _registry: registry }, REGISTRY_VARIABLE, address)
            }
        })
    }
}

fn json(address: &impl Serialize) -> Result<String> {
    Ok(serde_json::to_string(address)?)
}

/// Starts `components`, runs `command` with their addresses in its environment, and ends with its exit code.
///
/// # Errors
/// When a component or the command cannot be started.
pub fn run(components: &[Component], command: &[OsString]) -> Result<ExitCode> {
    let (program, arguments) = command.split_first().context("no command is given")?;
    let mut chosen: Vec<Component> = Vec::new();
    for component in components {
        if !chosen.contains(component) {
            chosen.push(*component);
        }
    }
    packages::ensure(&purposes(&chosen))?;
    let target = Target::default();
    target.forward_signals()?;
    let dir = TempDir::new()?;
    let running = start_all(&chosen, &dir)?;

    let mut command = Launcher::host().command(program);
    command.args(arguments).envs(running.iter().map(|(_, variable, value)| (variable, value)));
    let status = target.run(command).with_context(|| format!("could not run {}", program.display()))?;
    drop(running);
    drop(dir);
    Ok(exit_code(status))
}

fn purposes(components: &[Component]) -> Vec<Purpose> {
    let purpose = |component: &Component| match component {
        Component::Kafka => Some(Purpose::Kafka),
        Component::Postgres => Some(Purpose::Postgres),
        Component::Registry => Some(Purpose::Registry),
        // Only Go, which is no package.
        Component::Apiserver => None,
    };
    components.iter().filter_map(purpose).collect()
}

/// Starts all at the same time, and none when one fails.
fn start_all(components: &[Component], dir: &TempDir) -> Result<Vec<(Running, &'static str, String)>> {
    thread::scope(|scope| {
        let start = |component: Component| {
            scope.spawn(move || {
                progress::step(&format!("starting {}", component.name()), || component.start(dir))
                    .with_context(|| format!("could not start {}", component.name()))
            })
        };
        let threads: Vec<_> = components.iter().map(|component| start(*component)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err(anyhow!("a component's start panicked"))))
            .collect()
    })
}

fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| Some(SIGNAL_EXIT + status.signal()?)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

/// The command, once it runs: whom signals are meant for.
#[derive(Clone, Default)]
struct Target(Arc<Mutex<Option<ProcessId>>>);

impl Target {
    /// From now on, signals that would end this process go to the command; it ends, and this process after it.
    /// While there is no command yet, they end this process: the kernel then ends the components.
    fn forward_signals(&self) -> Result<()> {
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("could not listen for signals")?;
        let target = self.clone();
        thread::spawn(move || {
            for signal in signals.forever() {
                match target.get().zip(Signal::try_from(signal).ok()) {
                    Some((command, signal)) => command.signal(signal),
                    None => process::exit(SIGNAL_EXIT + signal),
                }
            }
        });
        Ok(())
    }

    fn get(&self) -> Option<ProcessId> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, command: Command) -> Result<ExitStatus> {
        let mut child: Child = spawn(command)?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = ProcessId::of(child.id());
        Ok(child.wait()?)
    }
}
