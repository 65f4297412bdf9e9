//! The operator's process.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use kube::Config;
use operator::admin::{self, Health};
use operator::args::Args;
use operator::controller::{self, clusters, context::Context};
use operator::leader::fence::Fence;
use operator::leader::{Election, Lost, Terms};
use operator::metrics::Metrics;
use operator::{client, telemetry};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Passes under way may take so long to end; Kubernetes kills 30 seconds after SIGTERM.
const GRACE: Duration = Duration::from_secs(20);

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let log_level = telemetry::init(&args.log_level)?;
    tracing::info!(?args, "operator starts");
    let shutdown = CancellationToken::new();
    let metrics = Arc::new(Metrics::new()?);
    let config = Config::infer().await.context("no way to the apiserver")?;
    let (ctx, election) = prepare(&args, config, Arc::clone(&metrics), &shutdown)?;

    let listener = TcpListener::bind(args.admin_addr).await;
    let listener = listener.with_context(|| format!("cannot listen on {}", args.admin_addr))?;
    let (watches, clusters) = (Arc::clone(&ctx.watches), Arc::clone(&ctx.clusters));
    let health = Health { metrics, watches, clusters, log_level };
    // Probes are answered until the controllers have ended.
    let ended = CancellationToken::new();
    let admin = tokio::spawn(admin::serve(listener, health, ended.clone()));

    let work = work(ctx, election);
    tokio::pin!(work);
    tokio::select! {
        signal = terminated() => tracing::info!(signal = signal?, "operator ends: no new work is begun"),
        ended = &mut work => {
            if let Err(lost) = ended {
                tracing::error!(%lost, "this operator must not work any longer");
                return Ok(ExitCode::FAILURE);
            }
            anyhow::bail!("the controllers ended without being told to");
        }
    }
    shutdown.cancel();
    match tokio::time::timeout(GRACE, work).await {
        Ok(Ok(())) => {}
        Ok(Err(lost)) => tracing::warn!(%lost, "work was cut off; another operator does it again"),
        Err(_) => tracing::warn!("work did not end in time and is cut off; it will be done again"),
    }
    ended.cancel();
    admin.await.context("the admin server panicked")?.context("the admin server broke")?;
    Ok(ExitCode::SUCCESS)
}

/// What passes need, and the candidate for the Lease where there may be several operators.
fn prepare(
    args: &Args,
    config: Config,
    metrics: Arc<Metrics>,
    shutdown: &CancellationToken,
) -> anyhow::Result<(Arc<Context>, Option<Election>)> {
    let alone = args.lease_namespace.is_empty();
    let fence = Arc::new(if alone { Fence::alone() } else { Fence::closed() });
    let election = if alone {
        None
    } else {
        // A way of its own: the Lease is what opens the other one.
        let client = kube::Client::try_from(config.clone())?;
        let terms = Terms { duration: args.lease_duration_seconds };
        let (fence, metrics) = (Arc::clone(&fence), Arc::clone(&metrics));
        Some(Election::new(client, &args.lease_namespace, terms, fence, metrics))
    };
    let client = client::connect(config, Arc::clone(&fence), Arc::clone(&metrics))?;
    let connect = Box::new(move |options: &_| clusters::connect(options, Arc::clone(&fence)));
    let ctx = Context::with_connect(client, metrics, args.settings(), shutdown.clone(), connect);
    Ok((Arc::new(ctx), election))
}

/// Runs the controllers until shutdown; under the Lease where there is one.
async fn work(ctx: Arc<Context>, election: Option<Election>) -> Result<(), Lost> {
    let shutdown = ctx.shutdown.clone();
    match election {
        None => controller::run(&ctx).await,
        Some(election) => return election.lead(&shutdown, || controller::run(&ctx)).await,
    }
    Ok(())
}

/// Waits for SIGTERM or SIGINT.
async fn terminated() -> std::io::Result<&'static str> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(tokio::select! {
        _ = term.recv() => "SIGTERM",
        _ = int.recv() => "SIGINT",
    })
}
