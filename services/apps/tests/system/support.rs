//! Starts services for one test, with topics and databases of its own, and speaks to them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clap::Parser;
use contract::{Address, Contact, Currency, Envelope, Event, Money, OrderDetails, OrderItem, Service, Topic};
use devcluster::testing;
use kafka_admin::{Admin, ConnectOptions, KafkaAdmin, Mode, NewTopic, TopicName, TopicPartition};
use messaging::{Codec, Delivery, Effects, HandleError, Handler, JsonCodec, KafkaConfig, Messaging, Metrics};
use orders::config::{Cli, Command, Config};
use orders::runtime::Process;
use orders::telemetry::LogLevel;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long anything may take that should happen at once; generous, because tests share two cores.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Topics, databases and names of one test.
pub(crate) struct Realm {
    pub(crate) prefix: String,
    pub(crate) bootstrap: String,
    pub(crate) database_url: String,
}

impl Realm {
    /// A realm with all topics.
    pub(crate) async fn create() -> Self {
        Self::over(testing::kafka().bootstrap(), testing::postgres().create_database("orders")).await
    }

    /// A realm with all topics, over a broker and a database that a test may take away.
    pub(crate) async fn over(bootstrap: &str, database_url: String) -> Self {
        // Every test begins here, and asks by HTTP sooner or later.
        messaging::install_tls_provider();
        let prefix = format!("{}-", testing::unique("t"));
        let realm = Self { prefix, bootstrap: bootstrap.to_owned(), database_url };
        realm.create_topics().await;
        realm
    }

    async fn create_topics(&self) {
        let admin = KafkaAdmin::connect(&ConnectOptions::plaintext(&self.bootstrap)).unwrap();
        let named = |topic: &Topic| format!("{}{}", self.prefix, topic.name()).parse::<TopicName>().unwrap();
        let topics: Vec<_> =
            Topic::ALL.iter().map(|topic| NewTopic::named(named(topic)).partitions(3).replicas(1)).collect();
        for created in admin.create_topics(&topics, Mode::Apply).await {
            created.unwrap();
        }
        // A broker shows a partition before it takes records for it.
        let partitions: Vec<TopicPartition> = topics
            .iter()
            .flat_map(|topic| (0..3).map(|partition| TopicPartition { topic: topic.name.clone(), partition }))
            .collect();
        eventually("all partitions are served", async || {
            admin.end_offsets(&partitions).await.iter().all(Result::is_ok).then_some(())
        })
        .await;
    }

    /// The configuration of a process in this realm, on free ports.
    pub(crate) fn config(&self, role: &str) -> Config {
        let cli = Cli::try_parse_from([
            "orders",
            role,
            "--kafka-bootstrap-servers",
            &self.bootstrap,
            "--topic-prefix",
            &self.prefix,
            "--http-addr",
            "127.0.0.1:0",
            "--admin-addr",
            "127.0.0.1:0",
            "--drain-delay",
            "0s",
        ]);
        let mut config = match cli.unwrap().command {
            Command::Order(config)
            | Command::Inventory(config)
            | Command::Payment(config)
            | Command::Shipping(config)
            | Command::Notification(config)
            | Command::OrderAnalytics(config)
            | Command::All(config) => *config,
            Command::PrepareDatabase(_) => panic!("not a service"),
        };
        config.database_url = Some(self.database_url.clone().into());
        config
    }

    /// Messaging for a test that takes the part of `service`, with a database of its own.
    pub(crate) async fn messaging(&self, service: Service) -> Messaging {
        self.messaging_by(service, Arc::new(JsonCodec)).await
    }

    /// The same, reading and writing by `codec`.
    async fn messaging_by(&self, service: Service, codec: Arc<dyn Codec>) -> Messaging {
        let kafka = KafkaConfig::plaintext(self.bootstrap.clone(), "test", self.prefix.clone());
        let pool = PgPool::connect(&testing::postgres().create_database("spy")).await.unwrap();
        messaging::migrate(&pool).await.unwrap();
        let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
        Messaging::with_codec(kafka, service, pool, codec, &metrics).unwrap()
    }

    /// Watches every event of the realm, as the consumer group of `service`, which must not run.
    pub(crate) async fn spy(&self, service: Service) -> Spy {
        self.spy_by(service, Arc::new(JsonCodec)).await
    }

    /// The same, reading by `codec`.
    pub(crate) async fn spy_by(&self, service: Service, codec: Arc<dyn Codec>) -> Spy {
        let messaging = self.messaging_by(service, codec).await;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let stop = CancellationToken::new();
        let (handler, stopping) = (SpyHandler { seen: seen.clone() }, stop.clone());
        let events = |topic: &Topic| !topic.is_dead_letter() && !topic.is_changelog();
        let topics: Vec<Topic> = Topic::ALL.iter().copied().filter(events).collect();
        tokio::spawn(async move { messaging.consume(&topics, handler, stopping).await });
        Spy { seen, _stop: stop.drop_guard() }
    }
}

/// The events of a realm.
pub(crate) struct Spy {
    seen: Arc<Mutex<Vec<Envelope>>>,
    _stop: tokio_util::sync::DropGuard,
}

struct SpyHandler {
    seen: Arc<Mutex<Vec<Envelope>>>,
}

impl Handler for SpyHandler {
    async fn handle(&self, _fx: &mut Effects<'_>, batch: &[Delivery]) -> Result<(), HandleError> {
        self.seen.lock().unwrap().extend(batch.iter().map(|delivery| delivery.envelope.clone()));
        Ok(())
    }
}

