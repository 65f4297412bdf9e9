//! Writes every CustomResourceDefinition to a directory and the pages that explain them to another, one file each:
//! `crdgen crds docs/reference`.

use std::path::Path;

use anyhow::Context as _;

fn main() -> anyhow::Result<()> {
    let mut directories = std::env::args().skip(1);
    let mut directory = || directories.next().context("usage: crdgen DEFINITIONS PAGES");
    write(&directory()?, operator::crd::files()?)?;
    write(&directory()?, operator::crd::reference::pages()?)
}

fn write(directory: &str, files: Vec<(String, String)>) -> anyhow::Result<()> {
    for (file, text) in files {
        let path = Path::new(directory).join(file);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
