//! `make e2e-faults`: faults at random, one after the other, under continuous load, and the verdict.

use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use devcluster::testing;
use faults::{Format, Machine, STEPS, Soak, soak};

/// Runs the order system under load and causes one fault after the other; then checks every invariant.
#[derive(Debug, Parser)]
struct Options {
    /// How long faults go on, such as `20m` or `90s`.
    #[arg(long, env = "DURATION", default_value = "20m", value_parser = duration)]
    duration: Duration,
    /// Orders per second.
    #[arg(long, env = "RATE", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rate: u32,
    /// How the services write their events.
    #[arg(long, env = "FORMAT", default_value = "json", ignore_case = true)]
    format: Written,
    /// Repeats the faults of an earlier run: the order of events is still the machine's.
    #[arg(long, env = "SEED")]
    seed: Option<u64>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Written {
    Json,
    Avro,
}

impl Written {
    fn format(self) -> Format {
        match self {
            Self::Json => Format::Json,
            Self::Avro => Format::Avro { registry: testing::registry().url().to_owned() },
        }
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    let seed = options.seed.unwrap_or_else(rand::random);
    println!("faults for {:?}, {} orders/s, SEED={seed}", options.duration, options.rate);
    let mut machine = tokio::task::block_in_place(Machine::start)?;
    let format = tokio::task::block_in_place(|| options.format.format());
    let interval = Duration::from_secs(1) / options.rate;
    let soaked = Soak { duration: options.duration, interval, seed };
    let report = soak(&mut machine, STEPS, &format, soaked, |line| println!("{line}")).await;
    println!("{}", report.with_context(|| format!("SEED={seed}"))?);
    Ok(())
}

/// Whole minutes or seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let (digits, unit) = text.split_at(text.len().saturating_sub(1));
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err("write it like 20m or 90s".to_owned()),
    };
    let number: u64 = digits.parse().map_err(|error| format!("{error}; write it like 20m or 90s"))?;
    Ok(Duration::from_secs(number * seconds))
}
