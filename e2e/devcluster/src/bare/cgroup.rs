//! The cluster's cgroup: the parent of every container, found and removed in each mounted hierarchy.
//!
//! Works with one unified hierarchy (v2) and with a hierarchy per controller (v1).

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// How long an init may take; most take milliseconds.
const REAP_TIMEOUT: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(20);

/// Creates the cgroup `name` at the root of every hierarchy; the kubelet wants to find it there.
///
/// # Errors
/// When a hierarchy refuses the folder.
pub fn create(name: &str) -> Result<()> {
    for hierarchy in hierarchies()? {
        let path = hierarchy.join(name);
        fs::create_dir_all(&path).with_context(|| format!("cannot create cgroup {}", path.display()))?;
    }
    Ok(())
}

/// Processes inside the cgroup `name` and below it, over all hierarchies.
///
/// # Errors
/// When the mounted hierarchies cannot be listed.
pub fn processes(name: &str) -> Result<BTreeSet<u32>> {
    let mut pids = BTreeSet::new();
    for hierarchy in hierarchies()? {
        for folder in tree(&hierarchy.join(name)) {
            let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
            pids.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
        }
    }
    Ok(pids)
}

/// Removes the cgroup `name` and everything below it. Its processes must have ended.
///
/// # Errors
/// When a folder stays, because a process is still inside.
pub fn remove(name: &str) -> Result<()> {
    for hierarchy in hierarchies()? {
        let deadline = Instant::now() + REAP_TIMEOUT;
        for folder in tree(&hierarchy.join(name)).into_iter().rev() {
            while let Err(error) = fs::remove_dir(&folder) {
                match error.kind() {
                    ErrorKind::NotFound => break,
                    // Ended processes stay inside until the machine's init has asked for their exit codes.
                    ErrorKind::ResourceBusy if Instant::now() < deadline => thread::sleep(POLL),
                    _ => {
                        return Err(error)
                            .with_context(|| format!("cannot remove cgroup {}", folder.display()));
                    }
                }
            }
        }
    }
    Ok(())
}

/// Mount points of all cgroup hierarchies of this machine.
fn hierarchies() -> Result<Vec<PathBuf>> {
    let text = fs::read_to_string("/proc/self/mounts").context("cannot read the mounts")?;
    Ok(parse_hierarchies(&text))
}

fn parse_hierarchies(mounts: &str) -> Vec<PathBuf> {
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let (target, kind) = (fields.next()?, fields.next()?);
            matches!(kind, "cgroup" | "cgroup2").then(|| PathBuf::from(target))
        })
        .collect()
}

/// `root` and every folder below it, parents before children; empty when it does not exist.
fn tree(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![root.to_path_buf()];
    while let Some(folder) = waiting.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        found.push(folder);
        let folders = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        waiting.extend(folders.map(|entry| entry.path()));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_cgroup_versions_are_found_among_the_mounts() {
        let mounts = "proc /proc proc rw 0 0\n\
                      cgroup /sys/fs/cgroup/pids cgroup rw,pids 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";

        let found = parse_hierarchies(mounts);

        assert_eq!(found, [Path::new("/sys/fs/cgroup/pids"), Path::new("/sys/fs/cgroup/unified")]);
    }

    #[test]
    fn a_tree_lists_parents_before_children() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("a/b")).unwrap();

        let found = tree(root.path());

        assert_eq!(found, [root.path().to_path_buf(), root.path().join("a"), root.path().join("a/b")]);
    }
}
