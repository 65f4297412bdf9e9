//! What processes take: processor time and memory, from /proc.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Clock ticks per second of /proc's times: fixed for user space by the kernel's ABI on all Linux platforms.
const TICKS: f64 = 100.0;

/// A process, with all that it started.
#[derive(Debug, Clone)]
pub(crate) struct Watched {
    /// What the report calls it.
    pub(crate) name: String,
    /// Its process id.
    pub(crate) pid: u32,
}

/// A look at some processes.
#[derive(Debug)]
pub(crate) struct Sample {
    at: Instant,
    ticks: BTreeMap<String, u64>,
}

/// What a process took between two looks.
#[derive(Debug, Clone, Copy, Default, serde::Serialize)]
pub(crate) struct Usage {
    /// Cores, 1.0 being one core all the time.
    pub(crate) cores: f64,
    /// Processor time.
    pub(crate) cpu_seconds: f64,
    /// Memory at the second look: its own, and its share of what it shares.
    pub(crate) memory_mib: f64,
    /// The most that it ever had, all that it shares included: what a limit of memory is compared with.
    pub(crate) peak_memory_mib: f64,
}

impl Sample {
    pub(crate) fn take(processes: &[Watched]) -> Result<Self> {
        let parents = parents()?;
        let ticks = processes.iter().map(|watched| {
            let family = family(watched.pid, &parents);
            (watched.name.clone(), family.iter().filter_map(|pid| ticks_of(*pid)).sum())
        });
        Ok(Self { at: Instant::now(), ticks: ticks.collect() })
    }

    pub(crate) fn until(&self, later: &Self, processes: &[Watched]) -> Result<BTreeMap<String, Usage>> {
        let seconds = later.at.duration_since(self.at).max(Duration::from_millis(1)).as_secs_f64();
        let parents = parents()?;
        Ok(processes
            .iter()
            .map(|watched| {
                let of = |sample: &Self| sample.ticks.get(&watched.name).copied().unwrap_or_default();
                let cpu_seconds = float(of(later).saturating_sub(of(self))) / TICKS;
                let family = family(watched.pid, &parents);
                let mib = |kib: fn(u32) -> Option<u64>| {
                    float(family.iter().filter_map(|pid| kib(*pid)).sum()) / 1024.0
                };
                let (memory_mib, peak_memory_mib) = (mib(pss_of), mib(peak_of));
                let cores = cpu_seconds / seconds;
                (watched.name.clone(), Usage { cores, cpu_seconds, memory_mib, peak_memory_mib })
            })
            .collect())
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures for people to read")]
fn float(number: u64) -> f64 {
    number as f64
}

/// Every process with its parent.
fn parents() -> Result<BTreeMap<u32, u32>> {
    let entries = fs::read_dir("/proc").context("could not list /proc")?;
    Ok(entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, stat(pid)?.first()?.parse().ok()?)))
        .collect())
}

fn family(root: u32, parents: &BTreeMap<u32, u32>) -> Vec<u32> {
    let mut family = vec![root];
    let mut index = 0;
    while let Some(pid) = family.get(index).copied() {
        family.extend(parents.iter().filter(|(_, parent)| **parent == pid).map(|(child, _)| *child));
        index += 1;
    }
    family
}

/// The fields of /proc/PID/stat from the parent on; the name before them may hold anything.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(") ")?;
    Some(fields.split(' ').skip(1).map(str::to_owned).collect())
}

/// User and system time, with that of children that have ended.
fn ticks_of(pid: u32) -> Option<u64> {
    let fields = stat(pid)?;
    // proc(5): utime, stime, cutime and cstime are fields 14 to 17; the parent is field 4.
    let times = fields.get(10..14)?;
    Some(times.iter().filter_map(|field| field.parse::<u64>().ok()).sum())
}

fn pss_of(pid: u32) -> Option<u64> {
    kib(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?, "Pss:")
}

fn peak_of(pid: u32) -> Option<u64> {
    kib(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?, "VmHWM:")
}

fn kib(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(key))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
