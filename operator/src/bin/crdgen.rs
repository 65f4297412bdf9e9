//! Writes every CustomResourceDefinition to a directory, one file each: `crdgen crds`.

use std::path::Path;

use anyhow::Context as _;

fn main() -> anyhow::Result<()> {
    let directory = std::env::args().nth(1).context("usage: crdgen DIRECTORY")?;
    for (file, yaml) in operator::crd::files()? {
        let path = Path::new(&directory).join(file);
        std::fs::write(&path, yaml).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
