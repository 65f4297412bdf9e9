//! A namespace of one's own on the shared apiserver, with the operator looking after it.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::Future;
use std::path::Path;
use std::time::Duration;

use devcluster::apiserver::{Apiserver, ApiserverOptions};
use devcluster::tempdir::TempDir;
use devcluster::testing::{apiserver, kafka, unique};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kafka_admin::{Admin, ConnectOptions, KafkaAdmin, TopicName};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::runtime::reflector::Store;
use kube::{Api, Client, Config, Resource, ResourceExt};
use operator::controller::context::Context;
use operator::crd::conditions::{self, ConditionType};
use operator::crd::{KafkaTopic, KafkaTopicStatus, OrderPipeline, RECONCILE_NOW};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::installed::install;
use super::running::{OPERATOR, Operator, Scope, client, config, create_namespace};

/// Everything here takes milliseconds on an idle machine; a build beside it makes it slow.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);
/// Nothing connects to it: the Job that would is played by the test.
pub(crate) const ADMIN_URL: &str = "postgres://admin:admin-password@postgres.example:5432/postgres";

/// A namespace and the operator that looks after it.
pub(crate) struct World {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) prefix: String,
    /// What the operator's client is made from, with its rights.
    rights: Config,
    operator: Option<Operator>,
    pub(crate) apiserver: Option<(Apiserver, TempDir)>,
}

impl World {
    /// A world with the Secret `postgres-admin`.
    pub(crate) async fn new() -> Self {
        let world = Self::without_secrets().await;
        world.put_secret("postgres-admin", &[("url", ADMIN_URL)]).await;
        world
    }

    pub(crate) async fn without_secrets() -> Self {
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        // Fails for every test but the first.
        let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
        Self::on(apiserver().kubeconfig(), None, Scope::Namespace).await
    }

    /// On an apiserver of its own, where the operator looks after every namespace: others would be disturbed.
    pub(crate) async fn of_a_whole_cluster(before: impl AsyncFnOnce(&Client)) -> Self {
        let (apiserver, dir) = tokio::task::spawn_blocking(|| {
            let dir = TempDir::new().unwrap();
            let options = ApiserverOptions::for_tests(dir.path().join("apiserver")).unwrap();
            (Apiserver::start(options).unwrap(), dir)
        })
        .await
        .unwrap();
        let kubeconfig = apiserver.kubeconfig().to_owned();
        before(&client(&kubeconfig).await).await;
        let world = Self::on(&kubeconfig, Some((apiserver, dir)), Scope::Cluster).await;
        world.put_secret("postgres-admin", &[("url", ADMIN_URL)]).await;
        world
    }

    /// A world whose operators the test runs itself.
    pub(crate) async fn without_operator() -> Self {
        Self::on(apiserver().kubeconfig(), None, Scope::Nothing).await
    }

