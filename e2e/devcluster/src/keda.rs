//! KEDA's CRDs, generated as KEDA's own build does it: from the types in its Go module, by the generator that it
//! requires, so that they are those of its release to the byte. KEDA itself does not run; tests play its part.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::run;
use crate::progress;
use crate::tools::{cached, which};

/// The module that requires KEDA, at the release that its definitions are of, and the generator.
const MODULE: [(&str, &str); 3] = [
    ("types.go", include_str!("../keda/types.go")),
    ("go.mod", include_str!("../keda/go.mod")),
    ("go.sum", include_str!("../keda/go.sum")),
];
/// The options of KEDA's own `make manifests`.
const OPTIONS: &str = "crd:crdVersions=v1,generateEmbeddedObjectMeta=true";
const TYPES: &str = "github.com/kedacore/keda/v2/apis/keda/v1alpha1";
/// Of what the types make, the files that are kept.
const KINDS: [&str; 2] = ["keda.sh_scaledobjects.yaml", "keda.sh_triggerauthentications.yaml"];

/// The CustomResourceDefinitions of `ScaledObject` and `TriggerAuthentication`, as YAML.
///
/// # Errors
/// When Go is missing, or the generator fails.
pub fn crds() -> Result<Vec<String>> {
    let mut inputs = vec![OPTIONS.as_bytes(), TYPES.as_bytes()];
    inputs.extend(MODULE.iter().map(|(_, text)| text.as_bytes()));
    let folder = cached("keda-crds", &inputs, |folder| {
        progress::step("generating KEDA's CRDs from its Go module", || generate(folder))
    })?;
    let read = |file| fs::read_to_string(folder.join(file)).with_context(|| format!("could not read {file}"));
    KINDS.into_iter().map(read).collect()
}

fn generate(folder: &Path) -> Result<()> {
    let Some(go) = which("go") else {
        bail!("KEDA's CRDs are generated with Go: install it from https://go.dev/dl and put it into PATH");
    };
    let work = tempfile::tempdir_in(folder)?;
    for (name, text) in MODULE {
        fs::write(work.path().join(name), text)?;
    }
    let mut generator = Command::new(go);
    generator.args(["tool", "controller-gen", OPTIONS, &format!("paths={TYPES}"), "output:crd:dir=crds"]);
    generator.current_dir(work.path());
    run("generate KEDA's CRDs", generator)?;
    for file in KINDS {
        fs::rename(work.path().join("crds").join(file), folder.join(file))
            .with_context(|| format!("KEDA's types did not make {file}"))?;
    }
    Ok(work.close()?)
}
