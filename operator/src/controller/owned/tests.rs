use futures::FutureExt;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;

use super::*;
use crate::crd::fixtures::order_pipeline;

fn owner() -> Owner {
    Owner::of(&order_pipeline(json!({"metadata": {"uid": "shop"}}))).unwrap()
}

/// As a list has it: without its kind, and with who manages it.
fn object(name: &str, version: &str) -> DynamicObject {
    serde_json::from_value(json!({
        "metadata": {
            "name": name, "namespace": "shop", "uid": name, "resourceVersion": version,
            "labels": {super::super::apply::OWNER_LABEL: "shop"}, "managedFields": [{"manager": "orderpipeline"}],
        },
    }))
    .unwrap()
}

fn names(owned: &Owned, kind: &ApiResource) -> Option<Vec<String>> {
    let found = owned.of(kind, &owner())?;
    Some(found.into_iter().map(|object| object.metadata.name.unwrap()).collect())
}

#[test]
fn nothing_is_told_before_the_first_list_and_nothing_in_it_is_news() {
    let (owned, kind) = (Owned::default(), ApiResource::erase::<ConfigMap>(&()));
    owned.expect(&kind);

    assert!(owned.observe(&kind, watcher::Event::Init).is_empty());
    assert!(owned.observe(&kind, watcher::Event::InitApply(object("a", "1"))).is_empty());
    assert_eq!(names(&owned, &kind), None);
    let waiting = has_to_wait(&owned);
    assert!(owned.observe(&kind, watcher::Event::InitDone).is_empty());

    assert!(waiting && !has_to_wait(&owned));
    let found = owned.of(&kind, &owner()).unwrap();
    assert_eq!(found[0].types.as_ref().unwrap().kind, "ConfigMap");
    assert_eq!(found[0].metadata.managed_fields, None);
}

/// Whether passes have to wait.
fn has_to_wait(owned: &Owned) -> bool {
    owned.until_listed().now_or_never().is_none()
}

#[test]
fn only_what_others_changed_is_news() {
    let (owned, kind) = (Owned::default(), ApiResource::erase::<ConfigMap>(&()));
    owned.expect(&kind);
    owned.observe(&kind, watcher::Event::Init);
    owned.observe(&kind, watcher::Event::InitDone);

    owned.wrote(&kind, &object("a", "5"));
    assert_eq!(names(&owned, &kind), Some(vec!["a".to_owned()]));
    assert!(owned.observe(&kind, watcher::Event::Apply(object("a", "5"))).is_empty());
    let changed = owned.observe(&kind, watcher::Event::Apply(object("a", "6")));
    owned.deleted(&kind, &object("a", "6"));
    let gone = owned.observe(&kind, watcher::Event::Delete(object("a", "7")));

    assert_eq!(changed[0].before.as_ref().unwrap().metadata.resource_version.as_deref(), Some("5"));
    assert!(gone.is_empty());
    assert_eq!(names(&owned, &kind), Some(Vec::new()));
}

#[test]
fn a_kind_that_cannot_be_watched_is_waited_for_by_nobody_and_asked_for() {
    let (owned, kind) = (Owned::default(), ApiResource::erase::<ConfigMap>(&()));
    owned.expect(&kind);

    owned.set_trust(&kind, Trust::Lost);
    assert!(!has_to_wait(&owned));
    assert_eq!(names(&owned, &kind), None);
    owned.wrote(&kind, &object("a", "5"));
    assert_eq!(names(&owned, &kind), None);

    owned.observe(&kind, watcher::Event::Init);
    owned.observe(&kind, watcher::Event::InitApply(object("a", "5")));
    owned.observe(&kind, watcher::Event::InitDone);
    assert_eq!(names(&owned, &kind), Some(vec!["a".to_owned()]));
}
