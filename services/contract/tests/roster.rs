//! The roster: ports, and what is read and written, back and forth.

use std::collections::BTreeSet;

use contract::{Service, Topic};

#[test]
fn only_its_own_topics_are_read_back_and_every_changelog_is() {
    for service in Service::ALL {
        let spec = service.spec();
        assert!(spec.reads_back.iter().all(|topic| spec.produces.contains(topic)), "{service}");
        let mut changelogs = spec.produces.iter().filter(|topic| topic.is_changelog());
        assert!(changelogs.all(|topic| spec.reads_back.contains(topic)), "{service}");
    }
}

#[test]
fn a_changelog_follows_an_input_of_its_service_and_is_compacted() {
    for topic in Topic::ALL.iter().filter(|topic| topic.is_changelog()) {
        let input = topic.spec().copartitioned_with.expect("state belongs to a partition of an input");
        assert!(Service::producer_of(*topic).spec().consumes.contains(&input), "{topic}");
        assert_eq!(topic.spec().cleanup.as_str(), "compact", "{topic}: state must not go by its age");
    }
}

#[test]
fn instances_of_a_service_have_transactional_ids_of_their_own() {
    let id = |prefix, instance| Service::OrderAnalytics.transactional_id(prefix, instance);

    assert_eq!(id("dev-", "pod-1"), "dev-order-analytics-pod-1");
    assert_ne!(id("", "pod-1"), id("", "pod-2"));
}

#[test]
fn ports_are_unique() {
    let ports: BTreeSet<u16> = Service::ALL.iter().map(|service| service.spec().dev_port).collect();

    assert_eq!(ports.len(), Service::ALL.len());
}

#[test]
fn no_service_reads_what_it_writes() {
    for service in Service::ALL {
        let spec = service.spec();
        assert!(spec.consumes.iter().all(|topic| !spec.produces.contains(topic)), "{service}");
    }
}
