//! Finding a Java, and the options that make a broker start fast.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::tools::which;

/// From here on a JVM can keep loaded and linked classes in an AOT cache (JEP 514); before, a CDS archive.
const AOT_CACHE_VERSION: u32 = 25;
const HOMES: &str = "/usr/lib/jvm";

/// A Java runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Java {
    /// The `java` program.
    pub program: PathBuf,
    /// Its feature release, such as 25.
    pub version: u32,
    /// Its full version, such as `25.0.1`: an archive is only good for the very JVM that wrote it.
    pub full_version: String,
}

impl Java {
    /// The Java in JAVA_HOME, else the newest in PATH and /usr/lib/jvm, of feature release `oldest` or later.
    ///
    /// # Errors
    /// When there is none.
    pub fn find(oldest: u32) -> Result<Self> {
        let suitable = |home: PathBuf| Self::in_home(&home).filter(|java| java.version >= oldest);
        if let Some(java) = env::var_os("JAVA_HOME").map(PathBuf::from).and_then(suitable) {
            return Ok(java);
        }
        let installed = fs::read_dir(HOMES).into_iter().flatten().flatten().map(|entry| entry.path());
        let from_path =
            which("java").and_then(|java| Some(java.canonicalize().ok()?.parent()?.parent()?.into()));
        let found = installed.chain(from_path).filter_map(suitable).max_by_key(|java| java.version);
        found.with_context(|| {
            format!(
                "found no Java {oldest} or later; Debian: apt-get install openjdk-{oldest}-jre-headless, where \
                 there is none: https://adoptium.net, unpacked below {HOMES} or named by JAVA_HOME"
            )
        })
    }

    fn in_home(home: &Path) -> Option<Self> {
        let program = home.join("bin/java");
        let full_version = parse_release(&fs::read_to_string(home.join("release")).ok()?)?;
        let version = full_version.split(['.', '-', '+']).next()?.parse().ok()?;
        program.is_file().then_some(Self { program, version, full_version })
    }

    /// Options for a run whose loaded classes are to be written to `archive` when it ends.
    pub fn record_archive(&self, archive: &Path) -> String {
        let option =
            if self.version >= AOT_CACHE_VERSION { "AOTCacheOutput" } else { "ArchiveClassesAtExit" };
        format!("-XX:{option}={}", archive.display())
    }

    /// The option for a run that starts from `archive`.
    pub fn use_archive(&self, archive: &Path) -> String {
        let option = if self.version >= AOT_CACHE_VERSION { "AOTCache" } else { "SharedArchiveFile" };
        format!("-XX:{option}={}", archive.display())
    }
}

/// The value of JAVA_VERSION in the `release` file of a Java home.
fn parse_release(text: &str) -> Option<String> {
    let line = text.lines().find_map(|line| line.strip_prefix("JAVA_VERSION="))?;
    Some(line.trim().trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_the_release_file() {
        let text = "IMPLEMENTOR=\"Somebody\"\nJAVA_VERSION=\"25.0.1\"\nJAVA_VERSION_DATE=\"2025-10-21\"\n";

        assert_eq!(parse_release(text).as_deref(), Some("25.0.1"));
    }

    #[test]
    fn each_java_gets_the_option_it_knows() {
        let java = |version| Java { program: "java".into(), version, full_version: String::new() };

        assert_eq!(java(17).use_archive(Path::new("/a")), "-XX:SharedArchiveFile=/a");
        assert_eq!(java(25).use_archive(Path::new("/a")), "-XX:AOTCache=/a");
    }
}
