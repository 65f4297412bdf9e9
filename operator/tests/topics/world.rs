//! A namespace of one's own on the shared apiserver, a Kafka cluster, and the operator's controller of topics
//! looking after both.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use devcluster::testing::{apiserver, kafka, unique};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::api::events::v1::Event;
use kafka_admin::{
    Admin, ConfigAlteration, ConnectOptions, KafkaAdmin, Mode, NewTopic, PartitionGrowth, TopicDescription,
    TopicName,
};
use kube::api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use operator::controller::context::{Context, Settings};
use operator::controller::{strimzi, topic};
use operator::crd::conditions::{self, ConditionType, State};
use operator::crd::{KafkaTopic, KafkaTopicStatus};
use operator::leader::fence::Fence;
use operator::metrics::Metrics;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::installed::install;

/// Everything here takes milliseconds on an idle machine; a build beside it makes it slow.
const LIMIT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);

/// The object that most tests are about.
pub(crate) const NAME: &str = "orders";

/// A namespace, a Kafka cluster and the operator.
pub(crate) struct World {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) servers: String,
    /// Name of the topic in Kafka: of the test's own.
    pub(crate) topic: String,
    pub(crate) admin: KafkaAdmin,
    pub(crate) ctx: Arc<Context>,
    settings: Settings,
    kubeconfig: PathBuf,
    task: tokio::task::JoinHandle<()>,
}

async fn operator(
    kubeconfig: &Path,
    namespace: &str,
    settings: &Settings,
) -> (Arc<Context>, tokio::task::JoinHandle<()>) {
    let settings = Settings { namespace: Some(namespace.to_owned()), ..settings.clone() };
    let metrics = Arc::new(Metrics::new().unwrap());
    let config = config_of_the_operator_at(kubeconfig).await;
    let client = operator::client::connect(config, Arc::new(Fence::alone()), Arc::clone(&metrics)).unwrap();
    let ctx = Arc::new(Context::new(client, metrics, settings, CancellationToken::new()));
    let running = Arc::clone(&ctx);
    let task = tokio::spawn(async move {
        tokio::join!(topic::run(Arc::clone(&running)), strimzi::watch(&running));
    });
    (ctx, task)
}

/// Settings that make drift and outages show within seconds.
pub(crate) fn settings() -> Settings {
    Settings {
        resync: Duration::from_secs(2),
        drift_interval: Duration::from_secs(1),
        cleanup_timeout: Duration::from_secs(6),
        kafka_timeout: Duration::from_secs(3),
        ..Settings::default()
    }
}

/// The shared apiserver with our CRDs in it.
pub(crate) async fn client() -> Client {
    let kubeconfig = apiserver().kubeconfig();
    let client = Client::try_from(config(kubeconfig).await).unwrap();
    install(kubeconfig, &client).await;
    client
}

async fn config(kubeconfig: &Path) -> Config {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap()
}

/// The apiserver with the rights that `manifests/base` gives the operator, and no other.
pub(crate) async fn config_of_the_operator() -> Config {
    config_of_the_operator_at(apiserver().kubeconfig()).await
}

/// The same of another apiserver.
pub(crate) async fn config_of_the_operator_at(kubeconfig: &Path) -> Config {
    let mut config = config(kubeconfig).await;
    config.auth_info.impersonate = Some("system:serviceaccount:orderpipeline-system:operator".to_owned());
    config
}

pub(crate) async fn namespace(client: &Client) -> String {
    let name = unique("topics");
    let metadata = ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() };
    let object = Namespace { metadata, ..Namespace::default() };
    Api::all(client.clone()).create(&PostParams::default(), &object).await.unwrap();
    name
}

impl World {
    /// With the shared broker.
    pub(crate) async fn new() -> Self {
        Self::with(kafka().bootstrap()).await
    }

    pub(crate) async fn with(servers: &str) -> Self {
        Self::with_settings(servers, settings()).await
    }

    pub(crate) async fn with_settings(servers: &str, settings: Settings) -> Self {
        Self::on(client().await, apiserver().kubeconfig(), servers, settings).await
    }

    /// With the shared broker and an apiserver of the test's own.
    pub(crate) async fn at(kubeconfig: &Path) -> Self {
        let client = Client::try_from(config(kubeconfig).await).unwrap();
        install(kubeconfig, &client).await;
        Self::on(client, kubeconfig, kafka().bootstrap(), settings()).await
    }

