//! `contract` and `domain` stay pure: whatever they depend on, however indirectly, does no I/O.

use std::{collections::BTreeSet, process::Command};

/// Runtimes and clients: with one of them in the tree, rules could wait, write or ask the network.
const IMPURE: &[&str] = &["async-std", "axum", "hyper", "kube", "rdkafka", "reqwest", "sqlx", "tokio"];

fn dependencies_of(package: &str) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "-p", package, "-e", "normal", "--prefix", "none"])
        .args(["--format", "{p}"])
        .output()
        .expect("cargo runs these tests, so it can be run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8_lossy(&output.stdout);
    tree.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

#[test]
fn the_contract_and_the_rules_depend_on_nothing_that_does_io() {
    for package in ["contract", "domain"] {
        let dependencies = dependencies_of(package);

        assert!(dependencies.contains("serde"), "the tree of {package} was not read: {dependencies:?}");
        for name in dependencies {
            let impure = IMPURE.iter().any(|bad| name == *bad || name.starts_with(&format!("{bad}-")));
            assert!(!impure, "{package} depends on {name}; `cargo tree -p {package} -i {name}` tells why");
        }
    }
}
