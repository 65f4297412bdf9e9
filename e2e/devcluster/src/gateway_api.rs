//! The CRD of the Gateway API's HTTPRoute, out of its Go module. No Gateway runs; tests play its part.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::process::run;
use crate::progress;
use crate::tools::{cached, which};

/// The release that the definition is of.
const MODULE: &str = "sigs.k8s.io/gateway-api@v1.4.1";
/// Its checksum, as in a `go.sum`: nothing else is taken, whoever serves the module.
const SUM: &str = "h1:NPxFutNkKNa8UfLd2CMlEuhIPMQgDQ6DXNKG9sHbJU8=";
const FILE: &str = "gateway.networking.k8s.io_httproutes.yaml";

/// What `go mod download -json` tells.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Module {
    dir: std::path::PathBuf,
    sum: String,
}

/// The CustomResourceDefinition of `HTTPRoute`, standard channel, as YAML.
///
/// # Errors
/// When Go is missing, or the module cannot be fetched or is another one.
pub fn crd() -> Result<String> {
    let folder = cached("gateway-api-crd", &[MODULE.as_bytes(), SUM.as_bytes()], |folder| {
        progress::step("fetching the Gateway API's Go module", || fetch(folder))
    })?;
    fs::read_to_string(folder.join(FILE)).with_context(|| format!("could not read {FILE}"))
}

fn fetch(folder: &Path) -> Result<()> {
    let Some(go) = which("go") else {
        bail!(
            "the Gateway API's CRDs come with its Go module: install Go from https://go.dev/dl and put it into PATH"
        );
    };
    let mut download = Command::new(go);
    // Outside any module, whose own requirements would have a say.
    download.args(["mod", "download", "-json", MODULE]).current_dir(folder);
    let told = run("fetch the Gateway API's Go module", download)?;
    let module: Module = serde_json::from_str(&told).context("Go does not tell where the module is")?;
    if module.sum != SUM {
        bail!("{MODULE} has the checksum {}, and {SUM} is expected", module.sum);
    }
    let source = module.dir.join("config/crd/standard").join(FILE);
    fs::copy(&source, folder.join(FILE)).with_context(|| format!("{MODULE} has no {FILE}"))?;
    Ok(())
}
