//! `make bench`: measures the order system and the operator on this machine, as a table and as
//! `target/bench/report.json`.
//!
//! Everything runs here and shares the cores: broker, database, services and the load generator. Nothing is
//! relaxed for it: PostgreSQL flushes every commit, the broker has its production compiler, the services are the
//! release build.

mod controllers;
mod cost;
mod counts;
mod events;
mod load;
mod mirror;
mod orders;
mod pipelines;
mod rebalances;
mod relay;
mod report;
mod system;
mod topics;
mod unchanged;
mod usage;
mod windows;
mod world;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};

use crate::report::{Figure, Machine, Report};

/// Measures the order system and the operator on this machine.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    role: Option<Role>,
    /// What to measure; everything where nothing is named.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Subject>,
    /// How long each phase of a load lasts, in seconds; the first quarter of it warms up and is not counted.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// The offered load of the latency phase, in orders per second; half of what was reached where not given.
    #[arg(long)]
    rate: Option<u64>,
    /// How often each measurement is repeated; the median is reported, with the least and the most.
    #[arg(long, default_value_t = 1)]
    repeat: usize,
    /// How many topics are created, changed and deleted.
    #[arg(long, default_value_t = 1000)]
    topics: usize,
    /// How many topics the operator looks after while nobody changes them.
    #[arg(long, default_value_t = 10_000)]
    unchanged_topics: usize,
    /// How many pipelines the operator is given.
    #[arg(long, default_value_t = 50)]
    pipelines: usize,
    /// The `orders` binary to measure; the one beside this program where not given.
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Where the report goes.
    #[arg(long, default_value = "target/bench/report.json")]
    report: PathBuf,
    /// What is printed.
    #[arg(short, long, default_value = "table")]
    output: Output,
}

impl Cli {
    fn wants(&self, subject: Subject) -> bool {
        self.only.is_empty() || self.only.contains(&subject)
    }
}

/// What this program is when it starts itself.
#[derive(Debug, Subcommand)]
enum Role {
    /// A member of the group that is measured.
    #[command(hide = true)]
    Member(rebalances::Member),
}

/// Something that can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Subject {
    /// Orders through all services.
    Orders,
    /// The outbox alone.
    Relay,
    /// Orders counted by hour and product, exactly once.
    Windows,
    /// Groups whose members come and go.
    Rebalances,
    /// Topics created, changed and deleted by the operator.
    Topics,
    /// Many topics that nobody changes.
    Unchanged,
    /// Pipelines created by the operator, and then left alone.
    Pipelines,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}

#[tokio::main]
async fn main() -> Result<()> {
    messaging::install_tls_provider();
    let cli = Cli::parse();
    if let Some(Role::Member(member)) = cli.role {
        return member.run().await;
    }
    let mut report = Report::new(Machine::look()?);
    measure_services(&cli, &mut report).await?;
    measure_operator(&cli, &mut report).await?;
    report.write(&cli.report)?;
    match cli.output {
        Output::Table => println!("{}", report.table()),
        Output::Json => println!("{}", report.json()?),
    }
    Ok(())
}

async fn measure_services(cli: &Cli, report: &mut Report) -> Result<()> {
    if cli.wants(Subject::Relay) {
        report.extend(relay::measure(cli.repeat).await?);
    }
    if cli.wants(Subject::Windows) {
        report.extend(windows::measure(cli.repeat).await?);
    }
    if cli.wants(Subject::Rebalances) {
        report.extend(repeated(cli.repeat, rebalances::measure).await?);
    }
    if cli.wants(Subject::Orders) {
        let plan = orders::Plan {
            binary: system::binary(cli.binary.as_deref())?,
            phase: Duration::from_secs(cli.seconds),
            rate: cli.rate,
            repeat: cli.repeat,
        };
        report.extend(orders::measure(&plan).await?);
    }
    Ok(())
}

async fn measure_operator(cli: &Cli, report: &mut Report) -> Result<()> {
    if cli.wants(Subject::Topics) {
        let measure = async || topics::measure(&world::binary()?, cli.topics).await;
        report.extend(repeated(cli.repeat, measure).await?);
    }
    if cli.wants(Subject::Unchanged) {
        let measure = async || unchanged::measure(&world::binary()?, cli.unchanged_topics).await;
        report.extend(repeated(cli.repeat, measure).await?);
    }
    if cli.wants(Subject::Pipelines) {
        let measure = async || pipelines::measure(&world::binary()?, cli.pipelines).await;
        report.extend(repeated(cli.repeat, measure).await?);
    }
    Ok(())
}

/// The medians of what `measure` finds, each time from the start.
async fn repeated(repeat: usize, measure: impl AsyncFn() -> Result<Vec<Figure>>) -> Result<Vec<Figure>> {
    let mut runs = Vec::new();
    for _ in 0..repeat.max(1) {
        runs.push(measure().await?);
    }
    Ok(report::medians(runs))
}
