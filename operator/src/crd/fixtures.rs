//! Objects for unit tests: the least that is valid, with what a test is about merged in.

use serde_json::{Value, json};

use super::{KafkaTopic, OrderPipeline};

/// `KafkaTopic` `shop/orders`, with `change` merged into it.
pub(crate) fn kafka_topic(change: Value) -> KafkaTopic {
    let least = json!({
        "apiVersion": "orderpipeline.dev/v1alpha1", "kind": "KafkaTopic",
        "metadata": {"name": "orders", "namespace": "shop"},
        "spec": {"kafka": {"bootstrap": {"servers": "kafka:9092"}}},
    });
    serde_json::from_value(merged(least, change)).unwrap()
}

/// `OrderPipeline` `shop/shop` of the service order alone, with `change` merged into it.
pub(crate) fn order_pipeline(change: Value) -> OrderPipeline {
    let least = json!({
        "apiVersion": "orderpipeline.dev/v1alpha1", "kind": "OrderPipeline",
        "metadata": {"name": "shop", "namespace": "shop"},
        "spec": {
            "kafka": {"bootstrap": {"servers": "kafka:9092"}}, "services": {"order": {}},
            "database": {"secretRef": {"name": "postgres-admin"}},
        },
    });
    serde_json::from_value(merged(least, change)).unwrap()
}

fn merged(base: Value, change: Value) -> Value {
    match (base, change) {
        (Value::Object(mut fields), Value::Object(changes)) => {
            for (name, change) in changes {
                let before = fields.remove(&name).unwrap_or_default();
                fields.insert(name, merged(before, change));
            }
            Value::Object(fields)
        }
        (_, change) => change,
    }
}
