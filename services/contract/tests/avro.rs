//! The Avro form of every event: its schemas, all that were ever published, and its bytes.
//!
//! `schemas/<topic>/<number>.avsc` is a published schema, `<number>.hex` an event that was written by it. The
//! highest number is what this build writes. None is ever changed: records in Kafka and the registries know it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected should fail"
)]

#[path = "golden/samples.rs"]
mod samples;

use std::path::{Path, PathBuf};
use std::sync::Once;
use std::{env, fs};

use apache_avro::schema_compatibility::SchemaCompatibility;
use contract::avro::{self, Schema};
use contract::{DecodeError, Envelope, Event, EventType, OrderCompleted, codec};
use serde::Deserialize;
use serde_json::{Value, json};

/// A published schema, and the bytes of an event that was written by it.
struct Published {
    number: u32,
    text: String,
    bytes: Vec<u8>,
}

fn folder(event: EventType) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas").join(event.topic.name())
}

/// Every published schema of `event`, the oldest first.
fn published(event: EventType) -> Vec<Published> {
    static UPDATE: Once = Once::new();
    if env::var_os("UPDATE_GOLDEN").is_some() {
        UPDATE.call_once(update);
    }
    read(event)
}

fn read(event: EventType) -> Vec<Published> {
    let folder = folder(event);
    (1..)
        .map_while(|number| {
            let text = fs::read_to_string(folder.join(format!("{number}.avsc"))).ok()?;
            let hex = fs::read_to_string(folder.join(format!("{number}.hex"))).unwrap_or_default();
            Some(Published { number, text, bytes: bytes_of(&hex) })
        })
        .collect()
}

fn publish(event: EventType, number: u32) {
    let folder = folder(event);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(format!("{number}.avsc")), avro::schema_text_of(event)).unwrap();
    fs::write(folder.join(format!("{number}.hex")), hex_of(&avro::encode(&sample(event)).unwrap())).unwrap();
}

/// Publishes the schemas that changed, provided that they go with all before them, and accepts the bytes.
fn update() {
    for event in Event::TYPES {
        let (all, now) = (read(*event), avro::schema_text_of(*event));
        for earlier in &all {
            compatible(&earlier.text, &now).unwrap_or_else(|error| {
                panic!("{} no longer goes with its schema {}: {error}", event.name, earlier.number)
            });
        }
        let changed = all.last().is_none_or(|last| last.text != now);
        publish(*event, u32::try_from(all.len()).unwrap() + u32::from(changed));
    }
}

fn sample(event: EventType) -> Envelope {
    samples::all().into_iter().find(|sample| sample.event.declared() == event).unwrap()
}

/// 32 bytes to the line.
fn hex_of(bytes: &[u8]) -> String {
    let line = |line: &[u8]| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n";
    bytes.chunks(32).map(line).collect()
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let digits: Vec<char> = hex.chars().filter(char::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|two| u8::from_str_radix(&String::from_iter(two), 16).unwrap()).collect()
}

/// Whether readers of each schema can read what was written by the other.
fn compatible(one: &str, other: &str) -> Result<(), String> {
    let parse = |text: &str| apache_avro::Schema::parse_str(text).map_err(|error| error.to_string());
    SchemaCompatibility::mutual_read(&parse(one)?, &parse(other)?).map_err(|error| error.to_string())
}

#[test]
fn every_event_is_written_by_a_published_schema() {
    for event in Event::TYPES {
        let (all, now) = (published(*event), avro::schema_text_of(*event));

        let last =
            all.last().unwrap_or_else(|| panic!("{} has no schema; UPDATE_GOLDEN=1 makes it", event.name));
        assert!(
            last.text == now,
            "the schema of {} changed: UPDATE_GOLDEN=1 adds it to {}, provided that it goes with all before it",
            event.name,
            folder(*event).display(),
        );
    }
}

