//! The operator's process.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use operator::admin::{self, Health};
use operator::args::Args;
use operator::controller::{self, context::Context};
use operator::metrics::Metrics;
use operator::telemetry;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Passes under way may take so long to end; Kubernetes kills 30 seconds after SIGTERM.
const GRACE: Duration = Duration::from_secs(20);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    telemetry::init(&args.log_level)?;
    tracing::info!(?args, "operator starts");
    let shutdown = CancellationToken::new();
    let client = kube::Client::try_default().await.context("no way to the apiserver")?;
    let metrics = Arc::new(Metrics::new()?);
    let ctx = Arc::new(Context::new(client, Arc::clone(&metrics), args.settings(), shutdown.clone()));

    let listener = TcpListener::bind(args.admin_addr).await;
    let listener = listener.with_context(|| format!("cannot listen on {}", args.admin_addr))?;
    let health = Health { metrics, watches: Arc::clone(&ctx.watches) };
    // Probes are answered until the controllers have ended.
    let ended = CancellationToken::new();
    let admin = tokio::spawn(admin::serve(listener, health, ended.clone()));

    let mut controllers = tokio::spawn(async move { controller::run(&ctx).await });
    tokio::select! {
        signal = terminated() => tracing::info!(signal = signal?, "operator ends: no new work is begun"),
        ended = &mut controllers => {
            ended.context("a controller panicked")?;
            anyhow::bail!("the controllers ended without being told to");
        }
    }
    shutdown.cancel();
    if tokio::time::timeout(GRACE, &mut controllers).await.is_err() {
        tracing::warn!("work did not end in time and is cut off; it will be done again");
        controllers.abort();
    }
    ended.cancel();
    admin.await.context("the admin server panicked")?.context("the admin server broke")
}

/// Waits for SIGTERM or SIGINT.
async fn terminated() -> std::io::Result<&'static str> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(tokio::select! {
        _ = term.recv() => "SIGTERM",
        _ = int.recv() => "SIGINT",
    })
}
