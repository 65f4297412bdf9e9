//! A namespace of one's own on the shared apiserver, with the operator looking after it, and the parts of
//! Kubernetes' controllers that the tests play.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use devcluster::testing::{apiserver, kafka, unique};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kafka_admin::{Admin, ConnectOptions, KafkaAdmin, TopicName};
use kube::api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::NamespaceResourceScope;
use kube::runtime::reflector::Store;
use kube::{Api, Client, Config, Resource, ResourceExt};
use operator::controller::context::{Context, Settings};
use operator::crd::conditions::{self, ConditionType};
use operator::crd::{KafkaTopic, OrderPipeline};
use operator::metrics::Metrics;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// Everything here takes milliseconds on an idle machine; a build beside it makes it slow.
const LIMIT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);
/// Nothing connects to it: the Job that would is played by the test.
pub(crate) const ADMIN_URL: &str = "postgres://admin:admin-password@postgres.example:5432/postgres";

/// A namespace and the operator that looks after it.
pub(crate) struct World {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) prefix: String,
    operator: Operator,
}

/// A running operator.
pub(crate) struct Operator {
    pub(crate) ctx: Arc<Context>,
    task: tokio::task::JoinHandle<()>,
}

impl Operator {
    /// An operator that sees every object.
    async fn start(client: &Client, namespace: &str) -> Self {
        let settings = Settings {
            namespace: Some(namespace.to_owned()),
            drift_interval: Duration::from_secs(2),
            cleanup_timeout: Duration::from_secs(5),
            ..Settings::default()
        };
        let metrics = Arc::new(Metrics::new().unwrap());
        let ctx = Arc::new(Context::new(client.clone(), metrics, settings, CancellationToken::new()));
        let running = Arc::clone(&ctx);
        let task = tokio::spawn(async move { operator::controller::run(&running).await });
        eventually("watches", || async {
            // A watch is only unsynced once it is announced.
            let begun = ctx.metrics.encode().unwrap();
            let begun =
                ["kafkatopic", "orderpipeline"].iter().all(|name| begun.contains(&format!("=\"{name}\"")));
            let unsynced = ctx.watches.unsynced();
            if begun && unsynced.is_empty() { Ok(()) } else { Err(format!("{unsynced:?}")) }
        })
        .await;
        Self { ctx, task }
    }

    async fn stop(self) {
        self.ctx.shutdown.cancel();
        tokio::time::timeout(LIMIT, self.task).await.expect("the operator ends in time").unwrap();
    }
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
        let kubeconfig = Kubeconfig::read_from(apiserver().kubeconfig()).unwrap();
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        let client = Client::try_from(config).unwrap();
        install_crds(&client).await;
        let namespace = unique("pipeline").to_lowercase().replace(['.', '_'], "-");
        let metadata = ObjectMeta { name: Some(namespace.clone()), ..ObjectMeta::default() };
        let object = Namespace { metadata, ..Namespace::default() };
        Api::all(client.clone()).create(&PostParams::default(), &object).await.unwrap();
        let operator = Operator::start(&client, &namespace).await;
        Self { prefix: format!("{namespace}."), client, namespace, operator }
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

    /// What the Job's controller does when its pod ends: `Complete` or `Failed`.
    pub(crate) async fn finish_job(&self, end: &str) {
        let jobs = self.names::<Job>().await;
        let [job] = jobs.as_slice() else { panic!("there should be one Job, there are {jobs:?}") };
        let before = if end == "Complete" { "SuccessCriteriaMet" } else { "FailureTarget" };
        let condition = |kind: &str| {
            json!({"type": kind, "status": "True", "reason": "BackoffLimitExceeded", "message": "played by the test",
                   "lastProbeTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z"})
        };
        let mut status = json!({
            "startTime": "2026-01-01T00:00:00Z", "conditions": [condition(before), condition(end)]
        });
        if end == "Complete" {
            status["completionTime"] = "2026-01-01T00:00:01Z".into();
            status["succeeded"] = 1.into();
        }
        self.patch_status::<Job>(job, status).await;
    }

