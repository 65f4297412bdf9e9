//! The command line.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand, ValueEnum};

use crate::bare::{beside, sandbox};
use crate::home::Home;
use crate::packages::{self, Extent};
use crate::provider::{self, Status};
use crate::state::ProviderKind;
use crate::{forward, images};

/// A real Kubernetes, Kafka and PostgreSQL on one machine.
#[derive(Debug, Parser)]
#[command(name = "devcluster", version)]
pub struct Cli {
    /// Folder of the cluster; default: .devcluster at the root of the checkout
    #[arg(long, global = true, value_name = "DIR")]
    dir: Option<PathBuf>,
    #[command(subcommand)]
    command: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Start a cluster, or what is missing of it
    Up {
        /// Number of Kafka brokers of a new cluster: 1 or 3
        #[arg(long, value_parser = brokers)]
        brokers: Option<u16>,
        /// How a new cluster is made; default: kind where Docker and kind are there
        #[arg(long, value_enum)]
        provider: Option<ProviderKind>,
    },
    /// End and remove the cluster
    Down,
    /// Say what runs and how it is reached
    Status {
        /// How to print it; json holds the credentials as well
        #[arg(short, long, value_enum, default_value_t = Format::Text)]
        output: Format,
    },
    /// Run a command inside the cluster's network, with kubectl ready to use
    Exec {
        /// The command and its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
    /// Run kubectl on the cluster
    Kubectl {
        /// Arguments of kubectl
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Give images to the cluster: those of this project, or the archives named
    #[command(visible_alias = "build")]
    Load {
        /// Image archives (bare) or image names of Docker (kind); none: the images of this project
        images: Vec<String>,
        /// The operator's binary (bare); default: beside this program
        #[arg(long)]
        operator: Option<PathBuf>,
        /// The order services' binary (bare); default: beside this program
        #[arg(long)]
        orders: Option<PathBuf>,
    },
    /// Print a kubeconfig for this machine
    Kubeconfig,
    /// Print the mails that the shop's customers got
    Mail,
    /// Install what is needed (as root), or name it
    Prerequisites {
        /// For what
        #[arg(value_enum, default_value_t = Extent::Cluster)]
        extent: Extent,
    },
    /// Run a command with components started for it alone
    With {
        /// Which: kafka, postgres, apiserver, registry
        #[arg(required = true, value_delimiter = ',')]
        components: Vec<crate::with::Component>,
        /// The command and its arguments
        #[arg(required = true, last = true)]
        command: Vec<OsString>,
    },
    /// Hold a cluster's namespaces
    #[command(hide = true)]
    Sandbox {
        /// Written when they are made
        #[arg(long)]
        ready: PathBuf,
    },
    /// Forward ports of this machine into a cluster
    #[command(hide = true)]
    Forward {
        /// File with the ports
        #[arg(long)]
        config: PathBuf,
    },
    /// Take mails for a cluster
    #[command(hide = true)]
    MailServer {
        /// Written when it takes mails
        #[arg(long)]
        ready: PathBuf,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

fn brokers(text: &str) -> Result<u16, String> {
    match text {
        "1" => Ok(1),
        "3" => Ok(3),
        _ => Err("one broker, or three that replicate".to_owned()),
    }
}

impl Cli {
    /// Does what the arguments say.
    ///
    /// # Errors
    /// What went wrong, for a person to read.
    pub fn run(self) -> Result<ExitCode> {
        let dir = self.dir.as_deref();
        let home = || Home::new(dir);
        match self.command {
            Action::Up { brokers, provider } => up(&home()?, brokers, provider)?,
            Action::Down => down(&home()?)?,
            Action::Status { output } => status(&home()?, output)?,
            Action::Exec { command } => replace(provider::choose(&home()?, None)?.command(&command)?)?,
            Action::Kubectl { arguments } => {
                let mut kubectl = provider::choose(&home()?, None)?.kubectl()?;
                kubectl.args(arguments);
                replace(kubectl)?;
            }
            Action::Load { images, operator, orders } => load(&home()?, &images, operator, orders)?,
            Action::Kubeconfig => {
                let status = provider::choose(&home()?, None)?.status()?;
                print(&std::fs::read_to_string(status.kubeconfig).context("cannot read the kubeconfig")?)?;
            }
            Action::Mail => print(&provider::choose(&home()?, None)?.mail()?)?,
            Action::Prerequisites { extent } => packages::prerequisites(extent)?,
            Action::With { components, command } => return crate::with::run(&components, &command),
            Action::Sandbox { ready } => sandbox::hold(home()?.path(), &ready)?,
            Action::Forward { config } => forward::run(&config)?,
            Action::MailServer { ready } => beside::serve_mail(&home()?, &ready)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn up(home: &Home, brokers: Option<u16>, kind: Option<ProviderKind>) -> Result<()> {
    let _lock = home.lock()?;
    let provider = provider::choose(home, kind)?;
    provider.up(brokers)?;
    print(&describe(&provider.status()?))
}

fn down(home: &Home) -> Result<()> {
    if !home.exists() {
        return print(&format!("There is no cluster in {}.\n", home.path().display()));
    }
    let lock = home.lock()?;
    provider::choose(home, None)?.down()?;
    home.remove(lock)
}

fn load(home: &Home, images: &[String], operator: Option<PathBuf>, orders: Option<PathBuf>) -> Result<()> {
    ensure!(home.exists(), "no cluster in {}; start one with `devcluster up`", home.path().display());
    let _lock = home.lock()?;
    let provider = provider::choose(home, None)?;
    images.iter().try_for_each(|image| provider.load(image))?;
    let mut binaries = BTreeMap::new();
    for (program, given) in [("operator", operator), ("orders", orders)] {
        binaries.extend(given.map(|path| (program.to_owned(), path)));
    }
    if images.is_empty() && binaries.is_empty() {
        let me = env::current_exe().context("cannot find this program")?;
        for application in images::APPLICATIONS {
            let path = me.with_file_name(application.program);
            ensure!(path.is_file(), "{} is not built; run `cargo build --bins`", path.display());
            binaries.insert(application.program.to_owned(), path);
        }
    }
    provider.load_applications(&binaries)
}

fn status(home: &Home, format: Format) -> Result<()> {
    let status = provider::choose(home, None)?.status()?;
    match format {
        Format::Text => print(&describe(&status)),
        Format::Json => print(&(serde_json::to_string_pretty(&status)? + "\n")),
    }
}

fn describe(status: &Status) -> String {
    let word = if status.ready { "ready" } else { "NOT ready" };
    let mut lines = vec![format!("The cluster is {word}.")];
    let missing = status.components.iter().filter(|(_, running)| !**running);
    lines.extend(missing.map(|(name, _)| format!("  {name} does not run")));
    lines.push(format!("  KUBECONFIG={}", status.kubeconfig.display()));
    lines.extend(status.endpoints.iter().map(|(name, address)| format!("  {name:<10} {address}")));
    lines.join("\n") + "\n"
}

/// To standard output; that its reader has seen enough is no error.
fn print(text: &str) -> Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error).context("cannot print"),
        _ => Ok(()),
    }
}

/// Becomes `command`: signals, terminal and exit code are then its own.
fn replace(mut command: Command) -> Result<()> {
    let program = command.get_program().to_owned();
    Err(command.exec()).with_context(|| format!("cannot run {}", program.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn arguments_of_an_inner_command_are_left_alone() {
        let cli = Cli::try_parse_from(["devcluster", "exec", "--", "kubectl", "get", "-o", "json"]).unwrap();

        let Action::Exec { command } = cli.command else { panic!("not exec") };
        assert_eq!(command, ["kubectl", "get", "-o", "json"]);
    }

    #[test]
    fn two_brokers_are_refused() {
        assert!(Cli::try_parse_from(["devcluster", "up", "--brokers", "2"]).is_err());
        assert!(Cli::try_parse_from(["devcluster", "up", "--brokers", "3"]).is_ok());
    }
}