impl Spy {
    /// How often each type of event was seen for the order, once `enough` says that it is all.
    pub(crate) async fn types_of(&self, order_id: &str, enough: usize) -> BTreeMap<&'static str, usize> {
        eventually("enough events of the order", async || {
            let types = self.count(order_id);
            (types.values().sum::<usize>() >= enough).then_some(types)
        })
        .await
    }

    fn count(&self, order_id: &str) -> BTreeMap<&'static str, usize> {
        let mut types = BTreeMap::new();
        for envelope in self.seen.lock().unwrap().iter() {
            if envelope.event.order_id().is_some_and(|id| id.to_string() == order_id) {
                *types.entry(envelope.event.event_type()).or_default() += 1;
            }
        }
        types
    }

    /// All events seen so far that `wanted` picks.
    pub(crate) fn events(&self, wanted: impl Fn(&Event) -> bool) -> Vec<Envelope> {
        self.seen.lock().unwrap().iter().filter(|envelope| wanted(&envelope.event)).cloned().collect()
    }
}

/// Services in this process.
pub(crate) struct System {
    pub(crate) http: BTreeMap<String, String>,
    pub(crate) admin: String,
    pub(crate) client: reqwest::Client,
    stop: Option<oneshot::Sender<()>>,
    process: Option<JoinHandle<anyhow::Result<()>>>,
}

impl System {
    /// Starts `services` with `config` and waits until they are ready.
    pub(crate) async fn start(config: Config, services: &[Service]) -> Self {
        let process = Process::start(config, services, LogLevel::unmanaged()).await.unwrap();
        let http = services
            .iter()
            .filter_map(|service| {
                Some((service.to_string(), format!("http://{}", process.http_address(*service)?)))
            })
            .collect();
        let admin = format!("http://{}", process.admin_address());
        let (stop, stopped) = oneshot::channel::<()>();
        let process = tokio::spawn(process.run(async move { drop(stopped.await) }));
        let client = reqwest::Client::new();
        let system = Self { http, admin, client, stop: Some(stop), process: Some(process) };
        eventually("the process is ready", async || {
            let ready = system.client.get(format!("{}/readyz", system.admin)).send().await.unwrap();
            ready.status().is_success().then_some(())
        })
        .await;
        system
    }

    /// Starts the order service alone.
    pub(crate) async fn order(realm: &Realm) -> Self {
        Self::start(realm.config("order"), &[Service::Order]).await
    }

    /// Stops the services and waits until they have.
    pub(crate) async fn stop(mut self) {
        drop(self.stop.take());
        self.process.take().unwrap().await.unwrap().unwrap();
    }

    /// The address of a path of the order service.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.http["order"])
    }

    /// Posts an order; status, headers and body of the answer.
    pub(crate) async fn post(&self, body: &Value) -> Answer {
        self.post_with(body, &[]).await
    }

    /// Posts an order with headers.
    pub(crate) async fn post_with(&self, body: &Value, headers: &[(&str, &str)]) -> Answer {
        let mut request = self.client.post(self.url("/api/v1/orders")).json(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Answer::of(request.send().await.unwrap()).await
    }

    /// Gets a path of the order service.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        Answer::of(self.client.get(self.url(path)).send().await.unwrap()).await
    }

    /// The metrics of the process, as they are scraped.
    pub(crate) async fn metrics(&self) -> String {
        let answer = self.client.get(format!("{}/metrics", self.admin)).send().await.unwrap();
        answer.text().await.unwrap()
    }

    /// Waits for an order to end, and shows it.
    pub(crate) async fn ended(&self, order_id: &str) -> Value {
        let path = format!("/api/v1/orders/{order_id}?wait=20s");
        eventually("the order has ended", async || {
            let order = self.get(&path).await.body;
            matches!(order["status"].as_str(), Some("COMPLETED" | "CANCELLED")).then_some(order)
        })
        .await
    }
}

/// An HTTP answer, read.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) async fn of(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Self { status, headers, body }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn order_id(&self) -> String {
        self.body["orderId"].as_str().unwrap().to_owned()
    }
}

/// Asks until there is an answer; panics when there is none for too long.
pub(crate) async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The order of the API's documentation.
pub(crate) fn full_order() -> Value {
    json!({
        "customerInfo": {
            "customerId": "CUST-1", "firstName": "Ada", "lastName": "Lovelace", "email": "ada@example.com",
            "phone": "+1-555-0100", "address": "1 Main St", "city": "Springfield", "state": "IL",
            "zipCode": "62701"
        },
        "orderItems": [{"productId": "burger", "quantity": 2, "unitPrice": 25.99}],
        "totalAmount": 51.98,
        "currency": "USD"
    })
}

/// The smallest order.
pub(crate) fn short_order(user: &str, item: &str, quantity: u32) -> Value {
    json!({"user": user, "item": item, "quantity": quantity})
}

/// What an order of four burgers says about itself.
pub(crate) fn details() -> OrderDetails {
    let customer = Contact {
        customer_id: "C-1".parse().unwrap(),
        first_name: "Ada".into(),
        last_name: "Lovelace".into(),
        email: Some("ada@example.com".into()),
        phone: None,
    };
    let items = vec![OrderItem { product_id: "burger".parse().unwrap(), quantity: 4, unit_price_minor: 899 }];
    let total = Money::new(3596, Currency::USD);
    OrderDetails { customer, ship_to: Address::default(), items, total, steps: None }
}
