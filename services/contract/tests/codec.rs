//! The codec: whatever can be built survives the wire, and whatever cannot be read says why.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected should fail"
)]

#[path = "golden/samples.rs"]
mod samples;

use contract::{
    CorrelationId, Currency, DecodeError, Envelope, Event, Money, OrderId, Topic, avro,
    codec::{decode_json, encode_json},
    headers,
};
use proptest::{collection::btree_map, option, prelude::*};
use serde_json::{Value, json};
use uuid::Uuid;

fn orders_created() -> Value {
    serde_json::from_slice(&encode_json(&samples::all()[0])).unwrap()
}

fn decode(value: &Value) -> Result<Envelope, DecodeError> {
    decode_json(value.to_string().as_bytes())
}

/// Any sample event with whatever in it that the type system lets through.
fn any_event() -> impl Strategy<Value = Event> {
    let samples: Vec<Event> = samples::all().into_iter().map(|envelope| envelope.event).collect();
    (prop::sample::select(samples), any::<u128>(), any::<i64>(), any::<u32>(), ".*").prop_map(
        |(mut event, order, amount, quantity, text)| {
            vary(&mut event, OrderId::new(Uuid::from_u128(order)), amount, quantity, &text);
            event
        },
    )
}

fn vary(event: &mut Event, order_id: OrderId, amount: i64, quantity: u32, text: &str) {
    let total = Money::new(amount, Currency::JPY);
    match event {
        Event::OrderCreated(event) => {
            (event.order_id, event.details.total) = (order_id, total);
            event.details.customer.first_name = text.to_owned();
            event.details.items[0].unit_price_minor = amount;
        }
        Event::OrderConfirmed(event) => {
            (event.order_id, event.details.total) = (order_id, total);
            event.details.items[0].quantity = quantity;
        }
        Event::OrderCompleted(event) => (event.order_id, event.total) = (order_id, total),
        Event::OrderCancelled(event) => (event.order_id, event.detail) = (order_id, text.to_owned()),
        Event::InventoryReserved(event) => event.items[0].quantity = quantity,
        Event::InventoryFailed(event) => event.shortages[0].requested = quantity,
        Event::InventoryReleased(event) => event.order_id = order_id,
        Event::InventoryUpdated(event) => event.on_hand = amount.unsigned_abs() / 2,
        Event::PaymentCaptured(event) => event.amount = total,
        Event::PaymentFailed(event) => event.detail = text.to_owned(),
        Event::PaymentRefunded(event) => event.amount = total,
        Event::ShippingScheduled(event) => event.tracking_number = text.to_owned(),
        Event::ShippingFailed(event) => event.detail = text.to_owned(),
        Event::ShippingDelivered(event) => event.order_id = order_id,
        Event::ShippingCancelled(event) => event.order_id = order_id,
        Event::NotificationSent(event) => event.channels[0].detail = Some(text.to_owned()),
        Event::SalesUpdated(event) => (event.row.partition, event.revenue_minor) = (quantity, amount),
    }
}

fn any_envelope() -> impl Strategy<Value = Envelope> {
    let seconds = jiff::Timestamp::MIN.as_second()..jiff::Timestamp::MAX.as_second();
    let metadata = btree_map(".*", ".*", 0..4);
    (
        any_event(),
        "[!-~]{1,128}",
        any::<u128>(),
        option::of(any::<u128>()),
        seconds,
        0..1_000_000_000_i32,
        metadata,
    )
        .prop_map(|(event, correlation, id, cause, second, nanosecond, metadata)| Envelope {
            event_id: Uuid::from_u128(id),
            timestamp: jiff::Timestamp::new(second, nanosecond).unwrap_or(jiff::Timestamp::UNIX_EPOCH),
            correlation_id: correlation.parse::<CorrelationId>().unwrap(),
            causation_id: cause.map(Uuid::from_u128),
            metadata,
            event,
        })
}

proptest! {
    #[test]
    fn every_envelope_survives_the_wire(envelope in any_envelope()) {
        prop_assert_eq!(decode_json(&encode_json(&envelope)).unwrap(), envelope);
    }

    #[test]
    fn every_envelope_survives_avro_to_the_microsecond(mut envelope in any_envelope()) {
        envelope.timestamp = jiff::Timestamp::from_microsecond(envelope.timestamp.as_microsecond()).unwrap();
        let (bytes, schema) = (avro::encode(&envelope).unwrap(), avro::schema_of(envelope.event.declared()));
        prop_assert_eq!(avro::decode(&bytes, schema).unwrap(), envelope);
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(decode_json(&bytes).is_err());
        for event in Event::TYPES {
            prop_assert!(avro::decode(&bytes, avro::schema_of(*event)).is_err());
        }
    }
}