#[test]
fn every_event_is_written_as_its_golden_bytes_say() {
    for event in Event::TYPES {
        let written = avro::encode(&sample(*event)).unwrap();
        let golden = published(*event).pop().unwrap().bytes;

        assert!(
            written == golden,
            "the Avro bytes of {} changed; now:\n{}UPDATE_GOLDEN=1 accepts another sample, nothing else may \
             change them while the schema stays",
            event.name,
            hex_of(&written)
        );
        assert_eq!(avro::decode(&golden, avro::schema_of(*event)).unwrap(), sample(*event));
    }
}

#[test]
fn what_was_written_by_any_published_schema_is_still_read() {
    for event in Event::TYPES {
        for published in published(*event) {
            let schema = Schema::parse(&published.text).unwrap();

            let read = avro::decode(&published.bytes, &schema)
                .unwrap_or_else(|error| panic!("{} {}: {error:?}", event.name, published.number));

            assert_eq!(read.event.declared(), *event);
        }
    }
}

#[test]
fn all_published_schemas_of_an_event_go_together_both_ways() {
    for event in Event::TYPES {
        let all = published(*event);
        for (one, other) in all.iter().flat_map(|one| all.iter().map(move |other| (one, other))) {
            compatible(&one.text, &other.text).unwrap_or_else(|error| {
                panic!("{}: schemas {} and {}: {error}", event.name, one.number, other.number)
            });
        }
    }
}

#[test]
fn nothing_else_lies_among_the_schemas() {
    let schemas = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
    let mut found: Vec<String> = fs::read_dir(schemas)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    let mut expected: Vec<&str> = Event::TYPES.iter().map(|event| event.topic.name()).collect();
    expected.sort_unstable();

    assert_eq!(found, expected);
    for event in Event::TYPES {
        let files = fs::read_dir(folder(*event)).unwrap().count();
        assert_eq!(files, 2 * published(*event).len(), "{}: numbers have no gaps", event.name);
    }
}

/// A schema of [`OrderCompleted`] with one more field in its payload.
fn completed_with(field: Value) -> String {
    let completed = sample(declared("OrderCompleted")).event.declared();
    let mut schema: Value = serde_json::from_str(&avro::schema_text_of(completed)).unwrap();
    let fields = schema["fields"].as_array_mut().unwrap();
    let payload = fields.iter_mut().find(|field| field["name"] == "payload").unwrap();
    payload["type"]["fields"].as_array_mut().unwrap().push(field);
    schema.to_string()
}

fn declared(name: &str) -> EventType {
    *Event::TYPES.iter().find(|event| event.name == name).unwrap()
}

fn points() -> Value {
    json!({"name": "points", "type": ["null", "long"], "default": null})
}