    async fn on(client: Client, kubeconfig: &Path, servers: &str, settings: Settings) -> Self {
        let namespace = namespace(&client).await;
        let (ctx, task) = operator(kubeconfig, &namespace, &settings).await;
        let admin = KafkaAdmin::connect(&ConnectOptions::plaintext(servers)).unwrap();
        let (topic, servers, kubeconfig) = (unique("orders"), servers.to_owned(), kubeconfig.to_owned());
        Self { client, namespace, servers, topic, admin, ctx, settings, kubeconfig, task }
    }

    /// What a client of the operator is made from.
    pub(crate) async fn rights(&self) -> Config {
        config_of_the_operator_at(&self.kubeconfig).await
    }

    /// The operator ends as it does on SIGTERM.
    pub(crate) async fn end(mut self) {
        self.stop().await;
    }

    pub(crate) async fn stop(&mut self) {
        self.ctx.shutdown.cancel();
        tokio::time::timeout(LIMIT, &mut self.task).await.unwrap().unwrap();
    }

    /// Another process takes over.
    pub(crate) async fn start(&mut self) {
        (self.ctx, self.task) = operator(&self.kubeconfig, &self.namespace, &self.settings).await;
    }

    pub(crate) fn api(&self) -> Api<KafkaTopic> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// An object `name` for the test's topic, `spec` laid over it.
    pub(crate) fn object(&self, name: &str, spec: Value) -> Value {
        let mut fields = json!({"kafka": {"bootstrap": {"servers": self.servers}}, "topicName": self.topic});
        for (key, value) in spec.as_object().unwrap() {
            fields[key] = value.clone();
        }
        json!({
            "apiVersion": "orderpipeline.dev/v1alpha1", "kind": "KafkaTopic",
            "metadata": {"name": name, "namespace": self.namespace}, "spec": fields,
        })
    }

    pub(crate) async fn create(&self, spec: Value) -> KafkaTopic {
        self.create_named(NAME, spec).await
    }

    pub(crate) async fn create_named(&self, name: &str, spec: Value) -> KafkaTopic {
        let object = serde_json::from_value(self.object(name, spec)).unwrap();
        self.api().create(&PostParams::default(), &object).await.unwrap()
    }

    /// Annotates the object.
    pub(crate) async fn annotate(&self, name: &str, key: &str, value: &str) {
        let patch = Patch::Merge(json!({"metadata": {"annotations": {key: value}}}));
        self.api().patch(name, &PatchParams::default(), &patch).await.unwrap();
    }

    /// Replaces fields of the spec; a config key is removed by leaving it out.
    pub(crate) async fn change(&self, spec: Value) {
        self.change_named(NAME, spec).await;
    }

    pub(crate) async fn change_named(&self, name: &str, spec: Value) {
        let ops: Vec<Value> = spec
            .as_object()
            .unwrap()
            .iter()
            .map(|(field, value)| json!({"op": "add", "path": format!("/spec/{field}"), "value": value}))
            .collect();
        let patch: Patch<Value> = Patch::Json(serde_json::from_value(json!(ops)).unwrap());
        self.api().patch(name, &PatchParams::default(), &patch).await.unwrap();
    }

    pub(crate) async fn delete(&self, name: &str) {
        self.api().delete(name, &DeleteParams::default()).await.unwrap();
    }

    pub(crate) async fn get(&self, name: &str) -> KafkaTopic {
        self.api().get(name).await.unwrap()
    }

    pub(crate) async fn ready(&self) -> KafkaTopicStatus {
        self.reason(NAME, "Synced").await
    }

    /// Waits until `Ready` of the newest generation has this reason.
    pub(crate) async fn reason(&self, name: &str, reason: &str) -> KafkaTopicStatus {
        eventually(reason, || async {
            let object = self.get(name).await;
            let status = object.status.unwrap_or_default();
            let current = Some(status.observed_generation) == object.metadata.generation;
            match conditions::find(&status.conditions, ConditionType::Ready) {
                Some(ready) if current && ready.reason == reason => Ok(status),
                other => Err(format!("{other:?}")),
            }
        })
        .await
    }

    pub(crate) async fn gone(&self, name: &str) {
        eventually("object gone", || async {
            match self.api().get_opt(name).await.unwrap() {
                None => Ok(()),
                Some(object) => Err(format!("{:?}", object.status)),
            }
        })
        .await;
    }

