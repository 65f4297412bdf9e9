//! Finding the cluster's processes by the mark in their environment, whether or not the state knows them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;

use crate::home::{Home, MARKER};
use crate::process::ProcessId;

/// The shims hold running containers while containerd is down, and are children of nobody.
const SHIM: &str = "containerd-shim";

/// A process of the cluster.
#[derive(Clone, Debug)]
struct Marked {
    id: ProcessId,
    parent: i32,
    name: String,
}

/// Every process that carries the mark of `home`: components, their children, container shims.
pub fn all(home: &Home) -> Vec<ProcessId> {
    marked(home).into_values().map(|process| process.id).collect()
}

/// Those that no `known` process has started: left over by an `up` that was killed before it could note them.
pub fn unknown(home: &Home, known: &BTreeSet<i32>) -> Vec<ProcessId> {
    let marked = marked(home);
    let is_known = |pid: i32| descends(pid, known, &marked);
    marked.values().filter(|p| !p.name.starts_with(SHIM) && !is_known(p.id.pid)).map(|p| p.id).collect()
}

fn descends(mut pid: i32, known: &BTreeSet<i32>, marked: &BTreeMap<i32, Marked>) -> bool {
    loop {
        if known.contains(&pid) {
            return true;
        }
        match marked.get(&pid) {
            // A shim's children are the container runtime's short helpers.
            Some(process) if !process.name.starts_with(SHIM) => pid = process.parent,
            Some(_) => return true,
            None => return false,
        }
    }
}

fn marked(home: &Home) -> BTreeMap<i32, Marked> {
    let mut mark = OsString::from(format!("{MARKER}="));
    mark.push(home.path());
    let mark = mark.into_vec();
    let Ok(entries) = fs::read_dir("/proc") else { return BTreeMap::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| carries(*pid, &mark))
        .filter_map(describe)
        .map(|process| (process.id.pid, process))
        .collect()
}

fn carries(pid: u32, mark: &[u8]) -> bool {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|variable| variable == mark)
}

fn describe(pid: u32) -> Option<Marked> {
    let id = ProcessId::of(pid)?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    Some(Marked { id, parent: field("PPid:")?.parse().ok()?, name: field("Name:")?.to_owned() })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::process::{Launcher, Spec};

    #[test]
    fn a_marked_process_is_found_and_counts_as_unknown_until_it_is_noted() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(Some(dir.path())).unwrap();
        let launcher = Launcher::host().with_env(MARKER, home.path());
        let spec = Spec::new("sleeper", "sleep", home.log("sleeper")).arg("60");

        let mut process = launcher.spawn(spec).unwrap();
        // It carries its environment, and the mark in it, only once it has become the program; while it becomes that,
        // one look may see it and the next may not.
        let (id, patience) = (process.id(), Duration::from_secs(20));
        process.wait_until(patience, || all(&home) == [id]).unwrap();
        process.wait_until(patience, || unknown(&home, &BTreeSet::new()) == [id]).unwrap();

        assert!(unknown(&home, &BTreeSet::from([process.id().pid])).is_empty());
    }
}
