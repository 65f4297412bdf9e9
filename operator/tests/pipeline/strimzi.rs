//! Pipelines on a Kafka that Strimzi runs: its own CRDs, a real broker, and a double of its User Operator.

use std::sync::Arc;

use devcluster::kafka::{Kafka, KafkaOptions};
use devcluster::tempdir::TempDir;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret;
use kafka_admin::{
    AclBinding, AclOperation, Admin, ClientIdentity, ConnectOptions, KafkaAdmin, NewRecord, Principal,
    ResourceKind, SaslCredentials, SaslMechanism, Security, TlsOptions, TopicName, append_records,
};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use operator::build::deployment::CONFIG_HASH;
use operator::controller::pipeline::principals::ROTATE_ANNOTATION;
use operator::crd::OrderPipeline;
use serde_json::{Value, json};

use crate::running::{administrator, create_namespace};
use crate::strimzi_kinds::{api, install, put};
use crate::user_operator::UserOperator;
use crate::world::{World, eventually};

/// A cluster `main` of Strimzi's in a namespace.
pub(crate) struct Cluster {
    client: Client,
    namespace: String,
    kafka: Arc<Kafka>,
    _dir: TempDir,
}

impl Cluster {
    /// Its broker, its certificate, and the operator's user as `manifests/strimzi` has it, with `authentication`; the
    /// `Kafka` itself is not there yet.
    pub(crate) async fn new(client: &Client, namespace: &str, authentication: &str) -> Self {
        let (kafka, dir) = tokio::task::spawn_blocking(|| {
            let dir = TempDir::new().unwrap();
            let options = KafkaOptions::for_tests(dir.path().join("kafka"), 1).unwrap().with_tls().unwrap();
            (Arc::new(Kafka::start(options).unwrap()), dir)
        })
        .await
        .unwrap();
        let cluster = Self { client: client.clone(), namespace: namespace.to_owned(), kafka, _dir: dir };
        cluster.trust(&[("ca.crt", cluster.kafka.certificates().ca_pem().unwrap())]).await;
        let file =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/strimzi/operator-user.yaml");
        let mut user: Value = serde_saphyr::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        user["spec"]["authentication"]["type"] = authentication.into();
        put(&cluster.api("KafkaUser"), "KafkaUser", "orderpipeline-operator", user).await;
        cluster
    }

    /// Those that signed the brokers' certificates.
    async fn trust(&self, certificates: &[(&str, String)]) {
        let data: Value = certificates.iter().map(|(key, pem)| ((*key).to_owned(), json!(pem))).collect();
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "main-cluster-ca-cert"}, "stringData": data,
        });
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        secrets
            .patch("main-cluster-ca-cert", &PatchParams::apply("strimzi"), &Patch::Apply(secret))
            .await
            .unwrap();
    }

    pub(crate) fn api(&self, kind: &str) -> Api<kube::api::DynamicObject> {
        api(&self.client, &self.namespace, kind)
    }

    /// Creates or changes the `Kafka`, and says in its status where it is.
    pub(crate) async fn put_kafka(&self, annotations: Value) {
        let listener = |name: &str, port: u16, tls: bool, authentication: Value| json!({"name": name, "port": port, "type": "internal", "tls": tls, "authentication": authentication});
        let spec = json!({
            "metadata": {"annotations": annotations},
            "spec": {
                "kafka": {
                    "authorization": {"type": "simple"},
                    "listeners": [
                        listener("scram", 9093, true, json!({"type": "scram-sha-512"})),
                        listener("mutual", 9094, true, json!({"type": "tls"})),
                        listener("oauth", 9095, true, json!({"type": "custom", "sasl": true})),
                    ],
                },
                "entityOperator": {"userOperator": {}},
            },
        });
        put(&self.api("Kafka"), "Kafka", "main", spec).await;
        let id = self.admin().cluster_id().await.unwrap();
        let at = |name: &str, servers: String| json!({"name": name, "bootstrapServers": servers});
        let listeners =
            [at("scram", self.kafka.sasl_tls_bootstrap()), at("mutual", self.kafka.mtls_bootstrap())];
        let status = Patch::Merge(json!({"status": {"clusterId": id, "listeners": listeners}}));
        self.api("Kafka").patch_status("main", &PatchParams::default(), &status).await.unwrap();
    }

    fn admin(&self) -> KafkaAdmin {
        KafkaAdmin::connect(&ConnectOptions::plaintext(self.kafka.bootstrap())).unwrap()
    }

    pub(crate) fn start_user_operator(&self) -> UserOperator {
        UserOperator::start(&self.client, &self.namespace, &self.kafka)
    }

    /// Names of the `KafkaUser`s, the operator's left out.
    pub(crate) async fn users(&self) -> Vec<String> {
        let all = self.api("KafkaUser").list(&ListParams::default()).await.unwrap().items;
        all.iter().map(ResourceExt::name_any).filter(|name| name != "orderpipeline-operator").collect()
    }
}