    /// Waits for an event about the object; answers with its note.
    pub(crate) async fn event(&self, name: &str, reason: &str) -> String {
        let events: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        eventually(reason, || async {
            let all = events.list(&ListParams::default()).await.unwrap().items;
            let about =
                |event: &&Event| event.regarding.as_ref().and_then(|r| r.name.as_deref()) == Some(name);
            let found = all.iter().filter(about).find(|event| event.reason.as_deref() == Some(reason));
            match found {
                Some(event) => Ok(event.note.clone().unwrap_or_default()),
                None => {
                    Err(format!("{:?}", all.iter().map(|event| event.reason.clone()).collect::<Vec<_>>()))
                }
            }
        })
        .await
    }

    /// Reasons of the events about the object so far.
    pub(crate) async fn events(&self, name: &str) -> Vec<String> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let all = events.list(&ListParams::default()).await.unwrap().items;
        let about = all.into_iter().filter(|event| {
            event.regarding.as_ref().and_then(|regarding| regarding.name.as_deref()) == Some(name)
        });
        about.filter_map(|event| event.reason).collect()
    }

    pub(crate) fn topic_name(&self) -> TopicName {
        TopicName::new(self.topic.clone()).unwrap()
    }

    /// The topic as Kafka has it.
    pub(crate) async fn described(&self) -> Option<TopicDescription> {
        self.admin.describe_topics(&[self.topic_name()]).await.remove(0).ok()
    }

    /// Waits until Kafka has the topic, or has it no more.
    pub(crate) async fn in_kafka(&self, there: bool) {
        eventually("topic in Kafka", || async {
            let found = self.described().await;
            if found.is_some() == there { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
    }

    /// Waits until the topic has so many partitions.
    pub(crate) async fn partitions(&self, count: u32) {
        eventually("partitions", || async {
            match self.described().await {
                Some(topic) if topic.partition_count() == count => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }

    /// Settings of the topic itself.
    pub(crate) async fn overrides(&self) -> BTreeMap<String, String> {
        let config = self.admin.describe_configs(&[self.topic_name()]).await.remove(0).unwrap();
        config
            .overrides()
            .map(|entry| (entry.name.clone(), entry.value.clone().unwrap_or_default()))
            .collect()
    }

    pub(crate) async fn overrides_become(&self, expected: &[(&str, &str)]) {
        let expected: BTreeMap<String, String> =
            expected.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        eventually("settings", || async {
            let found = self.overrides().await;
            if found == expected { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
    }

    /// What somebody else does to the cluster.
    pub(crate) async fn meanwhile_create(&self, new: NewTopic) {
        self.admin.create_topics(&[new], Mode::Apply).await.remove(0).unwrap();
        self.in_kafka(true).await;
    }

    pub(crate) async fn meanwhile_configure(&self, alteration: ConfigAlteration) {
        self.admin.alter_configs(&[alteration], Mode::Apply).await.remove(0).unwrap();
    }

    pub(crate) async fn meanwhile_grow(&self, total: u32) {
        let growth = PartitionGrowth { topic: self.topic_name(), total };
        self.admin.create_partitions(&[growth], Mode::Apply).await.remove(0).unwrap();
    }

    pub(crate) async fn meanwhile_delete(&self) {
        self.admin.delete_topics(&[self.topic_name()]).await.remove(0).unwrap();
    }

    pub(crate) async fn put_secret(&self, name: &str, data: &[(&str, &str)]) {
        let data: BTreeMap<&str, &str> = data.iter().copied().collect();
        let secret =
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data});
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        api.patch(name, &PatchParams::apply("test"), &Patch::Apply(secret)).await.unwrap();
    }
}

/// Whether `Stalled` or `Reconciling` explains why it is not ready.
pub(crate) fn is(status: &KafkaTopicStatus, kind: ConditionType) -> bool {
    conditions::is_true(&status.conditions, kind)
}

/// What `Ready` says.
pub(crate) fn message(status: &KafkaTopicStatus) -> &str {
    let ready = conditions::find(&status.conditions, ConditionType::Ready).unwrap();
    assert!(ready.status == State::True.name() || !ready.message.is_empty());
    &ready.message
}

/// Waits until `probe` answers; what it said last is part of the failure.
pub(crate) async fn eventually<T, F, P>(what: &str, mut probe: P) -> T
where
    P: FnMut() -> F,
    F: Future<Output = Result<T, String>>,
{
    let deadline = tokio::time::Instant::now() + LIMIT;
    loop {
        let last = match probe().await {
            Ok(found) => return found,
            Err(last) => last,
        };
        assert!(tokio::time::Instant::now() < deadline, "{what}: not within {LIMIT:?}; last: {last}");
        tokio::time::sleep(PAUSE).await;
    }
}
