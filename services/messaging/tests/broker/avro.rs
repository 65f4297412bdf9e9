//! Avro, with its schemas in a real registry.

#![expect(clippy::indexing_slicing, reason = "a test that meets the unexpected should fail")]

use contract::avro::{self, Schema};
use contract::{Envelope, Event, EventType};
use devcluster::pki::Authority;
use devcluster::registry::{self, RegistryOptions};
use devcluster::testing;
use messaging::{AvroCodec, Codec, Compatibility, ConsumerState, Registry, RegistryConfig, RegistryError};
use rdkafka::message::{Headers, Message};
use serde_json::{Value, json};
use strum::IntoEnumIterator;

use crate::handlers::Recorder;
use crate::harness::{DEAD_LETTERS, INPUT, OUTPUT, Shop, assert_in_order, event, events, within};

fn at(url: &str) -> RegistryConfig {
    RegistryConfig::at(url)
}

fn registry_at(url: &str) -> Registry {
    Registry::new(at(url)).unwrap()
}

/// As a process that has the registry refuse what is not `compatibility`.
async fn codec_by(compatibility: Compatibility, shop: &Shop) -> Result<AvroCodec, RegistryError> {
    writing(RegistryConfig { compatibility, ..at(shared()) }, shop, &[INPUT]).await
}

/// What writes the events of `topics`. As a service does, it tries again where that may help: registries answer late on
/// a busy machine.
async fn writing(
    config: RegistryConfig,
    shop: &Shop,
    topics: &[contract::Topic],
) -> Result<AvroCodec, RegistryError> {
    let registry = Registry::new(config).unwrap();
    let settled = async {
        loop {
            let events = topics.iter().copied().map(declared);
            match AvroCodec::writing_avro(registry.clone(), &shop.kafka.topic_prefix, events).await {
                Err(error) if error.is_temporary() => {}
                settled => return settled,
            }
        }
    };
    within("the registry to answer", settled).await
}

fn shared() -> &'static str {
    tokio::task::block_in_place(|| testing::registry().url())
}

fn declared(topic: contract::Topic) -> EventType {
    *Event::TYPES.iter().find(|event| event.topic == topic).unwrap()
}

/// What a process of the shop reads and writes Avro by.
async fn codec(url: &str, shop: &Shop) -> Result<AvroCodec, RegistryError> {
    writing(at(url), shop, &[INPUT, OUTPUT]).await
}

fn subject(shop: &Shop) -> String {
    avro::subject_of(&shop.topic(INPUT))
}