    /// The same, once the Job was made.
    pub(crate) async fn finish_job_when_there(&self) {
        eventually("the Job", || async {
            if self.names::<Job>().await.is_empty() { Err("none".to_owned()) } else { Ok(()) }
        })
        .await;
        self.finish_job("Complete").await;
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

    /// What the Deployments' controller does when all pods are there.
    pub(crate) async fn roll_out(&self) {
        for deployment in self.api::<Deployment>().list(&ListParams::default()).await.unwrap() {
            let replicas = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap();
            let status = json!({
                "observedGeneration": deployment.metadata.generation, "replicas": replicas,
                "updatedReplicas": replicas, "readyReplicas": replicas, "availableReplicas": replicas
            });
            self.patch_status::<Deployment>(&deployment.name_any(), status).await;
        }
    }

    async fn patch_status<K>(&self, name: &str, status: Value)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + Debug
            + Serialize,
    {
        let patch = Patch::Merge(json!({ "status": status }));
        self.api::<K>().patch_status(name, &PatchParams::default(), &patch).await.unwrap();
    }

    /// What the garbage collector does after the pipeline was deleted: it goes on until nothing is left, because a
    /// pass that was under way may still have made an object.
    pub(crate) async fn collect_garbage(&self) {
        eventually("topic objects are gone", || async {
            let left = self.names::<KafkaTopic>().await;
            for topic in &left {
                self.api::<KafkaTopic>().delete(topic, &DeleteParams::default()).await.ok();
            }
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        })
        .await;
    }

    /// Whether Kafka has the topic (by its name without prefix).
    pub(crate) async fn kafka_has(&self, topic: &str) -> bool {
        let admin = KafkaAdmin::connect(&ConnectOptions::plaintext(kafka().bootstrap())).unwrap();
        let name = TopicName::new(format!("{}{topic}", self.prefix)).unwrap();
        admin.describe_topics(&[name]).await.into_iter().all(|described| described.is_ok())
    }

    /// Writes that the operator made, by kind and verb, status writes of the pipeline itself left out.
    pub(crate) fn writes(&self) -> Vec<String> {
        let text = self.operator.ctx.metrics.encode().unwrap();
        let writes =
            text.lines().filter(|line| line.starts_with("orderpipeline_operator_kubernetes_writes_total"));
        let of_objects = writes.filter(|line| !(line.contains("OrderPipeline") && line.contains("status")));
        of_objects.map(str::to_owned).collect()
    }

    pub(crate) fn ctx(&self) -> &Context {
        &self.operator.ctx
    }

    /// Another operator process takes over.
    pub(crate) async fn restart_operator(&mut self) {
        let next = Operator::start(&self.client, &self.namespace).await;
        std::mem::replace(&mut self.operator, next).stop().await;
    }

    pub(crate) async fn end(self) {
        self.operator.stop().await;
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

async fn install_crds(client: &Client) {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for crd in operator::crd::all() {
        let name = crd.name_any();
        let params = PatchParams::apply("test").force();
        api.patch(&name, &params, &Patch::Apply(&crd)).await.unwrap();
        eventually(&name, || async {
            let crd = api.get(&name).await.unwrap();
            let conditions = crd.status.and_then(|status| status.conditions).unwrap_or_default();
            let established = conditions.iter().any(|c| c.type_ == "Established" && c.status == "True");
            if established { Ok(()) } else { Err(format!("{conditions:?}")) }
        })
        .await;
    }
    // Established comes a moment before the apiserver serves it.
    eventually("pipelines are served", || async {
        let pipelines: Api<OrderPipeline> = Api::all(client.clone());
        pipelines.list(&ListParams::default()).await.map(drop).map_err(|error| error.to_string())
    })
    .await;
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