/// A pipeline on the listener of cluster `main`.
pub(crate) fn on(listener: &str, namespace: Option<&str>) -> Value {
    let mut strimzi = json!({"cluster": "main", "listener": listener});
    if let Some(namespace) = namespace {
        strimzi["namespace"] = namespace.into();
    }
    json!({"spec": {"kafka": {"bootstrap": null, "strimzi": strimzi}}})
}

/// A world in whose namespace the cluster is.
async fn world(authentication: &str) -> (World, Cluster) {
    install(&administrator().await).await;
    let world = World::new().await;
    let cluster = Cluster::new(&world.client, &world.namespace, authentication).await;
    (world, cluster)
}

/// How the pods of `service` connect.
async fn connection(world: &World, service: &str, servers: String) -> ConnectOptions {
    let secret: Secret = world.api().get(&format!("shop-{service}")).await.unwrap();
    let data = secret.data.unwrap();
    let text = |key: &str| data.get(key).map(|bytes| String::from_utf8(bytes.0.clone()).unwrap());
    let identity = text("tls.crt")
        .map(|certificate_pem| ClientIdentity { certificate_pem, key_pem: text("tls.key").unwrap().into() });
    let tls = TlsOptions { ca_pem: text("ca.crt"), identity };
    let security = match text("KAFKA_USERNAME") {
        Some(username) => {
            let (mechanism, password) = (SaslMechanism::ScramSha512, text("KAFKA_PASSWORD").unwrap().into());
            Security::SaslSsl(tls, SaslCredentials { mechanism, username, password })
        }
        None => Security::Ssl(tls),
    };
    ConnectOptions { security, ..ConnectOptions::plaintext(servers) }
}

/// Whether the one who connects so may write to `topic`.
async fn writes(world: &World, options: &ConnectOptions, topic: &str) -> bool {
    let topic = TopicName::new(format!("{}{topic}", world.prefix)).unwrap();
    let value = Some(b"x".to_vec());
    let record = NewRecord { topic, partition: Some(0), key: None, value, headers: Vec::new() };
    append_records(options, &[record]).await.is_ok()
}