/// Asks the registry as somebody else would.
async fn ask(method: reqwest::Method, path: &str, body: Option<Value>) -> (u16, Value) {
    messaging::install_tls_provider();
    let request = reqwest::Client::new().request(method, format!("{}/{path}", shared()));
    let request = match body {
        Some(body) => request.json(&body),
        None => request,
    };
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn register(subject: &str, schema: &str) -> (u16, Value) {
    ask(reqwest::Method::POST, &format!("subjects/{subject}/versions"), Some(json!({"schema": schema}))).await
}

/// The schema of the input's event in a later build: its payload has one more field.
fn later_schema(field: Value) -> String {
    let mut schema: Value = serde_json::from_str(&avro::schema_text_of(declared(INPUT))).unwrap();
    let fields = schema["fields"].as_array_mut().unwrap();
    let payload = fields.iter_mut().find(|field| field["name"] == "payload").unwrap();
    payload["type"]["fields"].as_array_mut().unwrap().push(field);
    schema.to_string()
}

fn warehouse() -> Value {
    json!({"name": "warehouse", "type": ["null", "string"], "default": null})
}

fn json_of(envelope: &Envelope) -> Value {
    serde_json::from_slice(&contract::codec::encode_json(envelope)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_in_avro_have_their_effect_once_and_in_order() {
    let mut shop = Shop::open("avro").await;
    shop.speak(codec(shared(), &shop).await.unwrap());
    shop.publish(&events(10, 10)).await;

    let running = shop.consume(Recorder::emitting());
    shop.wait_for_effects(100).await;
    let emitted = shop.records(OUTPUT, 100).await;
    running.stop().await;

    assert_in_order(&shop.effects().await);
    assert_eq!(shop.metric("kafka_dead_letters_total", &[]), 0.0);
    let (_, known) =
        ask(reqwest::Method::GET, &format!("subjects/{}-value/versions/1", shop.topic(OUTPUT)), None).await;
    for record in emitted {
        let content_type =
            record.headers().unwrap().iter().find(|header| header.key == "content-type").unwrap();
        assert_eq!(content_type.value, Some(b"application/avro".as_slice()));
        let (id, body) = avro::unframe(record.payload().unwrap()).unwrap();
        assert_eq!(known["id"], id);
        avro::decode(body, avro::schema_of(declared(OUTPUT))).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_pipeline_changes_its_format_records_of_both_are_read() {
    let mut shop = Shop::open("both").await;
    let all = events(10, 30);
    shop.publish(&all[..100]).await;
    shop.speak(codec(shared(), &shop).await.unwrap());
    let running = shop.consume(Recorder::new());
    shop.publish(&all[100..200]).await;
    shop.wait_for_effects(200).await;
    running.stop().await;

    // And back.
    shop.speak(AvroCodec::writing_json(registry_at(shared())));
    shop.publish(&all[200..]).await;
    shop.rewind().await;
    sqlx::query("TRUNCATE inbox, effects").execute(&shop.pool).await.unwrap();
    let running = shop.consume(Recorder::new());
    shop.wait_for_effects(300).await;
    running.stop().await;

    assert_in_order(&shop.effects().await);
    assert_eq!(shop.metric("kafka_dead_letters_total", &[]), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn builds_with_two_versions_of_an_event_read_each_other_in_both_formats() {
    let mut shop = Shop::open("versions").await;
    shop.speak(codec(shared(), &shop).await.unwrap());
    let (status, answer) = register(&subject(&shop), &later_schema(warehouse())).await;
    assert_eq!(status, 200, "{answer}");
    let number = answer["id"].as_u64().unwrap().try_into().unwrap();
    let later = |number: i64| {
        let mut later = json_of(&event("key", number));
        later["payload"]["warehouse"] = json!("north");
        later
    };

    // What the later build writes, in Avro by its own schema and in JSON, is handled by this one.
    let body = avro::write(&later(0), &Schema::parse(&later_schema(warehouse())).unwrap()).unwrap();
    shop.send_raw(INPUT, "key", &avro::frame(number, &body), 0);
    shop.send_raw(INPUT, "key", later(1).to_string().as_bytes(), 0);
    let running = shop.consume(Recorder::new());
    shop.wait_for_effects(2).await;
    running.stop().await;
    assert_in_order(&shop.effects().await);

    // What this build writes is read by the later one, by the schema that its number stands for.
    shop.publish(&[event("other", 7)]).await;
    let records = shop.records(INPUT, 3).await;
    let ours = records.iter().find(|record| record.key() == Some(b"other")).unwrap();
    let (id, body) = avro::unframe(ours.payload().unwrap()).unwrap();
    let (_, kept) = ask(reqwest::Method::GET, &format!("schemas/ids/{id}"), None).await;
    let written = Schema::parse(kept["schema"].as_str().unwrap()).unwrap();
    #[derive(serde::Deserialize)]
    struct Later {
        on_hand: u64,
        warehouse: Option<String>,
    }
    let read = avro::read(body, &written).unwrap();
    for value in [&read, &json_of(&event("other", 7))] {
        let later: Later = serde_json::from_value(value["payload"].clone()).unwrap();
        assert_eq!((later.on_hand, later.warehouse), (7, None));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_the_registry_does_not_have_sends_the_event_to_the_dead_letters() {
    let mut shop = Shop::open("unknown").await;
    shop.speak(codec(shared(), &shop).await.unwrap());
    shop.publish(&[event("key", 0)]).await;
    shop.send_raw(INPUT, "key", &avro::frame(4_000_000_000, b"whatever"), 0);
    shop.publish(&[event("key", 1)]).await;

    let running = shop.consume(Recorder::new());
    shop.wait_for_effects(2).await;
    let letters = shop.records(DEAD_LETTERS, 1).await;
    running.stop().await;

    assert_in_order(&shop.effects().await);
    assert_eq!(letters[0].payload(), Some(avro::frame(4_000_000_000, b"whatever").as_slice()));
    assert_eq!(shop.metric("kafka_dead_letters_total", &[("reason", "unknown_schema")]), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_registry_is_away_the_consumer_waits_and_spends_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let options = RegistryOptions::for_tests(dir.path().join("registry")).unwrap();
    let own = tokio::task::block_in_place(|| registry::Registry::start(options)).unwrap();
    let mut shop = Shop::open("registry-outage").await;
    shop.speak(codec(&own.url(), &shop).await.unwrap());
    shop.publish(&events(10, 5)).await;
    // A process that has not met any schema yet.
    shop.speak(codec(&own.url(), &shop).await.unwrap());

    own.pause();
    let handler = Recorder::new();
    let running = shop.consume(handler.clone());
    let mut state = running.messaging.consumer_state();
    let waiting = |state: &ConsumerState| matches!(state, ConsumerState::Waiting { reason } if reason.contains("schema registry"));
    within("the consumer to wait", state.wait_for(waiting)).await.unwrap();
    assert_eq!(handler.calls(), 0);
    own.resume();

    shop.wait_for_effects(50).await;
    within("the consumer to go on", state.wait_for(|state| *state == ConsumerState::Running)).await.unwrap();
    running.stop().await;
    assert_in_order(&shop.effects().await);
    assert_eq!(shop.metric("kafka_dead_letters_total", &[]), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_is_trusted_by_its_authority_only() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::open(&dir.path().join("pki")).unwrap();
    let mut options = RegistryOptions::for_tests(dir.path().join("registry")).unwrap();
    options.tls = Some(authority.issue_server("registry", &["127.0.0.1"]).unwrap());
    let own = tokio::task::block_in_place(|| registry::Registry::start(options)).unwrap();
    let register = async |ca_file| {
        let config = RegistryConfig { ca_file, ..at(&own.url()) };
        AvroCodec::writing_avro(Registry::new(config).unwrap(), "", [declared(INPUT)]).await
    };

    assert!(own.url().starts_with("https://"));
    let stranger = register(None).await.unwrap_err();
    assert!(matches!(stranger, RegistryError::Unreachable { .. }), "{stranger:?}");
    register(Some(authority.file("ca.crt"))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_registry_refuses_what_does_not_go_with_every_version() {
    let shop = Shop::open("strict").await;
    codec(shared(), &shop).await.unwrap();

    let required = json!({"name": "warehouse", "type": "string"});
    let (status, answer) = register(&subject(&shop), &later_schema(required)).await;

    assert_eq!(status, 409, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subject_has_the_compatibility_that_the_service_was_told_last() {
    let shop = Shop::open("levels").await;
    let config = format!("config/{}", subject(&shop));

    for level in Compatibility::iter().filter(|level| *level != Compatibility::None) {
        codec_by(level, &shop).await.unwrap();

        let (_, answer) = ask(reqwest::Method::GET, &config, None).await;
        assert_eq!(answer["compatibilityLevel"], level.to_string());
    }
    // One that asks for nothing lets somebody else register what nobody could read.
    codec_by(Compatibility::None, &shop).await.unwrap();
    let required = json!({"name": "warehouse", "type": "string"});
    let (status, answer) = register(&subject(&shop), &later_schema(required)).await;
    assert_eq!(status, 200, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_weaker_compatibility_takes_what_a_stronger_one_refuses() {
    let shop = Shop::open("weaker").await;
    // Old records have no warehouse, so the later build cannot read them; this one reads the later one's.
    let required = later_schema(json!({"name": "warehouse", "type": "string"}));

    codec_by(Compatibility::Backward, &shop).await.unwrap();
    let (status, answer) = register(&subject(&shop), &required).await;
    assert_eq!(status, 409, "{answer}");

    codec_by(Compatibility::Forward, &shop).await.unwrap();
    let (status, answer) = register(&subject(&shop), &required).await;
    assert_eq!(status, 200, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_whose_schema_is_refused_says_which_and_what_to_do() {
    let shop = Shop::open("refused").await;
    // Somebody has changed the event before, and the registry let them.
    let changed =
        avro::schema_text_of(declared(INPUT)).replace("\"long\"", "\"string\"").replace("timestamp-", "");
    let (status, answer) = register(&subject(&shop), &changed).await;
    assert_eq!(status, 200, "{answer}");

    let error = codec(shared(), &shop).await.unwrap_err();

    assert!(matches!(error, RegistryError::Incompatible { .. }), "{error:?}");
    assert!(!error.is_temporary());
    let words = error.to_string();
    for expected in [&subject(&shop), "InventoryUpdated", "not FULL_TRANSITIVE", "a topic of its own"] {
        assert!(words.contains(expected), "{words}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_start_together_write_by_the_same_schemas() {
    let shop = Shop::open("replicas").await;
    let event = event("key", 0);

    // A registry may refuse one of two who register the same at once.
    let codecs =
        futures::future::join_all((0..4).map(|_| async { codec(shared(), &shop).await.unwrap() })).await;

    let written: Vec<Vec<u8>> = codecs.iter().map(|codec| codec.encode(&event).unwrap()).collect();
    assert!(written.iter().all(|value| *value == written[0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_address_is_no_unknown_schema() {
    let shop = Shop::open("address").await;
    let elsewhere = shared().replace("ccompat/v7", "elsewhere");
    let value = codec(shared(), &shop).await.unwrap().encode(&event("key", 0)).unwrap();
    let (id, _) = avro::unframe(&value).unwrap();

    for url in [elsewhere.as_str(), "http://127.0.0.1:1"] {
        let error = AvroCodec::writing_json(registry_at(url)).fetch(&[id].into()).await.unwrap_err();
        assert!(error.is_temporary(), "{error:?}");
        assert!(error.to_string().contains(url), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_without_a_registered_schema_is_not_written() {
    let shop = Shop::open("unregistered").await;
    let codec = writing(at(shared()), &shop, &[OUTPUT]).await.unwrap();

    let error = codec.encode(&event("key", 0)).unwrap_err();

    assert!(error.to_string().starts_with("InventoryUpdated is not one of the events"), "{error}");
}
