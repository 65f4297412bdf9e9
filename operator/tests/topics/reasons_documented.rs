//! `docs/reference` names what the code can say.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn file(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn topics_page() -> String {
    file("../docs/reference/kafkatopic.md")
}

/// The table of reasons in the controller's own documentation, and its list of events.
fn told_by_the_controller_of_topics() -> BTreeSet<String> {
    let code = include_str!("../../src/controller/topic/mod.rs");
    let lines = code.lines().filter(|line| {
        line.starts_with("//! | `") || line.starts_with("//! Events") || line.starts_with("//! `Config")
    });
    lines.flat_map(|line| line.split('`').skip(1).step_by(2)).filter(is_reason).map(str::to_owned).collect()
}

/// Written as reasons are.
fn is_reason(word: &&str) -> bool {
    let shaped = word.starts_with(char::is_uppercase) && word.contains(char::is_lowercase);
    word.len() > 5 && shaped && word.chars().all(char::is_alphanumeric)
}

/// Every Rust file below.
fn sources(path: PathBuf) -> Vec<PathBuf> {
    if !path.is_dir() {
        return vec![path];
    }
    let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| !path.ends_with("tests") && !path.ends_with("tests.rs")).flat_map(sources).collect()
}

/// What the code below these paths has in quotes and looks like a reason.
fn quoted_in(paths: &[&str]) -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/controller");
    let mut quoted = BTreeSet::new();
    for source in paths.iter().flat_map(|path| sources(folder.join(path))) {
        let text = std::fs::read_to_string(source).unwrap();
        let code = text.split("mod tests {").next().unwrap().lines();
        let code = code.filter(|line| !line.trim_start().starts_with("//"));
        let words = code.flat_map(|line| line.split('"').skip(1).step_by(2));
        quoted.extend(words.filter(is_reason).map(str::to_owned));
    }
    quoted
}

/// What errors and connections of both kinds are told by.
const SHARED: [&str; 3] = ["error.rs", "connection.rs", "endpoint.rs"];

fn assert_documented(page: &str, mut reasons: BTreeSet<String>, not_told: &[&str]) {
    for word in not_told {
        assert!(reasons.remove(*word), "{word} is not in the code any more");
    }
    let missing: Vec<&String> =
        reasons.iter().filter(|reason| !page.contains(&format!("`{reason}`"))).collect();
    assert!(reasons.len() > 30 && missing.is_empty(), "not documented: {missing:?}");
}

#[test]
fn every_reason_and_event_of_topics_is_documented() {
    let mut reasons = quoted_in(&[["topic"].as_slice(), &SHARED].concat());
    reasons.extend(told_by_the_controller_of_topics());

    // Of the end of an object, what is done, and what only pipelines meet.
    let not_told = ["Deleted", "Delete", "Recreate", "ObjectNotOurs", "RefusedByKubernetes"];
    assert_documented(&topics_page(), reasons, &not_told);
}

#[test]
fn every_reason_and_event_of_pipelines_is_documented() {
    let reasons = quoted_in(&[["pipeline"].as_slice(), &SHARED].concat());

    let not_told = [
        // What only topics meet.
        ["TopicNotFound", "TopicAppeared", "InvalidConfig", "InvalidPartitions", "InvalidReplicas"]
            .as_slice(),
        // Conditions of Kubernetes' and Strimzi's own.
        &["Complete", "Failed", "NotReady", "Progressing", "ReplicaFailure"],
        // Of the end of an object, and what is done.
        &["Deleted", "Delete", "Suspend"],
    ];
    assert_documented(&file("../docs/reference/orderpipeline.md"), reasons, &not_told.concat());
}
