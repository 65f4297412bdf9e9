//! `docs/reference/kafkatopic.md` names what the code can say.

use std::path::Path;

use kube::CustomResourceExt;
use operator::crd::KafkaTopic;

fn reference() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/kafkatopic.md");
    std::fs::read_to_string(file).unwrap()
}

/// The table of reasons in the controller's own documentation, and its list of events.
fn named_in_the_code() -> Vec<String> {
    let code = include_str!("../../src/controller/topic/mod.rs");
    let lines = code.lines().filter(|line| {
        line.starts_with("//! | `") || line.starts_with("//! Events") || line.starts_with("//! `Config")
    });
    // Between backquotes, and written as reasons are.
    let reason = |word: &&str| {
        word.len() > 5 && word.chars().all(char::is_alphanumeric) && word.starts_with(char::is_uppercase)
    };
    lines.flat_map(|line| line.split('`').skip(1).step_by(2)).filter(reason).map(str::to_owned).collect()
}

#[test]
fn every_reason_and_event_is_documented() {
    let (reference, named) = (reference(), named_in_the_code());

    assert!(named.len() > 30, "{named:?}");
    for reason in named {
        assert!(
            reference.contains(&format!("`{reason}`")),
            "{reason} is missing in docs/reference/kafkatopic.md"
        );
    }
}

#[test]
fn every_field_is_documented() {
    let (reference, crd) = (reference(), KafkaTopic::crd());
    let schema = serde_json::to_value(&crd.spec.versions[0].schema).unwrap();

    for part in ["spec", "status"] {
        let fields = schema.pointer(&format!("/openAPIV3Schema/properties/{part}/properties")).unwrap();
        for field in fields.as_object().unwrap().keys() {
            let documented =
                reference.contains(&format!("`{field}`")) || reference.contains(&format!("`{field}."));
            assert!(documented, "{part}.{field} is missing in docs/reference/kafkatopic.md");
        }
    }
}
