//! Strimzi's CRDs, generated as Strimzi's own build does it: its release files are not in any package registry, its
//! types and its generator are. The operators are not to be had that way; tests play their part.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::java::Java;
use crate::process::run;
use crate::progress;
use crate::tools::{cached, which};

const POM: &str = include_str!("../strimzi/pom.xml");
/// Strimzi's jars are built for it.
const JAVA_VERSION: u32 = 21;
/// What the generator is to write for; Strimzi's own build says the same.
const KUBERNETES: &str = "1.30+";

/// The kinds: file in the cache, class in Strimzi's API.
const KINDS: [(&str, &str); 3] = [
    ("kafkas.yaml", "io.strimzi.api.kafka.model.kafka.Kafka"),
    ("kafkatopics.yaml", "io.strimzi.api.kafka.model.topic.KafkaTopic"),
    ("kafkausers.yaml", "io.strimzi.api.kafka.model.user.KafkaUser"),
];

/// The CustomResourceDefinitions of `Kafka`, `KafkaTopic` and `KafkaUser`, as YAML.
///
/// # Errors
/// When Maven or a Java 21 is missing, or the generator fails.
pub fn crds() -> Result<Vec<String>> {
    let folder = cached("strimzi-crds", &[POM.as_bytes(), KUBERNETES.as_bytes()], |folder| {
        progress::step("generating Strimzi's CRDs", || generate(folder))
    })?;
    let read = |(file, _): (&str, &str)| {
        fs::read_to_string(folder.join("crds").join(file)).with_context(|| format!("could not read {file}"))
    };
    KINDS.into_iter().map(read).collect()
}

fn generate(folder: &Path) -> Result<()> {
    let java = Java::find(JAVA_VERSION)?;
    let Some(maven) = which("mvn") else {
        bail!(
            "Strimzi's types are fetched with Maven, which is not installed; Debian: apt-get install maven"
        );
    };
    let (pom, libs, crds) = (folder.join("pom.xml"), folder.join("libs"), folder.join("crds"));
    fs::write(&pom, POM)?;
    let mut fetch = Command::new(maven);
    fetch.args(["-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime", "-f"]).arg(&pom);
    fetch.arg(format!("-DoutputDirectory={}", libs.display()));
    run("fetch Strimzi's types from Maven Central", fetch)?;
    fs::create_dir(&crds)?;
    let mut generator = Command::new(&java.program);
    generator.arg("-cp").arg(libs.join("*")).arg("io.strimzi.crdgenerator.CrdGenerator");
    generator.args(["--yaml", "--target-kube", KUBERNETES]);
    generator.args(KINDS.map(|(file, class)| format!("{class}={}", crds.join(file).display())));
    run("generate Strimzi's CRDs", generator)?;
    Ok(fs::remove_dir_all(libs)?)
}
