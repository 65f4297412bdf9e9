//! `devcluster`: a real Kubernetes, Kafka and PostgreSQL on one machine.

use std::process::ExitCode;

use clap::Parser;
use devcluster::cli::Cli;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