    async fn on(kubeconfig: &Path, apiserver: Option<(Apiserver, TempDir)>, scope: Scope) -> Self {
        let of_the_test = client(kubeconfig).await;
        install(kubeconfig, &of_the_test).await;
        let name = unique("pipeline").to_lowercase().replace(['.', '_'], "-");
        let namespace = create_namespace(&of_the_test, name).await;
        let rights = config(kubeconfig, Some(OPERATOR)).await;
        let operator = match scope {
            Scope::Namespace => Some(Operator::start(&rights, Some(&namespace)).await),
            Scope::Cluster => Some(Operator::start(&rights, None).await),
            Scope::Nothing => None,
        };
        let prefix = format!("{namespace}.");
        Self { prefix, client: of_the_test, namespace, rights, operator, apiserver }
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// A pipeline `shop` with all services and one broker's worth of copies, `change` laid over it.
    pub(crate) fn pipeline(&self, change: Value) -> OrderPipeline {
        let mut pipeline = json!({
            "apiVersion": "orderpipeline.dev/v1alpha1", "kind": "OrderPipeline",
            "metadata": {"name": "shop"},
            "spec": {
                "profile": "Dev",
                "kafka": {"bootstrap": {"servers": kafka().bootstrap()}},
                "topics": {"prefix": self.prefix},
                "database": {"secretRef": {"name": "postgres-admin"}},
                "services": {"order": {}, "inventory": {}, "notification": {}}
            }
        });
        lay_over(&mut pipeline, change);
        serde_json::from_value(pipeline).unwrap()
    }

    pub(crate) async fn create(&self, change: Value) -> OrderPipeline {
        self.api().create(&PostParams::default(), &self.pipeline(change)).await.unwrap()
    }

    /// Merges `change` into the pipeline's spec.
    pub(crate) async fn change(&self, change: Value) -> OrderPipeline {
        let patch = Patch::Merge(json!({ "spec": change }));
        self.api().patch("shop", &PatchParams::default(), &patch).await.unwrap()
    }

    /// Has the pipeline looked at now.
    pub(crate) async fn look(&self) {
        let now = json!({"metadata": {"annotations": {RECONCILE_NOW: jiff::Timestamp::now().to_string()}}});
        let api: Api<OrderPipeline> = self.api();
        api.patch("shop", &PatchParams::default(), &Patch::Merge(now)).await.unwrap();
    }

    /// A pipeline that is Ready.
    pub(crate) async fn ready(&self) {
        self.create(json!({})).await;
        self.reason("DatabasePending").await;
        self.finish_job("Complete").await;
        self.reason("ServicesStarting").await;
        self.roll_out().await;
        self.reason("AllReady").await;
    }

    /// Waits until the pipeline's newest generation is Ready, or not, for `reason`; answers with the message.
    pub(crate) async fn reason(&self, reason: &str) -> String {
        self.reason_of("shop", reason).await
    }

    /// The same of the pipeline `name`.
    pub(crate) async fn reason_of(&self, name: &str, reason: &str) -> String {
        let api: Api<OrderPipeline> = self.api();
        eventually(reason, || async {
            let pipeline = api.get(name).await.unwrap();
            let status = pipeline.status.clone().unwrap_or_default();
            let ready = conditions::find(&status.conditions, ConditionType::Ready).cloned();
            let current = Some(status.observed_generation) == pipeline.metadata.generation;
            match ready {
                Some(ready) if current && ready.reason == reason => Ok(ready.message),
                other => Err(format!("{other:?}")),
            }
        })
        .await
    }

    /// Waits until `AccessReady` has this reason; answers with the message.
    pub(crate) async fn access(&self, reason: &str) -> String {
        eventually(reason, || async {
            let status = self.status().await;
            match conditions::find(&status.conditions, ConditionType::AccessReady) {
                Some(found) if found.reason == reason => Ok(found.message.clone()),
                _ => Err(format!("{:?}", status.conditions)),
            }
        })
        .await
    }

    pub(crate) async fn status(&self) -> operator::crd::OrderPipelineStatus {
        let pipeline: OrderPipeline = self.api().get("shop").await.unwrap();
        pipeline.status.unwrap_or_default()
    }

    /// Names of all objects of a kind that belong to the pipeline.
    pub(crate) async fn names<K>(&self) -> Vec<String>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
    {
        let labels = ListParams::default().labels("app.kubernetes.io/instance=shop");
        self.api::<K>().list(&labels).await.unwrap().items.iter().map(ResourceExt::name_any).collect()
    }

    /// Waits until these are the names of all objects of a kind that belong to the pipeline.
    pub(crate) async fn names_become<K>(&self, expected: &[&str])
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
    {
        eventually(&format!("{} {expected:?}", K::plural(&())), || async {
            let found = self.names::<K>().await;
            if found == expected { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
    }

    /// Versions of all objects that belong to the pipeline, and its own.
    pub(crate) async fn versions(&self) -> BTreeMap<String, String> {
        let mut versions = BTreeMap::new();
        self.add_versions::<KafkaTopic>(&mut versions).await;
        self.add_versions::<Secret>(&mut versions).await;
        self.add_versions::<Job>(&mut versions).await;
        self.add_versions::<ServiceAccount>(&mut versions).await;
        self.add_versions::<ConfigMap>(&mut versions).await;
        self.add_versions::<Deployment>(&mut versions).await;
        self.add_versions::<Service>(&mut versions).await;
        self.add_versions::<NetworkPolicy>(&mut versions).await;
        self.add_versions::<PodDisruptionBudget>(&mut versions).await;
        self.add_versions::<Ingress>(&mut versions).await;
        self.add_versions::<HorizontalPodAutoscaler>(&mut versions).await;
        self.add_versions::<OrderPipeline>(&mut versions).await;
        versions
    }

    async fn add_versions<K>(&self, versions: &mut BTreeMap<String, String>)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
    {
        let list = self.api::<K>().list(&ListParams::default()).await.unwrap();
        versions.extend(list.iter().map(|object| {
            (format!("{} {}", K::kind(&()), object.name_any()), object.resource_version().unwrap())
        }));
    }

    pub(crate) async fn put_secret(&self, name: &str, data: &[(&str, &str)]) {
        let data: BTreeMap<&str, &str> = data.iter().copied().collect();
        let secret =
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data});
        self.api::<Secret>().patch(name, &PatchParams::apply("test"), &Patch::Apply(secret)).await.unwrap();
    }

    pub(crate) async fn database_url(&self, service: &str) -> String {
        self.secret_of(service, "DATABASE_URL").await
    }

    /// What the Secret of a service holds under `key`.
    pub(crate) async fn secret_of(&self, service: &str, key: &str) -> String {
        let secret: Secret = self.api().get(&format!("shop-{service}")).await.unwrap();
        String::from_utf8(secret.data.unwrap()[key].0.clone()).unwrap()
    }

    /// Waits until the pipeline says that a topic cannot be had; answers with the message.
    pub(crate) async fn topics_trouble(&self) -> String {
        eventually("trouble with topics", || async {
            let status = self.status().await;
            match conditions::find(&status.conditions, ConditionType::TopicsReady) {
                Some(found) if found.message.contains("InvalidReplicas") => Ok(found.message.clone()),
                other => Err(format!("{other:?}")),
            }
        })
        .await
    }

    /// Creates a `KafkaTopic` besides the pipeline's, for a topic of its name with the prefix.
    pub(crate) async fn create_topic(&self, name: &str, mut spec: Value) {
        spec["topicName"] = json!(format!("{}{name}", self.prefix));
        let topic: KafkaTopic = serde_json::from_value(json!({
            "apiVersion": "orderpipeline.dev/v1alpha1", "kind": "KafkaTopic", "metadata": {"name": name},
            "spec": spec,
        }))
        .unwrap();
        self.api().create(&PostParams::default(), &topic).await.unwrap();
    }

    /// Waits until the topic's object says `reason` of its newest generation.
    pub(crate) async fn topic_reason(&self, name: &str, reason: &str) -> KafkaTopicStatus {
        eventually(reason, || async {
            let topic: KafkaTopic = self.api().get(name).await.unwrap();
            let status = topic.status.unwrap_or_default();
            let current = Some(status.observed_generation) == topic.metadata.generation;
            match conditions::find(&status.conditions, ConditionType::Ready) {
                Some(ready) if current && ready.reason == reason => Ok(status),
                other => Err(format!("{other:?}")),
            }
        })
        .await
    }

    /// Whether Kafka has the topic (by its name without prefix).
    pub(crate) async fn kafka_has(&self, topic: &str) -> bool {
        let admin = KafkaAdmin::connect(&ConnectOptions::plaintext(kafka().bootstrap())).unwrap();
        let name = TopicName::new(format!("{}{topic}", self.prefix)).unwrap();
        admin.describe_topics(&[name]).await.into_iter().all(|described| described.is_ok())
    }

    /// Writes that the operator made, by kind and verb, status writes of the pipeline itself left out.
    pub(crate) fn writes(&self) -> Vec<String> {
        let text = self.ctx().metrics.encode().unwrap();
        let writes =
            text.lines().filter(|line| line.starts_with("orderpipeline_operator_kubernetes_writes_total"));
        let of_objects = writes.filter(|line| !(line.contains("OrderPipeline") && line.contains("status")));
        of_objects.map(str::to_owned).collect()
    }

    pub(crate) fn ctx(&self) -> &Context {
        &self.operator.as_ref().expect("an operator").ctx
    }

    /// Another operator process takes over.
    pub(crate) async fn restart_operator(&mut self) {
        let next = Operator::start(&self.rights, Some(&self.namespace)).await;
        if let Some(before) = self.operator.replace(next) {
            before.stop().await;
        }
    }

    /// Nobody takes over before [`World::restart_operator`].
    pub(crate) async fn stop_operator(&mut self) {
        if let Some(operator) = self.operator.take() {
            operator.stop().await;
        }
    }

    pub(crate) async fn end(mut self) {
        self.stop_operator().await;
    }
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

/// A cache without any pipeline.
pub(crate) fn nobody() -> Store<OrderPipeline> {
    kube::runtime::reflector::store().0
}

fn lay_over(below: &mut Value, above: Value) {
    match (below, above) {
        (Value::Object(below), Value::Object(above)) => {
            for (key, value) in above {
                lay_over(below.entry(key).or_insert(Value::Null), value);
            }
        }
        (below, above) => *below = above,
    }
}
