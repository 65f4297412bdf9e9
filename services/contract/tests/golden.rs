//! Fixes the bytes of every event. A difference here is a difference for every service, every stored record
//! and every consumer out there.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected should fail")]

#[path = "golden/samples.rs"]
mod samples;

use std::{env, fs, path::PathBuf};

use contract::{Envelope, Event, codec};

/// Where the bytes of an event's declared version are kept; old versions stay beside new ones.
fn golden_file(envelope: &Envelope) -> PathBuf {
    let name = format!("{}.v{}.json", envelope.event.topic(), envelope.event.version());
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

#[test]
fn every_event_is_written_as_its_golden_file_says() {
    for envelope in samples::all() {
        let path = golden_file(&envelope);
        let written = String::from_utf8(codec::encode_json(&envelope)).unwrap();
        if env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, &written).unwrap();
        }

        let golden = fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}; create it with UPDATE_GOLDEN=1", path.display()));

        assert!(
            written == golden,
            "the bytes of {event} changed.\n  golden file: {path}\n  golden: {golden}\n  now:    {written}\n\
             Records in Kafka and services of other versions speak the golden form. If only an optional field \
             was added, run the tests with UPDATE_GOLDEN=1; docs/events.md says what else may be done.",
            event = envelope.event.event_type(),
            path = path.display(),
        );
    }
}

#[test]
fn every_golden_file_is_read_as_the_event_it_was_made_from() {
    for envelope in samples::all() {
        let golden = fs::read(golden_file(&envelope)).unwrap();

        assert_eq!(codec::decode_json(&golden).unwrap(), envelope);
    }
}

#[test]
fn every_declared_event_has_a_sample() {
    let sampled: Vec<_> = samples::all().iter().map(|envelope| envelope.event.declared()).collect();

    assert_eq!(sampled, Event::TYPES);
}
