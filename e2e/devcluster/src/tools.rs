//! What has to be built or fetched before anything can start: kept in the user's cache, shared by all checkouts.
//!
//! An entry's name ends with the hash of everything it was made from, so that a changed input makes another entry
//! and an old checkout keeps its own. Entries appear whole or not at all.

use std::env;
use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::process::run;
use crate::progress;

/// Characters of the hash in an entry's name.
const HASH_LENGTH: usize = 16;
/// The release that `kubernetes/go.mod` requires; the servers report it as theirs.
const KUBERNETES_VERSION: &str = "v1.34.4";

/// The folder of the cache, readable by this user only: it holds passwords of the components.
///
/// # Errors
/// When there is no home folder, or the folder cannot be created.
pub fn cache_dir() -> Result<PathBuf> {
    let base = match env::var_os("XDG_CACHE_HOME").filter(|value| !value.is_empty()) {
        Some(cache) => PathBuf::from(cache),
        None => PathBuf::from(env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?)
            .join(".cache"),
    };
    let dir = base.join("orderpipeline-devcluster");
    let created = fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir);
    created.with_context(|| format!("could not create the cache {}", dir.display()))?;
    Ok(dir)
}

/// The folder `NAME-HASH` of the cache, where HASH stands for `inputs`; filled by `build` when it is not there.
///
/// Safe when several processes ask at once: one builds, the others wait for it.
///
/// # Errors
/// Those of `build`, of which nothing remains then, and of the file system.
pub fn cached(name: &str, inputs: &[&[u8]], build: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    cached_in(&cache_dir()?, name, inputs, build)
}

fn cached_in(
    cache: &Path,
    name: &str,
    inputs: &[&[u8]],
    build: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let entry = cache.join(format!("{name}-{}", hash(inputs)));
    if entry.exists() {
        return Ok(entry);
    }
    let lock = File::create(entry.with_extension("lock")).context("could not create a lock in the cache")?;
    lock.lock().context("could not wait for a lock in the cache")?;
    if !entry.exists() {
        let unfinished = tempfile::Builder::new().prefix(&format!("{name}-unfinished-")).tempdir_in(cache)?;
        build(unfinished.path())?;
        fs::rename(unfinished.keep(), &entry).context("could not put an entry into the cache")?;
    }
    Ok(entry)
}

/// Hexadecimal, stable across versions of this program. Inputs are told apart: ["ab"] is not ["a", "b"].
fn hash(inputs: &[&[u8]]) -> String {
    let mut hasher = Sha256::new();
    for input in inputs {
        hasher.update(u64::try_from(input.len()).unwrap_or(u64::MAX).to_le_bytes());
        hasher.update(input);
    }
    let hex: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    hex.chars().take(HASH_LENGTH).collect()
}

/// Where `name` stands in PATH.
pub fn which(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(name)).find(|program| program.is_file())
}

/// A program made from one of the Go modules of this crate.
#[derive(Clone, Copy, Debug)]
pub struct GoProgram<'a> {
    /// The name of the program.
    pub name: &'a str,
    /// The files of the module: name and text.
    pub files: &'a [(&'a str, &'a str)],
    /// For `go build -ldflags`.
    pub ldflags: &'a str,
    /// Said to whoever waits for it; a first build takes minutes.
    pub description: &'a str,
}

impl GoProgram<'_> {
    /// The program, built when the cache does not have it.
    ///
    /// # Errors
    /// When Go is not installed, or the build fails.
    pub fn build(&self) -> Result<PathBuf> {
        let mut inputs: Vec<&[u8]> = vec![self.ldflags.as_bytes()];
        inputs.extend(self.files.iter().flat_map(|(name, text)| [name.as_bytes(), text.as_bytes()]));
        let entry =
            cached(self.name, &inputs, |folder| progress::step(self.description, || self.build_in(folder)))?;
        Ok(entry.join(self.name))
    }

    fn build_in(&self, folder: &Path) -> Result<()> {
        let Some(go) = which("go") else {
            bail!("{} is built with Go: install it from https://go.dev/dl and put it into PATH", self.name);
        };
        let sources = folder.join("src");
        fs::create_dir(&sources)?;
        for (name, text) in self.files {
            fs::write(sources.join(name), text)?;
        }
        let mut command = Command::new(go);
        command
            .args(["build", "-trimpath", "-ldflags", self.ldflags, "-o"])
            .arg(folder.join(self.name))
            .arg(".");
        // Static: the program also runs in images that have no libc.
        command.current_dir(&sources).env("CGO_ENABLED", "0");
        run(&format!("build {}", self.name), command).map(drop)
    }
}

/// One program with etcd, the Kubernetes servers and kubectl; the first argument chooses.
///
/// # Errors
/// As [`GoProgram::build`].
pub fn kubernetes() -> Result<PathBuf> {
    let version = "k8s.io/component-base/version";
    GoProgram {
        name: "kubernetes",
        files: &[
            ("main.go", include_str!("../kubernetes/main.go")),
            ("go.mod", include_str!("../kubernetes/go.mod")),
            ("go.sum", include_str!("../kubernetes/go.sum")),
        ],
        // Without a version the servers call themselves v0.0.0 and clients refuse them.
        ldflags: &format!(
            "-s -w -X {version}.gitVersion={KUBERNETES_VERSION} -X {version}.gitMajor=1 -X {version}.gitMinor=34"
        ),
        description: "building Kubernetes from its Go modules (about 5 minutes, once)",
    }
    .build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    #[test]
    fn of_many_who_ask_at_once_one_builds() {
        let cache = tempfile::tempdir().unwrap();
        let builds = AtomicUsize::new(0);
        let get = || {
            cached_in(cache.path(), "thing", &[b"v1"], |folder| {
                builds.fetch_add(1, Ordering::Relaxed);
                Ok(fs::write(folder.join("file"), "whole")?)
            })
        };

        let entries: Vec<PathBuf> = thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(get)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap().unwrap()).collect()
        });

        assert_eq!(builds.into_inner(), 1);
        assert!(entries.iter().all(|entry| fs::read_to_string(entry.join("file")).unwrap() == "whole"));
    }

    #[test]
    fn of_a_failed_build_nothing_remains_and_the_next_one_may_succeed() {
        let cache = tempfile::tempdir().unwrap();
        let failed = cached_in(cache.path(), "thing", &[], |folder| {
            fs::write(folder.join("file"), "half")?;
            bail!("no space left")
        });
        assert!(failed.is_err());

        let entry = cached_in(cache.path(), "thing", &[], |_| Ok(())).unwrap();

        assert!(fs::read_dir(&entry).unwrap().next().is_none());
        // The entry and its lock.
        assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 2);
    }

    #[test]
    fn inputs_are_told_apart() {
        assert_eq!(hash(&[b"a", b"b"]), hash(&[b"a", b"b"]));
        assert_ne!(hash(&[b"ab"]), hash(&[b"a", b"b"]));
        assert_eq!(hash(&[]).len(), HASH_LENGTH);
    }

    #[test]
    fn the_version_told_to_the_servers_is_the_one_they_are_built_from() {
        let modules = include_str!("../kubernetes/go.mod");

        assert!(modules.contains(&format!("k8s.io/kubernetes {KUBERNETES_VERSION}")));
    }
}
