//! What was measured, for people and for programs.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use comfy_table::{Table, presets};
use serde::Serialize;
use serde_json::Value;

/// Which way is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Better {
    /// More is better.
    Higher,
    /// Less is better.
    Lower,
}

/// One figure.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figure {
    /// What was measured; the same from run to run.
    pub(crate) name: String,
    /// The unit of `value`.
    pub(crate) unit: &'static str,
    /// The median of all repetitions.
    pub(crate) value: f64,
    /// Which way is good.
    pub(crate) better: Better,
    /// Whatever explains the value.
    pub(crate) detail: Value,
}

impl Figure {
    pub(crate) fn new(name: impl Into<String>, unit: &'static str, value: f64, better: Better) -> Self {
        Self { name: name.into(), unit, value, better, detail: Value::Object(serde_json::Map::new()) }
    }

    pub(crate) fn with(mut self, detail: Value) -> Self {
        self.detail = detail;
        self
    }

    /// The median of `values`, with the least and the most beside it.
    pub(crate) fn median(
        name: impl Into<String>,
        unit: &'static str,
        mut values: Vec<f64>,
        better: Better,
    ) -> Self {
        values.sort_by(f64::total_cmp);
        let value = values.get(values.len() / 2).copied().unwrap_or_default();
        Self::new(name, unit, value, better).with(serde_json::json!({ "all": values }))
    }
}

/// One figure of each name, its value the median of all runs, with the rest of what the first run tells.
pub(crate) fn medians(runs: Vec<Vec<Figure>>) -> Vec<Figure> {
    let mut values: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for figure in runs.iter().flatten() {
        values.entry(figure.name.clone()).or_default().push(figure.value);
    }
    let median = |mut figure: Figure| {
        let found = values.remove(&figure.name).unwrap_or_default();
        let of_all = Figure::median(figure.name.as_str(), figure.unit, found, figure.better);
        figure.value = of_all.value;
        if let (Value::Object(detail), Value::Object(all)) = (&mut figure.detail, of_all.detail) {
            detail.extend(all);
        }
        figure
    };
    runs.into_iter().next().unwrap_or_default().into_iter().map(median).collect()
}

/// The machine it was measured on.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Machine {
    cpu: String,
    cores: usize,
    memory_gib: u64,
    kernel: String,
}

impl Machine {
    pub(crate) fn look() -> Result<Self> {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").context("could not read /proc/cpuinfo")?;
        let meminfo = std::fs::read_to_string("/proc/meminfo").context("could not read /proc/meminfo")?;
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let of = |text: &str, key: &str| {
            let line = text.lines().find(|line| line.starts_with(key));
            line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
        };
        let kib = of(&meminfo, "MemTotal").and_then(|total| total.split(' ').next()?.parse::<u64>().ok());
        Ok(Self {
            cpu: of(&cpuinfo, "model name").unwrap_or_else(|| "unknown".to_owned()),
            cores: std::thread::available_parallelism()?.get(),
            memory_gib: kib.unwrap_or_default() / 1024 / 1024,
            kernel: kernel.trim().to_owned(),
        })
    }
}

/// All figures of a run.
#[derive(Debug)]
pub(crate) struct Report {
    machine: Machine,
    figures: Vec<Figure>,
}

impl Report {
    pub(crate) fn new(machine: Machine) -> Self {
        Self { machine, figures: Vec::new() }
    }

    pub(crate) fn extend(&mut self, figures: Vec<Figure>) {
        self.figures.extend(figures);
    }

    /// The figures, each with the machine in its detail.
    pub(crate) fn json(&self) -> Result<String> {
        let machine = serde_json::to_value(&self.machine)?;
        let mut figures = self.figures.clone();
        for figure in &mut figures {
            if let Value::Object(detail) = &mut figure.detail {
                detail.insert("machine".to_owned(), machine.clone());
            }
        }
        Ok(serde_json::to_string_pretty(&figures)?)
    }

    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(path, self.json()?).with_context(|| format!("could not write {}", path.display()))
    }

    pub(crate) fn table(&self) -> String {
        let Machine { cpu, cores, memory_gib, kernel } = &self.machine;
        let mut table = Table::new();
        table.load_preset(presets::NOTHING).set_header(["MEASURED", "VALUE", "UNIT"]);
        for figure in &self.figures {
            table.add_row([figure.name.clone(), shown(figure.value), figure.unit.to_owned()]);
        }
        format!("{cores} cores of {cpu}, {memory_gib} GiB, Linux {kernel}\n\n{table}")
    }
}

fn shown(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}
