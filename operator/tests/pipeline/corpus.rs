//! Specs that are wrong in every way there is: each is refused at the door in words that name the field, or answered
//! with a condition that the reference explains; and a pipeline beside them is served all the same.

use axum::http;
use devcluster::testing::kafka;
use kube::api::Api;
use operator::crd::OrderPipeline;
use operator::crd::conditions::{self, ConditionType};
use serde_json::{Value, json};

use crate::world::{World, eventually};

/// Every field, by JSON pointer, and those of [`values`] that are not wrong there. To leave out what may be left out
/// never is, in a map neither: the apiserver drops a null. Variables may have any name that Kubernetes takes.
const FIELDS: [(&str, &str); 87] = [
    ("/spec/profile", "[null]"),
    ("/spec/kafka", "[]"),
    ("/spec/kafka/bootstrap", "[]"),
    ("/spec/kafka/bootstrap/servers", "[]"),
    ("/spec/kafka/bootstrap/security", "[null, {}]"),
    ("/spec/kafka/bootstrap/security/protocol", "[null]"),
    ("/spec/kafka/bootstrap/security/mechanism", "[null]"),
    ("/spec/kafka/bootstrap/security/credentials", "[null]"),
    ("/spec/kafka/bootstrap/security/ca", "[null]"),
    ("/spec/kafka/bootstrap/security/clientCertificate", "[null]"),
    ("/spec/kafka/strimzi", "[null]"),
    ("/spec/access", "[null, {}]"),
    ("/spec/access/mode", "[null]"),
    ("/spec/topics", "[null, {}]"),
    ("/spec/topics/partitions", "[null, 1]"),
    ("/spec/topics/replicas", "[null, 1]"),
    ("/spec/topics/retention", "[null]"),
    ("/spec/topics/prefix", r#"[null, "", "Delete"]"#),
    ("/spec/topics/overrides", r#"[null, {}, {"": null}]"#),
    ("/spec/topics/overrides/orders.confirmed", "[null, {}]"),
    ("/spec/topics/overrides/orders.confirmed/partitions", "[null, 1]"),
    ("/spec/topics/overrides/orders.confirmed/replicas", "[null, 1]"),
    ("/spec/topics/overrides/orders.confirmed/retention", "[null]"),
    ("/spec/topics/overrides/orders.confirmed/config", r#"[null, {}, {"": null}]"#),
    ("/spec/topics/overrides/orders.confirmed/config/max.message.bytes", "[null]"),
    ("/spec/topics/deletionPolicy", r#"[null, "Delete"]"#),
    ("/spec/topics/adoptionPolicy", "[null]"),
    ("/spec/events", "[null, {}]"),
    ("/spec/events/format", "[null]"),
    ("/spec/events/compatibility", "[null]"),
    ("/spec/events/schemaRegistry", "[null]"),
    ("/spec/events/schemaRegistry/url", "[]"),
    ("/spec/events/schemaRegistry/secretRef", "[null]"),
    ("/spec/events/schemaRegistry/secretRef/name", "[]"),
    ("/spec/events/schemaRegistry/secretRef/usernameKey", "[null]"),
    ("/spec/events/schemaRegistry/caSecretRef", "[null]"),
    ("/spec/database", "[]"),
    ("/spec/database/secretRef", "[]"),
    ("/spec/database/secretRef/name", "[]"),
    ("/spec/database/secretRef/key", "[null]"),
    ("/spec/database/cloudNativePG", "[null]"),
    ("/spec/database/cloudNativePG/cluster", "[]"),
    ("/spec/database/caSecretRef", "[null]"),
    ("/spec/services", "[]"),
    ("/spec/services/order-analytics", "[{}]"),
    ("/spec/services/order-analytics/enabled", "[null, true]"),
    ("/spec/services/order-analytics/replicas", "[null, 0, 1]"),
    ("/spec/services/order-analytics/autoscaling", "[null]"),
    ("/spec/services/order-analytics/containers", "[null]"),
    ("/spec/services/order-analytics/resources", "[null, {}]"),
    ("/spec/services/order-analytics/resources/requests", r#"[null, {}, {"": null}]"#),
    ("/spec/services/order-analytics/resources/requests/cpu", "[null, 0, 1, 1.5, 2147483648]"),
    ("/spec/services/order-analytics/env", "[null, []]"),
    ("/spec/services/order-analytics/env/0", "[]"),
    ("/spec/services/order-analytics/env/0/name", r#"[" ", "Delete", "LONG"]"#),
    ("/spec/services/order-analytics/config", r#"[null, {}, {"": null}]"#),
    ("/spec/services/order-analytics/config/grace", "[null]"),
    ("/spec/services/shipping", "[null, {}]"),
    ("/spec/services/shipping/autoscaling", "[null]"),
    ("/spec/services/shipping/autoscaling/minReplicas", "[null, 1]"),
    ("/spec/services/shipping/autoscaling/maxReplicas", "[1]"),
    ("/spec/services/shipping/autoscaling/targetCPU", "[null, 1]"),
    ("/spec/services/shipping/autoscaling/targetLag", "[null, 1, 2147483648]"),
    ("/spec/saga", "[null, {}]"),
    ("/spec/saga/steps", "[null]"),
    ("/spec/saga/stepTimeout", "[null]"),
    ("/spec/saga/notificationTimeout", "[null]"),
    ("/spec/saga/deliveryTimeout", "[null]"),
    ("/spec/gateway", "[null, {}]"),
    ("/spec/gateway/jwt", "[null]"),
    ("/spec/gateway/jwt/issuer", "[]"),
    ("/spec/gateway/jwt/audiences", r#"[null, [], ["a"]]"#),
    ("/spec/gateway/jwt/jwksUrl", "[null]"),
    ("/spec/gateway/jwt/caSecretRef", "[null]"),
    ("/spec/gateway/route", "[null]"),
    ("/spec/gateway/route/hosts", r#"[["a"]]"#),
    ("/spec/gateway/route/services", "[]"),
    ("/spec/gateway/route/ingress", "[{}]"),
    ("/spec/gateway/route/ingress/className", "[null]"),
    ("/spec/gateway/route/ingress/tlsSecretName", "[null]"),
    ("/spec/gateway/route/ingress/annotations", r#"[null, {}, {"a": "b"}, {"": null}]"#),
    ("/spec/gateway/route/httpRoute", "[null]"),
    ("/spec/gateway/route/httpRoute/parentRefs", "[]"),
    ("/spec/gateway/route/httpRoute/parentRefs/0", "[]"),
    ("/spec/image", "[null]"),
    ("/spec/reconcilePolicy", "[null]"),
    ("/spec/suspend", "[null, true]"),
];

/// Longer than any text may be.
const LONG: &str = match str::from_utf8(&[b'x'; 600]) {
    Ok(text) => text,
    Err(_) => "",
};

/// What somebody might put there.
fn values() -> Vec<Value> {
    vec![
        Value::Null,
        json!(true),
        json!(0),
        json!(-1),
        json!(1),
        json!(2_147_483_648_i64),
        json!(1.5),
        json!(""),
        json!(" "),
        json!("Delete"),
        json!("ü/\u{1f980}"),
        json!(LONG),
        json!([]),
        json!(["a"]),
        json!({}),
        json!({"a": "b"}),
        json!({"": null}),
    ]
}

/// What is of the right type, and wrong all the same.
fn contradictions() -> Vec<(&'static str, Value)> {
    const OWN: &str = "/spec/services/order-analytics";
    let durations = ["0s", "7", "1.5h", "12h1d", "-1h", "9999999999d", "99999999999999999999d"];
    let timed = ["/spec/topics/retention", "/spec/saga/stepTimeout", "/spec/saga/deliveryTimeout"];
    let timed = timed.into_iter().chain(["/spec/services/order-analytics/config/grace"]);
    let secret = |protocol: &str, field: &str| json!({"protocol": protocol, field: {"secretName": "nobody"}, "mechanism": "PLAIN"});
    let with_login = |protocol: &str, field: &str| {
        let mut security = secret(protocol, field);
        security["credentials"] = json!({"secretName": "nobody"});
        security
    };
    let registry = |url: &str| json!({"url": url, "caSecretRef": {"name": "nobody"}});
    let mut all: Vec<(&str, Value)> =
        timed.flat_map(|field| durations.map(|duration| (field, json!(duration)))).collect();
    all.extend([
        ("/spec/kafka/bootstrap/servers", json!("127.0.0.1:1")),
        ("/spec/kafka/bootstrap/servers", json!("127.0.0.1:99999")),
        ("/spec/kafka/bootstrap/servers", json!("no-such-host.invalid:9092")),
        ("/spec/kafka/bootstrap/security", json!({"protocol": "SASL_SSL"})),
        ("/spec/kafka/bootstrap/security", secret("SASL_PLAINTEXT", "credentials")),
        ("/spec/kafka/bootstrap/security", with_login("SASL_PLAINTEXT", "ca")),
        ("/spec/kafka/bootstrap/security", secret("SSL", "ca")),
        ("/spec/kafka/bootstrap/security", secret("SSL", "clientCertificate")),
        ("/spec/kafka/bootstrap/security", secret("PLAINTEXT", "credentials")),
        ("/spec/kafka/bootstrap/security", json!({"protocol": "SSL", "ca": {"secretName": "postgres-admin", "key": "url"}})),
        ("/spec/kafka", json!({"strimzi": {"cluster": "nobody", "listener": "tls"}})),
        ("/spec/kafka/strimzi", json!({"cluster": "nobody", "listener": "tls"})),
        ("/spec/access/mode", json!("Managed")),
        ("/spec/topics/prefix", json!("a b")),
        ("/spec/topics/prefix", json!("__")),
        ("/spec/topics/replicas", json!(9)),
        ("/spec/topics/overrides", json!({"orders.made": {}})),
        ("/spec/topics/overrides/orders.confirmed/config", json!({"retention.ms": "1"})),
        ("/spec/topics/overrides/orders.confirmed/config", json!({"min.insync.replicas": "7"})),
        ("/spec/topics/overrides/orders.confirmed/config", json!({"colour": "blue"})),
        ("/spec/events/format", json!("Avro")),
        ("/spec/events/schemaRegistry", registry("http://registry.example")),
        ("/spec/events/schemaRegistry", registry("https://registry.example")),
        ("/spec/events/schemaRegistry", registry("https://ada:hunter2@registry.example")),
        ("/spec/database/secretRef/name", json!("nobody")),
        ("/spec/database/secretRef/key", json!("nothing")),
        ("/spec/database", json!({"secretRef": {"name": "kafka-login", "key": "username"}})),
        ("/spec/database/caSecretRef", json!({"name": "nobody"})),
        ("/spec/services", json!({"paymet": {}})),
        ("/spec/services", json!({"order": {}})),
        (OWN, json!({"enabled": false})),
        (OWN, json!({"replicas": 1, "autoscaling": {"maxReplicas": 2}})),
        (OWN, json!({"autoscaling": {"minReplicas": 3, "maxReplicas": 2}})),
        ("/spec/services/notification", json!({"containers": "Apart"})),
        (OWN, json!({"resources": {"requests": {"cpu": "lots"}}})),
        (OWN, json!({"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}})),
        (OWN, json!({"env": [{"name": "TOPIC_PREFIX", "value": "mine."}]})),
        (OWN, json!({"env": [{"name": "A"}, {"name": "A"}]})),
        (OWN, json!({"env": [{"name": "1=A"}]})),
        (OWN, json!({"env": [{"name": "A", "value": "a", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]})),
        (OWN, json!({"config": {"graze": "1h"}})),
        ("/spec/saga/steps", json!(["packing"])),
        ("/spec/saga/steps", json!(["inventory", "inventory"])),
        ("/spec/saga/steps", json!(["payment", "inventory"])),
        ("/spec/gateway/jwt/issuer", json!("login.example")),
        ("/spec/gateway/jwt/issuer", json!("https://ada:hunter2@login.example")),
        ("/spec/gateway/jwt/issuer", json!("https://login.example:99999")),
        ("/spec/gateway/jwt/jwksUrl", json!("https://login.example:keys/all")),
        ("/spec/gateway/jwt/audiences", json!(["a,b"])),
        ("/spec/gateway/jwt/caSecretRef", json!({"name": "nobody"})),
        ("/spec/gateway/route/hosts", json!(["a.example", "a.example"])),
        ("/spec/gateway/route/hosts", json!(["*.*.example"])),
        ("/spec/gateway/route/services", json!(["order"])),
        ("/spec/gateway/route/services", json!(["notification"])),
        ("/spec/gateway/route/ingress/annotations", json!({"a b": "c"})),
        ("/spec/gateway/route/ingress/annotations", json!({"orderpipeline.dev/owner": "me"})),
        ("/spec/image", json!("registry.example/orders:1 .0")),
    ]);
    all
}

/// All that is wrong: the field, and what stands there.
fn corpus() -> Vec<(&'static str, Value)> {
    let wrong = FIELDS.iter().flat_map(|(field, fitting)| {
        let fitting: Vec<Value> = serde_json::from_str(&fitting.replace("LONG", LONG)).unwrap();
        values().into_iter().filter(move |value| !fitting.contains(value)).map(move |value| (*field, value))
    });
    wrong.chain(contradictions()).collect()
}

/// A pipeline with nothing wrong in it but `value` at `field`. Its one service has no database, so that it starts
/// without a Job.
fn pipeline(world: &World, name: &str, field: &str, value: &Value) -> Value {
    let mut pipeline = json!({
        "apiVersion": "orderpipeline.dev/v1alpha1", "kind": "OrderPipeline",
        "metadata": {"name": name, "namespace": world.namespace},
        "spec": {
            "profile": "Dev",
            "kafka": {"bootstrap": {"servers": kafka().bootstrap()}},
            "topics": {"prefix": format!("{}{name}.", world.prefix), "partitions": 1},
            "database": {"secretRef": {"name": "postgres-admin"}},
            "services": {"order-analytics": {"replicas": 1}},
        },
    });
    // Fields of what is left out above need the rest of it.
    let rest = [
        (
            "/spec/events/schemaRegistry/",
            json!({"url": "https://registry.example", "secretRef": {"name": "kafka-login"}}),
        ),
        ("/spec/services/shipping/", json!({"enabled": false, "autoscaling": {"maxReplicas": 2}})),
        ("/spec/gateway/jwt/", json!({"issuer": "https://login.example"})),
        (
            "/spec/gateway/route/",
            json!({"hosts": ["a.example"], "services": ["order-analytics"], "ingress": {}}),
        ),
    ];
    for (place, rest) in rest {
        if field.starts_with(place) {
            put(&mut pipeline, place.trim_end_matches('/'), rest);
        }
    }
    if field.starts_with("/spec/database/cloudNativePG/") {
        pipeline["spec"]["database"] = json!({});
    }
    if field.starts_with("/spec/gateway/route/httpRoute/") {
        put(&mut pipeline, "/spec/gateway/route/ingress", Value::Null);
    }
    put(&mut pipeline, field, value.clone());
    pipeline
}

/// Puts `value` at `pointer`, and whatever it takes to get there.
fn put(object: &mut Value, pointer: &str, value: Value) {
    let place = pointer.split('/').skip(1).fold(object, |place, part| match part.parse::<usize>() {
        Ok(0) => {
            *place = json!([{"name": "A"}]);
            &mut place[0]
        }
        _ => &mut place[part],
    });
    *place = value;
}

/// What the apiserver says, asked to take no unknown fields, as kubectl asks it.
async fn create(world: &World, pipeline: &Value) -> Result<(), String> {
    let api: Api<OrderPipeline> = world.api();
    let url = format!("{}?fieldValidation=Strict", api.resource_url());
    let request = http::Request::post(url).header(http::header::CONTENT_TYPE, "application/json");
    let request = request.body(pipeline.to_string().into_bytes()).unwrap();
    match world.client.request::<Value>(request).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(refusal)) => {
            assert!((400..500).contains(&refusal.code), "{pipeline}: {refusal}");
            Err(refusal.message.clone())
        }
        Err(error) => panic!("{pipeline}: {error}"),
    }
}

/// Whether `message` has the name of the field, or of what it is a part of.
fn names(message: &str, field: &str) -> bool {
    field.rsplit('/').take(2).any(|part| part != "spec" && message.contains(part))
}

/// Reasons of a pipeline that has nothing to complain of.
const CONTENT: [&str; 6] =
    ["AllReady", "ServicesStarting", "DatabasePending", "AccessPending", "TopicsPending", "Suspended"];

/// Whether the pipeline was answered; what it says where it was not.
async fn answer(world: &World, name: &str, field: &str) -> Result<(), String> {
    let pipeline: OrderPipeline = world.api().get(name).await.unwrap();
    let status = pipeline.status.unwrap_or_default();
    let ready = conditions::find(&status.conditions, ConditionType::Ready).ok_or("no condition")?;
    // What concerns the cluster is told of the topics, which may come to be all the same.
    let of_topics =
        ["BrokerUnreachable", "InvalidRequest"].iter().any(|reason| ready.message.contains(reason));
    let complains = !CONTENT.contains(&ready.reason.as_str()) || of_topics;
    let documented =
        include_str!("../../../docs/reference/orderpipeline.md").contains(&format!("`{}`", ready.reason));
    let named = ready.reason != "InvalidSpec" || names(&ready.message, field);
    let current = Some(status.observed_generation) == pipeline.metadata.generation;
    let answered = current && complains && documented && named && !ready.message.is_empty();
    if answered { Ok(()) } else { Err(format!("{}: {}", ready.reason, ready.message)) }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_malformed_spec_is_refused_or_answered() {
    let world = World::new().await;
    world.put_secret("kafka-login", &[("username", "ada"), ("password", "hunter2")]).await;
    create(&world, &pipeline(&world, "good", "/spec/suspend", &json!(false))).await.unwrap();
    let (mut refused, mut accepted, mut unnamed) = (0, Vec::new(), Vec::new());
    for (number, (field, value)) in corpus().into_iter().enumerate() {
        let name = format!("malformed-{number}");
        match create(&world, &pipeline(&world, &name, field, &value)).await {
            Ok(()) => accepted.push((name, field, value)),
            Err(message) if names(&message, field) => refused += 1,
            Err(message) => unnamed.push(format!("{field} = {value}: {message}")),
        }
    }
    assert!(unnamed.is_empty(), "refused without their names: {}", unnamed.join("\n"));

    eventually("all are answered", || async {
        let answers = accepted.iter().map(|(name, field, value)| {
            let answer = answer(&world, name, field);
            async move { answer.await.map_err(|told| format!("{field} = {value}: {told}")) }
        });
        let answers = futures::future::join_all(answers).await;
        let unanswered: Vec<String> = answers.into_iter().filter_map(Result::err).collect();
        if unanswered.is_empty() { Ok(()) } else { Err(unanswered.join("\n")) }
    })
    .await;
    eventually("the good one is served", || async {
        world.roll_out().await;
        let good: OrderPipeline = world.api().get("good").await.unwrap();
        let status = good.status.unwrap_or_default();
        let ready = conditions::is_true(&status.conditions, ConditionType::Ready);
        if ready { Ok(()) } else { Err(format!("{:?}", status.conditions)) }
    })
    .await;
    assert!(refused > 900 && accepted.len() > 30, "{refused} refused, {} accepted", accepted.len());
    world.end().await;
}
