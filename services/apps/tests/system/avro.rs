//! Events in Avro, with a real schema registry.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use contract::avro;
use contract::{DecodeError, Envelope, Service};
use devcluster::registry::{Registry as OwnRegistry, RegistryOptions};
use devcluster::testing;
use futures::future::BoxFuture;
use messaging::{AvroCodec, Codec, EncodeError, Registry, RegistryConfig, RegistryError};
use orders::config::Config;
use orders::events::EventsFormat;
use orders::runtime::Process;
use orders::telemetry::LogLevel;

use crate::support::{Realm, System, eventually, full_order};

fn in_avro(mut config: Config, url: &str) -> Config {
    config.events.events_format = EventsFormat::Avro;
    config.events.schema_registry_url = Some(url.parse().unwrap());
    config
}

/// Counts the events that came in Avro.
struct Counting {
    codec: AvroCodec,
    avro: Arc<AtomicUsize>,
}

impl Codec for Counting {
    fn content_type(&self) -> &'static str {
        self.codec.content_type()
    }

    fn encode(&self, envelope: &Envelope) -> Result<Vec<u8>, EncodeError> {
        self.codec.encode(envelope)
    }

    fn decode(&self, value: &[u8]) -> Result<Envelope, DecodeError> {
        self.avro.fetch_add(usize::from(avro::unframe(value).is_some()), Ordering::SeqCst);
        self.codec.decode(value)
    }

    fn missing(&self, value: &[u8]) -> Option<u32> {
        self.codec.missing(value)
    }

    fn fetch<'c>(
        &'c self,
        ids: &'c std::collections::BTreeSet<u32>,
    ) -> BoxFuture<'c, Result<(), RegistryError>> {
        self.codec.fetch(ids)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_completes_with_every_event_in_avro() {
    let realm = Realm::create().await;
    let url = testing::registry().url();
    let registry = RegistryConfig::at(url);
    let (codec, seen) =
        (AvroCodec::writing_json(Registry::new(registry).unwrap()), Arc::new(AtomicUsize::new(0)));
    // All services but one that the realm does not run, so that nobody shares the spy's group.
    let services = [Service::Order, Service::Inventory, Service::Notification];
    let spy = realm.spy_by(Service::Payment, Arc::new(Counting { codec, avro: seen.clone() })).await;
    let system = System::start(in_avro(realm.config("all"), url), &services).await;

    let accepted = system.post(&full_order()).await;
    let order = system.ended(&accepted.order_id()).await;

    assert_eq!(order["status"], "COMPLETED", "{order}");
    // Created, reserved, confirmed, completed, and the customer told twice.
    let types = spy.types_of(&accepted.order_id(), 6).await;
    assert_eq!(types.get("OrderCompleted"), Some(&1), "{types:?}");
    assert!(seen.load(Ordering::SeqCst) >= 6);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_waits_for_its_registry_and_says_so() {
    let realm = Realm::create().await;
    let dir = tempfile::tempdir().unwrap();
    let options = RegistryOptions::for_tests(dir.path()).unwrap();
    // A port that the registry will listen on, once it is there.
    let url = format!("http://{}:{}/apis/ccompat/v7", options.bind, options.port);
    let mut config = in_avro(realm.config("order"), &url);
    config.admin_addr =
        format!("127.0.0.1:{}", devcluster::ports::free(options.bind).unwrap()).parse().unwrap();
    let admin = format!("http://{}/readyz", config.admin_addr);

    let starting = tokio::spawn(Process::start(config, &[Service::Order], LogLevel::unmanaged()));
    let client = reqwest::Client::new();
    eventually("readiness names the registry", async || {
        let answer = client.get(&admin).send().await.ok()?;
        let (status, text) = (answer.status().as_u16(), answer.text().await.ok()?);
        (status == 503 && text.contains("order.schema-registry") && text.contains(&url)).then_some(())
    })
    .await;
    let _registry = tokio::task::block_in_place(|| OwnRegistry::start(options)).unwrap();

    let process = starting.await.unwrap().unwrap();
    eventually("the service is ready", async || {
        (client.get(&admin).send().await.ok()?.status() == 200).then_some(())
    })
    .await;
    process.run(async {}).await.unwrap();
}
