//! What it costs to look after objects: requests, passes, processor time and memory.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::Serialize;
use serde_json::json;

use crate::counts::{Counts, Numbers};
use crate::report::{Better, Figure};
use crate::usage::{Sample, Usage};

/// All counters at one moment.
pub(crate) struct Reading {
    pub(crate) at: Instant,
    pub(crate) counts: Counts,
    pub(crate) verbs: Numbers,
    pub(crate) sample: Sample,
}

/// What was counted between two readings.
#[derive(Debug, Serialize)]
pub(crate) struct Cost {
    /// How long that was.
    pub(crate) seconds: f64,
    /// By the operator.
    pub(crate) operator: Counts,
    /// By the apiserver, of everybody: what this program and the apiserver itself asked for is in it.
    pub(crate) apiserver: Numbers,
    /// By the kernel.
    pub(crate) usage: BTreeMap<String, Usage>,
}

/// What requests to Kubernetes are divided by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Per {
    /// The unit that this gives.
    pub(crate) unit: &'static str,
    /// By how many.
    pub(crate) count: usize,
}

impl Cost {
    /// The figures about `what`, which happened `rounds` times.
    pub(crate) fn figures(&self, what: &str, per: Per, rounds: usize) -> Vec<Figure> {
        let usage = |name: &str| self.usage.get(name).copied().unwrap_or_default();
        let of_kubernetes = |count: u64| float(count) / as_float(per.count * rounds);
        let per_round = |value: f64| value / as_float(rounds);
        let figures = [
            ("writes to Kubernetes", per.unit, of_kubernetes(self.operator.writes())),
            ("reads of Kubernetes", per.unit, of_kubernetes(self.operator.reads())),
            ("requests to Kafka", "requests", per_round(float(self.operator.kafka()))),
            ("processor time of the operator", "s", per_round(usage("operator").cpu_seconds)),
            ("processor time of the apiserver", "s", per_round(usage("apiserver").cpu_seconds)),
            ("memory of the operator", "MiB", usage("operator").memory_mib),
            ("most memory of the operator so far", "MiB", usage("operator").peak_memory_mib),
        ];
        let figure = |(of, unit, value)| Figure::new(format!("{what}, {of}"), unit, value, Better::Lower);
        let detail = json!({ "rounds": rounds, "cost": self });
        figures.map(figure).map(|figure| figure.with(detail.clone())).to_vec()
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures for people to read")]
fn float(count: u64) -> f64 {
    count as f64
}

#[expect(clippy::cast_precision_loss, reason = "figures for people to read")]
fn as_float(count: usize) -> f64 {
    count as f64
}