#[test]
fn every_topic_but_dead_letters_and_changelogs_carries_exactly_one_event() {
    for topic in Topic::ALL {
        let events = Event::TYPES.iter().filter(|declared| declared.topic == *topic).count();
        assert_eq!(events, usize::from(!topic.is_dead_letter() && !topic.is_changelog()), "{topic}");
    }
}

#[test]
fn a_field_that_is_not_known_is_ignored() {
    let mut wire = orders_created();
    wire["payload"]["gift_wrap"] = json!(true);
    wire["tenant"] = json!("north");

    assert_eq!(decode(&wire).unwrap(), samples::all()[0]);
}

#[test]
fn metadata_and_causation_may_be_left_out() {
    let mut wire = orders_created();
    wire.as_object_mut().unwrap().remove("metadata");
    wire.as_object_mut().unwrap().remove("causation_id");

    let envelope = decode(&wire).unwrap();

    assert!(envelope.metadata.is_empty() && envelope.causation_id.is_none());
}

#[test]
fn what_is_not_an_envelope_is_malformed() {
    for bytes in [&b""[..], b"burger", b"{}", b"\xff\xfe", b"[1]"] {
        let error = decode_json(bytes).unwrap_err();
        assert_eq!(error.reason(), "malformed", "{bytes:?}: {error:?}");
    }
}

#[test]
fn an_unknown_type_is_named() {
    let mut wire = orders_created();
    wire["event_type"] = json!("OrderTeleported");

    let error = decode(&wire).unwrap_err();

    assert_eq!(error.to_string(), r#"event type "OrderTeleported" is unknown"#);
}

#[test]
fn a_version_that_is_not_spoken_is_told_apart_from_an_unknown_type() {
    let mut wire = orders_created();
    wire["event_version"] = json!(2);

    let error = decode(&wire).unwrap_err();

    assert_eq!(error.to_string(), "version 2 of OrderCreated is not supported, version 1 is");
}

#[test]
fn a_payload_that_breaks_the_contract_names_the_event_and_the_field() {
    let broken = [
        ("/payload/order_id", json!("42"), "UUID"),
        ("/payload/details/total/currency", json!("ZZZ"), "ISO 4217"),
        ("/payload/details/total/amount_minor", json!(51.98), "expected i64"),
        ("/payload/details/items/0/product_id", json!(""), "product id"),
        ("/payload/details/items/0/quantity", json!(-1), "expected u32"),
    ];
    for (field, value, complaint) in broken {
        let mut wire = orders_created();
        *wire.pointer_mut(field).unwrap() = value;

        match decode(&wire).unwrap_err() {
            DecodeError::InvalidPayload { event_type: "OrderCreated", source } => {
                assert!(source.to_string().contains(complaint), "{field}: {source}");
            }
            other => panic!("{field}: {other:?}"),
        }
    }
}

#[test]
fn headers_repeat_the_envelope() {
    let created = samples::all().swap_remove(0);

    let headers = headers::for_envelope(&created);

    let expected = [
        ("ce_specversion", "1.0"),
        ("ce_id", "0195b3d2-7c00-7000-8000-000000000000"),
        ("ce_source", "/orderpipeline/order"),
        ("ce_type", "OrderCreated"),
        ("ce_time", "2026-03-20T09:15:30.25Z"),
        ("ce_subject", "0195b3d2-7bff-7abc-8def-0123456789ab"),
        ("ce_eventversion", "1"),
        ("ce_correlationid", "req-7f3a"),
        ("content-type", "application/json"),
    ];
    assert_eq!(headers, expected.map(|(name, value)| (name, value.to_owned())));
}

#[test]
fn logs_do_not_tell_who_the_customer_is() {
    let shown = format!("{:?}", samples::all());

    for secret in ["Ada", "Lovelace", "example.com", "+1555"] {
        assert!(!shown.contains(secret), "{secret} is shown");
    }
    assert!(shown.contains("C-1001"));
}