/// Waits until one may: brokers learn of a new password, and of rights, a little later than of the user.
async fn may_write(world: &World, options: &ConnectOptions, topic: &str) {
    eventually("it may write", || async {
        if writes(world, options, topic).await { Ok(()) } else { Err(topic.to_owned()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn services_get_users_of_their_own_in_another_namespace_that_consents() {
    let world = World::of_a_whole_cluster(async |client| install(client).await).await;
    let kafka = create_namespace(&world.client, "kafka".to_owned()).await;
    let cluster = Cluster::new(&world.client, &kafka, "scram-sha-512").await;
    let _users = cluster.start_user_operator();

    world.create(on("scram", Some("kafka"))).await;
    let absent = world.reason("KafkaNotFound").await;
    cluster.put_kafka(json!({})).await;
    let refused = world.reason("KafkaNotAllowed").await;
    cluster
        .put_kafka(json!({"orderpipeline.dev/allowed-namespaces": format!("other,{}", world.namespace)}))
        .await;
    world.reason("DatabasePending").await;

    assert!(absent.contains("kafka/main"), "{absent}");
    assert!(refused.contains("orderpipeline.dev/allowed-namespaces"), "{refused}");
    let user = |service| format!("{}.shop.{service}", world.namespace);
    assert_eq!(cluster.users().await, [user("inventory"), user("notification"), user("order")]);
    assert_eq!(world.secret_of("order", "KAFKA_USERNAME").await, user("order"));
    let order = connection(&world, "order", cluster.kafka.sasl_tls_bootstrap()).await;
    may_write(&world, &order, "orders.created").await;
    assert!(!writes(&world, &order, "inventory.reserved").await, "it is not the order service's");

    world.api::<OrderPipeline>().delete("shop", &DeleteParams::default()).await.unwrap();
    eventually("its users are gone", || async {
        let left = cluster.users().await;
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_operator_leaves_what_is_ours_alone_and_removes_what_is_not() {
    let (world, cluster) = world("scram-sha-512").await;
    let _users = cluster.start_user_operator();
    cluster.put_kafka(json!({})).await;
    world.create(on("scram", None)).await;
    world.reason("DatabasePending").await;
    world.finish_job("Complete").await;
    world.reason("ServicesStarting").await;

    let stranger = Principal::user("stranger");
    let theirs = AclBinding::allow(stranger.clone(), AclOperation::Read, ResourceKind::Topic, "x");
    cluster.admin().create_acls(&[theirs]).await.remove(0).unwrap();
    eventually("the stranger has no rights", || async {
        let filter = [kafka_admin::AclFilter::of(stranger.clone())];
        let left = cluster.admin().describe_acls(&filter).await.remove(0).unwrap();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
    let notification = connection(&world, "notification", cluster.kafka.sasl_tls_bootstrap()).await;
    may_write(&world, &notification, "notifications.sent").await;

    world.change(json!({"services": {"notification": {"enabled": false}}})).await;
    eventually("the user of the service that left is gone", || async {
        let left = cluster.users().await;
        if left.len() == 2 { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
    eventually("and its rights", || async {
        if writes(&world, &notification, "notifications.sent").await {
            Err("it may".to_owned())
        } else {
            Ok(())
        }
    })
    .await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_authority_and_a_rotated_password_roll_the_pods() {
    let (world, cluster) = world("scram-sha-512").await;
    let _users = cluster.start_user_operator();
    cluster.put_kafka(json!({})).await;
    world.create(on("scram", None)).await;
    world.reason("DatabasePending").await;
    world.finish_job("Complete").await;
    world.reason("ServicesStarting").await;
    let hash = async || {
        let deployment: Deployment = world.api().get("shop-order").await.unwrap();
        let pod = deployment.spec.unwrap().template.metadata.unwrap();
        pod.annotations.unwrap()[CONFIG_HASH].clone()
    };
    let rolled = async |before: &String| {
        eventually("the pods roll", || async {
            let now = hash().await;
            if now == *before { Err(now) } else { Ok(now) }
        })
        .await
    };
    let first = hash().await;

    let old = cluster.kafka.certificates().ca_pem().unwrap();
    let new = rcgen_authority();
    cluster.trust(&[("ca.crt", new.clone()), ("ca-2026-01-01T00-00-00Z.crt", old)]).await;
    let second = rolled(&first).await;
    assert!(world.secret_of("order", "ca.crt").await.contains(new.trim()));

    let before = world.secret_of("order", "KAFKA_PASSWORD").await;
    let patch = Patch::Merge(json!({"metadata": {"annotations": {ROTATE_ANNOTATION: "2026-11"}}}));
    world.api::<OrderPipeline>().patch("shop", &PatchParams::default(), &patch).await.unwrap();
    rolled(&second).await;
    eventually("another password", || async {
        let now = world.secret_of("order", "KAFKA_PASSWORD").await;
        if now == before { Err("the same".to_owned()) } else { Ok(()) }
    })
    .await;
    let order = connection(&world, "order", cluster.kafka.sasl_tls_bootstrap()).await;
    may_write(&world, &order, "orders.created").await;
    world.end().await;
}

/// An authority that signs nothing yet.
fn rcgen_authority() -> String {
    let dir = TempDir::new().unwrap();
    let authority = devcluster::pki::Authority::open(dir.path()).unwrap();
    std::fs::read_to_string(authority.file("ca.crt")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_listener_with_mutual_tls_services_have_certificates() {
    let (world, cluster) = world("tls").await;
    let _users = cluster.start_user_operator();
    cluster.put_kafka(json!({})).await;

    world.create(on("mutual", None)).await;
    world.reason("DatabasePending").await;

    let order = connection(&world, "order", cluster.kafka.mtls_bootstrap()).await;
    assert!(matches!(order.security, Security::Ssl(TlsOptions { identity: Some(_), .. })));
    may_write(&world, &order, "orders.created").await;
    assert!(!writes(&world, &order, "inventory.reserved").await);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_is_taken_by_the_definitions_of_both() {
    let client = administrator().await;
    install(&client).await;
    let world = World::new().await;
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/strimzi");
    let read = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap();
    let only_look = PatchParams::apply("test").dry_run();

    let kafka = read("kafka.yaml");
    let kafka = kafka.split("\n---\n").find(|text| text.contains("kind: Kafka\n")).unwrap();
    let kafka: Value = serde_saphyr::from_str(kafka).unwrap();
    let taken = api(&client, &world.namespace, "Kafka").patch("main", &only_look, &Patch::Apply(kafka)).await;
    let pipeline: OrderPipeline = serde_saphyr::from_str(&read("pipeline.yaml")).unwrap();
    let pipeline = OrderPipeline::new("shop", pipeline.spec);
    let ours = world.api::<OrderPipeline>().patch("shop", &only_look, &Patch::Apply(pipeline)).await;

    taken.unwrap();
    ours.unwrap();
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_strimzi_does_not_provide_is_told() {
    let (world, cluster) = world("scram-sha-512").await;
    cluster.put_kafka(json!({})).await;
    world.create(on("elsewhere", None)).await;

    let no_listener = world.reason("ListenerUnusable").await;
    world.change(json!({"kafka": {"strimzi": {"listener": "oauth"}}})).await;
    let oauth = eventually("another reason", || async {
        let told = world.reason("ListenerUnusable").await;
        if told == no_listener { Err(told) } else { Ok(told) }
    })
    .await;
    world.change(json!({"kafka": {"strimzi": {"listener": "scram"}}})).await;
    let no_secret = world.reason("SecretNotFound").await;
    // The operator's own user first, and one of somebody else for the order service.
    let users = cluster.start_user_operator();
    let name = format!("{}.shop.order", world.namespace);
    put(&cluster.api("KafkaUser"), "KafkaUser", &name, json!({"spec": {}})).await;
    let taken = world.access("UserTaken").await;
    drop(users);
    cluster.api("KafkaUser").delete(&name, &DeleteParams::default()).await.unwrap();
    let pending = world.access("KafkaUserPending").await;

    assert!(
        no_listener.contains("elsewhere") && no_listener.contains("mutual, oauth, scram"),
        "{no_listener}"
    );
    assert!(oauth.contains("authentication custom"), "{oauth}");
    assert!(no_secret.contains("orderpipeline-operator"), "{no_secret}");
    assert!(taken.contains(&name), "{taken}");
    assert!(pending.contains("KafkaUser"), "{pending}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_of_our_own_making_are_not_made_beside_a_user_operator() {
    let (world, cluster) = world("scram-sha-512").await;
    cluster.put_kafka(json!({})).await;
    let admin = [("username", cluster.kafka.admin_user()), ("password", cluster.kafka.admin_password())];
    world.put_secret("kafka-credentials", &admin).await;
    let security = json!({"protocol": "SASL_PLAINTEXT", "credentials": {"secretName": "kafka-credentials"}});
    let bootstrap = json!({"servers": cluster.kafka.sasl_bootstrap(), "security": security});

    world.create(json!({"spec": {"kafka": {"bootstrap": bootstrap}}})).await;

    let told = world.access("UserOperatorConflict").await;
    assert!(told.contains("spec.kafka.strimzi"), "{told}");
    world.end().await;
}