#[test]
fn only_what_may_be_left_out_can_be_added() {
    let now = avro::schema_text_of(declared("OrderCompleted"));

    assert_eq!(compatible(&now, &completed_with(points())), Ok(()));
    assert!(compatible(&now, &completed_with(json!({"name": "points", "type": "long"}))).is_err());
    assert!(compatible(&now, &now.replace(r#""type": "long""#, r#""type": "string""#)).is_err());
}

/// [`OrderCompleted`] as a later build may have it.
#[derive(Debug, PartialEq, Deserialize)]
struct LaterCompleted {
    #[serde(flatten)]
    known: OrderCompleted,
    points: Option<i64>,
}

#[test]
fn a_later_event_is_read_by_this_build_and_an_event_of_this_build_by_a_later_one() {
    let now = sample(declared("OrderCompleted"));
    let Event::OrderCompleted(known) = now.event.clone() else { panic!("{now:?}") };
    let mut later: Value = serde_json::from_slice(&codec::encode_json(&now)).unwrap();
    later["payload"]["points"] = json!(7);
    let later_schema = Schema::parse(&completed_with(points())).unwrap();
    let read_later = |value: &Value| LaterCompleted::deserialize(&value["payload"]).unwrap();

    // The later event, here and there.
    let bytes = avro::write(&later, &later_schema).unwrap();
    assert_eq!(codec::decode_json(later.to_string().as_bytes()).unwrap(), now);
    assert_eq!(avro::decode(&bytes, &later_schema).unwrap(), now);
    let expected = LaterCompleted { known: known.clone(), points: Some(7) };
    assert_eq!(read_later(&later), expected);
    assert_eq!(read_later(&avro::read(&bytes, &later_schema).unwrap()), expected);

    // This build's event, there.
    let expected = LaterCompleted { known, points: None };
    assert_eq!(read_later(&serde_json::from_slice(&codec::encode_json(&now)).unwrap()), expected);
    let schema = avro::schema_of(now.event.declared());
    assert_eq!(read_later(&avro::read(&avro::encode(&now).unwrap(), schema).unwrap()), expected);
}

#[test]
fn the_library_reads_what_is_written_here_and_writes_what_is_read_here() {
    for event in samples::all() {
        let schema = apache_avro::Schema::parse_str(&avro::schema_text_of(event.event.declared())).unwrap();
        let ours = avro::encode(&event).unwrap();

        let value = apache_avro::from_avro_datum(&schema, &mut ours.as_slice(), None).unwrap();
        let theirs = apache_avro::to_avro_datum(&schema, value).unwrap();

        assert_eq!(theirs, ours, "{}", event.event.event_type());
    }
}

#[test]
fn a_value_that_is_cut_off_or_goes_on_is_refused() {
    for event in samples::all() {
        let (whole, schema) = (avro::encode(&event).unwrap(), avro::schema_of(event.event.declared()));

        for length in 0..whole.len() {
            assert!(avro::decode(&whole[..length], schema).is_err(), "{} of {event:?}", length);
        }
        assert!(avro::decode(&[&whole[..], &[0]].concat(), schema).is_err());
    }
}

#[test]
fn a_value_of_another_schema_is_refused_with_the_field_at_fault() {
    let schema = Schema::parse(
        r#"{"type": "record", "name": "A", "fields": [
            {"name": "flags", "type": {"type": "array", "items": "boolean"}},
            {"name": "inner", "type": {"type": "record", "name": "B", "fields": [{"name": "text", "type": "string"}]}}
        ]}"#,
    )
    .unwrap();

    for (bytes, complaint) in [
        (&[2, 2, 0, 2, b'x'][..], "flags: 2 is no boolean"),
        (&[0, 2, 0xff], "inner.text: the text is not UTF-8"),
        (&[0, 1], "inner.text: a length is negative"),
        (&[0, 8, b'x'], "inner.text: it is cut off"),
        (&[0xff; 11], "flags: a number has more than 64 bits"),
    ] {
        assert_eq!(avro::read(bytes, &schema).unwrap_err().to_string(), complaint);
    }
    assert_eq!(
        avro::read(&[1, 2, 1, 0, 2, b'x'], &schema).unwrap(),
        json!({"flags": [true], "inner": {"text": "x"}})
    );
}

#[test]
fn no_value_takes_more_memory_or_stack_than_it_has_bytes() {
    // A list of 2⁶² nulls, a text of 2⁶² bytes, and a list that holds itself without end.
    let huge = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01];
    let nulls = Schema::parse(r#"{"type": "array", "items": "null"}"#).unwrap();
    let text = Schema::parse(r#""string""#).unwrap();
    let chain = r#"{"type": "record", "name": "N", "fields": [{"name": "next", "type": {"type": "array", "items": "N"}}]}"#;

    assert!(avro::read(&huge, &nulls).unwrap_err().to_string().contains("too many parts"));
    assert_eq!(avro::read(&huge, &text).unwrap_err().to_string(), "it is cut off");
    let deep = avro::read(&[2; 100_000], &Schema::parse(chain).unwrap()).unwrap_err();
    assert!(deep.to_string().contains("nested too deeply"), "{deep}");
}

#[test]
fn every_type_of_avro_is_read_and_written() {
    let schema = r#"{"type": "record", "name": "All", "fields": [
        {"name": "nothing", "type": "null"},
        {"name": "int", "type": "int"},
        {"name": "long", "type": "long"},
        {"name": "float", "type": "float"},
        {"name": "double", "type": "double"},
        {"name": "bytes", "type": "bytes"},
        {"name": "color", "type": {"type": "enum", "name": "Color", "symbols": ["RED", "BLUE"]}},
        {"name": "hash", "type": {"type": "fixed", "name": "Hash", "size": 2}},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "either", "type": ["string", "long"]},
        {"name": "map", "type": {"type": "map", "values": "Color"}}
    ]}"#;
    let value = json!({
        "nothing": null, "int": i32::MIN, "long": i64::MIN, "float": 0.5, "double": -2.25, "bytes": "\u{0}\u{ff}",
        "color": "BLUE", "hash": "ab", "at": "2026-03-20T09:15:30.25Z", "either": 42, "map": {"a": "RED"}
    });
    let ours = Schema::parse(schema).unwrap();

    let bytes = avro::write(&value, &ours).unwrap();

    assert_eq!(avro::read(&bytes, &ours).unwrap(), value);
    let theirs = apache_avro::Schema::parse_str(schema).unwrap();
    let read = apache_avro::from_avro_datum(&theirs, &mut bytes.as_slice(), None).unwrap();
    assert_eq!(apache_avro::to_avro_datum(&theirs, read).unwrap(), bytes);
}

