//! The folder with everything of one cluster, by default `.devcluster` at the root of the checkout.

use std::env;
use std::fs::{self, DirBuilder, File};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

/// Environment variable that every process of a cluster carries: the path of its home.
pub const MARKER: &str = "DEVCLUSTER_HOME";

const LOCK: &str = "lock";
const REMOVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Where one cluster keeps its state, configuration, data and logs.
#[derive(Clone, Debug)]
pub struct Home {
    path: PathBuf,
}

impl Home {
    /// The home in `dir`, or the one of the checkout around the current folder.
    ///
    /// # Errors
    /// When no `dir` is given and the current folder lies in no checkout.
    pub fn new(dir: Option<&Path>) -> Result<Self> {
        let path = match dir {
            Some(dir) => std::path::absolute(dir)?,
            None => checkout()?.join(".devcluster"),
        };
        Ok(Self { path })
    }

    /// The folder itself; absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file or folder in it.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// The log of the component `name`.
    pub fn log(&self, name: &str) -> PathBuf {
        self.path.join("log").join(format!("{name}.log"))
    }

    /// Whether a cluster was started here and not taken down.
    pub fn exists(&self) -> bool {
        self.path.is_dir()
    }

    /// Creates the folder; other users may pass through it (PostgreSQL runs as one) but not list it.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn create(&self) -> Result<()> {
        let created = DirBuilder::new().recursive(true).mode(0o711).create(&self.path);
        created.with_context(|| format!("cannot create {}", self.path.display()))
    }

    /// A short name for what the kernel or Docker knows by name; differs between checkouts.
    pub fn cluster_name(&self) -> String {
        let hash = Sha256::digest(self.path.as_os_str().as_encoded_bytes());
        let short: String = hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        format!("devcluster-{short}")
    }

    /// Waits until no other `up`, `load` or `down` works on this cluster, and keeps them out until dropped.
    ///
    /// # Errors
    /// When the lock file cannot be created.
    pub fn lock(&self) -> Result<File> {
        let path = self.join(LOCK);
        loop {
            self.create()?;
            let lock = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
            if lock.try_lock().is_err() {
                eprintln!("… waiting for another devcluster at work here");
                lock.lock().context("cannot wait for the lock")?;
            }
            // A `down` may have removed the file meanwhile: a lock counts only on the file that others find.
            if fs::metadata(&path).is_ok_and(|now| lock.metadata().is_ok_and(|mine| mine.ino() == now.ino()))
            {
                return Ok(lock);
            }
        }
    }

    /// Removes everything but the lock.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn clear(&self) -> Result<()> {
        let entries =
            fs::read_dir(&self.path).with_context(|| format!("cannot list {}", self.path.display()))?;
        entries
            .flatten()
            .filter(|entry| entry.file_name() != LOCK)
            .try_for_each(|entry| remove(&entry.path()))
    }

    /// Removes the folder, of which only the lock is left, and unlocks it.
    ///
    /// # Errors
    /// When something is left in the folder.
    pub fn remove(&self, lock: File) -> Result<()> {
        let removed = fs::remove_file(self.join(LOCK)).and_then(|()| fs::remove_dir(&self.path));
        removed.with_context(|| format!("cannot remove {}", self.path.display()))?;
        drop(lock);
        Ok(())
    }

    /// Writes a file into the home, whole or not at all; readable by this user only.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn write(&self, name: &str, content: &[u8]) -> Result<PathBuf> {
        let path = self.join(name);
        let folder = path.parent().unwrap_or(&self.path);
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        std::io::Write::write_all(&mut file, content)?;
        file.persist(&path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

/// Removes a file, or a folder with all that is in it; it may be gone already.
///
/// # Errors
/// When the file system refuses.
pub fn remove(path: &Path) -> Result<()> {
    let deadline = Instant::now() + REMOVE_TIMEOUT;
    loop {
        let is_folder = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
        let removed = if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        match removed.map_err(|error| (error.kind(), error)) {
            Ok(()) | Err((ErrorKind::NotFound, _)) => return Ok(()),
            // Somebody who was ended a moment ago has still written to it.
            Err((ErrorKind::DirectoryNotEmpty, _)) if Instant::now() < deadline => {}
            Err((_, error)) => {
                return Err(error).with_context(|| format!("cannot remove {}", path.display()));
            }
        }
    }
}

/// The root of the checkout around the current folder.
///
/// # Errors
/// When there is none.
pub fn checkout() -> Result<PathBuf> {
    let here = env::current_dir().context("cannot find the current folder")?;
    let found = here.ancestors().find(|folder| folder.join("e2e/devcluster/Cargo.toml").is_file());
    match found {
        Some(root) => Ok(root.to_owned()),
        None => bail!("{} lies in no checkout of this project; use --dir", here.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_homes_have_two_names() {
        let one = Home::new(Some(Path::new("/a/.devcluster"))).unwrap();
        let other = Home::new(Some(Path::new("/b/.devcluster"))).unwrap();

        assert_ne!(one.cluster_name(), other.cluster_name());
        assert_eq!(one.cluster_name().len(), "devcluster-".len() + 8);
    }

    #[test]
    fn what_is_written_is_for_this_user_only() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(Some(dir.path())).unwrap();

        let path = home.write("deep/secret", b"x").unwrap();

        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
