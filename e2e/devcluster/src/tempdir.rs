//! Temporary folders that are removed even when their owner is killed.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, Result};

/// Waits for the end of its input, which comes when the owner ends, and removes the folder. Children of a killed
/// owner may still be ending and writing: hence the repetition, 10 s at most.
const JANITOR: &str = r#"cat >/dev/null; i=0
while [ -e "$1" ] && [ $i -lt 100 ]; do rm -rf -- "$1" 2>/dev/null || sleep 0.1; i=$((i+1)); done"#;

/// A folder that goes away with its owner: when dropped, when the process exits, when it is killed.
#[derive(Debug)]
pub struct TempDir {
    path: PathBuf,
    janitor: Child,
    // Held only to be closed; the janitor is at work when it is.
    input: Option<ChildStdin>,
}

impl TempDir {
    /// Creates the folder. Other users may pass through it (PostgreSQL runs as one) but not list it.
    ///
    /// # Errors
    /// When the folder cannot be created or its janitor not be started.
    pub fn new() -> Result<Self> {
        let path = tempfile::Builder::new().prefix("devcluster-").tempdir()?.keep();
        fs::set_permissions(&path, Permissions::from_mode(0o711))?;
        let mut command = Command::new("sh");
        command.args(["-c", JANITOR, "sh"]).arg(&path).current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // Out of the terminal's group: Ctrl-C must not reach the one who cleans up after Ctrl-C.
        command.process_group(0);
        let mut janitor = command.spawn().context("could not start the janitor of a temporary folder")?;
        let input = janitor.stdin.take();
        Ok(Self { path, janitor, input })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        self.input.take();
        // A failed wait leaves a zombie until this process ends, no folder.
        self.janitor.wait().ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_folder_is_gone_with_all_that_is_in_it() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().to_owned();
        fs::write(path.join("file"), "x").unwrap();

        drop(dir);

        assert!(!path.exists());
    }
}
