//! `crds/` is what the types say.

use std::path::Path;

#[test]
fn crds_are_what_crdgen_writes() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds");

    for (file, generated) in operator::crd::files().unwrap() {
        let committed = std::fs::read_to_string(directory.join(&file)).unwrap_or_default();
        assert!(committed == generated, "crds/{file} is out of date: run `make crds`");
    }
}

#[test]
fn reference_pages_are_what_crdgen_writes() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference");

    for (file, generated) in operator::crd::reference::pages().unwrap() {
        let committed = std::fs::read_to_string(directory.join(&file)).unwrap_or_default();
        assert!(committed == generated, "docs/reference/{file} is out of date: run `make crds`");
    }
}

#[test]
fn crds_fit_into_the_annotation_of_client_side_apply() {
    for (file, generated) in operator::crd::files().unwrap() {
        assert!(generated.len() < 262_144, "{file} has {} bytes", generated.len());
    }
}

#[test]
fn a_new_object_is_not_taken_for_reconciled() {
    for crd in operator::crd::all() {
        let schema = serde_json::to_value(&crd.spec.versions[0].schema).unwrap();
        let status = schema.pointer("/openAPIV3Schema/properties/status/default").unwrap();
        assert_eq!(*status, serde_json::json!({"observedGeneration": -1}));
    }
}