#[test]
fn a_value_that_the_schema_does_not_take_is_not_written() {
    let schema = avro::schema_of(declared("OrderCompleted"));
    let whole: Value =
        serde_json::from_slice(&codec::encode_json(&sample(declared("OrderCompleted")))).unwrap();

    for (field, wrong, complaint) in [
        (
            "/payload/total/amount_minor",
            json!(u64::MAX),
            "payload.total.amount_minor: this number is not a long",
        ),
        ("/timestamp", json!("yesterday"), "timestamp: this text is not a timestamp"),
        ("/payload/order_id", json!(null), "payload.order_id: nothing is not a text"),
        ("/metadata/user", json!(["ada"]), "metadata.user: a list is not a text"),
    ] {
        let mut value = whole.clone();
        *value.pointer_mut(field).unwrap() = wrong;
        assert_eq!(avro::write(&value, schema).unwrap_err().to_string(), complaint);
    }
}

#[test]
fn an_event_of_another_type_or_version_is_refused_as_in_json() {
    let schema = avro::schema_of(declared("OrderCompleted"));
    let whole: Value =
        serde_json::from_slice(&codec::encode_json(&sample(declared("OrderCompleted")))).unwrap();
    let reason = |field: &str, other: Value| {
        let mut value = whole.clone();
        value[field] = other;
        avro::decode(&avro::write(&value, schema).unwrap(), schema).unwrap_err().reason()
    };

    assert_eq!(reason("event_type", json!("OrderTeleported")), "unknown_type");
    assert_eq!(reason("event_version", json!(2)), "unsupported_version");
    assert_eq!(reason("correlation_id", json!("")), "malformed");
    assert!(matches!(avro::decode(&[], schema), Err(DecodeError::MalformedAvro(_))));
}

#[test]
fn a_frame_is_a_zero_and_four_bytes_and_json_has_none() {
    assert_eq!(avro::frame(0x0102_0304, b"body"), b"\x00\x01\x02\x03\x04body");
    assert_eq!(avro::unframe(b"\x00\x01\x02\x03\x04body"), Some((0x0102_0304, &b"body"[..])));
    assert_eq!(avro::unframe(b"\x00\x01\x02"), None);
    assert!(samples::all().iter().all(|event| avro::unframe(&codec::encode_json(event)).is_none()));
}
