use serde_json::json;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// Object `name` of owner `shop`.
fn object(name: &str, uid: &str, version: u64) -> DynamicObject {
    serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {
            "name": name, "namespace": "shop", "uid": uid, "resourceVersion": version.to_string(),
            "labels": {OWNER_LABEL: "shop"},
        },
    }))
    .unwrap()
}

/// Names and versions of what belongs to owner `shop`.
fn known(cache: &Cache, now: Instant) -> Option<Vec<String>> {
    let told = |json: &Json| {
        let object: DynamicObject = serde_json::from_slice(json).unwrap();
        format!("{} {}", object.name_any(), version(&object))
    };
    Some(cache.of("shop", "shop", now)?.iter().map(told).collect())
}

fn names(expected: &[&str]) -> Option<Vec<String>> {
    Some(expected.iter().map(|&name| name.to_owned()).collect())
}

#[test]
fn the_newest_version_wins_whoever_tells_of_it_and_in_which_order() {
    for by in [By::Watch, By::Answer] {
        let (mut cache, now) = (Cache::default(), Instant::now());

        // By number: as text, 9 is more than 10.
        assert!(cache.put(&object("a", "u", 9), By::Watch, now).is_some_and(|news| news.before.is_none()));
        assert!(cache.put(&object("a", "u", 10), by, now).is_some_and(|news| news.before.is_some()));
        assert!(cache.put(&object("a", "u", 9), by, now).is_none());
        assert!(cache.put(&object("a", "u", 10), by, now).is_none());

        assert_eq!(known(&cache, now), names(&["a 10"]));
    }
}

#[test]
fn a_write_is_read_back_before_the_watch_shows_it_and_is_no_news_when_it_does() {
    let (mut cache, now) = (Cache::default(), Instant::now());

    cache.put(&object("a", "u", 5), By::Answer, now);

    assert_eq!(known(&cache, now), names(&["a 5"]));
    assert_eq!(cache.put(&object("a", "u", 5), By::Watch, now), None);
}

#[test]
fn only_an_owners_own_objects_are_told() {
    let (mut cache, now) = (Cache::default(), Instant::now());
    let (mut stranger, mut elsewhere) = (object("b", "v", 2), object("c", "w", 3));
    stranger.labels_mut().insert(OWNER_LABEL.to_owned(), "another".to_owned());
    elsewhere.metadata.namespace = Some("shop-2".to_owned());
    for object in [&object("a", "u", 1), &stranger, &elsewhere] {
        cache.put(object, By::Watch, now);
    }

    assert_eq!(known(&cache, now), names(&["a 1"]));
}

#[test]
fn what_was_deleted_is_not_brought_back_by_what_comes_late() {
    let (mut cache, now) = (Cache::default(), Instant::now());
    let first = object("a", "u", 5);
    cache.put(&first, By::Watch, now);

    cache.deleted(&first, now);
    // An event about a change from before the deletion, of which we know no version.
    assert_eq!(cache.put(&object("a", "u", 6), By::Watch, now), None);
    assert_eq!(known(&cache, now), names(&[]));
    assert!(cache.gone(&object("a", "u", 7), now).is_none(), "no news");
    assert_eq!(cache.put(&object("a", "u", 6), By::Answer, now), None);
    assert_eq!(known(&cache, now), names(&[]));

    cache.put(&object("a", "v", 8), By::Answer, now);
    assert!(cache.gone(&object("a", "u", 7), now).is_none(), "it is the one before that is gone");
    assert_eq!(known(&cache, now), names(&["a 8"]));
}

#[test]
fn a_successor_of_the_same_name_is_another_object() {
    let (mut cache, now) = (Cache::default(), Instant::now());
    let first = object("a", "u", 5);
    cache.put(&first, By::Watch, now);
    cache.put(&object("a", "v", 8), By::Watch, now);

    cache.deleted(&first, now);

    assert_eq!(known(&cache, now), names(&["a 8"]));
}

#[test]
fn an_object_that_gets_its_label_back_is_there_again() {
    let (mut cache, now) = (Cache::default(), Instant::now());
    cache.put(&object("a", "u", 5), By::Watch, now);

    // To a watch of labelled objects one that lost its label is gone.
    assert!(cache.gone(&object("a", "u", 6), now).is_some());
    cache.put(&object("a", "u", 7), By::Answer, now);

    assert_eq!(known(&cache, now), names(&["a 7"]));
    // The same, the watch being late.
    cache.put(&object("a", "u", 9), By::Answer, now);
    assert!(cache.gone(&object("a", "u", 8), now).is_none());
    assert!(cache.put(&object("a", "u", 9), By::Watch, now).is_none());
    assert_eq!(known(&cache, now), names(&["a 9"]));
}

#[test]
fn a_list_removes_what_it_does_not_have_unless_we_wrote_it_meanwhile() {
    let (mut cache, start) = (Cache::default(), Instant::now());
    for (name, version) in [("kept", 1), ("lost", 2)] {
        cache.put(&object(name, name, version), By::Watch, start);
    }
    cache.put(&object("written before", "x", 3), By::Answer, start);

    cache.begin_list(start + SECOND);
    cache.put(&object("written meanwhile", "y", 9), By::Answer, start + 2 * SECOND);
    let deleted = object("deleted meanwhile", "z", 4);
    cache.put(&deleted, By::Watch, start);
    cache.deleted(&deleted, start + 2 * SECOND);
    for object in [&object("kept", "kept", 1), &deleted, &object("new", "n", 5)] {
        cache.put_listed(object, start + 3 * SECOND);
    }
    let gone = cache.end_list(start + 3 * SECOND);

    assert_eq!(gone.len(), 2);
    assert_eq!(known(&cache, start + 3 * SECOND), names(&["kept 1", "new 5", "written meanwhile 9"]));
}

#[test]
fn a_watch_that_does_not_show_our_writes_is_not_relied_on_until_there_was_a_list() {
    let (mut cache, start) = (Cache::default(), Instant::now());
    let (later, owner) = (start + UNSEEN_LIMIT + SECOND, "shop");
    let answered_gone = object("b", "v", 2);
    cache.put(&answered_gone, By::Watch, start);

    cache.put(&object("a", "u", 5), By::Answer, start);
    cache.deleted(&answered_gone, start);
    assert_eq!(known(&cache, start), names(&["a 5"]));
    assert_eq!(known(&cache, later), None);
    // Somebody has removed the one, and the other was not deleted.
    cache.listed("shop", owner, std::slice::from_ref(&answered_gone), (later, later));

    assert_eq!(known(&cache, later), names(&["b 2"]));
}

#[test]
fn tombstones_go_when_nothing_late_can_come() {
    let (mut cache, start) = (Cache::default(), Instant::now());
    cache.put(&object("a", "u", 5), By::Watch, start);
    cache.gone(&object("a", "u", 6), start);

    cache.gone(&object("b", "v", 7), start + TOMBSTONE_TTL);

    assert_eq!(cache.slots.keys().map(|(_, name)| name.as_str()).collect::<Vec<_>>(), ["b"]);
}
