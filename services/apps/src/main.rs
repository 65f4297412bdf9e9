//! `orders <role>`: one process of the order system.

use anyhow::{Context, Result};
use clap::Parser;
use contract::Service;
use orders::config::{Cli, Command, Config};
use orders::prepare_database;
use orders::runtime::Process;
use orders::telemetry::LogLevel;
use tokio::signal::unix::{Signal, SignalKind, signal};

#[tokio::main]
async fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Order(config) => run(*config, &[Service::Order]).await,
        Command::Inventory(config) => run(*config, &[Service::Inventory]).await,
        Command::Payment(config) => run(*config, &[Service::Payment]).await,
        Command::Shipping(config) => run(*config, &[Service::Shipping]).await,
        Command::Notification(config) => run(*config, &[Service::Notification]).await,
        Command::OrderAnalytics(config) => run(*config, &[Service::OrderAnalytics]).await,
        Command::All(config) => run(*config, Service::ALL).await,
        Command::PrepareDatabase(config) => {
            LogLevel::install(&config.log_level)?;
            Ok(prepare_database::run(&config).await?)
        }
    }
}

/// Runs `services` until SIGTERM or SIGINT, then drains. A second signal ends the process at once.
async fn run(config: Config, services: &[Service]) -> Result<()> {
    let log_level = LogLevel::install(&config.log_level)?;
    let mut signals = Signals::listen()?;
    tracing::info!(?config, "the process starts");
    let process = tokio::select! {
        started = Process::start(config, services, log_level) => started?,
        () = signals.next() => return Ok(()),
    };
    let (stop, stopping) = tokio::sync::oneshot::channel::<()>();
    tokio::spawn(async move {
        signals.next().await;
        drop(stop);
        signals.next().await;
        tracing::warn!("a second signal: the process ends at once");
        // 128 + SIGTERM, what a shell reports for a process that did not handle it.
        // Without the handlers that libraries have for an ordinary end: their threads still run, and one that met what
        // such a handler has torn down would end the process by a fault instead.
        signal_hook::low_level::exit(143);
    });
    process.run(async move { drop(stopping.await) }).await
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("could not listen for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("could not listen for SIGINT")?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
